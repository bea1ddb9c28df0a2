//! The PROXY protocol, as the sessions of a service use it.

use super::access::{Access, ClientAddress};
use crate::config::access::{AccessRule, Decision};
use crate::config::proxy::{HeaderOf, ProxySettings};
use crate::proxy_header::{ProxyHeader, Version};

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
            send: settings.send,
            accept: settings.accept,
            datagrams: settings.datagrams,
            believed: Access::new(&rules),
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
        let named = ClientAddress::in_header(&header.addresses).filter(|_| self.believes(Some(peer)));
        named.unwrap_or(peer)
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
        let sends = ProxySettings { send: Some(Version::V1), ..ProxySettings::default() };
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
}
