//! The server process: accepts, reads what each session is for, and plays that part.
//!
//! One thread accepts, greets and moves bulk bytes; one does nothing but echo, so that a ping never waits in the server
//! behind bulk; and one answers the controller. Datagrams have threads of their own (see [`crate::datagram_server`]).

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::clock::Moment;
use crate::datagram;
use crate::datagram_server;
use crate::flow::{Flow, Traffic};
use crate::introduction::Introduction;
use crate::session::{Role, WELCOME, poll_once};
use crate::sink::{Counts, Watcher};
use crate::transport::Places;
use crate::wire::{self, FromServer, Received};

/// How many events one poll takes.
const EVENTS: usize = 1024;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a poll sleeps when nothing happens; nothing depends on it.
const NAP: Duration = Duration::from_secs(60);
/// The token of the waker, which is no session's.
const DOOR: Token = Token(usize::MAX);
/// The least token that is a listener's, and no session's.
const FIRST_LISTENER: usize = usize::MAX / 2;

/// What the server does with those who come over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It plays the part that they ask for.
    Plain,
    /// The same, and each must be introduced first by a header of the PROXY protocol.
    Introduced,
    /// It resets them.
    Refusing,
}

impl Manner {
    const ALL: [Self; 3] = [Self::Plain, Self::Introduced, Self::Refusing];

    /// How the process is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Introduced => "introduced",
            Self::Refusing => "refusing",
        }
    }
}

/// Serves until standard input ends. The arguments, as far as there are any, are the number of TCP ports to listen at, and
/// the [`Manner`].
pub fn main(arguments: &[String]) -> ExitCode {
    let ports = arguments.first().and_then(|number| number.parse().ok()).unwrap_or(1);
    let manner = arguments.get(1).and_then(|word| Manner::ALL.into_iter().find(|manner| manner.word() == word));
    match serve(ports, manner.unwrap_or(Manner::Plain)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(ports: usize, manner: Manner) -> io::Result<()> {
    let listeners: Vec<TcpListener> = (0..ports.max(1)).map(|_| listen()).collect::<io::Result<_>>()?;
    let tcp = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
    let datagrams = datagram::socket()?;
    let framed = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let places = Places { tcp: tcp[0], udp: datagrams.local_addr()?, framed: framed.local_addr()? };
    let counts = Arc::new(Counts::default());
    let watcher = Arc::new(Watcher::new()?);
    let echo_poll = Poll::new()?;
    let (hand_over, handed_over) = channel();
    let echoes = EchoDoor { hand_over, waker: Waker::new(echo_poll.registry(), DOOR)? };
    spawn("echo", move || echo(echo_poll, &handed_over))?;
    if manner == Manner::Refusing {
        for listener in listeners {
            spawn("refusing", move || refuse(&listener.into()))?;
        }
    } else {
        let mut reception = Reception::new(listeners, manner, echoes, Arc::clone(&counts))?;
        spawn("reception", move || reception.run())?;
    }
    let (datagram_counts, datagram_watcher) = (Arc::clone(&counts), Arc::clone(&watcher));
    spawn("datagrams", move || datagram_server::datagrams(&datagrams, &datagram_counts, &datagram_watcher))?;
    let framed_counts = Arc::clone(&counts);
    spawn("framed", move || datagram_server::framed(&framed, &framed_counts, &watcher))?;
    answer_controller(places, tcp, &counts)
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Starts a thread whose failure ends the process, so that the controller learns of it.
fn spawn(name: &'static str, run: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = run() {
            eprintln!("server: {name}: {error}");
            std::process::exit(1);
        }
    })?;
    Ok(())
}

/// Says where the server listens, then answers every line with what has been received so far.
fn answer_controller(places: Places, tcp: Vec<SocketAddr>, counts: &Counts) -> io::Result<()> {
    let mut out = io::stdout();
    wire::send(&mut out, &FromServer::Listening(places, tcp))?;
    for line in io::stdin().lock().lines() {
        line?;
        let answer = Received {
            bytes: counts.bytes.load(Ordering::Relaxed),
            datagrams: counts.datagrams.load(Ordering::Relaxed),
            missing: counts.missing.load(Ordering::Relaxed),
            at: Moment::now(),
        };
        wire::send(&mut out, &FromServer::Received(answer))?;
    }
    Ok(())
}

/// Resets whoever comes: the least that a refusal can cost.
fn refuse(listener: &std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(false)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The way to the echo thread.
struct EchoDoor {
    hand_over: Sender<TcpStream>,
    waker: Waker,
}

impl EchoDoor {
    fn send(&self, stream: TcpStream) -> io::Result<()> {
        self.hand_over.send(stream).map_err(io::Error::other)?;
        self.waker.wake()
    }
}

/// The thread that accepts, greets and moves bulk bytes.
struct Reception {
    listeners: Vec<TcpListener>,
    manner: Manner,
    poll: Poll,
    guests: Slab<Guest>,
    /// The guests that can move bytes without waiting for an event, each once.
    busy: Vec<usize>,
    echoes: EchoDoor,
    counts: Arc<Counts>,
}

/// A session the reception looks after.
struct Guest {
    stream: TcpStream,
    part: Part,
}

/// What a guest does.
enum Part {
    /// It has not yet been introduced.
    Unknown(Introduction),
    /// It has not yet said what it is for.
    New,
    /// It moves bytes.
    Bulk(Flow),
    /// It has been answered, and will close.
    Leaving,
}

impl Reception {
    fn new(mut listeners: Vec<TcpListener>, manner: Manner, echoes: EchoDoor, counts: Arc<Counts>) -> io::Result<Self> {
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(FIRST_LISTENER + index), Interest::READABLE)?;
        }
        Ok(Self { listeners, manner, poll, guests: Slab::new(), busy: Vec::new(), echoes, counts })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let timeout = if self.busy.is_empty() { NAP } else { Duration::ZERO };
            poll_once(&mut self.poll, &mut events, timeout)?;
            for event in &events {
                match event.token() {
                    Token(token) if token >= FIRST_LISTENER => self.accept(token - FIRST_LISTENER)?,
                    Token(index) => self.attend(index, event)?,
                }
            }
            self.move_bytes();
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            match self.listeners[listener].accept() {
                Ok((mut stream, _)) => {
                    let entry = self.guests.vacant_entry();
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                    let part = match self.manner {
                        Manner::Introduced => Part::Unknown(Introduction::default()),
                        Manner::Plain | Manner::Refusing => Part::New,
                    };
                    entry.insert(Guest { stream, part });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn attend(&mut self, index: usize, event: &Event) -> io::Result<()> {
        // An event may be left of a guest that went in this same turn.
        let Some(guest) = self.guests.get_mut(index) else { return Ok(()) };
        match &mut guest.part {
            Part::Unknown(introduction) => {
                match introduction.receive(&mut guest.stream) {
                    Ok(false) => return Ok(()),
                    Ok(true) => guest.part = Part::New,
                    Err(error) => {
                        eprintln!("server: a client is not introduced: {error}");
                        self.guests.remove(index);
                        return Ok(());
                    }
                }
                self.greet(index)
            }
            Part::New => self.greet(index),
            Part::Leaving => {
                if has_closed(&mut guest.stream) {
                    self.guests.remove(index);
                }
                Ok(())
            }
            Part::Bulk(flow) => {
                let was_ready = flow.is_ready();
                flow.note(event);
                if !was_ready && flow.is_ready() {
                    self.busy.push(index);
                }
                Ok(())
            }
        }
    }

    /// Reads what a guest is for and answers it. A guest that closes or breaks first is simply gone.
    fn greet(&mut self, index: usize) -> io::Result<()> {
        let guest = &mut self.guests[index];
        let mut byte = [0];
        let role = match guest.stream.read(&mut byte) {
            Ok(1) => Role::from_byte(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            _ => None,
        };
        let welcomed = role.filter(|&role| welcome(&mut guest.stream, role).is_ok());
        match welcomed {
            None => drop(self.guests.remove(index)),
            Some(Role::Visit | Role::Which) => guest.part = Part::Leaving,
            Some(Role::Upload) => self.start_bulk(index, Traffic::In),
            Some(Role::Download) => self.start_bulk(index, Traffic::Out),
            Some(Role::Exchange) => self.start_bulk(index, Traffic::Both),
            Some(Role::Echo) => {
                let mut guest = self.guests.remove(index);
                self.poll.registry().deregister(&mut guest.stream)?;
                self.echoes.send(guest.stream)?;
            }
        }
        Ok(())
    }

    fn start_bulk(&mut self, index: usize, traffic: Traffic) {
        self.guests[index].part = Part::Bulk(Flow::new(traffic));
        self.busy.push(index);
    }

    /// Gives every busy guest one turn.
    fn move_bytes(&mut self) {
        let guests = &mut self.guests;
        let counts = &self.counts;
        self.busy.retain(|&index| {
            let Some(Guest { stream, part: Part::Bulk(flow) }) = guests.get_mut(index) else { return false };
            match flow.turn(stream) {
                Ok(bytes) => {
                    counts.add_bytes(bytes);
                    flow.is_ready()
                }
                Err(_) => {
                    guests.remove(index);
                    false
                }
            }
        });
    }
}

/// Answers a greeting.
fn welcome(stream: &mut TcpStream, role: Role) -> io::Result<()> {
    if role != Role::Which {
        return stream.write_all(&[WELCOME]);
    }
    let [high, low] = stream.local_addr()?.port().to_be_bytes();
    stream.write_all(&[WELCOME, high, low])
}

/// Whether the other end of a session that needs nothing more has closed it, or broken it.
fn has_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// A session that gets back all it sends.
struct Echo {
    stream: TcpStream,
    /// What has been read and not yet been written; empty nearly always.
    owed: Vec<u8>,
}

/// The thread that echoes.
fn echo(mut poll: Poll, arrivals: &Receiver<TcpStream>) -> io::Result<()> {
    let mut events = Events::with_capacity(EVENTS);
    let mut echoes: Slab<Echo> = Slab::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        poll_once(&mut poll, &mut events, NAP)?;
        for event in &events {
            let index = event.token().0;
            if event.token() == DOOR || !echoes.contains(index) {
                continue;
            }
            if echoes[index].turn(&mut buffer).is_err() {
                echoes.remove(index);
            }
        }
        for mut stream in arrivals.try_iter() {
            stream.set_nodelay(true)?;
            let entry = echoes.vacant_entry();
            poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE | Interest::WRITABLE)?;
            entry.insert(Echo { stream, owed: Vec::new() });
        }
    }
}

impl Echo {
    /// Reads and writes back until one of the two would block. The end of the session is an error.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            if !self.pay()? {
                return Ok(());
            }
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let written = written(self.stream.write(&buffer[..read]))?;
            self.owed.extend_from_slice(&buffer[written..read]);
            if read < buffer.len() && self.owed.is_empty() {
                // A short read emptied the socket; what comes next brings an event of its own. (An end of stream that
                // came with the last bytes stays unnoticed. No load ends its echo sessions before it ends the server.)
                return Ok(());
            }
        }
    }

    /// Writes what is owed; says whether nothing is left.
    fn pay(&mut self) -> io::Result<bool> {
        if !self.owed.is_empty() {
            let written = written(self.stream.write(&self.owed))?;
            self.owed.drain(..written);
        }
        Ok(self.owed.is_empty())
    }
}

/// The number of bytes written, which is none if the write would block.
fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
