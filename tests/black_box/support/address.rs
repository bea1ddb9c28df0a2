//! Kinds of addresses, and places for sockets in the file system.

use socket2::{SockAddr, Socket, Type};
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The kinds of addresses that a listener and a remote can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    UnixPath,
    UnixAbstract,
    Udp,
    UdpV6,
    Packet,
    PacketAbstract,
    Datagram,
    DatagramAbstract,
    Framed,
    FramedUnix,
    Stripe,
    FramedStripe,
}

impl Kind {
    /// The kinds of streams that this machine has.
    pub fn all() -> Vec<Kind> {
        let mut kinds = Kind::tcp();
        kinds.push(Kind::UnixPath);
        if cfg!(any(target_os = "linux", target_os = "android")) {
            kinds.push(Kind::UnixAbstract);
        }
        kinds
    }

    /// Those of them that are TCP.
    pub fn tcp() -> Vec<Kind> {
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            vec![Kind::V4, Kind::V6]
        } else {
            super::skip("this machine has no ::1");
            vec![Kind::V4]
        }
    }

    /// One kind of each sort that carries datagrams.
    pub const DATAGRAMS: [Kind; 5] = [Kind::Udp, Kind::Packet, Kind::Datagram, Kind::Framed, Kind::FramedUnix];

    pub fn is_tcp(self) -> bool {
        matches!(self, Kind::V4 | Kind::V6)
    }

    /// Whether a session of this kind has a connection, whose end can be seen.
    pub fn has_connections(self) -> bool {
        !matches!(self, Kind::Udp | Kind::UdpV6 | Kind::Datagram | Kind::DatagramAbstract)
    }

    /// A fresh address of this kind; a port is left to the kernel.
    pub fn fresh(self, directory: &TempDir) -> Address {
        let number = next_number();
        let with = |scheme, kind: Kind| Address::With(scheme, Box::new(kind.fresh(directory)));
        match self {
            Kind::V4 => Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            Kind::V6 => Address::Tcp((Ipv6Addr::LOCALHOST, 0).into()),
            Kind::UnixPath => Address::Path(directory.path().join(format!("socket-{number}"))),
            Kind::UnixAbstract => Address::Abstract(format!("cproxy-test-{}-{number}", std::process::id())),
            Kind::Udp => with(Scheme::Udp, Kind::V4),
            Kind::UdpV6 => with(Scheme::Udp, Kind::V6),
            Kind::Packet => with(Scheme::UnixPacket, Kind::UnixPath),
            Kind::PacketAbstract => with(Scheme::UnixPacket, Kind::UnixAbstract),
            Kind::Datagram => with(Scheme::UnixDatagram, Kind::UnixPath),
            Kind::DatagramAbstract => with(Scheme::UnixDatagram, Kind::UnixAbstract),
            Kind::Framed => with(Scheme::Framed, Kind::V4),
            Kind::FramedUnix => with(Scheme::Framed, Kind::UnixPath),
            Kind::Stripe => with(Scheme::Stripe, Kind::V4),
            Kind::FramedStripe => with(Scheme::Framed, Kind::Stripe),
        }
    }
}

/// One that no other call in this process has returned.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What stands before an address that carries datagrams, or that lanes come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Udp,
    UnixPacket,
    UnixDatagram,
    Framed,
    Stripe,
}

impl Scheme {
    /// What is written before an address, and what of the address's own is left out behind it.
    const PREFIXES: [(Scheme, &str, &str); 5] = [
        (Scheme::Udp, "udp:", ""),
        (Scheme::UnixPacket, "unixpacket:", "unix:"),
        (Scheme::UnixDatagram, "unixgram:", "unix:"),
        (Scheme::Framed, "framed:", ""),
        (Scheme::Stripe, "stripe:", ""),
    ];
}

/// An address that something listens on, or is to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Path(PathBuf),
    Abstract(String),
    With(Scheme, Box<Address>),
}

impl Address {
    /// As the log writes it: `127.0.0.1:5000`, `::1:5000`, `unix:/path`, `unix:@name`, `udp:...`, `unixgram:/path`.
    pub fn parse(text: &str) -> Address {
        for (scheme, prefix, left_out) in Scheme::PREFIXES {
            if let Some(rest) = text.strip_prefix(prefix) {
                return Address::With(scheme, Box::new(Address::parse(&format!("{left_out}{rest}"))));
            }
        }
        match (text.strip_prefix("unix:@"), text.strip_prefix("unix:")) {
            (Some(name), _) => Address::Abstract(name.into()),
            (_, Some(path)) => Address::Path(path.into()),
            _ => {
                let (host, port) = text.rsplit_once(':').expect(text);
                Address::Tcp(SocketAddr::new(host.parse().expect(text), port.parse().expect(text)))
            }
        }
    }

    /// An address of TCP that nobody else gets while the socket is there, but for somebody who listens at it with
    /// `SO_REUSEADDR`, as the proxy does.
    pub fn reserved() -> (Socket, Address) {
        let any = Address::Tcp((Ipv4Addr::LOCALHOST, 0).into());
        let socket = any.socket().expect("a socket");
        socket.set_reuse_address(true).expect("a socket");
        socket.bind(&any.socket_address()).expect("a free port");
        let address = any.bound(&socket);
        (socket, address)
    }

    /// As the socket calls want it.
    pub fn socket_address(&self) -> SockAddr {
        match self {
            Address::Tcp(address) => SockAddr::from(*address),
            Address::Path(path) => SockAddr::unix(path).expect("a path"),
            Address::Abstract(name) => SockAddr::unix(format!("\0{name}")).expect("a name"),
            Address::With(_, address) => address.socket_address(),
        }
    }

    /// A new socket for it, not bound to anything.
    pub fn socket(&self) -> io::Result<Socket> {
        let socket_type = match self.scheme() {
            Some(Scheme::Udp | Scheme::UnixDatagram) => Type::DGRAM,
            Some(Scheme::UnixPacket) => Type::SEQPACKET,
            Some(Scheme::Framed | Scheme::Stripe) | None => Type::STREAM,
        };
        Socket::new(self.socket_address().domain(), socket_type, None)
    }

    pub fn scheme(&self) -> Option<Scheme> {
        match self {
            Address::With(scheme, _) => Some(*scheme),
            _ => None,
        }
    }

    /// Whether what comes from it is told apart by where it was sent from only.
    pub fn is_connectionless(&self) -> bool {
        matches!(self.scheme(), Some(Scheme::Udp | Scheme::UnixDatagram))
    }

    /// The same, with the port that the kernel chose, if it has one.
    pub fn bound(self, socket: &Socket) -> Address {
        match self {
            Address::Tcp(_) => Address::Tcp(socket.local_addr().ok().and_then(|a| a.as_socket()).expect("an address")),
            Address::With(scheme, address) => Address::With(scheme, Box::new(address.bound(socket))),
            unix => unix,
        }
    }

    /// One beside it, with another name; for a port, any.
    pub fn beside(&self) -> Address {
        let number = next_number();
        match self {
            Address::Tcp(address) => Address::Tcp((address.ip(), 0).into()),
            Address::Path(path) => Address::Path(path.with_extension(number.to_string())),
            Address::Abstract(name) => Address::Abstract(format!("{name}.{number}")),
            Address::With(scheme, address) => Address::With(*scheme, Box::new(address.beside())),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Address::Path(path) => path,
            Address::With(_, address) => address.path(),
            other => panic!("{other} is no path"),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Address::Tcp(address) => address.port(),
            Address::With(_, address) => address.port(),
            other => panic!("{other} has no port"),
        }
    }
}

/// As the log writes it, which the command line takes, too.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{}:{}", address.ip(), address.port()),
            Address::Path(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
            Address::With(scheme, address) => {
                let prefixes = Scheme::PREFIXES.iter().find(|(known, _, _)| known == scheme);
                let (_, prefix, left_out) = prefixes.expect("every scheme is there");
                write!(f, "{prefix}{}", address.to_string().trim_start_matches(left_out))
            }
        }
    }
}

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        let number = next_number();
        let path = std::env::temp_dir().join(format!("cproxy-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it with this content.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
