//! One check under way: a connection to one address, and what is said over it. No call waits.

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use socket2::{Protocol, SockAddr, SockRef, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::plan::Plan;
use crate::base::error::error_text;
use crate::endpoint::local::{Bound, connect_in_turn, non_blocking};
use crate::endpoint::{Readiness, tcp};
use crate::proxy_header::{Addresses, ProxyHeader, Transport, Version};
use crate::service::RemoteAddress;
use crate::service::local::{LocalAddress, Port, PortsOf};

/// The most of an answer that is looked at, in bytes.
const MOST_ANSWER: usize = 64 << 10;

/// What is read at once, in bytes.
const READ: usize = 4 << 10;

/// How many datagrams are looked at in one run, so that a remote that never stops talking does not hold the others up.
const MOST_ANSWERS: usize = 16;

/// An address that is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    address: SockAddr,
    kind: Kind,
}

/// How it is connected to, and what can be said to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    /// A TCP address of a stripe: what is said there is no text of the user's.
    Lane,
    Unix,
    UnixPacket,
    Udp,
    UnixDatagram,
}

impl Target {
    /// The addresses of a remote, each with whether datagrams are framed there; `None`: it always works.
    pub fn all(addresses: &[RemoteAddress]) -> Option<Vec<(Target, bool)>> {
        let mut targets = Vec::new();
        for address in addresses {
            Target::add(address, false, &mut targets)?;
        }
        Some(targets)
    }

    fn add(address: &RemoteAddress, framed: bool, targets: &mut Vec<(Target, bool)>) -> Option<()> {
        let inet = |address: &SocketAddr, kind| Target { address: (*address).into(), kind };
        let target = match address {
            RemoteAddress::Tcp(address) => inet(address, Kind::Tcp),
            RemoteAddress::Udp(address) => inet(address, Kind::Udp),
            RemoteAddress::Unix(unix) => Target { address: unix.socket.clone(), kind: Kind::Unix },
            RemoteAddress::UnixPacket(unix) => Target { address: unix.socket.clone(), kind: Kind::UnixPacket },
            RemoteAddress::UnixDatagram(unix) => Target { address: unix.socket.clone(), kind: Kind::UnixDatagram },
            RemoteAddress::Framed(stream) => return Target::add(stream, true, targets),
            RemoteAddress::Stripe(stripe) => {
                targets.extend(stripe.all().map(|address| (inet(&address, Kind::Lane), framed)));
                return Some(());
            }
            RemoteAddress::Echo | RemoteAddress::Original | RemoteAddress::Device(..) => return None,
        };
        targets.push((target, framed));
        Some(())
    }

    fn is_tcp(&self) -> bool {
        matches!(self.kind, Kind::Tcp | Kind::Lane)
    }

    /// What its connections have a port of, where they come from the addresses of sessions.
    fn ports_of(&self) -> Option<PortsOf> {
        match self.kind {
            Kind::Tcp => Some(PortsOf::Tcp),
            Kind::Udp => Some(PortsOf::Udp),
            Kind::Lane | Kind::Unix | Kind::UnixPacket | Kind::UnixDatagram => None,
        }
    }

    /// A socket that is being connected, after it was bound, and how far it is.
    fn connect(&self, plan: &Plan, bind: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<(Socket, Stage)> {
        let (socket_type, protocol) = match self.kind {
            Kind::Tcp | Kind::Lane => (Type::STREAM, Some(Protocol::TCP)),
            Kind::Unix => (Type::STREAM, None),
            Kind::UnixPacket => (Type::SEQPACKET, None),
            Kind::Udp | Kind::UnixDatagram => (Type::DGRAM, None),
        };
        let socket = non_blocking(self.address.domain(), socket_type, protocol)?;
        if self.is_tcp() && !(self.talks() && plan.talks()) {
            // Closing sends a reset then: no port stays taken.
            socket.set_linger(Some(Duration::ZERO))?;
            acknowledge_later(&socket);
        }
        // Without a name it could not be answered; an empty one has Linux choose (unix(7), "Autobind feature").
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.kind == Kind::UnixDatagram && plan.talks() {
            socket.bind(&SockAddr::unix("")?)?;
        }
        bind(&socket)?;
        match socket.connect(&self.address) {
            Ok(()) => Ok((socket, Stage::Sending(0))),
            Err(error) if self.is_tcp() && error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Ok((socket, Stage::Connecting))
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an answer can be waited for here: where it cannot, being connected is all.
    fn talks(&self) -> bool {
        self.kind != Kind::Lane
    }
}

/// How far a check is.
#[derive(Debug)]
enum Stage {
    Connecting,
    /// So many bytes have been sent.
    Sending(usize),
    /// This has come; of datagrams, the last.
    Answering(Vec<u8>),
}

/// What an attempt came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It goes on.
    Waits,
    /// The remote works.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// The remote's queue is full: it is worth another try soon.
    Busy,
    /// This machine lacks something, so that it says nothing of the remote.
    Unknown(String),
}

/// A check under way.
#[derive(Debug)]
pub struct Probe {
    /// Any descriptor will do for its registration with a poll, so the type is not what it says.
    io: UnixStream,
    kind: Kind,
    /// The system may have picked its peer's port for it.
    may_be_its_own_peer: bool,
    framed: bool,
    plan: Arc<Plan>,
    /// What is said, where that begins with a PROXY header.
    introduced: Option<Vec<u8>>,
    stage: Stage,
    ready: Readiness,
    /// A port of ours that it has, which is given back at its end.
    _port: Option<Port>,
}

impl Probe {
    /// Starts connecting. `None`: what is returned beside it is all that comes of it.
    pub fn start(
        (target, framed): &(Target, bool),
        plan: &Arc<Plan>,
        now: u64,
        registry: &Registry,
        token: Token,
    ) -> (Option<Probe>, Attempt) {
        match Probe::connect(target, *framed, plan, now) {
            Ok(probe) if probe.is_over() => (None, Attempt::Passed),
            Ok(mut probe) => match registry.register(&mut probe.io, token, Interest::READABLE | Interest::WRITABLE) {
                Ok(()) => (Some(probe), Attempt::Waits),
                Err(error) => (None, Attempt::Unknown(error_text(&error))),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (None, Attempt::Busy),
            Err(error) => (None, failed(&error)),
        }
    }

    fn connect(target: &Target, framed: bool, plan: &Arc<Plan>, now: u64) -> io::Result<Probe> {
        let from = match (target.ports_of(), target.address.as_socket(), &plan.local) {
            (Some(of), Some(peer), LocalAddress::Ours(ours)) => Some((of, peer, ours)),
            _ => None,
        };
        let ((socket, stage), port) = match from {
            Some((of, peer, ours)) => connect_in_turn(ours, of, peer, now, |bound| {
                target.connect(plan, |socket| bound.map_or(Ok(()), |bound: Bound| bound.bind(socket, of, peer)))
            })?,
            None => (target.connect(plan, |_| Ok(()))?, None),
        };
        let io = UnixStream::from_std(OwnedFd::from(socket).into());
        let may_be_picked = |address: SocketAddr| port.is_some() || tcp::may_be_picked(address.port());
        let may_be_its_own_peer = target.is_tcp() && target.address.as_socket().is_some_and(may_be_picked);
        let mut probe = Probe {
            io,
            kind: target.kind,
            may_be_its_own_peer,
            framed,
            plan: plan.clone(),
            introduced: None,
            stage,
            ready: Readiness::default(),
            _port: port,
        };
        if matches!(probe.stage, Stage::Sending(_)) {
            probe.introduce()?;
        }
        Ok(probe)
    }

    /// Has a PROXY header go before what is said, if the remote gets one and anything is said.
    fn introduce(&mut self) -> io::Result<()> {
        let Some(version) = self.plan.header.filter(|_| !self.is_over()) else { return Ok(()) };
        let header = match version {
            // Servers may refuse the UNKNOWN of version 1, so the specification has a check name its own connection.
            Version::V1 if self.kind == Kind::Tcp => {
                let socket = SockRef::from(&self.io);
                let (own, peer) = (socket.local_addr()?.as_socket(), socket.peer_addr()?.as_socket());
                let both = own.zip(peer).map(|(own, peer)| Addresses::between(own, peer, Transport::Stream));
                both.map_or_else(ProxyHeader::local, ProxyHeader::new)
            }
            _ => ProxyHeader::local(),
        };
        let mut text = Vec::new();
        header.write(version, &mut text);
        text.extend_from_slice(self.plan.text(self.framed));
        self.introduced = Some(text);
        Ok(())
    }

    /// Whether being connected is all, and it is.
    fn is_over(&self) -> bool {
        // A UDP socket is connected to anything: only what is sent can be refused.
        let says_something = self.plan.talks() || self.kind == Kind::Udp;
        matches!(self.stage, Stage::Sending(_)) && (self.kind == Kind::Lane || !says_something)
    }

    /// Notes what an event said.
    pub fn note(&mut self, event: Readiness) {
        self.ready.add(event);
    }

    /// Goes on as far as it can.
    pub fn run(&mut self) -> Attempt {
        loop {
            match self.step() {
                Ok(Some(Attempt::Waits)) | Err(Stop::Blocked) => return Attempt::Waits,
                Ok(Some(attempt)) => return attempt,
                Ok(None) => {}
                Err(Stop::Error(error)) => return failed(&error),
            }
        }
    }

    fn step(&mut self) -> Result<Option<Attempt>, Stop> {
        let is_stream = self.is_stream();
        match &mut self.stage {
            Stage::Connecting if !self.ready.writable && !self.ready.error => Ok(Some(Attempt::Waits)),
            Stage::Connecting => {
                // A failed attempt is writable too, but never without an error or a hang-up.
                if self.ready.error || self.ready.read_closed {
                    if let Some(error) = self.io.take_error()? {
                        return Err(Stop::Error(error));
                    }
                }
                if self.may_be_its_own_peer && tcp::is_its_own_peer(&self.io) {
                    return Ok(Some(Attempt::Failed(
                        "nobody is there: the system connected the check to itself".into(),
                    )));
                }
                self.stage = Stage::Sending(0);
                self.introduce()?;
                Ok(self.is_over().then_some(Attempt::Passed))
            }
            Stage::Sending(sent) => {
                let text = self.introduced.as_deref().unwrap_or(self.plan.text(self.framed));
                if *sent < text.len() || self.kind == Kind::Udp {
                    *sent += self.io.try_io(|| send(&self.io, &text[*sent..]))?;
                    if is_stream && *sent < text.len() {
                        return Ok(None);
                    }
                }
                let waits = !self.plan.expect.is_empty() || self.kind == Kind::Udp;
                self.stage = Stage::Answering(Vec::new());
                Ok((!waits).then_some(Attempt::Passed))
            }
            Stage::Answering(_) => self.read(),
        }
    }

    fn read(&mut self) -> Result<Option<Attempt>, Stop> {
        let (is_stream, kind) = (self.is_stream(), self.kind);
        let Stage::Answering(answer) = &mut self.stage else { return Ok(None) };
        for number in 0.. {
            let before = answer.len();
            let count = self.io.try_io(|| receive(&self.io, answer, if is_stream { READ } else { MOST_ANSWER }))?;
            // Nothing is what a connection ends with; of datagrams it may be one.
            if count == 0 && !matches!(kind, Kind::Udp | Kind::UnixDatagram) {
                return Ok(Some(Attempt::Failed("the connection ended without the expected answer".into())));
            }
            // Of a stream, what is expected may have begun in what came before.
            let from = if is_stream { before.saturating_sub(self.plan.expect.len()) } else { before };
            if contains(&answer[from..], &self.plan.expect) {
                return Ok(Some(Attempt::Passed));
            }
            if !is_stream {
                answer.drain(..before);
            }
            if is_stream && answer.len() >= MOST_ANSWER || number == MOST_ANSWERS && !is_stream {
                return Ok(Some(Attempt::Failed("a long answer without what is expected".into())));
            }
        }
        Ok(None)
    }

    /// What it comes to that there was no time for more.
    pub fn time_is_over(&self) -> Attempt {
        let after = Duration::from_millis(self.plan.timeout);
        match &self.stage {
            Stage::Connecting => Attempt::Failed(format!("no connection within {after:?}")),
            Stage::Answering(_) if self.plan.expect.is_empty() => Attempt::Passed,
            Stage::Answering(answer) if !answer.is_empty() => {
                Attempt::Failed(format!("not the expected answer within {after:?}"))
            }
            Stage::Sending(_) | Stage::Answering(_) => Attempt::Failed(format!("no answer within {after:?}")),
        }
    }

    fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Tcp | Kind::Lane | Kind::Unix)
    }
}

/// Why a step did not come further.
enum Stop {
    Blocked,
    Error(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::WouldBlock => Stop::Blocked,
            _ => Stop::Error(error),
        }
    }
}

/// What an error says of the remote.
fn failed(error: &io::Error) -> Attempt {
    let lacking = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL, libc::EADDRINUSE];
    match error.raw_os_error() {
        Some(number) if lacking.contains(&number) => Attempt::Unknown(error_text(error)),
        _ => Attempt::Failed(error_text(error)),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn send(io: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(io).send(bytes)
}

/// Reads at most so many bytes to the end of what came before.
fn receive(io: &UnixStream, answer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    answer.reserve(most);
    let room: &mut [MaybeUninit<u8>] = &mut answer.spare_capacity_mut()[..most];
    let count = SockRef::from(io).recv(room)?;
    // SAFETY: the call has written so many bytes at the beginning of the vector's spare room.
    unsafe { answer.set_len(answer.len() + count) };
    Ok(count)
}

/// Has the last packet of the handshake wait, so that the reset which ends the check comes in its place: the remote's program
/// is not even told of the connection, and logs no error.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_later(socket: &Socket) {
    // Without, it only costs more.
    let _ = socket.set_tcp_quickack(false);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_later(_socket: &Socket) {}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::Domain;

    #[test]
    fn a_connection_with_itself_is_told_from_others() {
        let own = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        own.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = own.local_addr().unwrap();
        own.connect(&address).unwrap();
        assert!(tcp::is_its_own_peer(&UnixStream::from_std(OwnedFd::from(own).into())));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(!tcp::is_its_own_peer(&UnixStream::from_std(OwnedFd::from(other).into())));
    }
}
