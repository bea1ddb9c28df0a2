//! The blocks of a capture file: pcapng, as draft-ietf-opsawg-pcapng describes it.
//!
//! Blocks are made whole in memory. Bytes of sessions are not copied for it: a block refers to them where they are, and all
//! parts are written with one call.

use std::io::IoSlice;
use std::ops::Range;

/// Packets begin with the header of IPv4 or IPv6 (`LINKTYPE_RAW`).
const LINK_TYPE: u16 = 101;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// What every file begins with.
pub const FIRST_BYTES: [u8; 4] = SECTION_HEADER.to_le_bytes();

/// What stands before the bytes of a packet, and its last word.
const PACKET_FRAME: usize = 32;

/// Payload that is copied, as one more part of a write costs more.
const SMALL: usize = 1 << 10;

/// The most of a comment, in bytes.
const MOST_COMMENT: usize = 2 << 10;

/// Bytes of a session in one of the blocks that a [`Batch`] was given.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The number of the block.
    pub block: usize,
    /// Which of its bytes.
    pub range: Range<usize>,
}

/// Where a part of what is to be written stands.
#[derive(Debug)]
enum Part {
    Own(Range<usize>),
    Block(Payload),
}

/// Blocks that are to be written together.
#[derive(Debug, Default)]
pub struct Batch {
    own: Vec<u8>,
    blocks: Vec<Vec<u8>>,
    parts: Vec<Part>,
    bytes: u64,
    packets: u64,
}

/// What is counted of all packets of a file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// Those that were written.
    pub written: u64,
    /// What was lost.
    pub lost: u64,
}

impl Batch {
    /// Takes bytes of a session, which packets refer to by the number that is returned.
    pub fn add_block(&mut self, bytes: Vec<u8>) -> usize {
        self.blocks.push(bytes);
        self.blocks.len() - 1
    }

    /// The bytes of a payload.
    pub fn payload(&self, payload: &Payload) -> &[u8] {
        self.blocks.get(payload.block).and_then(|block| block.get(payload.range.clone())).unwrap_or_default()
    }

    /// How many bytes are to be written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many packets are among them.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What is to be written, in order.
    pub fn slices(&self) -> Vec<IoSlice<'_>> {
        let slice = |part: &Part| match part {
            Part::Own(range) => self.own.get(range.clone()).unwrap_or_default(),
            Part::Block(payload) => self.payload(payload),
        };
        self.parts.iter().map(|part| IoSlice::new(slice(part))).collect()
    }

    /// Empties it, and returns the blocks that it was given.
    pub fn clear(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.own.clear();
        self.parts.clear();
        (self.bytes, self.packets) = (0, 0);
        self.blocks.drain(..)
    }

    /// What a file begins with: the header, which names the program, and the one interface that packets are of.
    pub fn begin_file(&mut self) {
        let start = self.own.len();
        let mut body = Vec::new();
        body.extend(0x1A2B_3C4D_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // The length of the section is not known.
        body.extend(u64::MAX.to_le_bytes());
        option(&mut body, 4, concat!("cproxy ", env!("CARGO_PKG_VERSION")).as_bytes());
        end_options(&mut body);
        block(&mut self.own, SECTION_HEADER, &body);
        body.clear();
        body.extend(LINK_TYPE.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // Packets are not cut.
        body.extend(0_u32.to_le_bytes());
        option(&mut body, 2, b"cproxy");
        option(&mut body, 3, b"sessions of a proxy; addresses, ports and times are true, packets are not");
        // Times are in microseconds.
        option(&mut body, 9, &[6]);
        end_options(&mut body);
        block(&mut self.own, INTERFACE, &body);
        self.note_own(start);
    }

    /// What has been counted until this time, in microseconds since 1970.
    pub fn statistics(&mut self, at: u64, statistics: Statistics) {
        let start = self.own.len();
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        timestamp(&mut body, at);
        option(&mut body, 4, &(statistics.written + statistics.lost).to_le_bytes());
        option(&mut body, 5, &statistics.lost.to_le_bytes());
        end_options(&mut body);
        block(&mut self.own, STATISTICS, &body);
        self.note_own(start);
    }

    /// A packet of this time, in microseconds since 1970: its headers, what follows them, and what is said of it.
    pub fn packet(&mut self, at: u64, headers: &[u8], payload: &Payload, comment: &str) {
        let start = self.own.len();
        let length = headers.len() + payload.range.len();
        let padding = length.next_multiple_of(4) - length;
        let comment = &comment[..comment.floor_char_boundary_of(MOST_COMMENT)];
        let options = if comment.is_empty() { 0 } else { 4 + comment.len().next_multiple_of(4) + 4 };
        let whole = (PACKET_FRAME + length + padding + options) as u32;
        for word in [PACKET, whole, 0] {
            self.own.extend(word.to_le_bytes());
        }
        timestamp(&mut self.own, at);
        self.own.extend((length as u32).to_le_bytes());
        self.own.extend((length as u32).to_le_bytes());
        self.own.extend_from_slice(headers);
        let tail = if payload.range.len() <= SMALL {
            let bytes = self.blocks.get(payload.block).and_then(|block| block.get(payload.range.clone()));
            self.own.extend_from_slice(bytes.unwrap_or_default());
            start
        } else {
            self.note_own(start);
            self.bytes += payload.range.len() as u64;
            self.parts.push(Part::Block(payload.clone()));
            self.own.len()
        };
        self.own.extend_from_slice(&[0; 3][..padding]);
        if !comment.is_empty() {
            option(&mut self.own, 1, comment.as_bytes());
            end_options(&mut self.own);
        }
        self.own.extend(whole.to_le_bytes());
        self.note_own(tail);
        self.packets += 1;
    }

    /// What was added to `own` from here on is the next part.
    fn note_own(&mut self, start: usize) {
        let end = self.own.len();
        self.bytes += (end - start) as u64;
        match self.parts.last_mut() {
            Some(Part::Own(range)) if range.end == start => range.end = end,
            _ => self.parts.push(Part::Own(start..end)),
        }
    }
}

/// Adds a block with this body, which is a multiple of four bytes.
fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = body.len() as u32 + 12;
    out.extend(kind.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend_from_slice(body);
    out.extend(length.to_le_bytes());
}

/// Adds an option and what fills it up to four bytes.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
}

fn end_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// A time in the two words that blocks have for it.
fn timestamp(out: &mut Vec<u8>, at: u64) {
    out.extend(((at >> 32) as u32).to_le_bytes());
    out.extend((at as u32).to_le_bytes());
}

/// Where text may be cut.
trait Cut {
    /// The last boundary of a character that is not beyond `most` bytes.
    fn floor_char_boundary_of(&self, most: usize) -> usize;
}

impl Cut for str {
    fn floor_char_boundary_of(&self, most: usize) -> usize {
        (0..=most.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(batch: &Batch) -> Vec<u8> {
        batch.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    /// The kinds and bodies of blocks, each of which says its length twice.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let length = word(bytes, 4) as usize;
            assert_eq!(length % 4, 0);
            assert_eq!(word(bytes, length - 4) as usize, length);
            blocks.push((word(bytes, 0), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn blocks_are_whole_with_payload_of_any_size() {
        let mut batch = Batch::default();
        batch.begin_file();
        let content: Vec<u8> = (0..9000_u32).map(|n| n as u8).collect();
        let block = batch.add_block(content.clone());
        let sizes = [0, 1, 2, 3, 4, 1023, 1024, 1025, 1026, 1027, 1028, 9000];
        for size in sizes {
            batch.packet(1, b"head", &Payload { block, range: 0..size }, if size % 2 == 0 { "" } else { "remark" });
        }
        batch.statistics(7, Statistics { written: 12, lost: 3 });
        let bytes = written(&batch);
        assert_eq!(bytes.len() as u64, batch.bytes());
        assert_eq!(batch.packets(), sizes.len() as u64);
        let blocks = blocks(&bytes);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [&[SECTION_HEADER, INTERFACE][..], &[PACKET; 12], &[STATISTICS]].concat());
        for ((_, body), size) in blocks[2..].iter().zip(sizes) {
            assert_eq!(body[12..20], [(size as u32 + 4).to_le_bytes(); 2].concat());
            assert_eq!(body[20..24], *b"head");
            assert_eq!(body[24..24 + size], content[..size]);
            assert_eq!(body.ends_with(&[b"remark\0\0".as_slice(), &[0; 4]].concat()), size % 2 != 0);
        }
        let blocks: Vec<Vec<u8>> = batch.clear().collect();
        assert_eq!((blocks, batch.bytes(), batch.slices().len()), (vec![content], 0, 0));
    }

    #[test]
    fn times_have_two_words() {
        let mut batch = Batch::default();
        batch.packet(0x1_0000_0002, b"", &Payload { block: 0, range: 0..0 }, "");
        assert_eq!(blocks(&written(&batch))[0].1[4..12], [1, 0, 0, 0, 2, 0, 0, 0]);
    }

    #[test]
    fn comments_are_cut_between_characters() {
        let mut batch = Batch::default();
        batch.packet(0, b"", &Payload { block: 0, range: 0..0 }, &format!("x{}", "ä".repeat(5000)));
        let body = &blocks(&written(&batch))[0].1;
        let length = usize::from(u16::from_le_bytes([body[22], body[23]]));
        assert_eq!(length, MOST_COMMENT - 1);
        assert!(std::str::from_utf8(&body[24..24 + length]).is_ok());
    }
}
