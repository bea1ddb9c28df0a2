//! What is on its way from one side of a session to the other, and the check that it arrives as it came.

use std::collections::VecDeque;

use cproxy::buffers::batch::MAX_DATAGRAM;

use super::super::random::contents;
use super::super::sight::Sights;
use super::plan::Kind;
use super::sight::Sight;

/// A datagram that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub number: usize,
    pub length: usize,
}

/// What a datagram counts beside its bytes: among those that are kept, and against a budget.
pub const SLOT_COST: u64 = 16;
const MOVING_COST: u64 = SLOT_COST + 2048;

/// Bytes of a stream that become one datagram at most, whatever the sink.
const STREAM_CHUNK: usize = 16 << 10;

/// Datagrams that one peer sends, at most.
const MOST_NUMBERS: usize = 1000;

/// The contents of the datagram of this number; all of a peer's are different, and those of the two peers.
pub fn datagram(direction: usize, number: usize, length: usize) -> &'static [u8] {
    assert!(number < MOST_NUMBERS);
    contents(1 + direction * MOST_NUMBERS + number, 0, length)
}

/// A part of the stream that a peer sends.
pub fn stream(direction: usize, offset: u64, length: usize) -> &'static [u8] {
    contents(5000 + direction, offset, length)
}

/// One direction of a session.
#[derive(Debug)]
pub struct Passage {
    direction: usize,
    source: Kind,
    sink: Kind,
    /// Bytes of a stream that may become one datagram.
    chunk: usize,
    /// Datagrams that were read, and have neither been taken nor dropped.
    units: VecDeque<Unit>,
    /// Bytes that were read from a stream without datagrams, and those that have been taken or dropped.
    bytes_read: u64,
    bytes_gone: u64,
    /// What a framed sink has taken of a length, or of the datagram behind it.
    header: Vec<u8>,
    begun: Option<Unit>,
    done: usize,
    /// Something of the first datagram was taken in an earlier call.
    interrupted: bool,
    /// Bytes that the sink has taken, empty datagrams that left no trace in it, and datagrams that were dropped.
    moved: u64,
    unnoticed: u64,
    pub dropped: u64,
    /// What counts against the budget of this run.
    pub read_in_run: u64,
    /// Reads of this run.
    pub reads_in_run: u64,
}

impl Passage {
    pub fn new(direction: usize, source: Kind, sink: Kind, chunk: usize) -> Passage {
        Passage {
            direction,
            source,
            sink,
            chunk: if sink == Kind::Framed { STREAM_CHUNK } else { chunk.min(STREAM_CHUNK) },
            units: VecDeque::new(),
            bytes_read: 0,
            bytes_gone: 0,
            header: Vec::new(),
            begun: None,
            done: 0,
            interrupted: false,
            moved: 0,
            unnoticed: 0,
            dropped: 0,
            read_in_run: 0,
            reads_in_run: 0,
        }
    }

    /// A read was made. What was read before must have gone, but for what leaves no trace in a stream.
    pub fn begin_read(&mut self, budget: Option<usize>, sights: &mut Sights<Sight>) {
        assert!(!self.is_kept(), "reads though something is kept: {self:?}");
        if let Some(budget) = budget {
            assert!(self.read_in_run < budget as u64, "reads though the budget is spent");
        }
        self.reads_in_run += 1;
        if !self.units.is_empty() {
            sights.note(Sight::EmptyToStream);
        }
        self.unnoticed += self.units.len() as u64;
        self.units.clear();
    }

    pub fn add(&mut self, unit: Unit) {
        self.units.push_back(unit);
        self.read_in_run += unit.length as u64 + MOVING_COST;
    }

    pub fn add_bytes(&mut self, count: u64) {
        self.bytes_read += count;
        self.read_in_run += count + count.div_ceil(self.chunk as u64) * MOVING_COST;
    }

    /// Whether something was read that the sink has not got. An empty datagram may wait for a stream without notice.
    pub fn is_kept(&self) -> bool {
        let trace = |unit: &Unit| self.sink != Kind::Stream || unit.length > 0;
        self.bytes_read > self.bytes_gone || self.units.iter().any(trace)
    }

    /// Whether a read of so many bytes is more than one datagram.
    pub fn cuts(&self, count: usize) -> bool {
        count > self.chunk
    }

    /// Bytes that the sink has taken, of whole datagrams.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// How many empty datagrams a stream may have been taken to have taken.
    pub fn unnoticed(&self) -> u64 {
        let waiting = self.units.iter().take_while(|unit| self.sink == Kind::Stream && unit.length == 0).count();
        self.unnoticed + waiting as u64
    }

    /// How many datagrams are kept, as far as can be said.
    pub fn kept(&self) -> (u64, u64) {
        if self.source == Kind::Stream {
            let bytes = self.bytes_read - self.bytes_gone;
            return (bytes.div_ceil(self.chunk as u64), bytes);
        }
        let least = self.units.iter().filter(|unit| self.sink != Kind::Stream || unit.length > 0).count();
        (least as u64, self.units.len() as u64)
    }

    /// Bytes of what is kept, as the session counts them.
    pub fn kept_size(&self) -> usize {
        self.units.iter().map(|unit| unit.length + SLOT_COST as usize).sum()
    }

    /// The last datagrams offered found no room. Returns the first of them.
    pub fn refuse(&mut self, count: usize) -> Unit {
        let first = self.units.len() - count;
        self.dropped += count as u64;
        self.units.drain(first..).next().expect("there is one")
    }

    /// A datagram as it came: the sink took it, or nobody did.
    pub fn take(&mut self, bytes: &[u8], delivered: bool, sights: &mut Sights<Sight>) {
        let unit = self.first(bytes.len());
        assert!(self.contents(unit, 0, unit.length) == bytes, "a datagram has changed on its way: {unit:?}");
        self.end(unit, delivered, sights);
    }

    /// Bytes that a stream took.
    pub fn take_bytes(&mut self, mut bytes: &[u8], sights: &mut Sights<Sight>) {
        self.note_resumed(sights);
        while !bytes.is_empty() {
            let Some(unit) = self.begin(&mut bytes) else { break };
            let count = bytes.len().min(unit.length - self.done);
            let (these, rest) = bytes.split_at(count);
            assert!(self.contents(unit, self.done, count) == these, "{unit:?} differs from byte {} on", self.done);
            self.done += count;
            bytes = rest;
            if self.done == unit.length {
                self.begun = None;
                self.done = 0;
                self.end(unit, true, sights);
            }
        }
        self.interrupted = !self.header.is_empty() || self.begun.is_some();
    }

    /// The datagram that a stream takes now, once its length is known.
    fn begin(&mut self, bytes: &mut &[u8]) -> Option<Unit> {
        if let Some(unit) = self.begun {
            return Some(unit);
        }
        let unit = if self.sink == Kind::Framed {
            let count = bytes.len().min(2 - self.header.len());
            self.header.extend_from_slice(&bytes[..count]);
            *bytes = &bytes[count..];
            let length = u16::from_be_bytes(self.header.as_slice().try_into().ok()?);
            self.header.clear();
            self.first(length.into())
        } else {
            while self.units.front().is_some_and(|unit| unit.length == 0) {
                self.units.pop_front();
                self.unnoticed += 1;
            }
            *self.units.front().expect("bytes are sent that nobody sent")
        };
        self.begun = Some(unit);
        Some(unit)
    }

    fn note_resumed(&self, sights: &mut Sights<Sight>) {
        if self.interrupted {
            sights.note(match (self.sink, self.begun) {
                (Kind::Framed, None) => Sight::ResumedLength,
                (Kind::Framed, Some(_)) => Sight::ResumedDatagram,
                _ => Sight::ResumedBytes,
            });
        }
    }

    /// The first datagram on its way, which is to have this length.
    fn first(&self, length: usize) -> Unit {
        if self.source == Kind::Stream {
            assert!((1..=self.chunk).contains(&length), "{length} bytes of a stream are one datagram");
            assert!(length as u64 <= self.bytes_read - self.bytes_gone, "bytes are sent that nobody sent");
            return Unit { number: 0, length };
        }
        let unit = *self.units.front().expect("a datagram is sent that nobody sent");
        assert_eq!(unit.length, length, "a datagram has not the length it had: {unit:?}");
        unit
    }

    fn contents(&self, unit: Unit, from: usize, count: usize) -> &'static [u8] {
        if self.source == Kind::Stream {
            stream(self.direction, self.bytes_gone + from as u64, count)
        } else {
            &datagram(self.direction, unit.number, unit.length)[from..from + count]
        }
    }

    /// The first datagram has been taken or dropped.
    fn end(&mut self, unit: Unit, delivered: bool, sights: &mut Sights<Sight>) {
        if self.source == Kind::Stream {
            self.bytes_gone += unit.length as u64;
        } else {
            self.units.pop_front();
        }
        if !delivered {
            self.dropped += 1;
            return;
        }
        self.moved += unit.length as u64;
        match unit.length {
            0 => sights.note(Sight::EmptyPassed),
            MAX_DATAGRAM if self.sink == Kind::Framed => sights.note(Sight::LargestWent),
            _ => {}
        }
    }
}
