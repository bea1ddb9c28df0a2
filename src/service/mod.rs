//! What sessions have in common: data and atomics, without input or output.

pub mod admission;
mod options;
pub mod pool;
mod remote;
pub mod stripes;

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::address::{EndpointAddress, Endpoints};
use crate::base::random::random;
use crate::config::settings::{OnReload, RemoteSettings, ServiceSettings};
use pool::{Member, Pool, Remote};

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
    /// Its remotes.
    pub pool: Pool,
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

    /// Makes a service ready for use at this time, in milliseconds since the origin that all threads share. What is known
    /// of the remotes of the one before it, if there was one, is kept.
    ///
    /// # Errors
    ///
    /// A remote, as it was written, whose address the system cannot have.
    pub fn new(settings: &ServiceSettings, former: Option<&Service>, now: u64) -> Result<Service, (String, io::Error)> {
        let members = members(settings, former)?;
        // The same for all is as good where there is nothing to guess.
        let seed = random().map_or(0, u64::from_ne_bytes);
        Ok(Service {
            id: ServiceId::next(),
            name: settings.name.clone(),
            pool: Pool::new(&settings.pool, members, seed, now),
            options: SocketOptions::new(settings),
            stripe: Arc::new(StripeOptions::new(&settings.stripe, settings.connect_timeout)),
            timeouts: Timeouts::new(settings),
            on_reload: settings.on_reload,
        })
    }
}

/// The remotes that are asked for; one that the former service had is the same one.
fn members(settings: &ServiceSettings, former: Option<&Service>) -> Result<Vec<Member>, (String, io::Error)> {
    let known = former.map(|service| service.pool.set());
    let known = known.iter().flat_map(|set| set.members()).map(|member| (&member.remote.at, &member.remote));
    let known: HashMap<_, _> = known.collect();
    let named = settings.remotes.iter().filter(|remote| !remote.endpoints.addresses.is_empty());
    let member = |(name, at, asked): (String, Vec<EndpointAddress>, &RemoteSettings)| {
        let remote = match known.get(&at) {
            Some(&remote) => remote.clone(),
            None => Arc::new(Remote::new(name, at).map_err(|error| (asked.endpoints.argument.clone(), error))?),
        };
        let RemoteSettings { weight, is_backup, max_sessions, .. } = *asked;
        Ok(Member { remote, weight, is_backup, max_sessions })
    };
    let each = |remote: &RemoteSettings| {
        // Only where they are looked up again, each address is a remote.
        let apart = settings.pool.resolve.is_some();
        let Endpoints { argument, addresses } = &remote.endpoints;
        let parts = if apart { addresses.chunks(1) } else { addresses.chunks(addresses.len()) };
        parts
            .map(|at| (if at.len() == 1 { at[0].to_string() } else { argument.clone() }, at.to_vec()))
            .collect::<Vec<_>>()
    };
    named.flat_map(|remote| each(remote).into_iter().map(move |(name, at)| (name, at, remote))).map(member).collect()
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
