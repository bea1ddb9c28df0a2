//! What has arrived and was not read: reassembly in a bounded window, and delivery in order.

use std::collections::{BTreeMap, VecDeque};

use super::frame::Violation;
use super::{CHUNK, INITIAL_WINDOW, MOST_SPARE, block_end};

/// More separate ranges than this are not kept: a peer that makes them wants to cost memory.
pub const MOST_RANGES: usize = 65_536;

/// The window at the start, in bytes, of which the peer learns with the first ACK.
const FIRST_WINDOW: u64 = 4 * INITIAL_WINDOW;

/// What needs no more than this gets a chunk that grows.
const SMALL: usize = 4096;

/// Where bytes may go at once, without being kept: what the session reads into.
#[derive(Debug)]
pub struct Direct<'a> {
    /// Room for them.
    pub buffer: &'a mut [u8],
    /// How much of it is filled.
    pub filled: usize,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The stream has ended. This is said once.
    End,
}

/// Bytes of one block of the stream, some of which have arrived.
#[derive(Debug)]
struct Chunk {
    start: u64,
    /// As far as something was ever put: what lies between may be old.
    bytes: Vec<u8>,
}

/// The receiving half of an engine.
#[derive(Debug)]
pub(super) struct Receiving {
    /// All before this offset was read.
    delivered: u64,
    /// All before this offset has arrived.
    ready: u64,
    end: Option<u64>,
    end_delivered: bool,
    /// What has arrived behind a gap: from offset to offset, none touching another.
    ranges: BTreeMap<u64, u64>,
    /// For neighbouring blocks, from the one that `delivered` is in.
    chunks: VecDeque<Option<Chunk>>,
    /// Chunks for later, all of the full length.
    spare: Vec<Vec<u8>>,
    /// How much the peer may send beyond what was read.
    window: u64,
    most_window: u64,
    /// The window end that the peer was told, on some lane.
    told: u64,
    /// The window end that it was told on all lanes: one that loses it is not all of them.
    spread: u64,
    /// The window end at which the window was last made larger.
    grown_at: u64,
    /// Since when, and from where, it is measured how much is read.
    measured: (u64, u64),
    duplicates: u64,
}

impl Receiving {
    pub(super) fn starting_at(offset: u64, most_window: u64) -> Receiving {
        Receiving {
            delivered: offset,
            ready: offset,
            end: None,
            end_delivered: false,
            ranges: BTreeMap::new(),
            chunks: VecDeque::new(),
            spare: Vec::new(),
            window: FIRST_WINDOW.min(most_window),
            most_window,
            told: offset + INITIAL_WINDOW,
            spread: offset + INITIAL_WINDOW,
            grown_at: 0,
            measured: (0, offset),
            duplicates: 0,
        }
    }

    /// What has arrived without a gap, the end of the stream included.
    pub(super) fn cumulative(&self) -> u64 {
        self.ready + u64::from(self.end == Some(self.ready))
    }

    /// Bytes that came more than once.
    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Takes bytes of the stream. What is the next to be read goes to `direct`, unless something is to be read first.
    ///
    /// # Errors
    ///
    /// The peer may not send them.
    pub(super) fn data(
        &mut self,
        offset: u64,
        payload: &[u8],
        mut direct: Option<&mut Direct<'_>>,
    ) -> Result<(), Violation> {
        let end = offset + payload.len() as u64;
        if end > self.told {
            return Err(Violation("data out of the window"));
        }
        if self.end.is_some_and(|last| end > last) {
            return Err(Violation("data beyond the end of the stream"));
        }
        let mut at = offset.max(self.ready).min(end);
        self.duplicates += at - offset;
        while at < end {
            let rest = &payload[(at - offset) as usize..];
            if at == self.ready {
                let gap_end = self.ranges.first_key_value().map_or(end, |(&start, _)| start.min(end));
                self.next(&rest[..(gap_end - at) as usize], direct.as_deref_mut());
                at = gap_end;
                if let Some(range) = self.ranges.first_entry().filter(|range| *range.key() == at) {
                    self.ready = range.remove();
                    self.duplicates += self.ready.min(end) - at;
                    at = self.ready;
                }
            } else {
                at = self.behind_gap(at, &rest[..(end - at) as usize])?;
            }
        }
        Ok(())
    }

    /// How many bytes from this offset may go to the reader without coming by here: none unless they are the next, nothing
    /// is to be read before them, and they may be sent.
    pub(super) fn direct_room(&self, offset: u64) -> u64 {
        if offset != self.ready || self.delivered != self.ready {
            return 0;
        }
        let gap_end = self.ranges.first_key_value().map_or(u64::MAX, |(&start, _)| start);
        gap_end.min(self.end.unwrap_or(u64::MAX)).min(self.told) - self.ready
    }

    /// So many bytes went to the reader, at most as many as there was room for.
    pub(super) fn went_direct(&mut self, bytes: u64) {
        self.ready += bytes;
        self.deliver(bytes);
        if let Some(range) = self.ranges.first_entry().filter(|range| *range.key() == self.ready) {
            self.ready = range.remove();
        }
    }

    /// Takes bytes that nothing is missing before.
    fn next(&mut self, mut payload: &[u8], direct: Option<&mut Direct<'_>>) {
        if let Some(direct) = direct.filter(|_| self.delivered == self.ready) {
            let room = &mut direct.buffer[direct.filled..];
            let (now, later) = payload.split_at(payload.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            direct.filled += now.len();
            self.ready += now.len() as u64;
            self.deliver(now.len() as u64);
            payload = later;
        }
        self.store(self.ready, payload);
        self.ready += payload.len() as u64;
    }

    /// Takes the first of these bytes, which something is missing before, or skips what is there. Says how far it got.
    fn behind_gap(&mut self, at: u64, payload: &[u8]) -> Result<u64, Violation> {
        let end = at + payload.len() as u64;
        let before = self.ranges.range(..=at).next_back().map(|(&start, &end)| (start, end));
        if let Some((_, known)) = before.filter(|&(_, known)| known > at) {
            self.duplicates += known.min(end) - at;
            return Ok(known);
        }
        let after = self.ranges.range(at..).next().map(|(&start, &end)| (start, end));
        let gap_end = after.map_or(end, |(start, _)| start.min(end));
        let start = before.filter(|&(_, known)| known == at).map_or(at, |(start, _)| start);
        if start == at && self.ranges.len() >= MOST_RANGES {
            return Err(Violation("too many separate ranges"));
        }
        self.store(at, &payload[..(gap_end - at) as usize]);
        let mut range_end = gap_end;
        if let Some((next, next_end)) = after.filter(|&(next, _)| next == gap_end) {
            self.ranges.remove(&next);
            range_end = next_end;
        }
        self.ranges.insert(start, range_end);
        Ok(gap_end)
    }

    /// The stream ends at this offset.
    ///
    /// # Errors
    ///
    /// That contradicts what came before.
    pub(super) fn end(&mut self, offset: u64) -> Result<(), Violation> {
        if self.end.is_some_and(|end| end != offset) {
            return Err(Violation("another end of the stream"));
        }
        if offset < self.highest() {
            return Err(Violation("an end of the stream before bytes of it"));
        }
        self.end = Some(offset);
        Ok(())
    }

    /// The window follows what the lanes need: it is made larger while less than twice of what was read in `time` and
    /// `extra` bytes fit in it, or when the peer has used most of it though the reader keeps up.
    pub(super) fn grow(&mut self, time: u64, extra: u64, now: u64) {
        if self.ready - self.delivered > self.window / 4 {
            return;
        }
        let (since, from) = self.measured;
        let wanted = 2 * (self.delivered - from) + extra;
        if now >= since + time {
            self.measured = (now, self.delivered);
        }
        while now <= since + 2 * time && self.window < wanted.min(self.most_window) {
            self.window = (self.window * 2).min(self.most_window);
        }
        let used = self.highest() + self.window / 8 >= self.told;
        if used && self.grown_at != self.told {
            self.grown_at = self.told;
            self.window = (self.window * 2).min(self.most_window);
        }
    }

    /// Whether the window may become larger.
    pub(super) fn may_grow(&self) -> bool {
        self.window < self.most_window && self.end.is_none()
    }

    /// Behind the last byte that has arrived.
    fn highest(&self) -> u64 {
        self.ranges.last_key_value().map_or(self.ready, |(_, &end)| end)
    }

    fn store(&mut self, mut offset: u64, mut payload: &[u8]) {
        while !payload.is_empty() {
            let (now, later) = payload.split_at(payload.len().min((block_end(offset) - offset) as usize));
            self.store_in_chunk(offset, now);
            offset += now.len() as u64;
            payload = later;
        }
    }

    fn store_in_chunk(&mut self, offset: u64, payload: &[u8]) {
        let first = self.delivered / CHUNK as u64;
        let index = (offset / CHUNK as u64 - first) as usize;
        if self.chunks.len() <= index {
            self.chunks.resize_with(index + 1, || None);
        }
        let block_start = offset / CHUNK as u64 * CHUNK as u64;
        let start = self.delivered.max(block_start);
        let chunk = self.chunks[index].get_or_insert_with(|| Chunk { start, bytes: Vec::new() });
        let from = (offset - chunk.start) as usize;
        let to = from + payload.len();
        if chunk.bytes.len() < to {
            if to <= SMALL {
                chunk.bytes.resize(to.next_power_of_two(), 0);
            } else {
                let mut large = self.spare.pop().unwrap_or_else(|| vec![0; CHUNK]);
                large[..chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                chunk.bytes = large;
            }
        }
        chunk.bytes[from..to].copy_from_slice(payload);
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut filled = 0;
        while self.delivered < self.ready && filled < buffer.len() {
            let Some(Some(chunk)) = self.chunks.front() else { break };
            let room = &mut buffer[filled..];
            let length = room.len().min((self.ready.min(block_end(self.delivered)) - self.delivered) as usize);
            let from = (self.delivered - chunk.start) as usize;
            room[..length].copy_from_slice(&chunk.bytes[from..from + length]);
            filled += length;
            self.deliver(length as u64);
        }
        if filled > 0 {
            return Read::Bytes(filled);
        }
        if self.end == Some(self.delivered) && !self.end_delivered {
            self.end_delivered = true;
            return Read::End;
        }
        Read::Nothing
    }

    pub(super) fn readable(&self) -> bool {
        self.delivered < self.ready || self.end == Some(self.delivered) && !self.end_delivered
    }

    pub(super) fn end_delivered(&self) -> bool {
        self.end_delivered
    }

    /// Whether the end of the stream has come, with all before it.
    pub(super) fn is_complete(&self) -> bool {
        self.end == Some(self.ready)
    }

    /// So many more bytes were read.
    fn deliver(&mut self, bytes: u64) {
        let block = self.delivered / CHUNK as u64;
        self.delivered += bytes;
        if self.delivered == self.ready && self.ranges.is_empty() {
            while let Some(chunk) = self.chunks.pop_front() {
                self.recycle(chunk);
            }
            return;
        }
        for _ in block..self.delivered / CHUNK as u64 {
            match self.chunks.pop_front() {
                Some(chunk) => self.recycle(chunk),
                None => break,
            }
        }
    }

    fn recycle(&mut self, chunk: Option<Chunk>) {
        let large = chunk.map(|chunk| chunk.bytes).filter(|bytes| bytes.len() == CHUNK);
        if let Some(bytes) = large.filter(|_| self.spare.len() < MOST_SPARE) {
            self.spare.push(bytes);
        }
    }

    /// How much the peer may send beyond what was read, in bytes.
    pub(super) fn window(&self) -> u64 {
        self.window
    }

    /// Where the window ends now.
    fn window_end(&self) -> u64 {
        if self.end.is_some() { self.told } else { self.told.max(self.delivered.saturating_add(self.window)) }
    }

    /// Whether the window's end has moved so far that the peer is to be told without being asked.
    pub(super) fn has_window_news(&self) -> bool {
        self.window_end() - self.told >= (self.window / 4).max(1)
    }

    /// Whether the window's end has moved as far since the peer was told on all lanes, and it may have used what it was
    /// told then: if it waits, only news that reach it let it go on, and one lane may lose them.
    pub(super) fn has_news_for_all(&self) -> bool {
        let used = self.highest() + self.window / 8 >= self.spread;
        used && self.window_end() - self.spread >= (self.window / 4).max(1)
    }

    /// The peer is told now on all lanes.
    pub(super) fn spread_window(&mut self) {
        self.spread = self.window_end();
    }

    /// The window end for an acknowledgement that is sent now.
    pub(super) fn tell_window(&mut self) -> u64 {
        self.told = self.window_end();
        self.told
    }

    /// Whether there is memory to give back once nothing moves.
    pub(super) fn has_spare(&self) -> bool {
        !self.spare.is_empty() || self.chunks.is_empty() && self.chunks.capacity() > 8
    }

    /// Gives back the memory that an idle session does not need.
    pub(super) fn release(&mut self) {
        if self.chunks.is_empty() {
            self.spare = Vec::new();
            self.chunks = VecDeque::new();
        }
    }

    /// Bytes of memory that this takes: those for the bytes of the stream, and those for separate ranges.
    pub(super) fn memory(&self) -> (usize, usize) {
        let chunks: usize = self.chunks.iter().flatten().map(|chunk| chunk.bytes.capacity()).sum();
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        // A node of a B-tree is at least half full.
        let ranges = self.ranges.len() * 2 * size_of::<(u64, u64)>();
        (chunks + spare, ranges + self.chunks.capacity() * size_of::<Option<Chunk>>())
    }

    /// Checks what always holds.
    pub(super) fn check(&self) {
        assert!(self.delivered <= self.ready && self.ready <= self.told, "positions are out of order");
        let mut at = self.ready;
        for (&start, &end) in &self.ranges {
            assert!(at < start && start < end && end <= self.told, "ranges touch, or are out of the window");
            at = end;
        }
        assert!(self.end.is_none_or(|end| at <= end), "there are bytes beyond the end of the stream");
        let blocks = at.div_ceil(CHUNK as u64) - self.delivered / CHUNK as u64;
        assert!(self.chunks.len() as u64 <= blocks, "chunks are kept for nothing");
    }
}
