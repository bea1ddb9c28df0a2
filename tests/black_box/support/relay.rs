//! A relay between two proxies, whose connections freeze, break and are counted as a test wants it.

use socket2::{SockAddr, Socket};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Address, Stream, until};

/// Bytes that a connection holds in each direction, at most.
const PIECE: usize = 64 << 10;

/// How long a command may take to be heeded, in milliseconds.
const PAUSE: i32 = 5;

/// What becomes of a new connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum New {
    /// It is passed on.
    #[default]
    Passed,
    /// It is accepted and nothing more, until new ones are passed on again.
    Held,
    /// It is reset.
    Refused,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    held: Vec<u8>,
    ended: bool,
    finished: bool,
    count: u64,
    record: Vec<u8>,
}

#[derive(Debug)]
struct Ends {
    client: Socket,
    server: Socket,
}

#[derive(Debug, Default)]
struct Link {
    /// None: it is over.
    ends: Option<Ends>,
    frozen: bool,
    ways: [Way; 2],
}

#[derive(Debug, Default)]
struct State {
    links: Vec<Link>,
    new: New,
    held: Vec<Socket>,
    records: bool,
    over: bool,
}

/// Passes each connection on to a target, by a thread of its own. Connections are numbered in the order in which they came.
#[derive(Debug)]
pub struct Relay {
    pub address: Address,
    state: Arc<Mutex<State>>,
}

impl Relay {
    pub fn to(target: &Address) -> Relay {
        let address = Address::parse("127.0.0.1:0");
        let listener = address.socket().expect("a socket");
        listener.bind(&address.socket_address()).expect("a free port");
        listener.listen(4096).expect("a bound socket");
        listener.set_nonblocking(true).expect("a socket");
        let address = address.bound(&listener);
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, target) = (state.clone(), target.socket_address());
        thread::spawn(move || {
            while !lock(&shared).over {
                wait(&listener, &lock(&shared).wanted());
                lock(&shared).go_on(&listener, &target);
            }
        });
        Relay { address, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Keeps what the clients of connections say from now on, for [`Relay::recorded`].
    pub fn record(&self) {
        self.lock().records = true;
    }

    /// What the client of a connection has said.
    pub fn recorded(&self, number: usize) -> Vec<u8> {
        self.lock().links[number].ways[0].record.clone()
    }

    /// How many connections there have been.
    pub fn count(&self) -> usize {
        self.lock().links.len()
    }

    /// The numbers of those that are open.
    pub fn open(&self) -> Vec<usize> {
        let open = |(number, link): (usize, &Link)| link.ends.is_some().then_some(number);
        self.lock().links.iter().enumerate().filter_map(open).collect()
    }

    /// Waits until so many are open, and says which these are.
    pub fn wait_for(&self, count: usize) -> Vec<usize> {
        until("open connections", || Some(self.open()).filter(|open| open.len() == count))
    }

    /// Bytes that a connection has carried from its client and to it.
    pub fn carried(&self, number: usize) -> (u64, u64) {
        let ways = &self.lock().links[number].ways;
        (ways[0].count, ways[1].count)
    }

    /// Bytes that all connections have carried.
    pub fn carried_by_all(&self) -> u64 {
        self.lock().links.iter().flat_map(|link| &link.ways).map(|way| way.count).sum()
    }

    /// Neither reads nor writes it from now on.
    pub fn freeze(&self, number: usize) {
        self.lock().links[number].frozen = true;
    }

    pub fn thaw(&self, number: usize) {
        self.lock().links[number].frozen = false;
    }

    /// Has both ends see a reset.
    pub fn reset(&self, number: usize) {
        self.lock().links[number].reset();
    }

    pub fn reset_all(&self) {
        self.lock().links.iter_mut().for_each(Link::reset);
    }

    /// Has both ends see an end.
    pub fn close(&self, number: usize) {
        self.lock().links[number].ends = None;
    }

    /// What becomes of new connections from now on.
    pub fn new_ones(&self, new: New) {
        self.lock().new = new;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.over = true;
        state.links.clear();
        state.held.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits a moment, or less if something can be done. What is closed meanwhile, or is another's by then, does no harm, as
/// nothing here blocks.
fn wait(listener: &Socket, wanted: &[(i32, i16)]) {
    let mut polled = vec![libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    polled.extend(wanted.iter().map(|&(fd, events)| libc::pollfd { fd, events, revents: 0 }));
    // SAFETY: the pointer is to live values, as many as it says.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, PAUSE) };
}

impl State {
    fn wanted(&self) -> Vec<(i32, i16)> {
        let mut wanted = Vec::new();
        for link in self.links.iter().filter(|link| !link.frozen) {
            let Some(Ends { client, server }) = &link.ends else { continue };
            for (way, from, to) in [(&link.ways[0], client, server), (&link.ways[1], server, client)] {
                match (way.held.is_empty(), way.ended) {
                    (true, false) => wanted.push((from.as_raw_fd(), libc::POLLIN)),
                    (true, true) => {}
                    (false, _) => wanted.push((to.as_raw_fd(), libc::POLLOUT)),
                }
            }
        }
        wanted
    }

    fn go_on(&mut self, listener: &Socket, target: &SockAddr) {
        while let Ok((client, _)) = listener.accept() {
            self.held.push(client);
        }
        match self.new {
            New::Held => {}
            New::Passed => {
                for client in std::mem::take(&mut self.held) {
                    self.links.push(Link::new(client, target));
                }
            }
            New::Refused => std::mem::take(&mut self.held).iter().for_each(cut_off),
        }
        let records = self.records;
        self.links.iter_mut().filter(|link| !link.frozen).for_each(|link| link.go_on(records));
    }
}

impl Link {
    fn new(client: Socket, target: &SockAddr) -> Link {
        let mut link = Link::default();
        let server = Socket::new(target.domain(), socket2::Type::STREAM, None).expect("a socket");
        if server.connect(target).is_err() {
            cut_off(&client);
            return link;
        }
        for socket in [&client, &server] {
            socket.set_nonblocking(true).expect("a socket");
            // Whoever is gone already does not matter.
            let _ = socket.set_tcp_nodelay(true);
        }
        link.ends = Some(Ends { client, server });
        link
    }

    fn reset(&mut self) {
        if let Some(Ends { client, server }) = self.ends.take() {
            cut_off(&client);
            cut_off(&server);
        }
    }

    fn go_on(&mut self, records: bool) {
        let Some(Ends { client, server }) = &self.ends else { return };
        let [up, down] = &mut self.ways;
        match up.go_on(client, server, records).and_then(|()| down.go_on(server, client, false)) {
            Err(_) => self.reset(),
            Ok(()) if up.finished && down.finished => self.ends = None,
            Ok(()) => {}
        }
    }
}

impl Way {
    fn go_on(&mut self, mut from: &Socket, mut to: &Socket, records: bool) -> io::Result<()> {
        if self.held.is_empty() && !self.ended {
            let mut piece = vec![0; PIECE];
            match from.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(came) => {
                    piece.truncate(came);
                    if records {
                        self.record.extend_from_slice(&piece);
                    }
                    self.held = piece;
                }
                Err(error) => would_block(error)?,
            }
        }
        if !self.held.is_empty() {
            match to.write(&self.held) {
                Ok(taken) => {
                    self.count += taken as u64;
                    self.held.drain(..taken);
                }
                Err(error) => would_block(error)?,
            }
        }
        if self.held.is_empty() && self.ended && !self.finished {
            self.finished = true;
            to.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

fn would_block(error: io::Error) -> io::Result<()> {
    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) { Ok(()) } else { Err(error) }
}

/// Has the close that follows be a reset.
fn cut_off(socket: &Socket) {
    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
}

/// Sends bytes that a seed repeats.
pub fn pour(stream: &mut Stream, seed: u64, total: usize) {
    let mut random = super::Random(seed);
    let mut left = total;
    while left > 0 {
        let piece = random.bytes(left.min(PIECE));
        stream.send(&piece);
        left -= piece.len();
    }
}

/// Receives these bytes, all of them and in order.
pub fn drink(stream: &mut Stream, seed: u64, total: usize) {
    let mut random = super::Random(seed);
    let mut left = total;
    while left > 0 {
        let piece = random.bytes(left.min(PIECE));
        assert!(stream.receive(piece.len()) == piece, "other bytes between {} and the next piece", total - left);
        left -= piece.len();
    }
}
