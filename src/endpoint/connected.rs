//! Datagram endpoints with one peer: connected UDP and Unix datagram sockets, and Unix packets (SEQPACKET).

use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::datagram::{DatagramSocket, Family, HeaderBefore, TrainLimit, UDP_CHUNK};
use super::local::Bound;
use super::stream::may_have_unread;
use super::unix::{self, SocketFile};
use super::{Carries, Endpoint, ListenError, Received, SideName, Socket};
use crate::address::{EndpointAddress, OriginalForm, UnixAddress};
use crate::buffers::batch::{Batch, MAX_DATAGRAM};
use crate::buffers::splice::KernelPipe;
use crate::config::proxy::HeaderOf;
use crate::proxy_header::{Addresses, Transport};
use crate::service::access::ClientAddress;
use crate::service::local::{Port, PortsOf};

/// A datagram socket that has one peer.
#[derive(Debug)]
pub struct ConnectedEndpoint {
    socket: DatagramSocket,
    names: Names,
    train_limit: TrainLimit,
    /// What stands in front of what is sent, where anything does.
    header: Option<Box<HeaderBefore>>,
    /// A port of ours that it has, which is given back at its end.
    _port: Option<Box<Port>>,
    /// Where it is registered; with poll(2) mio ends that when there is an error.
    #[cfg(mio_unsupported_force_poll_poll)]
    registration: Option<(Registry, Token)>,
}

/// The names of its two ends.
#[derive(Debug)]
enum Names {
    /// The peer's address, and ours where it is known.
    Udp { peer: SocketAddr, local: Option<SocketAddr> },
    /// The address of the listening end; the other has none.
    Unix(Arc<str>),
}

impl ConnectedEndpoint {
    /// A UDP socket that is connected, which is done at once, from an address of ours where one is given.
    pub fn udp(bound: Option<Bound>, peer: SocketAddr) -> io::Result<ConnectedEndpoint> {
        let socket = DatagramSocket::unbound(Domain::for_address(peer), Family::Udp)?;
        if let Some(bound) = bound {
            bound.bind(&socket, PortsOf::Udp, peer)?;
        }
        socket.connect(&peer.into()).map_err(without_port)?;
        let socket = DatagramSocket::from_socket(socket, Family::Udp);
        Ok(ConnectedEndpoint::new(socket, Names::Udp { peer, local: None }))
    }

    /// A Unix socket that is connected, at once or, with `WouldBlock`, not at all because the peer's backlog is full.
    pub fn unix(peer: &SockAddr, name: &Arc<str>, family: Family) -> io::Result<ConnectedEndpoint> {
        let socket = DatagramSocket::unbound(Domain::UNIX, family)?;
        // Without a name it could not be answered; an empty one has Linux choose (unix(7), "Autobind feature").
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if family == Family::Unix {
            socket.bind(&SockAddr::unix("")?)?;
        }
        socket.connect(peer)?;
        Ok(ConnectedEndpoint::accepted(DatagramSocket::from_socket(socket, family), name))
    }

    fn accepted(socket: DatagramSocket, name: &Arc<str>) -> ConnectedEndpoint {
        ConnectedEndpoint::new(socket, Names::Unix(name.clone()))
    }

    fn new(socket: DatagramSocket, names: Names) -> ConnectedEndpoint {
        ConnectedEndpoint {
            socket,
            names,
            train_limit: TrainLimit::default(),
            header: None,
            _port: None,
            #[cfg(mio_unsupported_force_poll_poll)]
            registration: None,
        }
    }

    /// Keeps a port of ours that it has, to give it back at the end.
    pub(super) fn keep(self, port: Option<Port>) -> ConnectedEndpoint {
        ConnectedEndpoint { _port: port.map(Box::new), ..self }
    }

    /// Asks the system for our own address, where it is not known yet.
    pub fn complete_names(&mut self) {
        if let Names::Udp { local: local @ None, .. } = &mut self.names {
            *local = self.socket.local_address();
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        #[cfg(mio_unsupported_force_poll_poll)]
        {
            self.registration = Some((registry.try_clone()?, token));
        }
        registry.register(self.socket.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Looks after a call's error.
    #[cfg(not(mio_unsupported_force_poll_poll))]
    fn checked<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result
    }

    /// Looks after a call's error: one that would block, of a socket whose registration mio has ended, reads so.
    #[cfg(mio_unsupported_force_poll_poll)]
    fn checked<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        match (&result, &self.registration) {
            (Err(error), Some((registry, token))) if error.kind() == io::ErrorKind::NotFound => {
                let _ = registry.deregister(self.socket.source());
                registry.register(self.socket.source(), *token, Interest::READABLE | Interest::WRITABLE)?;
                Err(io::ErrorKind::WouldBlock.into())
            }
            _ => result,
        }
    }
}

impl Endpoint for ConnectedEndpoint {
    const SHORT_MEANS_BLOCKED: bool = Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        let most = if self.socket.family() == Family::Udp { UDP_CHUNK } else { MAX_DATAGRAM };
        let header = self.header.as_ref().map_or(0, |header| header.length());
        Carries::Datagrams { chunk: most.saturating_sub(header).max(1) }
    }

    fn client_address(&self) -> Option<ClientAddress> {
        Some(match &self.names {
            Names::Udp { peer, .. } => ClientAddress::Ip(peer.ip()),
            Names::Unix(_) => ClientAddress::Unix,
        })
    }

    fn addresses(&self) -> Addresses {
        match &self.names {
            // They are dialled only.
            Names::Udp { .. } => Addresses::Unknown,
            Names::Unix(_) => unix::addresses(self.socket.socket(), Transport::Datagram),
        }
    }

    fn connects_at_once(&self) -> bool {
        true
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        let result = self.socket.receive(batch, None);
        self.checked(result)
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        let ConnectedEndpoint { socket, train_limit, header, .. } = self;
        let result = match header {
            None => socket.send(batch, None, train_limit),
            Some(header) => header.send(batch, |batch| socket.send(batch, None, train_limit)),
        };
        self.checked(result)
    }

    fn add_header(&mut self, header: Box<[u8]>, of: HeaderOf) {
        self.header = Some(Box::new(HeaderBefore::new(header, of)));
    }

    fn takes_an_end(&self) -> bool {
        self.socket.family() == Family::UnixPacket
    }

    fn may_have_unread(&self) -> bool {
        may_have_unread(self.socket.as_raw_fd())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.socket.finish()
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.socket.take_error()
    }

    fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.names, side) {
            (Names::Unix(name), _) => write!(f, "unix: -> {name}"),
            (Names::Udp { peer, local: Some(local) }, SideName::Remote) => {
                write!(f, "{} -> udp:{}", OriginalForm(*local), OriginalForm(*peer))
            }
            (Names::Udp { peer, .. }, _) => write!(f, "? -> udp:{}", OriginalForm(*peer)),
        }
    }
}

/// Where no port is free, the system says that connecting would block, as if it were worth another try soon.
fn without_port(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
        _ => error,
    }
}

/// A listening socket of Unix packets; its file is removed when it is dropped.
#[derive(Debug)]
pub struct UnixPacketListener {
    listener: mio::net::UnixListener,
    name: Arc<str>,
    _file: Option<SocketFile>,
}

impl UnixPacketListener {
    /// Binds and listens, as [`super::unix::UnixListener::bind`].
    pub fn bind(address: &UnixAddress, backlog: i32) -> Result<UnixPacketListener, ListenError> {
        let name = EndpointAddress::UnixPacket(address.clone()).to_string();
        let (socket, file) = unix::bind(address, Type::SEQPACKET, Some(backlog), &name)?;
        // Its type matters to nobody but accept(2), which gives sockets of the same.
        let listener = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
        Ok(UnixPacketListener { listener, name: name.into(), _file: file })
    }

    /// Accepts one client.
    pub fn accept(&self) -> io::Result<ConnectedEndpoint> {
        let (stream, _) = self.listener.accept()?;
        let socket = socket2::Socket::from(OwnedFd::from(std::os::unix::net::UnixStream::from(stream)));
        Ok(ConnectedEndpoint::accepted(DatagramSocket::from_socket(socket, Family::UnixPacket), &self.name))
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }
}

impl AsRawFd for UnixPacketListener {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl fmt::Display for UnixPacketListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fd={})", self.name, self.listener.as_raw_fd())
    }
}
