//! A simulated kernel with the two endpoints of one session. It is also the witness of all that the session does.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::rc::Rc;

use cproxy::buffers::batch::{Batch, MAX_DATAGRAM, MOST_DATAGRAMS, Undelivered};
use cproxy::endpoint::{Received, SideName};
use cproxy::flow::Readiness;

use super::super::plan::{Answer, Style};
use super::super::random::Random;
use super::super::sight::Sights;
use super::super::socket::{Armed, Conditions, Edges};
use super::passage::{Passage, Unit, datagram};
use super::plan::{Ending, Kind, PeerPlan, Plan};
use super::side::{Item, Side};
use super::sight::Sight;

/// More calls than any run can need.
const MOST_CALLS_A_RUN: usize = 20_000;

/// All that a session's endpoints share.
pub type SharedWorld = Rc<RefCell<World>>;

/// The endpoints of a schedule's session, those given up included, and the clock.
#[derive(Debug)]
pub struct World {
    pub random: Random,
    pub now: u64,
    pub sights: Sights<Sight>,
    style: Style,
    poll_tells_finish: bool,
    sides: Vec<Side>,
    pub passages: [Passage; 2],
    /// Calls that moved something, or dropped it.
    pub steps: u64,
    calls_in_run: usize,
    budget: usize,
    tracing: bool,
}

impl World {
    pub fn new(random: Random, plan: &Plan, tracing: bool) -> World {
        let (client, remote) = (&plan.client, &plan.addresses[0].peer);
        World {
            random,
            now: 0,
            sights: Sights::default(),
            style: plan.style,
            poll_tells_finish: plan.poll_tells_finish,
            sides: Vec::new(),
            passages: [
                Passage::new(0, client.kind, remote.kind, remote.chunk),
                Passage::new(1, remote.kind, client.kind, client.chunk),
            ],
            steps: 0,
            calls_in_run: 0,
            budget: plan.budget,
            tracing,
        }
    }

    pub fn trace(&self, line: fmt::Arguments<'_>) {
        if self.tracing {
            eprintln!("{:>6} {line}", self.now);
        }
    }

    /// Adds an endpoint, which takes the place of an earlier one of its side.
    pub fn add(&mut self, name: SideName, plan: &PeerPlan, connecting: Option<Answer>) -> usize {
        if name == SideName::Remote && self.sides[0].plan.kind != Kind::Source {
            self.passages[0] = Passage::new(0, self.sides[0].plan.kind, plan.kind, plan.chunk);
        }
        self.sides.push(Side::new(name, plan.clone(), connecting, self.now));
        self.sides.len() - 1
    }

    pub fn side(&self, id: usize) -> &Side {
        &self.sides[id]
    }

    pub fn side_mut(&mut self, id: usize) -> &mut Side {
        &mut self.sides[id]
    }

    pub fn see(&mut self, sight: Sight) {
        self.sights.note(sight);
    }

    /// A session is about to run.
    pub fn begin_run(&mut self) {
        self.calls_in_run = 0;
        for passage in &mut self.passages {
            (passage.read_in_run, passage.reads_in_run) = (0, 0);
        }
    }

    /// When a peer acts next.
    pub fn next_action(&self) -> Option<u64> {
        self.sides.iter().filter_map(Side::due).min()
    }

    /// Lets peers act whose time has come. Returns whether one did.
    pub fn act(&mut self) -> bool {
        let count = self.sides.len();
        let first = self.random.below(count as u64) as usize;
        let mut acted = false;
        for id in (0..count).map(|index| (first + index) % count) {
            if self.sides[id].due().is_some_and(|due| due <= self.now) {
                acted = true;
                if !self.random.once_in(3) {
                    self.step(id);
                }
            }
        }
        acted
    }

    /// Lets a peer act in the middle of a run, now and then.
    fn interleave(&mut self, id: usize) {
        if self.random.once_in(8) && self.sides[id].due().is_some_and(|due| due <= self.now) {
            self.step(id);
        }
    }

    fn step(&mut self, id: usize) {
        let pause = self.random.below(self.sides[id].plan.pause + 1);
        let side = &mut self.sides[id];
        side.next = self.now + pause;
        match side.connecting.take() {
            Some(Answer::Refuse { error, .. }) => return self.break_off(id, error),
            Some(_) => {
                (side.connected, side.edges) = (true, Edges::BOTH);
                return self.trace(format_args!("{id} connected"));
            }
            None => {}
        }
        self.fetch(id);
        self.supply(id);
        self.end(id);
    }

    /// The peer reads.
    fn fetch(&mut self, id: usize) {
        let available = self.sides[id].fetchable();
        if available == 0 {
            return;
        }
        let count = self.random.within(1..=available);
        let side = &mut self.sides[id];
        side.fetched += count;
        if side.wants_space && side.has_space() {
            side.wants_space = false;
            side.edges.write = true;
        }
        self.trace(format_args!("{id} peer read {count}"));
    }

    /// The peer sends.
    fn supply(&mut self, id: usize) {
        let available = self.sides[id].suppliable();
        if available == 0 {
            return;
        }
        let count = self.random.within(1..=available) as usize;
        self.trace(format_args!("{id} peer sent {count}"));
        let Side { plan, arrived, supplied, queue, edges, .. } = &mut self.sides[id];
        edges.read = true;
        if plan.kind.is_stream() {
            *arrived += count;
            return;
        }
        for number in *supplied..*supplied + count {
            if queue.len() < plan.receive_room as usize {
                let too_long = plan.errors_once_in.is_some_and(|times| self.random.once_in(times));
                let unit = Unit { number, length: plan.sizes[number] };
                queue.push_back(if too_long { Item::TooLong } else { Item::Datagram(unit) });
            }
        }
        *supplied += count;
    }

    /// The peer ends, if the time has come.
    fn end(&mut self, id: usize) {
        let side = &mut self.sides[id];
        if side.ends_now() {
            side.end_at = Some(self.now + side.plan.end_delay);
        }
        if side.end_at.is_none_or(|end| end > self.now) {
            return;
        }
        side.end_at = None;
        match side.ending() {
            Ending::Break(error) => self.break_off(id, error),
            _ => {
                side.finished = true;
                side.edges.read = true;
                self.trace(format_args!("{id} peer finished"));
            }
        }
    }

    fn break_off(&mut self, id: usize, error: i32) {
        let side = &mut self.sides[id];
        (side.broken, side.error, side.edges) = (true, Some(error), Edges::BOTH);
        self.trace(format_args!("{id} broken, errno {error}"));
    }

    /// Whether something would be told of an endpoint now.
    pub fn has_event(&self, id: usize) -> bool {
        let side = &self.sides[id];
        let (mut edges, mut armed) = (side.edges, side.armed);
        self.event(side, &mut edges, &mut armed).is_some()
    }

    /// Tells what happened to an endpoint.
    pub fn take_event(&mut self, id: usize) -> Option<Readiness> {
        let side = &self.sides[id];
        let (mut edges, mut armed) = (side.edges, side.armed);
        let told = self.event(side, &mut edges, &mut armed);
        let side = &mut self.sides[id];
        (side.edges, side.armed) = (edges, armed);
        let event = told?;
        side.witness.note(event);
        self.trace(format_args!("{id} event {event:?}"));
        Some(event)
    }

    /// An event without a reason, though never a writable one of an endpoint that is not connected.
    pub fn spurious_event(&mut self, id: usize) -> Option<Readiness> {
        let writable = self.random.once_in(2) && self.sides[id].connecting.is_none();
        let event = Readiness { readable: true, writable, error: self.random.once_in(2), ..Readiness::default() };
        let side = &mut self.sides[id];
        if side.plan.kind == Kind::Source || (side.broken && side.witness.told.is_empty()) {
            return None;
        }
        side.witness.note(event);
        self.trace(format_args!("{id} spurious event {event:?}"));
        Some(event)
    }

    fn event(&self, side: &Side, edges: &mut Edges, armed: &mut Armed) -> Option<Readiness> {
        if side.witness.closed {
            return None;
        }
        let edges = std::mem::take(edges);
        let all = side.conditions();
        let told = match self.style {
            _ if side.plan.kind == Kind::Source && !edges.write => Conditions::default(),
            Style::Epoll if edges.read || edges.write => all,
            Style::Kqueue => all.filtered(edges),
            Style::Poll if side.plan.kind == Kind::Source => all,
            Style::Poll if armed.registered => all.polled(armed, self.poll_tells_finish),
            _ => Conditions::default(),
        };
        (told != Conditions::default()).then(|| told.readiness())
    }

    /// A session calls an endpoint, if only to ask what it carries.
    pub fn count_call(&mut self) {
        self.calls_in_run += 1;
        assert!(self.calls_in_run < MOST_CALLS_A_RUN, "a run makes too many calls");
    }

    /// Notes that a session calls an endpoint. An error is a signal's.
    fn enter(&mut self, id: usize) -> io::Result<()> {
        self.count_call();
        assert!(!self.sides[id].witness.closed, "an endpoint is used that is closed");
        assert!(self.sides[id].connecting.is_none(), "an endpoint is used that is not connected");
        self.interleave(id);
        if self.random.once_in(40) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn enter_receive(&mut self, id: usize) -> io::Result<()> {
        let side = &self.sides[id];
        assert!(side.witness.believes_readable || side.known_broken(), "a read without a reason");
        assert!(!side.witness.read_end && !side.witness.receive_failed, "a read behind the end");
        let direction = side.direction();
        // From a side that takes nothing more, all that came before is still read.
        let budget = (!side.known_broken()).then_some(self.budget);
        if budget.is_none() && self.passages[direction].read_in_run >= self.budget as u64 {
            self.see(Sight::LastWords);
        }
        self.passages[direction].begin_read(budget, &mut self.sights);
        self.enter(id)
    }

    fn enter_send(&mut self, id: usize) -> io::Result<()> {
        let witness = &self.sides[id].witness;
        assert!(witness.believes_writable, "a write without a reason");
        assert!(!witness.send_failed, "a write to what takes no more");
        assert!(!witness.finish_called, "a write to what was told that nothing more comes");
        self.enter(id)?;
        let side = &mut self.sides[id];
        if side.broken {
            side.witness.send_failed = true;
            let error = side.fail(true);
            self.trace(format_args!("{id} send failed, errno {error}"));
            return Err(io::Error::from_raw_os_error(error));
        }
        if side.space() == 0 {
            side.wants_space = true;
            side.armed = side.armed.again();
            side.witness.believes_writable = false;
            let full = !side.plan.kind.is_stream();
            self.trace(format_args!("{id} send would block"));
            if full {
                self.see(Sight::Full);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(())
    }

    /// A read that finds nothing: the end, an error, or nothing yet. `true`: the end.
    fn receive_nothing(&mut self, id: usize) -> io::Result<()> {
        let side = &mut self.sides[id];
        if side.finished {
            side.witness.read_end = true;
            self.trace(format_args!("{id} received the end"));
            return Ok(());
        }
        if !side.broken {
            side.armed = side.armed.again();
            side.witness.believes_readable = false;
            self.trace(format_args!("{id} receive would block"));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if side.error.is_none() {
            // The error was told to who wrote: the broken stream then looks as if it had ended.
            return Ok(());
        }
        side.witness.receive_failed = true;
        let error = side.fail(false);
        self.trace(format_args!("{id} receive failed, errno {error}"));
        Err(io::Error::from_raw_os_error(error))
    }

    /// Reads from a stream.
    pub fn receive(&mut self, id: usize, short_means_blocked: bool, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read of nothing");
        self.enter_receive(id)?;
        let available = self.sides[id].arrived - self.sides[id].received;
        if available == 0 {
            return self.receive_nothing(id).map(|()| 0);
        }
        self.steps += 1;
        let mut count = available.min(buffer.len());
        if !short_means_blocked && self.random.once_in(3) {
            count = self.random.within(1..=count as u64) as usize;
        }
        let Side { witness, wire, received, plan, .. } = &mut self.sides[id];
        buffer[..count].copy_from_slice(&wire[*received..*received + count]);
        *received += count;
        let drained = short_means_blocked && count < buffer.len();
        witness.believes_readable &= !drained || witness.told_read_closed;
        let kind = plan.kind;
        self.trace(format_args!("{id} received {count} of {}", buffer.len()));
        if kind == Kind::Stream {
            let passage = &mut self.passages[self.sides[id].direction()];
            passage.add_bytes(count as u64);
            if passage.cuts(count) {
                self.see(Sight::CutIntoChunks);
            }
        }
        Ok(count)
    }

    /// Writes to a stream.
    pub fn send(&mut self, id: usize, short_means_blocked: bool, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "a write of nothing");
        self.enter_send(id)?;
        self.steps += 1;
        let space = self.sides[id].space();
        let mut count = space.min(bytes.len() as u64);
        if !short_means_blocked && self.random.once_in(3) {
            count = self.random.within(1..=count);
        }
        self.trace(format_args!("{id} sent {count} of {}", bytes.len()));
        let direction = 1 - self.sides[id].direction();
        self.passages[direction].take_bytes(&bytes[..count as usize], &mut self.sights);
        let side = &mut self.sides[id];
        side.sent += count;
        if count == space {
            side.wants_space = true;
        }
        Ok(count as usize)
    }

    /// Reads from a datagram socket.
    pub fn receive_datagrams(
        &mut self,
        id: usize,
        short_means_blocked: bool,
        batch: &mut Batch,
    ) -> io::Result<Received> {
        assert!(batch.is_empty() && batch.count() == 0, "what is read into is not empty");
        self.enter_receive(id)?;
        let direction = self.sides[id].direction();
        if self.sides[id].plan.kind == Kind::Source {
            self.sides[id].witness.believes_readable = false;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.has_error(id) {
            batch.count_dropped(Undelivered::Error(libc::ECONNREFUSED));
            self.passages[direction].dropped += 1;
            self.see(Sight::ErrorOnRead);
        }
        if self.sides[id].queue.is_empty() {
            self.receive_nothing(id)?;
            self.see(Sight::EndOfDatagrams);
            return Ok(Received::End);
        }
        self.steps += 1;
        let asked = self.random.pick(&[1, 2, 4, MOST_DATAGRAMS]).min(MOST_DATAGRAMS);
        let mut count = asked.min(self.sides[id].queue.len());
        if !short_means_blocked && self.random.once_in(3) {
            count = self.random.within(1..=count as u64) as usize;
        }
        let items: Vec<Item> = self.sides[id].queue.drain(..count).collect();
        let units: Vec<Unit> = items.iter().filter_map(|item| item.unit()).collect();
        for _ in units.len()..count {
            batch.count_dropped(Undelivered::TooLarge);
            self.passages[direction].dropped += 1;
            self.see(Sight::TooLongToRead);
        }
        if units.is_empty() {
            self.see(Sight::NothingButDrops);
        }
        put(batch, direction, &units, self.sides[id].plan.rooms);
        units.iter().for_each(|&unit| self.passages[direction].add(unit));
        self.trace(format_args!("{id} received {} datagrams, asked for {asked}", units.len()));
        if count == asked {
            self.see(Sight::More);
            return Ok(Received::More);
        }
        let witness = &mut self.sides[id].witness;
        witness.believes_readable &= !short_means_blocked || witness.told_read_closed;
        self.see(if self.sides[id].queue.is_empty() { Sight::Last } else { Sight::LastThoughMore });
        Ok(Received::Last)
    }

    /// Writes to a datagram socket.
    pub fn send_datagrams(&mut self, id: usize, batch: &mut Batch) -> io::Result<()> {
        assert!(!batch.is_empty(), "a write of nothing");
        self.enter_send(id)?;
        self.steps += 1;
        let direction = 1 - self.sides[id].direction();
        if self.sides[id].plan.unnamed {
            for bytes in batch.datagrams() {
                self.passages[direction].take(bytes, false, &mut self.sights);
            }
            batch.drop_all(Undelivered::NoPeer);
            self.see(Sight::NoPeer);
            return Ok(());
        }
        let longest = self.sides[id].plan.longest;
        let first = batch.datagrams().next().expect("it is not empty");
        let too_long = first.len() > longest;
        if too_long || self.has_error(id) {
            if !too_long && self.random.once_in(2) {
                batch.count_dropped(Undelivered::Error(libc::ECONNREFUSED));
                self.passages[direction].dropped += 1;
                self.see(Sight::LateError);
                return Ok(());
            }
            self.passages[direction].take(first, false, &mut self.sights);
            batch.drop_first(if too_long { Undelivered::TooLarge } else { Undelivered::Error(libc::EPERM) });
            self.see(if too_long { Sight::TooLongToSend } else { Sight::ErrorOnSend });
            return Ok(());
        }
        let most = self.random.pick(&[1, 2, MOST_DATAGRAMS]).min(self.sides[id].space() as usize);
        let mut count = 0;
        for bytes in batch.datagrams().take(most).take_while(|bytes| bytes.len() <= longest) {
            self.passages[direction].take(bytes, true, &mut self.sights);
            count += 1;
        }
        batch.take(count);
        self.sides[id].sent += count as u64;
        self.trace(format_args!("{id} sent {count} datagrams"));
        Ok(())
    }

    /// Notes what was made of a stream's frames, and checks that it is what they hold.
    pub fn receive_frames(&mut self, id: usize, batch: &Batch, result: &io::Result<Received>) {
        let direction = self.sides[id].direction();
        let before = self.sides[id].frames_read;
        let Side { frame_ends, received, frames_read, plan, .. } = &mut self.sides[id];
        while frame_ends.get(*frames_read).is_some_and(|end| end <= received) {
            *frames_read += 1;
        }
        let units = (before..*frames_read).map(|number| Unit { number, length: plan.sizes[number] });
        let units: Vec<Unit> = units.collect();
        let expected = units.iter().map(|unit| datagram(direction, unit.number, unit.length));
        assert!(batch.datagrams().eq(expected), "frames were not read as they came");
        units.iter().for_each(|&unit| self.passages[direction].add(unit));
        if units.iter().any(|unit| unit.length == MAX_DATAGRAM) {
            self.see(Sight::LargestCame);
        }
        if units.len() > MOST_DATAGRAMS {
            self.see(Sight::ManyFrames);
        }
        self.check_end_of_frames(id, result);
    }

    fn check_end_of_frames(&mut self, id: usize, result: &io::Result<Received>) {
        let side = &mut self.sides[id];
        let partial = side.received - side.frame_start();
        let sights = match partial {
            0 => None,
            1 => Some((Sight::SplitLength, Sight::EndInLength)),
            _ => Some((Sight::SplitDatagram, Sight::EndInDatagram)),
        };
        let looks_ended = side.witness.read_end || (side.broken && side.known_broken() && !side.has_input());
        match (result, sights) {
            (Ok(Received::End), _) => {
                assert!(looks_ended && partial == 0, "an end of frames that is none");
                self.see(Sight::EndBetweenFrames);
            }
            (Err(error), Some((_, end))) if error.kind() == io::ErrorKind::UnexpectedEof => {
                assert!(looks_ended, "a stream of frames is said to have ended");
                side.witness.cut = true;
                self.see(end);
            }
            (Ok(_), Some((split, _))) => self.see(split),
            (Err(error), None) => assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof, "a whole frame is cut off"),
            _ => {}
        }
    }

    /// Whether a call finds an error that concerns one datagram.
    fn has_error(&mut self, id: usize) -> bool {
        self.sides[id].plan.errors_once_in.is_some_and(|times| self.random.once_in(times))
    }

    /// The session asks for an error.
    pub fn take_error(&mut self, id: usize) -> Option<io::Error> {
        let side = &mut self.sides[id];
        let error = side.error.take()?;
        side.witness.told.push(error);
        self.trace(format_args!("{id} told errno {error}"));
        Some(io::Error::from_raw_os_error(error))
    }

    /// The session says that nothing more comes.
    pub fn finish(&mut self, id: usize) -> io::Result<()> {
        self.count_call();
        let side = &self.sides[id];
        assert!(!side.witness.closed && side.connecting.is_none(), "an end is told to what is not connected");
        assert!(!side.witness.finish_called, "an end is told twice");
        assert!(!side.failed(), "an end is told to what takes no more");
        let direction = 1 - side.direction();
        assert!(self.is_drained(direction), "an end is told that nobody told, or before what came first");
        self.interleave(id);
        if let (Ending::Break(error), true) = (self.sides[id].ending(), self.random.once_in(4)) {
            self.break_off(id, error);
        }
        let refused = self.sides[id].broken && self.random.once_in(2);
        let side = &mut self.sides[id];
        side.witness.finish_called = true;
        if !side.plan.takes_end {
            // Then it says nothing to anybody.
            return Ok(());
        }
        if refused {
            side.witness.send_failed = true;
            side.witness.told.push(libc::ENOTCONN);
            self.trace(format_args!("{id} finish failed"));
            self.see(Sight::FinishFailed);
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        }
        side.told_end = true;
        side.edges.write = true;
        self.trace(format_args!("{id} finished"));
        Ok(())
    }

    /// Whether the source of this direction has ended, and all that it sent has been delivered or dropped.
    pub fn is_drained(&self, direction: usize) -> bool {
        let ended = |side: &Side| side.direction() == direction && side.witness.read_end && !side.witness.cut;
        self.sides.iter().any(ended) && !self.passages[direction].is_kept()
    }
}

impl Item {
    fn unit(&self) -> Option<Unit> {
        match self {
            Item::Datagram(unit) => Some(*unit),
            Item::TooLong => None,
        }
    }
}

/// Puts datagrams into an empty batch: each into a room of its own, or one behind the other.
pub fn put(batch: &mut Batch, direction: usize, units: &[Unit], rooms: bool) {
    let contents = |unit: &Unit| datagram(direction, unit.number, unit.length);
    if rooms {
        let write = |(unit, (start, room)): (&Unit, (usize, &mut [u8]))| {
            room[..unit.length].copy_from_slice(contents(unit));
            (start, unit.length)
        };
        let places: Vec<_> = units.iter().zip(batch.rooms()).map(write).collect();
        assert_eq!(places.len(), units.len(), "there is not room for so many datagrams");
        places.into_iter().for_each(|(start, length)| batch.add(start, length));
        return;
    }
    let bytes: Vec<u8> = units.iter().flat_map(contents).copied().collect();
    batch.space(bytes.len()).copy_from_slice(&bytes);
    let first = units.first().map_or(0, |unit| unit.length);
    if first > 0 && units.iter().all(|unit| unit.length == first) {
        // So come trains of datagrams.
        return batch.add_chunks(0, bytes.len(), first);
    }
    let mut start = 0;
    for unit in units {
        batch.add(start, unit.length);
        start += unit.length;
    }
}
