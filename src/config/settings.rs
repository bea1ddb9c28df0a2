//! What the command line asked for: typed, validated, and immutable once the proxy runs.

use crate::address::Endpoints;
use crate::log::LogSettings;
use std::time::Duration;

/// The settings of one running proxy.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients are accepted, in the order given.
    pub listeners: Vec<Endpoints>,
    /// What every session is connected to.
    pub remote: Endpoints,
    /// Bytes in one flow's buffer.
    pub buffer_size: BufferSize,
    /// Whether `TCP_NODELAY` is set on both sides.
    pub no_delay: bool,
    /// How many I/O threads run.
    pub io_threads: usize,
    /// Whether bytes go through kernel pipes.
    pub zero_copy: ZeroCopy,
    /// Whether each I/O thread accepts for itself.
    pub reuse_port: bool,
    /// How long one connection attempt to a remote address may take; never zero.
    pub connect_timeout: Duration,
    /// How long a session may move no byte either way.
    pub idle_timeout: IdleTimeout,
    /// How long sessions may go on after SIGTERM or SIGINT; zero: they end at once.
    pub drain_timeout: Duration,
    /// Idle time before TCP keepalive probes, in whole seconds; `None`: no probes.
    pub keepalive: Option<Duration>,
    /// The listen(2) backlog; the system lowers it to its own maximum.
    pub backlog: i32,
    /// What is logged.
    pub log: LogSettings,
}

impl Settings {
    /// The `-b` of the original where none is given.
    pub const DEFAULT_BUFFER_SIZE: usize = 16 * 1024;
    /// The most that `-b` takes.
    pub const MAX_BUFFER_SIZE: usize = 1 << 30;
    /// The most that `-t` takes.
    pub const MAX_IO_THREADS: usize = 1024;
    /// The `--connect-timeout` where none is given.
    pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The `--drain-timeout` where none is given.
    pub const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
    /// The most that `--keepalive` takes: what Linux takes (`MAX_TCP_KEEPIDLE`).
    pub const MAX_KEEPALIVE: Duration = Duration::from_secs(32767);

    /// The defaults, between these listeners and this remote.
    pub fn new(listeners: Vec<Endpoints>, remote: Endpoints) -> Settings {
        Settings {
            listeners,
            remote,
            buffer_size: BufferSize::Growing(Self::DEFAULT_BUFFER_SIZE),
            no_delay: false,
            io_threads: 1,
            zero_copy: ZeroCopy::Auto,
            reuse_port: false,
            connect_timeout: Self::DEFAULT_CONNECT_TIMEOUT,
            idle_timeout: IdleTimeout::ByClient,
            drain_timeout: Self::DEFAULT_DRAIN_TIMEOUT,
            keepalive: None,
            backlog: i32::MAX,
            log: LogSettings::Environment,
        }
    }
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
