//! What a side of a session can be. One file a kind; nothing else knows the kinds.

pub mod connected;
pub mod datagram;
#[cfg(target_os = "linux")]
pub mod device;
pub mod echo;
pub mod framed;
pub mod source;
pub mod stream;
pub mod tcp;
pub mod unix;

use mio::{Interest, Registry, Token};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use crate::address::EndpointAddress;
use crate::batch::{Batch, Encoding};
use crate::pipe_pool::Pipe;
use crate::settings::Settings;
use crate::splice::KernelPipe;
use crate::text::ShortText;

/// One of a session's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideName {
    /// The one that was accepted.
    Client,
    /// The one that was connected to.
    Remote,
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SideName::Client => "client",
            SideName::Remote => "remote",
        })
    }
}

/// What an endpoint carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Bytes in order, with no boundaries: [`Endpoint::receive`] and [`Endpoint::send`].
    Bytes,
    /// Datagrams: [`Endpoint::receive_datagrams`] and [`Endpoint::send_datagrams`].
    Datagrams {
        /// Bytes of a stream that are sent as one datagram here, at most.
        chunk: usize,
    },
}

/// What reading datagrams came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// There may be more.
    More,
    /// There was no more; an event will say when there is.
    Last,
    /// The peer has ended, and all that it sent has been read.
    End,
}

/// What ends an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Its connection's end.
    Connection,
    /// Only that nothing moves: it has no connection.
    Idleness,
    /// Nothing: it is a device.
    Endless,
}

/// A connected endpoint, as a flow and a session use it. All calls return at once.
///
/// One that carries bytes has `receive`, `send`, `splice_to` and `splice_from`; one that carries datagrams has
/// `receive_datagrams` and `send_datagrams`. The others are never called.
pub trait Endpoint {
    /// Whether a short read or write means that the next one would block, so that it need not be tried.
    ///
    /// True for edge-triggered epoll (epoll(7), "the amount of data read from / written to"), which says when that is
    /// due to urgent data; kqueue does not say it. Under mio's poll(2) fallback a source is armed again only by an
    /// operation that would block. So with both it must be tried.
    const SHORT_MEANS_BLOCKED: bool;

    /// What bytes can be moved through without copying.
    type Pipe: Pipe;

    /// What the endpoint carries.
    fn carries(&self) -> Carries {
        Carries::Bytes
    }

    /// What ends it.
    fn lifetime(&self) -> Lifetime {
        Lifetime::Connection
    }

    /// Whether it is connected as soon as it is dialled, without an event that says so.
    fn connects_at_once(&self) -> bool {
        false
    }

    /// Reads into `buffer`, which is not empty. `Ok(0)` is the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Writes from `bytes`, which is not empty.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves at most `limit` bytes into an empty pipe. `Ok(0)` is the end of the stream; a short count says nothing
    /// about what is left.
    fn splice_to(&mut self, pipe: &mut Self::Pipe, limit: usize) -> io::Result<usize> {
        let _ = (pipe, limit);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves at most `bytes` bytes, which the pipe holds, out of it.
    fn splice_from(&mut self, pipe: &mut Self::Pipe, bytes: usize) -> io::Result<usize> {
        let _ = (pipe, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads datagrams into `batch`, which is empty.
    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        let _ = batch;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends some of the datagrams left in `batch`, which is not empty; `encoded` is for what is written to a stream.
    /// One that cannot be sent, for reasons of its own, is dropped and counted.
    fn send_datagrams(&mut self, batch: &mut Batch, encoded: &mut Vec<u8>) -> io::Result<()> {
        let _ = (batch, encoded);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether its peer can be told that no more will come ([`Endpoint::finish`]), and may answer that.
    fn takes_an_end(&self) -> bool {
        true
    }

    /// Whether the system still has something to send that would be lost if the peer answered a closed socket.
    fn has_unsent(&self) -> bool {
        false
    }

    /// Tells the peer that no more will come.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The error that is pending, if any; asking clears it.
    fn take_error(&mut self) -> Option<io::Error> {
        None
    }

    /// Makes the close that follows tell the peer that the stream was cut off, where the kind can.
    fn abort(&mut self) {}

    /// The descriptor's number, for the log.
    fn descriptor(&self) -> RawFd;

    /// Writes `A -> B`: who connected to whom, seen from `side`.
    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

/// Writes the encoding of the first datagrams left in `batch` to a stream.
pub fn send_encoded<E: Endpoint>(
    stream: &mut E,
    batch: &mut Batch,
    encoding: Encoding,
    encoded: &mut Vec<u8>,
) -> io::Result<()> {
    encoded.clear();
    batch.encode(encoding, encoded);
    let taken = if encoded.is_empty() { 0 } else { stream.send(encoded)? };
    if taken == 0 && !encoded.is_empty() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    // Without a byte taken, still: empty datagrams without a header are nothing.
    batch.take_bytes(taken, encoding);
    Ok(())
}

/// The ways of an endpoint's route, for `Display`.
pub struct Route<'a, E>(pub &'a E, pub SideName);

impl<E: Endpoint> fmt::Display for Route<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_route(self.1, f)?;
        let mut text = ShortText::<32>::default();
        text.add(" (fd=");
        text.add_number(self.0.descriptor() as u64);
        text.add_byte(b')');
        f.write_str(text.as_str())
    }
}

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

    fn takes_an_end(&self) -> bool {
        each!(self, endpoint => endpoint.takes_an_end())
    }

    fn has_unsent(&self) -> bool {
        each!(self, endpoint => endpoint.has_unsent())
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
        use connected::ConnectedEndpoint;
        let connected = |endpoint| Socket::Connected(Box::new(endpoint));
        match address {
            RemoteAddress::Tcp(address) => tcp::TcpEndpoint::connect(*address, options).map(Socket::Tcp),
            RemoteAddress::Unix(address) => {
                unix::UnixEndpoint::connect(&address.socket, &address.name).map(Socket::Unix)
            }
            RemoteAddress::Udp(address) => ConnectedEndpoint::udp(*address).map(connected),
            RemoteAddress::UnixMessages(address, family) => {
                ConnectedEndpoint::unix(&address.socket, &address.name, *family).map(connected)
            }
            RemoteAddress::Framed(stream) => Socket::connect(stream, &options.framed(), client).map(Socket::framed),
            RemoteAddress::Echo => echo::EchoEndpoint::new(client).map(|endpoint| Socket::Echo(Box::new(endpoint))),
            #[cfg(target_os = "linux")]
            RemoteAddress::Device(kind, name) => {
                device::DeviceEndpoint::open(*kind, name).map(|endpoint| Socket::Device(Box::new(endpoint)))
            }
        }
    }

    /// Datagrams over this stream.
    fn framed(self) -> Socket {
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

/// Socket options that the command line decides.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// `TCP_NODELAY` on both sides.
    pub no_delay: bool,
    /// Idle time before TCP keepalive probes.
    pub keepalive: Option<std::time::Duration>,
}

impl SocketOptions {
    /// The options that `settings` ask for.
    pub fn new(settings: &Settings) -> SocketOptions {
        SocketOptions { no_delay: settings.no_delay, keepalive: settings.keepalive }
    }

    /// Those of a stream that carries datagrams: nothing is gained by waiting for more of one.
    fn framed(&self) -> SocketOptions {
        SocketOptions { no_delay: true, ..*self }
    }
}

/// An address that sessions are connected to, ready for use by the system.
#[derive(Debug, Clone)]
pub enum RemoteAddress {
    /// A TCP address.
    Tcp(std::net::SocketAddr),
    /// A Unix stream socket.
    Unix(UnixRemote),
    /// A UDP address.
    Udp(std::net::SocketAddr),
    /// A Unix socket for datagrams or packets.
    UnixMessages(UnixRemote, datagram::Family),
    /// A stream that carries datagrams.
    Framed(Box<RemoteAddress>),
    /// The echo service.
    Echo,
    /// A network device.
    #[cfg(target_os = "linux")]
    Device(crate::address::DeviceKind, String),
}

/// A Unix socket's address, and how it is written.
#[derive(Debug, Clone)]
pub struct UnixRemote {
    socket: socket2::SockAddr,
    name: Arc<str>,
}

impl RemoteAddress {
    /// Makes an address ready for connecting.
    pub fn new(address: &EndpointAddress) -> io::Result<RemoteAddress> {
        let name = || Arc::from(address.to_string());
        Ok(match address {
            EndpointAddress::Tcp(address) => RemoteAddress::Tcp(*address),
            EndpointAddress::Udp(address) => RemoteAddress::Udp(*address),
            EndpointAddress::Unix(unix) => {
                RemoteAddress::Unix(UnixRemote { socket: unix::socket_address(unix)?, name: name() })
            }
            EndpointAddress::UnixPacket(unix) | EndpointAddress::UnixDatagram(unix) => {
                let connectionless = address.is_connectionless();
                let family = if connectionless { datagram::Family::Unix } else { datagram::Family::UnixPacket };
                RemoteAddress::UnixMessages(UnixRemote { socket: unix::socket_address(unix)?, name: name() }, family)
            }
            EndpointAddress::Framed(stream) => RemoteAddress::Framed(Box::new(RemoteAddress::new(stream)?)),
            EndpointAddress::Echo => RemoteAddress::Echo,
            #[cfg(target_os = "linux")]
            EndpointAddress::Device(kind, name) => RemoteAddress::Device(*kind, name.clone()),
            #[cfg(not(target_os = "linux"))]
            EndpointAddress::Device(..) => return Err(io::ErrorKind::Unsupported.into()),
        })
    }
}

/// What clients are accepted from.
#[derive(Debug)]
pub enum Listener {
    /// A listening TCP socket.
    Tcp(tcp::TcpListener),
    /// A listening Unix stream socket.
    Unix(unix::UnixListener),
    /// A listening socket of Unix packets.
    UnixPacket(connected::UnixPacketListener),
    /// A listener whose streams carry datagrams.
    Framed(Box<Listener>),
    /// A network device.
    #[cfg(target_os = "linux")]
    Device(Box<device::DeviceListener>),
}

impl Listener {
    /// Binds and listens; not to an address whose clients have no connection. The error is the whole message, without
    /// the address's origin.
    pub fn bind(address: &EndpointAddress, backlog: i32) -> Result<Listener, ListenError> {
        match address {
            EndpointAddress::Tcp(address) => tcp::TcpListener::bind(*address, backlog).map(Listener::Tcp),
            EndpointAddress::Unix(unix) => unix::UnixListener::bind(unix, backlog).map(Listener::Unix),
            EndpointAddress::UnixPacket(unix) => {
                connected::UnixPacketListener::bind(unix, backlog).map(Listener::UnixPacket)
            }
            EndpointAddress::Framed(stream) => Listener::bind(stream, backlog).map(Listener::framed),
            #[cfg(target_os = "linux")]
            EndpointAddress::Device(kind, name) => {
                device::DeviceListener::open(*kind, name).map(|device| Listener::Device(Box::new(device)))
            }
            other => Err(ListenError::new("error creating", other, io::ErrorKind::Unsupported.into())),
        }
    }

    /// The same, whose streams carry datagrams.
    pub fn framed(self) -> Listener {
        Listener::Framed(Box::new(self))
    }

    /// Accepts one client. An error of kind `WouldBlock` means that none is waiting.
    pub fn accept(&mut self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(Socket::Tcp),
            Listener::Unix(listener) => listener.accept().map(Socket::Unix),
            Listener::UnixPacket(listener) => listener.accept().map(|endpoint| Socket::Connected(Box::new(endpoint))),
            Listener::Framed(listener) => listener.accept().map(Socket::framed),
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.accept().map(|endpoint| Socket::Device(Box::new(endpoint))),
        }
    }

    /// When accepting is worth a try though no event says so.
    pub fn retry_at(&self) -> Option<Instant> {
        match self {
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.retry_at(),
            _ => None,
        }
    }

    /// Registers for clients to accept, edge-triggered.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener.source(), token, Interest::READABLE),
            Listener::Unix(listener) => registry.register(listener.source(), token, Interest::READABLE),
            Listener::UnixPacket(listener) => listener.register(registry, token),
            Listener::Framed(listener) => listener.register(registry, token),
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.register(registry, token),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(listener) => listener.fmt(f),
            Listener::Unix(listener) => listener.fmt(f),
            Listener::UnixPacket(listener) => listener.fmt(f),
            Listener::Framed(listener) => write!(f, "framed:{listener}"),
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.fmt(f),
        }
    }
}

/// Why an address cannot be listened on: the step that failed, and the system's reason.
#[derive(Debug)]
pub struct ListenError {
    step: &'static str,
    what: &'static str,
    address: String,
    error: io::Error,
}

impl ListenError {
    fn new(step: &'static str, address: impl fmt::Display, error: io::Error) -> ListenError {
        ListenError { step, what: "server socket", address: address.to_string(), error }
    }

    /// The same, of a device.
    #[cfg(target_os = "linux")]
    fn device(step: &'static str, address: String, error: io::Error) -> ListenError {
        ListenError { step, what: "device", address, error }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.step, self.what, self.address, crate::log::error_text(&self.error))
    }
}

impl std::error::Error for ListenError {}
