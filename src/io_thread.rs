//! One I/O thread: its poll loop, its slab of sessions, their run queue and timers.
//!
//! A turn: poll; note what the events say on the sides of sessions and queue those; take new clients; look at the
//! timers; run the sparse sessions and then one bulk session. An event touches nothing but readiness, and a session is
//! removed only by its own run, so an event cannot reach a session that is gone.

use log::{Level, debug, error, log_enabled, warn};
use mio::event::Event;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::address::EndpointAddress;
use crate::admission::EndedCount;
use crate::buffer_pool::BufferPool;
use crate::endpoint::{RemoteAddress, Route, Socket, SocketOptions};
use crate::flow::Readiness;
use crate::log::{error_number, error_text, flush};
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::run_queue::RunQueue;
use crate::session::{Dial, Dialer, End, Outcome, Session, SideName, Timeouts, Turn};
use crate::settings::Settings;
use crate::timers::Timers;

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

/// New clients taken in one turn.
const CLIENTS_PER_TURN: usize = 64;

/// Bytes a flow may read in one run while no other session waits.
const LARGE_BUDGET: usize = 512 << 10;

/// Bytes a flow may read in one run while others wait.
const SMALL_BUDGET: usize = 64 << 10;

/// The token of the inbox's waker; no session has it.
const INBOX: Token = Token(usize::MAX);

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
    pool: BufferPool,
    remotes: Remotes,
    timeouts: Timeouts,
    ended: Arc<EndedCount>,
    /// The zero of the milliseconds that timers count.
    origin: Instant,
    now: u64,
    drain: Option<u64>,
}

/// The remote's addresses, and what connecting to them needs.
struct Remotes {
    addresses: Vec<RemoteAddress>,
    options: SocketOptions,
}

impl IoThread {
    /// Makes a thread's state, and the mailbox to reach it by. [`IoThread::run`] is to be called on the thread.
    pub fn new(settings: &Settings, ended: Arc<EndedCount>) -> io::Result<(IoThread, Mailbox<Message>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let thread = IoThread {
            poll,
            inbox,
            sessions: Slab::new(),
            queue: RunQueue::default(),
            timers: Timers::default(),
            pool: BufferPool::new(settings.buffer_size),
            remotes: Remotes::new(&settings.remote.addresses, SocketOptions::new(settings))?,
            timeouts: Timeouts {
                connect: milliseconds(settings.connect_timeout),
                idle: settings.idle_timeout.map(milliseconds),
            },
            ended,
            origin: Instant::now(),
            now: 0,
            drain: None,
        };
        Ok((thread, mailbox))
    }

    /// Serves clients until it was told to drain and all sessions have ended.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut due = Vec::new();
        while self.drain.is_none() || !self.sessions.is_empty() {
            self.poll(&mut events);
            for event in &events {
                self.note(event);
            }
            self.receive();
            self.timers.expire(self.now, &mut due);
            for key in due.drain(..) {
                self.queue.wake(key);
            }
            while let Some(key) = self.queue.next_sparse() {
                self.run_session(key);
            }
            if let Some(key) = self.queue.next_bulk() {
                self.run_session(key);
            }
            self.end_drain();
            flush();
        }
    }

    /// Waits for events unless sessions or messages wait, and reads the turn's clock.
    fn poll(&mut self, events: &mut Events) {
        let sleeps = self.queue.is_empty() && self.inbox.sleep();
        let timeout = if sleeps { self.wait() } else { Some(Duration::ZERO) };
        let result = self.poll.poll(events, timeout);
        if sleeps {
            self.inbox.wake_up();
        }
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => error!("poll error: {}", error_text(&error)),
            _ => {}
        }
        self.now = self.milliseconds(Instant::now());
    }

    /// How long the thread may sleep; `None`: until an event comes.
    fn wait(&self) -> Option<Duration> {
        let drain = self.drain.map(|at| Duration::from_millis(at.saturating_sub(self.now)));
        [self.timers.wait(self.now), drain].into_iter().flatten().min()
    }

    fn milliseconds(&self, time: Instant) -> u64 {
        time.saturating_duration_since(self.origin).as_millis() as u64
    }

    fn note(&mut self, event: &Event) {
        if event.token() == INBOX {
            return;
        }
        let (key, side) = key_and_side(event.token());
        if let Some(session) = self.sessions.get_mut(key) {
            session.ready(side, readiness(event));
            self.queue.wake(key);
        }
    }

    fn receive(&mut self) {
        for _ in 0..CLIENTS_PER_TURN {
            match self.inbox.next() {
                Some(Message::Client(client)) => self.start_session(client),
                Some(Message::Drain(deadline)) => self.drain = Some(self.milliseconds(deadline)),
                None => break,
            }
        }
    }

    fn start_session(&mut self, mut client: Socket) {
        if log_enabled!(Level::Info) {
            client.complete_names();
        }
        let entry = self.sessions.vacant_entry();
        let key = entry.key();
        let registered = client
            .apply(&self.remotes.options)
            .and_then(|()| client.register(self.poll.registry(), token(key, SideName::Client)));
        let session = entry.insert(Session::new(client));
        let turn = Turn { pool: &mut self.pool, now: self.now, budget: 0, timeouts: &self.timeouts };
        let outcome = match registered {
            Ok(()) => session.start(&turn, &mut ThreadDialer::new(&self.remotes, self.poll.registry(), key)),
            Err(error) => {
                debug!("client socket errno {}: {}", error_number(&error), error_text(&error));
                Outcome::Ended(End::Error(SideName::Client))
            }
        };
        self.after(key, outcome);
    }

    fn run_session(&mut self, key: usize) {
        let alone = self.queue.is_empty();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let mut turn = Turn {
            pool: &mut self.pool,
            now: self.now,
            budget: if alone { LARGE_BUDGET } else { SMALL_BUDGET },
            timeouts: &self.timeouts,
        };
        let outcome = session.run(&mut turn, &mut ThreadDialer::new(&self.remotes, self.poll.registry(), key));
        self.after(key, outcome);
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
                self.sessions.remove(key).close(end, &mut self.pool);
                self.ended.add_one();
            }
        }
    }

    /// Sees to it that the session's timer is due by its deadline. One that is due earlier is left alone: it finds
    /// nothing to do and is armed anew, which is cheaper than moving it whenever bytes move.
    fn arm(&mut self, key: usize) {
        let Some(deadline) = self.sessions[key].deadline(&self.timeouts) else { return };
        if self.timers.armed(key).is_none_or(|armed| armed > deadline.saturating_add(crate::timers::TICK)) {
            self.timers.arm(key, deadline);
        }
    }

    /// Resets what is left when the time to drain is over.
    fn end_drain(&mut self) {
        if self.drain.is_some_and(|deadline| deadline <= self.now) {
            for session in self.sessions.drain() {
                session.close(End::Drain, &mut self.pool);
                self.ended.add_one();
            }
        }
    }
}

impl Remotes {
    fn new(addresses: &[EndpointAddress], options: SocketOptions) -> io::Result<Remotes> {
        let addresses = addresses.iter().map(RemoteAddress::new).collect::<io::Result<_>>()?;
        Ok(Remotes { addresses, options })
    }
}

/// Connects and registers one session's remote side.
struct ThreadDialer<'a> {
    remotes: &'a Remotes,
    registry: &'a Registry,
    key: usize,
}

impl<'a> ThreadDialer<'a> {
    fn new(remotes: &'a Remotes, registry: &'a Registry, key: usize) -> ThreadDialer<'a> {
        ThreadDialer { remotes, registry, key }
    }

    fn connect(&self, address: &RemoteAddress) -> io::Result<Socket> {
        let mut socket = Socket::connect(address, &self.remotes.options)?;
        socket.register(self.registry, token(self.key, SideName::Remote))?;
        if log_enabled!(Level::Info) {
            socket.complete_names();
        }
        Ok(socket)
    }
}

impl Dialer<Socket> for ThreadDialer<'_> {
    fn dial(&mut self, address: usize) -> Dial<Socket> {
        let Some(address) = self.remotes.addresses.get(address) else { return Dial::NoSuchAddress };
        match self.connect(address) {
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
