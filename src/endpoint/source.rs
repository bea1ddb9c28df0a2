//! Clients without a connection: the senders of datagrams to a bound socket, told apart by their addresses.

use mio::{Interest, Registry, Token};
use socket2::{Domain, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::datagram::{DatagramSocket, Family, Origin, TrainLimit, UDP_CHUNK, report_local_address};
use super::socket::share;
use super::unix::{self, SocketFile};
use super::waiting::Waiting;
use super::{Binding, Carries, Endpoint, Lifetime, ListenError, Received, SideName};
use crate::address::{EndpointAddress, OriginalForm, UnixAddress};
use crate::base::text::Escaped;
use crate::buffers::batch::{Batch, MAX_DATAGRAM, Undelivered};
use crate::buffers::splice::KernelPipe;
use crate::proxy_header::{Addresses, Transport};
use crate::service::access::ClientAddress;
use crate::service::pool::ClientKey;

/// A bound datagram socket, which many clients share.
#[derive(Debug)]
pub struct SourceSocket {
    socket: DatagramSocket,
    name: Name,
    /// It may be that somebody waits for it to take more.
    waits: AtomicBool,
    /// Who does. Only the thread that reads the socket ever takes the lock, if in several places.
    waiting: Mutex<Waiting>,
    _file: Option<SocketFile>,
}

/// What a socket is bound to.
#[derive(Debug)]
enum Name {
    Udp(SocketAddr),
    Unix(String),
}

impl SourceSocket {
    /// Binds a UDP socket.
    pub fn udp(address: SocketAddr, binding: Binding) -> Result<SourceSocket, ListenError> {
        let failed = |step| move |error| ListenError::new(step, EndpointAddress::Udp(address), error);
        let domain = Domain::for_address(address);
        let socket = DatagramSocket::unbound(domain, Family::Udp).map_err(failed("error creating"))?;
        if binding.shared {
            share(&socket).map_err(failed("setSocketReusePort error on"))?;
        }
        if binding.only_v6 {
            socket.set_only_v6(true).map_err(failed("error setting IPV6_V6ONLY on"))?;
        }
        if address.ip().is_unspecified() {
            report_local_address(&socket, domain).map_err(failed("error setting options of"))?;
        }
        socket.bind(&address.into()).map_err(failed("bind error on"))?;
        let bound = socket.local_addr().map_err(failed("getsockname error on"))?;
        let name = Name::Udp(bound.as_socket().unwrap_or(address));
        let socket = DatagramSocket::from_socket(socket, Family::Udp);
        Ok(SourceSocket::new(socket, name, Waiting::for_socket(), None))
    }

    /// Binds a Unix datagram socket. A stale socket file is replaced, a live one is an error.
    pub fn unix(address: &UnixAddress) -> Result<SourceSocket, ListenError> {
        let name = EndpointAddress::UnixDatagram(address.clone()).to_string();
        let (socket, file) = unix::bind(address, Type::DGRAM, None, &name)?;
        let socket = DatagramSocket::from_socket(socket, Family::Unix);
        Ok(SourceSocket::new(socket, Name::Unix(name), Waiting::for_receivers(), file))
    }

    fn new(socket: DatagramSocket, name: Name, waiting: Waiting, file: Option<SocketFile>) -> SourceSocket {
        SourceSocket { socket, name, waits: AtomicBool::new(false), waiting: Mutex::new(waiting), _file: file }
    }

    /// The address that a UDP socket is bound to.
    pub fn udp_address(&self) -> Option<SocketAddr> {
        match self.name {
            Name::Udp(address) => Some(address),
            Name::Unix(_) => None,
        }
    }

    /// Registers for datagrams, and for room to send some, edge-triggered.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Reads datagrams into `batch` and the sender of each into `origins`.
    pub fn receive(&self, batch: &mut Batch, origins: &mut Vec<Origin>) -> io::Result<Received> {
        self.socket.receive(batch, Some(origins))
    }

    /// Whether it is news to a client that waits, if there is one, that the socket takes more. To be asked when an event
    /// says so, and before anything else is sent.
    pub fn is_news(&self) -> bool {
        self.waits.load(Relaxed) && self.waiting().is_news()
    }

    /// Adds to `woken` the clients that waited and need not any longer; `writable`: an event said that the socket takes
    /// more.
    pub fn take_unblocked(&self, writable: bool, woken: &mut Vec<Origin>) {
        if self.waits.load(Relaxed) {
            let mut waiting = self.waiting();
            waiting.take(writable, Instant::now(), woken);
            self.waits.store(!waiting.is_empty(), Relaxed);
        }
    }

    /// Whether a client that waits may have to be tried again though no event comes.
    pub fn may_retry(&self) -> bool {
        self.socket.family() == Family::Unix
    }

    /// When a client that waits is to be tried again though no event came.
    pub fn retry_at(&self) -> Option<Instant> {
        if self.waits.load(Relaxed) { self.waiting().retry_at() } else { None }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for SourceSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Name::Udp(address) => write!(f, "udp:{}", OriginalForm(*address))?,
            Name::Unix(name) => f.write_str(name)?,
        }
        write!(f, " (fd={})", self.socket.as_raw_fd())
    }
}

/// One of a bound socket's clients.
#[derive(Debug)]
pub struct SourceEndpoint {
    socket: Arc<SourceSocket>,
    origin: Box<Origin>,
    /// It has an address that it can be answered at.
    has_name: bool,
    /// How often it took nothing, one after the other.
    failures: u8,
    train_limit: TrainLimit,
}

impl SourceEndpoint {
    /// The client that sends from there.
    pub fn new(socket: &Arc<SourceSocket>, origin: Origin) -> SourceEndpoint {
        let peer = &origin.peer;
        let has_name =
            peer.as_socket().is_some() || peer.as_pathname().is_some() || peer.as_abstract_namespace().is_some();
        SourceEndpoint {
            socket: socket.clone(),
            origin: Box::new(origin),
            has_name,
            failures: 0,
            train_limit: TrainLimit::default(),
        }
    }
}

impl Endpoint for SourceEndpoint {
    const SHORT_MEANS_BLOCKED: bool = super::Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        Carries::Datagrams { chunk: if matches!(self.socket.name, Name::Udp(_)) { UDP_CHUNK } else { MAX_DATAGRAM } }
    }

    fn client_key(&self) -> Option<ClientKey> {
        let peer = &self.origin.peer;
        if let Some(peer) = peer.as_socket() {
            return Some(ClientKey::of_ip(peer.ip()));
        }
        let path = peer.as_pathname().map(|path| path.as_os_str().as_bytes());
        path.or(peer.as_abstract_namespace()).map(ClientKey::of_bytes)
    }

    fn client_address(&self) -> Option<ClientAddress> {
        Some(self.origin.client_address())
    }

    fn addresses(&self) -> Addresses {
        let peer = &self.origin.peer;
        match (&self.socket.name, peer.as_socket()) {
            (Name::Udp(bound), Some(peer)) => {
                let local = SocketAddr::new(self.origin.local.unwrap_or(bound.ip()), bound.port());
                Addresses::between(peer, local, Transport::Datagram)
            }
            (Name::Udp(_), None) => Addresses::Unknown,
            (Name::Unix(_), _) => Addresses::Unix {
                source: unix::name_of(Ok(peer.clone())),
                destination: unix::name_of(self.socket.socket.socket().local_addr()),
                transport: Transport::Datagram,
            },
        }
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::Idleness
    }

    fn connects_at_once(&self) -> bool {
        true
    }

    /// What comes for it is offered to its session by whoever reads the socket.
    fn receive_datagrams(&mut self, _batch: &mut Batch) -> io::Result<Received> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        if !self.has_name {
            batch.drop_all(Undelivered::NoPeer);
            return Ok(());
        }
        let result = self.socket.socket.send(batch, Some(&self.origin), &mut self.train_limit);
        match &result {
            Ok(()) => self.failures = 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.socket.waiting().add(&self.origin, self.failures);
                self.socket.waits.store(true, Relaxed);
                self.failures = self.failures.saturating_add(1);
            }
            Err(_) => {}
        }
        result
    }

    fn takes_an_end(&self) -> bool {
        false
    }

    fn descriptor(&self) -> RawFd {
        self.socket.socket.as_raw_fd()
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = &self.origin.peer;
        match (&self.socket.name, peer.as_socket()) {
            (Name::Udp(bound), Some(peer)) => {
                let local = SocketAddr::new(self.origin.local.unwrap_or(bound.ip()), bound.port());
                write!(f, "udp:{} -> udp:{}", OriginalForm(peer), OriginalForm(local))
            }
            (Name::Unix(name), _) => match (peer.as_pathname(), peer.as_abstract_namespace()) {
                (Some(path), _) => write!(f, "unixgram:{} -> {name}", Escaped(path.as_os_str().as_bytes())),
                (None, Some(abstract_name)) => write!(f, "unixgram:@{} -> {name}", Escaped(abstract_name)),
                (None, None) => write!(f, "unixgram: -> {name}"),
            },
            (Name::Udp(_), None) => f.write_str("? -> ?"),
        }
    }
}
