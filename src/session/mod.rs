//! One client joined to one remote: two sides, two flows, and the state of both.

mod account;
mod cap;
mod connect;
mod end;
mod exchange;
mod header;
mod inspection;
mod introducing;
mod lanes;
mod last_words;
mod more;
mod relay;
mod summary;
mod terms;
#[cfg(test)]
mod tests;
mod times;

use log::{Level, log_enabled};
use std::sync::Arc;

use crate::buffers::pools::Pools;
use crate::config::proxy::HeaderOf;
use crate::endpoint::{Carries, Endpoint, HeaderPlace, Lifetime, SideName};
use crate::flow::{Flow, Pace, Readiness, Side};
use crate::service::Service;
use crate::service::pool::{Lease, RemoteId};
use crate::service::proxy::ProxyOptions;

use connect::Attempts;
pub use connect::{Caller, Dial, Dialer};
use end::pending_error;
pub use end::{End, Ending};
pub use header::{Headers, ToldClient, header_of};
pub use summary::Summary;
pub use terms::Terms;

/// What a session needs to know of the thread and the turn in which it runs.
#[derive(Debug)]
pub struct Turn<'a, P> {
    /// What flows hold bytes in.
    pub pools: &'a mut Pools<P>,
    /// Milliseconds since the thread's origin.
    pub now: u64,
    /// The same in microseconds.
    pub now_us: u64,
    /// Bytes that each flow may read.
    pub budget: usize,
}

/// In place of the time until the remote was connected: it has not been.
const NEVER: u32 = u32::MAX;

/// How long a session whose client has no connection may be idle while it drains, in milliseconds: nothing else ends it.
const DRAINING_IDLE: u64 = 2000;

/// How long the answer to the end of one side of a session with datagrams may keep it waiting, in milliseconds.
const LAST_ANSWER: u64 = 2000;

/// How long what was sent last to a side of a session that is ending may go without getting less, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// Whether a session will log routes, for which an endpoint must know all its names.
pub fn logs_routes() -> bool {
    log_enabled!(Level::Info)
}

/// What became of a session that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for an event or its timer.
    Waiting,
    /// It spent its budget and could still move.
    Spent,
    /// It is over and is to be closed.
    Ended(End),
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The client has to say who it is, before this time.
    Header { give_up: u64 },
    /// The remote was busy, or there was none: it is to be tried again at `retry`, and given up at `give_up`.
    Busy { retry: u64, give_up: u64 },
    /// A connection attempt is under way.
    Connecting { give_up: u64 },
    /// The remote is connected, and has not got all of our header yet.
    Introducing { give_up: u64 },
    /// Bytes may move.
    Open { last_moved: u64, unsent: u32 },
    /// One side of a session with datagrams has ended and the other has been told, which may still have an answer.
    Ending { last_moved: u64, progressed: u64, unsent: u32 },
    /// The session is to end so, as one side has broken or closed wholly; what it said before is still being delivered.
    LastWords { of: SideName, end: End, progressed: u64, look: u64, unsent: u32 },
}

/// Learns what the systems have still to send, and says whether it gets less, for all that is known: at the first look,
/// before which `known` is 0, it does if it is anything.
fn gets_less(known: &mut u32, unsent: u32) -> bool {
    let before = std::mem::replace(known, unsent);
    unsent < before || (before == 0 && unsent > 0)
}

/// One client joined, or about to be joined, to one remote.
#[derive(Debug)]
pub struct Session<E: Endpoint> {
    client: Side<E>,
    remote: Option<Side<E>>,
    upstream: Flow<E::Pipe>,
    downstream: Flow<E::Pipe>,
    phase: Phase,
    /// The service that it belongs to, whose settings it keeps.
    service: Arc<Service>,
    /// Its hold on the remote that is being tried or was connected to.
    lease: Option<Lease>,
    /// When it began, in microseconds since the thread's origin.
    begun: u64,
    /// How long it took until the remote was connected, in microseconds; [`NEVER`]: it has not been.
    connected_after: u32,
    /// Attempts to connect that have begun.
    tries: u32,
    /// What was tried before, where that is more than nothing.
    attempts: Option<Box<Attempts>>,
    /// What it has beside what all sessions have.
    terms: Option<Box<Terms>>,
    /// The number of the remote's address that is being tried or was connected to.
    address: u32,
    /// It is to end soon, also where its client has no connection to end.
    draining: bool,
    /// One of its endpoints has lanes.
    has_lanes: bool,
    /// It has lanes, caps or times, for which its runs do more than those of others.
    has_more: bool,
}

impl<E: Endpoint> Session<E> {
    /// A session for a client that was just accepted; [`Session::start`] must follow.
    pub fn new(client: E, service: Arc<Service>, terms: Option<Box<Terms>>, pace: Pace) -> Session<E> {
        let flow = || match client.carries() {
            Carries::Bytes => Flow::bytes(pace),
            Carries::Datagrams { .. } => Flow::datagrams(),
        };
        let mut upstream = flow();
        let each_has_header = |proxy: &ProxyOptions| proxy.accept && proxy.datagrams == HeaderOf::Each;
        if service.proxy.as_deref().is_some_and(each_has_header) && client.header_place() == HeaderPlace::Datagrams {
            upstream.take_headers();
        }
        let terms = exchange::begin(&client, &service, terms);
        Session {
            upstream,
            downstream: flow(),
            has_lanes: client.has_lanes(),
            has_more: client.has_lanes() || terms.as_ref().is_some_and(|terms| terms.is_timed),
            client: Side {
                ready: Readiness { writable: client.connects_at_once(), ..Readiness::default() },
                endpoint: client,
            },
            remote: None,
            phase: Phase::Connecting { give_up: 0 },
            service,
            lease: None,
            begun: 0,
            connected_after: NEVER,
            tries: 0,
            attempts: None,
            terms,
            address: 0,
            draining: false,
        }
    }

    /// Notes when it began, in microseconds since the thread's origin: no other session of the thread began just then.
    pub fn note_begun(&mut self, at: u64) {
        self.begun = at;
    }

    /// Notes what an event said of a side. The session is to be run then.
    pub fn ready(&mut self, side: SideName, ready: Readiness) {
        match (side, &mut self.remote) {
            (SideName::Client, _) => self.client.ready.add(ready),
            (SideName::Remote, Some(remote)) => remote.ready.add(ready),
            (SideName::Remote, None) => {}
        }
    }

    /// Does what can be done now, within the turn's budget.
    pub fn run(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        if self.has_more { self.run_with_more(turn, dialer) } else { self.run_ready(turn, dialer) }
    }

    /// Does what can be done now with what is ready.
    #[inline(always)]
    fn run_ready(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        match self.phase {
            Phase::Open { .. } | Phase::Ending { .. } => self.relay(turn),
            Phase::LastWords { .. } => self.last_words(self.progress(), turn),
            Phase::Busy { .. } | Phase::Connecting { .. } | Phase::Introducing { .. } => {
                if let Some(end) = pending_error(&mut self.client, SideName::Client) {
                    return Outcome::Ended(end);
                }
                if self.is_for_nobody() {
                    return Outcome::Ended(End::EndOfStream);
                }
                self.connect(turn, dialer)
            }
            Phase::Header { .. } => self.hear_header(turn, dialer),
        }
    }

    /// Whether either flow carries bulk, as far as is known.
    pub fn is_bulk(&self) -> bool {
        self.upstream.is_bulk() || self.downstream.is_bulk()
    }

    /// Bytes that both flows have delivered, and what datagrams took beside their bytes.
    pub fn moved(&self) -> u64 {
        let flow = |flow: &Flow<E::Pipe>| flow.moved() + flow.counts().work;
        flow(&self.upstream) + flow(&self.downstream)
    }

    /// Whether it waits to dial for a client that has gone and has said nothing.
    fn is_for_nobody(&self) -> bool {
        let waits = matches!(self.phase, Phase::Busy { .. });
        waits && self.client.ready.write_closed && !self.upstream.keeps() && !self.client.endpoint.may_have_unread()
    }

    /// Whether its client has gone before there was any answer, if it ends so.
    pub fn was_left(&self, end: End) -> bool {
        let left = match end {
            End::Reset(SideName::Client) => true,
            // Otherwise the remote has ended as well.
            End::EndOfStream => !self.downstream.has_finished(),
            _ => false,
        };
        left && self.downstream.moved() == 0
    }

    /// Since when nothing has moved, if bytes could: milliseconds since the thread's origin.
    pub fn last_moved(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { last_moved, .. } | Phase::Ending { last_moved, .. } => Some(last_moved),
            Phase::LastWords { progressed, .. } => Some(progressed),
            Phase::Header { .. } | Phase::Busy { .. } | Phase::Connecting { .. } | Phase::Introducing { .. } => None,
        }
    }

    /// Whether nothing but the proxy will end it, as one of its sides is a device.
    pub fn is_endless(&self) -> bool {
        let endless = |side: &Side<E>| side.endpoint.lifetime() == Lifetime::Endless;
        endless(&self.client) || self.remote.as_ref().is_some_and(endless)
    }

    /// Whether its client has a connection, whose end ends it.
    pub fn has_connection(&self) -> bool {
        self.client.endpoint.lifetime() == Lifetime::Connection
    }

    /// The service that it belongs to.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Whether it is joined to this remote, and that has not ended. One that is being connected may go to another yet.
    pub fn is_on(&self, remote: RemoteId) -> bool {
        !self.is_connecting() && self.lease.as_ref().is_some_and(|lease| lease.is_held() && lease.id == remote)
    }

    /// Whether it has no remote yet, or may still have another.
    fn is_connecting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Header { .. } | Phase::Busy { .. } | Phase::Connecting { .. } | Phase::Introducing { .. }
        )
    }

    /// Has it end soon, where its client has no connection whose end would end it.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// How long it may go without a byte moving.
    fn idle_timeout(&self) -> Option<u64> {
        let timeouts = &self.service.timeouts;
        match self.client.endpoint.lifetime() {
            Lifetime::Connection | Lifetime::Endless => timeouts.idle,
            Lifetime::Idleness if self.draining => {
                Some(timeouts.connectionless.map_or(DRAINING_IDLE, |idle| idle.min(DRAINING_IDLE)))
            }
            Lifetime::Idleness => timeouts.connectionless,
        }
    }

    /// When the session wants to be run though no event came, in milliseconds; later by at most what moved since.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        if self.has_more { self.deadline_with_more() } else { self.own_deadline() }
    }

    /// That of the session itself.
    #[inline]
    fn own_deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Busy { retry, .. } => Some(retry),
            Phase::Header { give_up } | Phase::Connecting { give_up } | Phase::Introducing { give_up } => Some(give_up),
            Phase::Open { last_moved, .. } => self.idle_timeout().map(|idle| last_moved.saturating_add(idle)),
            Phase::Ending { last_moved, .. } => Some(last_moved.saturating_add(LAST_ANSWER)),
            Phase::LastWords { look, .. } => Some(look),
        }
    }
}
