//! Any connected endpoint: the one place that knows all kinds.

use mio::{Interest, Registry, Token};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::device;
use super::local::{Bound, connect_in_turn};
use super::{Carries, Endpoint, HeaderPlace, Lane, Lifetime, Readiness, Received, SideName};
use super::{connected, echo, framed, source, stripe, tcp, unix};
use crate::buffers::batch::Batch;
use crate::buffers::splice::KernelPipe;
use crate::config::proxy::HeaderOf;
use crate::proxy_header::Addresses;
use crate::service::access::ClientAddress;
use crate::service::local::{LocalAddress, PortsOf};
use crate::service::pool::ClientKey;
use crate::service::{RemoteAddress, SocketOptions, StripeOptions};

/// Any connected endpoint.
#[derive(Debug)]
pub enum Socket {
    /// A TCP connection.
    Tcp(tcp::TcpEndpoint),
    /// A Unix stream connection.
    Unix(unix::UnixEndpoint),
    /// A stream that carries datagrams.
    Framed(Box<framed::Framed<Socket>>),
    /// A datagram socket that has one peer.
    Connected(Box<connected::ConnectedEndpoint>),
    /// One of the clients of a bound datagram socket.
    Source(source::SourceEndpoint),
    /// A stripe.
    Stripe(Box<stripe::StripeEndpoint>),
    /// The echo service.
    Echo(Box<echo::EchoEndpoint>),
    /// A network device.
    #[cfg(target_os = "linux")]
    Device(Box<device::DeviceEndpoint>),
}

/// What connecting takes beside the address.
#[derive(Debug)]
pub struct Dialling<'a> {
    /// What the client carries.
    pub client: Carries,
    /// The client's address, where connections have it.
    pub client_ip: Option<IpAddr>,
    /// Where the client had wanted to go, where that counts.
    pub destination: Option<SocketAddr>,
    /// Which address of ours the connection has.
    pub local: &'a LocalAddress,
    /// How stripes behave.
    pub stripe: &'a Arc<StripeOptions>,
    /// The time, in milliseconds.
    pub now: u64,
}

impl Dialling<'_> {
    fn tcp(&self, peer: SocketAddr, options: &SocketOptions) -> io::Result<tcp::TcpEndpoint> {
        let connect = |bound| tcp::TcpEndpoint::connect_from(bound, peer, options);
        let LocalAddress::Ours(ours) = self.local else { return connect(self.client_at(peer)) };
        let (endpoint, port) = connect_in_turn(ours, PortsOf::Tcp, peer, self.now, connect)?;
        Ok(endpoint.keep(port))
    }

    /// The client's address, where it can be connected from.
    fn client_at(&self, peer: SocketAddr) -> Option<Bound> {
        Bound::to_client(self.client_ip?, peer)
    }

    fn udp(&self, peer: SocketAddr) -> io::Result<connected::ConnectedEndpoint> {
        let connect = |bound| connected::ConnectedEndpoint::udp(bound, peer);
        let LocalAddress::Ours(ours) = self.local else { return connect(self.client_at(peer)) };
        let (endpoint, port) = connect_in_turn(ours, PortsOf::Udp, peer, self.now, connect)?;
        Ok(endpoint.keep(port))
    }
}

/// Calls the same method of whichever endpoint it is.
macro_rules! each {
    ($self:ident, $endpoint:ident => $call:expr) => {
        match $self {
            Socket::Tcp($endpoint) => $call,
            Socket::Unix($endpoint) => $call,
            Socket::Framed($endpoint) => $call,
            Socket::Connected($endpoint) => $call,
            Socket::Source($endpoint) => $call,
            Socket::Stripe($endpoint) => $call,
            Socket::Echo($endpoint) => $call,
            #[cfg(target_os = "linux")]
            Socket::Device($endpoint) => $call,
        }
    };
}

impl Endpoint for Socket {
    const SHORT_MEANS_BLOCKED: bool =
        cfg!(all(any(target_os = "linux", target_os = "android"), not(mio_unsupported_force_poll_poll)));

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        each!(self, endpoint => endpoint.carries())
    }

    fn lifetime(&self) -> Lifetime {
        each!(self, endpoint => endpoint.lifetime())
    }

    fn client_key(&self) -> Option<ClientKey> {
        each!(self, endpoint => endpoint.client_key())
    }

    fn client_address(&self) -> Option<ClientAddress> {
        each!(self, endpoint => endpoint.client_address())
    }

    fn addresses(&self) -> Addresses {
        each!(self, endpoint => endpoint.addresses())
    }

    fn header_place(&self) -> HeaderPlace {
        each!(self, endpoint => endpoint.header_place())
    }

    fn receive_header(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, endpoint => endpoint.receive_header(buffer))
    }

    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        each!(self, endpoint => endpoint.send_header(bytes, more))
    }

    fn add_header(&mut self, header: Box<[u8]>, of: HeaderOf) {
        each!(self, endpoint => endpoint.add_header(header, of));
    }

    fn has_unread(&self) -> bool {
        each!(self, endpoint => endpoint.has_unread())
    }

    fn connects_at_once(&self) -> bool {
        each!(self, endpoint => endpoint.connects_at_once())
    }

    fn has_lanes(&self) -> bool {
        each!(self, endpoint => endpoint.has_lanes())
    }

    fn note_lane(&mut self, lane: Lane, event: Readiness) {
        each!(self, endpoint => endpoint.note_lane(lane, event));
    }

    fn settle(&mut self) -> bool {
        each!(self, endpoint => endpoint.settle())
    }

    fn deadline(&self) -> Option<u64> {
        each!(self, endpoint => endpoint.deadline())
    }

    fn would_lose(&self) -> bool {
        each!(self, endpoint => endpoint.would_lose())
    }

    fn has_space(&self) -> bool {
        matches!(self, Socket::Stripe(stripe) if stripe.has_space())
    }

    fn space_is_full(&mut self) -> bool {
        match self {
            Socket::Stripe(stripe) => stripe.space_is_full(),
            _ => false,
        }
    }

    fn space(&mut self) -> &mut [u8] {
        each!(self, endpoint => endpoint.space())
    }

    fn fill_space(&mut self, bytes: usize) {
        each!(self, endpoint => endpoint.fill_space(bytes));
    }

    fn can_splice_to(&self) -> bool {
        each!(self, endpoint => endpoint.can_splice_to())
    }

    fn can_splice_from(&self) -> bool {
        each!(self, endpoint => endpoint.can_splice_from())
    }

    fn write_account(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, endpoint => endpoint.write_account(f))
    }

    fn takes_an_end(&self) -> bool {
        each!(self, endpoint => endpoint.takes_an_end())
    }

    fn unsent(&self) -> u32 {
        each!(self, endpoint => endpoint.unsent())
    }

    fn may_have_unread(&self) -> bool {
        each!(self, endpoint => endpoint.may_have_unread())
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        each!(self, endpoint => endpoint.receive_datagrams(batch))
    }

    fn send_datagrams(&mut self, batch: &mut Batch, encoded: &mut Vec<u8>) -> io::Result<()> {
        each!(self, endpoint => endpoint.send_datagrams(batch, encoded))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, endpoint => endpoint.receive(buffer))
    }

    fn short_read_means_empty(&self) -> bool {
        each!(self, endpoint => endpoint.short_read_means_empty())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, endpoint => endpoint.send(bytes))
    }

    fn splice_to(&mut self, pipe: &mut KernelPipe, limit: usize) -> io::Result<usize> {
        each!(self, endpoint => endpoint.splice_to(pipe, limit))
    }

    fn splice_from(&mut self, pipe: &mut KernelPipe, bytes: usize) -> io::Result<usize> {
        each!(self, endpoint => endpoint.splice_from(pipe, bytes))
    }

    fn finish(&mut self) -> io::Result<()> {
        each!(self, endpoint => endpoint.finish())
    }

    fn is_its_own_peer(&self) -> bool {
        each!(self, endpoint => endpoint.is_its_own_peer())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        each!(self, endpoint => endpoint.take_error())
    }

    fn abort(&mut self) {
        each!(self, endpoint => endpoint.abort());
    }

    fn descriptor(&self) -> RawFd {
        each!(self, endpoint => endpoint.descriptor())
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, endpoint => endpoint.write_route(side, f))
    }
}

impl Socket {
    /// Starts connecting to an address. An error of kind `WouldBlock` means that the peer's queue is full.
    pub fn connect(address: &RemoteAddress, options: &SocketOptions, dialling: &Dialling<'_>) -> io::Result<Socket> {
        use super::datagram::Family;
        use connected::ConnectedEndpoint;
        let connected = |endpoint| Socket::Connected(Box::new(endpoint));
        match address {
            RemoteAddress::Tcp(address) => dialling.tcp(*address, options).map(Socket::Tcp),
            RemoteAddress::Unix(address) => {
                unix::UnixEndpoint::connect(&address.socket, &address.name).map(Socket::Unix)
            }
            RemoteAddress::Udp(address) => dialling.udp(*address).map(connected),
            RemoteAddress::Original => {
                dialling.tcp(dialling.destination.ok_or_else(nowhere)?, options).map(Socket::Tcp)
            }
            RemoteAddress::UnixPacket(address) => {
                ConnectedEndpoint::unix(&address.socket, &address.name, Family::UnixPacket).map(connected)
            }
            RemoteAddress::UnixDatagram(address) => {
                ConnectedEndpoint::unix(&address.socket, &address.name, Family::Unix).map(connected)
            }
            RemoteAddress::Stripe(address) => stripe::StripeEndpoint::dial(address, options, dialling.stripe)
                .map(|endpoint| Socket::Stripe(Box::new(endpoint))),
            RemoteAddress::Framed(stream) => Socket::connect(stream, &options.framed(), dialling).map(Socket::framed),
            RemoteAddress::Echo => {
                echo::EchoEndpoint::new(dialling.client).map(|endpoint| Socket::Echo(Box::new(endpoint)))
            }
            #[cfg(target_os = "linux")]
            RemoteAddress::Device(kind, name) => {
                device::DeviceEndpoint::open(*kind, name).map(|endpoint| Socket::Device(Box::new(endpoint)))
            }
            #[cfg(not(target_os = "linux"))]
            RemoteAddress::Device(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Does what the events of its lanes and the time ask for, where it has lanes, and says what can be done then.
    pub fn tend(&mut self, registry: &Registry, token: &dyn Fn(Lane) -> Token, now: u64) -> Readiness {
        match self {
            Socket::Stripe(stripe) => stripe.tend(registry, token, now),
            Socket::Framed(framed) => framed.stream.tend(registry, token, now),
            _ => Readiness::default(),
        }
    }

    /// Where a client had wanted to go that was on its way to somebody else.
    pub fn destination(&self) -> Option<SocketAddr> {
        match self {
            Socket::Tcp(endpoint) => endpoint.destination(),
            Socket::Framed(framed) => framed.stream.destination(),
            _ => None,
        }
    }

    /// The stripe that it is, or that carries its datagrams.
    pub fn stripe_mut(&mut self) -> Option<&mut stripe::StripeEndpoint> {
        match self {
            Socket::Stripe(stripe) => Some(stripe),
            Socket::Framed(framed) => framed.stream.stripe_mut(),
            _ => None,
        }
    }

    /// The connection that it is, or that would carry its datagrams, and whether it would.
    pub fn into_tcp(self) -> Option<(tcp::TcpEndpoint, bool)> {
        match self {
            Socket::Tcp(endpoint) => Some((endpoint, false)),
            Socket::Framed(framed) => framed.stream.into_tcp().map(|(endpoint, _)| (endpoint, true)),
            _ => None,
        }
    }

    /// Datagrams over this stream.
    pub fn framed(self) -> Socket {
        Socket::Framed(Box::new(framed::Framed::new(self)))
    }

    /// Registers for all events, edge-triggered: once, for the socket's life. Dropping the socket ends it.
    ///
    /// A source has nothing to register: its socket is registered by who reads it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Socket::Tcp(endpoint) => registry.register(endpoint.source(), token, ALL_EVENTS),
            Socket::Unix(endpoint) => registry.register(endpoint.source(), token, ALL_EVENTS),
            Socket::Connected(endpoint) => endpoint.register(registry, token),
            Socket::Framed(framed) => framed.stream.register(registry, token),
            Socket::Source(_) => Ok(()),
            // Its lanes are registered as they come.
            Socket::Stripe(_) => Ok(()),
            Socket::Echo(endpoint) => endpoint.register(registry, token),
            #[cfg(target_os = "linux")]
            Socket::Device(endpoint) => endpoint.register(registry, token),
        }
    }

    /// Gives an accepted socket the options of the command line.
    pub fn apply(&mut self, options: &SocketOptions) -> io::Result<()> {
        match self {
            Socket::Tcp(endpoint) => endpoint.apply(options),
            Socket::Framed(framed) => framed.stream.apply(&options.framed()),
            _ => Ok(()),
        }
    }

    /// Asks the system for what the log names and is not known yet.
    pub fn complete_names(&mut self) {
        match self {
            Socket::Tcp(endpoint) => endpoint.complete_names(),
            Socket::Connected(endpoint) => endpoint.complete_names(),
            Socket::Framed(framed) => framed.stream.complete_names(),
            _ => {}
        }
    }
}

/// Why a client cannot be connected to where it had wanted to go.
fn nowhere() -> io::Error {
    io::Error::other("the client was not on its way to somebody else, but came to the proxy itself")
}

/// What a stream is registered for. Where urgent data is reported, it is asked for: reads stop short at it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) const ALL_EVENTS: Interest = Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) const ALL_EVENTS: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// Lets other sockets of this user be bound to the same address: the kernel deals senders to them.
pub(super) fn share(socket: &socket2::Socket) -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    return socket.set_reuse_port_lb(true);
    #[cfg(not(target_os = "freebsd"))]
    socket.set_reuse_port(true)
}
