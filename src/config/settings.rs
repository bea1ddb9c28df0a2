//! What the command line or the file asked for: typed, validated, and immutable once the proxy runs.

use super::access::AccessRule;
use super::access_log::AccessLogSettings;
use super::balancing::PoolSettings;
use super::caps::CapSettings;
use super::capture::CaptureSettings;
use super::hours::HourSettings;
use super::inspection::RuleSettings;
use super::limits::LimitSettings;
use super::origin::ConnectFrom;
use super::proxy::ProxySettings;
use super::striping::StripeSettings;
use crate::address::{EndpointAddress, Endpoints};
use crate::inspect::Inspectors;
use crate::log::LogSettings;
use log::LevelFilter;
use std::time::Duration;

/// What one process was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What all services share.
    pub process: ProcessSettings,
    /// The services, in the order given; never empty.
    pub services: Vec<ServiceSettings>,
}

/// What concerns the process, whatever its services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// How many I/O threads run.
    pub io_threads: usize,
    /// Whether that is as many as there were cores for the process when it was asked for (`auto`).
    pub io_threads_by_cores: bool,
    /// Bytes in one flow's buffer.
    pub buffer_size: BufferSize,
    /// Whether bytes go through kernel pipes.
    pub zero_copy: ZeroCopy,
    /// Whether each I/O thread accepts for itself.
    pub reuse_port: bool,
    /// How long sessions may go on after SIGTERM or SIGINT; zero: they end at once.
    pub drain_timeout: Duration,
    /// What is logged.
    pub log: LogSettings,
}

/// One service: its listeners, its remotes, and the policies for its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its name; empty for the one of the command line.
    pub name: String,
    /// Where clients are accepted, in the order given.
    pub listeners: Vec<Endpoints>,
    /// What sessions are connected to, in the order given.
    pub remotes: Vec<RemoteSettings>,
    /// How one of these is chosen, and which of them work.
    pub pool: PoolSettings,
    /// Who may come in, in the order given; empty: everybody.
    pub access: Vec<AccessRule>,
    /// When clients are let in.
    pub hours: HourSettings,
    /// How many sessions it may have.
    pub limits: LimitSettings,
    /// How fast bytes may move in them.
    pub caps: CapSettings,
    /// Which headers of the PROXY protocol it sends and takes.
    pub proxy: ProxySettings,
    /// Which address of ours its connections to remotes have.
    pub connect_from: ConnectFrom,
    /// Whether `TCP_NODELAY` is set on both sides.
    pub no_delay: bool,
    /// Idle time before TCP keepalive probes, in whole seconds; `None`: no probes.
    pub keepalive: Option<Duration>,
    /// The listen(2) backlog; the system lowers it to its own maximum.
    pub backlog: i32,
    /// How long one connection attempt to a remote address may take; never zero.
    pub connect_timeout: Duration,
    /// How long a session may move no byte either way.
    pub idle_timeout: IdleTimeout,
    /// How long a session may live; `None`: for ever.
    pub session_timeout: Option<Duration>,
    /// How long a session of which one direction has ended may move no byte; `None`: as long as any other.
    pub half_close_timeout: Option<Duration>,
    /// What becomes of the sessions that are open when a reload changes or removes the service.
    pub on_reload: OnReload,
    /// What concerns its stripes.
    pub stripe: StripeSettings,
    /// What is captured and dumped of its sessions.
    pub capture: CaptureSettings,
    /// What is rejected and replaced in its sessions.
    pub rules: RuleSettings,
    /// What else looks at its sessions, which only a program can ask for of which this is a library.
    pub inspectors: Inspectors,
    /// What is logged of its sessions.
    pub access_log: AccessLogSettings,
    /// What is logged of it; `None`: what the process logs.
    pub log_level: Option<LevelFilter>,
}

/// A remote as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Its addresses. There are none where its name is looked up while the program runs and had none at the start.
    pub endpoints: Endpoints,
    /// How many sessions it gets beside those of others, from 1 to [`RemoteSettings::MAX_WEIGHT`].
    pub weight: u16,
    /// Whether it is used only when no other one is usable.
    pub is_backup: bool,
    /// How many sessions it may have at once; `None`: any number.
    pub max_sessions: Option<u32>,
    /// Why its name had no address when the settings were made, though it is looked up again.
    pub unresolved: Option<Unresolved>,
}

/// Why a name had no address, for a warning. Settings that differ only in this are the same, so that all are equal.
#[derive(Debug, Clone)]
pub struct Unresolved(pub String);

impl PartialEq for Unresolved {
    fn eq(&self, _: &Unresolved) -> bool {
        true
    }
}

impl Eq for Unresolved {}

impl RemoteSettings {
    /// The most that a service may have: what a set of remotes can have numbers for.
    pub const MOST: usize = 65_534;
    /// The most that `weight=` takes.
    pub const MAX_WEIGHT: u16 = 256;

    /// The defaults, at this address.
    pub fn new(endpoints: Endpoints) -> RemoteSettings {
        RemoteSettings { endpoints, weight: 1, is_backup: false, max_sessions: None, unresolved: None }
    }
}

impl Default for ProcessSettings {
    fn default() -> ProcessSettings {
        ProcessSettings {
            io_threads: 1,
            io_threads_by_cores: false,
            buffer_size: BufferSize::Growing(Self::DEFAULT_BUFFER_SIZE),
            zero_copy: ZeroCopy::Auto,
            reuse_port: false,
            drain_timeout: Self::DEFAULT_DRAIN_TIMEOUT,
            log: LogSettings::Environment,
        }
    }
}

impl ProcessSettings {
    /// The `-b` of the original where none is given.
    pub const DEFAULT_BUFFER_SIZE: usize = 16 * 1024;
    /// The most that `-b` takes.
    pub const MAX_BUFFER_SIZE: usize = 1 << 30;
    /// The most that `-t` takes.
    pub const MAX_IO_THREADS: usize = 1024;
    /// The `--drain-timeout` where none is given.
    pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
}

impl ServiceSettings {
    /// The `--connect-timeout` where none is given.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The most that `--keepalive` takes: what Linux takes (`MAX_TCP_KEEPIDLE`).
    pub const MAX_KEEPALIVE: Duration = Duration::from_secs(32767);

    /// The defaults, between these listeners and this remote.
    pub fn new(name: &str, listeners: Vec<Endpoints>, remote: Endpoints) -> ServiceSettings {
        ServiceSettings {
            name: name.to_string(),
            listeners,
            remotes: vec![RemoteSettings::new(remote)],
            pool: PoolSettings::default(),
            access: Vec::new(),
            hours: HourSettings::default(),
            limits: LimitSettings::default(),
            caps: CapSettings::default(),
            proxy: ProxySettings::default(),
            connect_from: ConnectFrom::default(),
            no_delay: false,
            keepalive: None,
            backlog: i32::MAX,
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            idle_timeout: IdleTimeout::ByClient,
            session_timeout: None,
            half_close_timeout: None,
            on_reload: OnReload::Keep,
            stripe: StripeSettings::default(),
            capture: CaptureSettings::default(),
            rules: RuleSettings::default(),
            inspectors: Inspectors::default(),
            access_log: AccessLogSettings::default(),
            log_level: None,
        }
    }

    /// Whether these ask for the same. What names of remotes stand for is not asked for where they are looked up again
    /// while the program runs.
    pub fn is_same(&self, other: &ServiceSettings) -> bool {
        if self.pool.resolve.is_none() || self.remotes.len() != other.remotes.len() {
            return self == other;
        }
        let mut remotes = self.remotes.clone();
        for (remote, other) in remotes.iter_mut().zip(&other.remotes) {
            if remote.endpoints.argument == other.endpoints.argument {
                remote.endpoints.addresses.clone_from(&other.endpoints.addresses);
                remote.unresolved.clone_from(&other.unresolved);
            }
        }
        ServiceSettings { remotes, ..self.clone() } == *other
    }

    /// Whether sessions would be the same ones with these: only where clients come from may differ.
    pub fn is_same_for_sessions(&self, other: &ServiceSettings) -> bool {
        let listening_as_other =
            ServiceSettings { listeners: other.listeners.clone(), backlog: other.backlog, ..self.clone() };
        listening_as_other.is_same(other)
    }

    /// A remote whose name has no address now has those that it had in the former settings of the service: a look-up that
    /// fails takes nothing away.
    pub fn keep_addresses(&mut self, former: &ServiceSettings) {
        for remote in self.remotes.iter_mut().filter(|remote| remote.unresolved.is_some()) {
            let is_same = |other: &&RemoteSettings| other.endpoints.argument == remote.endpoints.argument;
            if let Some(same) = former.remotes.iter().find(is_same) {
                remote.endpoints.addresses.clone_from(&same.endpoints.addresses);
            }
        }
    }

    /// All addresses of all remotes, as far as they are known at the start.
    pub fn remote_addresses(&self) -> impl Iterator<Item = &EndpointAddress> {
        self.remotes.iter().flat_map(|remote| &remote.endpoints.addresses)
    }

    /// The addresses that are listened on. As the original: a name that has several is listened on at its first.
    pub fn listening(&self) -> impl Iterator<Item = &EndpointAddress> {
        self.listeners.iter().filter_map(|endpoints| endpoints.addresses.first())
    }
}

/// What becomes of open sessions when a reload changes or removes their service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnReload {
    /// They go on until they end by themselves, with the settings they began with.
    Keep,
    /// They may go on for the drain timeout, and are reset then.
    Drain,
    /// They are reset at once.
    Reset,
}

/// How long a session may move no byte either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTimeout {
    /// For ever, but one whose client has no connection for [`IdleTimeout::CONNECTIONLESS`].
    ByClient,
    /// For ever.
    Never,
    /// This long, whatever the client.
    After(Duration),
}

impl IdleTimeout {
    /// How long a session whose client has no connection may be idle where nothing is said.
    pub const CONNECTIONLESS: Duration = Duration::from_secs(60);

    /// That of a client with a connection; `None`: for ever.
    pub fn connected(self) -> Option<Duration> {
        match self {
            IdleTimeout::ByClient | IdleTimeout::Never => None,
            IdleTimeout::After(time) => Some(time),
        }
    }

    /// That of a client without one; `None`: for ever.
    pub fn connectionless(self) -> Option<Duration> {
        match self {
            IdleTimeout::ByClient => Some(IdleTimeout::CONNECTIONLESS),
            IdleTimeout::Never => None,
            IdleTimeout::After(time) => Some(time),
        }
    }
}

/// How large a flow's buffer is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferSize {
    /// `-b` was given: this size, always.
    Fixed(usize),
    /// This size, and a larger one for flows that carry bulk.
    Growing(usize),
}

impl BufferSize {
    /// The size that flows start with.
    pub fn bytes(self) -> usize {
        match self {
            BufferSize::Fixed(bytes) | BufferSize::Growing(bytes) => bytes,
        }
    }
}

/// Whether bytes go through kernel pipes, by splice(2), without being copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Those of flows that carry bulk, where the system can and a pipe can be had.
    Auto,
    /// All, as long as a pipe can be had.
    Always,
    /// None.
    Never,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_followed_name_stands_for_is_not_asked_for() {
        let endpoints = |addresses: &[&str]| Endpoints {
            argument: "db:1".into(),
            addresses: addresses.iter().map(|address| EndpointAddress::Tcp(address.parse().unwrap())).collect(),
        };
        let service = |addresses: &[&str]| ServiceSettings::new("a", Vec::new(), endpoints(addresses));
        let (mut one, mut other) = (service(&["192.0.2.1:1"]), service(&["192.0.2.2:1", "192.0.2.1:1"]));
        assert!(!one.is_same(&other) && !one.is_same_for_sessions(&other));
        one.pool.resolve = Some(Duration::from_secs(1));
        assert!(!one.is_same(&other) && !other.is_same(&one));
        other.pool.resolve = one.pool.resolve;
        assert!(one.is_same(&other) && one.is_same_for_sessions(&other));
        other.remotes[0].endpoints.addresses.clear();
        other.remotes[0].unresolved = Some(Unresolved("no".into()));
        assert!(one.is_same(&other) && other.is_same(&one));
        other.backlog = 5;
        assert!(!one.is_same(&other) && one.is_same_for_sessions(&other));
        other.remotes[0].weight = 2;
        assert!(!one.is_same_for_sessions(&other));
        other.remotes[0] = RemoteSettings::new(Endpoints { argument: "db:2".into(), ..endpoints(&[]) });
        assert!(!one.is_same_for_sessions(&other));
    }

    #[test]
    fn a_name_that_has_no_address_now_keeps_those_that_it_had() {
        let known = |argument: &str| Endpoints {
            argument: argument.into(),
            addresses: vec![EndpointAddress::Tcp("192.0.2.1:1".parse().unwrap())],
        };
        let unknown = |argument: &str| RemoteSettings {
            unresolved: Some(Unresolved("no".into())),
            ..RemoteSettings::new(Endpoints { argument: argument.into(), addresses: Vec::new() })
        };
        let former = ServiceSettings::new("a", Vec::new(), known("db:1"));
        let mut now = ServiceSettings::new("a", Vec::new(), known("other:1"));
        now.remotes.extend([unknown("new:1"), unknown("db:1")]);
        now.keep_addresses(&former);
        let addresses: Vec<_> = now.remotes.iter().map(|remote| remote.endpoints.addresses.len()).collect();
        assert_eq!(addresses, [1, 0, 1]);
        assert!(now.remotes[2].unresolved.is_some(), "the warning stays");
    }
}
