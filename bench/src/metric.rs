//! The numbers a load gives: what they are called, what they count, and how they are written.

use serde::Serialize;

/// A number that a load gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Bytes of bulk or of datagrams that arrive, in bytes a second.
    Throughput,
    /// Pings answered a second.
    RoundTripRate,
    /// Connections made, used and closed a second.
    ConnectRate,
    /// Datagrams that arrive where they were sent to, a second.
    DatagramRate,
    /// The share of datagrams that do not arrive.
    LostShare,
    /// The latency that half of the operations stay within, in nanoseconds.
    LatencyP50,
    /// The latency that 99 of 100 stay within, in nanoseconds.
    LatencyP99,
    /// The latency that 999 of 1,000 stay within, in nanoseconds.
    LatencyP999,
    /// The proxy's CPU time for each GiB carried, in nanoseconds.
    CpuPerGib,
    /// The proxy's CPU time for each ping carried there and back, in nanoseconds.
    CpuPerRoundTrip,
    /// The proxy's CPU time for each connection, in nanoseconds.
    CpuPerConnection,
    /// The proxy's CPU time for each time that it carries a datagram, which arrives, one way, in nanoseconds.
    CpuPerDatagram,
    /// Resident memory that an idle session adds to the proxy, in bytes.
    ResidentPerSession,
}

/// What is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More of it.
    Higher,
    /// Less of it.
    Lower,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "bytes/s")]
    BytesPerSecond,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "bytes")]
    Bytes,
    /// A part of one.
    #[serde(rename = "share")]
    Share,
}

impl Metric {
    /// What it is called in a heading.
    pub fn label(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::RoundTripRate => "round trips",
            Self::ConnectRate => "connections",
            Self::DatagramRate => "datagrams",
            Self::LostShare => "lost",
            Self::LatencyP50 => "p50 latency",
            Self::LatencyP99 => "p99 latency",
            Self::LatencyP999 => "p99.9 latency",
            Self::CpuPerGib => "CPU / GiB",
            Self::CpuPerRoundTrip => "CPU / round trip",
            Self::CpuPerConnection => "CPU / connection",
            Self::CpuPerDatagram => "CPU / datagram",
            Self::ResidentPerSession => "memory / session",
        }
    }

    /// What is better.
    pub fn better(self) -> Better {
        match self {
            Self::Throughput | Self::RoundTripRate | Self::ConnectRate | Self::DatagramRate => Better::Higher,
            _ => Better::Lower,
        }
    }

    /// What its value counts.
    pub fn unit(self) -> Unit {
        match self {
            Self::Throughput => Unit::BytesPerSecond,
            Self::RoundTripRate | Self::ConnectRate | Self::DatagramRate => Unit::PerSecond,
            Self::LostShare => Unit::Share,
            Self::ResidentPerSession => Unit::Bytes,
            Self::LatencyP50
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::CpuPerGib
            | Self::CpuPerRoundTrip
            | Self::CpuPerConnection
            | Self::CpuPerDatagram => Unit::Nanoseconds,
        }
    }

    /// A value with its unit, to three digits.
    pub fn format(self, value: f64) -> String {
        match self.unit() {
            Unit::BytesPerSecond => scaled(value, 1024.0, &["B/s", "KiB/s", "MiB/s", "GiB/s"]),
            Unit::PerSecond => scaled(value, 1000.0, &["/s", "k/s", "M/s"]),
            Unit::Nanoseconds => scaled(value, 1000.0, &["ns", "µs", "ms", "s"]),
            Unit::Bytes => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB"]),
            Unit::Share => format!("{} %", digits(value * 100.0)),
        }
    }
}

impl Better {
    /// How a bar should be read.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Higher => "longer is better",
            Self::Lower => "shorter is better",
        }
    }
}

/// `value` in the largest of `units` that leaves at least one before the point; each unit is `step` times the last.
fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units;
    // From 999.5 on, three digits would round to a thousand.
    while value.abs() >= step.min(999.5) && units.len() > 1 {
        value /= step;
        units = &units[1..];
    }
    format!("{} {}", digits(value), units[0])
}

/// `value` to three digits, or to thousandths.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.0995 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_to_three_digits() {
        assert_eq!(Metric::Throughput.format(2.5 * 1024.0 * 1024.0 * 1024.0), "2.50 GiB/s");
        assert_eq!(Metric::LatencyP50.format(12_345.0), "12.3 µs");
        assert_eq!(Metric::LatencyP99.format(999_999.0), "1.00 ms");
        assert_eq!(Metric::ConnectRate.format(0.0), "0 /s");
        assert_eq!(Metric::ResidentPerSession.format(-300.0), "-300 B");
        assert_eq!(Metric::ResidentPerSession.format(1023.0), "1.00 KiB");
        assert_eq!(Metric::CpuPerGib.format(5e12), "5000 s");
        assert_eq!(Metric::LostShare.format(0.0123), "1.23 %");
    }
}
