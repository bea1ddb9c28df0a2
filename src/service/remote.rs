//! What sessions are connected to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::address::{DeviceKind, EndpointAddress, StripeAddress, UnixAddress};

/// An address that sessions are connected to, ready for use by the system.
#[derive(Debug, Clone)]
pub enum RemoteAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix stream socket.
    Unix(UnixRemote),
    /// A UDP address.
    Udp(SocketAddr),
    /// A Unix socket of packets.
    UnixPacket(UnixRemote),
    /// A Unix datagram socket.
    UnixDatagram(UnixRemote),
    /// A stream over several TCP connections.
    Stripe(Arc<StripeAddress>),
    /// A stream that carries datagrams.
    Framed(Box<RemoteAddress>),
    /// The echo service.
    Echo,
    /// Where the client had wanted to go.
    Original,
    /// A network device.
    Device(DeviceKind, String),
}

/// A Unix socket's address, and how it is written.
#[derive(Debug, Clone)]
pub struct UnixRemote {
    /// The system's form of the address.
    pub socket: socket2::SockAddr,
    /// The form that the log has.
    pub name: Arc<str>,
}

impl RemoteAddress {
    /// Makes an address ready for connecting.
    ///
    /// # Errors
    ///
    /// A Unix address that is too long for the system.
    pub fn new(address: &EndpointAddress) -> io::Result<RemoteAddress> {
        let unix = |unix: &UnixAddress| {
            let name = Arc::from(address.to_string());
            unix.socket_address().map(|socket| UnixRemote { socket, name })
        };
        Ok(match address {
            EndpointAddress::Tcp(address) => RemoteAddress::Tcp(*address),
            EndpointAddress::Udp(address) => RemoteAddress::Udp(*address),
            EndpointAddress::Unix(path) => RemoteAddress::Unix(unix(path)?),
            EndpointAddress::UnixPacket(path) => RemoteAddress::UnixPacket(unix(path)?),
            EndpointAddress::UnixDatagram(path) => RemoteAddress::UnixDatagram(unix(path)?),
            EndpointAddress::Stripe(stripe) => RemoteAddress::Stripe(Arc::new(stripe.clone())),
            EndpointAddress::Framed(stream) => RemoteAddress::Framed(Box::new(RemoteAddress::new(stream)?)),
            EndpointAddress::Echo => RemoteAddress::Echo,
            EndpointAddress::Original => RemoteAddress::Original,
            EndpointAddress::Device(kind, name) => RemoteAddress::Device(*kind, name.clone()),
        })
    }
}
