//! What the server counts, and how it tells the client how far the counted datagrams have come.
//!
//! A load that sends one way only learns that from the server itself, past the proxy, so that the proxy carries nothing
//! but what is measured.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::datagram;

/// What the server has counted so far, in all its threads.
#[derive(Default)]
pub struct Counts {
    /// Bytes of bulk flows and of counted datagrams.
    pub bytes: AtomicU64,
    /// Counted datagrams.
    pub datagrams: AtomicU64,
    /// Datagrams that were passed over: one with a higher number has come. One that comes late is taken off again.
    pub missing: AtomicU64,
}

impl Counts {
    /// Adds bytes.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds what a thread has tallied.
    fn add(&self, tallied: &Tallied) {
        self.add_bytes(tallied.bytes);
        self.datagrams.fetch_add(tallied.datagrams, Ordering::Relaxed);
        self.missing.fetch_add(tallied.skipped, Ordering::Relaxed);
        self.missing.fetch_sub(tallied.late, Ordering::Relaxed);
    }
}

/// Counted datagrams, until they are added to the [`Counts`].
#[derive(Debug, Default, PartialEq)]
struct Tallied {
    bytes: u64,
    datagrams: u64,
    skipped: u64,
    late: u64,
}

/// The numbered datagrams of one source, as they come in.
#[derive(Default)]
struct Sequence {
    /// The number after the highest that has come.
    next: u64,
    tallied: Tallied,
}

impl Sequence {
    fn take(&mut self, number: u64, length: usize) {
        self.tallied.bytes += length as u64;
        self.tallied.datagrams += 1;
        match number.checked_sub(self.next) {
            Some(skipped) => {
                self.tallied.skipped += skipped;
                self.next = number + 1;
            }
            None => self.tallied.late += 1,
        }
    }
}

/// Where one thread's counted datagrams go.
pub struct Sink<'a> {
    counts: &'a Counts,
    watcher: &'a Watcher,
    sequence: Sequence,
    /// [`Sequence::next`] when the watcher was last told.
    told: u64,
}

/// How many numbers pass between two reports to the watcher.
pub const REPORT_EVERY: u64 = 16;

impl<'a> Sink<'a> {
    /// A sink for the datagrams of one source.
    pub fn new(counts: &'a Counts, watcher: &'a Watcher) -> Self {
        Self { counts, watcher, sequence: Sequence::default(), told: 0 }
    }

    /// Counts a datagram.
    pub fn take(&mut self, number: u64, length: usize) {
        self.sequence.take(number, length);
    }

    /// Makes known what was counted since the last time.
    pub fn publish(&mut self) {
        let tallied = std::mem::take(&mut self.sequence.tallied);
        if tallied.datagrams == 0 {
            return;
        }
        self.counts.add(&tallied);
        if self.sequence.next >= self.told + REPORT_EVERY {
            self.told = self.sequence.next;
            self.watcher.tell(self.told);
        }
    }
}

/// Whoever wants to know how far the counted datagrams have come.
pub struct Watcher {
    socket: UdpSocket,
    is_there: AtomicBool,
}

impl Watcher {
    /// Nobody yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self { socket: datagram::socket()?, is_there: AtomicBool::new(false) })
    }

    /// Tells `address` from here on, and that it is heard.
    pub fn welcome(&self, address: SocketAddr) -> io::Result<()> {
        self.socket.connect(address)?;
        self.is_there.store(true, Ordering::Relaxed);
        self.tell(0);
        Ok(())
    }

    /// Sends the number after the highest that has come. A report that is lost is made up for by the next.
    fn tell(&self, next: u64) {
        if self.is_there.load(Ordering::Relaxed) {
            let _ = self.socket.send(&next.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_missing_until_they_are_filled() {
        let mut sequence = Sequence::default();
        for number in [0, 1, 5, 6, 3] {
            sequence.take(number, 100);
        }
        assert_eq!(sequence.next, 7);
        assert_eq!(sequence.tallied, Tallied { bytes: 500, datagrams: 5, skipped: 3, late: 1 });
        let counts = Counts::default();
        counts.add(&sequence.tallied);
        assert_eq!(counts.missing.into_inner(), 2);
    }

    #[test]
    fn the_watcher_is_told_now_and_then() {
        let (counts, watcher) = (Counts::default(), Watcher::new().unwrap());
        let client = datagram::socket().unwrap();
        watcher.welcome(client.local_addr().unwrap()).unwrap();
        let mut sink = Sink::new(&counts, &watcher);
        for number in 0..2 * REPORT_EVERY {
            sink.take(number, 64);
            sink.publish();
        }
        client.set_nonblocking(true).unwrap();
        let mut report = [0; 8];
        for expected in [0, REPORT_EVERY, 2 * REPORT_EVERY] {
            client.recv(&mut report).unwrap();
            assert_eq!(u64::from_be_bytes(report), expected);
        }
        assert!(client.recv(&mut report).is_err());
    }
}
