//! Random: two remotes are drawn, and the better one is taken.

use super::mix::splitmix64;
use super::tier::Candidate;

/// What is drawn from: each is drawn as often as its weight says.
#[derive(Debug)]
pub struct Urn {
    /// The weight of each and of all before it.
    sums: Box<[u64]>,
}

impl Urn {
    /// One with these.
    pub fn new(candidates: &[Candidate]) -> Urn {
        let mut sum = 0;
        let add = |candidate: &Candidate| {
            sum += u64::from(candidate.weight);
            sum
        };
        Urn { sums: candidates.iter().map(add).collect() }
    }

    /// The place of the one with fewer sessions for its weight, of two that are drawn by this number; if only one of them
    /// may, that one, and if neither may, one is drawn of all that may.
    pub fn draw(&self, candidates: &[Candidate], number: u64, may: impl Fn(&Candidate) -> bool) -> Option<usize> {
        let total = *self.sums.last()?;
        let (one, other) = (below(splitmix64(number), total), below(splitmix64(!number), total));
        let (one, other) = (self.place(one), self.place(other));
        match (may(&candidates[one]), may(&candidates[other])) {
            (true, true) if has_fewer(&candidates[other], &candidates[one]) => Some(other),
            (true, _) => Some(one),
            (false, true) => Some(other),
            (false, false) => draw_of(candidates, number, may),
        }
    }

    fn place(&self, drawn: u64) -> usize {
        self.sums.partition_point(|&sum| sum <= drawn)
    }
}

/// Draws one of those that may.
#[cold]
fn draw_of(candidates: &[Candidate], number: u64, may: impl Fn(&Candidate) -> bool) -> Option<usize> {
    let mut sum = 0;
    let left: Vec<(u64, usize)> = (0..candidates.len())
        .filter(|&place| may(&candidates[place]))
        .map(|place| {
            sum += u64::from(candidates[place].weight);
            (sum, place)
        })
        .collect();
    let drawn = below(splitmix64(number), sum);
    left.iter().find(|&&(sum, _)| sum > drawn).map(|&(_, place)| place)
}

/// A number below the limit, out of one with 64 bits: each as often as another, but for one in 2^64 / limit.
fn below(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> u64::BITS) as u64
}

fn has_fewer(one: &Candidate, other: &Candidate) -> bool {
    let sessions = |candidate: &Candidate| u64::from(candidate.member.remote.sessions());
    sessions(one) * u64::from(other.weight) < sessions(other) * u64::from(one.weight)
}
