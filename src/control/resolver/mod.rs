//! Looks the names of remotes up again and again, on threads of its own: by the system's resolver, or, for `srv:`, by
//! SRV records.

use std::io;
use std::time::Duration;

use crate::address::EndpointAddress;
use crate::service::ServiceId;

/// A remote whose name is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The service that it is a remote of.
    pub service: ServiceId,
    /// Which of the remotes in the service's settings it is.
    pub remote: usize,
    /// The remote as it was written, without its options.
    pub argument: String,
    /// How often it is looked up; `None`: as the time to live of its SRV records says.
    pub every: Option<Duration>,
}

/// An address that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The address.
    pub address: EndpointAddress,
    /// Its weight beside the others of this name, from 1 to 256; `None`: nothing is said of it.
    pub weight: Option<u16>,
    /// Whether others come before it.
    pub is_backup: bool,
}

/// What a name stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in [`Name`].
    pub service: ServiceId,
    /// As in [`Name`].
    pub remote: usize,
    /// Its addresses: at least one, each once, in an order that does not depend on that of the answer. Or why it has none.
    pub found: Result<Vec<Found>, String>,
}

/// The threads that look names up. Dropping it ends them, without waiting for a look-up that is under way.
#[derive(Debug)]
pub struct Resolver {}

impl Resolver {
    /// Starts without a name. `tell` must not wait, and not call the resolver. It is told of each name the first answer, and
    /// then each that differs from the one before: the same addresses in another order are not told, and of failures in a
    /// row only the first.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn start(tell: impl Fn(Answer) + Send + Sync + Clone + 'static) -> io::Result<Resolver> {
        let _ = tell;
        Ok(Resolver {})
    }

    /// Follows these names and no others. One that is new is looked up at once; one that was followed already, for whichever
    /// remote, goes on as it was, and a remote that is new to it is told the answer that is known.
    pub fn follow(&self, names: Vec<Name>) {
        let _ = names;
    }
}
