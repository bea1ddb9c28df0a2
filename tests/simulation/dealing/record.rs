//! What is known of a source's session.

use std::collections::VecDeque;

use cproxy::flow::Readiness;
use cproxy::service::{Service, ServiceId, Timeouts};

use super::super::random::contents;
use super::plan::Fate;

/// Bytes that are kept of what a remote does not take, at most, with what it takes to keep each datagram.
pub const MOST_KEPT: usize = 256 << 10;

/// What it takes to keep a datagram, beside its bytes.
const SLOT_COST: usize = 16;

/// How long what a remote had said may go without getting less, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// How long a session that drains may be idle, in milliseconds.
const DRAINING_IDLE: u64 = 2000;

/// A datagram of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub source: usize,
    pub number: usize,
    pub length: usize,
}

/// Bytes that say which datagram it is.
const HEAD: usize = 16;

impl Unit {
    fn head(self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(&self.source.to_be_bytes());
        head[8..].copy_from_slice(&self.number.to_be_bytes());
        head
    }

    fn rest(self) -> &'static [u8] {
        contents(self.source, self.number as u64, self.length - HEAD)
    }

    /// Writes what it holds behind these bytes.
    pub fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.head());
        bytes.extend_from_slice(self.rest());
    }

    /// Whether this is what it holds.
    pub fn is(self, bytes: &[u8]) -> bool {
        bytes.len() == self.length && bytes[..HEAD] == self.head() && bytes[HEAD..] == *self.rest()
    }
}

/// A session of a source, from its beginning to its end.
#[derive(Debug)]
pub struct Record {
    pub source: usize,
    pub door: usize,
    pub service: ServiceId,
    pub timeouts: Timeouts,
    pub fate: Fate,
    /// Its slot, while it lives.
    pub key: Option<usize>,
    /// The address that was dialled last, and since when.
    pub address: Option<usize>,
    pub began: u64,
    /// It could not even be dialled.
    pub failed_at_once: bool,
    pub remote: Option<Remote>,
    /// When something moved last, or could first.
    pub last_moved: Option<u64>,
    pub moved_in_run: bool,
    /// What the session says that it has moved.
    pub moved: u64,
    /// Since when it drains.
    pub draining: Option<u64>,
    /// What came for it and has neither been delivered nor been dropped where it could be seen.
    pub pending: VecDeque<Unit>,
    /// What it takes to keep that.
    pending_size: usize,
    pub offered: u64,
    pub delivered: u64,
    /// Of what is pending, some may have been dropped for want of room.
    pub overflowed: bool,
    pub answers_read: u64,
    pub answers_sent: u64,
    /// Its client and its remote have been closed, and were reset.
    pub closed: [bool; 2],
    pub aborted: [bool; 2],
}

/// The far end of a session.
#[derive(Debug)]
pub struct Remote {
    pub connected: bool,
    /// When it answers, and whether it refuses.
    pub answers_at: Option<u64>,
    pub refuses: bool,
    pub breaks_at: Option<u64>,
    pub broken: bool,
    pub told_broken: bool,
    pub told_writable: bool,
    /// Datagrams that it takes before it blocks.
    pub room: u64,
    pub wants_room: bool,
    /// Answers that can be read.
    pub inbox: u64,
    /// Something happened that is to be told.
    pub edge: bool,
}

impl Record {
    /// Whether the remote has no address after the one that was dialled last.
    pub fn is_last_address(&self) -> bool {
        self.address == Some(self.fate.addresses.len() - 1)
    }

    pub fn new(source: usize, door: usize, service: &Service, fate: Fate, now: u64) -> Record {
        Record {
            source,
            door,
            service: service.id,
            timeouts: service.timeouts,
            fate,
            key: None,
            address: None,
            began: now,
            failed_at_once: false,
            remote: None,
            last_moved: None,
            moved_in_run: false,
            moved: 0,
            draining: None,
            pending: VecDeque::new(),
            pending_size: 0,
            offered: 0,
            delivered: 0,
            overflowed: false,
            answers_read: 0,
            answers_sent: 0,
            closed: [false; 2],
            aborted: [false; 2],
        }
    }

    /// A datagram has come for it.
    pub fn expect(&mut self, unit: Unit) {
        self.pending.push_back(unit);
        self.offered += 1;
        self.pending_size += unit.length + SLOT_COST;
        self.overflowed |= self.pending_size > MOST_KEPT;
    }

    /// A datagram is at the remote, or was dropped before its eyes: it is the next one.
    pub fn take(&mut self, bytes: &[u8]) {
        while let Some(unit) = self.pending.pop_front() {
            self.pending_size -= unit.length + SLOT_COST;
            if unit.is(bytes) {
                return;
            }
            assert!(self.overflowed, "a datagram is passed over, twice there, or another session's: {unit:?}");
        }
        panic!("a datagram comes twice, or is another session's");
    }

    /// Something moved.
    pub fn note_moved(&mut self, now: u64) {
        (self.last_moved, self.moved_in_run) = (Some(now), true);
    }

    fn idle_timeout(&self) -> Option<u64> {
        match self.draining {
            Some(_) => Some(self.timeouts.connectionless.map_or(DRAINING_IDLE, |idle| idle.min(DRAINING_IDLE))),
            None => self.timeouts.connectionless,
        }
    }

    /// Whether it goes on only for what its remote had said before it broke.
    pub fn has_last_words(&self) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.connected && remote.told_broken)
    }

    /// When it is to be run at the latest.
    pub fn deadline(&self) -> Option<u64> {
        match self.last_moved {
            Some(moved) if self.has_last_words() => {
                Some(moved + self.idle_timeout().map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES)))
            }
            Some(moved) => self.idle_timeout().map(|idle| moved + idle),
            None => Some(self.began + self.timeouts.connect),
        }
    }
}

impl Remote {
    /// What would be told of it now.
    pub fn readiness(&self) -> Readiness {
        Readiness {
            readable: self.inbox > 0 || self.broken,
            writable: (self.connected && self.room > 0) || self.broken,
            read_closed: self.broken,
            write_closed: false,
            error: self.broken,
            urgent: false,
        }
    }

    /// When something happens to it by itself.
    pub fn next(&self, now: u64) -> Option<u64> {
        match (self.broken, self.connected) {
            (true, _) => None,
            (_, false) => self.answers_at,
            (_, true) => [self.breaks_at, self.wants_room.then_some(now + 1)].into_iter().flatten().min(),
        }
    }
}
