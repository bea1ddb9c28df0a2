//! How a session gets its remote: one is chosen after the other, and its addresses dialled in turn, until one connects.

use log::{info, warn};
use std::fmt;
use std::io;

use super::end::{end_for, log_error};
use super::{End, NEVER, Outcome, Phase, Session, Terms, Turn};
use crate::base::error::error_text;
use crate::endpoint::{Carries, Endpoint, Lifetime, Route, SideName};
use crate::flow::{Flow, Readiness, Side};
use crate::service::local::LocalAddress;
use crate::service::pool::{Choice, Lease, RemoteId, Waiting};
use crate::service::{RemoteAddress, Service};

/// How long a busy remote is left alone before it is tried again, in milliseconds.
const BUSY_PAUSE: u64 = 50;

/// How an attempt to connect began.
#[derive(Debug)]
pub enum Dial<E> {
    /// The endpoint is connecting or connected; a writable event will say that it is.
    Started(E),
    /// The remote's queue is full: it is worth another try soon.
    Busy,
    /// It failed at once.
    Failed(io::Error),
}

/// What a session has tried before, and until when it may go on.
#[derive(Debug)]
pub(super) struct Attempts {
    /// The remotes that are not to be tried now.
    tried: Vec<RemoteId>,
    /// Those of them that were busy, which are worth another try soon.
    busy: Vec<RemoteId>,
    /// Until when it goes on to try those, since it first came to wait for them: attempts in between change nothing of it.
    patience: u64,
    /// When all attempts must have come to something.
    deadline: u64,
    /// It waits for room, and comes before clients that are let in later.
    waiting: Option<Waiting>,
}

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts { tried: Vec::new(), busy: Vec::new(), patience: u64::MAX, deadline: u64::MAX, waiting: None }
    }
}

/// Why an address could not be connected to.
pub(super) enum Failure {
    Timeout,
    Error(io::Error),
}

impl Failure {
    /// The end of a session that has no other address.
    fn end(&self) -> End {
        match self {
            Failure::Timeout => End::ConnectTimeout,
            Failure::Error(_) => End::ConnectFailed,
        }
    }

    /// Whether it says something of the remote, and not only of this machine, which may lack something, or of the client
    /// whose address the connection has: its answers may go elsewhere, and some addresses cannot be connected from.
    fn is_the_remotes(&self, from: &LocalAddress) -> bool {
        let lacking = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EADDRINUSE];
        match self {
            Failure::Error(error) if *from == LocalAddress::Client => error.kind() == io::ErrorKind::ConnectionRefused,
            Failure::Error(error) => error.raw_os_error().is_none_or(|number| !lacking.contains(&number)),
            Failure::Timeout => *from != LocalAddress::Client,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Timeout => f.write_str("connect timeout"),
            Failure::Error(error) => f.write_str(&error_text(error)),
        }
    }
}

/// The client that a remote is dialled for; what is needed of it is asked for only then.
#[derive(Debug)]
pub struct Caller<'a, E> {
    /// Its endpoint.
    pub endpoint: &'a E,
    /// What its session has beside what all have.
    pub terms: Option<&'a Terms>,
}

/// Connects sessions to their remote.
pub trait Dialer<E> {
    /// Starts connecting to an address of a remote of the service, for this client. What fails is logged.
    fn dial(&mut self, service: &Service, address: &RemoteAddress, client: &Caller<'_, E>) -> Dial<E>;

    /// Tends to the lanes of an endpoint that has some: dials, reads and writes what their events and the time ask for.
    /// Returns what can be done with the endpoint now.
    fn tend(&mut self, side: SideName, endpoint: &mut E, now: u64) -> Readiness {
        let _ = (side, endpoint, now);
        Readiness::default()
    }
}

/// What dialling a remote came to.
enum Dialled {
    /// The session's turn ends so.
    Ends(Outcome),
    /// The remote is not to be tried again now; this is why the session ends if there is no other.
    Failed(End),
}

impl<E: Endpoint> Session<E> {
    /// Starts connecting to a remote.
    pub fn start(&mut self, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        if self.awaits_header() {
            return self.await_header(false, turn.now);
        }
        self.log_client();
        self.begin(turn, dialer)
    }

    /// Starts connecting for a client that is known.
    pub(super) fn begin(&mut self, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        self.set_deadline(turn.now);
        self.choose(u64::MAX, End::ConnectFailed, turn, dialer)
    }

    /// Starts connecting a little later, if the client is still there by then.
    pub fn start_later(&mut self, turn: &Turn<'_, E::Pipe>) -> Outcome {
        if self.awaits_header() {
            return self.await_header(true, turn.now);
        }
        self.log_client();
        self.begin_later(turn.now)
    }

    /// The same for a client that is known.
    pub(super) fn begin_later(&mut self, now: u64) -> Outcome {
        let retry = now.saturating_add(BUSY_PAUSE);
        self.set_deadline(retry);
        self.phase = Phase::Busy { retry, give_up: self.give_up(retry) };
        Outcome::Waiting
    }

    pub(super) fn connect(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        match (self.phase, &mut self.remote) {
            (Phase::Busy { give_up, .. }, _) if give_up <= turn.now => match self.lease {
                Some(_) => self.try_next_address(Failure::Timeout, turn, dialer),
                None => Outcome::Ended(End::ConnectTimeout),
            },
            (Phase::Busy { retry, give_up }, _) if retry <= turn.now => {
                // Where an event comes only after a call that would block, none has said so.
                if let Some(error) = self.client.endpoint.take_error() {
                    log_error(&self.client.endpoint, &error);
                    return Outcome::Ended(end_for(&error, SideName::Client));
                }
                self.choose(give_up, End::ConnectFailed, turn, dialer)
            }
            (Phase::Introducing { .. }, Some(_)) => self.introduce(turn, dialer),
            (Phase::Connecting { give_up }, Some(remote)) if remote.ready.writable => {
                // A failed attempt is writable too, but never without an error or a hang-up.
                let suspect = remote.ready.error || remote.ready.read_closed;
                match suspect.then(|| remote.endpoint.take_error()).flatten() {
                    // What the client says would come back to it.
                    None if remote.endpoint.is_its_own_peer() => {
                        let error = io::Error::from_raw_os_error(libc::ECONNREFUSED);
                        warn!(
                            "nobody listens there: {} is a connection to itself",
                            Route(&remote.endpoint, SideName::Remote)
                        );
                        self.try_next_address(Failure::Error(error), turn, dialer)
                    }
                    None => self.connected(give_up, turn, dialer),
                    Some(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        // It was connected, and is no longer: another address would not be the same remote. It may
                        // have said something.
                        log_error(&remote.endpoint, &error);
                        self.open(turn);
                        self.begin_last_words(SideName::Remote, End::Reset(SideName::Remote), self.progress(), turn)
                    }
                    Some(error) => {
                        log_error(&remote.endpoint, &error);
                        self.try_next_address(Failure::Error(error), turn, dialer)
                    }
                }
            }
            (Phase::Connecting { give_up }, Some(remote)) if give_up <= turn.now => {
                warn!("connect timeout proxy to remote {}", Route(&remote.endpoint, SideName::Remote));
                self.try_next_address(Failure::Timeout, turn, dialer)
            }
            _ => Outcome::Waiting,
        }
    }

    /// Notes until when a remote must have been connected to, where that is limited.
    fn set_deadline(&mut self, now: u64) {
        if let Some(timeout) = self.service.pool.policy().retry_timeout {
            self.attempts.get_or_insert_default().deadline = now.saturating_add(timeout);
        }
    }

    /// When all attempts must have come to something.
    fn deadline_of_attempts(&self) -> u64 {
        self.attempts.as_ref().map_or(u64::MAX, |attempts| attempts.deadline)
    }

    /// When an attempt that begins now is given up.
    fn give_up(&self, now: u64) -> u64 {
        now.saturating_add(self.service.timeouts.connect).min(self.deadline_of_attempts())
    }

    pub(super) fn try_next_address(
        &mut self,
        failure: Failure,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        let reason = failure.end();
        self.address += 1;
        let Some(lease) = self.lease.take() else { return Outcome::Ended(reason) };
        match self.dial(lease, self.give_up(turn.now), Some(failure), reason, turn, dialer) {
            Dialled::Ends(outcome) => outcome,
            Dialled::Failed(reason) => self.choose(u64::MAX, reason, turn, dialer),
        }
    }

    /// Dials a remote that has not been tried, or the next, until one can be dialled. `give_up` is when one that is busy,
    /// or not there, is not waited for any more; `reason` is why the last attempt failed.
    fn choose(
        &mut self,
        give_up: u64,
        mut reason: End,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        loop {
            let (choice, until) = match self.lease.take() {
                // It has been busy all the time.
                Some(lease) => (Choice::Remote(lease), give_up),
                None => (self.next_remote(turn.now), self.give_up(turn.now)),
            };
            self.note_waiting(&choice);
            let patience = self.attempts.as_ref().map_or(u64::MAX, |attempts| attempts.patience).min(until);
            let was_busy = self.attempts.as_ref().is_some_and(|attempts| !attempts.busy.is_empty());
            let (give_up, patience) = match choice {
                Choice::Remote(lease) => match self.dial(lease, until, None, reason, turn, dialer) {
                    Dialled::Ends(outcome) => return outcome,
                    Dialled::Failed(end) => {
                        reason = end;
                        continue;
                    }
                },
                // As in the backlog, it waits until there is room; but nobody would see a source go.
                Choice::Full if self.client.endpoint.lifetime() != Lifetime::Idleness => {
                    (self.deadline_of_attempts(), u64::MAX)
                }
                Choice::Full => (give_up.min(patience), patience),
                Choice::NoneYet => (give_up.min(until), u64::MAX),
                Choice::Exhausted if was_busy && patience <= turn.now => return Outcome::Ended(End::ConnectTimeout),
                Choice::Exhausted if was_busy => (patience, patience),
                Choice::Exhausted => return Outcome::Ended(reason),
            };
            if let Some(attempts) = &mut self.attempts {
                attempts.patience = patience;
            }
            return self.wait(give_up, reason, turn.now);
        }
    }

    /// Gives a remote up that is being connected to and has been found down, if there is another to try. `None`: it is
    /// another one, or goes on being tried.
    pub fn leave(
        &mut self,
        remote: RemoteId,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Option<Outcome> {
        self.lease.as_ref().filter(|lease| self.is_connecting() && lease.id == remote)?;
        let pool = &self.service.pool;
        let tried = self.attempts.as_ref().map_or(&[][..], |attempts| &attempts.tried);
        if pool.policy().retries.is_some_and(|retries| tried.len() >= retries as usize) {
            return None;
        }
        let is_another = |id: &RemoteId| *id != remote && !tried.contains(id);
        pool.set().members().iter().map(|member| &member.remote.id).find(|id| is_another(id))?;
        self.lease = None;
        self.attempts.get_or_insert_default().tried.push(remote);
        Some(self.choose(u64::MAX, End::RemoteDown, turn, dialer))
    }

    fn next_remote(&mut self, now: u64) -> Choice {
        self.address = 0;
        let pool = &self.service.pool;
        let tried = match &self.attempts {
            None => &[][..],
            Some(attempts) if attempts.deadline <= now => return Choice::Exhausted,
            Some(attempts) => &attempts.tried,
        };
        if pool.policy().retries.is_some_and(|retries| tried.len() > retries as usize) {
            return Choice::Exhausted;
        }
        pool.choose(|| self.client_key(), tried, now)
    }

    /// Sees to it that a session which waits for room has it before clients that are let in later.
    fn note_waiting(&mut self, choice: &Choice) {
        if matches!(choice, Choice::Full) {
            let Attempts { tried, waiting, .. } = &mut **self.attempts.get_or_insert_default();
            *waiting = self.service.pool.wait(tried, waiting.take());
        } else if let Some(attempts) = &mut self.attempts {
            attempts.waiting = None;
        }
    }

    /// Waits a little before it looks for a remote again.
    fn wait(&mut self, give_up: u64, reason: End, now: u64) -> Outcome {
        self.log_given_up(reason);
        self.remote = None;
        if let Some(Attempts { tried, busy, .. }) = self.attempts.as_deref_mut() {
            tried.retain(|id| !busy.contains(id));
            busy.clear();
        }
        self.phase = Phase::Busy { retry: now.saturating_add(BUSY_PAUSE).min(give_up), give_up };
        Outcome::Waiting
    }

    /// Dials a remote: its current address, or the next that can be, the first of them until `give_up`. `failure` is why
    /// the one before could not be connected to, `reason` why the last attempt of all failed.
    fn dial(
        &mut self,
        lease: Lease,
        mut give_up: u64,
        mut failure: Option<Failure>,
        mut reason: End,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Dialled {
        let is_over = self.deadline_of_attempts() <= turn.now;
        while let Some(address) = lease.addresses.get(self.address as usize).filter(|_| !is_over) {
            let client = Caller { endpoint: &self.client.endpoint, terms: self.terms.as_deref() };
            self.tries = self.tries.saturating_add(1);
            match dialer.dial(&self.service, address, &client) {
                Dial::Started(mut endpoint) => {
                    self.log_given_up(reason);
                    self.add_header(&mut endpoint);
                    let connected = endpoint.connects_at_once();
                    self.has_lanes |= endpoint.has_lanes();
                    self.has_more |= self.has_lanes;
                    self.remote = Some(Side { endpoint, ready: Readiness::default() });
                    self.lease = Some(lease);
                    self.phase = Phase::Connecting { give_up };
                    if connected {
                        self.open(turn);
                    }
                    return Dialled::Ends(Outcome::Waiting);
                }
                Dial::Busy if self.service.pool.set().members().len() == 1 => {
                    self.lease = Some(lease);
                    return Dialled::Ends(self.wait(give_up, reason, turn.now));
                }
                Dial::Busy => self.attempts.get_or_insert_default().busy.push(lease.id),
                Dial::Failed(error) => {
                    let error = Failure::Error(error);
                    reason = error.end();
                    failure = Some(error);
                }
            }
            self.address += 1;
            give_up = self.give_up(turn.now);
        }
        let attempts = self.attempts.get_or_insert_default();
        attempts.tried.push(lease.id);
        let is_one = !attempts.busy.contains(&lease.id) && !lease.is_original();
        let is_failed = |failure: &Failure| is_one && failure.is_the_remotes(&self.service.local);
        if let Some(failure) = failure.filter(is_failed) {
            let remote = lease.remote().clone();
            // It is none of the remote's sessions any more, whose number is logged.
            drop(lease);
            self.service.pool.failed(&remote, &failure, turn.now);
        }
        Dialled::Failed(reason)
    }

    /// Logs the end of an attempt that another follows.
    fn log_given_up(&self, reason: End) {
        if let Some(remote) = &self.remote {
            info!("disconnect proxy to remote {}: {reason}", Route(&remote.endpoint, SideName::Remote));
        }
    }

    pub(super) fn open(&mut self, turn: &Turn<'_, E::Pipe>) {
        let now = turn.now;
        self.connected_after =
            u32::try_from(turn.now_us.saturating_sub(self.begun)).unwrap_or(NEVER - 1).min(NEVER - 1);
        self.attempts = None;
        self.forget_header();
        if !self.remote.as_ref().is_some_and(|remote| is_silent(&remote.endpoint)) {
            remote_works(&self.service, self.lease.as_ref(), now);
        }
        if let Some(Side { endpoint, ready }) = &mut self.remote {
            info!("connect complete proxy to remote {}", Route(endpoint, SideName::Remote));
            ready.writable = true;
            let datagrams = endpoint.carries() != Carries::Bytes;
            if datagrams && self.client.endpoint.carries() == Carries::Bytes {
                (self.upstream, self.downstream) = (Flow::datagrams(), Flow::datagrams());
            }
        }
        if self.service.inspectors.is_some() {
            self.begin_inspection(turn.now_us);
        }
        self.phase = Phase::Open { last_moved: now, unsent: 0 };
    }

    /// The remote has ended, or its connection has: from now on the session is none of its.
    pub(super) fn remote_is_gone(&mut self, end: End, now: u64) {
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.is_held()) else { return };
        lease.give_back();
        if end == End::Refused && self.downstream.moved() == 0 {
            self.service.pool.failed(
                lease.remote(),
                &Failure::Error(io::Error::from_raw_os_error(libc::ECONNREFUSED)),
                now,
            );
        }
    }
}

/// Tells the pool that a session's remote is there.
pub(super) fn remote_works(service: &Service, lease: Option<&Lease>, now: u64) {
    if let Some(lease) = lease {
        service.pool.connected(lease.remote(), now);
    }
}

/// Whether only an answer says that something is there: it has no connection.
pub(super) fn is_silent<E: Endpoint>(remote: &E) -> bool {
    remote.carries() != Carries::Bytes && !remote.takes_an_end() && remote.lifetime() == Lifetime::Connection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_or_this_machine_may_be_the_cause_of_is_not_the_remotes_failure() {
        let errors = [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EINVAL, libc::EMFILE, libc::EADDRNOTAVAIL];
        let failures = || errors.map(|number| Failure::Error(io::Error::from_raw_os_error(number)));
        let counted = |from| failures().map(|failure| failure.is_the_remotes(&from));
        assert_eq!(counted(LocalAddress::System), [true, true, true, false, false]);
        assert!(Failure::Timeout.is_the_remotes(&LocalAddress::System));
        assert_eq!(counted(LocalAddress::Client), [true, false, false, false, false]);
        assert!(!Failure::Timeout.is_the_remotes(&LocalAddress::Client));
    }
}
