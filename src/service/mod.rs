//! What sessions have in common: data and atomics, without input or output.

pub mod admission;
mod options;
mod remote;
pub mod stripes;

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::config::settings::{OnReload, ServiceSettings};

pub use options::{SocketOptions, StripeOptions};
pub use remote::{RemoteAddress, UnixRemote};

/// A service as sessions use it: where they are connected to, and the policies that they keep to the end.
///
/// It never changes: a reload makes another one for the clients that come after it. Whoever needs it holds an `Arc`;
/// the alignment keeps what sessions read away from the count of these.
#[derive(Debug)]
#[repr(align(128))]
pub struct Service {
    /// Which one it is, of all that the process has had.
    pub id: ServiceId,
    /// Its name; empty for the one of the command line.
    pub name: String,
    /// The remote's addresses, in the order in which they are tried.
    pub remotes: Vec<RemoteAddress>,
    /// The options of its sockets.
    pub options: SocketOptions,
    /// How its stripes behave.
    pub stripe: Arc<StripeOptions>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// What becomes of its sessions when a reload replaces it.
    pub on_reload: OnReload,
}

/// Tells services apart, those that a reload replaced among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServiceId(u32);

/// How long things may take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// One attempt to connect.
    pub connect: u64,
    /// A session without a byte moving; `None`: for ever.
    pub idle: Option<u64>,
    /// The same for one whose client has no connection.
    pub connectionless: Option<u64>,
}

impl Service {
    /// A line of the log, with the service's name before it where it has one.
    pub fn named(&self, line: &impl Display) -> String {
        if self.name.is_empty() { line.to_string() } else { format!("service {}: {line}", self.name) }
    }

    /// Makes a service ready for use.
    ///
    /// # Errors
    ///
    /// A remote address that the system cannot have.
    pub fn new(settings: &ServiceSettings) -> io::Result<Service> {
        Ok(Service {
            id: ServiceId::next(),
            name: settings.name.clone(),
            remotes: settings.remote.addresses.iter().map(RemoteAddress::new).collect::<io::Result<_>>()?,
            options: SocketOptions::new(settings),
            stripe: Arc::new(StripeOptions::new(&settings.stripe, settings.connect_timeout)),
            timeouts: Timeouts::new(settings),
            on_reload: settings.on_reload,
        })
    }
}

impl Timeouts {
    /// Those that a service asks for.
    pub fn new(settings: &ServiceSettings) -> Timeouts {
        // One more, as the clock's readings are rounded down: a timeout is never early.
        let milliseconds = |duration: Duration| u64::try_from(duration.as_millis() + 1).unwrap_or(u64::MAX);
        Timeouts {
            connect: milliseconds(settings.connect_timeout),
            idle: settings.idle_timeout.connected().map(milliseconds),
            connectionless: settings.idle_timeout.connectionless().map(milliseconds),
        }
    }
}

impl ServiceId {
    /// One that no other call has returned.
    pub fn next() -> ServiceId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ServiceId(NEXT.fetch_add(1, Relaxed))
    }
}
