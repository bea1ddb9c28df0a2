//! One remote, and what is counted and known of it, whichever set it is in.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::room::Freed;
use crate::address::EndpointAddress;
use crate::service::RemoteAddress;

/// Tells remotes apart, those that are gone among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RemoteId(u32);

impl RemoteId {
    fn next() -> RemoteId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        RemoteId(NEXT.fetch_add(1, Relaxed))
    }
}

/// A remote: an address, or the addresses of a name that are tried one after the other.
///
/// It outlives the sets that it is in: a reload or a new answer of a name server that leaves it in place leaves all this alone.
#[derive(Debug)]
#[repr(align(128))]
pub struct Remote {
    /// Which one it is.
    pub id: RemoteId,
    /// Its address as the log has it; where there are several, what was written.
    pub name: String,
    /// Where it is, before it was made ready for the system: by this it is recognised.
    pub at: Vec<EndpointAddress>,
    /// The addresses that are tried, in this order.
    pub addresses: Vec<RemoteAddress>,
    /// Sessions that it has now.
    pub(super) sessions: AtomicU32,
    /// Sessions that it ever had.
    pub(super) sessions_ever: AtomicU64,
    /// Whom it tells when it has one less.
    pub(super) freed: Freed,
}

impl Remote {
    /// A remote that nothing is known of.
    ///
    /// # Errors
    ///
    /// An address that the system cannot have.
    pub fn new(name: String, at: Vec<EndpointAddress>) -> io::Result<Remote> {
        Ok(Remote {
            id: RemoteId::next(),
            name,
            addresses: at.iter().map(RemoteAddress::new).collect::<io::Result<_>>()?,
            at,
            sessions: AtomicU32::new(0),
            sessions_ever: AtomicU64::new(0),
            freed: Freed::default(),
        })
    }

    /// Sessions that it has now, but for those whose remote has ended already.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Relaxed)
    }

    /// Sessions that it ever had.
    pub fn sessions_ever(&self) -> u64 {
        self.sessions_ever.load(Relaxed)
    }
}
