//! One I/O thread: it owns a poll and everything that concerns its sessions, and this is its loop.
//!
//! A turn: poll; note what the events say; take messages; wake the sessions whose timers are due; accept; run the sparse
//! sessions; read the sockets of sources; run bulk sessions for one budget of bytes. An event touches nothing but
//! readiness, and all events of a poll are noted before any session starts, runs or ends in that turn, so an event cannot
//! reach a session that is gone, or another one in its slot.

pub mod accepting;
pub mod acceptor;
mod access_log;
pub mod change;
pub mod dealing;
pub mod dial;
pub mod directory;
pub mod drain;
mod effort;
pub mod lobby;
pub mod look;
pub mod mailbox;
pub mod recency;
pub mod run_queue;
pub mod sessions;
mod sources;
pub mod timers;
pub mod tokens;

use mio::event::Event;
use mio::{Events, Poll};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::{Clock, thread_cpu_us};
use crate::buffers::pipe_pool::PipeBudget;
use crate::buffers::pools::Pools;
use crate::config::balancing::OnDown;
use crate::config::settings::{ProcessSettings, ZeroCopy};
use crate::counters::ThreadSnapshot;
use crate::endpoint::source::SourceSocket;
use crate::endpoint::{Listener, Socket};
use crate::flow::{Pace, Readiness};
use crate::log::flush;
use crate::service::ServiceId;
use crate::service::admission::Admission;
use crate::service::pool::RemoteId;
use crate::session::End;
use accepting::{Accepting, Client, STOP_TIMEOUT};
use change::{Change, Done};
use dial::ThreadHost;
use drain::Drain;
use effort::Effort;
use lobby::{HandedOver, Lobby};
use look::{LastLooks, Look};
use mailbox::{Inbox, Mailbox, mailbox};
use sessions::{Budgets, Sessions};
use sources::Sources;
use tokens::{INBOX, Place};

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

/// New clients taken in one turn.
const CLIENTS_PER_TURN: usize = 64;

/// What an I/O thread is told.
#[derive(Debug)]
pub enum Message {
    /// A client for it to serve.
    Client(Client),
    /// A lane for one of its sessions, which came to another thread.
    Lane(Box<HandedOver>),
    /// What becomes of its own listeners and sockets.
    Listen(Box<Own>),
    /// A reload has replaced a service: its sessions are to end, and what is left of them is reset at this time.
    Retire(ServiceId, Instant),
    /// A remote has been found down: clients that wait for it go to another, and its sessions go on or are reset.
    Down(RemoteId, OnDown),
    /// Somebody wants to know what the thread is doing.
    Look(Box<Look>),
    /// No more clients will come: end when the last session has, and reset what is left at this time.
    Drain(Instant),
}

/// What becomes of what an I/O thread takes clients from itself.
#[derive(Debug)]
pub struct Own {
    /// Its listeners.
    pub listeners: Change<Listener>,
    /// Its sockets of sources.
    pub sockets: Change<SourceSocket>,
    /// How many sources may have sessions at once.
    pub most_sources: usize,
    /// Dropped when all this has been done.
    pub done: Done,
}

/// One I/O thread's state.
pub struct IoThread {
    poll: Poll,
    inbox: Inbox<Message>,
    sessions: Sessions<Socket>,
    /// Listeners of the thread's own.
    accepting: Accepting,
    /// The sockets of clients without a connection.
    sources: Sources,
    /// Connections that are to be lanes.
    lobby: Lobby,
    admission: Admission,
    drain: Drain,
    effort: Effort,
    /// Which thread it is.
    number: usize,
    /// Where it says at its end what it has counted.
    last_looks: Arc<LastLooks>,
    /// The zero of the milliseconds that sessions count.
    clock: Clock,
}

/// What an I/O thread shares out with the others.
#[derive(Debug)]
pub struct Share {
    /// The zero of the milliseconds that threads count.
    pub clock: Clock,
    /// Who may come in, and what the thread counts for others.
    pub admission: Admission,
    /// How many pipes there may be.
    pub pipes: Arc<PipeBudget>,
    /// Where the sessions of lanes are.
    pub lanes: lobby::Shared,
    /// What threads have said at their end.
    pub last_looks: Arc<LastLooks>,
}

impl IoThread {
    /// Makes the state of the thread of this number, and the mailbox to reach it by. [`IoThread::run`] is to be called on the thread.
    ///
    /// # Errors
    ///
    /// The system's, where it has no descriptor for the poll.
    pub fn new(settings: &ProcessSettings, number: usize, share: Share) -> io::Result<(IoThread, Mailbox<Message>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        let pools = Pools::new(settings.buffer_size, share.pipes);
        let pace = if settings.zero_copy == ZeroCopy::Always { Pace::AlwaysBulk } else { Pace::START };
        let thread = IoThread {
            poll,
            inbox,
            sessions: Sessions::new(pools, pace, Budgets::default()),
            accepting: Accepting::new(share.admission.clone(), share.clock),
            sources: Sources::default(),
            lobby: Lobby::new(share.lanes, number, settings.io_threads, share.admission.clone()),
            admission: share.admission,
            drain: Drain::default(),
            effort: Effort::default(),
            number,
            last_looks: share.last_looks,
            clock: share.clock,
        };
        Ok((thread, mailbox))
    }

    /// Serves clients until it was told to drain and all sessions have ended.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        while !self.has_ended() {
            self.poll(&mut events);
            for event in &events {
                self.note(event);
            }
            self.receive();
            self.sessions.wake_due();
            self.accept();
            let IoThread { sessions, sources, lobby, poll, admission, number, .. } = &mut self;
            let host = &mut ThreadHost::new(poll.registry(), admission, *number, sessions);
            lobby.run(sessions, host);
            sessions.run_sparse(host);
            sources.receive(sessions, host);
            sessions.run_bulk(host);
            self.end_what_is_due();
            // At the end, as nothing wakes the thread for a session that ended after the sockets were read.
            self.sources.close_removed(&self.sessions);
            flush();
            let sleeps = self.sessions.wait() != Some(Duration::ZERO);
            self.effort.end_turn(sleeps, || self.clock.now_us());
        }
        self.last_looks.leave(self.snapshot(0, 0));
    }

    fn has_ended(&self) -> bool {
        self.drain.is_draining() && self.accepting.has_stopped() && self.sessions.is_empty()
    }

    /// Waits for events unless sessions or messages wait, and reads the turn's clock.
    fn poll(&mut self, events: &mut Events) {
        let accepting = &self.accepting;
        let mut wait = self.sessions.wait();
        for other in [self.drain.wait(), accepting.wait(), self.sources.wait(), self.lobby.wait(self.sessions.now())] {
            wait = match (wait, other) {
                (wait, None) => wait,
                (None, other) => other,
                (Some(wait), Some(other)) => Some(wait.min(other)),
            };
        }
        self.inbox.poll(&mut self.poll, events, wait, || accepting.may_sleep());
        let now = self.clock.now_us();
        self.effort.begin_turn(now);
        self.sessions.begin_turn(now);
    }

    fn note(&mut self, event: &Event) {
        match Place::from(event.token()) {
            Place::Inbox => {}
            Place::Listener(index) => self.accepting.note(index),
            Place::Source(index) => self.sources.note(index, event),
            Place::Arriving(index) => self.lobby.note(index, readiness(event)),
            Place::Side { key, side, lane } => self.sessions.note(key, side, lane, readiness(event)),
        }
    }

    // In each turn it is looked for messages, and mostly there are none.
    #[inline(always)]
    fn receive(&mut self) {
        for _ in 0..CLIENTS_PER_TURN {
            let Some(message) = self.inbox.next() else { return };
            self.obey(message);
        }
    }

    #[inline(never)]
    fn obey(&mut self, message: Message) {
        let IoThread { sessions, accepting, sources, lobby, poll, admission, number, .. } = self;
        let host = &mut ThreadHost::new(poll.registry(), admission, *number, sessions);
        match message {
            Message::Client(client) => welcome(client, sessions, lobby, host),
            Message::Lane(lane) => lobby.receive(*lane, sessions, host),
            Message::Listen(own) => {
                sessions.set_most_sources(own.most_sources);
                accepting.change(own.listeners, poll.registry(), &mut |client| {
                    welcome(client, sessions, lobby, host);
                });
                sources.change(own.sockets, poll.registry(), sessions, host);
            }
            Message::Retire(service, deadline) => {
                sessions.drain(Some(service), host);
                self.drain.service_by(service, deadline);
            }
            Message::Down(remote, on_down) => sessions.remote_is_down(remote, on_down, host),
            Message::Look(look) => {
                let snapshot = self.snapshot(look.number, look.most_rows);
                // Who has asked may have gone.
                let _ = look.to.send(snapshot);
            }
            Message::Drain(deadline) => {
                accepting.stop(STOP_TIMEOUT.min(deadline.saturating_duration_since(Instant::now())));
                sessions.close_doors();
                sessions.drain(None, host);
                self.drain.thread_by(deadline);
            }
        }
    }

    /// What the thread is doing, for the look of this number, and so many of its sessions.
    #[cold]
    fn snapshot(&self, look: u64, most_rows: usize) -> ThreadSnapshot {
        let mut snapshot = self.sessions.seen(self.number, most_rows);
        snapshot.look = look;
        let thread = &mut snapshot.thread;
        (thread.turns, thread.busy) = (self.effort.turns(), self.effort.busy());
        thread.cpu = thread_cpu_us();
        snapshot
    }

    fn accept(&mut self) {
        if self.accepting.is_idle() {
            return;
        }
        let IoThread { sessions, accepting, lobby, poll, admission, number, .. } = self;
        let host = &mut ThreadHost::new(poll.registry(), admission, *number, sessions);
        accepting.accept(|client| welcome(client, sessions, lobby, host));
        if accepting.has_stopped() {
            accepting.close();
        }
    }

    /// Resets what is left when the time to drain is over.
    fn end_what_is_due(&mut self) {
        while let Some(whose) = self.drain.due() {
            let host = &mut ThreadHost::new(self.poll.registry(), &self.admission, self.number, &self.sessions);
            self.sessions.end_all(whose, End::Drain, host);
            if whose.is_none() {
                return;
            }
        }
    }
}

/// Begins the session of a client; what is to be a lane of one waits in the lobby.
fn welcome(client: Client, sessions: &mut Sessions<Socket>, lobby: &mut Lobby, host: &mut ThreadHost<'_>) {
    if client.is_lane {
        return lobby.add(client, host.registry, host.now);
    }
    let key = sessions.start(client.socket, client.service, client.ticket, host);
    // It is not needed any more once the session has chosen a remote.
    if let (Some(key), Some(reservation)) = (key, client.reservation) {
        sessions.keep_reservation(key, reservation);
    }
}

/// What an event says.
pub fn readiness(event: &Event) -> Readiness {
    let error = event.is_error();
    let read_closed = event.is_read_closed();
    Readiness {
        readable: event.is_readable() || read_closed || error,
        writable: event.is_writable() || event.is_write_closed() || error,
        read_closed,
        write_closed: event.is_write_closed() && !error,
        error,
        urgent: event.is_priority(),
    }
}
