//! Finds remotes that are listeners of the process itself: one client would be connected to the next, without end.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use super::settings::{RemoteSettings, ServiceSettings};
use crate::address::{EndpointAddress, Endpoints, UnixAddress};

/// For each remote that is one of the listeners: the number of its service and its own, and a line that names both.
pub fn loops(services: &[ServiceSettings]) -> Vec<((usize, usize), String)> {
    // By what only a few have, as there may be thousands.
    let mut listeners: HashMap<Key, Vec<Listener<'_>>> = HashMap::new();
    for service in services {
        for (number, address) in service.listening().enumerate() {
            listeners.entry(key(address)).or_default().push(Listener { service, number, address });
        }
    }
    let find = |remote: &EndpointAddress| {
        let listeners = listeners.get(&key(remote))?;
        listeners.iter().find(|listener| leads_to(remote, listener.address))
    };
    let of_address = |address: &EndpointAddress| lanes(address).iter().find_map(|remote| find(remote));
    let of_remote = |remote: &Endpoints, is_followed: bool| {
        // What else a name stands for is used without them: whoever follows it leaves them out.
        let is_enough = is_followed && remote.addresses.iter().any(|address| of_address(address).is_none());
        if is_enough { None } else { remote.addresses.iter().find_map(of_address) }
    };
    let mut found = Vec::new();
    for (number, service) in services.iter().enumerate() {
        for (remote, RemoteSettings { endpoints, .. }) in service.remotes.iter().enumerate() {
            let complaint = |listener| complaint(service, endpoints, listener);
            let listener = of_remote(endpoints, service.pool.resolve.is_some());
            found.extend(listener.map(|listener| ((number, remote), complaint(listener))));
        }
    }
    found
}

/// The one of these addresses, at which the program listens, that a remote leads to.
pub fn own_listener<'a>(remote: &EndpointAddress, listening: &'a [EndpointAddress]) -> Option<&'a EndpointAddress> {
    let leads = |listener: &&EndpointAddress| lanes(remote).iter().any(|remote| leads_to(remote, listener));
    listening.iter().find(leads)
}

/// Where a service listens.
struct Listener<'a> {
    service: &'a ServiceSettings,
    number: usize,
    address: &'a EndpointAddress,
}

/// Where sessions with this remote are connected to: a stripe, to each of its addresses.
fn lanes(remote: &EndpointAddress) -> Vec<Cow<'_, EndpointAddress>> {
    match remote.stripe() {
        Some(stripe) => stripe.all().map(|address| Cow::Owned(EndpointAddress::Tcp(address))).collect(),
        None => vec![Cow::Borrowed(remote)],
    }
}

fn complaint(service: &ServiceSettings, remote: &Endpoints, listener: &Listener<'_>) -> String {
    let of = |service: &ServiceSettings| match service.name.as_str() {
        "" => String::new(),
        name => format!(" of service {name}"),
    };
    let (remote, owner) = (&remote.argument, of(service));
    let (own, owners) = (&listener.service.listeners[listener.number].argument, of(listener.service));
    format!(
        "remote {remote}{owner}: it is the proxy's own listener {own}{owners}, \
         so that each client would be connected to the proxy again"
    )
}

/// What a remote and a listener have in common if one leads to the other.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Port(u16),
    File(PathBuf),
    Other,
}

fn key(address: &EndpointAddress) -> Key {
    match address {
        EndpointAddress::Tcp(address) | EndpointAddress::Udp(address) => Key::Port(address.port()),
        EndpointAddress::Unix(UnixAddress::Path(path))
        | EndpointAddress::UnixPacket(UnixAddress::Path(path))
        | EndpointAddress::UnixDatagram(UnixAddress::Path(path)) => Key::File(resolved(path)),
        EndpointAddress::Stripe(stripe) => Key::Port(stripe.first().port()),
        EndpointAddress::Framed(stream) => key(stream),
        _ => Key::Other,
    }
}

/// The path without links, where its folder can be found.
fn resolved(path: &Path) -> PathBuf {
    let absolute = || {
        // It may be there already, and be a link.
        if let Ok(path) = path.canonicalize() {
            return Some(path);
        }
        let path = std::path::absolute(path).ok()?;
        // The file itself may not be there yet.
        let folder = path.parent()?.canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    absolute().unwrap_or_else(|| path.to_path_buf())
}

/// Whether what is sent to `remote` comes in at `listener`.
fn leads_to(remote: &EndpointAddress, listener: &EndpointAddress) -> bool {
    use EndpointAddress::{Device, Echo, Framed, Original, Stripe, Tcp, Udp, Unix, UnixDatagram, UnixPacket};
    match (remote, listener) {
        // Frames or not, it is the same socket.
        (Framed(remote), listener) => leads_to(remote, listener),
        (remote, Framed(listener)) => leads_to(remote, listener),
        // A lane is a TCP connection.
        (Stripe(remote), listener) => remote.all().any(|address| leads_to(&Tcp(address), listener)),
        (remote, Stripe(listener)) => leads_to(remote, &Tcp(listener.first())),
        (Tcp(remote), Tcp(listener)) | (Udp(remote), Udp(listener)) => inet_leads_to(*remote, *listener),
        (Unix(remote), Unix(listener))
        | (UnixPacket(remote), UnixPacket(listener))
        | (UnixDatagram(remote), UnixDatagram(listener)) => unix_leads_to(remote, listener),
        (Device(_, remote), Device(_, listener)) => remote == listener,
        (Tcp(_) | Udp(_) | Unix(_) | UnixPacket(_) | UnixDatagram(_) | Device(..) | Echo | Original, _) => false,
    }
}

fn inet_leads_to(remote: SocketAddr, listener: SocketAddr) -> bool {
    // Which port the system picks for 0 is not known yet.
    if remote.port() != listener.port() || remote.port() == 0 {
        return false;
    }
    let (to, at) = (remote.ip().to_canonical(), listener.ip().to_canonical());
    match at {
        // A remote that is a wildcard is this machine, too.
        IpAddr::V4(any) if any.is_unspecified() => to.is_ipv4() && is_local(remote),
        IpAddr::V6(any) if any.is_unspecified() => is_local(remote),
        at if to.is_unspecified() => at.is_loopback(),
        at => to == at && interface(remote) == interface(listener),
    }
}

/// The number of the interface that an address of a link is for.
fn interface(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

/// Whether an address is one of this machine's: only then a socket can be bound to it.
pub fn is_local(mut address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    address.set_ip(ip);
    address.set_port(0);
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind(address).is_ok()
}

fn unix_leads_to(remote: &UnixAddress, listener: &UnixAddress) -> bool {
    match (remote, listener) {
        (UnixAddress::Path(remote), UnixAddress::Path(listener)) => {
            remote == listener || resolved(remote) == resolved(listener)
        }
        (remote, listener) => remote == listener,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, listeners: &[&str], remote: &str) -> ServiceSettings {
        let endpoints = |argument: &str| Endpoints::parse(argument).unwrap();
        ServiceSettings::new(name, listeners.iter().map(|listener| endpoints(listener)).collect(), endpoints(remote))
    }

    #[test]
    fn a_remote_that_is_a_listener_is_found() {
        for (listener, remote) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("0.0.0.0:5000", "127.9.9.9:5000"),
            ("0.0.0.0:5000", "0.0.0.0:5000"),
            ("127.0.0.1:5000", "0.0.0.0:5000"),
            ("[::]:5000", "127.0.0.1:5000"),
            ("[::]:5000", "[::1]:5000"),
            ("127.0.0.1:5000", "localhost:5000"),
            ("127.0.0.1:5000", "[::ffff:127.0.0.1]:5000"),
            ("udp:127.0.0.1:5000", "udp:127.0.0.1:5000"),
            ("framed:127.0.0.1:5000", "127.0.0.1:5000"),
            ("127.0.0.1:5000", "framed:127.0.0.1:5000"),
            ("127.0.0.1:5000", "stripe:127.0.0.1:5000"),
            ("stripe:127.0.0.1:5000", "127.0.0.1:5000"),
            ("stripe:0.0.0.0:5000", "stripe:127.0.0.1:5000"),
            ("stripe:127.0.0.1:5000", "stripe:192.0.2.1:5000+192.0.2.1:5001+127.0.0.1:5000"),
            ("framed:stripe:127.0.0.1:5000", "framed:stripe:192.0.2.1:5001+localhost:5000"),
            ("unix:/tmp/s", "unix:/tmp/s"),
            ("unix:/tmp/s", "unix:/tmp/../tmp/s"),
            ("unixgram:/tmp/s", "unixgram:/tmp/s"),
        ] {
            let found = loops(&[service("", &[listener], remote)]);
            assert_eq!(found.len(), 1, "{listener} {remote}");
            assert!(found[0].1.contains(listener) && found[0].1.contains(remote), "{}", found[0].1);
        }
    }

    /// An address of a link means nothing without its interface.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_remote_at_an_address_of_a_link_is_found() {
        let table = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let of_link = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ip = u128::from_str_radix(fields[0], 16).unwrap();
            fields[0].starts_with("fe80").then(|| (std::net::Ipv6Addr::from(ip), fields[5].to_string()))
        };
        let Some((ip, interface)) = table.lines().find_map(of_link) else {
            return println!("skipped: this machine has no address of a link");
        };
        let remote = format!("[{ip}%{interface}]:5000");
        for (listener, found) in [("[::]:5000", 1), (&remote, 1), ("0.0.0.0:5000", 0)] {
            assert_eq!(loops(&[service("", &[listener], &remote)]).len(), found, "{listener} {remote}");
        }
        let on_lo = format!("[{ip}%lo]:5000");
        assert_eq!(loops(&[service("", &[&on_lo], &remote)]), Vec::new(), "{on_lo} {remote}");
    }

    #[test]
    fn a_name_that_is_followed_may_stand_for_a_listener_beside_others() {
        let with = |resolve: Option<u64>, addresses: &[&str]| {
            let mut service = service("", &["127.0.0.1:5000"], "127.0.0.1:5000");
            service.pool.resolve = resolve.map(std::time::Duration::from_secs);
            let endpoints = addresses.iter().map(|address| EndpointAddress::Tcp(address.parse().unwrap()));
            service.remotes[0].endpoints.addresses = endpoints.collect();
            loops(&[service]).len()
        };
        assert_eq!(with(Some(1), &["127.0.0.1:5000", "127.0.0.2:5000"]), 0);
        assert_eq!(with(Some(1), &["127.0.0.1:5000"]), 1);
        assert_eq!(with(None, &["127.0.0.1:5000", "127.0.0.2:5000"]), 1);
    }

    #[test]
    fn any_other_remote_is_not() {
        for (listener, remote) in [
            ("127.0.0.1:5000", "127.0.0.1:5001"),
            ("127.0.0.1:5000", "127.0.0.2:5000"),
            ("0.0.0.0:5000", "192.0.2.1:5000"),
            ("0.0.0.0:5000", "[::1]:5000"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:5000", "udp:127.0.0.1:5000"),
            ("127.0.0.1:5000", "stripe:127.0.0.1:5001+192.0.2.1:5000"),
            ("udp:127.0.0.1:5000", "stripe:127.0.0.1:5000"),
            ("unix:/tmp/s", "unix:/tmp/t"),
            ("unix:/tmp/s", "unixpacket:/tmp/s"),
            ("127.0.0.1:5000", "echo:"),
        ] {
            assert_eq!(loops(&[service("", &[listener], remote)]), Vec::new(), "{listener} {remote}");
        }
    }

    /// Looking each of them up for each of them would take minutes.
    #[test]
    fn thousands_of_sockets_with_files_are_judged_at_once() {
        let services: Vec<_> = (0..5_000)
            .map(|number| {
                let (listener, remote) = (format!("unix:/tmp/l{number}"), format!("unix:/tmp/r{number}"));
                service(&number.to_string(), &[&listener], &remote)
            })
            .collect();
        let start = std::time::Instant::now();
        assert_eq!(loops(&services), Vec::new());
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    #[test]
    fn services_that_lead_to_each_other_are_named() {
        let services =
            [service("a", &["127.0.0.1:1"], "127.0.0.1:2"), service("b", &["127.0.0.1:3", "0.0.0.0:2"], "127.0.0.1:1")];
        let found = loops(&services);
        assert_eq!(found.len(), 2);
        assert!(
            found[0]
                .1
                .starts_with("remote 127.0.0.1:2 of service a: it is the proxy's own listener 0.0.0.0:2 of service b")
        );
        assert!(
            found[1].1.starts_with(
                "remote 127.0.0.1:1 of service b: it is the proxy's own listener 127.0.0.1:1 of service a"
            )
        );
    }

    #[test]
    fn a_link_to_a_socket_is_the_socket() {
        let folder = std::env::temp_dir().join(format!("cproxy-loops-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let [socket, link] = ["socket", "link"].map(|name| folder.join(name).display().to_string());
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let found = loops(&[service("", &[&format!("unix:{socket}")], &format!("unix:{link}"))]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.len(), 1);
    }
}
