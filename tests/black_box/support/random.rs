//! Random numbers that a seed repeats, and digests of what went through.

use std::hash::{DefaultHasher, Hasher};

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// The length and a hash of a stream of bytes, however it was cut into pieces.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    hasher: DefaultHasher,
    length: u64,
}

impl Digest {
    pub fn add(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        bytes.iter().for_each(|byte| self.hasher.write_u8(*byte));
    }

    /// The length and the hash.
    pub fn value(&self) -> (u64, u64) {
        (self.length, self.hasher.finish())
    }
}
