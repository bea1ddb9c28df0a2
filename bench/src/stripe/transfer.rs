//! What goes through a chain: transfers whose every byte is checked, and pings.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::pattern::Pattern;
use crate::failure::Failure;
use crate::interrupt;
use crate::relay::Relay;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// What it is called in names of loads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Its place in [`crate::relay::Traffic::carried`].
    pub fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    Bytes(u64),
    /// What can be sent in this time.
    For(Duration),
}

/// What came of a transfer that was complete and right.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Bytes that arrived.
    pub bytes: u64,
    /// From the client's connecting until the end had arrived behind the last byte.
    pub elapsed: Duration,
    /// How many bytes had arrived at which time since the start, a hundred times a second at most.
    samples: Vec<(Duration, u64)>,
}

impl Record {
    /// Bytes a second of the whole transfer.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    /// How many bytes arrived between two times since the start.
    pub fn between(&self, from: Duration, until: Duration) -> u64 {
        self.until(until) - self.until(from)
    }

    fn until(&self, moment: Duration) -> u64 {
        match self.samples.partition_point(|&(at, _)| at <= moment) {
            0 => 0,
            after => self.samples[after - 1].1,
        }
    }
}

/// How long a transfer may go on without a byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest that any transfer takes.
const LONGEST: Duration = Duration::from_secs(300);

/// How close together samples are.
const SAMPLE: Duration = Duration::from_millis(10);

/// Both ends of one session through the chain.
fn session(chain: &Chain) -> Result<(TcpStream, TcpStream), Failure> {
    let client = TcpStream::connect_timeout(&chain.entry, PATIENCE).map_err(|error| Failure::of("connect", error))?;
    let server = accept(&chain.server)?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(PATIENCE))?;
        end.set_write_timeout(Some(PATIENCE))?;
    }
    Ok((client, server))
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if start.elapsed() > PATIENCE => {
                return Err(Failure::Broken("no session reached the server".to_owned()));
            }
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
        interrupt::check()?;
    }
}

/// Transfers so much through a new session, while `during` does what it likes to the relay; it is given the moment of
/// the start, and a question whether the transfer is over. What `during` returns is returned, too.
pub fn transfer<T: Send>(
    chain: &mut Chain,
    way: Way,
    amount: Amount,
    during: impl FnOnce(Option<&Relay>, Instant, &(dyn Fn() -> bool + Sync)) -> T + Send,
) -> Result<(Record, T), Failure> {
    let start = Instant::now();
    let result = session(chain).and_then(|(client, server)| {
        let (sender, receiver) = match way {
            Way::Up => (client, server),
            Way::Down => (server, client),
        };
        thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(receiver, start));
            let sending = scope.spawn(|| send(sender, amount, start));
            let over = || receiving.is_finished();
            let done = during(chain.relay.as_ref(), start, &over);
            let received = receiving.join().expect("it does not panic");
            let sent = sending.join().expect("it does not panic");
            // A receiver that fails makes the sender fail; its own reason says more.
            let (record, sent) = (received?, sent?);
            match record.bytes == sent {
                true => Ok((record, done)),
                false => Err(Failure::Broken(format!("{sent} bytes were sent, but {} arrived", record.bytes))),
            }
        })
    });
    result.map_err(|failure| chain.explain(failure))
}

/// Sends the pattern, then the end, and waits for the other end's. Returns how many bytes it has sent.
fn send(mut stream: TcpStream, amount: Amount, start: Instant) -> Result<u64, Failure> {
    let mut pattern = Pattern::new(SEED);
    loop {
        let most = match amount {
            Amount::Bytes(bytes) => usize::try_from(bytes - pattern.position()).unwrap_or(usize::MAX),
            Amount::For(time) if start.elapsed() < time => usize::MAX,
            Amount::For(_) => 0,
        };
        if most == 0 {
            break;
        }
        check(start)?;
        let next = pattern.next();
        let written = stream.write(&next[..next.len().min(most)]).map_err(|error| lost("send", &pattern, &error))?;
        pattern.advance(written);
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(pattern.position()),
        Ok(_) => Err(Failure::Broken("bytes came back that nobody sent".to_owned())),
        Err(error) => Err(lost("wait for the end", &pattern, &error)),
    }
}

/// Receives until the end, and compares every byte.
fn receive(mut stream: TcpStream, start: Instant) -> Result<Record, Failure> {
    let mut pattern = Pattern::new(SEED);
    let mut record = Record::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        check(start)?;
        let read = stream.read(&mut buffer).map_err(|error| lost("receive", &pattern, &error))?;
        record.elapsed = start.elapsed();
        if read == 0 {
            record.samples.push((record.elapsed, record.bytes));
            return Ok(record);
        }
        let wrong = |place| Failure::Broken(format!("the bytes that arrived differ from those sent, near {place}"));
        pattern.compare(&buffer[..read]).map_err(wrong)?;
        record.bytes = pattern.position();
        if record.samples.last().is_none_or(|&(at, _)| record.elapsed - at >= SAMPLE) {
            record.samples.push((record.elapsed, record.bytes));
        }
    }
}

/// Any will do that is the same at both ends.
const SEED: u64 = 42;

/// Fails if the transfer is to end.
fn check(start: Instant) -> Result<(), Failure> {
    interrupt::check()?;
    match start.elapsed() < LONGEST {
        true => Ok(()),
        false => Err(Failure::Broken(format!("the transfer was not complete after {LONGEST:?}"))),
    }
}

fn lost(what: &str, pattern: &Pattern, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            Failure::Broken(format!("{what}: nothing moved for {PATIENCE:?} at byte {}", pattern.position()))
        }
        _ => Failure::Broken(format!("{what}: {error} at byte {}", pattern.position())),
    }
}

/// How many bytes a ping has.
const PING: usize = 128;

/// Pings there and back through a new session, one at a time, for this long. Returns how long each took.
pub fn ping(chain: &mut Chain, length: Duration) -> Result<Vec<Duration>, Failure> {
    let result = session(chain).and_then(|(client, server)| ping_between(client, server, length));
    result.map_err(|failure| chain.explain(failure))
}

fn ping_between(mut client: TcpStream, server: TcpStream, length: Duration) -> Result<Vec<Duration>, Failure> {
    thread::scope(|scope| {
        scope.spawn(|| echo(server));
        let mut times = Vec::new();
        let start = Instant::now();
        let mut answer = [0; PING];
        while start.elapsed() < length {
            interrupt::check()?;
            let message = [times.len() as u8; PING];
            let sent = Instant::now();
            client.write_all(&message)?;
            client.read_exact(&mut answer)?;
            times.push(sent.elapsed());
            if answer != message {
                return Err(Failure::Broken("a ping came back other than it was sent".to_owned()));
            }
        }
        // Without an end, the thread that echoes would stay.
        client.shutdown(Shutdown::Both)?;
        Ok(times)
    })
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 || stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

/// How many bytes go each way on a session before it is idle.
const BEFORE_IDLE: usize = 16 * 1024;

/// Opens so many sessions, each of which carries something both ways and then nothing. They stay open as long as what
/// is returned.
pub fn open_idle(chain: &mut Chain, sessions: usize) -> Result<Vec<(TcpStream, TcpStream)>, Failure> {
    let open = |chain: &Chain| {
        let (mut client, mut server) = session(chain)?;
        let (sent, mut received) = ([7; BEFORE_IDLE], [0; BEFORE_IDLE]);
        client.write_all(&sent)?;
        server.read_exact(&mut received)?;
        server.write_all(&received)?;
        client.read_exact(&mut received)?;
        match received == sent {
            true => Ok((client, server)),
            false => Err(Failure::Broken("bytes came back other than they were sent".to_owned())),
        }
    };
    let result: Result<Vec<_>, Failure> = (0..sessions).map(|_| open(chain)).collect();
    result.map_err(|failure| chain.explain(failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_transfer_is_checked_to_its_end() {
        let (sender, receiver) = pair();
        let start = Instant::now();
        let sending = thread::spawn(move || send(sender, Amount::Bytes(5_000_001), start));
        let record = receive(receiver, start).unwrap();
        assert_eq!((record.bytes, sending.join().unwrap().unwrap()), (5_000_001, 5_000_001));
        assert_eq!(record.between(Duration::ZERO, record.elapsed), record.bytes);
    }

    #[test]
    fn bytes_that_differ_fail_a_transfer() {
        let (mut sender, receiver) = pair();
        sender.write_all(&[0; 100]).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        assert!(receive(receiver, Instant::now()).unwrap_err().to_string().contains("differ"));
    }

    #[test]
    fn what_arrived_in_a_time_is_counted() {
        let second = Duration::from_secs(1);
        let samples = vec![(second, 100), (2 * second, 300), (3 * second, 350)];
        let record = Record { bytes: 350, elapsed: 3 * second, samples };
        assert_eq!(record.between(Duration::ZERO, second / 2), 0);
        assert_eq!(record.between(second, 2 * second), 200);
        assert_eq!(record.between(second * 3 / 2, 9 * second), 250);
        assert_eq!(record.rate(), 350.0 / 3.0);
    }
}
