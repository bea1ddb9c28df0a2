//! Bytes whose place in a stream can be told: both ends of a transfer have the same, so the one that receives compares
//! every byte with the one that was sent.

use crate::relay::Random;

/// Each block begins with its number in the stream, so no part of a stream is like another.
const BLOCK: usize = 1024;

/// How many blocks of random bytes are used in turn: a prime number, so that what is misplaced by a round number of
/// bytes differs behind the blocks' numbers, too.
const BLOCKS: usize = 251;

/// The bytes of a stream from a place on.
pub struct Pattern {
    /// Some blocks of it.
    blocks: Vec<u8>,
    /// How far in `blocks` the place is.
    at: usize,
    /// The number of the first of `blocks`.
    first: u64,
}

impl Pattern {
    /// The stream from its start; it is another one for each `seed`.
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let blocks = (0..BLOCK * BLOCKS / 8).flat_map(|_| random.number().to_le_bytes()).collect();
        let mut pattern = Self { blocks, at: 0, first: 0 };
        pattern.number_blocks();
        pattern
    }

    /// The next bytes of the stream; at least one.
    pub fn next(&self) -> &[u8] {
        &self.blocks[self.at..]
    }

    /// Goes on by so many bytes, of those that [`Self::next`] showed.
    pub fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        if self.at == self.blocks.len() {
            self.at = 0;
            self.first += BLOCKS as u64;
            self.number_blocks();
        }
    }

    /// How many bytes of the stream are before the place.
    pub fn position(&self) -> u64 {
        self.first * BLOCK as u64 + self.at as u64
    }

    /// Compares bytes with the next ones of the stream, and goes on by as many. An error is the place of the kibibyte
    /// that differs.
    pub fn compare(&mut self, mut received: &[u8]) -> Result<(), u64> {
        while !received.is_empty() {
            // Not much at a time, so that the place of an error says something.
            let length = received.len().min(self.next().len()).min(BLOCK - self.at % BLOCK);
            let (these, others) = received.split_at(length);
            if these != &self.next()[..length] {
                return Err(self.position());
            }
            self.advance(length);
            received = others;
        }
        Ok(())
    }

    fn number_blocks(&mut self) {
        for (number, block) in (self.first..).zip(self.blocks.chunks_exact_mut(BLOCK)) {
            // Multiplied by an odd number, it is still one that no other block has, and has no byte that stays zero.
            block[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of the stream.
    fn start(length: usize) -> Vec<u8> {
        let mut pattern = Pattern::new(1);
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let some = pattern.next().len().min(4567).min(length - bytes.len());
            bytes.extend_from_slice(&pattern.next()[..some]);
            pattern.advance(some);
        }
        bytes
    }

    #[test]
    fn the_same_stream_is_equal_however_it_is_cut() {
        let mut pattern = Pattern::new(1);
        for chunk in start(1_000_000).chunks(333) {
            pattern.compare(chunk).unwrap();
        }
        assert_eq!(pattern.position(), 1_000_000);
    }

    #[test]
    fn a_byte_that_differs_is_found() {
        let mut bytes = start(600_000);
        bytes[500_000] ^= 1;
        assert_eq!(Pattern::new(1).compare(&bytes), Err(499_712));
    }

    #[test]
    fn bytes_that_are_misplaced_or_missing_are_found() {
        let bytes = start(1_000_000);
        for distance in [1, 1024, 32 * 1024, BLOCK * BLOCKS] {
            let mut pattern = Pattern::new(1);
            pattern.compare(&bytes[..100_000]).unwrap();
            assert!(pattern.compare(&bytes[100_000 + distance..][..2048]).is_err(), "{distance}");
        }
        assert!(Pattern::new(2).compare(&bytes).is_err());
    }
}
