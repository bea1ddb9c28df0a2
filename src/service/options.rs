//! The options of sockets.

use std::time::Duration;

use crate::config::settings::ServiceSettings;

/// Socket options that the settings decide.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// `TCP_NODELAY` on both sides.
    pub no_delay: bool,
    /// Idle time before TCP keepalive probes.
    pub keepalive: Option<Duration>,
}

impl SocketOptions {
    /// The options that a service asks for.
    pub fn new(settings: &ServiceSettings) -> SocketOptions {
        SocketOptions { no_delay: settings.no_delay, keepalive: settings.keepalive }
    }

    /// Those of a stream that carries datagrams: nothing is gained by waiting for more of one.
    pub fn framed(&self) -> SocketOptions {
        SocketOptions { no_delay: true, ..*self }
    }
}
