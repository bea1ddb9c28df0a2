//! What a side of a session can be. One file a kind; nothing else knows the kinds.

pub mod stream;
pub mod tcp;
pub mod unix;

use mio::{Interest, Registry, Token, event};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::address::EndpointAddress;
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

/// A connected endpoint, as a flow and a session use it. All calls return at once.
pub trait Endpoint {
    /// Whether a short read or write means that the next one would block, so that it need not be tried.
    ///
    /// True for edge-triggered epoll (epoll(7), "the amount of data read from / written to"), which says when that is
    /// due to urgent data; kqueue does not say it. Under mio's poll(2) fallback a source is armed again only by an
    /// operation that would block. So with both it must be tried.
    const SHORT_MEANS_BLOCKED: bool;

    /// What bytes can be moved through without copying.
    type Pipe: Pipe;

    /// Reads into `buffer`, which is not empty. `Ok(0)` is the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes from `bytes`, which is not empty.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Moves at most `limit` bytes into an empty pipe. `Ok(0)` is the end of the stream; a short count says nothing
    /// about what is left.
    fn splice_to(&mut self, pipe: &mut Self::Pipe, limit: usize) -> io::Result<usize>;

    /// Moves at most `bytes` bytes, which the pipe holds, out of it.
    fn splice_from(&mut self, pipe: &mut Self::Pipe, bytes: usize) -> io::Result<usize>;

    /// Tells the peer that no more bytes will come.
    fn finish(&mut self) -> io::Result<()>;

    /// The error that is pending, if any; asking clears it.
    fn take_error(&mut self) -> Option<io::Error>;

    /// Makes the close that follows tell the peer that the stream was cut off, where the kind can.
    fn abort(&mut self);

    /// The descriptor's number, for the log.
    fn descriptor(&self) -> RawFd;

    /// Writes `A -> B`: who connected to whom, seen from `side`.
    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result;
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
}

/// Calls the same method of whichever endpoint it is.
macro_rules! each {
    ($self:ident, $endpoint:ident => $call:expr) => {
        match $self {
            Socket::Tcp($endpoint) => $call,
            Socket::Unix($endpoint) => $call,
        }
    };
}

impl Endpoint for Socket {
    const SHORT_MEANS_BLOCKED: bool =
        cfg!(all(any(target_os = "linux", target_os = "android"), not(mio_unsupported_force_poll_poll)));

    type Pipe = KernelPipe;

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
    /// Starts connecting to an address. An error of kind `WouldBlock` means that the peer's queue is full.
    pub fn connect(address: &RemoteAddress, options: &SocketOptions) -> io::Result<Socket> {
        match address {
            RemoteAddress::Tcp(address) => tcp::TcpEndpoint::connect(*address, options).map(Socket::Tcp),
            RemoteAddress::Unix(address, name) => unix::UnixEndpoint::connect(address, name).map(Socket::Unix),
        }
    }

    /// Registers for all events, edge-triggered: once, for the socket's life. Dropping the socket ends it.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        // Where urgent data is reported, it is asked for: reads stop short at it.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interests = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry.register(self.source(), token, interests)
    }

    /// Gives an accepted socket the options of the command line.
    pub fn apply(&mut self, options: &SocketOptions) -> io::Result<()> {
        match self {
            Socket::Tcp(endpoint) => endpoint.apply(options),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// Asks the system for what the log names and is not known yet.
    pub fn complete_names(&mut self) {
        if let Socket::Tcp(endpoint) = self {
            endpoint.complete_names();
        }
    }

    fn source(&mut self) -> &mut dyn event::Source {
        match self {
            Socket::Tcp(endpoint) => endpoint.source(),
            Socket::Unix(endpoint) => endpoint.source(),
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
}

/// An address that sessions are connected to, ready for use by the system.
#[derive(Debug, Clone)]
pub enum RemoteAddress {
    /// A TCP address.
    Tcp(std::net::SocketAddr),
    /// A Unix stream socket's address, and how it is written.
    Unix(std::os::unix::net::SocketAddr, Arc<str>),
}

impl RemoteAddress {
    /// Makes an address ready for connecting.
    pub fn new(address: &EndpointAddress) -> io::Result<RemoteAddress> {
        Ok(match address {
            EndpointAddress::Tcp(address) => RemoteAddress::Tcp(*address),
            unix => RemoteAddress::Unix(unix::socket_address(unix)?, unix.to_string().into()),
        })
    }
}

/// A bound socket that accepts clients.
#[derive(Debug)]
pub enum Listener {
    /// A listening TCP socket.
    Tcp(tcp::TcpListener),
    /// A listening Unix stream socket.
    Unix(unix::UnixListener),
}

impl Listener {
    /// Binds and listens. The error is the whole message, without the address's origin.
    pub fn bind(address: &EndpointAddress, backlog: i32) -> Result<Listener, ListenError> {
        match address {
            EndpointAddress::Tcp(address) => tcp::TcpListener::bind(*address, backlog).map(Listener::Tcp),
            unix => unix::UnixListener::bind(unix, backlog).map(Listener::Unix),
        }
    }

    /// Accepts one client. An error of kind `WouldBlock` means that none is waiting.
    pub fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(Socket::Tcp),
            Listener::Unix(listener) => listener.accept().map(Socket::Unix),
        }
    }

    /// Registers for clients to accept, edge-triggered.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => registry.register(listener.source(), token, Interest::READABLE),
            Listener::Unix(listener) => registry.register(listener.source(), token, Interest::READABLE),
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(listener) => listener.fmt(f),
            Listener::Unix(listener) => listener.fmt(f),
        }
    }
}

/// Why an address cannot be listened on: the step that failed, and the system's reason.
#[derive(Debug)]
pub struct ListenError {
    step: &'static str,
    address: String,
    error: io::Error,
}

impl ListenError {
    fn new(step: &'static str, address: impl fmt::Display, error: io::Error) -> ListenError {
        ListenError { step, address: address.to_string(), error }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} server socket {}: {}", self.step, self.address, crate::log::error_text(&self.error))
    }
}

impl std::error::Error for ListenError {}
