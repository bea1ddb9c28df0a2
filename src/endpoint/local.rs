//! Sockets that are bound to an address of ours before they are connected.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;

use crate::base::error::error_text;
use crate::config::origin::ConnectFrom;
use crate::service::local::{OurAddresses, Port, PortsOf};

/// So many ports of an address are tried for one connection, as others may not be to be had than those that are in use
/// here: this bounds how long one client holds up the others.
const MOST_TRIES: usize = 32;

/// What a socket is bound to before it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The address.
    pub ip: IpAddr,
    /// The port; 0: the system chooses one.
    pub port: u16,
    /// It is a client's address, and none of ours.
    pub is_foreign: bool,
}

impl Bound {
    /// The address, at a port that the system chooses.
    pub fn to_ip(ip: IpAddr) -> Bound {
        Bound { ip, port: 0, is_foreign: false }
    }

    /// The address of a client, at a port that the system chooses. `None`: one of its family cannot be connected to the
    /// peer.
    pub fn to_client(ip: IpAddr, peer: SocketAddr) -> Option<Bound> {
        let ip = ip.to_canonical();
        (ip.is_ipv4() == peer.ip().to_canonical().is_ipv4()).then_some(Bound { ip, port: 0, is_foreign: true })
    }

    /// Binds a socket that is to be connected to this peer.
    ///
    /// # Errors
    ///
    /// The system's: `AddrNotAvailable` where the address is none of ours, `AddrInUse` where the port is not free.
    pub fn bind(&self, socket: &Socket, of: PortsOf, peer: SocketAddr) -> io::Result<()> {
        match (of, self.port) {
            // A port of UDP must be chosen now, or connecting chooses one, and says only that it would block where none is
            // free.
            (PortsOf::Udp, _) => {}
            (PortsOf::Tcp, 0) => choose_port_later(socket),
            // Connections of the same port to other peers, and those that linger, are no hindrance.
            (PortsOf::Tcp, _) => socket.set_reuse_address(true)?,
        }
        if self.is_foreign {
            make_transparent(socket, peer.is_ipv6())?;
        }
        socket.bind(&self.for_peer(peer).into())
    }

    /// In the family that the peer is written in, and on its link.
    fn for_peer(&self, peer: SocketAddr) -> SocketAddr {
        match (self.ip, peer) {
            (IpAddr::V4(ip), SocketAddr::V6(_)) => SocketAddr::from((ip.to_ipv6_mapped(), self.port)),
            (IpAddr::V6(ip), SocketAddr::V6(peer)) if ip.is_unicast_link_local() => {
                SocketAddr::V6(std::net::SocketAddrV6::new(ip, self.port, 0, peer.scope_id()))
            }
            (ip, _) => SocketAddr::new(ip, self.port),
        }
    }
}

/// Connects from one of these addresses, in turn, or from the one that the system chooses where none is of the family of
/// the peer (`None`). The port is held until it is dropped, where it is one of ours. `now` is in milliseconds.
///
/// # Errors
///
/// The system's; `AddrNotAvailable` if no address has a free port.
pub fn connect_in_turn<T>(
    ours: &OurAddresses,
    of: PortsOf,
    peer: SocketAddr,
    now: u64,
    mut connect: impl FnMut(Option<Bound>) -> io::Result<T>,
) -> io::Result<(T, Option<Port>)> {
    if !ours.has_for(peer) {
        return Ok((connect(None)?, None));
    }
    for ours in ours.in_turn(peer, now) {
        if ours.has_any_port() {
            match connect(Some(Bound::to_ip(ours.ip()))) {
                Err(error) if is_taken(&error) => {}
                result => return Ok((result?, None)),
            }
        }
        for _ in 0..MOST_TRIES {
            let Some(port) = ours.take_port(of, peer, now) else { break };
            match connect(Some(Bound { port: port.number(), ..Bound::to_ip(ours.ip()) })) {
                Err(error) if is_taken(&error) => port.rest(now),
                result => return Ok((result?, Some(port))),
            }
        }
        ours.rest(now);
    }
    Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
}

/// Whether another address or port may do.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
}

/// A TCP socket that begins to connect from there to this peer.
///
/// # Errors
///
/// The system's.
pub(super) fn connecting(bound: Bound, peer: SocketAddr) -> io::Result<Socket> {
    let socket = non_blocking(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    bound.bind(&socket, PortsOf::Tcp, peer)?;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

/// A socket that never waits, with as few calls as the system allows.
///
/// # Errors
///
/// The system's.
#[cfg(not(target_vendor = "apple"))]
pub fn non_blocking(domain: Domain, socket_type: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    Socket::new(domain, socket_type.nonblocking(), protocol)
}

/// A socket that never waits.
///
/// # Errors
///
/// The system's.
#[cfg(target_vendor = "apple")]
pub fn non_blocking(domain: Domain, socket_type: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    let socket = Socket::new(domain, socket_type, protocol)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether connections can come from there, as far as that can be told before there is any. Returns what is to be warned
/// of.
///
/// # Errors
///
/// What the process may not do, in one line.
pub fn judge(from: &ConnectFrom) -> Result<Vec<String>, String> {
    let tcp = |domain| non_blocking(domain, Type::STREAM, Some(Protocol::TCP));
    match from {
        ConnectFrom::Any => Ok(Vec::new()),
        ConnectFrom::Client => match tcp(Domain::IPV4).and_then(|socket| make_transparent(&socket, false)) {
            Ok(()) => Ok(Vec::new()),
            Err(error) => Err(format!(
                "source client: {}: it takes the capability CAP_NET_RAW or CAP_NET_ADMIN",
                error_text(&error)
            )),
        },
        ConnectFrom::Ours(addresses) => {
            let mut warnings = Vec::new();
            for address in addresses {
                let bound = SocketAddr::new(address.ip, address.ports.map_or(0, |(first, _)| first));
                let Ok(socket) = tcp(Domain::for_address(bound)) else { continue };
                let result = socket.set_reuse_address(true).and_then(|()| socket.bind(&bound.into()));
                match result.map_err(|error| error.kind()) {
                    Err(io::ErrorKind::PermissionDenied) => {
                        return Err(format!(
                            "source {address}: ports below 1024 take the capability CAP_NET_BIND_SERVICE"
                        ));
                    }
                    Err(io::ErrorKind::AddrNotAvailable) => {
                        warnings.push(format!("source {address}: this host does not have the address now"));
                    }
                    _ => {}
                }
            }
            Ok(warnings)
        }
    }
}

/// Lets a socket have an address that is none of this machine's (`IP_TRANSPARENT` in ip(7)).
///
/// # Errors
///
/// The system's: `PermissionDenied` without a capability, `Unsupported` where there is no such thing.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn make_transparent(socket: &impl AsRawFd, is_v6: bool) -> io::Result<()> {
    if is_v6 {
        set_on(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT)
    } else {
        set_on(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT)
    }
}

/// There is no such thing.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn make_transparent<S>(_socket: &S, _is_v6: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Sets an option that is a number to 1.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_on(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (value, length) = ((&raw const on).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the call reads an int, which is there, from a live one.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the port be chosen when the socket connects, so that it need be free for that peer only
/// (`IP_BIND_ADDRESS_NO_PORT` in ip(7)). Without, there are fewer ports.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn choose_port_later(socket: &Socket) {
    let _ = set_on(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn choose_port_later(_socket: &Socket) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::local::LocalAddress;
    use std::cell::RefCell;
    use std::sync::Arc;

    fn ours(addresses: &[&str]) -> Arc<OurAddresses> {
        let addresses = addresses.iter().map(|address| address.parse().expect(address)).collect();
        match LocalAddress::new(&ConnectFrom::Ours(addresses), None) {
            LocalAddress::Ours(ours) => ours,
            other => panic!("{other:?}"),
        }
    }

    fn error(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    fn peer() -> SocketAddr {
        ([127, 0, 0, 1], 80).into()
    }

    fn bound(text: &str) -> Bound {
        let address: SocketAddr = text.parse().unwrap();
        Bound { port: address.port(), ..Bound::to_ip(address.ip()) }
    }

    /// The attempts that are made where each comes to this, and the port that is held.
    fn attempts(
        addresses: &OurAddresses,
        result: impl Fn(Bound) -> io::Result<()>,
    ) -> (Vec<Bound>, io::Result<Option<Port>>) {
        let tried = RefCell::new(Vec::new());
        let connected = connect_in_turn(addresses, PortsOf::Tcp, peer(), 0, |from| {
            let from = from.expect("an address of ours");
            tried.borrow_mut().push(from);
            result(from)
        });
        (tried.into_inner(), connected.map(|(_, port)| port))
    }

    #[test]
    fn the_next_address_is_tried_where_no_port_is_free() {
        let ours = ours(&["127.0.0.2", "127.0.0.3:1000-1001", "127.0.0.4"]);
        let only_last =
            |from: Bound| if from.ip == bound("127.0.0.4:0").ip { Ok(()) } else { Err(error(libc::EADDRNOTAVAIL)) };
        let (tried, port) = attempts(&ours, only_last);
        assert!(port.unwrap().is_none());
        let ips: Vec<_> = tried.iter().map(|from| from.ip.to_string()).collect();
        assert_eq!(ips, ["127.0.0.2", "127.0.0.3", "127.0.0.3", "127.0.0.4"]);
        // What had none is tried last for a while.
        let (tried, _) = attempts(&ours, only_last);
        assert_eq!(tried, [bound("127.0.0.4:0")]);
    }

    #[test]
    fn another_error_is_the_peers() {
        let ours = ours(&["127.0.0.2:1000-1001", "127.0.0.3"]);
        for _ in 0..10 {
            let (tried, port) = attempts(&ours, |_| Err(error(libc::ENETUNREACH)));
            assert_eq!((tried.len(), port.unwrap_err().raw_os_error()), (1, Some(libc::ENETUNREACH)));
        }
    }

    #[test]
    fn not_every_port_is_tried_for_one_client() {
        let ours = ours(&["127.0.0.2:1000-9999"]);
        let (tried, port) = attempts(&ours, |_| Err(error(libc::EADDRINUSE)));
        assert_eq!((tried.len(), port.unwrap_err().raw_os_error()), (MOST_TRIES, Some(libc::EADDRNOTAVAIL)));
        let (other, _) = attempts(&ours, |_| Err(error(libc::EADDRINUSE)));
        assert!(other.iter().all(|from| !tried.contains(from)), "a port that is not to be had is left alone");
    }

    #[test]
    fn a_port_that_is_held_is_not_tried() {
        let ours = ours(&["127.0.0.2:1000-1001"]);
        let (_, first) = attempts(&ours, |_| Ok(()));
        let (_, second) = attempts(&ours, |_| Ok(()));
        let numbers = [&first, &second].map(|port| port.as_ref().unwrap().as_ref().unwrap().number());
        assert!(numbers.contains(&1000) && numbers.contains(&1001));
        let (tried, port) = attempts(&ours, |_| Ok(()));
        assert_eq!((tried.len(), port.unwrap_err().raw_os_error()), (0, Some(libc::EADDRNOTAVAIL)));
        drop(first);
        assert_eq!(attempts(&ours, |_| Ok(())).0, [Bound { port: numbers[0], ..bound("127.0.0.2:0") }]);
    }

    #[test]
    fn a_peer_of_another_family_is_connected_to_from_where_the_system_chooses() {
        let from = RefCell::new(Vec::new());
        let connected = connect_in_turn(&ours(&["127.0.0.2"]), PortsOf::Udp, "[::1]:80".parse().unwrap(), 0, |bound| {
            from.borrow_mut().push(bound);
            Ok(())
        });
        assert!(connected.is_ok() && from.into_inner() == [None]);
    }

    #[test]
    fn an_address_is_written_as_its_peer_is() {
        for (ip, peer, expected) in [
            ("127.0.0.2:5", "127.0.0.1:80", "127.0.0.2:5"),
            ("127.0.0.2:5", "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.2]:5"),
            ("[2001:db8::1]:5", "[fe80::1%3]:80", "[2001:db8::1]:5"),
            ("[fe80::2]:5", "[fe80::1%3]:80", "[fe80::2%3]:5"),
        ] {
            assert_eq!(bound(ip).for_peer(peer.parse().unwrap()), expected.parse().unwrap(), "{ip} {peer}");
        }
    }

    #[test]
    fn a_client_of_another_family_keeps_its_address_to_itself() {
        let to_client = |ip: &str, peer: &str| Bound::to_client(ip.parse().unwrap(), peer.parse().unwrap());
        for (ip, peer, expected) in [
            ("192.0.2.1", "198.51.100.1:80", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", "198.51.100.1:80", Some("192.0.2.1")),
            ("192.0.2.1", "[::ffff:198.51.100.1]:80", Some("192.0.2.1")),
            ("192.0.2.1", "[2001:db8::1]:80", None),
            ("2001:db8::2", "198.51.100.1:80", None),
            ("2001:db8::2", "[2001:db8::1]:80", Some("2001:db8::2")),
        ] {
            let found = to_client(ip, peer).map(|bound| bound.ip.to_string());
            assert_eq!(found.as_deref(), expected, "{ip} {peer}");
        }
    }

    #[test]
    fn an_address_that_the_host_does_not_have_is_warned_of() {
        let judged = |addresses: &[&str]| {
            judge(&ConnectFrom::Ours(addresses.iter().map(|address| address.parse().expect(address)).collect()))
        };
        assert_eq!(judged(&["127.0.0.1", "127.0.0.1:20000-20001", "0.0.0.0:20000-20001"]), Ok(Vec::new()));
        // Addresses for documentation (RFC 5737).
        let warnings = judged(&["127.0.0.1", "192.0.2.77", "192.0.2.78:2000-3000"]).unwrap();
        assert!(warnings.len() == 2 && warnings[1].starts_with("source 192.0.2.78:2000-3000: "), "{warnings:?}");
    }
}
