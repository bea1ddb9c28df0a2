//! Clients that are told which remote they got: the server says at which of its ports it has been reached.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::cases::Stay;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::{Role, WELCOME, closed, connect, must_wait, poll_once};

/// A client that waits for its answer.
pub struct Asking {
    stream: TcpStream,
    has_asked: bool,
    answer: [u8; 3],
    length: usize,
    /// When the connect began.
    pub begun: Moment,
}

impl Asking {
    /// Starts to connect to `target` from `source`.
    pub fn begin(target: SocketAddr, source: Ipv4Addr) -> io::Result<Self> {
        let begun = Moment::now();
        let stream = connect(target, source)?;
        Ok(Self { stream, has_asked: false, answer: [0; 3], length: 0, begun })
    }

    /// Joins `poll`, so that events call for [`Self::advance`].
    pub fn register(&mut self, poll: &Poll, token: Token) -> io::Result<()> {
        poll.registry().register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Does what can be done without waiting. Returns the remote's port once the whole answer is there.
    pub fn advance(&mut self) -> io::Result<Option<u16>> {
        if !self.has_asked {
            match self.stream.write(&[Role::Which.byte()]) {
                Ok(_) => self.has_asked = true,
                Err(error) if must_wait(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        while self.length < self.answer.len() {
            match self.stream.read(&mut self.answer[self.length..]) {
                Ok(0) => return Err(closed()),
                Ok(read) => self.length += read,
                Err(error) if must_wait(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        match self.answer {
            [WELCOME, high, low] => Ok(Some(u16::from_be_bytes([high, low]))),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the server's answer came changed")),
        }
    }

    /// Whether a client that has its answer still has its session; nothing more comes on it.
    pub fn is_open(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Err(error) if must_wait(&error))
    }
}

/// How many clients connect at a time.
const AT_ONCE: usize = 64;

/// How long it may take until any of them is answered.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks once from each of `sources`, and returns the ports in their order. Sessions that are held end when all have been
/// answered.
pub fn ask_all(target: SocketAddr, sources: &[Ipv4Addr], stay: Stay) -> Result<Vec<u16>, Failure> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_ONCE);
    let mut clients: Vec<Option<Asking>> = Vec::with_capacity(sources.len());
    let mut ports: Vec<Option<u16>> = vec![None; sources.len()];
    let mut answered = 0;
    let broken = |error: io::Error, answered| Failure::of(format_args!("the client after {answered} others"), error);
    while answered < sources.len() {
        while clients.len() < sources.len() && clients.len() - answered < AT_ONCE {
            let index = clients.len();
            let mut client = Asking::begin(target, sources[index]).map_err(|error| broken(error, index))?;
            client.register(&poll, Token(index))?;
            clients.push(Some(client));
        }
        poll_once(&mut poll, &mut events, PATIENCE)?;
        interrupt::check()?;
        if events.is_empty() {
            return Err(Failure::Broken(format!("no client was answered after the first {answered}")));
        }
        for Token(index) in events.iter().map(|event| event.token()) {
            let Some(client) = &mut clients[index] else { continue };
            if ports[index].is_some() {
                continue;
            }
            if let Some(port) = client.advance().map_err(|error| broken(error, answered))? {
                ports[index] = Some(port);
                answered += 1;
                if stay == Stay::Short {
                    clients[index] = None;
                }
            }
        }
    }
    Ok(ports.into_iter().flatten().collect())
}
