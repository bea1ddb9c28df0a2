//! Round-robin: in which order remotes have their turns.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A cycle has no more turns than this: 1,000 remotes of weight 256 have theirs exactly. Where there would be more,
/// weights are rounded.
const MOST_TURNS: u64 = 1 << 18;

/// Up to so many looks at a weight, the order is made by the usual way.
const MOST_LOOKS: u64 = 1 << 20;

/// In each cycle, each has as many turns as its weight says, as evenly as can be.
#[derive(Debug)]
pub struct Cycle(Box<[u16]>);

impl Cycle {
    /// The cycle of as many as there are weights, 65,536 at most; no weight is 0.
    pub fn new(weights: &[u32]) -> Cycle {
        let weights = reduced(weights);
        let turns: u64 = weights.iter().copied().map(u64::from).sum();
        Cycle(match turns * weights.len() as u64 {
            _ if turns == weights.len() as u64 => (0..=u16::MAX).take(weights.len()).collect(),
            looks if looks <= MOST_LOOKS => smooth(&weights),
            _ => spread(&weights),
        })
    }

    /// Whose turn it is; those that may not have one are skipped. The cursor is that of all who share the cycle: whatever
    /// their number and order, they come to what one alone would come to. If nobody may, it stays where it is.
    pub fn next(&self, cursor: &AtomicU64, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut found = None;
        let step = |turn: u64| {
            let ahead = (0..self.0.len() as u64).find(|&ahead| {
                found = self.at(turn.wrapping_add(ahead)).filter(|&one| may(one));
                found.is_some()
            })?;
            Some(turn.wrapping_add(ahead + 1))
        };
        cursor.fetch_update(Relaxed, Relaxed, step).ok()?;
        found
    }

    fn at(&self, turn: u64) -> Option<usize> {
        let place = turn.checked_rem(self.0.len() as u64)?;
        Some(self.0[place as usize].into())
    }
}

/// The weights in the smallest numbers that say the same.
fn reduced(weights: &[u32]) -> Vec<u32> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    if total / u64::from(divisor) <= MOST_TURNS {
        return weights.iter().map(|weight| weight / divisor).collect();
    }
    weights.iter().map(|&weight| (u64::from(weight) * MOST_TURNS / total).max(1) as u32).collect()
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Smooth weighted round-robin: each gains its weight each turn, the one that has most has the turn and pays for it
/// with the weight of all.
fn smooth(weights: &[u32]) -> Box<[u16]> {
    let total: i64 = weights.iter().copied().map(i64::from).sum();
    let mut gained = vec![0; weights.len()];
    let turn = |_| {
        let (mut most, mut best) = (0, i64::MIN);
        for (one, (gained, &weight)) in gained.iter_mut().zip(weights).enumerate() {
            *gained += i64::from(weight);
            if *gained > best {
                (most, best) = (one, *gained);
            }
        }
        gained[most] -= total;
        most as u16
    };
    (0..total).map(turn).collect()
}

/// Nearly the same for many, by sorting: each has its turns at equal distances, and those of one weight begin one after
/// the other.
fn spread(weights: &[u32]) -> Box<[u16]> {
    let mut by_weight: Vec<(u32, u16)> = weights.iter().copied().zip(0..=u16::MAX).collect();
    by_weight.sort_unstable();
    let mut turns = Vec::with_capacity(weights.iter().sum::<u32>() as usize);
    for same in by_weight.chunk_by(|a, b| a.0 == b.0) {
        let (weight, count) = (u64::from(same[0].0), same.len() as u64);
        for (order, &(_, one)) in (0..).zip(same) {
            // The cycle lasts 2^34: each product is below 2^19 times that.
            let time = |turn: u64| ((2 * (turn * count + order) + 1) << 34) / (2 * count * weight);
            turns.extend((0..weight).map(|turn| time(turn) << u16::BITS | u64::from(one)));
        }
    }
    turns.sort_unstable();
    turns.into_iter().map(|turn| turn as u16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(cycle: &Cycle, members: usize) -> Vec<u32> {
        let mut counts = vec![0; members];
        cycle.0.iter().for_each(|&one| counts[usize::from(one)] += 1);
        counts
    }

    #[test]
    fn five_one_one_is_not_five_in_a_row() {
        assert_eq!(*Cycle::new(&[5, 1, 1]).0, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*Cycle::new(&[80, 16, 16]).0, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*Cycle::new(&[4, 4, 4]).0, [0, 1, 2]);
        assert_eq!(*Cycle::new(&[7]).0, [0]);
        assert_eq!(Cycle::new(&[]).next(&AtomicU64::new(0), |_| true), None);
    }

    #[test]
    fn each_has_its_turns_however_the_cycle_is_made() {
        for members in [2, 3, 10, 100, 1000] {
            let weights: Vec<u32> = (0..members).map(|n| 1 + (n * 7919) % 256).collect();
            let expected = reduced(&weights);
            assert_eq!(count(&Cycle::new(&weights), weights.len()), expected);
            assert_eq!(count(&Cycle(spread(&expected)), weights.len()), expected);
        }
        let heavy = [256, 255].repeat(500);
        assert_eq!(count(&Cycle::new(&heavy), 1000), heavy);
        assert_eq!(Cycle::new(&vec![3; 65_536]).0.len(), 65_536);
    }

    #[test]
    fn a_cycle_that_would_be_too_long_is_rounded() {
        let weights: Vec<u32> = (0..2000).map(|n| 4096 - n % 2).collect();
        let counts = count(&Cycle::new(&weights), weights.len());
        assert!(counts.iter().all(|&count| count == 131 || count == 130), "{counts:?}");
        let uneven: Vec<u32> = (0..2000).map(|n| if n == 0 { 1 } else { 4096 }).collect();
        assert_eq!(count(&Cycle::new(&uneven), uneven.len())[0], 1, "none is left out");
    }

    #[test]
    fn turns_are_as_even_as_can_be() {
        // At any time, each has had the turns that its weight gives it, give or take those that cannot be shared.
        let uneven = |cycle: &Cycle, weights: &[u32]| {
            let total: u32 = weights.iter().sum();
            let mut had = vec![0; weights.len()];
            let mut worst: f64 = 0.0;
            for (turn, &one) in (1..).zip(&cycle.0) {
                had[usize::from(one)] += 1;
                for (&had, &weight) in had.iter().zip(weights) {
                    worst = worst.max((f64::from(had) - f64::from(weight * turn) / f64::from(total)).abs());
                }
            }
            worst
        };
        for weights in [vec![5, 1, 1], vec![3, 2], vec![256, 1, 7, 100], vec![1, 2, 3, 4, 5, 6, 7, 8, 9]] {
            assert!(uneven(&Cycle::new(&weights), &weights) < 2.0, "{weights:?}");
            assert!(uneven(&Cycle(spread(&weights)), &weights) < 2.0, "{weights:?}");
        }
    }

    #[test]
    fn who_may_not_is_skipped_and_the_others_keep_their_shares() {
        let (cycle, cursor) = (Cycle::new(&[5, 1, 1]), AtomicU64::new(0));
        let turns: Vec<_> = (0..12).map_while(|_| cycle.next(&cursor, |one| one != 1)).collect();
        assert_eq!(turns, [0, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0, 0]);
        assert_eq!(cycle.next(&cursor, |_| false), None);
    }
}
