//! Chance, from a seed: splitmix64, and the stream contents that peers send.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// A generator whose whole state is one number, so that a seed replays a schedule.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Another generator, whose numbers have nothing to do with this one's.
    pub fn split(&mut self) -> Random {
        Random(self.next())
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A number from 1 to about `limit`, small ones as likely as large ones.
    pub fn size(&mut self, limit: u64) -> u64 {
        let magnitude = self.below(u64::from(limit.ilog2()) + 1);
        self.within(1 << magnitude..=(2 << magnitude) - 1)
    }
}

/// The contents repeat after a prime number of bytes, which no slip is likely to be a multiple of.
const PERIOD: usize = 8191;

/// The longest part of a stream that can be asked for.
const LONGEST: usize = 256 << 10;

static CONTENTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    let period: Vec<u8> = (0..PERIOD).map(|_| random.next() as u8).collect();
    period.iter().copied().cycle().take(PERIOD + LONGEST).collect()
});

/// A part of the endless stream of bytes of this number.
pub fn contents(stream: usize, offset: u64, length: usize) -> &'static [u8] {
    let start = (stream * 2897 + offset as usize) % PERIOD;
    &CONTENTS[start..start + length]
}
