//! Accepting clients from listeners: in turns, a bounded number each, with a pause when there is no room for more.

use log::{info, warn};
use mio::Registry;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::{Change, ListenerId};
use super::tokens::Place;
use crate::base::clock::Clock;
use crate::base::error::{error_number, error_text};
use crate::endpoint::{Endpoint, Listener, Socket};
use crate::service::Service;
use crate::service::admission::Admission;
use crate::service::limits::Ticket;
use crate::service::pool::Reservation;
use crate::service::refusals::Refused;

/// Clients accepted from one listener before the others are looked at.
const ACCEPTS_PER_TURN: usize = 64;

/// Turns in which those that wait in the queue of a listener that is removed are accepted.
const LAST_TURNS: usize = 64;

/// How long accepting pauses when there is no room, unless a session ends before.
const PAUSE: Duration = Duration::from_millis(100);

/// How long no session has ended when clients that wait for room are reset: they may be what the sessions wait for, where
/// remotes lead back to the proxy by way of another program.
const HOPELESS: Duration = Duration::from_secs(20);

/// How long room is left for a source: for what was dropped is mostly sent again, after a second or so.
const LEFT_FOR_SOURCES: Duration = Duration::from_secs(2);

/// How long the clients that wait in the listeners' queues are still taken at the end.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// A client that was accepted, and its service.
#[derive(Debug)]
pub struct Client {
    /// Its endpoint.
    pub socket: Socket,
    /// The service of the listener that it came to.
    pub service: Arc<Service>,
    /// It is not a client: it is to be a lane of one.
    pub is_lane: bool,
    /// Its place among the sessions of remotes that may have only so many, until its session has chosen one of them.
    pub reservation: Option<Reservation>,
    /// Its place in the limits of the service.
    pub ticket: Option<Ticket>,
}

/// Whether clients are being accepted.
#[derive(Debug, Clone, Copy)]
enum State {
    Accepting,
    /// There is no room until a session ends or, perhaps, this time.
    WithoutRoom(Instant),
    /// The system lacks something until, perhaps, this time.
    InTrouble(Instant),
    /// What waits in the queues is still taken, until this time.
    Stopping(Instant),
}

/// How a turn with one listener ended.
enum Accepted {
    /// Nobody waits in its queue.
    All,
    /// Somebody may still wait.
    Some,
    /// There are no descriptors for another session; whether a client was accepted before.
    NoRoom(bool),
    /// The service or its remotes may have no more sessions.
    Full,
    /// Accepting fails, and not because of the one client: descriptors or memory of the system have run out.
    Failed(io::Error),
}

/// Whose turn it is when there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// That of the listener of this index.
    Listener(usize),
    /// That of all sources, which others let in.
    Sources,
}

/// A listener of the thread.
#[derive(Debug)]
struct Bound {
    listener: Listener,
    service: Arc<Service>,
    /// Somebody may wait in its queue, so that it waits for its turn.
    queued: bool,
}

/// The listeners of one thread.
#[derive(Debug)]
pub struct Accepting {
    listeners: Slab<Bound>,
    indices: HashMap<ListenerId, usize>,
    /// Those in whose queue somebody may wait, in the order of their turns, and among them the sources if they want room.
    turns: VecDeque<Turn>,
    /// Those that are worth a try at certain times though no event says so.
    timed: Vec<usize>,
    /// Those that may have no more sessions, or whose remotes may have none: they have no turns until one may.
    aside: Vec<usize>,
    /// When those have turns again though nobody has told, in milliseconds: a session may try a remote that is out.
    aside_until: u64,
    clock: Clock,
    admission: Admission,
    state: State,
    /// While there is no room: since when no session has ended.
    full_since: Instant,
    /// There was no room, and somebody has waited ever since: what room there is, is shared out one by one.
    scarce: bool,
    /// Room is left for a source until then.
    left_until: Option<Instant>,
}

impl Accepting {
    /// No listeners yet.
    pub fn new(admission: Admission, clock: Clock) -> Accepting {
        Accepting {
            listeners: Slab::new(),
            indices: HashMap::new(),
            turns: VecDeque::new(),
            timed: Vec::new(),
            aside: Vec::new(),
            aside_until: u64::MAX,
            clock,
            admission,
            state: State::Accepting,
            full_since: Instant::now(),
            scarce: false,
            left_until: None,
        }
    }

    /// Adds, changes and removes listeners. Clients that wait in the queue of one that goes are accepted first.
    pub fn change(&mut self, change: Change<Listener>, registry: &Registry, take: &mut impl FnMut(Client)) {
        for (id, listener, service) in change.added {
            if let Err(error) = self.add(id, listener, service, registry) {
                warn!("a listener cannot be watched: {}", error_text(&error));
            }
        }
        for kept in change.kept {
            let Some(bound) = self.indices.get(&kept.id).and_then(|&index| self.listeners.get_mut(index)) else {
                continue;
            };
            ask_clients(&mut bound.listener, &kept.service);
            bound.service = kept.service;
            if let Err(error) = bound.listener.set_backlog(kept.backlog) {
                warn!("listen error on {}: {}", bound.listener, error_text(&error));
            }
        }
        // Their services may have other remotes now.
        self.take_back();
        for id in change.removed {
            if let Some(index) = self.indices.remove(&id) {
                // Bounded, as they may come as fast as they are taken.
                let mut left = LAST_TURNS;
                while left > 0 && matches!(self.accept_from(index, take), Accepted::Some) {
                    left -= 1;
                }
                self.timed.retain(|&timed| timed != index);
                self.turns.retain(|&turn| turn != Turn::Listener(index));
                self.aside.retain(|&aside| aside != index);
                self.listeners.remove(index);
            }
        }
    }

    fn add(
        &mut self,
        id: ListenerId,
        mut listener: Listener,
        service: Arc<Service>,
        registry: &Registry,
    ) -> io::Result<()> {
        let entry = self.listeners.vacant_entry();
        let index = entry.key();
        listener.register(registry, Place::Listener(index).token())?;
        if listener.retry_at().is_some() {
            self.timed.push(index);
        }
        ask_clients(&mut listener, &service);
        entry.insert(Bound { listener, service, queued: false });
        self.indices.insert(id, index);
        self.note(index);
        Ok(())
    }

    /// Notes an event of a listener, by its index.
    pub fn note(&mut self, index: usize) {
        if let Some(bound) = self.listeners.get_mut(index).filter(|bound| !bound.queued) {
            bound.queued = true;
            self.turns.push_back(Turn::Listener(index));
        }
    }

    /// Whether there is nothing to do before an event comes.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.turns.is_empty()
            && self.timed.is_empty()
            && self.aside.is_empty()
            && matches!(self.state, State::Accepting)
    }

    /// How long there is nothing to accept: `None` until an event comes.
    #[inline]
    pub fn wait(&self) -> Option<Duration> {
        if self.is_idle() { None } else { self.wait_for_turn() }
    }

    fn wait_for_turn(&self) -> Option<Duration> {
        match self.state {
            State::WithoutRoom(until) | State::InTrouble(until) if self.is_paused() => {
                Some(until.saturating_duration_since(Instant::now()))
            }
            State::WithoutRoom(_) | State::InTrouble(_) => Some(Duration::ZERO),
            _ if !self.turns.is_empty() || !self.aside_may_wait() => Some(Duration::ZERO),
            State::Accepting => {
                let retry = self.timed.iter().filter_map(|&index| self.listeners[index].listener.retry_at()).min();
                let retry = retry.map(|at| at.saturating_duration_since(Instant::now()));
                let trial = Some(self.aside_until).filter(|&until| until < u64::MAX);
                let trial = trial.map(|at| Duration::from_millis(at.saturating_sub(self.clock.now())));
                retry.into_iter().chain(trial).min()
            }
            State::Stopping(_) => None,
        }
    }

    /// Whether the thread may sleep as long as [`Accepting::wait`] said: nothing has ended its pause since.
    pub fn may_sleep(&self) -> bool {
        let has_no_room = !matches!(self.state, State::WithoutRoom(_)) || self.admission.is_waiting();
        has_no_room && self.aside_may_wait()
    }

    /// Whether nothing has got room that those may wait for which are put aside.
    fn aside_may_wait(&self) -> bool {
        self.aside.is_empty()
            || self.admission.is_waiting_for_places()
                && (self.aside_until == u64::MAX || self.clock.now() < self.aside_until)
    }

    fn is_paused(&self) -> bool {
        match self.state {
            State::WithoutRoom(until) => self.admission.is_waiting() && until > Instant::now(),
            State::InTrouble(until) => until > Instant::now(),
            State::Accepting | State::Stopping(_) => false,
        }
    }

    /// Accepts what can be accepted in one turn and hands it to `take`.
    pub fn accept(&mut self, mut take: impl FnMut(Client)) {
        self.queue_timed();
        if !self.aside_may_wait() {
            self.take_back();
        }
        if self.is_paused() {
            return;
        }
        self.think_of_sources();
        for _ in 0..self.turns.len() {
            let Some(turn) = self.turns.pop_front() else { break };
            let Turn::Listener(index) = turn else {
                if !self.leave_for_sources() {
                    self.turns.push_front(turn);
                    return self.wait_for_room(false);
                }
                continue;
            };
            match self.accept_from(index, &mut take) {
                Accepted::All => self.listeners[index].queued = false,
                Accepted::Some => self.turns.push_back(turn),
                Accepted::Full => self.put_aside(index),
                Accepted::NoRoom(accepted) => {
                    // One that had some of the room lets the others have their turns.
                    if accepted {
                        self.turns.push_back(turn)
                    } else {
                        self.turns.push_front(turn)
                    }
                    return self.wait_for_room(accepted);
                }
                Accepted::Failed(error) => {
                    self.turns.push_back(turn);
                    let number = error_number(&error);
                    let reason = error_text(&error);
                    return self.pause(State::InTrouble, format_args!("accept error errno {number}: {reason}"));
                }
            }
        }
        self.scarce &= !self.turns.is_empty();
        if !self.scarce {
            self.leave_no_longer();
        }
        if let State::WithoutRoom(_) | State::InTrouble(_) = self.state {
            info!("accepting again");
            self.admission.stop_waiting();
            self.state = State::Accepting;
        }
    }

    /// Accepts what waits already, for at most this long, and then no more.
    pub fn stop(&mut self, timeout: Duration) {
        self.admission.stop_waiting();
        self.leave_no_longer();
        self.state = State::Stopping(Instant::now() + timeout);
        self.take_back();
        self.turns.clear();
        if !timeout.is_zero() {
            self.turns.extend(self.listeners.iter().map(|(index, _)| Turn::Listener(index)));
        }
    }

    /// Whether it was stopped and has taken what waited: the listeners can be closed.
    pub fn has_stopped(&self) -> bool {
        match self.state {
            State::Stopping(until) => self.turns.is_empty() || until <= Instant::now(),
            State::Accepting | State::WithoutRoom(_) | State::InTrouble(_) => false,
        }
    }

    /// Closes all listeners, once it has stopped.
    pub fn close(&mut self) {
        self.listeners.clear();
        self.indices.clear();
        self.turns.clear();
        self.timed.clear();
        self.aside.clear();
    }

    /// Queues listeners whose time has come though no event said so.
    fn queue_timed(&mut self) {
        if self.timed.is_empty() {
            return;
        }
        let now = Instant::now();
        for number in 0..self.timed.len() {
            let index = self.timed[number];
            if self.listeners[index].listener.retry_at().is_some_and(|at| at <= now) {
                self.note(index);
            }
        }
    }

    fn accept_from(&mut self, index: usize, take: &mut impl FnMut(Client)) -> Accepted {
        let most = if self.scarce { 1 } else { ACCEPTS_PER_TURN };
        let Bound { listener, service, .. } = &mut self.listeners[index];
        for number in 0..most {
            if !self.admission.has_room() {
                return Accepted::NoRoom(number > 0);
            }
            let is_lane = listener.accepts_lanes();
            // Of a lane it is not known yet whether it is a session's first.
            let reserved = if is_lane { Some((None, None)) } else { reserve(service, self.clock) };
            let Some((reservation, place)) = reserved else { return Accepted::Full };
            match listener.accept() {
                Ok(mut socket) => {
                    let (client, now) = (|| socket.client_address(), || self.clock.now());
                    let let_in = match is_lane {
                        true => service.let_lane_in(client, now).map(|()| None),
                        false if service.takes_headers() => service.let_unknown_in(place, client, now),
                        false => service.let_in(place, client, now),
                    };
                    match let_in {
                        Ok(ticket) => {
                            if !service.takes_headers() {
                                let _level = service.log_scope();
                                info!("accepted fd {}", socket.descriptor());
                            }
                            self.admission.admit();
                            take(Client { socket, service: service.clone(), is_lane, reservation, ticket });
                        }
                        Err(Refused(_)) => socket.abort(),
                    }
                }
                Err(error) => match error.raw_os_error() {
                    _ if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
                    Some(number) if concerns_one_client(number) => {
                        info!("accept error errno {number}: {}", error_text(&error));
                    }
                    _ => return Accepted::Failed(error),
                },
            }
        }
        Accepted::Some
    }

    /// Gives a listener no turns until it may have one more session.
    fn put_aside(&mut self, index: usize) {
        if let State::Stopping(_) = self.state {
            return;
        }
        if !self.admission.wait_for_places() {
            // The others were to look again, or there are none.
            self.take_back();
            self.admission.wait_for_places();
        }
        let (service, now) = (&self.listeners[index].service, self.clock.now());
        match self.admission.full_until(service, now) {
            Some(until) => {
                service.tell_of_waiting(now);
                self.aside.push(index);
                self.aside_until = self.aside_until.min(until);
            }
            None => self.turns.push_back(Turn::Listener(index)),
        }
    }

    /// Lets those have turns again that were put aside.
    fn take_back(&mut self) {
        self.admission.stop_waiting_for_places();
        self.aside_until = u64::MAX;
        self.turns.extend(self.aside.drain(..).map(Turn::Listener));
    }

    /// Has sources that want room wait for their turn, and ends it if no source comes.
    fn think_of_sources(&mut self) {
        if !self.scarce || matches!(self.state, State::Stopping(_)) {
            return;
        }
        if self.left_until.is_some_and(|until| until <= Instant::now()) {
            self.leave_no_longer();
        }
        if self.admission.sources_want() && !self.turns.contains(&Turn::Sources) {
            self.turns.push_back(Turn::Sources);
        }
    }

    /// Leaves room for a source, unless nobody else would have it. `false`: there is none.
    fn leave_for_sources(&mut self) -> bool {
        if self.turns.is_empty() {
            return true;
        }
        if !self.admission.has_room() {
            return false;
        }
        self.admission.leave_for_sources(true);
        self.left_until = Some(Instant::now() + LEFT_FOR_SOURCES);
        true
    }

    fn leave_no_longer(&mut self) {
        if self.left_until.take().is_some() {
            self.admission.leave_for_sources(false);
        }
    }

    fn wait_for_room(&mut self, accepted: bool) {
        self.scarce = true;
        let now = Instant::now();
        if accepted || !self.admission.is_waiting() {
            self.full_since = now;
        } else if now.saturating_duration_since(self.full_since) >= HOPELESS {
            self.full_since = now;
            self.reset_waiting();
        }
        let most = self.admission.most_sessions();
        self.pause(State::WithoutRoom, format_args!("out of descriptors: at most {most} sessions fit"));
        // If one has ended meanwhile, the next turn finds that nobody waits, and tries again.
        self.admission.wait_for_room();
    }

    /// Resets the clients that wait in the queues.
    fn reset_waiting(&mut self) {
        let mut count = 0;
        for &turn in &self.turns {
            let Turn::Listener(index) = turn else { continue };
            for _ in 0..ACCEPTS_PER_TURN {
                let Ok(mut socket) = self.listeners[index].listener.accept() else { break };
                socket.abort();
                count += 1;
            }
        }
        if count > 0 {
            warn!("no session has ended for {HOPELESS:?}: clients that waited for room are reset: {count}");
        }
    }

    fn pause(&mut self, pause: impl FnOnce(Instant) -> State, reason: fmt::Arguments<'_>) {
        match self.state {
            // What still waits in the queues is reset when the listeners are closed.
            State::Stopping(_) => return self.turns.clear(),
            State::Accepting => warn!("{reason}; accepting pauses"),
            State::WithoutRoom(_) | State::InTrouble(_) => {}
        }
        self.state = pause(Instant::now() + PAUSE);
    }
}

/// Takes what a client needs that is to be accepted: a place among the sessions of the remotes, and one among those of the
/// service, each where only so many are to be had. `None`: not both are.
fn reserve(service: &Service, clock: Clock) -> Option<(Option<Reservation>, Option<Ticket>)> {
    // Whoever takes one and gives it back wakes others, which may do the same: so it is looked before.
    if service.is_full() {
        return None;
    }
    let reservation = service.pool.reserve(|| clock.now()).ok()?;
    let place = service.reserve_place().ok()?;
    Some((reservation, place))
}

/// Has the clients of a listener asked where they had wanted to go, if its service connects them to there.
fn ask_clients(listener: &mut Listener, service: &Service) {
    if let Err(error) = listener.set_intercepts(service.intercepts()) {
        let why = error_text(&error);
        warn!("listener {listener} can have only what is redirected, and nothing of TPROXY: {why}");
    }
}

/// Whether accept(2) failed for the one client only, who has gone again or cannot be reached ("Error handling" there).
fn concerns_one_client(number: i32) -> bool {
    matches!(
        number,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EPERM
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
    )
}
