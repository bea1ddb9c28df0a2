//! The PROXY protocol, as a service asks for it.

use std::path::Path;

use super::access::Clients;
use super::settings::ServiceSettings;
use crate::address::{EndpointAddress, Endpoints, Failure, Lookups, Network, ServiceKind, Transport};
use crate::proxy_header::Version;

/// Which headers of the PROXY protocol a service sends and takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// What is sent to the remote before all else; `None`: nothing.
    pub send: Option<Version>,
    /// Whether clients begin with a header.
    pub accept: bool,
    /// Whose headers are believed; empty: everybody's. A name has one entry for each of its addresses.
    pub accept_from: Vec<Clients>,
    /// Which datagrams have a header.
    pub datagrams: HeaderOf,
}

/// Which datagrams of a session have a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderOf {
    /// Each of them.
    #[default]
    Each,
    /// The first one only.
    First,
}

/// What is expected of a text that looks like nothing.
const EXPECTED: &str =
    "expected an address, a network such as 10.0.0.0/8, a host name, all, unix, or @ and the path of a file";

/// Reads whose headers are believed: what [`Clients::parse`] takes, or the name of a host, which is looked up.
///
/// # Errors
///
/// What is wrong, in words that can follow the text.
pub fn senders(text: &str, folder: &Path, lookups: &mut Lookups) -> Result<Vec<Clients>, String> {
    match Clients::parse(text, folder) {
        Ok(clients) => return Ok(vec![clients]),
        // Numbers with dots between them are no name, though the system's resolver would take them for an address.
        Err(reason) if text.starts_with('@') || text.contains(['/', ':']) || !text.contains(char::is_alphabetic) => {
            return Err(reason);
        }
        Err(_) => {}
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(EXPECTED.to_string());
    }
    let found = lookups.resolve(text, "0", Transport::Tcp);
    let found = found.map_err(|(Failure::Name(reason) | Failure::Argument(reason))| reason)?;
    let mut senders: Vec<Clients> = Vec::new();
    for address in found {
        let one = Clients::In(Network::parse(&address.ip().to_string())?, text.to_string());
        if !senders.contains(&one) {
            senders.push(one);
        }
    }
    if senders.is_empty() { Err("no address".to_string()) } else { Ok(senders) }
}

/// What can have no effect, or cannot be: the option, and what is wrong.
pub fn problems(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let ProxySettings { send, accept, accept_from, datagrams } = &service.proxy;
    let mut problems = Vec::new();
    if let Some(version) = send {
        let word = version.word();
        let without = |remote: &Endpoints| !remote.addresses.is_empty() && remote.addresses.iter().all(has_no_header);
        let takes_datagrams = service.remotes.iter().map(|remote| &remote.endpoints).find(|to| has_datagrams(to));
        if service.remotes.iter().all(|remote| without(&remote.endpoints)) {
            let message = "no header is sent to echo: or to a device, and the service has no other remote";
            problems.push(("send-proxy", format!("invalid send proxy {word}: {message}")));
        } else if let (Version::V1, Some(Endpoints { argument, .. })) = (version, takes_datagrams) {
            let message = format!("version 1 cannot speak of datagrams, which go to {argument}; v2 can");
            problems.push(("send-proxy", format!("invalid send proxy {word}: {message}")));
        }
    }
    let mut listening = service.listening().peekable();
    if *accept && listening.peek().is_some() && listening.all(has_no_header) {
        let key = if accept_from.is_empty() { "accept-proxy" } else { "accept-proxy-from" };
        let message = "the service listens at devices only, and what comes from these has no header";
        problems.push((key, format!("invalid {}: {message}", key.replace('-', " "))));
    }
    let sends = send.is_some() && service.remotes.iter().any(|remote| has_datagrams(&remote.endpoints));
    let takes = *accept && service.listening().any(is_datagram);
    if *datagrams == HeaderOf::First && !sends && !takes {
        let message = "invalid proxy datagrams first: no datagrams of the service have headers".to_string();
        problems.push(("proxy-datagrams", message));
    }
    problems
}

/// What is to be warned of.
pub fn warning(service: &ServiceSettings) -> Option<String> {
    let ProxySettings { send, accept, .. } = service.proxy;
    let has_ip = |address: &EndpointAddress| address.port().is_some() || address.stripe().is_some();
    let unknown = send == Some(Version::V1)
        && !accept
        && !service.listening().any(|address| has_ip(address) && !is_datagram(address));
    let message = "the headers of send-proxy v1 only say UNKNOWN, as version 1 can speak of clients of TCP alone; v2 can \
                   speak of others";
    unknown.then(|| message.to_string())
}

/// Whether no header comes from it or goes to it.
fn has_no_header(address: &EndpointAddress) -> bool {
    matches!(address, EndpointAddress::Device(..) | EndpointAddress::Echo)
}

/// Whether datagrams come and go there, which have headers one by one; where they are framed, the stream has one.
fn is_datagram(address: &EndpointAddress) -> bool {
    matches!(address, EndpointAddress::Udp(_) | EndpointAddress::UnixPacket(_) | EndpointAddress::UnixDatagram(_))
}

/// The same, also of a name that has no address yet.
fn has_datagrams(endpoints: &Endpoints) -> bool {
    let by_name = || {
        let records = endpoints.service_records().is_some_and(|(_, kind)| kind == ServiceKind::Udp);
        records || endpoints.argument.starts_with("udp:")
    };
    if endpoints.addresses.is_empty() { by_name() } else { endpoints.addresses.iter().any(is_datagram) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::RemoteSettings;

    fn service(listeners: &[&str], remotes: &[&str], proxy: ProxySettings) -> ServiceSettings {
        let endpoints = |argument: &&str| Endpoints::parse(argument).unwrap();
        let mut service = ServiceSettings::new("", listeners.iter().map(endpoints).collect(), endpoints(&remotes[0]));
        service.remotes = remotes.iter().map(|remote| RemoteSettings::new(endpoints(remote))).collect();
        ServiceSettings { proxy, ..service }
    }

    fn keys(service: &ServiceSettings) -> Vec<&'static str> {
        problems(service).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn senders_are_networks_files_and_names() {
        let mut lookups = Lookups::default();
        let mut read = |text: &str| senders(text, Path::new("/none"), &mut lookups);
        assert_eq!(read("all"), Ok(vec![Clients::All]));
        assert_eq!(read("unix"), Ok(vec![Clients::Unix]));
        assert_eq!(read("10.0.0.0/8").map(|senders| senders.len()), Ok(1));
        let local = read("localhost").unwrap();
        assert!(
            !local.is_empty() && local.iter().all(|one| matches!(one, Clients::In(_, name) if name == "localhost"))
        );
        for (text, reason) in [
            ("", EXPECTED_OF_CLIENTS),
            ("10.0.0.1/8", "the address has bits after the first 8; its network is 10.0.0.0/8"),
            ("10.0.0", EXPECTED_OF_NETWORK),
            ("a b", EXPECTED),
            ("a\0", EXPECTED),
            ("@missing", "/none/missing: No such file or directory"),
            ("localhost:80", EXPECTED_OF_NETWORK),
        ] {
            assert_eq!(read(text), Err(reason.to_string()), "{text:?}");
        }
        assert!(read("no-such-host.invalid").is_err());
    }

    const EXPECTED_OF_CLIENTS: &str =
        "expected an address, a network such as 10.0.0.0/8, all, unix, or @ and the path of a file";
    const EXPECTED_OF_NETWORK: &str =
        "expected an IPv4 or IPv6 address, perhaps with a / and the length of its network behind it";

    #[test]
    fn what_can_have_no_effect_or_cannot_be_is_a_problem() {
        let send = |version| ProxySettings { send: Some(version), ..ProxySettings::default() };
        let tcp = ["127.0.0.1:0"];
        assert_eq!(keys(&service(&tcp, &["127.0.0.1:1", "echo:"], send(Version::V1))), [""; 0]);
        assert_eq!(keys(&service(&tcp, &["echo:"], send(Version::V2))), ["send-proxy"]);
        assert_eq!(keys(&service(&tcp, &["srv:_a._tcp.b"], send(Version::V1))), [""; 0]);
        assert_eq!(keys(&service(&tcp, &["framed:127.0.0.1:1"], send(Version::V1))), [""; 0]);
        for remote in ["udp:127.0.0.1:1", "unixgram:/a", "unixpacket:/a", "srv:_a._udp.b"] {
            assert_eq!(keys(&service(&tcp, &["127.0.0.1:1", remote], send(Version::V1))), ["send-proxy"], "{remote}");
            assert_eq!(keys(&service(&tcp, &[remote], send(Version::V2))), [""; 0], "{remote}");
            let first = |send| ProxySettings { datagrams: HeaderOf::First, send, ..ProxySettings::default() };
            assert_eq!(keys(&service(&tcp, &[remote], first(Some(Version::V2)))), [""; 0], "{remote}");
            assert_eq!(keys(&service(&tcp, &[remote], first(None))), ["proxy-datagrams"], "{remote}");
        }
        let accept = ProxySettings { accept: true, datagrams: HeaderOf::First, ..ProxySettings::default() };
        assert_eq!(keys(&service(&["udp:127.0.0.1:0"], &tcp, accept.clone())), [""; 0]);
        assert_eq!(keys(&service(&tcp, &tcp, accept.clone())), ["proxy-datagrams"]);
        if cfg!(target_os = "linux") {
            let accept = ProxySettings { datagrams: HeaderOf::Each, ..accept };
            assert_eq!(keys(&service(&["tun:tun7"], &tcp, accept.clone())), ["accept-proxy"]);
            assert_eq!(keys(&service(&["tun:tun7", "127.0.0.1:0"], &tcp, accept.clone())), [""; 0]);
            let from = ProxySettings { accept_from: vec![Clients::All], ..accept };
            assert_eq!(keys(&service(&["tun:tun7"], &tcp, from)), ["accept-proxy-from"]);
        }
    }

    #[test]
    fn headers_that_say_nothing_are_warned_of() {
        let warns = |listeners: &[&str], send, accept| {
            let proxy = ProxySettings { send: Some(send), accept, ..ProxySettings::default() };
            warning(&service(listeners, &["127.0.0.1:1"], proxy)).is_some()
        };
        assert!(warns(&["unix:/a", "udp:127.0.0.1:1"], Version::V1, false));
        assert!(!warns(&["unix:/a"], Version::V2, false) && !warns(&["unix:/a"], Version::V1, true));
        for listener in ["127.0.0.1:1", "framed:127.0.0.1:1", "stripe:127.0.0.1:1"] {
            assert!(!warns(&["unix:/a", listener], Version::V1, false), "{listener}");
        }
    }
}
