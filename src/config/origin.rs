//! Where connections to remotes come from, as a service asks for it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::settings::ServiceSettings;
use crate::address::{EndpointAddress, Endpoints};
use crate::base::text::Escaped;

/// Which address of ours connections to remotes have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConnectFrom {
    /// The one that the system chooses.
    #[default]
    Any,
    /// One of these, in turn.
    Ours(Vec<OurAddress>),
    /// The client's own, as `IP_TRANSPARENT` of Linux allows.
    Client,
}

impl ConnectFrom {
    /// The most addresses that can be given.
    pub const MOST: usize = 256;
}

/// An address of ours, and which ports of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OurAddress {
    /// The address.
    pub ip: IpAddr,
    /// The first and the last port; `None`: the system chooses.
    pub ports: Option<(u16, u16)>,
}

const EXPECTED: &str =
    "expected an IPv4 or IPv6 address, such an address and ports as in 192.0.2.1:1024-65535, or client";

/// `192.0.2.1`, `192.0.2.1:1024-65535`, `2001:db8::1`, `[2001:db8::1]:1024-65535`; the error can follow the text.
impl FromStr for OurAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<OurAddress, String> {
        let bare = |host: &str| host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::to_string);
        let ip = |host: &str| bare(host).as_deref().unwrap_or(host).parse::<IpAddr>().map_err(|_| EXPECTED.to_string());
        let (ip, ports) = match ip(text) {
            Ok(ip) => (ip, None),
            Err(error) => {
                let (host, range) = text.rsplit_once(':').ok_or(error)?;
                (ip(host)?, Some(ports(range)?))
            }
        };
        let ip = ip.to_canonical();
        if ip.is_multicast() {
            return Err("no connection comes from a multicast address".to_string());
        }
        if matches!(ip, IpAddr::V4(Ipv4Addr::BROADCAST)) {
            return Err("no connection comes from the broadcast address".to_string());
        }
        if ip.is_unspecified() && ports.is_none() {
            return Err("without ports, any address is what the system chooses anyway".to_string());
        }
        Ok(OurAddress { ip, ports })
    }
}

/// `1024-65535`, or one port alone.
fn ports(range: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let port = text.parse().ok().filter(|port| is_number && *port > 0);
        port.ok_or_else(|| format!("expected ports from 1 to 65535, as in 1024-65535, and not '{range}'"))
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err(format!("the first port of {range} is above the last")) } else { Ok((first, last)) }
}

impl fmt::Display for OurAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.ip, self.ports) {
            (ip, None) => ip.fmt(f),
            (IpAddr::V4(ip), Some((first, last))) => write!(f, "{ip}:{first}-{last}"),
            (IpAddr::V6(ip), Some((first, last))) => write!(f, "[{ip}]:{first}-{last}"),
        }
    }
}

/// Whether connections there have an address of ours that can be chosen for all of them, and if so, whether it is one of
/// IPv4. The lanes of stripes have an option of their own.
fn is_ipv4(address: &EndpointAddress) -> Option<bool> {
    match address {
        EndpointAddress::Tcp(address) | EndpointAddress::Udp(address) => Some(address.ip().to_canonical().is_ipv4()),
        EndpointAddress::Framed(stream) => is_ipv4(stream),
        _ => None,
    }
}

/// What is wrong with addresses that no connection can have: somebody believes that they are used.
pub fn useless(service: &ServiceSettings) -> Option<String> {
    let families = || service.remote_addresses().filter_map(is_ipv4);
    let is_known = service.pool.resolve.is_none()
        && service.remotes.iter().all(|remote| !remote.endpoints.addresses.is_empty())
        && !service.remote_addresses().any(|address| *address == EndpointAddress::Original);
    match &service.connect_from {
        ConnectFrom::Any => None,
        _ if !is_known => None,
        _ if families().next().is_none() => Some(
            "invalid source: no remote is at a TCP or UDP address (the lanes of stripes have --lane-source)".into(),
        ),
        ConnectFrom::Ours(ours) => {
            let unused = ours.iter().find(|address| families().all(|is_v4| is_v4 != address.ip.is_ipv4()))?;
            Some(format!("invalid source {unused}: no remote has an address of its family"))
        }
        ConnectFrom::Client => {
            let has_ip = service.listening().any(|address| is_ipv4(address).is_some()) || service.proxy.accept;
            (!has_ip).then(|| "invalid source client: no client of the listeners has an address of IP".to_string())
        }
    }
}

/// What is wrong with `original:` among the remotes, and its number: a listener whose clients were on the way nowhere.
pub fn misplaced_original(service: &ServiceSettings) -> Option<(usize, String)> {
    let is_original = |endpoints: &Endpoints| endpoints.addresses.contains(&EndpointAddress::Original);
    let number = service.remotes.iter().position(|remote| is_original(&remote.endpoints))?;
    let is_tcp = |address: &EndpointAddress| match address {
        EndpointAddress::Framed(stream) => matches!(**stream, EndpointAddress::Tcp(_)),
        address => matches!(address, EndpointAddress::Tcp(_)),
    };
    let listener = service.listeners.iter().find(|listener| !listener.addresses.iter().take(1).all(is_tcp))?;
    let listener = Escaped(listener.argument.as_bytes());
    Some((number, format!("remote original: takes listeners of TCP, and {listener} is none")))
}

/// What is to be warned of: a line for each remote that is connected to from another address than those asked for.
pub fn warnings(service: &ServiceSettings) -> Vec<String> {
    let ConnectFrom::Ours(ours) = &service.connect_from else { return Vec::new() };
    let has = |is_v4: bool| ours.iter().any(|address| address.ip.is_ipv4() == is_v4);
    let is_without = |address: &EndpointAddress| is_ipv4(address).is_some_and(|is_v4| !has(is_v4));
    let remotes = service.remotes.iter().map(|remote| &remote.endpoints);
    let without = remotes.filter(|endpoints| endpoints.addresses.iter().any(is_without));
    without
        .map(|endpoints| {
            let remote = Escaped(endpoints.argument.as_bytes());
            format!("remote {remote} has an address of a family without a source, so the system chooses one there")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::RemoteSettings;

    fn parse(text: &str) -> Result<OurAddress, String> {
        text.parse()
    }

    #[test]
    fn addresses_and_ports() {
        for (text, ip, ports, shown) in [
            ("192.0.2.1", "192.0.2.1", None, "192.0.2.1"),
            ("192.0.2.1:1024-65535", "192.0.2.1", Some((1024, 65535)), "192.0.2.1:1024-65535"),
            ("192.0.2.1:1-1", "192.0.2.1", Some((1, 1)), "192.0.2.1:1-1"),
            ("192.0.2.1:700", "192.0.2.1", Some((700, 700)), "192.0.2.1:700-700"),
            ("0.0.0.0:1-2", "0.0.0.0", Some((1, 2)), "0.0.0.0:1-2"),
            ("2001:db8::1", "2001:db8::1", None, "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1", None, "2001:db8::1"),
            ("[2001:db8::1]:5-6", "2001:db8::1", Some((5, 6)), "[2001:db8::1]:5-6"),
            ("2001:db8::1:5-6", "2001:db8::1", Some((5, 6)), "[2001:db8::1]:5-6"),
            ("[::]:5-6", "::", Some((5, 6)), "[::]:5-6"),
            ("::ffff:192.0.2.1", "192.0.2.1", None, "192.0.2.1"),
        ] {
            let expected = OurAddress { ip: ip.parse().unwrap(), ports };
            assert_eq!(parse(text), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), shown);
            assert_eq!(parse(shown), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, part) in [
            ("", EXPECTED),
            ("localhost", EXPECTED),
            ("localhost:1-2", EXPECTED),
            ("192.0.2.1:", "from 1 to 65535"),
            ("192.0.2.1:0-5", "from 1 to 65535"),
            ("192.0.2.1:5-70000", "from 1 to 65535"),
            ("192.0.2.1:+5-6", "from 1 to 65535"),
            ("192.0.2.1:5-6-7", "from 1 to 65535"),
            ("192.0.2.1:6-5", "above the last"),
            ("0.0.0.0", "the system chooses anyway"),
            ("::", "the system chooses anyway"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("[192.0.2.1", EXPECTED),
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(part)), "{text}: {:?}", parse(text));
        }
    }

    fn service(remotes: &[&str], sources: &[&str]) -> ServiceSettings {
        let endpoints = |argument: &&str| Endpoints::parse(argument).unwrap();
        let mut service = ServiceSettings::new("", vec![endpoints(&"127.0.0.1:0")], endpoints(&remotes[0]));
        service.remotes = remotes.iter().map(|remote| RemoteSettings::new(endpoints(remote))).collect();
        service.connect_from = ConnectFrom::Ours(sources.iter().map(|source| parse(source).unwrap()).collect());
        service
    }

    #[test]
    fn an_address_that_no_connection_has_is_useless() {
        for (remotes, sources, part) in [
            (&["192.0.2.1:1"][..], &["192.0.2.9"][..], None),
            (&["[::ffff:192.0.2.1]:1"], &["192.0.2.9"], None),
            (&["framed:192.0.2.1:1", "udp:[2001:db8::1]:1"], &["192.0.2.9", "2001:db8::9"], None),
            (&["unix:/a", "udp:192.0.2.1:1"], &["192.0.2.9"], None),
            (&["srv:_a._tcp.b"], &["192.0.2.9"], None),
            (&["unix:/a", "echo:"], &["192.0.2.9"], Some("no remote is at")),
            (&["stripe:192.0.2.1:1"], &["192.0.2.9"], Some("--lane-source")),
            (&["192.0.2.1:1"], &["192.0.2.9", "2001:db8::9"], Some("source 2001:db8::9: no remote")),
        ] {
            let mut service = service(remotes, sources);
            let found = useless(&service);
            assert_eq!(found.is_some(), part.is_some(), "{remotes:?}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(part.unwrap_or_default())));
            service.connect_from = ConnectFrom::Any;
            assert_eq!(useless(&service), None);
        }
        let mut client = service(&["unix:/a"], &[]);
        client.connect_from = ConnectFrom::Client;
        assert!(useless(&client).is_some());
        // Clients without an address have one by their header.
        client.remotes = service(&["192.0.2.1:1"], &[]).remotes;
        assert_eq!(useless(&client), None);
        client.listeners = vec![Endpoints::parse("unix:/a").unwrap()];
        assert!(useless(&client).is_some());
        client.proxy.accept = true;
        assert_eq!(useless(&client), None);
    }

    #[test]
    fn a_remote_of_another_family_is_warned_of() {
        assert_eq!(warnings(&service(&["192.0.2.1:1", "unix:/a"], &["192.0.2.9"])), Vec::<String>::new());
        let warned = warnings(&service(&["192.0.2.1:1", "[2001:db8::1]:1"], &["192.0.2.9"]));
        assert_eq!(warned.len(), 1);
        assert!(warned[0].starts_with("remote [2001:db8::1]:1 has"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_clients_of_tcp_are_on_their_way_to_somebody_else() {
        for (listeners, found) in [
            (&["0.0.0.0:1"][..], None),
            (&["0.0.0.0:1", "framed:[::]:2"], None),
            (&["0.0.0.0:1", "udp:0.0.0.0:1"], Some("udp:0.0.0.0:1")),
            (&["unix:/a"], Some("unix:/a")),
            (&["stripe:0.0.0.0:1"], Some("stripe:0.0.0.0:1")),
        ] {
            let mut service = service(&["192.0.2.1:1", "original:"], &["2001:db8::9"]);
            service.listeners = listeners.iter().map(|listener| Endpoints::parse(listener).unwrap()).collect();
            let expected =
                found.map(|listener| (1, format!("remote original: takes listeners of TCP, and {listener} is none")));
            assert_eq!(misplaced_original(&service), expected);
            // Who knows where clients want to go.
            assert_eq!(useless(&service), None);
            let original = service.remotes.pop().expect("two remotes");
            assert_eq!(misplaced_original(&service), None);
            assert!(useless(&service).is_some());
            let client = ServiceSettings { connect_from: ConnectFrom::Client, remotes: vec![original], ..service };
            assert_eq!(useless(&client), None);
        }
    }
}
