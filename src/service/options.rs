//! The options of sockets and stripes.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::settings::ServiceSettings;
use crate::config::striping::{StripeMode, StripeSettings};
use crate::stripe::engine::Mode;
use crate::stripe::key::StripeKey;

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

/// How stripes behave.
#[derive(Debug, Clone)]
pub struct StripeOptions {
    /// How many lanes are dialled.
    pub lanes: u8,
    /// The addresses of ours that they come from, in turn; none: the system's choice.
    pub sources: Vec<IpAddr>,
    /// How long a session lives without a lane, in milliseconds.
    pub lane_timeout: u64,
    /// The most that is kept for each direction, in bytes.
    pub window: u64,
    /// Which lane carries what.
    pub mode: Mode,
    /// The keys that peers may have; the first is ours. None: lanes are not encrypted.
    pub keys: Vec<StripeKey>,
    /// How long a lane may take to be connected, in milliseconds.
    pub connect_timeout: u64,
}

impl StripeOptions {
    /// The options that a service asks for.
    pub fn new(stripe: &StripeSettings, connect_timeout: Duration) -> StripeOptions {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        StripeOptions {
            lanes: stripe.lanes,
            sources: stripe.lane_sources.clone(),
            lane_timeout: milliseconds(stripe.lane_timeout),
            window: stripe.window,
            mode: match stripe.mode {
                StripeMode::UntilCongested => Mode::UntilCongested,
                StripeMode::RoundRobin => Mode::RoundRobin,
                StripeMode::Redundant => Mode::Redundant,
            },
            keys: stripe.keys.iter().flat_map(|file| file.keys.iter().cloned()).collect(),
            connect_timeout: milliseconds(connect_timeout),
        }
    }
}

impl Default for StripeOptions {
    fn default() -> StripeOptions {
        StripeOptions::new(&StripeSettings::default(), ServiceSettings::DEFAULT_CONNECT_TIMEOUT)
    }
}
