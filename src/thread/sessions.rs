//! The scheduler of one thread: its sessions, which of them runs next and for how long, and their timers.
//!
//! It touches no poll, no socket and no clock: time comes in with each turn, and what sessions need of the thread is a
//! [`Host`]. So it runs against simulated endpoints as it does against real ones.

use log::debug;
use slab::Slab;
use std::sync::Arc;
use std::time::Duration;

use super::dealing::Dealing;
use super::run_queue::RunQueue;
use super::timers::{FINE_REACH, FINE_TICK, TICK, Timers};
use crate::base::error::{error_number, error_text};
use crate::buffers::batch::Batch;
use crate::buffers::pools::Pools;
use crate::config::balancing::OnDown;
use crate::counters::ThreadCounters;
use crate::endpoint::{Endpoint, Lane, SideName};
use crate::flow::{Pace, Readiness};
use crate::proxy_header::ProxyHeader;
use crate::service::limits::Ticket;
use crate::service::pool::{RemoteId, Reservation};
use crate::service::{RemoteAddress, Service, ServiceId};
use crate::session::{Caller, Dial, Dialer, End, Outcome, Session, Terms, Turn};

/// How long sparse sessions are taken to be about after one has been seen, in milliseconds.
pub const SPARSE_MEMORY: u64 = 5;

/// How much may be moved before others must have had their turn, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Budgets {
    /// What bulk sessions may move in one turn, and a flow may read in one run, while only bulk sessions are about.
    pub large: usize,
    /// The same while sparse sessions are about, which wait for it to be over.
    pub small: usize,
    /// A sparse session that moved at most this much in its run carries messages, whose latency matters.
    pub message: u64,
}

impl Default for Budgets {
    fn default() -> Budgets {
        Budgets { large: 1 << 20, small: 256 << 10, message: 16 << 10 }
    }
}

/// After so many clients have left without an answer, the next one is connected a little later. Where the remote leads back
/// to the proxy by way of another program, a client that leaves has the proxy run after itself: each session is the client
/// of the next, and those that end make room for more. While one waits, the end catches up with it.
pub const LEFT_BEFORE_WAIT: u32 = 256;

/// What sessions need of the thread that they run on.
pub trait Host<E: Endpoint> {
    /// Gives a new client's endpoint its options, and sees to it that its events are noted for this key.
    ///
    /// # Errors
    ///
    /// The system's: the session then ends at once.
    fn admit(&mut self, key: usize, client: &mut E, service: &Service) -> std::io::Result<()>;

    /// Starts connecting a session to an address of one of its service's remotes, for this client; and sees to it that the
    /// endpoint's events are noted.
    fn dial(&mut self, key: usize, service: &Service, address: &RemoteAddress, client: &Caller<'_, E>) -> Dial<E>;

    /// Tends to the lanes of an endpoint of the session with this key: see [`Dialer::tend`].
    fn tend(&mut self, key: usize, side: SideName, endpoint: &mut E, now: u64) -> Readiness {
        let _ = (key, side, endpoint, now);
        Readiness::default()
    }

    /// Whether there is room for one more source.
    fn has_room(&mut self) -> bool;

    /// Counts a source that gets a session.
    fn count_source(&mut self);

    /// A session runs now, and may read this many bytes in each direction.
    fn runs(&mut self, key: usize, budget: usize) {
        let _ = (key, budget);
    }

    /// A session has run; if it has ended, it is closed next.
    fn ran(&mut self, key: usize, session: &Session<E>, outcome: Outcome) {
        let _ = (key, session, outcome);
    }

    /// A session has lasted for as long as its service's access log asks for.
    fn lasted(&mut self, session: &Session<E>) {
        let _ = session;
    }

    /// A session has ended, and is closed next. It holds nothing any more, so that all it has done is known.
    fn ends(&mut self, key: usize, session: &Session<E>, end: End) {
        let _ = (key, session, end);
    }

    /// It has been closed.
    fn ended(&mut self, key: usize, end: End);
}

/// The sessions of one thread.
#[derive(Debug)]
pub struct Sessions<E: Endpoint> {
    slab: Slab<Session<E>>,
    queue: RunQueue,
    timers: Timers,
    /// The timers of sessions with lanes or terms, of what is near.
    fine_timers: Timers<FINE_TICK>,
    /// What flows hold bytes in.
    pub pools: Pools<E::Pipe>,
    /// The sessions of sources.
    pub(super) dealing: Dealing,
    pace: Pace,
    budgets: Budgets,
    now: u64,
    now_us: u64,
    /// When a session that carries messages was last seen.
    sparse_seen: Option<u64>,
    /// Clients that have left without an answer since one was made to wait.
    left: u32,
    /// When the last session began, in microseconds.
    last_begun: u64,
    due: Vec<usize>,
    /// What is known of those that have ended.
    pub(super) counters: ThreadCounters,
}

/// Connects one session.
struct SessionDialer<'a, H> {
    host: &'a mut H,
    key: usize,
}

impl<E: Endpoint, H: Host<E>> Dialer<E> for SessionDialer<'_, H> {
    fn dial(&mut self, service: &Service, address: &RemoteAddress, client: &Caller<'_, E>) -> Dial<E> {
        self.host.dial(self.key, service, address, client)
    }

    fn tend(&mut self, side: SideName, endpoint: &mut E, now: u64) -> Readiness {
        self.host.tend(self.key, side, endpoint, now)
    }
}

impl<E: Endpoint> Sessions<E> {
    /// No sessions yet, and no limit to how many sources may have one.
    pub fn new(pools: Pools<E::Pipe>, pace: Pace, budgets: Budgets) -> Sessions<E> {
        Sessions {
            slab: Slab::new(),
            queue: RunQueue::default(),
            timers: Timers::default(),
            fine_timers: Timers::default(),
            pools,
            dealing: Dealing::default(),
            pace,
            budgets,
            now: 0,
            now_us: 0,
            sparse_seen: None,
            left: 0,
            last_begun: 0,
            due: Vec::new(),
            counters: ThreadCounters::default(),
        }
    }

    /// Begins a turn at this time, in microseconds since an origin that the thread chose.
    #[inline]
    pub fn begin_turn(&mut self, now_us: u64) {
        (self.now, self.now_us) = (now_us / 1000, now_us);
    }

    /// The time of this turn, in microseconds.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The time of this turn, in milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets so many sources have sessions at once.
    pub fn set_most_sources(&mut self, most_sources: usize) {
        self.dealing.most_sources = most_sources;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The session of a key.
    pub fn get(&self, key: usize) -> Option<&Session<E>> {
        self.slab.get(key)
    }

    /// The endpoint of a session's client, to which something is done for which the session is to run.
    pub fn client_to_run(&mut self, key: usize) -> Option<&mut E> {
        let session = self.slab.get_mut(key)?;
        self.queue.wake(key, session.is_bulk());
        Some(session.client_mut())
    }

    /// The sessions and their keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Session<E>)> {
        self.slab.iter()
    }

    /// Which session runs next.
    pub fn queue(&self) -> &RunQueue {
        &self.queue
    }

    /// When the timer of a session is due, if it has one.
    pub fn timer(&self, key: usize) -> Option<u64> {
        self.timers.armed(key).into_iter().chain(self.fine_timers.armed(key)).min()
    }

    /// How long there is nothing to do but for events; `None`: until one comes.
    #[inline]
    pub fn wait(&self) -> Option<Duration> {
        if !self.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.fine_timers.is_empty() {
            return self.timers.wait(self.now);
        }
        self.fine_timers.wait(self.now).into_iter().chain(self.timers.wait(self.now)).min()
    }

    /// Starts a client's session, which has this place in the limits of its service, and returns its key, if it did not end
    /// at once.
    pub fn start(
        &mut self,
        client: E,
        service: Arc<Service>,
        ticket: Option<Ticket>,
        host: &mut impl Host<E>,
    ) -> Option<usize> {
        self.start_introduced(client, service, ticket, None, host)
    }

    /// The same for a client that has said in this header who it is.
    pub(super) fn start_introduced(
        &mut self,
        mut client: E,
        service: Arc<Service>,
        ticket: Option<Ticket>,
        header: Option<ProxyHeader>,
        host: &mut impl Host<E>,
    ) -> Option<usize> {
        let _level = service.log_scope();
        let entry = self.slab.vacant_entry();
        let key = entry.key();
        let admitted = host.admit(key, &mut client, &service);
        let terms = Terms::new(&service, ticket, self.now);
        let session = entry.insert(Session::new(client, service, terms, self.pace));
        if let Some(header) = header {
            session.note_header(header);
        }
        // No two begin at the same time, so that this tells them apart.
        self.last_begun = self.now_us.max(self.last_begun + 1);
        session.note_begun(self.last_begun);
        let turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.last_begun, budget: 0 };
        let outcome = match admitted {
            Ok(()) if self.left >= LEFT_BEFORE_WAIT && session.has_connection() => {
                self.left = 0;
                session.start_later(&turn)
            }
            Ok(()) => session.start(&turn, &mut SessionDialer { host, key }),
            Err(error) => {
                debug!("client socket errno {}: {}", error_number(&error), error_text(&error));
                Outcome::Ended(End::Error(SideName::Client))
            }
        };
        self.after(key, outcome, host);
        (!matches!(outcome, Outcome::Ended(_))).then_some(key)
    }

    /// Has a session keep this place, if it is to choose a remote only later.
    pub fn keep_reservation(&mut self, key: usize, reservation: Reservation) {
        if let Some(session) = self.slab.get_mut(key) {
            session.keep_reservation(reservation);
        }
    }

    /// Notes what an event said of a side. An event touches nothing but readiness.
    // A call of its own for each event shows in what a message costs.
    #[inline(always)]
    pub fn note(&mut self, key: usize, side: SideName, lane: Option<Lane>, readiness: Readiness) {
        if let Some(session) = self.slab.get_mut(key) {
            match lane {
                None => session.ready(side, readiness),
                Some(lane) => session.note_lane(side, lane, readiness),
            }
            self.queue.wake(key, session.is_bulk());
        }
    }

    /// Queues the sessions whose timers are due.
    #[inline]
    pub fn wake_due(&mut self) {
        self.timers.expire(self.now, &mut self.due);
        if !self.fine_timers.is_empty() {
            self.fine_timers.expire(self.now, &mut self.due);
        }
        for key in self.due.drain(..) {
            self.queue.wake(key, false);
        }
    }

    /// Runs all sparse sessions.
    pub fn run_sparse(&mut self, host: &mut impl Host<E>) {
        while let Some(key) = self.queue.next_sparse() {
            let moved = self.run(key, self.budget(), host);
            if moved <= self.budgets.message && !self.queue.is_bulk(key) {
                self.sparse_seen = Some(self.now);
            }
        }
    }

    /// Runs bulk sessions, each once at most, until they have moved one budget together.
    pub fn run_bulk(&mut self, host: &mut impl Host<E>) {
        let budget = self.budget();
        let mut moved = 0;
        for _ in 0..self.queue.bulk_waiting() {
            let Some(key) = self.queue.next_bulk() else { return };
            moved += self.run(key, budget, host);
            if moved >= budget as u64 {
                return;
            }
        }
    }

    /// How many bytes may be moved before others must have had their turn.
    pub fn budget(&self) -> usize {
        match self.sparse_seen {
            Some(seen) if self.now <= seen + SPARSE_MEMORY => self.budgets.small,
            _ => self.budgets.large,
        }
    }

    /// Has what has no end of its own end soon, and devices' sessions at once; of one service or of all.
    pub fn drain(&mut self, service: Option<ServiceId>, host: &mut impl Host<E>) {
        for key in self.keys_of(service) {
            match self.slab[key].is_endless() {
                true => self.after(key, Outcome::Ended(End::Drain), host),
                false => self.drain_one(key),
            }
        }
    }

    pub(super) fn drain_one(&mut self, key: usize) {
        self.slab[key].drain();
        self.arm(key);
    }

    /// Ends sessions, of one service or all, whatever they are doing.
    pub fn end_all(&mut self, service: Option<ServiceId>, end: End, host: &mut impl Host<E>) {
        for key in self.keys_of(service) {
            self.after(key, Outcome::Ended(end), host);
        }
    }

    /// A remote has been found down: those that are being connected to it go to another, and those that are joined to it
    /// go on or end.
    pub fn remote_is_down(&mut self, remote: RemoteId, on_down: OnDown, host: &mut impl Host<E>) {
        for key in self.keys_of(None) {
            let session = &mut self.slab[key];
            let _level = session.service().log_scope();
            let turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now_us, budget: 0 };
            let outcome = match on_down {
                OnDown::Reset if session.is_on(remote) => Some(Outcome::Ended(End::RemoteDown)),
                _ => session.leave(remote, &turn, &mut SessionDialer { host, key }),
            };
            if let Some(outcome) = outcome {
                self.after(key, outcome, host);
            }
        }
    }

    fn keys_of(&self, service: Option<ServiceId>) -> Vec<usize> {
        let of = |session: &Session<E>| service.is_none_or(|id| session.service().id == id);
        self.slab.iter().filter(|(_, session)| of(session)).map(|(key, _)| key).collect()
    }

    /// Runs a session and says how many bytes it delivered.
    fn run(&mut self, key: usize, budget: usize, host: &mut impl Host<E>) -> u64 {
        let Some(session) = self.slab.get_mut(key) else { return 0 };
        let _level = session.service().log_scope();
        host.runs(key, budget);
        let before = session.moved();
        let mut turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now_us, budget };
        let outcome = session.run(&mut turn, &mut SessionDialer { host, key });
        let moved = session.moved() - before;
        host.ran(key, session, outcome);
        if session.has_more() && !matches!(outcome, Outcome::Ended(_)) && session.has_lasted(self.now) {
            host.lasted(session);
        }
        if moved > 0 {
            self.dealing.directory.touch(key);
        }
        self.after(key, outcome, host);
        moved
    }

    /// Offers datagrams to a source's session. `false`: there is none of this key.
    pub(super) fn offer(&mut self, key: usize, batch: &mut Batch, host: &mut impl Host<E>) -> bool {
        let Some(session) = self.slab.get_mut(key) else { return false };
        let _level = session.service().log_scope();
        let mut turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now_us, budget: 0 };
        let outcome = session.offer(batch, &mut turn);
        self.after(key, outcome, host);
        true
    }

    /// Notes that messages are about.
    pub(super) fn saw_messages(&mut self, size: usize) {
        if size as u64 <= self.budgets.message {
            self.sparse_seen = Some(self.now);
        }
    }

    pub(super) fn after(&mut self, key: usize, outcome: Outcome, host: &mut impl Host<E>) {
        match outcome {
            Outcome::Waiting => self.arm(key),
            Outcome::Spent => {
                self.arm(key);
                // One that was offered datagrams may be waiting already.
                self.queue.spent(key);
            }
            Outcome::Ended(end) => {
                self.timers.cancel(key);
                self.fine_timers.cancel(key);
                self.queue.forget(key);
                self.dealing.forget(key, end, self.now);
                let mut session = self.slab.remove(key);
                let _level = session.service().log_scope();
                self.left += u32::from(self.left < LEFT_BEFORE_WAIT && session.was_left(end));
                session.release(&mut self.pools);
                self.counters.ended(&session.summary(), end, self.now_us);
                session.end_inspection(end, self.now_us);
                host.ends(key, &session, end);
                session.close(end);
                host.ended(key, end);
            }
        }
    }

    /// Sees to it that the session's timer is due by its deadline. One that is due earlier is left alone: it finds
    /// nothing to do and is armed anew, which is cheaper than moving it whenever bytes move. One that is not needed any
    /// more is disarmed: with no timer armed, the poll need not set one either.
    fn arm(&mut self, key: usize) {
        let session = &self.slab[key];
        let deadline = session.deadline();
        if session.has_more() {
            if session.takes_no_more() {
                self.dealing.directory.take_no_more(key);
            }
            if let Some(near) = deadline.filter(|&at| at < self.now + FINE_REACH) {
                if self.fine_timers.is_empty() {
                    // The ticks of the time without timers need not be looked at.
                    self.fine_timers.expire(self.now, &mut self.due);
                }
                if self.fine_timers.armed(key).is_none_or(|armed| armed > near + FINE_TICK) {
                    self.fine_timers.arm(key, near);
                }
                return;
            }
            self.fine_timers.cancel(key);
        }
        let Some(deadline) = deadline else {
            return self.timers.cancel(key);
        };
        if self.timers.armed(key).is_none_or(|armed| armed > deadline.saturating_add(TICK)) {
            self.timers.arm(key, deadline);
        }
    }
}
