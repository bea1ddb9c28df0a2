//! What clients are accepted from: any kind of listener.

use mio::{Interest, Registry, Token};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

#[cfg(target_os = "linux")]
use super::device;
use super::{ListenError, Socket, connected, tcp, unix};
use crate::address::EndpointAddress;

/// How a socket is bound.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// How many clients may wait to be accepted.
    pub backlog: i32,
    /// Other sockets of this user can be bound to the same address, too: the kernel deals the clients.
    pub shared: bool,
    /// At `[::]`: without the clients of IPv4, who have a socket of their own.
    pub only_v6: bool,
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
    /// A listening TCP socket, whose clients are the lanes of stripes.
    Stripe(tcp::TcpListener),
    /// A network device.
    #[cfg(target_os = "linux")]
    Device(Box<device::DeviceListener>),
}

impl Listener {
    /// Binds and listens; not to an address whose clients have no connection. The error is the whole message, without
    /// the address's origin.
    pub fn bind(address: &EndpointAddress, binding: Binding) -> Result<Listener, ListenError> {
        match address {
            EndpointAddress::Tcp(address) => tcp::TcpListener::bind(*address, binding).map(Listener::Tcp),
            EndpointAddress::Unix(unix) => unix::UnixListener::bind(unix, binding.backlog).map(Listener::Unix),
            EndpointAddress::UnixPacket(unix) => {
                connected::UnixPacketListener::bind(unix, binding.backlog).map(Listener::UnixPacket)
            }
            EndpointAddress::Stripe(stripe) => tcp::TcpListener::bind(stripe.first(), binding).map(Listener::Stripe),
            EndpointAddress::Framed(stream) => Listener::bind(stream, binding).map(Listener::framed),
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
            Listener::Tcp(listener) | Listener::Stripe(listener) => listener.accept().map(Socket::Tcp),
            Listener::Unix(listener) => listener.accept().map(Socket::Unix),
            Listener::UnixPacket(listener) => listener.accept().map(|endpoint| Socket::Connected(Box::new(endpoint))),
            Listener::Framed(listener) => listener.accept().map(Socket::framed),
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.accept().map(|endpoint| Socket::Device(Box::new(endpoint))),
        }
    }

    /// Whether those that it accepts are lanes, and not clients.
    pub fn accepts_lanes(&self) -> bool {
        match self {
            Listener::Stripe(_) => true,
            Listener::Framed(listener) => listener.accepts_lanes(),
            _ => false,
        }
    }

    /// Changes how many clients may wait to be accepted (listen(2) on a socket that listens already).
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_backlog(&self, backlog: i32) -> io::Result<()> {
        let listen = |socket: &dyn AsRawFd| {
            // SAFETY: the call takes numbers only.
            match unsafe { libc::listen(socket.as_raw_fd(), backlog) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        };
        match self {
            Listener::Tcp(listener) | Listener::Stripe(listener) => listen(listener),
            Listener::Unix(listener) => listen(listener),
            Listener::UnixPacket(listener) => listen(listener),
            Listener::Framed(listener) => listener.set_backlog(backlog),
            #[cfg(target_os = "linux")]
            Listener::Device(_) => Ok(()),
        }
    }

    /// Whether clients are asked from now on where they had wanted to go, where the kernel may have led them here.
    ///
    /// # Errors
    ///
    /// The system's, if it does not let the listener have what is for others.
    pub fn set_intercepts(&mut self, intercepts: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_intercepts(intercepts),
            Listener::Framed(listener) => listener.set_intercepts(intercepts),
            _ => Ok(()),
        }
    }

    /// The port that it is bound to, where it has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(listener) => Some(listener.address().port()),
            Listener::Framed(listener) => listener.port(),
            _ => None,
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
            Listener::Tcp(listener) | Listener::Stripe(listener) => {
                registry.register(listener.source(), token, Interest::READABLE)
            }
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
            Listener::Stripe(listener) => write!(f, "stripe:{listener}"),
            Listener::Unix(listener) => listener.fmt(f),
            Listener::UnixPacket(listener) => listener.fmt(f),
            Listener::Framed(listener) => write!(f, "framed:{listener}"),
            #[cfg(target_os = "linux")]
            Listener::Device(device) => device.fmt(f),
        }
    }
}
