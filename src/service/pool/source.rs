//! Source: the client's address decides, by weighted rendezvous hashing.
//!
//! Each pair of a group of clients and a remote has a number, and the remote with the best number for its weight has that
//! group. So a remote that is taken away moves only the groups that it had, and a new one takes from all alike. All is
//! computed with integers, so that it comes out the same on every machine; docs/balancing.md has the formula.

use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use super::client::{BUCKET_BITS, ClientKey};
use super::mix::{fnv1a, splitmix64};
use super::tier::Candidate;

/// With more remotes than this, what was computed for a group of clients is kept: 2 MiB for a set.
const MOST_WITHOUT_TABLE: usize = 256;

/// Fractional bits of a logarithm. With the 7 bits of 64 and the 13 of the greatest weight, a product fits into 63.
const FRACTION_BITS: u32 = 43;

/// The remotes that clients are shared out to.
#[derive(Debug)]
pub struct Rendezvous {
    /// By weight: of one weight, the greatest number is the best.
    keys: Box<[u64]>,
    /// Where each is among the candidates.
    places: Box<[u16]>,
    classes: Box<[Class]>,
    /// For each group of clients, the place of its remote with 1 added; 0: not computed yet.
    table: Option<Box<[AtomicU16]>>,
}

/// Remotes of one weight.
#[derive(Debug)]
struct Class {
    weight: u64,
    members: Range<usize>,
}

/// How good a remote is for a group of clients: the less the better, and of equals the greater number.
#[derive(Debug, Clone, Copy)]
struct Score {
    number: u64,
    logarithm: u64,
    weight: u64,
}

impl Score {
    fn is_better_than(&self, other: &Score) -> bool {
        let (this, that) = (self.logarithm * other.weight, other.logarithm * self.weight);
        this < that || this == that && self.number > other.number
    }
}

impl Rendezvous {
    /// Of these candidates, 65,534 at most. A table is worth its memory only for a tier that is used all the time.
    pub fn new(candidates: &[Candidate], with_table: bool) -> Rendezvous {
        let keyed = candidates.iter().zip(0..u16::MAX).map(|(candidate, place)| {
            let key = splitmix64(fnv1a(candidate.member.remote.name.as_bytes()));
            (u64::from(candidate.weight), key, place)
        });
        let mut sorted: Vec<_> = keyed.collect();
        sorted.sort_unstable();
        let mut classes: Vec<Class> = Vec::new();
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            let first = classes.last().map_or(0, |class| class.members.end);
            classes.push(Class { weight: same[0].0, members: first..first + same.len() });
        }
        let has_table = with_table && sorted.len() > MOST_WITHOUT_TABLE;
        Rendezvous {
            keys: sorted.iter().map(|&(_, key, _)| key).collect(),
            places: sorted.iter().map(|&(_, _, place)| place).collect(),
            classes: classes.into(),
            table: has_table.then(|| (0..1 << BUCKET_BITS).map(|_| AtomicU16::new(0)).collect()),
        }
    }

    /// The place of the client's remote among those that may be.
    pub fn choose(&self, client: ClientKey, may: impl Fn(usize) -> bool) -> Option<usize> {
        let bucket = client.bucket();
        let best = match &self.table {
            Some(table) => self.look_up(&table[bucket as usize], bucket)?,
            None => self.best(bucket, |_| true)?,
        };
        if may(best) { Some(best) } else { self.best(bucket, may) }
    }

    fn look_up(&self, entry: &AtomicU16, bucket: u32) -> Option<usize> {
        match entry.load(Relaxed) {
            // All threads that compute it come to the same.
            0 => {
                let place = self.best(bucket, |_| true)?;
                entry.store(place as u16 + 1, Relaxed);
                Some(place)
            }
            known => Some(usize::from(known - 1)),
        }
    }

    /// The best of those that may be.
    fn best(&self, bucket: u32, may: impl Fn(usize) -> bool) -> Option<usize> {
        let group = splitmix64(bucket.into());
        let mut best: Option<(usize, Score)> = None;
        for Class { weight, members } in &self.classes {
            let numbers = self.keys[members.clone()].iter().map(|key| splitmix64(group ^ key));
            let numbers = numbers.zip(&self.places[members.clone()]).filter(|&(_, &place)| may(place.into()));
            let Some((number, &place)) = numbers.max_by_key(|&(number, _)| number) else { continue };
            if self.classes.len() == 1 {
                return Some(place.into());
            }
            let score = |logarithm| Score { number, logarithm, weight: *weight };
            let is_better = |score: &Score| best.is_none_or(|(_, best)| score.is_better_than(&best));
            // Most cannot be, which costs less to find out.
            let score =
                Some(score(least_logarithm(number))).filter(is_better).map(|_| score(negative_logarithm(number)));
            if let Some(score) = score.filter(is_better) {
                best = Some((place.into(), score));
            }
        }
        best.map(|(place, _)| place)
    }
}

/// -log2(number / 2^64), and of 1 instead of 0, in 2^-43; a greater number never has a greater one.
fn negative_logarithm(number: u64) -> u64 {
    let number = number.max(1);
    let zeros = number.leading_zeros();
    // From 1 to 2, in 2^-63. Squaring it doubles its logarithm, which brings out a binary digit.
    let mut mantissa = number << zeros;
    let mut digits = 0;
    for _ in 0..FRACTION_BITS {
        let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
        let digit = (square >> 64) as u64;
        mantissa = (square >> digit) as u64;
        digits = digits << 1 | digit;
    }
    (u64::from(zeros + 1) << FRACTION_BITS) - digits
}

/// No more than [`negative_logarithm`], and much cheaper: -log2(x) >= 1 - x.
fn least_logarithm(number: u64) -> u64 {
    !number >> (u64::BITS - FRACTION_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithm_is_what_the_formula_says() {
        // By another program, in whole numbers of any length.
        for (number, expected) in [
            (0, 64 << FRACTION_BITS),
            (1, 64 << FRACTION_BITS),
            (2, 63 << FRACTION_BITS),
            (3, 549_008_475_828_258),
            (1 << 63, 1 << FRACTION_BITS),
            (0x1234_5678_9abc_def0, 33_546_374_124_293),
            (u64::MAX - (1 << 40) + 1, 756_388),
            (u64::MAX, 1),
        ] {
            assert_eq!(negative_logarithm(number), expected, "{number:x}");
        }
    }

    #[test]
    fn a_greater_number_never_has_a_greater_logarithm_nor_one_below_the_bound() {
        let mut numbers: Vec<u64> = (0..200_000).map(|n| splitmix64(n) >> (n % 64)).collect();
        numbers.extend((0..1000).map(|n| u64::MAX - n));
        numbers.extend((0..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]));
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            assert!(negative_logarithm(pair[0]) >= negative_logarithm(pair[1]), "{pair:x?}");
        }
        for number in numbers {
            let exact = 64.0 - (number.max(1) as f64).log2();
            let error = negative_logarithm(number) as f64 / (1_u64 << FRACTION_BITS) as f64 - exact;
            assert!(error.abs() < 1e-11, "{number:x}");
            assert!(least_logarithm(number) <= negative_logarithm(number), "{number:x}");
        }
    }
}
