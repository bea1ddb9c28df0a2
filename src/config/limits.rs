//! How much a service lets in, as it asks for it.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::settings::ServiceSettings;
use super::units::parse_count;
use crate::address::EndpointAddress;

/// How many sessions a service may have, and how many may begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitSettings {
    /// How many sessions it may have at once; `None`: any number.
    pub max_sessions: Option<NonZeroU32>,
    /// What becomes of clients that come when it has that many.
    pub when_full: WhenFull,
    /// How many of these may be one source's.
    pub max_sessions_per_source: Option<NonZeroU32>,
    /// How many may begin in a time.
    pub session_rate: Option<Rate>,
    /// How many of one source may.
    pub session_rate_per_source: Option<Rate>,
    /// What one source is.
    pub source_prefix: SourcePrefix,
    /// How many datagrams of a client without a connection a session takes; `None`: any number.
    pub requests: Option<NonZeroU32>,
    /// How many datagrams of the remote answer each of these, for a session that ends when all have come; `None`: nobody
    /// knows.
    pub responses: Option<u32>,
}

/// What becomes of clients for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// They wait in the backlog.
    #[default]
    Wait,
    /// They are reset.
    Reset,
}

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

/// How many bits of an address say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePrefix {
    /// Of one of IPv4, 32 at most.
    pub v4: u8,
    /// Of one of IPv6, 128 at most.
    pub v6: u8,
}

impl Default for SourcePrefix {
    /// Whoever has an address of IPv6 mostly has the whole network of 64 bits.
    fn default() -> SourcePrefix {
        SourcePrefix { v4: 32, v6: 64 }
    }
}

impl Rate {
    /// The most that may begin in any time: a nanosecond is exact enough for it.
    pub const MOST: u32 = 1_000_000;

    /// How it compares with another one.
    fn compare(self, other: Rate) -> Ordering {
        let crossed = |rate: Rate, other: Rate| u128::from(rate.count.get()) * other.per.as_nanos();
        crossed(self, other).cmp(&crossed(other, self))
    }
}

/// The units of time that rates have.
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_secs(60)), ("h", Duration::from_secs(3600))];

/// `10/s`
impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let expected = || "expected a whole number with /s, /m or /h, such as 10/s, 100/m or 1000/h".to_string();
        let (count, unit) = text.trim().split_once('/').ok_or_else(expected)?;
        let (_, per) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(expected)?;
        let count = parse_count(count, Rate::MOST.into())
            .map_err(|reason| if reason.is_empty() { expected() } else { reason })?;
        Ok(Rate { count: NonZeroU32::new(count as u32).ok_or_else(expected)?, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, per)| *per == self.per).map_or("", |(name, _)| name);
        write!(f, "{}/{unit}", self.count)
    }
}

/// `32,64`
impl FromStr for SourcePrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<SourcePrefix, String> {
        let bits = |text: &str, most| parse_count(text, most).ok().map(|bits| bits as u8);
        let prefix =
            text.split_once(',').and_then(|(v4, v6)| Some(SourcePrefix { v4: bits(v4, 32)?, v6: bits(v6, 128)? }));
        prefix.ok_or_else(|| "expected two whole numbers such as 32,64: from 1 to 32, and from 1 to 128".to_string())
    }
}

impl fmt::Display for SourcePrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.v4, self.v6)
    }
}

/// Limits that can have no effect: somebody believes that they have one.
pub fn useless(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let limits = &service.limits;
    let mut useless = Vec::new();
    let mut add = |key, message: &str| useless.push((key, format!("invalid {message}")));
    let has_no_sources = |address: &EndpointAddress| matches!(address, EndpointAddress::Device(..));
    let is_of_devices = service.listening().next().is_some() && service.listening().all(has_no_sources);
    if limits.max_sessions.is_none() && limits.when_full == WhenFull::Reset {
        add("when-full", "when full reset: there is no max-sessions");
    }
    let (per_source, rate_per_source) = (limits.max_sessions_per_source, limits.session_rate_per_source);
    if per_source.is_none() && rate_per_source.is_none() && limits.source_prefix != SourcePrefix::default() {
        add("source-prefix", "source prefix: there is neither a max-sessions-per-source nor a session-rate-per-source");
    }
    if per_source.zip(limits.max_sessions).is_some_and(|(one, all)| one > all) {
        add("max-sessions-per-source", "max sessions per source: it is more than max-sessions");
    }
    if rate_per_source.zip(limits.session_rate).is_some_and(|(one, all)| one.compare(all) == Ordering::Greater) {
        add("session-rate-per-source", "session rate per source: it is more than session-rate");
    }
    let is_connectionless =
        |address: &EndpointAddress| matches!(address, EndpointAddress::Udp(_) | EndpointAddress::UnixDatagram(_));
    if service.listening().next().is_some() && !service.listening().any(is_connectionless) {
        for (key, is_given) in [("requests", limits.requests.is_some()), ("responses", limits.responses.is_some())] {
            if is_given {
                add(key, &format!("{key}: no listener of the service has clients without a connection"));
            }
        }
    }
    for (key, what, is_given) in [
        ("max-sessions-per-source", "max sessions per source", per_source.is_some()),
        ("session-rate", "session rate", limits.session_rate.is_some()),
        ("session-rate-per-source", "session rate per source", rate_per_source.is_some()),
    ] {
        if is_given && is_of_devices {
            add(key, &format!("{what}: the service listens at devices only, which are no sources"));
        }
    }
    useless
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Endpoints;

    #[test]
    fn numbers_of_datagrams_are_for_clients_without_a_connection() {
        for (listener, is_useful) in
            [("udp:127.0.0.1:1", true), ("unixgram:/a", true), ("127.0.0.1:1", false), ("unixpacket:/a", false)]
        {
            let endpoints = |text| Endpoints::parse(text).unwrap();
            let mut service = ServiceSettings::new("", vec![endpoints(listener)], endpoints("127.0.0.1:2"));
            assert_eq!(useless(&service), []);
            (service.limits.requests, service.limits.responses) = (NonZeroU32::new(1), Some(0));
            let keys: Vec<_> = useless(&service).into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, if is_useful { vec![] } else { vec!["requests", "responses"] }, "{listener}");
        }
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for (text, count, seconds) in [("1/s", 1, 1), ("100/m", 100, 60), ("1000000/h", 1_000_000, 3600)] {
            let rate = Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(seconds) };
            assert_eq!(text.parse(), Ok(rate));
            assert_eq!(rate.to_string(), text);
        }
        for text in ["", "1", "/s", "0/s", "1/", "1/d", "1/s/s", "-1/s", "1.5/s", "1/S", "x/s"] {
            assert!(text.parse::<Rate>().unwrap_err().starts_with("expected a whole number with "), "{text}");
        }
        assert_eq!("1000001/s".parse::<Rate>(), Err("more than 1000000".to_string()));
        let compare = |a: &str, b: &str| a.parse::<Rate>().unwrap().compare(b.parse().unwrap());
        assert!(compare("1/s", "61/m").is_lt() && compare("60/m", "1/s").is_eq() && compare("59/m", "3539/h").is_gt());
    }

    #[test]
    fn prefixes_are_written_as_they_are_read() {
        for (text, v4, v6) in [("32,64", 32, 64), ("1,1", 1, 1), ("24,128", 24, 128)] {
            assert_eq!(text.parse(), Ok(SourcePrefix { v4, v6 }));
            assert_eq!(SourcePrefix { v4, v6 }.to_string(), text);
        }
        for text in ["", "24", "24,", ",64", "0,64", "33,64", "32,129", "32,64,1", "/24,/64", "a,b"] {
            assert!(text.parse::<SourcePrefix>().is_err(), "{text}");
        }
    }
}
