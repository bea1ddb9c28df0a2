//! What is known of a session, for whoever looks at it or writes of it.

use std::sync::Arc;

use super::{NEVER, Phase, Session};
use crate::endpoint::{Endpoint, Names, Route, SideName};
use crate::flow::Flow;
use crate::proxy_header::Addresses;
use crate::service::Service;
use crate::service::pool::{Lease, Remote};

/// What is known of a session. Of two numbers the first is about upstream, from client to remote.
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a> {
    /// The service that it belongs to.
    pub service: &'a Arc<Service>,
    /// The remote that it is or was joined to, or that is being tried.
    pub remote: Option<&'a Arc<Remote>>,
    /// When it began, in microseconds since the clock's origin; no two sessions of a thread began at the same time.
    pub begun: u64,
    /// How long it took until the remote was connected, in microseconds; `None`: it has not been.
    pub connected_after: Option<u32>,
    /// Attempts to connect that have begun.
    pub tries: u32,
    /// Bytes of payload that were delivered.
    pub bytes: [u64; 2],
    /// Datagrams that were delivered.
    pub datagrams: [u64; 2],
    /// Datagrams that could not be.
    pub dropped: [u64; 2],
}

impl<E: Endpoint> Session<E> {
    /// What is known of it.
    pub fn summary(&self) -> Summary<'_> {
        let (up, down) = (self.upstream.counts(), self.downstream.counts());
        Summary {
            service: &self.service,
            remote: self.lease.as_ref().map(Lease::remote),
            begun: self.begun,
            connected_after: (self.connected_after != NEVER).then_some(self.connected_after),
            tries: self.tries,
            bytes: [&self.upstream, &self.downstream].map(Flow::moved),
            datagrams: [up.taken, down.taken],
            dropped: [up.dropped, down.dropped],
        }
    }

    /// Who it joins. What the system has to be asked for is known only where routes are logged.
    pub fn names(&self) -> Names {
        let split = |endpoint: &E, side| {
            let names = Route(endpoint, side).names();
            let (from, to) = names.split_once(" -> ").unwrap_or((&names, ""));
            (from.to_string(), to.to_string())
        };
        let (client, listener) = split(&self.client.endpoint, SideName::Client);
        let (own, remote) =
            self.remote.as_ref().map(|remote| split(&remote.endpoint, SideName::Remote)).unwrap_or_default();
        Names { client, listener, own, remote }
    }

    /// Who the client is by its header, if it has one that is believed.
    pub fn told_client(&self) -> Option<&Addresses> {
        self.told_addresses()
    }

    /// What it is doing, in one word.
    pub fn phase_word(&self) -> &'static str {
        match self.phase {
            Phase::Header { .. } => "header",
            Phase::Busy { .. } => "waiting",
            Phase::Connecting { .. } | Phase::Introducing { .. } => "connecting",
            Phase::Open { .. } => "open",
            Phase::Ending { .. } | Phase::LastWords { .. } => "ending",
        }
    }
}
