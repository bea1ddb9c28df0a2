//! The loads: what a client and a server do to a proxy, and which numbers that gives.
//!
//! One file a load. Each has the client's side (`run`); the server plays the roles of [`crate::session::Role`], and does
//! with datagrams what their [`crate::datagram::Kind`] says. To add a load: an arm of [`Load`], its file, and its metrics
//! in [`Load::metrics`].

pub mod bulk;
pub mod connect;
pub mod flood;
pub mod framed;
pub mod idle;
pub mod many;
pub mod mixed;
pub mod ping;
pub mod udp;

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::client::Controller;
use crate::measure::Sample;
use crate::metric::Metric;
use crate::transport::{Sides, Transport};
use crate::wire::Order;

/// One load, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// As many bytes as possible over this many sessions.
    Bulk { sessions: usize, direction: Direction },
    /// 128 bytes there and back on each of this many sessions, again and again.
    Ping { sessions: usize },
    /// The same, while many more sessions are open and silent.
    Many { open: usize, pinging: usize },
    /// Connect, a byte each way, close; this many at a time.
    Connect { at_once: usize, close: Close },
    /// Sessions that have carried something and now carry nothing.
    Idle { sessions: usize },
    /// Pings on some sessions while bulk flows on others.
    Mixed { pinging: usize, flows: usize },
    /// Datagrams of this size there and back from this many sources, with so many of each under way.
    Udp { sources: usize, under_way: usize, size: usize },
    /// Datagrams of this size one way, as fast as one source can.
    Flood { size: usize },
    /// Datagrams one way between UDP and a framed stream, which is on this side of the proxy.
    Framed { stream: Side },
}

/// A side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Where clients come in.
    Client,
    /// Where the server is.
    Remote,
}

/// Which way bulk bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
    /// Both ways at once.
    Both,
}

/// How a client ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Close {
    /// In the ordinary way, with a FIN.
    Ordinary,
    /// With a reset, as load generators do that want no connections in TIME_WAIT.
    Reset,
}

/// Loads that belong together: one name for `--loads`, and one chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Bulk,
    Ping,
    Many,
    Connect,
    Idle,
    Mixed,
    Udp,
    Flood,
    Framed,
}

impl Group {
    /// All groups, in the order they are reported.
    pub const ALL: [Self; 9] = [
        Self::Bulk,
        Self::Ping,
        Self::Many,
        Self::Connect,
        Self::Idle,
        Self::Mixed,
        Self::Udp,
        Self::Flood,
        Self::Framed,
    ];

    /// The name that `--loads` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Ping => "ping",
            Self::Many => "many",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Mixed => "mixed",
            Self::Udp => "udp",
            Self::Flood => "flood",
            Self::Framed => "framed",
        }
    }
}

impl Load {
    /// Pings on 64 sessions, which `many` is compared with.
    pub const PING_64: Self = Self::Ping { sessions: 64 };

    /// All loads, in the order they are run.
    pub const ALL: [Self; 22] = [
        Self::Bulk { sessions: 1, direction: Direction::Up },
        Self::Bulk { sessions: 1, direction: Direction::Down },
        Self::Bulk { sessions: 1, direction: Direction::Both },
        Self::Bulk { sessions: 8, direction: Direction::Up },
        Self::Bulk { sessions: 8, direction: Direction::Down },
        Self::Bulk { sessions: 8, direction: Direction::Both },
        Self::Ping { sessions: 1 },
        Self::PING_64,
        Self::Many { open: 9000, pinging: 64 },
        Self::Connect { at_once: 32, close: Close::Ordinary },
        Self::Connect { at_once: 32, close: Close::Reset },
        Self::Idle { sessions: 2000 },
        Self::Mixed { pinging: 8, flows: 4 },
        Self::Mixed { pinging: 8, flows: 64 },
        Self::Udp { sources: 1, under_way: 64, size: 64 },
        Self::Udp { sources: 1, under_way: 64, size: 1400 },
        Self::Udp { sources: 64, under_way: 8, size: 64 },
        Self::Udp { sources: 64, under_way: 8, size: 1400 },
        Self::Flood { size: 64 },
        Self::Flood { size: 1400 },
        Self::Framed { stream: Side::Remote },
        Self::Framed { stream: Side::Client },
    ];

    /// The group it belongs to.
    pub fn group(self) -> Group {
        match self {
            Self::Bulk { .. } => Group::Bulk,
            Self::Ping { .. } => Group::Ping,
            Self::Many { .. } => Group::Many,
            Self::Connect { .. } => Group::Connect,
            Self::Idle { .. } => Group::Idle,
            Self::Mixed { .. } => Group::Mixed,
            Self::Udp { .. } => Group::Udp,
            Self::Flood { .. } => Group::Flood,
            Self::Framed { .. } => Group::Framed,
        }
    }

    /// What the two sides of a proxy have to speak.
    pub fn sides(self) -> Sides {
        match self {
            Self::Udp { .. } | Self::Flood { .. } => Sides::UDP,
            Self::Framed { stream: Side::Client } => Sides { client: Transport::Framed, remote: Transport::Udp },
            Self::Framed { stream: Side::Remote } => Sides { client: Transport::Udp, remote: Transport::Framed },
            _ => Sides::TCP,
        }
    }

    /// The most sessions open at a time.
    pub fn sessions(self) -> usize {
        match self {
            Self::Bulk { sessions, .. } | Self::Ping { sessions } | Self::Idle { sessions } => sessions,
            Self::Many { open, .. } => open,
            Self::Connect { at_once, .. } => at_once,
            Self::Mixed { pinging, flows } => pinging + flows,
            Self::Udp { sources, .. } => sources,
            Self::Flood { .. } | Self::Framed { .. } => 1,
        }
    }

    /// What it does, in one line for a reader of the report.
    pub fn description(self) -> String {
        match self {
            Self::Bulk { sessions, direction } => format!("{}, {direction}", count(sessions, "connection")),
            Self::Ping { sessions } => format!("128 bytes there and back, {}", count(sessions, "connection")),
            Self::Many { open, pinging } => {
                format!("128 bytes there and back on {pinging} of {open} open connections")
            }
            Self::Connect { at_once, close } => format!("connect, one byte each way, {close}; {at_once} at a time"),
            Self::Idle { sessions } => format!("{sessions} silent connections that carried 16 KiB each way"),
            Self::Mixed { pinging, flows } => {
                format!("pings on {pinging} connections while {flows} bulk flows share the proxy")
            }
            Self::Udp { sources, under_way, size } => {
                format!("{size} bytes there and back, {}, {under_way} under way from each", count(sources, "source"))
            }
            Self::Flood { size } => format!("{size} bytes one way, as fast as one source can"),
            Self::Framed { stream: Side::Client } => {
                format!("datagrams of {} bytes one way, from a framed stream to UDP", framed::SIZE)
            }
            Self::Framed { stream: Side::Remote } => {
                format!("datagrams of {} bytes one way, from UDP to a framed stream", framed::SIZE)
            }
        }
    }

    /// The client's side: runs the load against `order.target`.
    pub fn run(self, order: &Order, controller: &mut Controller) -> io::Result<()> {
        match self {
            Self::Bulk { sessions, direction } => bulk::run(order, controller, sessions, direction),
            Self::Ping { sessions } => ping::run(order, controller, sessions),
            Self::Many { open, pinging } => many::run(order, controller, open, pinging),
            Self::Connect { at_once, close } => connect::run(order, controller, at_once, close),
            Self::Idle { sessions } => idle::run(order, controller, sessions),
            Self::Mixed { pinging, flows } => mixed::run(order, controller, pinging, flows),
            Self::Udp { sources, under_way, size } => udp::run(order, controller, sources, under_way, size),
            Self::Flood { size } => flood::run(order, controller, size),
            Self::Framed { stream: Side::Client } => framed::run_frames(order, controller),
            Self::Framed { stream: Side::Remote } => framed::run_datagrams(order, controller),
        }
    }

    /// How often a proxy carries a datagram that has arrived where it was sent to.
    fn passages(self) -> f64 {
        match self {
            // There and back.
            Self::Udp { .. } => 2.0,
            _ => 1.0,
        }
    }

    /// The numbers that one measurement gives.
    pub fn metrics(self, sample: &Sample) -> Vec<(Metric, f64)> {
        let latency = sample.tally.latency.as_ref();
        let value = |metric: Metric| match metric {
            Metric::Throughput => Some(sample.bytes_per_second()),
            Metric::RoundTripRate | Metric::ConnectRate => Some(sample.operations_per_second()),
            Metric::DatagramRate => Some(sample.datagrams_per_second()),
            Metric::LostShare => Some(sample.lost_share()),
            Metric::LatencyP50 => latency.map(|latency| latency.p50 as f64),
            Metric::LatencyP99 => latency.map(|latency| latency.p99 as f64),
            Metric::LatencyP999 => latency.map(|latency| latency.p999 as f64),
            Metric::CpuPerGib => sample.cpu_per(sample.bytes_per_second() / GIB),
            Metric::CpuPerRoundTrip | Metric::CpuPerConnection => sample.cpu_per(sample.operations_per_second()),
            Metric::CpuPerDatagram => sample.cpu_per(sample.datagrams_per_second() * self.passages()),
            Metric::ResidentPerSession => sample.resident_per(self.sessions()),
        };
        self.group().metrics().iter().filter_map(|&metric| Some((metric, value(metric)?))).collect()
    }
}

/// Bytes in a GiB.
const GIB: f64 = (1u64 << 30) as f64;

impl Group {
    /// What the loads of this group measure, most telling first.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Bulk => &[Metric::Throughput, Metric::CpuPerGib],
            Self::Ping | Self::Many => &[
                Metric::LatencyP50,
                Metric::LatencyP99,
                Metric::LatencyP999,
                Metric::RoundTripRate,
                Metric::CpuPerRoundTrip,
            ],
            Self::Connect => &[Metric::ConnectRate, Metric::LatencyP50, Metric::LatencyP99, Metric::CpuPerConnection],
            Self::Idle => &[Metric::ResidentPerSession],
            Self::Mixed => {
                &[Metric::LatencyP50, Metric::LatencyP99, Metric::LatencyP999, Metric::Throughput, Metric::CpuPerGib]
            }
            Self::Udp => &[Metric::DatagramRate, Metric::CpuPerDatagram, Metric::LostShare],
            Self::Flood | Self::Framed => &[
                Metric::DatagramRate,
                Metric::CpuPerDatagram,
                Metric::LostShare,
                Metric::Throughput,
                Metric::CpuPerGib,
            ],
        }
    }
}

impl Group {
    /// The metrics that tables and charts show. The others are in the JSON report.
    pub fn headline(self) -> &'static [Metric] {
        match self {
            Self::Bulk | Self::Idle | Self::Udp => self.metrics(),
            Self::Flood => &[Metric::DatagramRate, Metric::CpuPerDatagram, Metric::LostShare],
            Self::Framed => &[Metric::DatagramRate, Metric::CpuPerGib, Metric::LostShare],
            Self::Ping | Self::Many => &[Metric::LatencyP50, Metric::LatencyP99, Metric::CpuPerRoundTrip],
            Self::Connect => &[Metric::ConnectRate, Metric::LatencyP99, Metric::CpuPerConnection],
            Self::Mixed => &[Metric::LatencyP50, Metric::LatencyP99, Metric::Throughput, Metric::CpuPerGib],
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("one {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "client to server",
            Self::Down => "server to client",
            Self::Both => "both ways at once",
        })
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ordinary => "close",
            Self::Reset => "reset",
        })
    }
}

/// The load's own name, as `--loads` takes it.
impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bulk { sessions, direction: Direction::Up } => write!(f, "bulk-{sessions}-up"),
            Self::Bulk { sessions, direction: Direction::Down } => write!(f, "bulk-{sessions}-down"),
            Self::Bulk { sessions, direction: Direction::Both } => write!(f, "bulk-{sessions}-both"),
            Self::Ping { sessions } => write!(f, "ping-{sessions}"),
            Self::Mixed { flows, .. } => write!(f, "mixed-{flows}"),
            Self::Udp { sources, size, .. } => write!(f, "udp-{sources}-{size}b"),
            Self::Flood { size } => write!(f, "flood-{size}b"),
            Self::Framed { stream: Side::Client } => f.write_str("framed-client"),
            Self::Framed { stream: Side::Remote } => f.write_str("framed-remote"),
            Self::Connect { close: Close::Reset, .. } => f.write_str("connect-reset"),
            Self::Many { .. } | Self::Connect { .. } | Self::Idle { .. } => f.write_str(self.group().name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_begin_with_the_group() {
        let names: Vec<String> = Load::ALL.iter().map(Load::to_string).collect();
        for (load, name) in Load::ALL.iter().zip(&names) {
            assert!(name.starts_with(load.group().name()), "{name}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_load_survives_the_wire() {
        for load in Load::ALL {
            let text = serde_json::to_string(&load).unwrap();
            assert_eq!(serde_json::from_str::<Load>(&text).unwrap(), load);
        }
    }
}
