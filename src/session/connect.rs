//! How a session gets its remote: dialling one address after the other until one connects.

use log::{info, warn};
use std::io;

use super::end::{end_for, log_error};
use super::{End, Outcome, Phase, Session, Turn};
use crate::endpoint::{Carries, Endpoint, Route, SideName};
use crate::flow::{Flow, Readiness, Side};
use crate::service::Service;

/// How long a busy remote is left alone before it is tried again, in milliseconds.
const BUSY_PAUSE: u64 = 50;

/// How an attempt to connect began.
#[derive(Debug)]
pub enum Dial<E> {
    /// The endpoint is connecting or connected; a writable event will say that it is.
    Started(E),
    /// The remote's queue is full: the same address is worth another try soon.
    Busy,
    /// It failed at once (and the dialer said why).
    Failed,
    /// There is no address of this number.
    NoSuchAddress,
}

/// Connects sessions to their remote.
pub trait Dialer<E> {
    /// Starts connecting to the service's remote, at its address of this number, from 0, for a client that carries this.
    fn dial(&mut self, service: &Service, address: usize, client: Carries) -> Dial<E>;

    /// Tends to the lanes of an endpoint that has some: dials, reads and writes what their events and the time ask for.
    /// Returns what can be done with the endpoint now.
    fn tend(&mut self, side: SideName, endpoint: &mut E, now: u64) -> Readiness {
        let _ = (side, endpoint, now);
        Readiness::default()
    }
}

impl<E: Endpoint> Session<E> {
    /// Starts connecting to the first address of the remote that can be tried.
    pub fn start(&mut self, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        info!("connect client to proxy {}", Route(&self.client.endpoint, SideName::Client));
        self.dial(turn.now.saturating_add(self.service.timeouts.connect), End::ConnectFailed, turn, dialer)
    }

    /// Starts connecting a little later, if the client is still there by then.
    pub fn start_later(&mut self, now: u64) -> Outcome {
        info!("connect client to proxy {}", Route(&self.client.endpoint, SideName::Client));
        let retry = now.saturating_add(BUSY_PAUSE);
        self.phase = Phase::Busy { retry, give_up: retry.saturating_add(self.service.timeouts.connect) };
        Outcome::Waiting
    }

    pub(super) fn connect(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        match (self.phase, &mut self.remote) {
            (Phase::Busy { give_up, .. }, _) if give_up <= turn.now => {
                self.try_next_address(End::ConnectTimeout, turn, dialer)
            }
            (Phase::Busy { retry, give_up }, _) if retry <= turn.now => {
                // Where an event comes only after a call that would block, none has said so.
                if let Some(error) = self.client.endpoint.take_error() {
                    log_error(&self.client.endpoint, &error);
                    return Outcome::Ended(end_for(&error, SideName::Client));
                }
                self.dial(give_up, End::ConnectFailed, turn, dialer)
            }
            (Phase::Connecting { .. }, Some(remote)) if remote.ready.writable => {
                // A failed attempt is writable too, but never without an error or a hang-up.
                let suspect = remote.ready.error || remote.ready.read_closed;
                match suspect.then(|| remote.endpoint.take_error()).flatten() {
                    None => {
                        self.open(turn.now);
                        self.relay(turn)
                    }
                    Some(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        // It was connected, and is no longer: another address would not be the same remote. It may
                        // have said something.
                        log_error(&remote.endpoint, &error);
                        self.open(turn.now);
                        self.begin_last_words(SideName::Remote, End::Reset(SideName::Remote), self.progress(), turn)
                    }
                    Some(error) => {
                        log_error(&remote.endpoint, &error);
                        self.try_next_address(End::ConnectFailed, turn, dialer)
                    }
                }
            }
            (Phase::Connecting { give_up }, Some(remote)) if give_up <= turn.now => {
                warn!("connect timeout proxy to remote {}", Route(&remote.endpoint, SideName::Remote));
                self.try_next_address(End::ConnectTimeout, turn, dialer)
            }
            _ => Outcome::Waiting,
        }
    }

    fn try_next_address(&mut self, reason: End, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        self.address += 1;
        self.dial(turn.now.saturating_add(self.service.timeouts.connect), reason, turn, dialer)
    }

    /// Dials the current address, or the next that can be; `reason` is why there is none, if there is none.
    fn dial(
        &mut self,
        give_up: u64,
        mut reason: End,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        let first = self.address;
        loop {
            let give_up = match self.address {
                address if address == first => give_up,
                _ => turn.now.saturating_add(self.service.timeouts.connect),
            };
            match dialer.dial(&self.service, self.address as usize, self.client.endpoint.carries()) {
                Dial::Started(endpoint) => {
                    self.log_given_up(reason);
                    let connected = endpoint.connects_at_once();
                    self.has_lanes |= endpoint.has_lanes();
                    self.remote = Some(Side { endpoint, ready: Readiness::default() });
                    self.phase = Phase::Connecting { give_up };
                    if connected {
                        self.open(turn.now);
                    }
                    return Outcome::Waiting;
                }
                Dial::Busy => {
                    self.log_given_up(reason);
                    self.remote = None;
                    self.phase = Phase::Busy { retry: turn.now.saturating_add(BUSY_PAUSE).min(give_up), give_up };
                    return Outcome::Waiting;
                }
                Dial::Failed => {
                    self.address += 1;
                    reason = End::ConnectFailed;
                }
                Dial::NoSuchAddress => return Outcome::Ended(reason),
            }
        }
    }

    /// Logs the end of an attempt that another follows.
    fn log_given_up(&self, reason: End) {
        if let Some(remote) = &self.remote {
            info!("disconnect proxy to remote {}: {reason}", Route(&remote.endpoint, SideName::Remote));
        }
    }

    fn open(&mut self, now: u64) {
        if let Some(Side { endpoint, ready }) = &mut self.remote {
            info!("connect complete proxy to remote {}", Route(endpoint, SideName::Remote));
            ready.writable = true;
            let datagrams = endpoint.carries() != Carries::Bytes;
            if datagrams && self.client.endpoint.carries() == Carries::Bytes {
                (self.upstream, self.downstream) = (Flow::datagrams(), Flow::datagrams());
            }
        }
        self.phase = Phase::Open { last_moved: now, unsent: 0 };
    }
}
