//! Datagrams on their way: what one system call brought, or what a sink has not taken yet.

use std::ops::Range;

pub use super::counts::{Counts, Undelivered};

/// Bytes of the largest datagram: what two bytes of length can say, and more than UDP carries.
pub const MAX_DATAGRAM: usize = 65_535;

/// Datagrams asked for in one system call. One, in the build that is compared with this one.
pub const MOST_DATAGRAMS: usize = if cfg!(cproxy_single_datagrams) { 1 } else { 32 };

/// Bytes that it takes to keep a datagram, beside its own: its place, with the spare room of a growing vector.
const SLOT_COST: usize = 16;

/// What a datagram costs beside its bytes, in bytes: a microsecond or two, in which a stream moves more than this.
pub const DATAGRAM_COST: usize = 2048;

/// Datagrams encoded for one write.
const MOST_IN_WRITE: usize = if MOST_DATAGRAMS == 1 { 1 } else { 1024 };

/// Bytes encoded for one write, unless a single datagram has more.
const MOST_ENCODED: usize = 64 << 10;

/// Bytes from the start of one datagram's room to the next's: a datagram, and as much as makes their beginnings fall
/// into different cache sets.
const STRIDE: usize = 65_536 + 1_600;

/// How datagrams are written to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One behind the other.
    Bytes,
    /// Each behind its length in two bytes, big-endian.
    Framed,
}

impl Encoding {
    /// Bytes before each datagram.
    pub fn header(self) -> usize {
        match self {
            Encoding::Bytes => 0,
            Encoding::Framed => 2,
        }
    }
}

/// Where a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    start: u32,
    length: u32,
}

/// Neighbours that have the same key.
#[derive(Debug, Clone)]
struct Run {
    key: usize,
    /// Where the first datagram of all with this key is.
    first: usize,
    slots: Range<usize>,
}

/// Datagrams at the end of a batch that are not to be taken yet; [`Batch::bring_back`] must follow.
#[derive(Debug)]
#[must_use]
pub struct Apart {
    end: usize,
    size: usize,
}

/// Datagrams in order, and how far a sink has got with them.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// Room for putting them into another order.
    spare: Vec<Slot>,
    runs: Vec<Run>,
    /// Those that are still to be taken.
    left: Range<usize>,
    /// Their bytes, and [`SLOT_COST`] more for each.
    size: usize,
    /// Bytes of the first one's encoding that a stream has taken.
    begun: usize,
    counts: Counts,
}

impl Batch {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.left = 0..0;
        self.size = 0;
        self.begun = 0;
    }

    /// Room for [`MOST_DATAGRAMS`] of any size: where each begins, for [`Batch::add`].
    pub fn rooms(&mut self) -> impl Iterator<Item = (usize, &mut [u8])> {
        self.space(MOST_DATAGRAMS * STRIDE)
            .chunks_mut(STRIDE)
            .map(|room| &mut room[..MAX_DATAGRAM])
            .enumerate()
            .map(|(index, room)| (index * STRIDE, room))
    }

    /// The first `size` bytes of the storage, whatever they hold.
    pub fn space(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < size {
            // Zeroed pages come from the system as they are touched; growing would copy.
            self.bytes = vec![0; size];
        }
        &mut self.bytes[..size]
    }

    /// Adds the datagram that was written to this place of the storage.
    pub fn add(&mut self, start: usize, length: usize) {
        debug_assert!(length <= MAX_DATAGRAM && start + length <= self.bytes.len());
        self.slots.push(Slot { start: start as u32, length: length as u32 });
        self.left.end = self.slots.len();
        self.size += length + SLOT_COST;
    }

    /// Adds the bytes at this place of the storage as datagrams of `chunk` bytes and one of the rest.
    pub fn add_chunks(&mut self, start: usize, length: usize, chunk: usize) {
        let end = start + length;
        for start in (start..end).step_by(chunk.max(1)) {
            self.add(start, chunk.min(end - start));
        }
    }

    /// Adds copies of the datagrams that are left in `other`, with how much of the first was taken.
    pub fn append(&mut self, other: &Batch) {
        if self.is_empty() {
            self.bytes.clear();
            self.clear();
            self.begun = other.begun;
        }
        self.forget_taken();
        self.bytes.reserve(other.size());
        for datagram in other.datagrams() {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(datagram);
            self.add(start, datagram.len());
        }
    }

    /// Adds copies of datagrams, each behind these bytes, which may make it no longer than [`MAX_DATAGRAM`].
    pub fn append_behind<'a>(&mut self, header: &[u8], datagrams: impl Iterator<Item = &'a [u8]>) {
        if self.is_empty() {
            self.bytes.clear();
            self.clear();
        }
        for datagram in datagrams {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(header);
            self.bytes.extend_from_slice(datagram);
            self.add(start, header.len() + datagram.len());
        }
    }

    /// Takes bytes off the front of the datagrams that are left: as many of each as `front` says, and drops those for which
    /// it says why.
    pub fn cut(&mut self, mut front: impl FnMut(&[u8]) -> Result<usize, Undelivered>) {
        let mut end = self.left.start;
        for index in self.left.clone() {
            let mut slot = self.slots[index];
            match front(&self.bytes[slot.range()]) {
                Ok(length) => {
                    let length = (length as u32).min(slot.length);
                    slot = Slot { start: slot.start + length, length: slot.length - length };
                    self.size -= length as usize;
                    self.slots[end] = slot;
                    end += 1;
                }
                Err(why) => {
                    self.size -= slot.length as usize + SLOT_COST;
                    self.counts.drop_one(why);
                }
            }
        }
        self.slots.truncate(end);
        self.left.end = end;
    }

    /// Takes so many bytes off the front of the datagram of this number, of all that were added.
    pub fn cut_one(&mut self, number: usize, length: usize) {
        let slot = &mut self.slots[number];
        let length = (length as u32).min(slot.length);
        *slot = Slot { start: slot.start + length, length: slot.length - length };
        self.size -= length as usize;
    }

    /// The datagram of this number, of all that were added.
    pub fn datagram(&self, number: usize) -> &[u8] {
        &self.bytes[self.slots[number].range()]
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Bytes that it takes to keep what is left.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of memory that it has, used or not.
    pub fn memory(&self) -> usize {
        let slots = self.slots.capacity() + self.spare.capacity();
        self.bytes.capacity() + slots * size_of::<Slot>() + self.runs.capacity() * size_of::<Run>()
    }

    /// What moving the rest costs, in bytes of a stream that could be moved instead.
    pub fn cost(&self) -> usize {
        self.size + self.left.len() * DATAGRAM_COST
    }

    /// Gives up the storage of what was taken, once it is most of it.
    fn forget_taken(&mut self) {
        let Some(first) = self.slots.get(self.left.start) else { return };
        let start = first.start;
        if start as usize <= self.bytes.len() / 2 && self.left.start <= self.slots.len() / 2 {
            return;
        }
        self.bytes.drain(..start as usize);
        self.slots.drain(..self.left.start);
        self.left = 0..self.slots.len();
        for slot in &mut self.slots {
            slot.start -= start;
        }
    }

    /// How many datagrams are left.
    pub fn count_left(&self) -> usize {
        self.left.len()
    }

    /// How many datagrams were added.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The datagrams that are left.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.slots[self.left.clone()].iter().map(|slot| &self.bytes[slot.range()])
    }

    /// Notes that the sink took the first datagrams left.
    pub fn take(&mut self, count: usize) {
        for slot in &self.slots[self.left.start..self.left.start + count] {
            self.counts.moved += u64::from(slot.length);
            self.size -= slot.length as usize + SLOT_COST;
        }
        self.counts.work += (count * DATAGRAM_COST) as u64;
        self.counts.taken += count as u64;
        self.left.start += count;
        self.begun = 0;
    }

    /// Notes that the first datagram left cannot be delivered.
    pub fn drop_first(&mut self, why: Undelivered) {
        self.size -= self.slots[self.left.start].length as usize + SLOT_COST;
        self.left.start += 1;
        self.begun = 0;
        self.counts.drop_one(why);
    }

    /// Notes that the last datagrams cannot be delivered, as many as do not fit into `room` bytes with those before
    /// them. One that a stream has taken a part of has to go on.
    pub fn drop_beyond(&mut self, room: usize, why: Undelivered) {
        while self.size > room && self.left.len() > usize::from(self.begun > 0) {
            let Some(slot) = self.slots.pop() else { return };
            self.size -= slot.length as usize + SLOT_COST;
            self.left.end -= 1;
            self.counts.drop_one(why);
        }
    }

    /// Notes that none of those left can be delivered.
    pub fn drop_all(&mut self, why: Undelivered) {
        while !self.is_empty() {
            self.drop_first(why);
        }
    }

    /// Sets those apart that are left when so many bytes have been taken; the last datagram before them may have more.
    pub fn set_apart_beyond(&mut self, bytes: u64) -> Apart {
        let mut room = bytes;
        let mut count = 0;
        for slot in &self.slots[self.left.clone()] {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(u64::from(slot.length.max(1)));
            count += 1;
        }
        let apart = self.left.start + count..self.left.end;
        let size = self.slots[apart.clone()].iter().map(|slot| slot.length as usize + SLOT_COST).sum();
        self.left.end = apart.start;
        self.size -= size;
        Apart { end: apart.end, size }
    }

    /// Adds those again that were set apart.
    pub fn bring_back(&mut self, apart: Apart) {
        self.left.end = apart.end;
        self.size += apart.size;
    }

    /// Notes a datagram that did not even get here, or was lost behind here.
    pub fn count_dropped(&mut self, why: Undelivered) {
        self.counts.drop_one(why);
    }

    /// Appends the encoding of the first datagrams left to `encoded`, from where a stream has got to.
    pub fn encode(&self, encoding: Encoding, encoded: &mut Vec<u8>) {
        let mut begun = self.begun;
        for datagram in self.datagrams().take(MOST_IN_WRITE) {
            let header = &(datagram.len() as u16).to_be_bytes()[..encoding.header()];
            if !encoded.is_empty() && encoded.len() + header.len() + datagram.len() > MOST_ENCODED {
                break;
            }
            encoded.extend_from_slice(&header[begun.min(header.len())..]);
            encoded.extend_from_slice(&datagram[begun.saturating_sub(header.len())..]);
            begun = 0;
        }
    }

    /// Notes that a stream took so many more bytes of the encoding.
    pub fn take_bytes(&mut self, bytes: usize, encoding: Encoding) {
        let mut bytes = self.begun + bytes;
        while let Some(slot) = self.slots[self.left.clone()].first() {
            let length = slot.length as usize + encoding.header();
            if bytes < length {
                break;
            }
            bytes -= length;
            self.take(1);
        }
        self.begun = bytes;
    }

    /// What became of datagrams since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Brings datagrams whose numbers have the same key together, those of the first key first; their order among
    /// themselves stays. Calls `each` with every key while only its datagrams are left.
    pub fn for_each_key(&mut self, keys: &[usize], mut each: impl FnMut(usize, &mut Batch)) {
        debug_assert_eq!(self.slots.len(), keys.len());
        if keys.windows(2).all(|pair| pair[0] == pair[1]) {
            if let Some(&key) = keys.first() {
                each(key, self);
            }
            return self.clear();
        }
        let mut slots = std::mem::take(&mut self.spare);
        std::mem::swap(&mut slots, &mut self.slots);
        let mut runs = std::mem::take(&mut self.runs);
        sort_runs(keys, &mut runs);
        self.slots.clear();
        for runs in runs.chunk_by(|one, other| one.first == other.first) {
            let first = self.slots.len();
            runs.iter().for_each(|run| self.slots.extend_from_slice(&slots[run.slots.clone()]));
            self.left = first..self.slots.len();
            self.size = self.slots[first..].iter().map(|slot| slot.length as usize + SLOT_COST).sum();
            self.begun = 0;
            each(runs[0].key, self);
        }
        (self.spare, self.runs) = (slots, runs);
        self.clear();
    }
}

/// Finds the runs of keys, and sorts them by where their keys are first. It takes no memory but that of `runs`, and no
/// time that grows with the square of their number: who floods us chooses how many there are.
fn sort_runs(keys: &[usize], runs: &mut Vec<Run>) {
    runs.clear();
    for (index, &key) in keys.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.key == key => run.slots.end += 1,
            _ => runs.push(Run { key, first: index, slots: index..index + 1 }),
        }
    }
    runs.sort_unstable_by_key(|run| (run.key, run.slots.start));
    let mut before: Option<(usize, usize)> = None;
    for run in runs.iter_mut() {
        match before {
            Some((key, first)) if key == run.key => run.first = first,
            _ => before = Some((run.key, run.first)),
        }
    }
    runs.sort_unstable_by_key(|run| (run.first, run.slots.start));
}

impl Slot {
    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(datagrams: &[&[u8]]) -> Batch {
        let mut batch = Batch::default();
        let bytes = datagrams.concat();
        batch.space(bytes.len()).copy_from_slice(&bytes);
        let mut start = 0;
        for datagram in datagrams {
            batch.add(start, datagram.len());
            start += datagram.len();
        }
        batch
    }

    fn left(batch: &Batch) -> Vec<&[u8]> {
        batch.datagrams().collect()
    }

    #[test]
    fn what_a_sink_took_is_no_longer_left() {
        let mut batch = batch(&[b"one", b"", b"three"]);
        batch.take(1);
        assert_eq!(left(&batch), [b"".as_slice(), b"three"]);
        batch.drop_first(Undelivered::TooLarge);
        batch.take(1);
        assert!(batch.is_empty());
        assert_eq!(
            batch.take_counts(),
            Counts { moved: 8, work: 2 * DATAGRAM_COST as u64, taken: 2, dropped: 1, why: Some(Undelivered::TooLarge) }
        );
        assert_eq!(batch.take_counts(), Counts::default());
    }

    #[test]
    fn a_stream_takes_any_number_of_bytes() {
        let encoded = 3 + 2 + 2 + 5 + 2;
        for first in 0..=encoded {
            let mut batch = batch(&[b"one", b"", b"three"]);
            batch.take_bytes(first, Encoding::Framed);
            batch.take_bytes(encoded - first, Encoding::Framed);
            assert!(batch.is_empty() && batch.begun == 0, "{first}");
            assert_eq!(batch.take_counts().moved, 8);
        }
        let mut batch = batch(&[b"one", b"", b"three"]);
        batch.take_bytes(8, Encoding::Framed);
        assert_eq!((left(&batch), batch.begun), (vec![b"three".as_slice()], 1));
        let mut kept = Batch::default();
        kept.append(&batch);
        assert_eq!((left(&kept), kept.begun), (vec![b"three".as_slice()], 1));
    }

    #[test]
    fn what_there_is_no_room_for_is_dropped_but_not_what_has_begun() {
        let mut batch = batch(&[b"one", b"two", b"three"]);
        batch.drop_beyond(2 * (3 + SLOT_COST), Undelivered::NoRoom);
        assert_eq!(left(&batch), [b"one", b"two"]);
        batch.take_bytes(1, Encoding::Framed);
        batch.drop_beyond(0, Undelivered::NoRoom);
        assert_eq!((left(&batch), batch.begun), (vec![b"one".as_slice()], 1));
        batch.take_bytes(4, Encoding::Framed);
        batch.drop_beyond(0, Undelivered::NoRoom);
        assert!(batch.is_empty());
        assert_eq!(batch.take_counts().dropped, 2);
    }

    #[test]
    fn what_is_set_apart_comes_back_behind_what_is_left() {
        let all: [&[u8]; 5] = [b"one", b"", b"three", b"", b"five"];
        for taken in 0..all.len() {
            for (bytes, count) in [(0, 0), (1, 1), (3, 1), (4, 2), (5, 3), (9, 3), (10, 4), (11, 5), (100, 5)] {
                let mut batch = batch(&all);
                batch.take(taken);
                let (size, left_before) = (batch.size(), batch.count_left());
                // So many of all datagrams may be moved, of which some have been.
                let before: u64 = all[..taken].iter().map(|datagram| datagram.len().max(1) as u64).sum();
                let apart = batch.set_apart_beyond(u64::saturating_sub(bytes, before));
                let expected = &all[taken..count.max(taken)];
                assert_eq!(left(&batch), expected, "{taken} taken, {bytes} bytes");
                let size_left: usize = expected.iter().map(|datagram| datagram.len() + SLOT_COST).sum();
                assert_eq!(batch.size(), size_left);
                let some = expected.len() / 2;
                batch.take(some);
                batch.bring_back(apart);
                assert_eq!(left(&batch), &all[taken + some..]);
                let gone: usize = all[taken..taken + some].iter().map(|datagram| datagram.len() + SLOT_COST).sum();
                assert_eq!((batch.size(), batch.count_left()), (size - gone, left_before - some));
            }
        }
    }

    #[test]
    fn the_encoding_goes_on_where_the_stream_stopped() {
        let whole = b"\0\x03one\0\0\0\x05three";
        for first in 0..whole.len() {
            let mut batch = batch(&[b"one", b"", b"three"]);
            batch.take_bytes(first, Encoding::Framed);
            let mut encoded = Vec::new();
            batch.encode(Encoding::Framed, &mut encoded);
            assert_eq!(encoded, whole[first..]);
        }
    }

    #[test]
    fn one_write_is_not_much_longer_than_the_largest_datagram() {
        let large = vec![7; MAX_DATAGRAM];
        for first in [large.as_slice(), b"x"] {
            let mut encoded = Vec::new();
            batch(&[first, &large, &large]).encode(Encoding::Framed, &mut encoded);
            assert_eq!(encoded.len(), first.len() + 2);
        }
    }

    #[test]
    fn what_stands_in_front_of_datagrams_is_taken_off() {
        let mut all = batch(&[b"2xxone", b"bad", b"0", b"1xthree"]);
        all.cut(|datagram| {
            let digit = char::from(datagram[0]).to_digit(10).ok_or(Undelivered::BadHeader)?;
            Ok(1 + digit as usize)
        });
        assert_eq!(left(&all), [b"one".as_slice(), b"", b"three"]);
        assert_eq!(all.size(), 8 + 3 * SLOT_COST);
        let counts = all.take_counts();
        assert_eq!((counts.dropped, counts.why), (1, Some(Undelivered::BadHeader)));
        all.cut_one(2, 2);
        assert_eq!((left(&all), all.size()), (vec![b"one".as_slice(), b"", b"ree"], 6 + 3 * SLOT_COST));
        all.take(1);
        all.cut(|_| Ok(1));
        assert_eq!((left(&all), all.size()), (vec![b"".as_slice(), b"ee"], 2 + 2 * SLOT_COST));
    }

    #[test]
    fn headers_can_be_taken_off_while_datagrams_are_dealt() {
        let mut all = batch(&[b"1a", b"2a", b"1b", b"1c", b"2b"]);
        let mut seen = Vec::new();
        all.for_each_key(&[1, 2, 1, 1, 2], |key, batch| {
            batch.cut(|datagram| if datagram == b"1b" { Err(Undelivered::BadHeader) } else { Ok(1) });
            seen.extend(batch.datagrams().map(|datagram| (key, datagram.to_vec())));
        });
        assert_eq!(seen, [(1, b"a".to_vec()), (1, b"c".to_vec()), (2, b"a".to_vec()), (2, b"b".to_vec())]);
    }

    #[test]
    fn an_empty_datagram_is_nothing_to_a_plain_stream() {
        let mut batch = batch(&[b"", b"", b"x", b""]);
        batch.take_bytes(0, Encoding::Bytes);
        assert_eq!(left(&batch), [b"x".as_slice(), b""]);
        batch.take_bytes(1, Encoding::Bytes);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_stream_is_cut_into_chunks() {
        let mut batch = Batch::default();
        batch.space(7).copy_from_slice(b"abcdefg");
        batch.add_chunks(0, 7, 3);
        assert_eq!(left(&batch), [b"abc".as_slice(), b"def", b"g"]);
    }

    #[test]
    fn datagrams_are_kept_in_order_behind_those_that_were_kept() {
        let mut kept = Batch::default();
        kept.append(&batch(&[b"a", b"bc"]));
        kept.append(&batch(&[b"", b"d"]));
        assert_eq!(left(&kept), [b"a".as_slice(), b"bc", b"", b"d"]);
        kept.take(4);
        kept.append(&batch(&[b"e"]));
        assert_eq!(left(&kept), [b"e"]);
    }

    #[test]
    fn a_queue_that_never_empties_does_not_grow() {
        let mut kept = Batch::default();
        let mut next = 0_u32;
        for number in 0..10_000_u32 {
            kept.append(&batch(&[&number.to_be_bytes()]));
            if number >= 100 {
                assert_eq!(kept.datagrams().next(), Some(next.to_be_bytes().as_slice()));
                kept.take(1);
                next += 1;
            }
        }
        assert_eq!((kept.datagrams().count(), kept.size()), (100, 2000));
        assert!(kept.bytes.len() < 1000 && kept.slots.len() < 250, "{} {}", kept.bytes.len(), kept.slots.len());
    }

    #[test]
    fn datagrams_of_one_key_come_together() {
        let mut batch = batch(&[b"1a", b"2a", b"1b", b"3a", b"2b", b"1c"]);
        let mut seen = Vec::new();
        batch.for_each_key(&[1, 2, 1, 3, 2, 1], |key, batch| {
            seen.extend(batch.datagrams().map(|datagram| (key, datagram.to_vec())));
        });
        let expected = [(1, "1a"), (1, "1b"), (1, "1c"), (2, "2a"), (2, "2b"), (3, "3a")];
        assert_eq!(seen, expected.map(|(key, text)| (key, text.as_bytes().to_vec())));
        assert!(batch.is_empty());
    }

    /// As the words above say it, one key after the other.
    #[test]
    fn datagrams_come_together_whatever_the_keys_are() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut reused = Batch::default();
        for _ in 0..500 {
            let (count, below) = (random(80) as usize, 1 + random(40));
            let mut keys: Vec<usize> = (0..count).map(|_| random(below) as usize).collect();
            if random(2) == 0 {
                // So come trains, and clients that get no session.
                keys = keys.iter().flat_map(|&key| [if key == 0 { usize::MAX } else { key }; 3]).collect();
            }
            reused.space(keys.len()).iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
            (0..keys.len()).for_each(|start| reused.add(start, 1));
            let mut seen: Vec<(usize, u8)> = Vec::new();
            let mut calls = Vec::new();
            reused.for_each_key(&keys, |key, batch| {
                assert_eq!(batch.size(), batch.datagrams().count() * (1 + SLOT_COST));
                seen.extend(batch.datagrams().map(|datagram| (key, datagram[0])));
                calls.push(key);
            });
            let mut order: Vec<usize> = Vec::new();
            keys.iter().for_each(|key| {
                if !order.contains(key) {
                    order.push(*key)
                }
            });
            let of = |&wanted: &usize| {
                let numbered = keys.iter().copied().zip(0_u8..);
                numbered.filter(move |&(key, _)| key == wanted).collect::<Vec<_>>()
            };
            let expected: Vec<(usize, u8)> = order.iter().flat_map(of).collect();
            assert_eq!((seen, calls), (expected, order), "{keys:?}");
        }
    }

    #[test]
    fn there_is_room_for_the_largest_datagrams() {
        let mut batch = Batch::default();
        let rooms: Vec<usize> = batch
            .rooms()
            .map(|(start, room)| (start, room.len()))
            .map(|(start, length)| {
                assert_eq!(length, MAX_DATAGRAM);
                start
            })
            .collect();
        assert_eq!(rooms.len(), MOST_DATAGRAMS);
        rooms.iter().for_each(|&start| batch.add(start, MAX_DATAGRAM));
        assert_eq!(batch.datagrams().count(), MOST_DATAGRAMS);
    }
}
