//! Least sessions: the remote that has the fewest for its weight.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Lease;
use super::tier::Candidate;

/// The one that has the fewest for its weight with one more, of those that may. Of equals, the one behind whoever was
/// chosen last. Each choice counts before the next, on whichever threads they are made.
pub fn choose(candidates: &[Candidate], cursor: &AtomicU64, may: impl Fn(&Candidate) -> bool) -> Option<Lease> {
    loop {
        let first = cursor.load(Relaxed).checked_rem(candidates.len() as u64)? as usize;
        let mut best: Option<Load> = None;
        for place in (first..candidates.len()).chain(0..first) {
            let load =
                Load { place, sessions: candidates[place].member.remote.sessions(), weight: candidates[place].weight };
            if best.as_ref().is_none_or(|best| load.is_less_than(best)) && may(&candidates[place]) {
                best = Some(load);
            }
        }
        let Load { place, sessions, .. } = best?;
        // If it has others by now, another may have fewer.
        if let Some(lease) = Lease::after(&candidates[place].member, sessions) {
            cursor.store(place as u64 + 1, Relaxed);
            return Some(lease);
        }
    }
}

/// What one has, as it was when it was looked at.
struct Load {
    place: usize,
    sessions: u32,
    weight: u32,
}

impl Load {
    fn is_less_than(&self, other: &Load) -> bool {
        let with_one_more = |sessions: u32, weight: u32| (u64::from(sessions) + 1) * u64::from(weight);
        with_one_more(self.sessions, other.weight) < with_one_more(other.sessions, self.weight)
    }
}
