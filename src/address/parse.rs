//! Addresses as the command line and the file write them.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::resolve::{Failure, Lookups, Transport};
use super::{DeviceKind, EndpointAddress, Endpoints, ServiceKind, StripeAddress, UnixAddress};
use crate::base::text::Escaped;

/// Why an address argument was refused; `Display` is the one-line message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressError {
    message: String,
    /// What the resolver said of a name that it may know later.
    unresolved: Option<String>,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(self.message.as_bytes()).fmt(f)
    }
}

impl std::error::Error for AddressError {}

impl AddressError {
    /// The original's text for an argument that cannot be split, and after it the reason, if there is more to say.
    pub(super) fn invalid(argument: &str, reason: &str) -> AddressError {
        let colon = if reason.is_empty() { "" } else { ": " };
        let message = format!("invalid address:port argument: '{argument}'{colon}{reason}");
        AddressError { message, unresolved: None }
    }

    /// The original's text for an address that cannot be had from the resolver.
    fn unresolvable(argument: &str, reason: &str) -> AddressError {
        AddressError { message: format!("error resolving address {argument} {reason}"), unresolved: None }
    }

    /// The same where the argument is good, and another look-up may succeed.
    fn unresolved(argument: &str, reason: &str) -> AddressError {
        AddressError { unresolved: Some(reason.to_string()), ..AddressError::unresolvable(argument, reason) }
    }

    /// Why a name has no address now, though nothing is wrong with the argument.
    pub fn why_unresolved(&self) -> Option<&str> {
        self.unresolved.as_deref()
    }
}

/// The longest host and port, as the original has them: `NI_MAXHOST` and `NI_MAXSERV` without the final NUL.
const MAX_HOST: usize = 1024;
const MAX_PORT: usize = 31;

/// The longest Unix path or abstract name: a NUL comes after the one and before the other.
const MAX_UNIX: usize = size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// The longest name of DNS as it is written, and the longest part of it between dots.
const MAX_NAME: usize = 254;
const MAX_LABEL: usize = 63;

/// The longest name of a network device (`IFNAMSIZ` with its final NUL).
const MAX_DEVICE: usize = 15;

impl Endpoints {
    /// Parses and resolves an address argument (a name may block on a look-up).
    ///
    /// `HOST:PORT`, `[V6]:PORT`, `V6:PORT` (split at the last colon), the same behind `tcp:` or `udp:`; `unix:PATH`,
    /// `unixpacket:PATH`, `unixgram:PATH`, on Linux and Android each also with `@NAME`; `stripe:` before one or more TCP
    /// addresses with `+` between them; `framed:` before a TCP, stripe or Unix stream address; `tun:NAME` and `tap:NAME`
    /// on Linux; `echo:`; `original:` on Linux; `srv:NAME`, which nothing is looked up for here.
    pub fn parse(argument: &str) -> Result<Endpoints, AddressError> {
        Endpoints::parse_with(argument, &mut Lookups::default())
    }

    /// The same, with the names that were looked up before, so that none is looked up twice.
    pub fn parse_with(argument: &str, lookups: &mut Lookups) -> Result<Endpoints, AddressError> {
        let endpoints = |addresses| Endpoints { argument: argument.to_string(), addresses };
        match service_records(argument)? {
            Some(_) => Ok(endpoints(Vec::new())),
            None => addresses(argument, argument, lookups).map(endpoints),
        }
    }

    /// The name whose SRV records say where the servers are (`srv:NAME`), and what carries the service.
    pub fn service_records(&self) -> Option<(&str, ServiceKind)> {
        service_records(&self.argument).ok().flatten()
    }

    /// Whether one of its addresses is a stripe, or would be if its name had an address.
    pub fn is_stripe(&self) -> bool {
        let stream = self.argument.strip_prefix("framed:").unwrap_or(&self.argument);
        let stripe = stream.strip_prefix("stripe:").is_some_and(|rest| rest.contains(':'));
        if self.addresses.is_empty() { stripe } else { self.addresses.iter().any(|address| address.stripe().is_some()) }
    }

    /// How many descriptors a session's connection to one of its addresses takes, at most.
    pub fn descriptors_of_remote(&self, lanes: u8) -> usize {
        let each = self.addresses.iter().map(|address| address.descriptors_of_remote(lanes));
        let unknown = if self.is_stripe() { usize::from(lanes) } else { 1 };
        each.max().unwrap_or(unknown)
    }
}

/// The name of SRV records that an argument stands for. A port has neither a dot in it nor an underscore before it, so
/// that a host called `srv` is a host still.
fn service_records(argument: &str) -> Result<Option<(&str, ServiceKind)>, AddressError> {
    let Some(name) = argument.strip_prefix("srv:").filter(|name| name.contains('.') || name.starts_with('_')) else {
        return Ok(None);
    };
    let refuse = |reason: &str| Err(AddressError::invalid(argument, reason));
    let mut labels = name.strip_suffix('.').unwrap_or(name).split('.');
    let service = labels.next().unwrap_or_default();
    let protocol = labels.next().unwrap_or_default().to_ascii_lowercase();
    let kind = match protocol.as_str() {
        "_tcp" if service.starts_with('_') => ServiceKind::Tcp,
        "_udp" if service.starts_with('_') => ServiceKind::Udp,
        _ => return refuse("srv: takes a name that begins with a service and _tcp or _udp, as _http._tcp.example.com"),
    };
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if name.len() > MAX_NAME || service.len() == 1 || !is_label(service) || !labels.clone().all(is_label) {
        return refuse("not a name of SRV records");
    }
    if labels.next().is_none() {
        return refuse("the name has no domain");
    }
    Ok(Some((name, kind)))
}

/// What `address` resolves to, which is `argument` or the end of it.
fn addresses(argument: &str, address: &str, lookups: &mut Lookups) -> Result<Vec<EndpointAddress>, AddressError> {
    use EndpointAddress::{Device, Echo, Framed, Original, Stripe, Tcp, Udp, Unix, UnixDatagram, UnixPacket};
    let one = |address: EndpointAddress| Ok(vec![address]);
    match address {
        "echo:" => return one(Echo),
        "original:" if cfg!(any(target_os = "linux", target_os = "android")) => return one(Original),
        "original:" => return Err(AddressError::invalid(argument, "only Linux says where a client had wanted to go")),
        _ => {}
    }
    match address.split_once(':') {
        Some(("unix", path)) => one(Unix(unix_address(argument, path)?)),
        Some(("unixpacket", path)) => one(UnixPacket(unix_address(argument, path)?)),
        Some(("unixgram", path)) => one(UnixDatagram(unix_address(argument, path)?)),
        Some(("tun", name)) => one(Device(DeviceKind::Tun, device_name(argument, name)?)),
        Some(("tap", name)) => one(Device(DeviceKind::Tap, device_name(argument, name)?)),
        // A host may have one of these names, so that it is a prefix only where a whole address follows it.
        Some(("udp", rest)) if split(rest).is_some() => inet_addresses(argument, rest, Udp, lookups),
        Some(("tcp", rest)) if split(rest).is_some() => inet_addresses(argument, rest, Tcp, lookups),
        Some(("stripe", rest)) if rest.contains(':') => one(Stripe(StripeAddress::parse(argument, rest, lookups)?)),
        Some(("framed", rest)) if rest.contains(':') => addresses(argument, rest, lookups)?
            .into_iter()
            .map(|stream| match stream {
                Tcp(_) | Unix(_) | Stripe(_) => Ok(Framed(Box::new(stream))),
                _ => Err(AddressError::invalid(argument, "framed: takes a TCP, stripe or Unix stream address")),
            })
            .collect(),
        _ => inet_addresses(argument, address, Tcp, lookups),
    }
}

/// What `unix:` and its like are followed by.
fn unix_address(argument: &str, path: &str) -> Result<UnixAddress, AddressError> {
    let refuse = |reason: &str| Err(AddressError::invalid(argument, reason));
    let (name, what) = match path.strip_prefix('@') {
        Some(name) => (name, "abstract name"),
        None => (path, "path"),
    };
    if name.is_empty() {
        return refuse(&format!("the {what} is empty"));
    }
    if name.contains('\0') {
        return refuse(&format!("the {what} contains a NUL character"));
    }
    if name.len() > MAX_UNIX {
        return refuse(&format!("the {what} is longer than {MAX_UNIX} bytes"));
    }
    if !path.starts_with('@') {
        Ok(UnixAddress::Path(PathBuf::from(name)))
    } else if cfg!(target_os = "linux") {
        Ok(UnixAddress::Abstract(OsString::from(name)))
    } else {
        refuse("this system has no abstract Unix sockets")
    }
}

/// What `tun:` and `tap:` are followed by.
fn device_name(argument: &str, name: &str) -> Result<String, AddressError> {
    let refuse = |reason: &str| Err(AddressError::invalid(argument, reason));
    if !cfg!(target_os = "linux") {
        return refuse("only Linux has these devices");
    }
    if name.is_empty() {
        return refuse("the device name is empty");
    }
    if name.len() > MAX_DEVICE {
        return refuse(&format!("the device name is longer than {MAX_DEVICE} bytes"));
    }
    // What the kernel refuses (`dev_valid_name`), and `%`, which it would put a number for.
    if name == "." || name == ".." || name.contains(|c: char| c.is_whitespace() || "/:%\0".contains(c)) {
        return refuse("not a device name");
    }
    Ok(name.to_string())
}

/// Host and port, split at the last colon; `None` if there is none or nothing on one side of it.
pub(super) fn split(argument: &str) -> Option<(&str, &str)> {
    argument.rsplit_once(':').filter(|(host, port)| !host.is_empty() && !port.is_empty())
}

/// The same as addresses of this kind.
fn inet_addresses(
    argument: &str,
    address: &str,
    kind: fn(SocketAddr) -> EndpointAddress,
    lookups: &mut Lookups,
) -> Result<Vec<EndpointAddress>, AddressError> {
    let transport = match kind(SocketAddr::from(([0; 4], 0))) {
        EndpointAddress::Udp(_) => Transport::Udp,
        _ => Transport::Tcp,
    };
    Ok(socket_addresses(argument, address, transport, lookups)?.into_iter().map(kind).collect())
}

/// Everything that `address`, a host and a port, resolves to, each address once and one at least.
pub(super) fn socket_addresses(
    argument: &str,
    address: &str,
    transport: Transport,
    lookups: &mut Lookups,
) -> Result<Vec<SocketAddr>, AddressError> {
    let invalid = || AddressError::invalid(argument, "");
    let (host, port) = split(address).ok_or_else(invalid)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|v6| v6.contains(':')).ok_or_else(invalid)?,
        None => host,
    };
    if host.len() > MAX_HOST || port.len() > MAX_PORT {
        return Err(invalid());
    }
    // glibc would silently use such a number modulo 65536.
    if port_out_of_range(port) {
        return Err(AddressError::unresolvable(argument, "port number out of range"));
    }
    if host.contains('\0') || port.contains('\0') {
        return Err(invalid());
    }
    let resolved = lookups.resolve(host, port, transport).map_err(|failure| match failure {
        Failure::Name(reason) => AddressError::unresolved(argument, &reason),
        Failure::Argument(reason) => AddressError::unresolvable(argument, &reason),
    })?;
    let mut addresses = Vec::with_capacity(resolved.len());
    for address in resolved {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(AddressError::unresolved(argument, "no address"));
    }
    Ok(addresses)
}

/// Whether a port is written as a number, and one that is no port.
fn port_out_of_range(port: &str) -> bool {
    let port = port.trim_start();
    let digits = port.strip_prefix(['+', '-']).unwrap_or(port);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !port.parse().is_ok_and(|n| (0..=65535).contains(&n))
}

#[cfg(test)]
mod tests {
    use super::super::OriginalForm;
    use super::*;
    use std::net::SocketAddrV6;

    fn parse(argument: &str) -> Vec<EndpointAddress> {
        let endpoints = Endpoints::parse(argument).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(endpoints.argument, argument);
        endpoints.addresses
    }

    fn error(argument: &str) -> String {
        Endpoints::parse(argument).expect_err(argument).to_string()
    }

    fn tcp(text: &str) -> EndpointAddress {
        EndpointAddress::Tcp(text.parse().expect(text))
    }

    fn unix_path(path: &str) -> EndpointAddress {
        EndpointAddress::Unix(UnixAddress::Path(path.into()))
    }

    fn unix_abstract(name: &str) -> EndpointAddress {
        EndpointAddress::Unix(UnixAddress::Abstract(name.into()))
    }

    #[test]
    fn datagram_kinds() {
        let udp = |text: &str| EndpointAddress::Udp(text.parse().expect(text));
        let framed = |address| EndpointAddress::Framed(Box::new(address));
        assert_eq!(parse("udp:127.0.0.1:53"), [udp("127.0.0.1:53")]);
        assert_eq!(parse("udp:[::1]:53"), [udp("[::1]:53")]);
        assert_eq!(parse("udp:::1:53"), [udp("[::1]:53")]);
        assert_eq!(parse("framed:127.0.0.1:53"), [framed(tcp("127.0.0.1:53"))]);
        assert_eq!(parse("framed:tcp:127.0.0.1:53"), [framed(tcp("127.0.0.1:53"))]);
        assert_eq!(parse("framed:::1:53"), [framed(tcp("[::1]:53"))]);
        assert_eq!(parse("framed:unix:/tmp/s"), [framed(unix_path("/tmp/s"))]);
        assert_eq!(parse("unixpacket:/tmp/s"), [EndpointAddress::UnixPacket(UnixAddress::Path("/tmp/s".into()))]);
        assert_eq!(parse("unixgram:s"), [EndpointAddress::UnixDatagram(UnixAddress::Path("s".into()))]);
        assert_eq!(parse("echo:"), [EndpointAddress::Echo]);
        #[cfg(target_os = "linux")]
        assert_eq!(parse("original:"), [EndpointAddress::Original]);
        for text in ["udp:127.0.0.1:53", "framed:127.0.0.1:53", "framed:unix:/tmp/s", "unixpacket:/s", "unixgram:/s"] {
            assert_eq!(parse(text)[0].to_string(), text);
        }
        for address in ["udp:127.0.0.1:53", "echo:", "unixgram:/s", "framed:127.0.0.1:53", "unixpacket:/s"] {
            assert_eq!(
                error(&format!("framed:{address}")),
                format!(
                    "invalid address:port argument: 'framed:{address}': framed: takes a TCP, stripe or Unix stream address"
                )
            );
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices() {
        assert_eq!(parse("tun:vpn0"), [EndpointAddress::Device(DeviceKind::Tun, "vpn0".into())]);
        assert_eq!(parse("tap:abcdefghijklmno")[0].to_string(), "tap:abcdefghijklmno");
        for (name, reason) in [
            ("", "the device name is empty"),
            ("abcdefghijklmnop", "the device name is longer than 15 bytes"),
            ("a/b", "not a device name"),
            ("a b", "not a device name"),
            ("tun%d", "not a device name"),
            ("..", "not a device name"),
        ] {
            assert_eq!(error(&format!("tun:{name}")), format!("invalid address:port argument: 'tun:{name}': {reason}"));
        }
    }

    #[test]
    fn numeric_tcp() {
        assert_eq!(parse("127.0.0.1:5000"), [tcp("127.0.0.1:5000")]);
        assert_eq!(parse("tcp:127.0.0.1:5000"), [tcp("127.0.0.1:5000")]);
        assert_eq!(parse("0.0.0.0:0"), [tcp("0.0.0.0:0")]);
        assert_eq!(parse("127.0.0.1:65535"), [tcp("127.0.0.1:65535")]);
        assert_eq!(parse("::1:5000"), [tcp("[::1]:5000")]);
        assert_eq!(parse("[::1]:5000"), [tcp("[::1]:5000")]);
        assert_eq!(parse("tcp:[::1]:5000"), [tcp("[::1]:5000")]);
        assert_eq!(parse("tcp:::1:5000"), [tcp("[::1]:5000")]);
        assert_eq!(parse(":::5000"), [tcp("[::]:5000")]);
        assert_eq!(parse("::ffff:127.0.0.1:80"), [tcp("[::ffff:127.0.0.1]:80")]);
    }

    #[test]
    fn names_resolve_each_address_once() {
        let addresses = parse("localhost:5000");
        assert!(addresses.contains(&tcp("127.0.0.1:5000")) || addresses.contains(&tcp("[::1]:5000")));
        for (i, address) in addresses.iter().enumerate() {
            assert!(!addresses[i + 1..].contains(address), "{addresses:?}");
        }
    }

    #[test]
    fn invalid_arguments_have_the_originals_text() {
        let long_host = format!("{}:5", "h".repeat(MAX_HOST + 1));
        let long_port = format!("h:{}", "5".repeat(MAX_PORT + 1));
        for argument in [
            "nocolon", "", ":", "::", ":5000", "host:", "tcp:", "tcp::", "[::1]:", "[]:5", "[::1:5", "[host]:5",
            "a\0b:5", "host:5\0", &long_host, &long_port,
        ] {
            let shown = argument.replace('\0', "\\u{0}");
            assert_eq!(error(argument), format!("invalid address:port argument: '{shown}'"));
        }
    }

    #[test]
    fn unresolvable_arguments_have_the_originals_text() {
        let service = "127.0.0.1:no-such-service-here";
        let text = error(service);
        let reason = text.strip_prefix("error resolving address 127.0.0.1:no-such-service-here ").expect(&text);
        assert!(!reason.is_empty() && !reason.contains('\n'));
        let text = error("no.such.host.invalid:5");
        assert!(text.starts_with("error resolving address no.such.host.invalid:5 "), "{text}");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn resolver_errors_name_the_argument() {
        assert_eq!(
            error("127.0.0.1:no-such-service-here"),
            "error resolving address 127.0.0.1:no-such-service-here Servname not supported for ai_socktype"
        );
    }

    #[test]
    fn service_records_are_not_looked_up_here() {
        let longest = format!("_a._tcp.{}", "b".repeat(MAX_LABEL));
        for (argument, name, kind) in [
            ("srv:_http._tcp.web.internal", "_http._tcp.web.internal", ServiceKind::Tcp),
            ("srv:_dns._UDP.example.", "_dns._UDP.example.", ServiceKind::Udp),
            ("srv:_a-b._tcp.x_y.9", "_a-b._tcp.x_y.9", ServiceKind::Tcp),
            (&format!("srv:{longest}"), &longest, ServiceKind::Tcp),
        ] {
            let endpoints = Endpoints::parse(argument).unwrap();
            assert_eq!(endpoints.addresses, []);
            assert_eq!(endpoints.service_records(), Some((name, kind)));
        }
        assert_eq!(Endpoints::parse("127.0.0.1:1").unwrap().service_records(), None);
        let form = "srv: takes a name that begins with a service and _tcp or _udp, as _http._tcp.example.com";
        let name = "not a name of SRV records";
        for (rest, reason) in [
            ("web.internal", form),
            ("_http.web.internal", form),
            ("http._tcp.web.internal", form),
            ("_http._sctp.web", form),
            ("_http", form),
            ("_tcp.web", form),
            (".", form),
            ("_a._tcp", "the name has no domain"),
            ("_a._tcp.", "the name has no domain"),
            ("_._tcp.web", name),
            ("_a._tcp..web", name),
            ("_a._tcp.web..", name),
            ("_a._tcp.we b", name),
            ("_a._tcp.web:80", name),
            ("_a._tcp.w\u{e9}b", name),
            (&format!("{longest}b"), name),
            (&format!("_a._tcp{}", ".b".repeat(125)), name),
        ] {
            let expected = format!("invalid address:port argument: 'srv:{rest}': {reason}");
            assert_eq!(error(&format!("srv:{rest}")), expected);
        }
        // A host of this name.
        for argument in ["srv:5000", "srv:no-such-service-here"] {
            if let Err(error) = Endpoints::parse(argument) {
                assert!(error.to_string().starts_with(&format!("error resolving address {argument} ")), "{error}");
            }
        }
        assert!(error("framed:srv:_a._tcp.b").contains("framed:srv:_a._tcp.b"));
    }

    #[test]
    fn what_another_look_up_may_mend_is_told_apart() {
        let is_passing = |argument| Endpoints::parse(argument).expect_err(argument).why_unresolved().is_some();
        for argument in ["no.such.host.invalid:5", "udp:no.such.host.invalid:5", "framed:no.such.host.invalid:5"] {
            assert!(is_passing(argument), "{argument}");
        }
        for argument in ["nocolon", "no.such.host.invalid:70000", "127.0.0.1:no-such-service-here", "unix:", "a\0:5"] {
            assert!(!is_passing(argument), "{argument}");
        }
    }

    #[test]
    fn a_stripe_is_one_before_its_name_has_an_address() {
        for (argument, is_stripe) in [
            ("stripe:192.0.2.1:1", true),
            ("framed:stripe:192.0.2.1:1", true),
            ("192.0.2.1:1", false),
            ("framed:192.0.2.1:1", false),
        ] {
            let mut endpoints = Endpoints::parse(argument).unwrap();
            assert_eq!((endpoints.is_stripe(), endpoints.descriptors_of_remote(7) == 7), (is_stripe, is_stripe));
            endpoints.addresses.clear();
            assert_eq!((endpoints.is_stripe(), endpoints.descriptors_of_remote(7) == 7), (is_stripe, is_stripe));
        }
    }

    #[test]
    fn ports_out_of_range_do_not_wrap() {
        for port in ["65536", "99999", "-1", "+70000", " 70000", "9999999999999999999999999"] {
            let argument = format!("127.0.0.1:{port}");
            assert_eq!(error(&argument), format!("error resolving address {argument} port number out of range"));
        }
        for port in ["0", "65535", "+5", "http", "5x", "", "-", "0x50"] {
            assert!(!port_out_of_range(port), "{port}");
        }
    }

    #[test]
    fn a_host_called_tcp_is_a_host() {
        // No such host here: what is asked is which text the resolver was given.
        for argument in ["tcp:5000", "tcp::5000"] {
            if let Err(e) = Endpoints::parse(argument) {
                assert!(e.to_string().starts_with(&format!("error resolving address {argument} ")), "{e}");
            }
        }
    }

    #[test]
    fn unix_paths() {
        assert_eq!(parse("unix:/tmp/a b:c"), [unix_path("/tmp/a b:c")]);
        assert_eq!(parse("unix:5000"), [unix_path("5000")]);
        let longest = "p".repeat(MAX_UNIX);
        assert_eq!(parse(&format!("unix:{longest}")), [unix_path(&longest)]);
        for (path, reason) in [
            ("", "the path is empty".to_string()),
            ("a\0b", "the path contains a NUL character".to_string()),
            (&format!("{longest}p"), format!("the path is longer than {MAX_UNIX} bytes")),
            ("@", "the abstract name is empty".to_string()),
            (&format!("@{longest}p"), format!("the abstract name is longer than {MAX_UNIX} bytes")),
        ] {
            let shown = path.replace('\0', "\\u{0}");
            assert_eq!(
                error(&format!("unix:{path}")),
                format!("invalid address:port argument: 'unix:{shown}': {reason}")
            );
        }
    }

    #[test]
    fn the_longest_path_is_the_systems() {
        use std::os::unix::net::SocketAddr;
        assert!(SocketAddr::from_pathname("p".repeat(MAX_UNIX)).is_ok());
        assert!(SocketAddr::from_pathname("p".repeat(MAX_UNIX + 1)).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names() {
        use std::os::linux::net::SocketAddrExt;
        assert_eq!(parse("unix:@cproxy"), [unix_abstract("cproxy")]);
        let longest = "n".repeat(MAX_UNIX);
        assert_eq!(parse(&format!("unix:@{longest}")), [unix_abstract(&longest)]);
        assert!(std::os::unix::net::SocketAddr::from_abstract_name(longest).is_ok());
    }

    #[cfg(not(target_os = "linux"))]
    #[test]
    fn abstract_names_are_refused_elsewhere() {
        assert_eq!(
            error("unix:@cproxy"),
            "invalid address:port argument: 'unix:@cproxy': this system has no abstract Unix sockets"
        );
    }

    #[test]
    fn display_is_the_originals() {
        assert_eq!(tcp("127.0.0.1:22").to_string(), "127.0.0.1:22");
        assert_eq!(tcp("[::1]:22").to_string(), "::1:22");
        assert_eq!(tcp("[::ffff:127.0.0.1]:22").to_string(), "::ffff:127.0.0.1:22");
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("an address"), 22, 0, 2);
        assert_eq!(OriginalForm(scoped.into()).to_string(), "fe80::1%2:22");
        assert_eq!(unix_path("/tmp/s").to_string(), "unix:/tmp/s");
        assert_eq!(unix_abstract("s").to_string(), "unix:@s");
    }

    #[test]
    fn scope_ids_are_resolved() {
        // The loopback interface has number 1 wherever this runs; where it does not, the resolver says so.
        if let Ok(endpoints) = Endpoints::parse("fe80::1%1:22") {
            assert_eq!(endpoints.addresses[0].to_string(), "fe80::1%1:22");
        }
    }
}
