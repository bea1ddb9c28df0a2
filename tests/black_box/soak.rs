//! The soak: a million short sessions, then an hour of mixed load, then descriptors and memory back at the start's.
//!
//! ```text
//! cargo test --release --test black_box soak -- --ignored --nocapture
//! ```
//!
//! `CPROXY_SOAK_SESSIONS` and `CPROXY_SOAK_SECONDS` set other numbers. It uses the loopback interface only, and some
//! hundred descriptors. The proxy's whole log is read and every line of it is checked, but not kept.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::process::ChildStdout;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::system::{memory, open_descriptors};
use crate::support::{Address, Digest, End, Kind, Line, Output, Proxy, Random, Remote, Stream, TempDir, until};

/// How much more memory the proxy may have at the end than after the warm-up: what the log may hold while its reader is
/// slow, which the allocator keeps. (Over a million sessions it is four bytes each.)
const MEMORY_SLACK: u64 = 4 << 20;

/// Descriptors of pipes that two I/O threads may keep for sessions to come (sixteen pipes each), and those of the log.
const MOST_PIPES: usize = 2 * 2 * 16 + 4;

/// What a client asks of the remote in its first byte.
mod wish {
    pub const ECHO: u8 = b'e';
    pub const CLOSE: u8 = b'c';
    pub const RESET: u8 = b'r';
    pub const BULK: u8 = b'b';
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

/// How many lines of each event there were.
type Events = HashMap<String, u64>;

/// Checks and counts all lines, and sends the addresses of listeners.
fn read_log(output: ChildStdout) -> (Receiver<Address>, thread::JoinHandle<Events>) {
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        let mut events = Events::new();
        for text in BufReader::new(output).lines() {
            let line =
                text.map_err(|e| e.to_string()).and_then(|text| Line::parse(&text)).unwrap_or_else(|e| panic!("{e}"));
            if let Some(Some((address, _))) =
                line.message.strip_prefix("listening on ").map(|rest| rest.split_once(" (fd="))
            {
                let _ = sender.send(Address::parse(address));
            }
            let words: Vec<&str> = line.message.split(' ').take(2).collect();
            let event = match words[..] {
                _ if line.thread == "log" => "lines lost".into(),
                ["fd", _] => "fd".into(),
                _ => words.join(" "),
            };
            *events.entry(event).or_default() += 1;
        }
        events
    });
    (receiver, reader)
}

/// Serves the connections of a remote, each in a thread of its own, for as long as the process lives.
fn serve(remote: Remote) {
    remote.socket.set_read_timeout(None).expect("a socket");
    thread::spawn(move || {
        loop {
            let stream = remote.accept();
            thread::Builder::new().stack_size(128 << 10).spawn(move || grant(stream)).expect("a thread");
        }
    });
}

/// Does what the client wishes. Errors are the client's business.
fn grant(mut stream: Stream) -> Option<()> {
    let mut byte = [0];
    stream.read_exact(&mut byte).ok()?;
    match byte[0] {
        wish::ECHO => drop(io::copy(&mut stream.another(), &mut stream)),
        wish::CLOSE => {}
        wish::RESET => stream.reset(),
        _ => {
            let mut numbers = [0; 16];
            stream.read_exact(&mut numbers).ok()?;
            let [length, seed] =
                [&numbers[..8], &numbers[8..]].map(|n| n.try_into().map(u64::from_le_bytes).unwrap_or(0));
            let mut reader = stream.another();
            let reader = thread::spawn(move || digest_of(&mut reader));
            send_random(&mut stream, length, seed);
            // What it got is the last thing it says.
            let (received, hash) = reader.join().ok()?;
            stream.send(received.to_le_bytes());
            stream.send(hash.to_le_bytes());
        }
    }
    Some(())
}

fn send_random(stream: &mut Stream, length: u64, seed: u64) -> (u64, u64) {
    let mut random = Random(seed);
    let mut digest = Digest::default();
    let mut left = length as usize;
    while left > 0 {
        let bytes = random.below(40_000).min(left);
        let bytes = random.bytes(bytes);
        stream.send(&bytes);
        digest.add(&bytes);
        left -= bytes.len();
    }
    digest.value()
}

fn digest_of(stream: &mut Stream) -> (u64, u64) {
    let mut digest = Digest::default();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        digest.add(&buffer[..n]);
    }
    digest.value()
}

struct Soak {
    proxy: Proxy,
    sessions: AtomicU64,
    over: AtomicBool,
}

impl Soak {
    fn connect(&self, random: &mut Random) -> Stream {
        let address = &self.proxy.listeners[random.below(self.proxy.listeners.len())];
        self.sessions.fetch_add(1, Ordering::Relaxed);
        until("a port", || match Stream::connect(address) {
            Ok(stream) => Some(stream),
            // All ports are in TIME_WAIT, or a Unix listener's queue is full.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAGAIN)) => None,
            Err(error) => panic!("{error}"),
        })
    }

    fn short_session(&self, random: &mut Random) {
        let mut client = self.connect(random);
        let is_tcp = client.socket.local_addr().is_ok_and(|address| address.as_socket().is_some());
        match random.below(8) {
            0 => {
                client.send([wish::CLOSE]);
                assert_eq!(client.end(), End::Eof);
            }
            1 => {
                client.send([wish::RESET]);
                // Unix sockets have no reset.
                assert!(client.end() == End::Reset || !is_tcp);
            }
            2 => {
                client.send([wish::ECHO]);
                client.reset();
            }
            _ => {
                client.send([wish::ECHO]);
                for _ in 0..=random.below(3) {
                    let count = 1 + random.below(2000);
                    let bytes = random.bytes(count);
                    client.send(&bytes);
                    assert!(client.receive(bytes.len()) == bytes);
                }
                client.finish();
                assert_eq!(client.end(), End::Eof);
            }
        }
    }

    fn bulk_session(&self, random: &mut Random) {
        let mut client = self.connect(random);
        let (up, down, seed) = (random.below(20_000_000) as u64, random.below(20_000_000) as u64, random.number());
        client.send([wish::BULK]);
        client.send(down.to_le_bytes());
        client.send(seed.to_le_bytes());
        let mut writer = client.another();
        let up_seed = random.number();
        let writer = thread::spawn(move || {
            let sent = send_random(&mut writer, up, up_seed);
            writer.finish();
            sent
        });
        let mut expected = Random(seed);
        let mut left = down as usize;
        while left > 0 {
            let bytes = expected.below(40_000).min(left);
            let bytes = expected.bytes(bytes);
            assert!(client.receive(bytes.len()) == bytes);
            left -= bytes.len();
        }
        let (sent, hash) = writer.join().expect("a writer");
        client.expect_number(sent);
        client.expect_number(hash);
        assert_eq!(client.end(), End::Eof);
    }

    fn slow_session(&self, random: &mut Random) {
        let mut client = self.connect(random);
        client.send([wish::ECHO]);
        for _ in 0..random.below(20) {
            client.send("tick");
            client.expect("tick");
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            // Load, not waiting.
            thread::sleep(Duration::from_millis(random.below(1000) as u64));
        }
        match random.below(3) {
            0 => client.reset(),
            1 => drop(client),
            _ => client.finish(),
        }
    }

    /// This many short sessions from several threads.
    fn short_sessions(&self, count: u64, seed: u64) {
        const THREADS: u64 = 8;
        let left = AtomicU64::new(count);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let left = &left;
                scope.spawn(move || {
                    let mut random = Random(seed + number);
                    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                        self.short_session(&mut random);
                    }
                });
            }
        });
    }

    /// All kinds of sessions for so long.
    fn mixed_load(&self, duration: Duration, seed: u64) {
        const THREADS: u64 = 60;
        let start = Instant::now();
        self.over.store(false, Ordering::Relaxed);
        thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || {
                    let mut random = Random(seed + number);
                    while start.elapsed() < duration {
                        match (number, random.below(4)) {
                            (0..4, _) => self.bulk_session(&mut random),
                            (_, 0) => (0..50).for_each(|_| self.short_session(&mut random)),
                            _ => self.slow_session(&mut random),
                        }
                    }
                    self.over.store(true, Ordering::Relaxed);
                });
            }
        });
    }

    /// Waits until no session is open, and says what the proxy holds then: descriptors but for pipes, and bytes of
    /// memory. Of pipes each I/O thread may keep some.
    fn at_rest(&self, what: &str, descriptors: Option<usize>) -> (usize, u64) {
        let pid = self.proxy.pid();
        let open = || {
            let link = |fd: u32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
            let links = open_descriptors(pid).into_iter().filter_map(link);
            links.map(|to| to.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        let count = |links: &[String], kind: &str| links.iter().filter(|link| link.starts_with(kind)).count();
        let listeners = self.proxy.listeners.len();
        let links = until("all sessions to end", || Some(open()).filter(|links| count(links, "socket:") == listeners));
        let pipes = count(&links, "pipe:");
        let others = links.len() - pipes;
        let memory = memory(pid, "VmRSS");
        let sessions = self.sessions.load(Ordering::Relaxed);
        let kib = memory / 1024;
        println!("{what}: {sessions} sessions so far, {others} + {pipes} descriptors, {kib} KiB of memory");
        assert!(descriptors.is_none_or(|expected| expected == others), "not {descriptors:?} but {links:?}");
        assert!(pipes <= MOST_PIPES, "{links:?}");
        (others, memory)
    }
}

impl Stream {
    fn expect_number(&mut self, number: u64) {
        assert_eq!(self.receive(8), number.to_le_bytes());
    }
}

#[test]
#[ignore = "takes an hour: see the head of the file"]
fn soak() {
    let sessions = setting("CPROXY_SOAK_SESSIONS", 1_000_000);
    let seconds = setting("CPROXY_SOAK_SECONDS", 3600);
    let seed = setting("CPROXY_SOAK_SEED", u64::from(std::process::id()));
    println!("{sessions} short sessions, then {seconds} seconds of mixed load, seed {seed}");

    let remote = Remote::new(Kind::V4);
    let directory = TempDir::new();
    let mut proxy = Proxy::on(&[])
        .listen_on(Kind::V4.fresh(&directory))
        .listen_on(Kind::UnixPath.fresh(&directory))
        .args(&["-r", &remote.address.to_string(), "-t", "2", "--idle-timeout", "1h"])
        .output(Output::Unread)
        .start();
    let (addresses, log) = read_log(proxy.take_output());
    proxy.listeners = addresses.iter().take(2).collect();
    serve(remote);
    let soak = Soak { proxy, sessions: AtomicU64::new(0), over: AtomicBool::new(false) };

    // So that what grows once (slabs, pools, the allocator's own) has grown.
    soak.short_sessions((sessions / 50).max(10_000), seed);
    soak.mixed_load(Duration::from_secs((seconds / 100).clamp(3, 30)), seed);
    let (descriptors, memory_before) = soak.at_rest("warm", None);

    soak.short_sessions(sessions, seed ^ 1 << 32);
    let (_, memory_between) = soak.at_rest("after short sessions", Some(descriptors));
    soak.mixed_load(Duration::from_secs(seconds), seed ^ 1 << 33);
    let (_, memory_after) = soak.at_rest("after mixed load", Some(descriptors));
    for memory in [memory_between, memory_after] {
        assert!(memory <= memory_before + MEMORY_SLACK, "{memory} bytes of memory, {memory_before} at the start");
    }

    let total = soak.sessions.load(Ordering::Relaxed);
    let mut proxy = soak.proxy;
    proxy.signal(libc::SIGTERM);
    proxy.exits();
    let events = log.join().expect("a log of lines of the right form");
    println!("{events:?}");
    if !events.contains_key("lines lost") {
        // (One that reset before it was accepted may not have been a session.)
        assert!(events["accepted fd"] <= total);
        assert_eq!(events["disconnect client"], events["accepted fd"]);
        assert_eq!(events["connect client"], events["accepted fd"]);
    }
}
