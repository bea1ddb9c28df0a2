//! A network of connections, in user space: a relay that accepts TCP connections, passes each on to a target, and caps,
//! delays, freezes or resets chosen ones.
//!
//! Connections are told apart by their number in the order of arrival, from 0. Connection N is treated by rule N modulo
//! the number of rules, so one that was reset and comes again gets the next rule in turn. In each direction bytes come
//! in through a token bucket (the cap), wait for the rule's delay, and go out. What is under way is bounded by the rate
//! times the delay and a little more, and the sockets' buffers in the kernel are small, so that an end that sends finds
//! a link full soon, as it would find a network.

mod direction;
mod rule;
mod run;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

pub use rule::Rule;
use run::Runner;

/// A relay that runs on a thread of its own; dropped, it resets its connections and ends.
pub struct Relay {
    /// Where it accepts connections.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    waker: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// Why a lock can be taken.
const UNPOISONED: &str = "nothing panics while it is locked";

/// What a connection has carried.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Bytes that went out to the target, and bytes that went back.
    pub carried: [u64; 2],
    /// Whether it has not ended.
    pub alive: bool,
}

/// What the relay's thread and its owner share.
struct Shared {
    /// Readable when there are commands.
    woken: UnixStream,
    commands: Mutex<Commands>,
    /// Signalled when commands have been carried out.
    done: Condvar,
    /// By number.
    connections: Mutex<Vec<Traffic>>,
}

#[derive(Default)]
struct Commands {
    waiting: Vec<Command>,
    /// How many have been carried out since the start.
    done: usize,
}

/// What the relay can be told, each of a connection by its number.
enum Command {
    Freeze(usize),
    Thaw(usize),
    Reset(usize),
    Stop,
}

impl Relay {
    /// Starts a relay on a port of 127.0.0.1 that the kernel picks, with at least one rule.
    pub fn start(target: SocketAddr, rules: Vec<Rule>) -> io::Result<Self> {
        assert!(!rules.is_empty(), "a relay has at least one rule");
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // What is accepted has the listener's buffers, and the window's scale that belongs to them.
        let buffer = rules.iter().map(Rule::socket_buffer).max().unwrap_or_default();
        socket.set_recv_buffer_size(buffer)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        let listener: TcpListener = socket.into();
        let address = listener.local_addr()?;
        let (waker, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let shared =
            Arc::new(Shared { woken, commands: Mutex::default(), done: Condvar::new(), connections: Mutex::default() });
        let runner = Runner::new(listener, target, rules, Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(move || runner.run())?;
        Ok(Self { address, shared, waker, thread: Some(thread) })
    }

    /// What each connection has carried, by number.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.shared.connections.lock().expect(UNPOISONED).clone()
    }

    /// Reads and writes nothing more of this connection, as if every packet of it were lost.
    pub fn freeze(&self, number: usize) {
        self.tell(Command::Freeze(number));
    }

    /// Goes on with a frozen connection. Nothing of it is lost.
    pub fn thaw(&self, number: usize) {
        self.tell(Command::Thaw(number));
    }

    /// Resets both sides of a connection; what is under way in it is lost.
    pub fn reset(&self, number: usize) {
        self.tell(Command::Reset(number));
    }

    /// Resets one of the connections that live, every `interval` until `stop` says so; `seed` decides which. Returns how
    /// many it has reset.
    pub fn reset_at_random(&self, interval: Duration, seed: u64, stop: impl Fn() -> bool) -> usize {
        let mut random = Random(seed);
        let mut resets = 0;
        let mut next = Instant::now() + interval;
        while !stop() {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left.min(Duration::from_millis(5)));
                continue;
            }
            next += interval;
            let traffic = self.traffic();
            let alive: Vec<usize> = (0..traffic.len()).filter(|&number| traffic[number].alive).collect();
            if !alive.is_empty() {
                self.reset(alive[random.below(alive.len())]);
                resets += 1;
            }
        }
        resets
    }

    /// Has the command carried out, and returns when it is.
    fn tell(&self, command: Command) {
        let mut commands = self.shared.commands.lock().expect(UNPOISONED);
        commands.waiting.push(command);
        let done = commands.done + commands.waiting.len();
        // If there is no room for another byte, the relay is going to wake up anyway.
        let _ = (&self.waker).write(&[0]);
        let _done = self.shared.done.wait_while(commands, |commands| commands.done < done).expect(UNPOISONED);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Carries out the commands that have come, and leaves nothing to be read from `woken`.
    fn carry_out(&self, mut command: impl FnMut(Command)) {
        let mut wakes = [0; 64];
        while (&self.woken).read(&mut wakes).is_ok_and(|read| read == wakes.len()) {}
        let mut commands = self.commands.lock().expect(UNPOISONED);
        for waiting in std::mem::take(&mut commands.waiting) {
            command(waiting);
            commands.done += 1;
            self.done.notify_all();
        }
    }
}

/// A sequence that its seed decides (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next of the sequence.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests;
