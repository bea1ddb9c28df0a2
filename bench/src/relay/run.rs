//! The relay's thread: it accepts connections, moves their bytes, and does what it is told.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::direction::Direction;
use super::rule::Rule;
use super::{Command, Shared, Traffic, UNPOISONED};

/// The thread's own.
pub struct Runner {
    pub listener: TcpListener,
    /// Where each connection is passed on to.
    pub target: SocketAddr,
    /// Connection N gets rule N modulo their number.
    pub rules: Vec<Rule>,
    pub shared: Arc<Shared>,
    connections: Vec<Connection>,
}

/// One connection through the relay.
struct Connection {
    /// In the order of arrival, from 0.
    number: usize,
    /// The end that connected to the relay, and the end that the relay connected to.
    ends: [TcpStream; 2],
    /// From the first end to the second, and back.
    directions: [Direction; 2],
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Moving,
    /// Nothing is read and nothing is written.
    Frozen,
}

/// How long the relay connects to its target.
const CONNECT: Duration = Duration::from_secs(2);

/// The longest wait; something else always comes sooner if there is anything to do.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Runner {
    /// A runner without connections.
    pub fn new(listener: TcpListener, target: SocketAddr, rules: Vec<Rule>, shared: Arc<Shared>) -> Self {
        Self { listener, target, rules, shared, connections: Vec::new() }
    }

    /// Runs until it is told to stop; then every connection is reset.
    pub fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut running = true;
        while running {
            shared.carry_out(|command| match command {
                Command::Stop => running = false,
                Command::Freeze(number) => self.set_state(number, State::Frozen),
                Command::Thaw(number) => self.set_state(number, State::Moving),
                Command::Reset(number) => self.reset(number),
            });
            self.accept();
            let now = Instant::now();
            self.move_bytes(now);
            self.wait(now);
        }
        self.connections.drain(..).for_each(Connection::reset);
    }

    fn set_state(&mut self, number: usize, state: State) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.number == number) {
            connection.state = state;
        }
    }

    fn reset(&mut self, number: usize) {
        if let Some(index) = self.connections.iter().position(|connection| connection.number == number) {
            self.shared.ended(number);
            self.connections.swap_remove(index).reset();
        }
    }

    /// Takes every client that waits. One that cannot be passed on is reset.
    fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            let number = self.shared.arrived();
            let rule = self.rules[number % self.rules.len()];
            match connect(self.target, rule).and_then(|server| Connection::new(number, [client, server], rule)) {
                Ok(connection) => self.connections.push(connection),
                Err(_) => self.shared.ended(number),
            }
        }
    }

    fn move_bytes(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.connections.len() {
            let connection = &mut self.connections[index];
            let went_on = connection.run(now);
            self.shared.carried(connection.number, connection.directions.each_ref().map(|way| way.carried));
            match went_on {
                Ok(true) => index += 1,
                ended => {
                    let connection = self.connections.swap_remove(index);
                    self.shared.ended(connection.number);
                    if ended.is_err() {
                        connection.reset();
                    }
                }
            }
        }
    }

    /// Waits until something can be done.
    fn wait(&mut self, now: Instant) {
        let mut polled =
            vec![entry(self.shared.woken.as_raw_fd(), libc::POLLIN), entry(self.listener.as_raw_fd(), libc::POLLIN)];
        let mut moment = now + LONGEST_WAIT;
        for connection in self.connections.iter_mut().filter(|connection| connection.state == State::Moving) {
            let mut events = [0, 0];
            for (way, direction) in connection.directions.iter_mut().enumerate() {
                let wants = direction.wants(now);
                events[way] |= if wants.input { libc::POLLIN } else { 0 };
                events[1 - way] |= if wants.output { libc::POLLOUT } else { 0 };
                moment = wants.moment.map_or(moment, |wanted| moment.min(wanted));
            }
            for (end, events) in connection.ends.iter().zip(events).filter(|(_, events)| *events != 0) {
                polled.push(entry(end.as_raw_fd(), events));
            }
        }
        let left = moment.saturating_duration_since(Instant::now());
        let timeout = libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        // SAFETY: `polled` holds as many valid entries as are named; the timeout is valid, and no signal mask is given.
        unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &timeout, std::ptr::null()) };
    }
}

fn entry(fd: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

/// A connection to `target` whose buffers in the kernel are as small as those of the rule's link. They are set before
/// it connects, since the window's scale is agreed on then.
fn connect(target: SocketAddr, rule: Rule) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_recv_buffer_size(rule.socket_buffer())?;
    socket.connect_timeout(&target.into(), CONNECT)?;
    Ok(socket.into())
}

impl Connection {
    fn new(number: usize, ends: [TcpStream; 2], rule: Rule) -> io::Result<Self> {
        for end in &ends {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
            let socket = SockRef::from(end);
            socket.set_send_buffer_size(rule.socket_buffer())?;
            socket.set_recv_buffer_size(rule.socket_buffer())?;
        }
        let now = Instant::now();
        Ok(Self { number, ends, directions: [(); 2].map(|()| Direction::new(rule, now)), state: State::Moving })
    }

    /// Moves what can be moved. Says whether there may be more to move, ever.
    fn run(&mut self, now: Instant) -> io::Result<bool> {
        if self.state == State::Moving {
            let [near, far] = &self.ends;
            let [there, back] = &mut self.directions;
            there.run(near, far, now)?;
            back.run(far, near, now)?;
        }
        Ok(!self.directions.iter().all(Direction::is_finished))
    }

    /// Ends it so that both ends get a reset, whatever is under way.
    fn reset(self) {
        for end in &self.ends {
            let _ = SockRef::from(end).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Shared {
    /// Notes a new connection and returns its number.
    fn arrived(&self) -> usize {
        let mut connections = self.connections.lock().expect(UNPOISONED);
        connections.push(Traffic { carried: [0, 0], alive: true });
        connections.len() - 1
    }

    fn carried(&self, number: usize, carried: [u64; 2]) {
        self.connections.lock().expect(UNPOISONED)[number].carried = carried;
    }

    fn ended(&self, number: usize) {
        self.connections.lock().expect(UNPOISONED)[number].alive = false;
    }
}
