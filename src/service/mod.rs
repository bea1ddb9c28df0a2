//! What sessions have in common: data and atomics, without input or output.

pub mod access;
pub mod admission;
pub mod caps;
pub mod hours;
pub mod limits;
pub mod local;
mod options;
pub mod pool;
pub mod proxy;
pub mod refusals;
mod remote;
pub mod stripes;
pub mod waiters;

use log::LevelFilter;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::address::{EndpointAddress, Endpoints};
use crate::base::random::random;
use crate::config::settings::{OnReload, RemoteSettings, ServiceSettings};
use crate::inspect::Inspectors;
use crate::inspect::rules::Rules;
use crate::log::LevelScope;
use access::Access;
use caps::Caps;
use hours::Hours;
use limits::Limits;
use local::LocalAddress;
use pool::{Member, Pool, Remote, RemoteId};
use proxy::ProxyOptions;
use refusals::Refusals;

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
    /// Its number, by which it is counted: all versions of a service have the same, and no two services.
    pub number: u32,
    /// Its name; empty for the one of the command line.
    pub name: String,
    /// Its remotes, which the keeper replaces; it must not be counted among those who hold the service.
    pub pool: Arc<Pool>,
    /// Who may come in; `None`: everybody.
    pub access: Option<Box<Access>>,
    /// Which headers of the PROXY protocol are sent and taken; `None`: none.
    pub proxy: Option<Box<ProxyOptions>>,
    /// When clients may come in; `None`: always.
    pub hours: Option<Box<Hours>>,
    /// How many sessions it may have, and how many may begin; `None`: any number.
    pub limits: Option<Box<Limits>>,
    /// How many clients were refused.
    pub refusals: Arc<Refusals>,
    /// How fast bytes may move in its sessions; `None`: as fast as can be.
    pub caps: Option<Box<Caps>>,
    /// What looks at its sessions; `None`: nothing does.
    pub inspectors: Option<Box<Inspectors>>,
    /// The options of its sockets.
    pub options: SocketOptions,
    /// Which address of ours its connections have.
    pub local: LocalAddress,
    /// How its stripes behave.
    pub stripe: Arc<StripeOptions>,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// After how many datagrams sessions of clients without a connection end.
    pub exchange: Exchange,
    /// What becomes of its sessions when a reload replaces it.
    pub on_reload: OnReload,
    /// What is logged of each session, once its file has been opened; `None`: nothing.
    pub access_log: Option<Box<AccessLog>>,
    /// What is logged of it; `None`: what the process logs.
    pub log_level: Option<LevelFilter>,
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
    /// A whole session; `None`: for ever.
    pub session: Option<u64>,
    /// A session of which one direction has ended, without a byte moving; `None`: as long as any other.
    pub half_close: Option<u64>,
}

/// After how many datagrams sessions of clients without a connection end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The client's next datagram begins another session after so many; `None`: after any number.
    pub requests: Option<NonZeroU32>,
    /// Each of these is answered by so many, after which the session ends; `None`: nobody knows by how many.
    pub responses: Option<u32>,
}

impl Service {
    /// A line of the log, with the service's name before it where it has one.
    pub fn named(&self, line: &impl Display) -> String {
        if self.name.is_empty() { line.to_string() } else { format!("service {}: {line}", self.name) }
    }

    /// What is logged as long as this lives is of this service.
    #[inline]
    pub fn log_scope(&self) -> Option<LevelScope> {
        LevelScope::of(self.log_level)
    }

    /// Whether its clients begin with a header of the PROXY protocol, which says who they are.
    pub fn takes_headers(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.accept)
    }

    /// Whether its clients may be on their way to somebody else, to whom they are connected.
    pub fn intercepts(&self) -> bool {
        self.pool.set().members().iter().any(|member| member.remote.is_original())
    }

    /// Makes a service ready for use at this time, in milliseconds since the origin that all threads share. What is known
    /// of the remotes of the one before it, if there was one, is kept, and what it has counted goes on.
    ///
    /// # Errors
    ///
    /// A remote, as it was written, whose address the system cannot have.
    pub fn new(settings: &ServiceSettings, former: Option<&Service>, now: u64) -> Result<Service, (String, io::Error)> {
        let known = former.map(|service| service.pool.set());
        let known = known.iter().flat_map(|set| set.members()).map(|member| &member.remote);
        let members = members(&settings.remotes, settings.pool.resolve.is_some(), known)?;
        if let Some(former) = former {
            appeared(&members, former.pool.set().members(), now);
        }
        // The same for all is as good where there is nothing to guess.
        let seed = random().map_or(0, u64::from_ne_bytes);
        Ok(Service {
            id: ServiceId::next(),
            number: former.map_or_else(next_number, |former| former.number),
            name: settings.name.clone(),
            pool: Arc::new(Pool::new(&settings.pool, members, seed, now)),
            access: Access::new(&settings.access).map(Box::new),
            limits: Limits::new(&settings.limits, former.and_then(|former| former.limits.as_deref())).map(Box::new),
            refusals: former.map_or_else(Arc::default, |former| former.refusals.clone()),
            proxy: ProxyOptions::new(&settings.proxy),
            hours: Hours::new(&settings.hours).map(Box::new),
            caps: Caps::new(&settings.caps, former.and_then(|former| former.caps.as_deref())).map(Box::new),
            inspectors: inspectors(settings),
            options: SocketOptions::new(settings),
            local: LocalAddress::new(&settings.connect_from, former.map(|former| &former.local)),
            stripe: Arc::new(StripeOptions::new(&settings.stripe, settings.connect_timeout)),
            timeouts: Timeouts::new(settings),
            exchange: Exchange { requests: settings.limits.requests, responses: settings.limits.responses },
            on_reload: settings.on_reload,
            access_log: None,
            log_level: settings.log_level,
        })
    }

    /// It is the version of the service that is in use from now on: what it shares with former ones goes by its settings.
    pub fn take_effect(&self) {
        if let Some(caps) = &self.caps {
            caps.take_effect();
        }
    }
}

/// All that looks at the sessions of a service: what its options ask for, and then what an embedder does.
fn inspectors(settings: &ServiceSettings) -> Option<Box<Inspectors>> {
    let mut inspectors = Inspectors::default();
    if let Some(rules) = Rules::new(&settings.rules) {
        inspectors.add(Arc::new(rules));
    }
    inspectors.extend(&settings.inspectors);
    (!inspectors.is_empty()).then(|| Box::new(inspectors))
}

/// The remotes that are asked for, each once. One that is known, by where it is, is the same one. `apart`: each address is a
/// remote, as names are looked up again; otherwise the addresses of a name are tried in turn.
///
/// # Errors
///
/// A remote, as it was written, whose address the system cannot have.
pub fn members<'a, 'b>(
    asked: impl IntoIterator<Item = &'a RemoteSettings>,
    apart: bool,
    known: impl Iterator<Item = &'b Arc<Remote>>,
) -> Result<Vec<Member>, (String, io::Error)> {
    let mut known: HashMap<&[EndpointAddress], Arc<Remote>> =
        known.map(|remote| (remote.at.as_slice(), remote.clone())).collect();
    let mut there = HashSet::new();
    let mut members = Vec::new();
    for RemoteSettings { endpoints: Endpoints { argument, addresses }, weight, is_backup, max_sessions, .. } in asked {
        let together = if apart { 1 } else { addresses.len().max(1) };
        for at in addresses.chunks(together).filter(|at| there.insert(*at)) {
            let remote = match known.remove(at) {
                Some(remote) => remote,
                None => {
                    let name = if at.len() == 1 { at[0].to_string() } else { argument.clone() };
                    Arc::new(Remote::new(name, at.to_vec()).map_err(|error| (argument.clone(), error))?)
                }
            };
            let (weight, is_backup, max_sessions) = (*weight, *is_backup, *max_sessions);
            members.push(Member { remote, weight, is_backup, max_sessions });
        }
    }
    Ok(members)
}

/// Notes which of these remotes have come now, while clients are served, as they were not there before. If there was none,
/// these are those that the program starts with.
pub fn appeared(members: &[Member], before: &[Member], now: u64) {
    if before.is_empty() {
        return;
    }
    let before: HashSet<RemoteId> = before.iter().map(|member| member.remote.id).collect();
    let new = members.iter().filter(|member| !before.contains(&member.remote.id));
    new.for_each(|member| member.remote.appeared(now));
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
            session: settings.session_timeout.map(milliseconds),
            half_close: settings.half_close_timeout.map(milliseconds),
        }
    }
}

/// The number of a service that is new.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Relaxed)
}

impl ServiceId {
    /// One that no other call has returned.
    pub fn next() -> ServiceId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ServiceId(NEXT.fetch_add(1, Relaxed))
    }
}
