//! Sessions as both ends of the load generator see them: the greeting, and how the client opens many.
//!
//! A client's first byte says what the session is for, and the server answers it with one byte. That answer is the
//! proof that the session is open from end to end: a proxy accepts a client before it has reached the server.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::clock::Moment;

/// What a session is for, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server sends back all it gets.
    Echo,
    /// Bytes flow from client to server.
    Upload,
    /// Bytes flow from server to client.
    Download,
    /// Bytes flow both ways at once.
    Exchange,
    /// Nothing follows the greeting but the client's close.
    Visit,
    /// The server adds to its answer at which of its ports it has been reached, in two bytes; otherwise a visit.
    Which,
}

impl Role {
    /// All of them.
    const ALL: [Self; 6] = [Self::Echo, Self::Upload, Self::Download, Self::Exchange, Self::Visit, Self::Which];

    /// The byte that stands for this role.
    pub fn byte(self) -> u8 {
        match self {
            Self::Echo => b'e',
            Self::Upload => b'u',
            Self::Download => b'd',
            Self::Exchange => b'x',
            Self::Visit => b'v',
            Self::Which => b'w',
        }
    }

    /// The role that `byte` stands for.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.byte() == byte)
    }
}

/// The server's answer to a greeting.
pub const WELCOME: u8 = b'!';

/// How many loopback addresses the client connects from, 127.0.0.1 and up.
///
/// Clients close first, as real ones do, so it is their address and port that stay taken (TIME_WAIT). One address has
/// some 28,000 ports; this many have enough for hours of the `connect` load.
const SOURCES: usize = 250;

/// A session whose greeting is under way.
pub struct Opening {
    stream: TcpStream,
    role: Role,
    stage: Stage,
    /// When the connect began.
    pub begun: Moment,
}

enum Stage {
    Connecting,
    Greeted,
}

/// How far an [`Opening`] has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It needs another event.
    Pending,
    /// The server has answered.
    Open,
}

impl Opening {
    /// Starts to connect to `target` as the `index`th client; the index chooses the source address.
    pub fn begin(target: SocketAddr, index: usize, role: Role) -> io::Result<Self> {
        let begun = Moment::now();
        let stream = connect(target, source(index))?;
        Ok(Self { stream, role, stage: Stage::Connecting, begun })
    }

    /// Joins `poll`, so that events call for [`Self::advance`].
    pub fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        poll.registry().register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Makes the close that follows a reset.
    pub fn reset_at_close(&self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Does what can be done without waiting.
    pub fn advance(&mut self) -> io::Result<Progress> {
        if let Stage::Connecting = self.stage {
            match self.stream.write(&[self.role.byte()]) {
                Ok(_) => self.stage = Stage::Greeted,
                Err(error) if must_wait(&error) => return Ok(Progress::Pending),
                Err(error) => return Err(error),
            }
        }
        let mut answer = [0];
        match self.stream.read(&mut answer) {
            Ok(1) if answer[0] == WELCOME => Ok(Progress::Open),
            Ok(0) => Err(closed()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the server's answer came changed")),
            Err(error) if must_wait(&error) => Ok(Progress::Pending),
            Err(error) => Err(error),
        }
    }
}

/// The loopback address that the `index`th client connects from.
pub fn source(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, (1 + index % SOURCES) as u8)
}

/// Starts to connect to `target`: from `source`, if that can reach it.
pub fn connect(target: SocketAddr, source: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if target.ip().is_loopback() && target.is_ipv4() {
        bind_source(&socket, source)?;
    }
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether an operation should be tried again after the next event. A socket that is still connecting says
/// `NotConnected` on some systems where others say `WouldBlock`.
pub fn must_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

/// The error for a session that ended while the load still needed it.
pub fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a session was closed from the other side")
}

/// Sets the source address and leaves the port to `connect`, which knows the destination and so can reuse ports.
fn bind_source(socket: &Socket, address: Ipv4Addr) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open, and the option's value is the c_int that its length says.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        );
    }
    socket.bind(&SocketAddr::new(IpAddr::V4(address), 0).into())
}

/// How many sessions are opened at a time.
const OPENING_AT_ONCE: usize = 64;

/// How long opening may go without a single session becoming open.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens one session for each of `roles`, in their order.
pub fn open(target: SocketAddr, roles: &[Role]) -> io::Result<Vec<TcpStream>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(OPENING_AT_ONCE);
    let mut openings: Vec<Option<Opening>> = Vec::with_capacity(roles.len());
    let mut streams: Vec<Option<TcpStream>> = roles.iter().map(|_| None).collect();
    let mut open = 0;
    while open < roles.len() {
        while openings.len() < roles.len() && openings.len() - open < OPENING_AT_ONCE {
            let index = openings.len();
            let mut opening = Opening::begin(target, index, roles[index])?;
            opening.register(&poll, Token(index))?;
            openings.push(Some(opening));
        }
        poll_once(&mut poll, &mut events, PATIENCE)?;
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no session opened after the first {open}")));
        }
        for Token(index) in events.iter().map(|event| event.token()) {
            let Some(mut opening) = openings[index].take() else { continue };
            match opening.advance()? {
                Progress::Pending => openings[index] = Some(opening),
                Progress::Open => {
                    poll.registry().deregister(&mut opening.stream)?;
                    streams[index] = Some(opening.stream);
                    open += 1;
                }
            }
        }
    }
    Ok(streams.into_iter().flatten().collect())
}

/// Polls, and takes an interrupting signal for "no events".
pub fn poll_once(poll: &mut Poll, events: &mut Events, timeout: Duration) -> io::Result<()> {
    match poll.poll(events, Some(timeout)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_byte_of_its_own() {
        for role in Role::ALL {
            assert_eq!(Role::from_byte(role.byte()), Some(role));
        }
        assert_eq!(Role::from_byte(WELCOME), None);
    }
}
