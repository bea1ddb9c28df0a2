//! The queue between those who move bytes and the thread that writes them.

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::{LOST, Rotation, lock};
use crate::endpoint::{Names, SideName};
use crate::inspect::Direction;

/// Bytes of memory that a queue may take.
pub const MOST_QUEUED: usize = 64 << 20;

/// Of these, what is kept free of bytes of sessions: for their beginnings and ends, which are small and matter more.
const RESERVE: usize = 2 << 20;

/// The most bytes in one record.
pub const MOST_BLOCK: usize = 256 << 10;

/// Blocks that are kept for what comes next, each of [`MOST_BLOCK`] bytes at most.
const SPARES: usize = 32;

/// Blocks that are smaller are not kept.
const LEAST_SPARE: usize = 8 << 10;

/// What a record takes in memory beside its bytes.
const RECORD_COST: usize = 128;

/// What happened in a session.
#[derive(Debug)]
pub enum Record {
    /// The file is to begin, if it has not, and this is to become of it.
    Begin { rotation: Option<Rotation> },
    /// It begins.
    Open(Box<Opening>),
    /// This went one way.
    Moved(Moved),
    /// One way has come to its end, and so much before it was lost.
    End { session: u64, at: u64, direction: Direction, lost: u64 },
    /// It has ended.
    Close { session: u64, at: u64, is_whole: bool, by: Option<SideName> },
    /// Nothing comes any more.
    Finish,
}

/// A session that begins.
#[derive(Debug)]
pub struct Opening {
    /// The number of the session.
    pub session: u64,
    /// When, in microseconds since the clock's origin.
    pub at: u64,
    /// Who it joins.
    pub names: Names,
    /// The name of its service.
    pub service: String,
    /// Whether it moves datagrams.
    pub has_datagrams: bool,
    /// How many of its bytes are captured; `None`: all.
    pub most: Option<u64>,
}

/// Bytes or a datagram that went one way.
#[derive(Debug)]
pub struct Moved {
    /// The number of the session.
    pub session: u64,
    /// When, in microseconds since the clock's origin.
    pub at: u64,
    /// Which way.
    pub direction: Direction,
    /// Whether it is a datagram.
    pub is_datagram: bool,
    /// Bytes, or datagrams, that were lost before it.
    pub lost: u64,
    /// What went.
    pub bytes: Vec<u8>,
}

impl Record {
    /// How much memory it takes.
    fn cost(&self) -> usize {
        match self {
            Record::Moved(moved) => moved.bytes.capacity() + RECORD_COST,
            Record::Open(_) => 5 * RECORD_COST,
            _ => RECORD_COST,
        }
    }
}

/// The end into which records are put.
#[derive(Debug)]
pub struct Queue {
    records: Sender<Record>,
    spares: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

/// The end from which they are taken.
#[derive(Debug)]
pub struct QueueEnd {
    records: Receiver<Record>,
    spares: Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The memory that records take which are on their way.
    queued: AtomicUsize,
    /// Sessions whose end found no room.
    forgotten: Mutex<Vec<u64>>,
}

/// An empty queue.
pub fn queue() -> (Queue, QueueEnd) {
    let (records, taken) = unbounded();
    let (returned, spares) = bounded(SPARES);
    let shared = Arc::new(Shared::default());
    let end = QueueEnd { records: taken, spares: returned, shared: shared.clone() };
    (Queue { records, spares, shared }, end)
}

impl Queue {
    /// Puts a record into the queue, if there is room. What is not taken is counted as lost.
    #[must_use]
    pub fn offer(&self, record: Record) -> bool {
        let most = if matches!(record, Record::Moved(_)) { MOST_QUEUED - RESERVE } else { MOST_QUEUED };
        let cost = record.cost();
        if self.shared.queued.fetch_add(cost, Relaxed) + cost <= most {
            // Without its thread, nobody waits for it.
            return self.records.send(record).is_ok();
        }
        self.shared.queued.fetch_sub(cost, Relaxed);
        LOST.fetch_add(1, Relaxed);
        if let Record::Close { session, .. } = record {
            lock(&self.shared.forgotten).push(session);
        }
        false
    }

    /// Puts a record into the queue, though there be no room.
    pub fn send_always(&self, record: Record) {
        self.shared.queued.fetch_add(record.cost(), Relaxed);
        // Without its thread, nobody waits for it.
        let _ = self.records.send(record);
    }

    /// A copy of these bytes.
    pub fn copy(&self, bytes: &[u8]) -> Vec<u8> {
        if bytes.len() >= LEAST_SPARE {
            if let Ok(mut spare) = self.spares.try_recv() {
                spare.extend_from_slice(bytes);
                return spare;
            }
        }
        bytes.to_vec()
    }
}

impl QueueEnd {
    /// Where records come from.
    pub fn records(&self) -> &Receiver<Record> {
        &self.records
    }

    /// A record was taken, and holds its memory no longer.
    pub fn released(&self, bytes: Vec<u8>) {
        self.shared.queued.fetch_sub(bytes.capacity() + RECORD_COST, Relaxed);
        if bytes.capacity() >= LEAST_SPARE {
            let mut bytes = bytes;
            bytes.clear();
            // There may be enough of them.
            let _ = self.spares.try_send(bytes);
        }
    }

    /// A record without bytes was taken.
    pub fn taken(&self, record: &Record) {
        self.shared.queued.fetch_sub(record.cost(), Relaxed);
    }

    /// The sessions that have ended without a record of it, since this was asked last.
    pub fn forgotten(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.shared.forgotten))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(queue: &Queue, bytes: &[u8]) -> Record {
        let bytes = queue.copy(bytes);
        Record::Moved(Moved { session: 1, at: 0, direction: Direction::Upstream, is_datagram: false, lost: 0, bytes })
    }

    fn close(session: u64) -> Record {
        Record::Close { session, at: 0, is_whole: true, by: None }
    }

    #[test]
    fn the_queue_is_bounded_and_has_room_again() {
        let (queue, end) = queue();
        let block = vec![0; MOST_BLOCK];
        let mut taken = 0;
        while queue.offer(moved(&queue, &block)) {
            taken += 1;
        }
        assert!((200..256).contains(&taken), "{taken}");
        let mut closes = 0;
        while queue.offer(close(closes)) {
            closes += 1;
        }
        assert!(closes > 10_000, "{closes}");
        assert_eq!(end.forgotten(), [closes]);
        assert!(end.forgotten().is_empty());
        for record in end.records().try_iter() {
            match record {
                Record::Moved(moved) => end.released(moved.bytes),
                other => end.taken(&other),
            }
        }
        assert_eq!(end.shared.queued.load(Relaxed), 0);
        assert!(queue.offer(moved(&queue, &block)));
    }
}
