//! Accepting clients from listeners: a bounded number a turn, with a pause when there is no room for more.

use log::{info, warn};
use mio::{Registry, Token};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::base::error::{error_number, error_text};
use crate::endpoint::{Endpoint, Listener, Socket};
use crate::service::admission::Admission;

/// Clients accepted from one listener before the others are looked at.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when there is no room, before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the clients that wait in the listeners' queues are still taken at the end.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether clients are being accepted.
#[derive(Debug, Clone, Copy)]
enum State {
    Accepting,
    /// There is no room until, perhaps, this time.
    Paused(Instant),
    /// What waits in the queues is still taken, until this time.
    Stopping(Instant),
}

/// How a turn with one listener ended.
enum Accepted {
    /// Nobody waits in its queue.
    All,
    /// Somebody may still wait.
    Some,
    /// There are no descriptors for another session.
    NoRoom,
    /// Accepting fails, and not because of the one client: descriptors or memory of the system have run out.
    Failed(io::Error),
}

/// The listeners of one thread.
#[derive(Debug)]
pub struct Accepting {
    listeners: Vec<Listener>,
    /// Whether somebody may wait in the listener's queue.
    ready: Vec<bool>,
    admission: Admission,
    state: State,
}

impl Accepting {
    /// Registers the listeners; the token of each is `first_token` and its index.
    pub fn new(
        mut listeners: Vec<Listener>,
        admission: Admission,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<Accepting> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(registry, Token(first_token + index))?;
        }
        let ready = vec![true; listeners.len()];
        Ok(Accepting { listeners, ready, admission, state: State::Accepting })
    }

    /// Notes an event of a listener, by its index.
    pub fn note(&mut self, index: usize) {
        self.ready[index] = true;
    }

    /// How long there is nothing to accept: `None` until an event comes.
    pub fn wait(&self) -> Option<Duration> {
        match self.state {
            State::Paused(until) => Some(until.saturating_duration_since(Instant::now())),
            _ if self.ready.contains(&true) => Some(Duration::ZERO),
            State::Accepting => {
                let retry = self.listeners.iter().filter_map(Listener::retry_at).min();
                retry.map(|at| at.saturating_duration_since(Instant::now()))
            }
            State::Stopping(_) => None,
        }
    }

    /// Accepts what can be accepted in one turn and hands it to `take`.
    pub fn accept(&mut self, mut take: impl FnMut(Socket)) {
        if matches!(self.state, State::Paused(until) if until > Instant::now()) {
            return;
        }
        for index in 0..self.listeners.len() {
            if !self.ready[index] && !self.is_due(index) {
                continue;
            }
            match self.accept_from(index, &mut take) {
                Accepted::All => self.ready[index] = false,
                Accepted::Some => {}
                Accepted::NoRoom => {
                    let most = self.admission.most_sessions();
                    return self.pause(format_args!("out of descriptors: at most {most} sessions fit"));
                }
                Accepted::Failed(error) => {
                    let number = error_number(&error);
                    return self.pause(format_args!("accept error errno {number}: {}", error_text(&error)));
                }
            }
        }
        if let State::Paused(_) = self.state {
            info!("accepting again");
            self.state = State::Accepting;
        }
    }

    /// Accepts what waits already, for at most this long, and then no more.
    pub fn stop(&mut self, timeout: Duration) {
        self.ready.fill(!timeout.is_zero());
        self.state = State::Stopping(Instant::now() + timeout);
    }

    /// Whether it was stopped and has taken what waited: the listeners can be closed.
    pub fn has_stopped(&self) -> bool {
        match self.state {
            State::Stopping(until) => !self.ready.contains(&true) || until <= Instant::now(),
            State::Accepting | State::Paused(_) => false,
        }
    }

    /// Whether it is time to try the listener though no event said so.
    fn is_due(&self, index: usize) -> bool {
        self.listeners[index].retry_at().is_some_and(|at| at <= Instant::now())
    }

    fn accept_from(&mut self, index: usize, take: &mut impl FnMut(Socket)) -> Accepted {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.admission.has_room() {
                return Accepted::NoRoom;
            }
            match self.listeners[index].accept() {
                Ok(client) => {
                    info!("accepted fd {}", client.descriptor());
                    self.admission.admit();
                    take(client);
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

    fn pause(&mut self, reason: fmt::Arguments<'_>) {
        match self.state {
            // What still waits in the queues is reset when the listeners are closed.
            State::Stopping(_) => return self.ready.fill(false),
            State::Accepting => warn!("{reason}; accepting pauses"),
            State::Paused(_) => {}
        }
        self.state = State::Paused(Instant::now() + PAUSE);
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
