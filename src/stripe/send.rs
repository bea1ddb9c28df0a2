//! What was written and is not acknowledged, and which of it waits to be sent.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use super::{CHUNK, INITIAL_WINDOW, MAX_PAYLOAD, MOST_SPARE, block_end};

/// More segments than this are not under way at a time, however short they are: what would be more waits, and goes in
/// longer ones. It bounds what segments cost here, and the separate ranges that the peer has to keep.
const MOST_SEGMENTS: usize = 16_384;

/// What is written at once and is shorter than this gets a chunk that grows.
const SMALL: usize = 4096;

/// A run of the stream that went on a lane in one frame. The end of the stream is one that takes a position.
#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    /// A bit for each lane that has it under way.
    holders: u32,
    length: u16,
    arrived: bool,
    /// Whether its number is in `lost`, perhaps because it waited once.
    queued: bool,
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }

    /// Whether no lane that is good has it, and it has not arrived.
    fn waits(&self, good: u32) -> bool {
        !self.arrived && self.holders & good == 0
    }
}

/// Bytes of one block of the stream, from the first that somebody may still ask for.
#[derive(Debug)]
struct Chunk {
    start: u64,
    /// How much of the memory is filled.
    filled: usize,
    /// The memory: what is behind the bytes is old.
    memory: Vec<u8>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.filled as u64
    }

    fn is_full(&self) -> bool {
        self.end() == block_end(self.start)
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.filled + bytes.len() >= SMALL {
            self.memory.reserve_exact(CHUNK.saturating_sub(self.memory.len()));
        }
        let (known, new) = bytes.split_at(bytes.len().min(self.memory.len() - self.filled));
        self.memory[self.filled..self.filled + known.len()].copy_from_slice(known);
        self.memory.extend_from_slice(new);
        self.filled += bytes.len();
    }
}

/// The sending half of an engine. Positions are offsets, and one more for the end of the stream.
#[derive(Debug)]
pub(super) struct Sending {
    /// For neighbouring blocks.
    chunks: VecDeque<Chunk>,
    /// Chunks for later, all of the full length.
    spare: Vec<Vec<u8>>,
    /// All before this position has been acknowledged.
    acknowledged: u64,
    /// How much was written.
    written: u64,
    finished: bool,
    /// No segment has been made of what is at this position and beyond.
    next: u64,
    /// From the first that is not acknowledged, without gaps.
    segments: VecDeque<Segment>,
    /// The number of the first of them.
    first: u64,
    /// Numbers of segments that wait to be sent again, and of some that no longer do.
    lost: BinaryHeap<Reverse<u64>>,
    /// Bytes of the segments that wait to be sent again.
    lost_bytes: u64,
    /// A bit for each lane whose segments count as under way.
    good: u32,
    window_end: u64,
}

impl Sending {
    pub(super) fn starting_at(offset: u64) -> Sending {
        Sending {
            chunks: VecDeque::new(),
            spare: Vec::new(),
            acknowledged: offset,
            written: offset,
            finished: false,
            next: offset,
            segments: VecDeque::new(),
            first: 0,
            lost: BinaryHeap::new(),
            lost_bytes: 0,
            good: 0,
            window_end: offset + INITIAL_WINDOW,
        }
    }

    /// Bytes that are kept because they are not acknowledged.
    pub(super) fn held(&self) -> u64 {
        self.written - self.acknowledged.min(self.written)
    }

    /// Takes all of these bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        debug_assert!(!self.finished || bytes.is_empty());
        while !bytes.is_empty() {
            let room = (block_end(self.written) - self.written) as usize;
            let (now, later) = bytes.split_at(bytes.len().min(room));
            let Some(chunk) = self.last_chunk(bytes.len() >= SMALL) else { return };
            chunk.put(now);
            self.written += now.len() as u64;
            bytes = later;
        }
    }

    /// Memory for what is written next, up to the end of a block.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let room = (block_end(self.written) - self.written) as usize;
        let Some(chunk) = self.last_chunk(true) else { return &mut [] };
        if chunk.memory.len() < chunk.filled + room {
            chunk.memory.reserve_exact(CHUNK.saturating_sub(chunk.memory.len()));
            chunk.memory.resize(chunk.filled + room, 0);
        }
        &mut chunk.memory[chunk.filled..chunk.filled + room]
    }

    /// So many bytes were written into it.
    pub(super) fn fill_space(&mut self, bytes: usize) {
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.filled += bytes;
            self.written += bytes as u64;
        }
    }

    /// The chunk that is written into next, which is not full.
    fn last_chunk(&mut self, large: bool) -> Option<&mut Chunk> {
        if self.chunks.back().is_none_or(Chunk::is_full) {
            let spare = if large { self.spare.pop() } else { None };
            self.chunks.push_back(Chunk { start: self.written, filled: 0, memory: spare.unwrap_or_default() });
        }
        self.chunks.back_mut()
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// The position behind all there is.
    pub(super) fn last(&self) -> u64 {
        self.written + u64::from(self.finished)
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The position behind all that was ever sent.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn window_end(&self) -> u64 {
        self.window_end
    }

    /// The peer takes bytes before this offset.
    pub(super) fn widen(&mut self, window_end: u64) {
        self.window_end = self.window_end.max(window_end);
    }

    /// Bytes that were never sent, whether they may be or not.
    pub(super) fn unsent(&self) -> u64 {
        self.written.saturating_sub(self.next)
    }

    /// Bytes that were never sent and may be.
    pub(super) fn sendable(&self) -> u64 {
        if self.segments.len() >= MOST_SEGMENTS {
            return 0;
        }
        self.written.min(self.window_end).saturating_sub(self.next)
    }

    /// Whether the end of the stream is all that was not yet sent.
    pub(super) fn end_is_next(&self) -> bool {
        self.finished && self.next == self.written
    }

    /// Bytes that wait to be sent again.
    pub(super) fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    /// Makes a segment of at most so many bytes that were never sent, or of the end of the stream, for this lane. Says
    /// its number.
    pub(super) fn cut(&mut self, most: u64, lane: usize) -> Option<u64> {
        let length = if self.end_is_next() {
            1
        } else {
            let in_block = block_end(self.next) - self.next;
            most.min(self.sendable()).min(in_block).min(MAX_PAYLOAD as u64)
        };
        if length == 0 {
            return None;
        }
        let number = self.first + self.segments.len() as u64;
        let start = self.next;
        self.next += length;
        let length = length as u16;
        self.segments.push_back(Segment { start, holders: 1 << lane, length, arrived: false, queued: false });
        Some(number)
    }

    /// The first segment that waits to be sent again, for this lane, which is a good one.
    pub(super) fn take_lost(&mut self, lane: usize) -> Option<u64> {
        while let Some(Reverse(number)) = self.lost.pop() {
            let good = self.good;
            let Some(segment) = self.segment_mut(number) else { continue };
            segment.queued = false;
            if segment.waits(good) {
                self.hold(number, lane);
                return Some(number);
            }
        }
        None
    }

    /// This lane, which is a good one, has the segment under way, too.
    pub(super) fn hold(&mut self, number: u64, lane: usize) {
        let good = self.good;
        let Some(segment) = self.segment_mut(number) else { return };
        let (waited, length) = (segment.waits(good), u64::from(segment.length));
        segment.holders |= 1 << lane;
        if waited && !segment.waits(good) {
            self.lost_bytes -= length;
        }
    }

    /// The segment has arrived on this lane.
    pub(super) fn arrived(&mut self, number: u64, lane: usize) {
        let good = self.good;
        let Some(segment) = self.segment_mut(number) else { return };
        let (waited, length) = (segment.waits(good), u64::from(segment.length));
        segment.arrived = true;
        segment.holders &= !(1 << lane);
        if waited {
            self.lost_bytes -= length;
        }
    }

    /// Says whether the segments of a lane, which are these, count as under way.
    pub(super) fn set_good(&mut self, lane: usize, good: bool, numbers: impl Iterator<Item = u64>) {
        let (before, bit) = (self.good, 1 << lane);
        self.good = if good { before | bit } else { before & !bit };
        let after = self.good;
        if before == after {
            return;
        }
        for number in numbers {
            let Some(segment) = self.segment_mut(number) else { continue };
            let length = u64::from(segment.length);
            match (segment.waits(before), segment.waits(after)) {
                (true, false) => self.lost_bytes -= length,
                (false, true) => {
                    let queued = std::mem::replace(&mut segment.queued, true);
                    self.lost_bytes += length;
                    if !queued {
                        self.lost.push(Reverse(number));
                    }
                }
                _ => {}
            }
        }
    }

    /// The lane, which is not a good one, is no more: it has not these segments.
    pub(super) fn forget_lane(&mut self, lane: usize, numbers: impl Iterator<Item = u64>) {
        for number in numbers {
            if let Some(segment) = self.segment_mut(number) {
                segment.holders &= !(1 << lane);
            }
        }
    }

    /// What of a segment is not acknowledged: `None` if nothing is or it has arrived.
    pub(super) fn open(&self, number: u64) -> Option<Range<u64>> {
        let segment = self.segment(number).filter(|segment| !segment.arrived)?;
        Some(segment.start.max(self.acknowledged)..segment.end())
    }

    /// Whether the segment has not arrived and a single good lane has it under way.
    pub(super) fn is_alone(&self, number: u64) -> bool {
        self.segment(number).is_some_and(|segment| !segment.arrived && (segment.holders & self.good).count_ones() == 1)
    }

    /// The numbers of the segments that are not acknowledged.
    pub(super) fn numbers(&self) -> Range<u64> {
        self.first..self.first + self.segments.len() as u64
    }

    /// Whether this is what the end of the stream takes.
    pub(super) fn is_end(&self, range: &Range<u64>) -> bool {
        self.finished && range.start == self.written
    }

    /// All before this position, which was sent, has arrived. Says whether that is news.
    pub(super) fn acknowledge(&mut self, position: u64) -> bool {
        if position <= self.acknowledged {
            return false;
        }
        self.acknowledged = position;
        while let Some(segment) = self.segments.front().filter(|segment| segment.end() <= position) {
            if segment.waits(self.good) {
                self.lost_bytes -= u64::from(segment.length);
            }
            self.segments.pop_front();
            self.first += 1;
        }
        while let Some(chunk) = self.chunks.front() {
            if chunk.end() > position {
                break;
            }
            self.free_first();
        }
        if self.lost.len() > 2 * self.segments.len() {
            let first = self.first;
            self.lost.retain(|&Reverse(number)| number >= first);
        }
        true
    }

    fn free_first(&mut self) {
        let Some(Chunk { memory, .. }) = self.chunks.pop_front() else { return };
        if memory.len() == CHUNK && self.spare.len() < MOST_SPARE {
            self.spare.push(memory);
        }
    }

    /// The bytes of a range that one segment has; none if it is acknowledged.
    pub(super) fn payload(&self, range: &Range<u64>) -> &[u8] {
        let Some(first) = self.chunks.front().filter(|first| range.start >= first.start) else { return &[] };
        let index = range.start / CHUNK as u64 - first.start / CHUNK as u64;
        let bytes = self.chunks.get(index as usize).and_then(|chunk| {
            let start = (range.start - chunk.start) as usize;
            chunk.memory[..chunk.filled].get(start..start + (range.end - range.start) as usize)
        });
        bytes.unwrap_or_default()
    }

    /// Whether there is memory to give back once nothing moves.
    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty() || self.segments.is_empty() && self.segments.capacity() > 16
    }

    /// Gives back the memory that an idle session does not need.
    pub(super) fn release(&mut self) {
        if self.held() == 0 {
            self.spare = Vec::new();
            self.chunks.shrink_to_fit();
            self.segments.shrink_to_fit();
            self.lost.shrink_to_fit();
        }
    }

    /// Bytes of memory that this takes: those for the bytes of the stream, and those for segments.
    pub(super) fn memory(&self) -> (usize, usize) {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.memory.capacity()).sum();
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        let segments = self.segments.capacity() * size_of::<Segment>() + self.lost.capacity() * size_of::<u64>();
        (chunks + spare, segments + self.chunks.capacity() * size_of::<Chunk>())
    }

    /// Checks what always holds; `records` are the numbers of the segments that each lane has under way.
    pub(super) fn check<R: Iterator<Item = u64>>(&self, resends: bool, records: impl Iterator<Item = R>) {
        let mut at = self.segments.front().map_or(self.acknowledged, |segment| segment.start);
        assert!(at <= self.acknowledged, "a byte that is not acknowledged is in no segment");
        let mut lost_bytes = 0;
        let mut holders = 0;
        for segment in &self.segments {
            assert_eq!(segment.start, at, "segments are not neighbours");
            assert!(segment.end() > self.acknowledged, "a segment is kept that is acknowledged");
            at = segment.end();
            holders += segment.holders.count_ones() as usize;
            if segment.waits(self.good) {
                lost_bytes += u64::from(segment.length);
                assert!(segment.queued || !resends, "a segment is forgotten");
            }
        }
        assert_eq!(at, self.next, "what was sent is in no segment");
        assert!(self.next <= self.last() && self.acknowledged <= self.next, "positions are out of order");
        assert_eq!(lost_bytes, self.lost_bytes, "what waits to be sent again is miscounted");
        let queued = self.segments.iter().filter(|segment| segment.queued).count();
        assert_eq!(self.lost.iter().filter(|lost| lost.0 >= self.first).count(), queued, "a segment is not queued");
        let mut recorded = 0;
        for (lane, numbers) in records.enumerate() {
            for number in numbers.filter(|&number| number >= self.first) {
                let segment = self.segment(number).expect("a lane has a segment that was never made");
                assert!(segment.holders & (1 << lane) != 0, "a lane has a segment that knows nothing of it");
                recorded += 1;
            }
        }
        assert_eq!(recorded, holders, "a segment is on a lane that knows nothing of it");
        let held: u64 = self.chunks.iter().map(|chunk| chunk.filled as u64).sum();
        assert!(held >= self.held(), "bytes that are not acknowledged are gone");
    }

    fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.get(number.checked_sub(self.first)? as usize)
    }

    fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.get_mut(number.checked_sub(self.first)? as usize)
    }
}
