//! A simulated kernel: sockets with queues, peers at their far ends, and events for what happens to them.
//!
//! It is also the witness: every call of a session is checked here against what a session may do.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use cproxy::buffers::pools::LARGE_BUFFER;
use cproxy::config::settings::BufferSize;
use cproxy::endpoint::{Endpoint, Lifetime, SideName};
use cproxy::flow::{Pace, Readiness};
use cproxy::proxy_header::Addresses;
use cproxy::service::access::ClientAddress;

use super::header::{ClientHeader, Passing, real_addresses};
use super::peer::Ending;
use super::pipe::{PipePlan, SimPipe};
use super::plan::{Answer, Connection, Plan, Style};
use super::random::{Random, contents};
use super::sight::{Sight, Sights};
use super::socket::{Armed, Conditions, Edges, Link, Socket};
use super::traffic::{Means, Traffic};
use super::watch::Watch;

/// More calls than any run can need: a session that makes so many in one run loops.
const MOST_CALLS_A_RUN: usize = 20_000;

/// All sockets of a schedule, and its clock.
#[derive(Debug)]
pub struct Kernel {
    pub random: Random,
    pub now: u64,
    pub sights: Sights,
    style: Style,
    error_kept: bool,
    poll_tells_finish: bool,
    buffer_size: BufferSize,
    traffic: Traffic,
    pipes: PipePlan,
    /// What looks at the sessions.
    watch: Option<Watch>,
    sockets: Vec<Socket>,
    calls_in_run: usize,
    moved_in_run: u64,
    tracing: bool,
}

impl Kernel {
    /// Whether what was read is copied before it is sent.
    pub fn makes_copies(&self) -> bool {
        matches!(self.watch, Some(Watch::Filter | Watch::Filters))
    }

    pub fn new(random: Random, plan: &Plan, tracing: bool) -> Kernel {
        Kernel {
            random,
            now: 0,
            sights: Sights::default(),
            style: plan.style,
            error_kept: plan.error_kept,
            poll_tells_finish: plan.poll_tells_finish,
            buffer_size: plan.buffer_size,
            traffic: Traffic::new(plan.pace == Pace::AlwaysBulk),
            pipes: plan.pipes,
            watch: plan.watch,
            sockets: Vec::new(),
            calls_in_run: 0,
            moved_in_run: 0,
            tracing,
        }
    }

    /// Prints a line of the trace, if there is one.
    pub fn trace(&self, line: fmt::Arguments<'_>) {
        if self.tracing {
            eprintln!("{:>6} {line}", self.now);
        }
    }

    /// A socket that was just accepted.
    pub fn accept(&mut self, session: usize, connection: &Connection, header: Option<&ClientHeader>) -> usize {
        let id = self.add(session, SideName::Client, Link::Settled, connection);
        self.sockets[id].header_in = Passing::of_client(header);
        id
    }

    /// A socket that is connecting for the session of a client.
    pub fn connect(&mut self, client: usize, answer: Answer, connection: &Connection, header: &[u8]) -> usize {
        let id = self.add(self.sockets[client].session, SideName::Remote, Link::Connecting(answer), connection);
        self.sockets[id].header_out = Passing::to_remote(header.to_vec());
        self.sockets[id].other = Some(client);
        self.sockets[client].other = Some(id);
        id
    }

    fn add(&mut self, session: usize, side: SideName, link: Link, connection: &Connection) -> usize {
        let id = self.sockets.len();
        self.sockets.push(Socket::new(session, side, link, connection, self.traffic));
        match link {
            Link::Connecting(Answer::Accept { after } | Answer::Refuse { after, .. }) => {
                self.sockets[id].peer.step_at(self.now + after);
            }
            Link::Connecting(_) => {}
            Link::Settled => self.begin(id),
        }
        id
    }

    /// When something happens next by itself.
    pub fn next_action(&self) -> Option<u64> {
        self.sockets.iter().filter(|socket| !socket.witness.closed).filter_map(|socket| socket.peer.next).min()
    }

    /// Lets all peers act whose time has come.
    pub fn act(&mut self) {
        let count = self.sockets.len();
        let first = self.random.below(count.max(1) as u64) as usize;
        for id in (0..count).map(|index| (first + index) % count) {
            if self.sockets[id].peer.next.is_some_and(|next| next <= self.now) {
                self.step(id);
            }
        }
    }

    /// Lets the peer of a socket act in the middle of a session's run, now and then.
    fn interleave(&mut self, id: usize) {
        if self.random.once_in(8) && self.sockets[id].peer.next.is_some_and(|next| next <= self.now + 1) {
            self.step(id);
        }
    }

    fn step(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        socket.peer.next = None;
        if socket.witness.closed || socket.broken || socket.left {
            return;
        }
        match socket.link {
            Link::Connecting(Answer::Refuse { error, .. }) => {
                socket.link = Link::Settled;
                self.break_off(id, error);
            }
            Link::Connecting(_) => {
                socket.link = Link::Settled;
                socket.edges = Edges::BOTH;
                self.trace(format_args!("{id} connected"));
                self.begin(id);
            }
            Link::Settled => self.play(id),
        }
    }

    /// Starts the script of a peer that is now connected.
    fn begin(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        socket.connected = true;
        let peer = &mut socket.peer;
        if matches!(peer.script.ending, Ending::Break(_)) {
            peer.end = Some(self.now + peer.script.end_delay);
        }
        peer.step_at(self.now);
    }

    /// One step of a connected peer's script.
    fn play(&mut self, id: usize) {
        let mut acted = self.fetch(id);
        acted |= self.supply(id);
        acted |= self.end(id);
        let pause = self.random.below(self.sockets[id].peer.script.pause + 1);
        let socket = &mut self.sockets[id];
        if acted {
            socket.peer.step_at(self.now + pause);
        }
        if let Some(end) = socket.peer.end {
            socket.peer.step_at(end);
        }
    }

    /// The peer reads.
    fn fetch(&mut self, id: usize) -> bool {
        let header = self.sockets[id].header_out.waiting() as u64;
        let socket = &mut self.sockets[id];
        let limit = socket.peer.script.stops_reading_at.unwrap_or(u64::MAX).min(socket.sent);
        let available = limit.saturating_sub(socket.fetched).min(socket.peer.script.gulp);
        let gone = socket.peer_finished && socket.peer.script.ending == Ending::Close;
        if gone && (header > 0 || socket.sent > socket.fetched) {
            self.break_off(id, libc::EPIPE);
            return false;
        }
        if header > 0 && socket.peer.script.stops_reading_at != Some(0) {
            let read = self.random.within(1..=header.min(socket.peer.script.gulp));
            self.sockets[id].header_out.taken += read as usize;
            return self.fetched(id, read);
        }
        if header > 0 || available == 0 {
            return false;
        }
        let read = self.random.within(1..=available);
        self.sockets[id].fetched += read;
        self.fetched(id, read)
    }

    fn fetched(&mut self, id: usize, read: u64) -> bool {
        let socket = &mut self.sockets[id];
        socket.fetched_at = self.now;
        if socket.wants_space && socket.has_space() {
            socket.wants_space = false;
            socket.edges.write = true;
        }
        self.trace(format_args!("{id} peer read {read}"));
        true
    }

    /// The peer writes.
    fn supply(&mut self, id: usize) -> bool {
        let header = self.supply_header(id);
        if self.sockets[id].header_in.left() > 0 || header && self.random.once_in(2) {
            return header;
        }
        self.supply_contents(id) || header
    }

    /// The peer writes the header that stands before all else, or a part of it.
    fn supply_header(&mut self, id: usize) -> bool {
        let left = self.sockets[id].header_in.left() as u64;
        if left == 0 || self.sockets[id].broken {
            return false;
        }
        let written = if self.random.once_in(2) { left } else { self.random.within(1..=left) };
        let socket = &mut self.sockets[id];
        socket.header_in.given += written as usize;
        socket.edges.read = true;
        self.trace(format_args!("{id} peer sent {written} of its header"));
        true
    }

    fn supply_contents(&mut self, id: usize) -> bool {
        let socket = &self.sockets[id];
        let room = socket.receive_room - (socket.arrived - socket.received);
        let available = room.min(socket.unsupplied()).min(socket.peer.script.piece(socket.arrived));
        if available == 0 || socket.peer_finished || socket.broken {
            return false;
        }
        let written = self.random.within(1..=available);
        let socket = &mut self.sockets[id];
        socket.arrived += written;
        socket.pieces.push_back(socket.arrived);
        socket.edges.read = true;
        self.trace(format_args!("{id} peer sent {written}"));
        true
    }

    /// The peer ends, if the time has come.
    fn end(&mut self, id: usize) -> bool {
        let socket = &mut self.sockets[id];
        if socket.broken {
            return false;
        }
        if socket.peer.end.is_none() && socket.peer_is_through() {
            socket.peer.end = Some(self.now + socket.peer.script.end_delay);
        }
        if socket.peer.end.is_none_or(|end| end > self.now) {
            return false;
        }
        socket.peer.end = None;
        match socket.peer.script.ending {
            Ending::CutOff(error) | Ending::Break(error) => {
                let error = if socket.peer_finished { libc::EPIPE } else { error };
                self.break_off(id, error);
            }
            Ending::FinishThenBreak if socket.peer_finished => self.break_off(id, libc::EPIPE),
            ending => {
                socket.peer_finished = true;
                socket.edges.read = true;
                if ending == Ending::HangUp {
                    (socket.left, socket.edges) = (true, Edges::BOTH);
                }
                if ending == Ending::FinishThenBreak {
                    socket.peer.end = Some(self.now + socket.peer.script.end_delay);
                }
                self.trace(format_args!("{id} peer finished"));
            }
        }
        true
    }

    /// A reset arrived, or the connection failed in another way.
    fn break_off(&mut self, id: usize, error: i32) {
        let socket = &mut self.sockets[id];
        socket.broken = true;
        socket.error = Some(error);
        socket.edges = Edges::BOTH;
        self.trace(format_args!("{id} broken, errno {error}"));
    }

    /// Something happened to a peer that waited for it.
    fn rouse(&mut self, id: usize) {
        let pause = self.random.below(self.sockets[id].peer.script.pause + 1);
        self.sockets[id].peer.step_at(self.now + pause);
    }

    /// Whether something would be told of a socket now.
    pub fn has_event(&self, id: usize) -> bool {
        let mut edges = self.sockets[id].edges;
        let mut armed = self.sockets[id].armed;
        self.event(id, &mut edges, &mut armed).is_some()
    }

    /// Tells what happened to a socket, and the session and side it belongs to.
    pub fn take_event(&mut self, id: usize) -> Option<(usize, SideName, Readiness)> {
        let Socket { mut edges, mut armed, session, side, .. } = self.sockets[id];
        let told = self.event(id, &mut edges, &mut armed);
        let socket = &mut self.sockets[id];
        (socket.edges, socket.armed) = (edges, armed);
        let readiness = told?;
        socket.witness.note(readiness);
        self.trace(format_args!("{id} event {readiness:?}"));
        Some((session, side, readiness))
    }

    /// An event without a reason, though never a writable one before the socket is connected: no kernel does that.
    pub fn spurious_event(&mut self, id: usize) -> Option<(usize, SideName, Readiness)> {
        let writable = self.sockets[id].connected && self.random.once_in(2);
        let readiness = Readiness {
            readable: true,
            writable,
            read_closed: false,
            error: self.random.once_in(2),
            ..Readiness::default()
        };
        let socket = &mut self.sockets[id];
        if socket.witness.closed {
            return None;
        }
        socket.witness.note(readiness);
        let (session, side) = (socket.session, socket.side);
        self.trace(format_args!("{id} spurious event {readiness:?}"));
        Some((session, side, readiness))
    }

    fn event(&self, id: usize, edges: &mut Edges, armed: &mut Armed) -> Option<Readiness> {
        let socket = &self.sockets[id];
        if socket.witness.closed {
            return None;
        }
        let edges = std::mem::take(edges);
        let all = socket.conditions();
        let told = match self.style {
            Style::Epoll if edges.read || edges.write => all,
            Style::Kqueue => all.filtered(edges),
            Style::Poll if armed.registered => all.polled(armed, self.poll_tells_finish),
            _ => Conditions::default(),
        };
        (told != Conditions::default()).then(|| told.readiness())
    }

    /// How many sockets there have been.
    pub fn count(&self) -> usize {
        self.sockets.len()
    }

    /// A session is about to run.
    pub fn begin_run(&mut self) {
        (self.calls_in_run, self.moved_in_run) = (0, 0);
        for socket in &mut self.sockets {
            socket.witness.received_in_run = 0;
        }
    }

    /// Bytes read and written in the last run.
    pub fn moved_in_run(&self) -> u64 {
        self.moved_in_run
    }

    /// The socket, for those who check.
    pub fn socket(&self, id: usize) -> &Socket {
        &self.sockets[id]
    }

    fn receive(&mut self, id: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.enter(id);
        self.check_receive(id);
        self.check_buffer(id, buffer.len());
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let socket = &mut self.sockets[id];
        socket.witness.splice_ended = false;
        let available = socket.arrived - socket.received;
        if available == 0 {
            return self.receive_nothing(id);
        }
        let short_means_blocked = self.style != Style::Poll;
        let mut count = available.min(buffer.len() as u64);
        if !short_means_blocked && self.random.once_in(3) {
            count = self.random.within(1..=count);
        }
        let socket = &mut self.sockets[id];
        buffer[..count as usize].copy_from_slice(contents(id, socket.received, count as usize));
        let drained = short_means_blocked && (count as usize) < buffer.len();
        socket.witness.believes_readable &= !drained || socket.witness.told_read_closed;
        self.trace(format_args!("{id} received {count} of {}", buffer.len()));
        self.took(id, count, buffer.len() as u64, Means::Buffer);
        Ok(count as usize)
    }

    fn receive_header(&mut self, id: usize, buffer: &mut [u8]) -> io::Result<usize> {
        self.enter(id);
        self.check_header(id, buffer.len());
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let available = self.sockets[id].header_in.waiting();
        if available == 0 {
            return self.receive_nothing(id);
        }
        let short_means_blocked = self.style != Style::Poll;
        let mut count = available.min(buffer.len());
        if !short_means_blocked && self.random.once_in(3) {
            count = self.random.within(1..=count as u64) as usize;
        }
        let Socket { header_in, witness, .. } = &mut self.sockets[id];
        buffer[..count].copy_from_slice(&header_in.bytes[header_in.taken..header_in.taken + count]);
        header_in.taken += count;
        let drained = short_means_blocked && count < buffer.len();
        witness.believes_readable &= !drained || witness.told_read_closed;
        self.trace(format_args!("{id} received {count} of {} of a header", buffer.len()));
        self.see_header(id);
        self.rouse(id);
        Ok(count)
    }

    /// Notes what a header comes with when it has been read.
    fn see_header(&mut self, id: usize) {
        let socket = &self.sockets[id];
        if !socket.header_in.is_taken() {
            return;
        }
        let glued = socket.arrived > 0;
        self.sights.note(if glued { Sight::HeaderWithMore } else { Sight::HeaderAlone });
        if self.sockets[id].peer_finished {
            self.sights.note(Sight::HeaderWithEnd);
        }
        if self.sockets[id].broken {
            self.sights.note(Sight::HeaderThenBroken);
        }
    }

    fn send_header(&mut self, id: usize, bytes: &[u8], more: bool) -> io::Result<usize> {
        self.enter(id);
        self.check_sink(id);
        let passing = &self.sockets[id].header_out;
        self.check(id, bytes == &passing.bytes[passing.given..], "sends another header than it is to send");
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.sockets[id].broken || self.sockets[id].left {
            return Err(self.send_failure(id));
        }
        let count = self.take_sent(id, bytes.len())?;
        let socket = &mut self.sockets[id];
        socket.header_out.given += count;
        let is_whole = socket.header_out.is_given();
        socket.witness.corked = more && is_whole;
        if count < bytes.len() {
            self.sights.note(Sight::HeaderSentInPieces);
        }
        if more && is_whole {
            self.sights.note(Sight::HeaderSentWithMore);
        }
        self.trace(format_args!("{id} sent {count} of {} of a header", bytes.len()));
        self.rouse(id);
        Ok(count)
    }

    fn splice_to(&mut self, id: usize, pipe: &mut SimPipe, limit: usize) -> io::Result<usize> {
        self.enter(id);
        self.check_receive(id);
        self.check_pipe_to_fill(id, pipe, limit);
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let socket = &self.sockets[id];
        let fitting = socket.readable_into(self.pipes.slots);
        if fitting == 0 {
            let result = self.receive_nothing(id);
            if let Ok(0) = result {
                let witness = &mut self.sockets[id].witness;
                (witness.read_finish, witness.splice_ended) = (false, true);
            }
            return result;
        }
        if socket.peer_finished && self.random.once_in(20) {
            // So splice(2) says where urgent data stands before the rest: only a read is to be believed.
            self.sockets[id].witness.splice_ended = true;
            return Ok(0);
        }
        let mut count = fitting.min(limit as u64);
        if count == fitting && socket.arrived - socket.received > fitting {
            self.sights.note(Sight::PipeFullOfPieces);
        }
        if self.random.once_in(4) {
            count = self.random.within(1..=count);
        }
        if count > self.pipes.nominal_size() {
            self.sights.note(Sight::PipeOverfull);
        }
        let start = self.sockets[id].received;
        pipe.fill(id, start..start + count);
        self.trace(format_args!("{id} spliced {count} of {limit} into pipe {}", pipe.id));
        self.took(id, count, limit as u64, Means::Pipe);
        Ok(count as usize)
    }

    /// Notes that bytes were read.
    fn took(&mut self, id: usize, count: u64, asked: u64, means: Means) {
        if means == Means::Buffer && asked > self.buffer_size.bytes() as u64 {
            self.sights.note(Sight::LargeBuffer);
        }
        let witness = &mut self.sockets[id].witness;
        match (witness.read_into, means) {
            (_, Means::Buffer) if witness.traffic.is_bulk() => self.sights.note(Sight::PipeRefused),
            (Some(Means::Pipe), Means::Buffer) => self.sights.note(Sight::PipeThenCopy),
            (_, Means::Pipe) if witness.copied_messages => {
                witness.pipes_begun += 1;
                let again = witness.pipes_begun > 1;
                self.sights.note(if again { Sight::CopyThenPipeAgain } else { Sight::CopyThenPipe });
            }
            _ => {}
        }
        witness.copied_messages = !witness.traffic.is_bulk();
        self.sockets[id].take(count, asked, means);
        self.moved_in_run += count;
        self.rouse(id);
    }

    /// A read that finds no bytes: the end, an error, or nothing yet.
    fn receive_nothing(&mut self, id: usize) -> io::Result<usize> {
        let socket = &mut self.sockets[id];
        if socket.peer_finished {
            socket.witness.read_finish = true;
            self.trace(format_args!("{id} received the end"));
            return Ok(0);
        }
        if !socket.broken {
            socket.armed = socket.armed.again();
            socket.witness.believes_readable = false;
            self.trace(format_args!("{id} receive would block"));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match socket.error.take() {
            Some(error) => {
                socket.witness.receive_failed = true;
                socket.witness.told.push(error);
                self.trace(format_args!("{id} receive failed, errno {error}"));
                Err(io::Error::from_raw_os_error(error))
            }
            // As real kernels do once the error was told: a broken stream then looks as if it had ended.
            None => {
                self.trace(format_args!("{id} received an end that is none"));
                Ok(0)
            }
        }
    }

    fn send(&mut self, id: usize, bytes: &[u8]) -> io::Result<usize> {
        self.enter(id);
        self.check_send(id, bytes);
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.sockets[id].broken || self.sockets[id].left {
            return Err(self.send_failure(id));
        }
        // Where there is no room, the header fills it, and goes.
        self.sockets[id].witness.corked = false;
        let count = self.take_sent(id, bytes.len())?;
        self.trace(format_args!("{id} sent {count} of {}", bytes.len()));
        self.gave(id, count as u64);
        Ok(count)
    }

    /// How many of so many bytes a socket takes.
    fn take_sent(&mut self, id: usize, offered: usize) -> io::Result<usize> {
        let short_means_blocked = self.style != Style::Poll;
        let space = self.sockets[id].space();
        let mut count = space.min(offered as u64);
        if !short_means_blocked && count > 1 && self.random.once_in(3) {
            count = self.random.within(1..=count);
        }
        let socket = &mut self.sockets[id];
        let short = count < offered as u64;
        socket.wants_space = count == space && short;
        socket.witness.believes_writable &= count > 0 && !(short_means_blocked && short);
        if count == 0 {
            socket.armed = socket.armed.again();
            self.trace(format_args!("{id} send would block"));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count as usize)
    }

    fn splice_from(&mut self, id: usize, pipe: &mut SimPipe, bytes: usize) -> io::Result<usize> {
        self.enter(id);
        self.check_sink(id);
        self.check_pipe_to_empty(id, pipe, bytes);
        if self.random.once_in(40) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.sockets[id].broken || self.sockets[id].left {
            return Err(self.send_failure(id));
        }
        self.sockets[id].witness.corked = false;
        let mut count = self.sockets[id].space().min(bytes as u64);
        if count == 0 {
            pipe.stall();
            let socket = &mut self.sockets[id];
            socket.wants_space = true;
            socket.witness.believes_writable = false;
            socket.armed = socket.armed.again();
            self.trace(format_args!("{id} splice from pipe {} would block", pipe.id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.random.once_in(3) {
            count = self.random.within(1..=count);
        }
        let source = self.sockets[id].other.map(|source| &self.sockets[source]);
        if source.is_some_and(|source| source.peer_finished && source.witness.told_read_closed) {
            self.sights.note(Sight::FinishWithPipe);
        }
        if pipe.contents.as_ref().is_some_and(|contents| contents.stalled) {
            self.sights.note(Sight::PipeResumed);
        }
        pipe.drain(count);
        self.trace(format_args!("{id} spliced {count} of {bytes} from pipe {}", pipe.id));
        self.gave(id, count);
        Ok(count as usize)
    }

    /// Notes that bytes were written.
    fn gave(&mut self, id: usize, count: u64) {
        self.sockets[id].sent += count;
        self.moved_in_run += count;
        self.rouse(id);
    }

    fn send_failure(&mut self, id: usize) -> io::Error {
        let socket = &mut self.sockets[id];
        let error = match self.error_kept || socket.left {
            true => libc::EPIPE,
            false => socket.error.take().unwrap_or(libc::EPIPE),
        };
        socket.witness.send_failed = true;
        socket.witness.told.push(error);
        self.trace(format_args!("{id} send failed, errno {error}"));
        io::Error::from_raw_os_error(error)
    }

    fn finish(&mut self, id: usize) -> io::Result<()> {
        self.enter(id);
        self.check_finish(id);
        let socket = &mut self.sockets[id];
        socket.witness.finish_called = true;
        if socket.broken {
            socket.witness.send_failed = true;
            socket.witness.told.push(libc::ENOTCONN);
            self.trace(format_args!("{id} finish failed"));
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        socket.finished = true;
        self.trace(format_args!("{id} finished"));
        self.rouse(id);
        Ok(())
    }

    fn unsent(&mut self, id: usize) -> u32 {
        self.count_call(id);
        self.sockets[id].unsent() as u32
    }

    fn take_error(&mut self, id: usize) -> Option<io::Error> {
        self.enter(id);
        let socket = &mut self.sockets[id];
        let error = socket.error.take()?;
        socket.witness.told.push(error);
        self.trace(format_args!("{id} told errno {error}"));
        Some(io::Error::from_raw_os_error(error))
    }

    fn abort(&mut self, id: usize) {
        self.trace(format_args!("{id} aborted"));
        self.sockets[id].witness.aborted = true;
    }

    fn close(&mut self, id: usize) {
        self.trace(format_args!("{id} closed"));
        self.sockets[id].witness.closed = true;
    }

    /// Counts a call, and lets the world move on before it.
    fn enter(&mut self, id: usize) {
        self.count_call(id);
        self.interleave(id);
        if let Some(other) = self.sockets[id].other {
            self.interleave(other);
        }
    }

    fn count_call(&mut self, id: usize) {
        self.calls_in_run += 1;
        self.check(id, self.calls_in_run < MOST_CALLS_A_RUN, "loops within one run");
    }

    fn check_receive(&self, id: usize) {
        let socket = &self.sockets[id];
        self.check_connected(id);
        self.check(id, !socket.witness.receive_failed, "reads after a failed read");
        self.check(id, !socket.witness.read_finish, "reads after the end of the stream");
        let believes = socket.witness.believes_readable || socket.known_broken();
        self.check(id, believes, "is read though nothing says that there is something");
        let told = socket.header_out.is_given() || socket.known_broken();
        self.check(id, told, "is heard before it has its header");
        self.check(id, socket.header_in.is_taken(), "is read as if its header were none");
        let sink = socket.other.map(|other| &self.sockets[other]);
        self.check(id, sink.is_none_or(|sink| sink.sent == socket.received), "reads while the flow holds bytes");
    }

    /// No more may be asked for than belongs to the header in any case.
    fn check_header(&self, id: usize, asked: usize) {
        let Socket { header_in, witness, .. } = &self.sockets[id];
        self.check(id, !witness.receive_failed && !witness.read_finish, "reads its header after its end");
        self.check(id, witness.believes_readable, "is read though nothing says that there is something");
        let left = header_in.length.map(|length| length - header_in.taken);
        self.check(id, left != Some(0), "reads its header again");
        self.check(id, left.is_none_or(|left| asked <= left), "may read beyond its header");
    }

    /// A buffer is for messages, or for bulk where there is no pipe.
    fn check_buffer(&self, id: usize, asked: usize) {
        let bulk = self.sockets[id].witness.traffic.is_bulk();
        let must_copy = self.pipes.may_be_missing() || self.sockets[id].witness.splice_ended || self.watch.is_some();
        self.check(id, !bulk || must_copy, "copies bulk though it could have a pipe");
        let most = match self.buffer_size {
            BufferSize::Growing(size) if bulk => LARGE_BUFFER.max(2 * size),
            BufferSize::Growing(size) | BufferSize::Fixed(size) => size,
        };
        self.check(id, asked <= most, "reads into a larger buffer than it may have");
    }

    fn check_pipe_to_fill(&self, id: usize, pipe: &SimPipe, limit: usize) {
        self.check(id, self.sockets[id].witness.traffic.is_bulk(), "reads messages into a pipe");
        self.check(id, self.watch.is_none(), "reads into a pipe what is to be looked at");
        self.check(id, pipe.contents.is_none(), "reads into a pipe that holds bytes");
        self.check(id, limit > 0, "reads nothing");
    }

    fn check_pipe_to_empty(&self, id: usize, pipe: &SimPipe, bytes: usize) {
        let socket = &self.sockets[id];
        self.check(id, socket.header_out.is_given(), "sends before its header is sent");
        let Some(contents) = &pipe.contents else { return self.check(id, false, "writes from an empty pipe") };
        self.check(id, Some(contents.stream) == socket.other, "writes from another flow's pipe");
        self.check(id, contents.bytes.start == socket.sent, "writes other bytes than are next");
        self.check(id, contents.bytes.end - contents.bytes.start == bytes as u64, "has lost count of a pipe's bytes");
    }

    fn check_send(&self, id: usize, bytes: &[u8]) {
        self.check_sink(id);
        let socket = &self.sockets[id];
        let Some(source) = socket.other else { return self.check(id, false, "sends from nowhere") };
        self.check(id, socket.header_out.is_given(), "sends before its header is sent");
        let held = self.sockets[source].received - socket.sent;
        self.check(id, bytes.len() as u64 <= held, "sends more than was received");
        self.check(id, bytes == contents(source, socket.sent, bytes.len()), "sends other bytes than were received");
    }

    fn check_sink(&self, id: usize) {
        let socket = &self.sockets[id];
        self.check_connected(id);
        self.check(id, !socket.witness.finish_called, "sends after it finished");
        self.check(id, !socket.witness.send_failed, "sends after a failed send");
        self.check(id, socket.witness.believes_writable, "is written though nothing says that there is space");
    }

    fn check_finish(&self, id: usize) {
        let socket = &self.sockets[id];
        self.check_connected(id);
        self.check(id, !socket.witness.finish_called, "finishes twice");
        let Some(source) = socket.other.map(|source| &self.sockets[source]) else {
            return self.check(id, false, "finishes nothing");
        };
        self.check(id, source.received == socket.sent, "finishes before all was sent");
        self.check(id, source.witness.read_finish, "finishes though its source did not: a cut-off stream looks whole");
    }

    /// Neither side is used before both are connected.
    fn check_connected(&self, id: usize) {
        let usable = |id: usize| self.sockets[id].connected && !self.sockets[id].witness.closed;
        let joined = self.sockets[id].other.is_some_and(usable);
        self.check(id, usable(id) && joined, "is used before both sides are connected");
    }

    fn check(&self, id: usize, holds: bool, otherwise: &str) {
        let Socket { session, side, .. } = &self.sockets[id];
        assert!(holds, "session {session}: {side} socket {id} {otherwise}");
    }
}

/// The kernel, as its sockets share it.
pub type SharedKernel = Rc<RefCell<Kernel>>;

/// A simulated socket as the session has it; `SHORT` is its `SHORT_MEANS_BLOCKED`.
#[derive(Debug)]
pub struct SimSocket<const SHORT: bool> {
    kernel: SharedKernel,
    id: usize,
}

impl<const SHORT: bool> SimSocket<SHORT> {
    pub fn new(kernel: &SharedKernel, id: usize) -> Self {
        SimSocket { kernel: kernel.clone(), id }
    }
}

impl<const SHORT: bool> Endpoint for SimSocket<SHORT> {
    const SHORT_MEANS_BLOCKED: bool = SHORT;

    type Pipe = SimPipe;

    fn lifetime(&self) -> Lifetime {
        if self.kernel.borrow().socket(self.id).endless { Lifetime::Endless } else { Lifetime::Connection }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().receive(self.id, buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().send(self.id, bytes)
    }

    fn receive_header(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.kernel.borrow_mut().receive_header(self.id, buffer)
    }

    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        self.kernel.borrow_mut().send_header(self.id, bytes, more)
    }

    fn has_unread(&self) -> bool {
        let kernel = self.kernel.borrow();
        kernel.socket(self.id).arrived > kernel.socket(self.id).received
    }

    fn client_address(&self) -> Option<ClientAddress> {
        match real_addresses(self.id) {
            Addresses::Ip { source, .. } => Some(ClientAddress::Ip(source.ip())),
            _ => None,
        }
    }

    fn addresses(&self) -> Addresses {
        real_addresses(self.id)
    }

    fn splice_to(&mut self, pipe: &mut SimPipe, limit: usize) -> io::Result<usize> {
        self.kernel.borrow_mut().splice_to(self.id, pipe, limit)
    }

    fn splice_from(&mut self, pipe: &mut SimPipe, bytes: usize) -> io::Result<usize> {
        self.kernel.borrow_mut().splice_from(self.id, pipe, bytes)
    }

    fn unsent(&self) -> u32 {
        self.kernel.borrow_mut().unsent(self.id)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.kernel.borrow_mut().finish(self.id)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.kernel.borrow_mut().take_error(self.id)
    }

    fn abort(&mut self) {
        self.kernel.borrow_mut().abort(self.id);
    }

    fn descriptor(&self) -> RawFd {
        self.id as RawFd
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{side}")
    }
}

impl<const SHORT: bool> Drop for SimSocket<SHORT> {
    fn drop(&mut self) {
        // While a failed check unwinds the kernel is still borrowed.
        if let Ok(mut kernel) = self.kernel.try_borrow_mut() {
            kernel.close(self.id);
        }
    }
}
