//! Sessions with a cap: whether they keep to it, and what it costs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use super::cases::{CAP, CAPPED_SESSIONS};
use crate::clock::{self, Moment};
use crate::contest::{median, ratios};
use crate::failure::Failure;
use crate::flow::{Flow, Traffic};
use crate::interrupt;
use crate::kit::{Kit, Server, written};
use crate::proxy::Running;
use crate::session::{self, Role, WELCOME, poll_once};

/// How long sessions run before they count: what their buffers held has come, and bursts are over.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long the many count.
const LENGTH: Duration = Duration::from_secs(10);

/// How often each proxy carries one session in a round, in turns.
const TURNS: usize = 4;

/// How long one session counts at least.
const LEAST_LENGTH: Duration = Duration::from_secs(1);

/// What the reader of one session takes at a time, in bytes.
const CHUNK: usize = 64 * 1024;

/// How long a reader waits for a byte.
const PATIENCE: Duration = Duration::from_secs(5);

const GIB: f64 = (1_u64 << 30) as f64;

/// Many sessions that all receive as much as they may; and the same with nginx.
pub fn many(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1)?;
    let cap = CAP.to_string();
    let mut numbers = keep_to_cap(kit.cproxy(&written(&server.addresses), &["--download-rate", &cap])?)?.to_vec();
    if let Some(nginx) = kit.nginx() {
        let proxy = kit.peer(nginx, &server.addresses, &format!("proxy_download_rate {cap}; "))?;
        numbers.extend(&keep_to_cap(proxy)?[1..4]);
    }
    Ok(numbers)
}

/// The first numbers of [`many`], for a proxy that caps its sessions.
fn keep_to_cap(mut proxy: Running) -> Result<[f64; 5], Failure> {
    let mut receivers = Receivers::open(proxy.entry, CAPPED_SESSIONS)?;
    let from = Moment::now().after(WARM_UP);
    let (before, used) = (receivers.run_until(from)?, proxy.usage());
    let (after, used_after) = (receivers.run_until(from.after(LENGTH))?, proxy.usage());
    proxy.check()?;
    let seconds = after.at.since(before.at).as_secs_f64();
    let bytes: Vec<f64> =
        after.bytes.iter().zip(&before.bytes).map(|(after, before)| (after - before) as f64).collect();
    let to_cap = |bytes: f64| bytes / seconds / f64::from(CAP);
    let all: f64 = bytes.iter().sum();
    let load = used_after.load_since(&used);
    Ok([
        to_cap(all / bytes.len() as f64),
        to_cap(bytes.iter().copied().fold(f64::INFINITY, f64::min)),
        to_cap(bytes.iter().copied().fold(0.0, f64::max)),
        load,
        load * seconds / all * GIB,
    ])
}

/// Sessions whose server sends as much as it can.
struct Receivers {
    poll: Poll,
    sessions: Vec<(mio::net::TcpStream, Flow)>,
    bytes: Vec<u64>,
}

/// What each session had received at a moment, in bytes.
struct Received {
    bytes: Vec<u64>,
    at: Moment,
}

impl Receivers {
    fn open(target: SocketAddr, sessions: usize) -> io::Result<Self> {
        let streams = session::open(target, &vec![Role::Download; sessions])?;
        let poll = Poll::new()?;
        let mut sessions = Vec::with_capacity(streams.len());
        for mut stream in streams {
            poll.registry().register(&mut stream, Token(sessions.len()), Interest::READABLE)?;
            sessions.push((stream, Flow::new(Traffic::In)));
        }
        let bytes = vec![0; sessions.len()];
        Ok(Self { poll, sessions, bytes })
    }

    /// Receives until a moment.
    fn run_until(&mut self, until: Moment) -> Result<Received, Failure> {
        let mut events = Events::with_capacity(self.sessions.len());
        while !until.from_now().is_zero() {
            interrupt::check()?;
            poll_once(&mut self.poll, &mut events, until.from_now().min(interrupt::SLICE))?;
            for event in &events {
                let index = event.token().0;
                let (stream, flow) = &mut self.sessions[index];
                flow.note(event);
                while flow.is_ready() {
                    self.bytes[index] += flow.turn(stream)?;
                }
            }
        }
        Ok(Received { bytes: self.bytes.clone(), at: Moment::now() })
    }
}

/// What one session has given in one turn.
struct Carried {
    /// Bytes a second.
    rate: f64,
    /// The proxy's CPU time for each byte, in seconds.
    cost: f64,
    /// The same of the server, the proxy and the reader together.
    cost_of_all: f64,
}

/// One session with a cap, against one without whose reader takes as little.
pub fn one(kit: &Kit, rate: u32, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1)?;
    let remote = written(&server.addresses);
    let capped = kit.cproxy(&remote, &["--download-rate", &rate.to_string()])?;
    let plain = kit.cproxy(&remote, &[])?;
    let length = kit.length.max(LEAST_LENGTH);
    let rate = f64::from(rate);
    let (mut with_cap, mut with_slow_reader) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for place in 0..2 {
            if (turn + place + round) % 2 == 0 {
                with_cap.push(carry(&server, &capped, None, length)?);
            } else {
                with_slow_reader.push(carry(&server, &plain, Some(rate), length)?);
            }
        }
    }
    let each = |carried: &[Carried], of: fn(&Carried) -> f64| carried.iter().map(of).collect::<Vec<_>>();
    let ratio = |of: fn(&Carried) -> f64| median(ratios(&each(&with_cap, of), &each(&with_slow_reader, of)));
    let middle = |carried: &[Carried], of: fn(&Carried) -> f64| median(carried.iter().map(of));
    Ok(vec![
        ratio(|carried| carried.cost),
        ratio(|carried| carried.cost_of_all),
        middle(&with_cap, |carried| carried.rate) / rate,
        middle(&with_slow_reader, |carried| carried.rate) / rate,
        middle(&with_cap, |carried| carried.cost) * GIB,
        middle(&with_slow_reader, |carried| carried.cost) * GIB,
    ])
}

/// Reads what a session carries; with a rate, not more than so many bytes a second.
fn carry(server: &Server, proxy: &Running, rate: Option<f64>, length: Duration) -> Result<Carried, Failure> {
    let mut reader = Reader::open(proxy.entry, rate)?;
    let from = Moment::now().after(WARM_UP);
    // On loopback it depends on who waits for whom, who of the three does the kernel's work.
    let used = || [proxy.usage().cpu, server.usage().cpu, clock::own_cpu()];
    let (before, used_before) = (reader.run_until(from)?, used());
    let (after, used_after) = (reader.run_until(from.after(length))?, used());
    let bytes = (after.0 - before.0) as f64;
    let costs: Vec<f64> = used_after
        .iter()
        .zip(used_before)
        .map(|(after, before)| after.saturating_sub(before).as_secs_f64() / bytes)
        .collect();
    let rate = bytes / after.1.since(before.1).as_secs_f64();
    Ok(Carried { rate, cost: costs[0], cost_of_all: costs.iter().sum() })
}

/// The reader of one session.
struct Reader {
    stream: TcpStream,
    rate: Option<f64>,
    begun: Moment,
    bytes: u64,
}

impl Reader {
    fn open(target: SocketAddr, rate: Option<f64>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(target)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[Role::Download.byte()])?;
        let mut answer = [0];
        stream.read_exact(&mut answer)?;
        match answer {
            [WELCOME] => Ok(Self { stream, rate, begun: Moment::now(), bytes: 0 }),
            _ => Err(io::Error::other("the server's answer came changed")),
        }
    }

    /// Reads until a moment, and returns the number of bytes since the start.
    fn run_until(&mut self, until: Moment) -> Result<(u64, Moment), Failure> {
        let mut chunk = [0; CHUNK];
        while !until.from_now().is_zero() {
            interrupt::check()?;
            if let Some(rate) = self.rate {
                let due = self.begun.after(Duration::from_secs_f64(self.bytes as f64 / rate));
                thread::sleep(due.from_now());
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err(session::closed().into()),
                read => self.bytes += read as u64,
            }
        }
        Ok((self.bytes, Moment::now()))
    }
}
