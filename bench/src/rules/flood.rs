//! Who offers connections to somebody who refuses them: as many as one thread can make, up to [`MOST`] a second.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::clock::Moment;
use crate::session::connect;

/// How many connections a second are offered at most.
pub const MOST: u64 = 100_000;

/// The address that they come from, which no other client has.
pub const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);

/// How many connections are there at a time: each has as long to be refused as it takes to offer all others.
const UNDER_WAY: usize = 2048;

/// How many are offered before the clock is read.
const BURST: usize = 16;

/// How long the thread sleeps when it has offered enough.
const NAP: Duration = Duration::from_micros(200);

/// A thread that offers connections; dropped, it ends.
pub struct Flood {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    offered: AtomicU64,
    refused: AtomicU64,
}

/// How many connections a flood had offered at a moment, and how many of them it had seen refused.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    offered: u64,
    refused: u64,
    at: Moment,
}

impl Counted {
    /// What was offered, and what was refused, a second since an earlier moment.
    pub fn rates_since(&self, earlier: &Self) -> (f64, f64) {
        let seconds = self.at.since(earlier.at).as_secs_f64();
        ((self.offered - earlier.offered) as f64 / seconds, (self.refused - earlier.refused) as f64 / seconds)
    }
}

impl Flood {
    /// Begins to offer connections to `target`.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        Self::start_with(target, UNDER_WAY)
    }

    /// The same, with so many of them there at a time.
    fn start_with(target: SocketAddr, under_way: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("flood".to_owned()).spawn(move || run(target, under_way, &own))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What it has done so far.
    pub fn counted(&self) -> Counted {
        let (offered, refused) = (self.shared.offered.load(Relaxed), self.shared.refused.load(Relaxed));
        Counted { offered, refused, at: Moment::now() }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        // One that panicked has counted nothing since, which shows.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(target: SocketAddr, most: usize, shared: &Shared) {
    let mut under_way: Vec<Option<TcpStream>> = (0..most).map(|_| None).collect();
    let start = Moment::now();
    let mut next = 0;
    let mut offered = 0;
    while !shared.stop.load(Relaxed) {
        let due = (Moment::now().since(start).as_nanos() as u64).saturating_mul(MOST) / 1_000_000_000;
        if offered > due {
            thread::sleep(NAP);
            continue;
        }
        for _ in 0..BURST {
            let place = &mut under_way[next];
            if place.take().is_some_and(leave) {
                shared.refused.fetch_add(1, Relaxed);
            }
            // One that cannot even begin was not offered: all ports are taken, or all descriptors.
            *place = connect(target, SOURCE).ok();
            offered += 1;
            shared.offered.fetch_add(place.is_some().into(), Relaxed);
            next = (next + 1) % most;
        }
    }
    for stream in under_way.into_iter().flatten() {
        leave(stream);
    }
}

/// Leaves a connection, without one in TIME_WAIT behind, and says whether it had been refused.
fn leave(stream: TcpStream) -> bool {
    let mut byte = 0_u8;
    // SAFETY: the call writes at most one byte, to where there is one.
    let read = unsafe { libc::recv(stream.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_DONTWAIT) };
    let error = io::Error::last_os_error();
    let is_refused = read == 0 || read < 0 && error.raw_os_error() == Some(libc::ECONNRESET);
    if !is_refused || read == 0 {
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    is_refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    #[test]
    fn it_counts_what_is_refused() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let flood = Flood::start_with(listener.local_addr().unwrap(), 64).unwrap();
        // Some stay until the flood leaves them.
        let mut kept = Vec::new();
        for _ in 0..10_000 {
            let (stream, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), SOURCE);
            match kept.len() < 5 {
                true => kept.push(stream),
                false => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
            }
            if flood.counted().refused >= 10 {
                break;
            }
        }
        let counted = flood.counted();
        assert!(counted.refused >= 10 && counted.offered >= counted.refused + 5, "{counted:?}");
        drop(flood);
        for mut stream in kept {
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
