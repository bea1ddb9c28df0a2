//! The address of a stripe: a session over several TCP connections, its lanes.

use std::fmt;
use std::net::SocketAddr;

use super::OriginalForm;
use super::parse::{AddressError, socket_addresses, split};
use super::resolve::{Lookups, Transport};
use crate::stripe::MOST_LANES;

/// Where the lanes of a stripe go to, or come in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StripeAddress {
    /// For each address as it was written, what it stands for. Neither this nor any of them is ever empty.
    pub targets: Vec<Vec<SocketAddr>>,
}

impl StripeAddress {
    /// The most addresses that can be written: more than there can be lanes would never be used.
    pub const MAX_TARGETS: usize = MOST_LANES;

    /// What `stripe:` is followed by: TCP addresses with `+` between them, which no address has in it. A port can be written
    /// with one, but need not.
    pub(super) fn parse(argument: &str, address: &str, lookups: &mut Lookups) -> Result<StripeAddress, AddressError> {
        let refuse = |reason: &str| Err(AddressError::invalid(argument, reason));
        let parts: Vec<&str> = address.split('+').collect();
        if parts.len() > StripeAddress::MAX_TARGETS {
            return refuse(&format!("stripe: takes at most {} addresses", StripeAddress::MAX_TARGETS));
        }
        let mut targets = Vec::with_capacity(parts.len());
        for part in &parts {
            if let Some((kind, _)) = part.split_once(':').filter(|(kind, rest)| is_other_kind(kind, rest)) {
                return refuse(&format!("stripe: takes TCP addresses only, and none of {kind}:"));
            }
            if split(part).is_none() {
                return refuse(&format!("stripe: takes <host>:<port>, and more of them after a +, but not '{part}'"));
            }
            // Of several, an error names the one.
            let named = if parts.len() == 1 { argument } else { part };
            let part = part.strip_prefix("tcp:").filter(|rest| split(rest).is_some()).unwrap_or(part);
            targets.push(socket_addresses(named, part, Transport::Tcp, lookups)?);
        }
        Ok(StripeAddress { targets })
    }

    /// Where lanes come in, of an address that is listened at.
    pub fn first(&self) -> SocketAddr {
        self.targets[0][0]
    }

    /// All addresses that lanes may go to.
    pub fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.targets.iter().flatten().copied()
    }

    /// Whether no lane leaves this machine.
    pub fn is_loopback(&self) -> bool {
        self.all().all(|address| address.ip().to_canonical().is_loopback())
    }
}

/// Whether these, with a colon between them, are the kind and the rest of an address that is not TCP.
fn is_other_kind(kind: &str, rest: &str) -> bool {
    match kind {
        "unix" | "unixpacket" | "unixgram" | "tun" | "tap" => true,
        "echo" => rest.is_empty(),
        "udp" => split(rest).is_some(),
        "framed" | "stripe" => rest.contains(':'),
        _ => false,
    }
}

/// As the command line has it, with all that a name stands for separated by commas.
impl fmt::Display for StripeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, target) in self.targets.iter().enumerate() {
            f.write_str(if number == 0 { "stripe:" } else { "+" })?;
            for (number, address) in target.iter().enumerate() {
                let comma = if number == 0 { "" } else { "," };
                write!(f, "{comma}{}", OriginalForm(*address))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EndpointAddress, Endpoints};
    use super::*;

    fn stripe(targets: &[&[&str]]) -> StripeAddress {
        let target = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        StripeAddress { targets: targets.iter().map(target).collect() }
    }

    fn parse(argument: &str) -> Vec<EndpointAddress> {
        Endpoints::parse(argument).unwrap_or_else(|error| panic!("{error}")).addresses
    }

    fn error(argument: &str) -> String {
        Endpoints::parse(argument).expect_err(argument).to_string()
    }

    #[test]
    fn stripes() {
        for (text, targets) in [
            ("stripe:192.0.2.1:7000", &[&["192.0.2.1:7000"][..]][..]),
            ("stripe:tcp:192.0.2.1:7000", &[&["192.0.2.1:7000"]]),
            ("stripe:192.0.2.1:7000+192.0.2.2:7001", &[&["192.0.2.1:7000"], &["192.0.2.2:7001"]]),
            ("stripe:::1:7000", &[&["[::1]:7000"]]),
            ("stripe:::1:7000+[::1]:7001+tcp:::2:7002", &[&["[::1]:7000"], &["[::1]:7001"], &["[::2]:7002"]]),
            ("stripe:[2001:db8::1]:7000+192.0.2.1:7000", &[&["[2001:db8::1]:7000"], &["192.0.2.1:7000"]]),
            // The same address twice is two of the places that lanes go to in turn.
            ("stripe:192.0.2.1:7000+192.0.2.1:7000", &[&["192.0.2.1:7000"], &["192.0.2.1:7000"]]),
        ] {
            assert_eq!(parse(text), [EndpointAddress::Stripe(stripe(targets))], "{text}");
            assert_eq!(
                parse(&format!("framed:{text}")),
                [EndpointAddress::Framed(Box::new(EndpointAddress::Stripe(stripe(targets))))]
            );
        }
        for text in ["stripe:192.0.2.1:7000+192.0.2.2:7000", "framed:stripe:192.0.2.1:7000", "stripe:::1:1+::2:2"] {
            assert_eq!(parse(text)[0].to_string(), text);
        }
        // All that a name stands for is one address.
        let [EndpointAddress::Stripe(localhost)] = &parse("stripe:localhost:7000+localhost:7001")[..] else {
            panic!("one address");
        };
        assert_eq!(localhost.targets.len(), 2);
        for (target, port) in localhost.targets.iter().zip([7000, 7001]) {
            let plain: Vec<EndpointAddress> = target.iter().copied().map(EndpointAddress::Tcp).collect();
            assert_eq!(parse(&format!("localhost:{port}")), plain);
        }
        assert!(parse(&format!("stripe:{}", ["127.0.0.1:1"; 32].join("+")))[0].stripe().is_some());
    }

    #[test]
    fn bad_stripes() {
        let form = "stripe: takes <host>:<port>, and more of them after a +, but not";
        for (address, reason) in [
            ("unix:/tmp/s", "stripe: takes TCP addresses only, and none of unix:".to_string()),
            ("unix:7000", "stripe: takes TCP addresses only, and none of unix:".to_string()),
            ("unixpacket:@a", "stripe: takes TCP addresses only, and none of unixpacket:".to_string()),
            ("udp:127.0.0.1:5000", "stripe: takes TCP addresses only, and none of udp:".to_string()),
            ("tun:vpn0", "stripe: takes TCP addresses only, and none of tun:".to_string()),
            ("echo:", "stripe: takes TCP addresses only, and none of echo:".to_string()),
            ("framed:127.0.0.1:5000", "stripe: takes TCP addresses only, and none of framed:".to_string()),
            ("stripe:127.0.0.1:5000", "stripe: takes TCP addresses only, and none of stripe:".to_string()),
            ("127.0.0.1:1+udp:127.0.0.1:2", "stripe: takes TCP addresses only, and none of udp:".to_string()),
            ("127.0.0.1:1+", format!("{form} ''")),
            ("+127.0.0.1:1", format!("{form} ''")),
            ("127.0.0.1:1++127.0.0.1:2", format!("{form} ''")),
            ("127.0.0.1:+80", format!("{form} '127.0.0.1:'")),
            ("127.0.0.1:1+127.0.0.2", format!("{form} '127.0.0.2'")),
            ("127.0.0.1:", format!("{form} '127.0.0.1:'")),
            (":", format!("{form} ':'")),
            (&["127.0.0.1:1"; 33].join("+"), "stripe: takes at most 32 addresses".to_string()),
        ] {
            for prefix in ["stripe:", "framed:stripe:"] {
                let expected = format!("invalid address:port argument: '{prefix}{address}': {reason}");
                assert_eq!(error(&format!("{prefix}{address}")), expected);
            }
        }
        // Of several addresses, the bad one is named.
        let expected = "error resolving address 127.0.0.1:70000 port number out of range";
        assert_eq!(error("stripe:127.0.0.1:1+127.0.0.1:70000"), expected);
        let expected = "error resolving address stripe:127.0.0.1:70000 port number out of range";
        assert_eq!(error("stripe:127.0.0.1:70000"), expected);
        assert_eq!(error("stripe:127.0.0.1:1+[::1:2"), "invalid address:port argument: '[::1:2'");
        assert_eq!(error("stripe:"), "invalid address:port argument: 'stripe:'");
        // A host of this name.
        let text = error("stripe:no-such-service");
        assert!(text.starts_with("error resolving address stripe:no-such-service "), "{text}");
    }

    #[test]
    fn every_address_is_shown() {
        assert_eq!(stripe(&[&["192.0.2.1:7000"]]).to_string(), "stripe:192.0.2.1:7000");
        let two = stripe(&[&["[::1]:7000", "127.0.0.1:7000"], &["192.0.2.1:7001"]]);
        assert_eq!(two.to_string(), "stripe:::1:7000,127.0.0.1:7000+192.0.2.1:7001");
    }

    #[test]
    fn only_where_all_lanes_stay_here_it_is_loopback() {
        assert!(stripe(&[&["127.9.9.9:1", "[::1]:1"], &["[::ffff:127.0.0.1]:1"]]).is_loopback());
        for other in ["192.0.2.1:1", "0.0.0.0:1", "[::]:1"] {
            assert!(!stripe(&[&["127.0.0.1:1", other]]).is_loopback(), "{other}");
            assert!(!stripe(&[&["127.0.0.1:1"], &[other]]).is_loopback(), "{other}");
        }
    }
}
