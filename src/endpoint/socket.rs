//! Any connected endpoint: the one place that knows all kinds.

use mio::{Interest, Registry, Token};
use std::fmt;
use std::io;
use std::os::fd::RawFd;

#[cfg(target_os = "linux")]
use super::device;
use super::{Carries, Endpoint, Lane, Lifetime, Readiness, Received, SideName};
use super::{connected, echo, framed, source, tcp, unix};
use crate::buffers::batch::Batch;
use crate::buffers::splice::KernelPipe;
use crate::service::{RemoteAddress, SocketOptions};

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
    /// The echo service.
    Echo(Box<echo::EchoEndpoint>),
    /// A network device.
    #[cfg(target_os = "linux")]
    Device(Box<device::DeviceEndpoint>),
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

    fn splices(&self) -> bool {
        each!(self, endpoint => endpoint.splices())
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
    /// Starts connecting to an address, for a client that carries this. An error of kind `WouldBlock` means that the
    /// peer's queue is full.
    pub fn connect(address: &RemoteAddress, options: &SocketOptions, client: Carries) -> io::Result<Socket> {
        use super::datagram::Family;
        use connected::ConnectedEndpoint;
        let connected = |endpoint| Socket::Connected(Box::new(endpoint));
        match address {
            RemoteAddress::Tcp(address) => tcp::TcpEndpoint::connect(*address, options).map(Socket::Tcp),
            RemoteAddress::Unix(address) => {
                unix::UnixEndpoint::connect(&address.socket, &address.name).map(Socket::Unix)
            }
            RemoteAddress::Udp(address) => ConnectedEndpoint::udp(*address).map(connected),
            RemoteAddress::UnixPacket(address) => {
                ConnectedEndpoint::unix(&address.socket, &address.name, Family::UnixPacket).map(connected)
            }
            RemoteAddress::UnixDatagram(address) => {
                ConnectedEndpoint::unix(&address.socket, &address.name, Family::Unix).map(connected)
            }
            RemoteAddress::Stripe(_) => Err(io::ErrorKind::Unsupported.into()),
            RemoteAddress::Framed(stream) => Socket::connect(stream, &options.framed(), client).map(Socket::framed),
            RemoteAddress::Echo => echo::EchoEndpoint::new(client).map(|endpoint| Socket::Echo(Box::new(endpoint))),
            #[cfg(target_os = "linux")]
            RemoteAddress::Device(kind, name) => {
                device::DeviceEndpoint::open(*kind, name).map(|endpoint| Socket::Device(Box::new(endpoint)))
            }
            #[cfg(not(target_os = "linux"))]
            RemoteAddress::Device(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Datagrams over this stream.
    pub(super) fn framed(self) -> Socket {
        Socket::Framed(Box::new(framed::Framed::new(self)))
    }

    /// Registers for all events, edge-triggered: once, for the socket's life. Dropping the socket ends it.
    ///
    /// A source has nothing to register: its socket is registered by who reads it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Where urgent data is reported, it is asked for: reads stop short at it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interests = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let interests = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(endpoint) => registry.register(endpoint.source(), token, interests),
            Socket::Unix(endpoint) => registry.register(endpoint.source(), token, interests),
            Socket::Connected(endpoint) => endpoint.register(registry, token),
            Socket::Framed(framed) => framed.stream.register(registry, token),
            Socket::Source(_) => Ok(()),
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

/// Lets other sockets of this user be bound to the same address: the kernel deals senders to them.
pub(super) fn share(socket: &socket2::Socket) -> io::Result<()> {
    #[cfg(target_os = "freebsd")]
    return socket.set_reuse_port_lb(true);
    #[cfg(not(target_os = "freebsd"))]
    socket.set_reuse_port(true)
}
