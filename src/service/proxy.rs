//! The PROXY protocol, as the sessions of a service use it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::access::{Access, ClientAddress};
use crate::config::access::{AccessRule, Decision};
use crate::config::proxy::{HeaderOf, ProxySettings, SendProxy};
use crate::proxy_header::{Addresses, ProxyHeader, Version};

/// Which headers a service sends and takes; there is at least one of both.
#[derive(Debug)]
pub struct ProxyOptions {
    /// The version of the header that is sent to remotes; `None`: none is sent.
    pub send: Option<Version>,
    /// Whether clients begin with a header.
    pub accept: bool,
    /// Which datagrams have one.
    pub datagrams: HeaderOf,
    /// Whose headers are believed; `None`: everybody's.
    believed: Option<Access>,
    bad: BadHeaders,
}

impl ProxyOptions {
    /// What a service asks for, if it is anything.
    pub fn new(settings: &ProxySettings) -> Option<Box<ProxyOptions>> {
        if settings.send.is_none() && !settings.accept {
            return None;
        }
        let rule = |clients| AccessRule { decision: Decision::Allow, clients };
        let rules: Vec<AccessRule> = settings.accept_from.iter().cloned().map(rule).collect();
        Some(Box::new(ProxyOptions {
            send: settings.send.map(|version| match version {
                SendProxy::V1 => Version::V1,
                SendProxy::V2 => Version::V2,
            }),
            accept: settings.accept,
            datagrams: settings.datagrams,
            believed: Access::new(&rules),
            bad: BadHeaders::default(),
        }))
    }

    /// Whether the header of a client that is at this address is believed; of others it is read and left unused.
    pub fn believes(&self, peer: Option<ClientAddress>) -> bool {
        match &self.believed {
            None => true,
            Some(believed) => peer.is_some_and(|peer| believed.decide(peer)),
        }
    }

    /// What rules know of a client that is at this address and has sent this header.
    pub fn client(&self, header: &ProxyHeader, peer: ClientAddress) -> ClientAddress {
        match header.addresses {
            _ if !self.believes(Some(peer)) => peer,
            Addresses::Local | Addresses::Unknown => peer,
            Addresses::Ip { source, .. } => ClientAddress::Ip(source.ip()),
            Addresses::Unix { .. } => ClientAddress::Unix,
        }
    }

    /// Counts a client that did not begin with a header; `Some` with all of them: a line of the log may say so.
    pub fn count_bad(&self) -> Option<u64> {
        self.bad.count(Instant::now())
    }
}

/// How many clients had no header, or a bad one, and when that was last logged.
#[derive(Debug)]
struct BadHeaders {
    since: Instant,
    count: AtomicU64,
    /// When it may be logged again, in milliseconds.
    next_line: AtomicU64,
}

/// How often they are logged, in milliseconds: anybody can send any number.
const LINE_EVERY: u64 = 1000;

impl Default for BadHeaders {
    fn default() -> BadHeaders {
        BadHeaders { since: Instant::now(), count: AtomicU64::new(0), next_line: AtomicU64::new(0) }
    }
}

impl BadHeaders {
    fn count(&self, now: Instant) -> Option<u64> {
        let count = self.count.fetch_add(1, Relaxed) + 1;
        let now = now.saturating_duration_since(self.since);
        let next = self.next_line.load(Relaxed);
        if now < Duration::from_millis(next) {
            return None;
        }
        let after = now.as_millis() as u64 + LINE_EVERY;
        // Of threads that find some at the same time, one logs.
        self.next_line.compare_exchange(next, after, Relaxed, Relaxed).ok().map(|_| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::access::Clients;
    use std::path::Path;

    fn options(from: &[&str]) -> Box<ProxyOptions> {
        let accept_from = from.iter().map(|text| Clients::parse(text, Path::new("/")).unwrap()).collect();
        ProxyOptions::new(&ProxySettings { accept: true, accept_from, ..ProxySettings::default() }).unwrap()
    }

    #[test]
    fn a_service_without_headers_has_nothing_of_them() {
        assert!(ProxyOptions::new(&ProxySettings::default()).is_none());
        let sends = ProxySettings { send: Some(SendProxy::V1), ..ProxySettings::default() };
        assert_eq!(
            ProxyOptions::new(&sends).map(|options| (options.send, options.accept)),
            Some((Some(Version::V1), false))
        );
    }

    #[test]
    fn headers_are_believed_of_those_that_are_named() {
        let at = |ip: &str| Some(ClientAddress::Ip(ip.parse().unwrap()));
        let all = options(&[]);
        assert!(all.believes(at("192.0.2.1")) && all.believes(Some(ClientAddress::Unix)) && all.believes(None));
        let some = options(&["10.0.0.0/8", "unix"]);
        assert!(some.believes(at("10.1.2.3")) && some.believes(at("::ffff:10.1.2.3")));
        assert!(some.believes(Some(ClientAddress::Unix)));
        assert!(!some.believes(at("192.0.2.1")) && !some.believes(None));
        assert!(!options(&["10.0.0.0/8"]).believes(Some(ClientAddress::Unix)));
    }

    #[test]
    fn bad_headers_are_logged_once_a_second() {
        let bad = BadHeaders::default();
        let at = |milliseconds| bad.since + Duration::from_millis(milliseconds);
        assert_eq!(
            [at(0), at(999), at(1000), at(1500), at(2000)].map(|now| bad.count(now)),
            [Some(1), None, Some(3), None, Some(5)]
        );
    }
}
