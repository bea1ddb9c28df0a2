//! Addresses of endpoints: what they are, how they are written (`parse`), and what names stand for (`resolve`).

mod forms;
mod network;
mod parse;
mod resolve;
mod stripe;

pub use forms::FORMS;
pub use network::{Block, Network, Networks, Number};
pub use parse::AddressError;
pub use resolve::{Failure, Lookups, Transport};
pub use stripe::StripeAddress;

use crate::base::text::{Escaped, ShortText};
use socket2::SockAddr;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// One address that an endpoint can listen at or be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixAddress),
    /// A UDP address.
    Udp(SocketAddr),
    /// A Unix socket of kind SEQPACKET: datagrams over a connection.
    UnixPacket(UnixAddress),
    /// A Unix datagram socket.
    UnixDatagram(UnixAddress),
    /// A stream over several TCP connections.
    Stripe(StripeAddress),
    /// A stream (TCP, Unix or a stripe) that carries datagrams, each behind its length.
    Framed(Box<EndpointAddress>),
    /// A network device of this name.
    Device(DeviceKind, String),
    /// The built-in echo service.
    Echo,
    /// Where a TCP client had wanted to go before it was led here.
    Original,
}

/// Where a Unix socket is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UnixAddress {
    /// In the file system.
    Path(PathBuf),
    /// In Linux's abstract namespace, without the leading NUL byte.
    Abstract(OsString),
}

impl UnixAddress {
    /// The system's form of the address.
    ///
    /// # Errors
    ///
    /// The address is too long.
    pub fn socket_address(&self) -> io::Result<SockAddr> {
        match self {
            UnixAddress::Path(path) => SockAddr::unix(path),
            // A path that begins with a NUL is what abstract names are to the system.
            UnixAddress::Abstract(name) => {
                let mut path = OsString::from("\0");
                path.push(name);
                SockAddr::unix(path)
            }
        }
    }
}

/// What a network device carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// IP packets.
    Tun,
    /// Ethernet frames.
    Tap,
}

impl EndpointAddress {
    /// Whether sessions can be made from what comes in here: not where there are only remotes.
    pub fn can_listen(&self) -> bool {
        !matches!(self, EndpointAddress::Echo | EndpointAddress::Original)
    }

    /// How many descriptors listening here takes, for each time that it is done.
    pub fn descriptors_of_listener(&self) -> usize {
        match self {
            // The device, and the pair of sockets that tells when a session has ended.
            EndpointAddress::Device(..) => 3,
            _ => 1,
        }
    }

    /// How many descriptors a client here takes.
    pub fn descriptors_of_client(&self) -> usize {
        match self {
            address if address.is_connectionless() => 0,
            // Twice the device, its registration, and what tells the listener of the end.
            EndpointAddress::Device(..) => 4,
            _ => 1,
        }
    }

    /// How many descriptors a session's connection to it takes, with so many lanes where it is a stripe.
    pub fn descriptors_of_remote(&self, lanes: u8) -> usize {
        match self {
            EndpointAddress::Echo => 2,
            EndpointAddress::Device(..) => 3,
            address => address.stripe().map_or(1, |_| usize::from(lanes)),
        }
    }

    /// The stripe that it is, or that carries its datagrams.
    pub fn stripe(&self) -> Option<&StripeAddress> {
        match self {
            EndpointAddress::Stripe(stripe) => Some(stripe),
            EndpointAddress::Framed(stream) => stream.stripe(),
            _ => None,
        }
    }

    /// The same, of whose names only the first address counts: nothing else is listened at.
    pub fn at_first(self) -> EndpointAddress {
        match self {
            EndpointAddress::Stripe(mut stripe) => {
                stripe.targets.iter_mut().for_each(|target| target.truncate(1));
                EndpointAddress::Stripe(stripe)
            }
            EndpointAddress::Framed(stream) => EndpointAddress::Framed(Box::new(stream.at_first())),
            address => address,
        }
    }

    /// The port, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            EndpointAddress::Tcp(address) | EndpointAddress::Udp(address) => Some(address.port()),
            EndpointAddress::Framed(stream) => stream.port(),
            _ => None,
        }
    }

    /// The same with another port, where it has one.
    pub fn with_port(mut self, port: u16) -> EndpointAddress {
        match &mut self {
            EndpointAddress::Tcp(address) | EndpointAddress::Udp(address) => address.set_port(port),
            EndpointAddress::Framed(stream) => **stream = (**stream).clone().with_port(port),
            _ => {}
        }
        self
    }

    /// Whether clients here are told apart by the address they send from, with no connection.
    pub fn is_connectionless(&self) -> bool {
        matches!(self, EndpointAddress::Udp(_) | EndpointAddress::UnixDatagram(_))
    }
}

/// As the original writes addresses: `ADDR:PORT`, without brackets for IPv6; other kinds as the command line has them,
/// with names [`Escaped`].
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Tcp(address) => OriginalForm(*address).fmt(f),
            EndpointAddress::Unix(address) => write!(f, "unix:{address}"),
            EndpointAddress::Udp(address) => write!(f, "udp:{}", OriginalForm(*address)),
            EndpointAddress::UnixPacket(address) => write!(f, "unixpacket:{address}"),
            EndpointAddress::UnixDatagram(address) => write!(f, "unixgram:{address}"),
            EndpointAddress::Stripe(stripe) => stripe.fmt(f),
            EndpointAddress::Framed(stream) => write!(f, "framed:{stream}"),
            EndpointAddress::Device(kind, name) => write!(f, "{kind}:{}", Escaped(name.as_bytes())),
            EndpointAddress::Echo => f.write_str("echo:"),
            EndpointAddress::Original => f.write_str("original:"),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnixAddress::Path(path) => Escaped(path.as_os_str().as_bytes()).fmt(f),
            UnixAddress::Abstract(name) => write!(f, "@{}", Escaped(name.as_bytes())),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Tun => "tun",
            DeviceKind::Tap => "tap",
        })
    }
}

/// Shows a TCP address in the original's form: `127.0.0.1:22`, `::1:22`, `fe80::1%2:22`.
///
/// The original's scope is the interface's name where it has one; here it is always its number, which takes no look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OriginalForm(pub SocketAddr);

impl fmt::Display for OriginalForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SocketAddr::V4(v4) => {
                let mut text = ShortText::<32>::default();
                add_v4(&mut text, v4);
                f.write_str(text.as_str())
            }
            SocketAddr::V6(v6) if v6.scope_id() == 0 => write!(f, "{}:{}", v6.ip(), v6.port()),
            SocketAddr::V6(v6) => write!(f, "{}%{}:{}", v6.ip(), v6.scope_id(), v6.port()),
        }
    }
}

/// Adds an IPv4 address and port, as [`OriginalForm`] shows them, at most 21 bytes.
pub fn add_v4<const ROOM: usize>(text: &mut ShortText<ROOM>, address: &SocketAddrV4) {
    for (index, octet) in address.ip().octets().into_iter().enumerate() {
        if index > 0 {
            text.add_byte(b'.');
        }
        text.add_octet(octet);
    }
    text.add_byte(b':');
    text.add_number(address.port().into());
}

/// What one `-l` or `-r` argument names: one or more addresses, to be tried in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoints {
    /// The argument as it was written.
    pub argument: String,
    /// What it resolved to. It is empty for `srv:`, and where a name that is looked up again had no address at the start.
    pub addresses: Vec<EndpointAddress>,
}

/// What carries a service that SRV records are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// TCP (`_tcp`).
    Tcp,
    /// UDP (`_udp`).
    Udp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_takes_more_descriptors_than_a_socket() {
        let device = EndpointAddress::Device(DeviceKind::Tun, "tun0".into());
        assert_eq!((device.descriptors_of_listener(), device.descriptors_of_client()), (3, 4));
        let tcp = EndpointAddress::Tcp("127.0.0.1:1".parse().unwrap());
        assert_eq!((tcp.descriptors_of_listener(), tcp.descriptors_of_client()), (1, 1));
        let udp = EndpointAddress::Udp("127.0.0.1:1".parse().unwrap());
        assert_eq!((udp.descriptors_of_listener(), udp.descriptors_of_client()), (1, 0));
        assert_eq!(tcp.descriptors_of_remote(8), 1);
    }

    #[test]
    fn a_stripe_takes_a_descriptor_for_each_lane() {
        let stripe = EndpointAddress::Stripe(StripeAddress { targets: vec![vec!["127.0.0.1:1".parse().unwrap()]] });
        for address in [stripe.clone(), EndpointAddress::Framed(Box::new(stripe))] {
            assert!(address.can_listen() && !address.is_connectionless());
            assert_eq!((address.descriptors_of_listener(), address.descriptors_of_client()), (1, 1));
            assert_eq!((address.descriptors_of_remote(1), address.descriptors_of_remote(32)), (1, 32));
        }
    }

    #[test]
    fn a_stripe_is_listened_at_its_first_address() {
        let stripe = |text: &str| {
            let target = text.split(' ').map(|address| address.parse().unwrap()).collect();
            EndpointAddress::Stripe(StripeAddress { targets: vec![target] })
        };
        let (both, first) = (stripe("127.0.0.1:1 [::1]:1"), stripe("127.0.0.1:1"));
        assert_eq!(both.clone().at_first(), first);
        let framed = |stripe: EndpointAddress| EndpointAddress::Framed(Box::new(stripe));
        assert_eq!(framed(both).at_first(), framed(first));
        assert_eq!(EndpointAddress::Echo.at_first(), EndpointAddress::Echo);
    }

    #[test]
    fn names_are_escaped() {
        let unix = EndpointAddress::Unix(UnixAddress::Path("/a\nb".into()));
        assert_eq!(EndpointAddress::Framed(Box::new(unix)).to_string(), "framed:unix:/a\\nb");
        let name = UnixAddress::Abstract("\u{1b}c".into());
        assert_eq!(EndpointAddress::UnixPacket(name).to_string(), "unixpacket:@\\u{1b}c");
        let device = EndpointAddress::Device(DeviceKind::Tap, "\u{7}".into());
        assert_eq!(device.to_string(), "tap:\\u{7}");
    }

    #[test]
    fn an_ipv4_address_reads_as_std_writes_it() {
        for text in ["0.0.0.0:0", "127.0.0.1:22", "255.255.255.255:65535", "10.200.3.40:5000", "1.2.3.4:10"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(OriginalForm(address).to_string(), text);
        }
    }
}
