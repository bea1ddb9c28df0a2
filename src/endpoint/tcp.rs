//! TCP endpoints and listeners.

use mio::event;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;
use std::time::Duration;

use super::intercepted::{Intercepted, original_destination};
use super::local::{Bound, connecting, make_transparent};
use super::socket::share;
use super::stream::{Names, Stream, StreamEndpoint};
use super::{Binding, ListenError, SideName};
use crate::address::{OriginalForm, add_v4};
use crate::base::text::ShortText;
use crate::proxy_header::{Addresses, Transport};
use crate::service::SocketOptions;
use crate::service::access::ClientAddress;
use crate::service::local::Port;
use crate::service::pool::ClientKey;

/// A TCP connection, accepted or begun by us.
pub type TcpEndpoint = StreamEndpoint<TcpStream, TcpNames>;

/// The addresses of a TCP connection's two ends, the peer's and ours. Ours is not known for a socket just connected, or
/// accepted by a listener on a wildcard address.
///
/// An idle session is little more than its sockets, so the usual ones take no more room than they need.
#[derive(Debug)]
pub enum TcpNames {
    /// Both are IPv4 addresses.
    V4(SocketAddrV4, Option<SocketAddrV4>),
    /// Any others.
    Other(Box<(SocketAddr, Option<SocketAddr>)>),
    /// Those of a connection with a port of ours.
    Held(Box<HeldNames>),
    /// Those of a client that may have been on its way to somebody else. Its end here has the address of that one.
    Intercepted(Box<Intercepted>),
}

/// The names of a connection with a port of ours, and the port, which nobody else has as long as the connection.
#[derive(Debug)]
pub struct HeldNames {
    peer: SocketAddr,
    local: Option<SocketAddr>,
    _port: Port,
}

impl TcpNames {
    fn new(peer: SocketAddr, local: Option<SocketAddr>) -> TcpNames {
        match (peer, local) {
            (SocketAddr::V4(peer), None) => TcpNames::V4(peer, None),
            (SocketAddr::V4(peer), Some(SocketAddr::V4(local))) => TcpNames::V4(peer, Some(local)),
            _ => TcpNames::Other(Box::new((peer, local))),
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        match self {
            TcpNames::V4(peer, _) => SocketAddr::V4(*peer),
            TcpNames::Other(names) => names.0,
            TcpNames::Held(names) => names.peer,
            TcpNames::Intercepted(names) => names.peer,
        }
    }

    fn local(&self) -> Option<SocketAddr> {
        match self {
            TcpNames::V4(_, local) => local.map(SocketAddr::V4),
            TcpNames::Other(names) => names.1,
            TcpNames::Held(names) => names.local,
            TcpNames::Intercepted(names) => Some(names.destination),
        }
    }
}

impl TcpEndpoint {
    /// Starts connecting.
    pub fn connect(peer: SocketAddr, options: &SocketOptions) -> io::Result<TcpEndpoint> {
        let stream = TcpStream::connect(peer)?;
        let mut endpoint = StreamEndpoint { stream, names: TcpNames::new(peer, None) };
        endpoint.apply(options)?;
        Ok(endpoint)
    }

    /// Starts connecting from an address of ours, where one is given.
    pub fn connect_from(bound: Option<Bound>, peer: SocketAddr, options: &SocketOptions) -> io::Result<TcpEndpoint> {
        let Some(bound) = bound else { return TcpEndpoint::connect(peer, options) };
        let stream = TcpStream::from_std(connecting(bound, peer)?.into());
        let mut endpoint = StreamEndpoint { stream, names: TcpNames::new(peer, None) };
        endpoint.apply(options)?;
        Ok(endpoint)
    }

    /// Keeps a port of ours that the connection has, to give it back at the end.
    pub(super) fn keep(mut self, port: Option<Port>) -> TcpEndpoint {
        if let Some(port) = port {
            let (peer, local) = (self.names.peer(), self.names.local());
            self.names = TcpNames::Held(Box::new(HeldNames { peer, local, _port: port }));
        }
        self
    }

    /// Where the client had wanted to go, if it was on its way to somebody else.
    pub fn destination(&self) -> Option<SocketAddr> {
        match &self.names {
            TcpNames::Intercepted(names) if !names.came_by_itself => Some(unmapped(names.destination)),
            _ => None,
        }
    }

    /// Has small writes be sent at once.
    pub(super) fn set_no_delay(&self) -> io::Result<()> {
        self.stream.set_nodelay(true)
    }

    /// As [`Endpoint::send`](super::Endpoint::send), from several places.
    pub(super) fn send_many(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(slices)
    }

    /// Sets the options of the command line.
    pub fn apply(&mut self, options: &SocketOptions) -> io::Result<()> {
        if options.no_delay {
            self.stream.set_nodelay(true)?;
        }
        if let Some(idle) = options.keepalive {
            SockRef::from(&self.stream).set_tcp_keepalive(&probes(idle))?;
        }
        Ok(())
    }

    /// Asks the system for our own address, where it is not known yet.
    pub fn complete_names(&mut self) {
        if self.names.local().is_some() {
            return;
        }
        let local = self.stream.local_addr().ok();
        match &mut self.names {
            TcpNames::Held(names) => names.local = local,
            names => *names = TcpNames::new(names.peer(), local),
        }
    }
}

/// An address of IPv4 that is written as one of IPv6, as one of IPv4: its family is what counts.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}

/// Probes after this idle time, and as often again while they are not answered, but not more rarely than the system's
/// usual 75 s: who asks for early probes wants an early answer.
fn probes(idle: Duration) -> TcpKeepalive {
    let probes = TcpKeepalive::new().with_time(idle);
    #[cfg(not(target_os = "openbsd"))]
    let probes = probes.with_interval(idle.min(Duration::from_secs(75)));
    probes
}

impl Stream for TcpStream {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        // What follows it must not wait until the peer has acknowledged so small a packet, as all do that follow.
        self.set_nodelay(true)?;
        if more { TcpStream::try_io(self, || send_more(self, bytes)) } else { self.write(bytes) }
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    fn source(&mut self) -> &mut dyn event::Source {
        self
    }

    fn try_io<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        TcpStream::try_io(self, call)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        TcpStream::take_error(self)
    }

    fn is_its_own_peer(&self) -> bool {
        is_its_own_peer(self)
    }

    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn abort(&self) {
        // Closing with a zero linger time sends a reset (RFC 9293, 3.10.5, ABORT). It fails only on a dead socket.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

/// Sends bytes that may wait for those that follow (`MSG_MORE` in send(2)).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn send_more(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_MORE | libc::MSG_NOSIGNAL)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send_more(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send(bytes)
}

/// Whether a TCP connection is one with itself; see [`Endpoint::is_its_own_peer`](super::Endpoint::is_its_own_peer).
pub fn is_its_own_peer(socket: &impl AsFd) -> bool {
    let socket = SockRef::from(socket);
    let ends = (socket.local_addr(), socket.peer_addr());
    matches!(ends, (Ok(local), Ok(peer)) if local.as_socket() == peer.as_socket())
}

/// Whether the system may pick a port for a client, as far as it says so (ip(7), `ip_local_port_range`).
pub fn may_be_picked(port: u16) -> bool {
    static LEAST: OnceLock<u16> = OnceLock::new();
    let least = LEAST.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        range.split_whitespace().next().and_then(|least| least.parse().ok()).unwrap_or(1024)
    });
    port >= *least
}

impl Names for TcpNames {
    fn may_be_its_own_peer(&self) -> bool {
        // A port of ours may be any.
        matches!(self, TcpNames::Held(_)) || may_be_picked(self.peer().port())
    }

    fn client_address(&self) -> ClientAddress {
        ClientAddress::Ip(self.peer().ip())
    }

    fn addresses(&self, socket: SockRef<'_>) -> Addresses {
        let local = self.local().or_else(|| socket.local_addr().ok()?.as_socket());
        local.map_or(Addresses::Unknown, |local| Addresses::between(self.peer(), local, Transport::Stream))
    }

    fn client_key(&self) -> Option<ClientKey> {
        Some(ClientKey::of_ip(self.peer().ip()))
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let TcpNames::V4(peer, Some(local)) = self {
            let (from, to) = if side == SideName::Client { (peer, local) } else { (local, peer) };
            let mut text = ShortText::<64>::default();
            add_v4(&mut text, from);
            text.add(" -> ");
            add_v4(&mut text, to);
            return f.write_str(text.as_str());
        }
        let peer = OriginalForm(self.peer());
        match (side, self.local().map(OriginalForm)) {
            (SideName::Client, Some(local)) => write!(f, "{peer} -> {local}"),
            (SideName::Client, None) => write!(f, "{peer} -> ?"),
            (SideName::Remote, Some(local)) => write!(f, "{local} -> {peer}"),
            (SideName::Remote, None) => write!(f, "? -> {peer}"),
        }
    }
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpListener {
    listener: mio::net::TcpListener,
    address: SocketAddr,
    /// Its clients may be on their way to somebody else.
    intercepts: bool,
}

impl TcpListener {
    /// Binds with `SO_REUSEADDR` and listens.
    pub fn bind(address: SocketAddr, binding: Binding) -> Result<TcpListener, ListenError> {
        let failed = |step| move |error| ListenError::new(step, OriginalForm(address), error);
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))
            .map_err(failed("error creating"))?;
        socket.set_reuse_address(true).map_err(failed("setSocketReuseAddress error on"))?;
        if binding.shared {
            share(&socket).map_err(failed("setSocketReusePort error on"))?;
        }
        if binding.only_v6 {
            socket.set_only_v6(true).map_err(failed("error setting IPV6_V6ONLY on"))?;
        }
        socket.bind(&address.into()).map_err(failed("bind error on"))?;
        socket.listen(binding.backlog).map_err(failed("listen error on"))?;
        socket.set_nonblocking(true).map_err(failed("error setting non-blocking on"))?;
        let listener = mio::net::TcpListener::from_std(socket.into());
        let address = listener.local_addr().map_err(failed("getsockname error on"))?;
        Ok(TcpListener { listener, address, intercepts: false })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts one client; its address comes with it.
    pub fn accept(&self) -> io::Result<TcpEndpoint> {
        let (stream, peer) = self.listener.accept()?;
        if self.intercepts {
            let names = self.intercepted(&stream, peer);
            return Ok(StreamEndpoint { stream, names: TcpNames::Intercepted(Box::new(names)) });
        }
        let local = (!self.address.ip().is_unspecified()).then_some(self.address);
        Ok(StreamEndpoint { stream, names: TcpNames::new(peer, local) })
    }

    /// Whether clients are asked from now on where they had wanted to go.
    ///
    /// # Errors
    ///
    /// The system's, if it does not let the socket have what is for others (TPROXY): it is as good for what was redirected.
    pub fn set_intercepts(&mut self, intercepts: bool) -> io::Result<()> {
        if !std::mem::replace(&mut self.intercepts, intercepts) && intercepts {
            make_transparent(&self.listener, self.address.is_ipv6())?;
        }
        Ok(())
    }

    fn intercepted(&self, stream: &TcpStream, peer: SocketAddr) -> Intercepted {
        let own = stream.local_addr().ok();
        let original = own.and_then(|own| original_destination(SockRef::from(stream), own));
        Intercepted::new(peer, self.address, own, original)
    }

    pub(super) fn source(&mut self) -> &mut mio::net::TcpListener {
        &mut self.listener
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl fmt::Display for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fd={})", OriginalForm(self.address), self.listener.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::Endpoint;
    use std::net::TcpListener as StdListener;

    fn connected(socket: socket2::Socket, peer: SocketAddr) -> TcpEndpoint {
        socket.connect(&peer.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpEndpoint::new(TcpStream::from_std(socket.into()), TcpNames::new(peer, None))
    }

    #[test]
    fn a_connection_with_itself_is_told_from_others() {
        let socket = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let own = socket();
        own.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = own.local_addr().unwrap().as_socket().unwrap();
        assert!(connected(own, address).is_its_own_peer());
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        assert!(!connected(socket(), listener.local_addr().unwrap()).is_its_own_peer());
    }
}
