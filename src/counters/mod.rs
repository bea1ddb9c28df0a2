//! What each thread counts of its sessions: plain numbers that no other thread writes, added up by whoever looks.

pub mod histogram;
mod seen;
mod thread;

use std::collections::HashMap;

use crate::service::pool::RemoteId;
use crate::session::Ending;
pub use histogram::Histogram;
pub use seen::{SessionRow, ThreadSnapshot, ThreadStatus};
pub use thread::{ServiceSeen, ServicesSeen, ThreadCounters, add_going_on};

/// What is counted of the sessions of one service. Of two numbers the first is about upstream, from client to remote.
#[derive(Debug, Clone, Default)]
pub struct ServiceCounters {
    /// Sessions that have begun.
    pub begun: u64,
    /// Sessions that have ended, by [`Ending`].
    pub ended: [u64; Ending::COUNT],
    /// Bytes of payload that were delivered.
    pub bytes: [u64; 2],
    /// Datagrams that were delivered.
    pub datagrams: [u64; 2],
    /// Datagrams that could not be.
    pub dropped: [u64; 2],
    /// How long it took to connect, in microseconds.
    pub connect_time: Histogram,
    /// How long sessions lasted, in microseconds.
    pub session_time: Histogram,
    /// How much sessions moved in both directions, in bytes.
    pub session_bytes: Histogram,
    /// The same of its remotes.
    pub remotes: HashMap<RemoteId, RemoteCounters>,
}

/// What is counted of the sessions of one remote.
#[derive(Debug, Clone, Default)]
pub struct RemoteCounters {
    /// Sessions that were connected to it.
    pub connected: u64,
    /// Bytes of payload that were delivered, to it and from it.
    pub bytes: [u64; 2],
    /// How long it took to connect, in microseconds.
    pub connect_time: Histogram,
}
