//! One I/O thread: its poll loop, its slab of sessions, their run queue and timers.
//!
//! A turn: poll; note what the events say on the sides of sessions and queue those; take new clients; look at the
//! timers; run the sparse sessions and then, for one budget of bytes, bulk sessions. An event touches nothing but
//! readiness, and a session is removed only by its own run, so an event cannot reach a session that is gone.

pub mod accepting;
pub mod acceptor;
pub mod mailbox;
pub mod recency;
pub mod run_queue;
pub mod sources;
pub mod timers;

use log::{debug, warn};
use mio::event::Event;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::error::{error_number, error_text};
use crate::buffers::batch::{Counts, Undelivered};
use crate::buffers::pools::Pools;
use crate::buffers::splice::KernelPipe;
use crate::config::settings::{ProcessSettings, ZeroCopy};
use crate::endpoint::datagram::Origin;
use crate::endpoint::source::SourceSocket;
use crate::endpoint::{Carries, Listener, Route, SideName, Socket};
use crate::flow::{Pace, Readiness};
use crate::log::flush;
use crate::service::admission::{self, Admission};
use crate::service::{RemoteAddress, Service, SocketOptions};
use crate::session::{Dial, Dialer, End, Outcome, Session, Turn, logs_routes};
use crate::thread::accepting::{Accepting, STOP_TIMEOUT};
use crate::thread::mailbox::{Inbox, Mailbox, mailbox};
use crate::thread::run_queue::RunQueue;
use crate::thread::sources::{Directory, Sources};
use crate::thread::timers::Timers;

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

/// New clients taken in one turn.
const CLIENTS_PER_TURN: usize = 64;

/// Bytes bulk sessions may move in one turn, and a flow may read in one run, while only bulk sessions are about.
const LARGE_BUDGET: usize = 1 << 20;

/// The same while sparse sessions are about, which wait for it to be over.
const SMALL_BUDGET: usize = 256 << 10;

/// A sparse session that moved at most this many bytes in its run carries messages, whose latency matters.
const MESSAGE: u64 = 16 << 10;

/// How long sparse sessions are taken to be about after one has been seen, in milliseconds.
pub const SPARSE_MEMORY: u64 = 5;

/// The token of the inbox's waker; no session has it.
const INBOX: Token = Token(usize::MAX);

/// The token of the first listener; no session has it or one above it.
const FIRST_LISTENER: usize = usize::MAX - 65536;

/// The token of the first socket for clients without a connection; no session has it or one above it.
const FIRST_SOURCE: usize = FIRST_LISTENER - 65536;

/// How long no new client without a connection gets a session, in milliseconds, after one could not be
/// connected: otherwise every datagram would be an attempt, with its log lines.
const SOURCES_PAUSE: u64 = 100;

/// A session makes room for another only when nothing has moved in it for so long, in milliseconds: an answer may be on
/// its way, and of more clients than there is room for, some are served rather than none.
const MADE_ROOM_AFTER: u64 = 200;

/// What a session costs to start, in bytes that could be moved in the time: some 20 us.
const NEW_SESSION_COST: usize = 32 << 10;

/// In place of a session's key: there is none.
const NOBODY: usize = usize::MAX;

/// What an I/O thread is told.
#[derive(Debug)]
pub enum Message {
    /// A client for it to serve.
    Client(Socket),
    /// No more clients will come: end when the last session has, and reset what is left at this time.
    Drain(Instant),
}

/// One I/O thread's state.
pub struct IoThread {
    poll: Poll,
    inbox: Inbox<Message>,
    sessions: Slab<Session<Socket>>,
    queue: RunQueue,
    timers: Timers,
    pools: Pools<KernelPipe>,
    pace: Pace,
    /// Listeners of the thread's own, until it drains.
    accepting: Option<Accepting>,
    /// The sockets of clients without a connection.
    sources: Option<Sources>,
    /// The sessions of these clients, and how many there may be.
    directory: Directory,
    most_sources: usize,
    /// No new ones until then: connecting failed.
    sources_paused: u64,
    /// Datagrams dropped that no session counts.
    lost: u64,
    /// Sessions of such clients that were started.
    started: usize,
    service: Arc<Service>,
    counts: Arc<admission::Counts>,
    /// The zero of the milliseconds that timers count.
    origin: Instant,
    now: u64,
    /// When a session that carries messages was last seen.
    sparse_seen: Option<u64>,
    drain: Option<u64>,
}

/// What an I/O thread shares out with the others, or needs of its own to accept.
pub struct Share {
    /// What the thread counts for others.
    pub counts: Arc<admission::Counts>,
    /// Pipes that the thread may have at once.
    pub pipes: usize,
    /// Listeners for it to accept from.
    pub listeners: Vec<Listener>,
    /// Sockets of clients without a connection.
    pub sources: Vec<SourceSocket>,
    /// How many of these clients may have sessions at once.
    pub most_sources: usize,
    /// Who may come in there.
    pub admission: Admission,
}

impl IoThread {
    /// Makes a thread's state, and the mailbox to reach it by. [`IoThread::run`] is to be called on the thread.
    pub fn new(
        settings: &ProcessSettings,
        service: Arc<Service>,
        share: Share,
    ) -> io::Result<(IoThread, Mailbox<Message>)> {
        let poll = Poll::new()?;
        let accepting = match share.listeners {
            listeners if listeners.is_empty() => None,
            listeners => Some(Accepting::new(listeners, share.admission.clone(), poll.registry(), FIRST_LISTENER)?),
        };
        let sources = match share.sources {
            sockets if sockets.is_empty() => None,
            sockets => Some(Sources::new(sockets, share.admission, poll.registry(), FIRST_SOURCE)?),
        };
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        let thread = IoThread {
            poll,
            inbox,
            sessions: Slab::new(),
            queue: RunQueue::default(),
            timers: Timers::default(),
            pools: Pools::new(settings.buffer_size, share.pipes),
            pace: if settings.zero_copy == ZeroCopy::Always { Pace::AlwaysBulk } else { Pace::START },
            accepting,
            sources,
            directory: Directory::default(),
            most_sources: share.most_sources,
            sources_paused: 0,
            lost: 0,
            started: 0,
            service,
            counts: share.counts,
            origin: Instant::now(),
            now: 0,
            sparse_seen: None,
            drain: None,
        };
        Ok((thread, mailbox))
    }

    /// Serves clients until it was told to drain and all sessions have ended.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut due = Vec::new();
        while self.drain.is_none() || self.accepting.is_some() || !self.sessions.is_empty() {
            self.poll(&mut events);
            for event in &events {
                self.note(event);
            }
            self.receive();
            self.timers.expire(self.now, &mut due);
            for key in due.drain(..) {
                self.queue.wake(key, false);
            }
            self.accept();
            self.run_sparse();
            self.receive_datagrams();
            self.run_bulk();
            self.end_drain();
            flush();
        }
    }

    /// Waits for events unless sessions or messages wait, and reads the turn's clock.
    fn poll(&mut self, events: &mut Events) {
        let wait = if self.queue.is_empty() { self.wait() } else { Some(Duration::ZERO) };
        self.inbox.poll(&mut self.poll, events, wait);
        self.now = self.milliseconds(Instant::now());
    }

    /// How long the thread may sleep; `None`: until an event comes.
    fn wait(&self) -> Option<Duration> {
        let drain = self.drain.map(|at| Duration::from_millis(at.saturating_sub(self.now)));
        let accepting = self.accepting.as_ref().and_then(Accepting::wait);
        let sources = self.sources.as_ref().and_then(Sources::wait);
        [self.timers.wait(self.now), drain, accepting, sources].into_iter().flatten().min()
    }

    fn milliseconds(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.origin).as_millis() as u64
    }

    fn note(&mut self, event: &Event) {
        match event.token() {
            INBOX => {}
            Token(listener) if listener >= FIRST_LISTENER => {
                if let Some(accepting) = &mut self.accepting {
                    accepting.note(listener - FIRST_LISTENER);
                }
            }
            Token(source) if source >= FIRST_SOURCE => {
                if let Some(sources) = &mut self.sources {
                    sources.note(source - FIRST_SOURCE, event);
                }
            }
            token => {
                let (key, side) = key_and_side(token);
                if let Some(session) = self.sessions.get_mut(key) {
                    session.ready(side, readiness(event));
                    self.queue.wake(key, session.is_bulk());
                }
            }
        }
    }

    fn receive(&mut self) {
        for _ in 0..CLIENTS_PER_TURN {
            match self.inbox.next() {
                Some(Message::Client(client)) => {
                    self.start_session(client);
                }
                Some(Message::Drain(deadline)) => self.start_drain(deadline),
                None => break,
            }
        }
    }

    fn start_drain(&mut self, deadline: Instant) {
        self.drain = Some(self.milliseconds(deadline) + 1);
        if let Some(accepting) = &mut self.accepting {
            accepting.stop(STOP_TIMEOUT.min(deadline.saturating_duration_since(Instant::now())));
        }
        for key in self.directory.keys() {
            self.sessions[key].drain();
            self.arm(key);
        }
        let endless = self.sessions.iter().filter(|(_, session)| session.is_endless());
        for key in endless.map(|(key, _)| key).collect::<Vec<_>>() {
            self.after(key, Outcome::Ended(End::Drain));
        }
    }

    /// Takes datagrams of clients without a connection, for one budget of bytes from each socket.
    fn receive_datagrams(&mut self) {
        let Some(mut sources) = self.sources.take() else { return };
        for index in 0..sources.count() {
            self.wake_unblocked(&mut sources, index);
            let mut budget = self.budget();
            while budget > 0 && sources.receive(index) {
                budget = budget.saturating_sub(sources.batch.cost());
                if sources.batch.size() as u64 <= MESSAGE {
                    self.sparse_seen = Some(self.now);
                }
                let started = self.deal_datagrams(&mut sources, index);
                budget = budget.saturating_sub(started * NEW_SESSION_COST);
            }
        }
        self.sources = Some(sources);
    }

    /// Wakes the sessions of those who waited for a socket to take more and need not any longer.
    fn wake_unblocked(&mut self, sources: &mut Sources, index: usize) {
        let mut woken = std::mem::take(&mut sources.woken);
        sources.unblocked(index, &mut woken);
        for origin in woken.drain(..) {
            if let Some(key) = self.directory.find(&(index, origin)) {
                self.sessions[key].ready(SideName::Client, Readiness { writable: true, ..Readiness::default() });
                self.queue.wake(key, false);
            }
        }
        sources.woken = woken;
    }

    /// Gives what was read from a socket to the sessions of those who sent it. Returns how many it tried to start.
    fn deal_datagrams(&mut self, sources: &mut Sources, index: usize) -> usize {
        let before = self.started;
        let mut keys = std::mem::take(&mut sources.keys);
        keys.clear();
        for (number, origin) in sources.origins.iter().enumerate() {
            let key = match keys.last() {
                Some(&key) if sources.origins[number - 1] == *origin => key,
                _ => self.session_of(sources, index, origin, &keys).unwrap_or(NOBODY),
            };
            keys.push(key);
        }
        self.log_lost(sources.batch.take_counts());
        sources.batch.for_each_key(&keys, |key, batch| {
            let Some(session) = self.sessions.get_mut(key) else {
                batch.drop_all(Undelivered::NoSession);
                return self.log_lost(batch.take_counts());
            };
            let mut turn = Turn { pools: &mut self.pools, now: self.now, budget: 0 };
            let outcome = session.offer(batch, &mut turn);
            self.after(key, outcome);
        });
        sources.keys = keys;
        self.started - before
    }

    /// Logs datagrams that no session counts, now and then.
    fn log_lost(&mut self, counts: Counts) {
        self.lost += counts.dropped;
        let Some(why) = counts.why else { return };
        if self.pools.drop_log.may_log(self.now) {
            warn!("datagrams of no session dropped so far: {}, the last one because: {why}", self.lost);
        }
    }

    /// The session of a source, a new one if there is none; `taken` are those that are not to make room for it.
    fn session_of(&mut self, sources: &Sources, index: usize, origin: &Origin, taken: &[usize]) -> Option<usize> {
        let source = (index, origin.clone());
        if let Some(key) = self.directory.find(&source) {
            self.directory.touch(key);
            return Some(key);
        }
        if self.drain.is_some() || self.now < self.sources_paused {
            return None;
        }
        if self.directory.count() >= self.most_sources || !sources.admission().has_room() {
            let oldest = self.directory.oldest().filter(|key| !taken.contains(key))?;
            let idle = self.sessions[oldest].last_moved().is_none_or(|moved| moved + MADE_ROOM_AFTER <= self.now);
            if !idle {
                return None;
            }
            self.after(oldest, Outcome::Ended(End::MadeRoom));
        }
        sources.admission().admit();
        self.started += 1;
        match self.start_session(Socket::Source(sources.client(index, origin))) {
            Some(key) => {
                self.directory.add(source, key);
                Some(key)
            }
            None => {
                self.sources_paused = self.now + SOURCES_PAUSE;
                None
            }
        }
    }

    fn accept(&mut self) {
        let Some(mut accepting) = self.accepting.take() else { return };
        accepting.accept(|client| {
            self.start_session(client);
        });
        if !accepting.has_stopped() {
            self.accepting = Some(accepting);
        }
    }

    fn run_sparse(&mut self) {
        while let Some(key) = self.queue.next_sparse() {
            let moved = self.run_session(key, self.budget());
            if moved <= MESSAGE && !self.queue.is_bulk(key) {
                self.sparse_seen = Some(self.now);
            }
        }
    }

    fn run_bulk(&mut self) {
        let budget = self.budget();
        let mut moved = 0;
        for _ in 0..self.queue.bulk_waiting() {
            let Some(key) = self.queue.next_bulk() else { return };
            moved += self.run_session(key, budget);
            if moved >= budget as u64 {
                return;
            }
        }
    }

    /// How many bytes may be moved before others must have had their turn.
    fn budget(&self) -> usize {
        match self.sparse_seen {
            Some(seen) if self.now <= seen + SPARSE_MEMORY => SMALL_BUDGET,
            _ => LARGE_BUDGET,
        }
    }

    /// Starts a client's session and returns its key, if it did not end at once.
    fn start_session(&mut self, mut client: Socket) -> Option<usize> {
        if logs_routes() {
            client.complete_names();
        }
        let entry = self.sessions.vacant_entry();
        let key = entry.key();
        let registered = client
            .apply(&self.service.options)
            .and_then(|()| client.register(self.poll.registry(), token(key, SideName::Client)));
        let session = entry.insert(Session::new(client, self.service.clone(), self.pace));
        let turn = Turn { pools: &mut self.pools, now: self.now, budget: 0 };
        let outcome = match registered {
            Ok(()) => session.start(&turn, &mut ThreadDialer { registry: self.poll.registry(), key }),
            Err(error) => {
                debug!("client socket errno {}: {}", error_number(&error), error_text(&error));
                Outcome::Ended(End::Error(SideName::Client))
            }
        };
        self.after(key, outcome);
        (!matches!(outcome, Outcome::Ended(_))).then_some(key)
    }

    /// Runs a session and says how many bytes it delivered.
    fn run_session(&mut self, key: usize, budget: usize) -> u64 {
        let Some(session) = self.sessions.get_mut(key) else { return 0 };
        let before = session.moved();
        let mut turn = Turn { pools: &mut self.pools, now: self.now, budget };
        let outcome = session.run(&mut turn, &mut ThreadDialer { registry: self.poll.registry(), key });
        let moved = session.moved() - before;
        if moved > 0 {
            self.directory.touch(key);
        }
        self.after(key, outcome);
        moved
    }

    fn after(&mut self, key: usize, outcome: Outcome) {
        match outcome {
            Outcome::Waiting => self.arm(key),
            Outcome::Spent => {
                self.arm(key);
                self.queue.spent(key);
            }
            Outcome::Ended(end) => {
                self.timers.cancel(key);
                let was_source = self.directory.forget(key);
                if was_source && matches!(end, End::ConnectFailed | End::ConnectTimeout) {
                    self.sources_paused = self.now + SOURCES_PAUSE;
                }
                self.sessions.remove(key).close(end, &mut self.pools);
                self.counts.session_ended();
            }
        }
    }

    /// Sees to it that the session's timer is due by its deadline. One that is due earlier is left alone: it finds
    /// nothing to do and is armed anew, which is cheaper than moving it whenever bytes move. One that is not needed any
    /// more is disarmed: with no timer armed, the poll need not set one either.
    fn arm(&mut self, key: usize) {
        let Some(deadline) = self.sessions[key].deadline() else {
            return self.timers.cancel(key);
        };
        if self.timers.armed(key).is_none_or(|armed| armed > deadline.saturating_add(crate::thread::timers::TICK)) {
            self.timers.arm(key, deadline);
        }
    }

    /// Resets what is left when the time to drain is over.
    fn end_drain(&mut self) {
        if self.drain.is_some_and(|deadline| deadline <= self.now) {
            for (key, session) in std::mem::take(&mut self.sessions) {
                self.directory.forget(key);
                session.close(End::Drain, &mut self.pools);
                self.counts.session_ended();
            }
        }
    }
}

/// Connects and registers one session's remote side.
struct ThreadDialer<'a> {
    registry: &'a Registry,
    key: usize,
}

impl ThreadDialer<'_> {
    fn connect(&self, address: &RemoteAddress, options: &SocketOptions, client: Carries) -> io::Result<Socket> {
        let mut socket = Socket::connect(address, options, client)?;
        socket.register(self.registry, token(self.key, SideName::Remote))?;
        if logs_routes() {
            socket.complete_names();
        }
        Ok(socket)
    }
}

impl Dialer<Socket> for ThreadDialer<'_> {
    fn dial(&mut self, service: &Service, address: usize, client: Carries) -> Dial<Socket> {
        let Some(address) = service.remotes.get(address) else { return Dial::NoSuchAddress };
        match self.connect(address, &service.options, client) {
            Ok(socket) => {
                log::info!("connect starting proxy to remote {}", Route(&socket, SideName::Remote));
                Dial::Started(socket)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Dial::Busy,
            Err(error) => {
                warn!("remote socket connect error errno = {}: {}", error_number(&error), error_text(&error));
                Dial::Failed
            }
        }
    }
}

fn token(key: usize, side: SideName) -> Token {
    Token(match side {
        SideName::Client => 2 * key,
        SideName::Remote => 2 * key + 1,
    })
}

fn key_and_side(token: Token) -> (usize, SideName) {
    match token.0 % 2 {
        0 => (token.0 / 2, SideName::Client),
        _ => (token.0 / 2, SideName::Remote),
    }
}

fn readiness(event: &Event) -> Readiness {
    let error = event.is_error();
    let read_closed = event.is_read_closed();
    Readiness {
        readable: event.is_readable() || read_closed || error,
        writable: event.is_writable() || event.is_write_closed() || error,
        read_closed,
        error,
        urgent: event.is_priority(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_a_session_and_a_side() {
        for key in [0, 1, 77] {
            for side in [SideName::Client, SideName::Remote] {
                assert_eq!(key_and_side(token(key, side)), (key, side));
                assert_ne!(token(key, side), INBOX);
            }
        }
    }
}
