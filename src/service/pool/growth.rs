//! Slow start: the weights of remotes that came or came back a short while ago.

use super::{Member, Policy};

/// A share grows in so many steps.
const STEPS: u64 = 16;

/// How far those that grow are at one time, in milliseconds.
#[derive(Debug)]
pub struct Growth {
    slow_start: Option<u64>,
    now: u64,
    /// When the next step is due; `None`: none of them grows.
    pub next_step: Option<u64>,
}

impl Growth {
    /// Of these.
    pub fn of(members: &[Member], policy: &Policy, now: u64) -> Growth {
        let mut growth = Growth { slow_start: policy.slow_start, now, next_step: None };
        growth.next_step = members.iter().filter_map(|member| growth.next_step_of(member)).min();
        growth
    }

    /// The weight of one beside the others: at least 1, and less than it will be as long as it grows.
    pub fn weight(&self, member: &Member) -> u32 {
        let weight = u32::from(member.weight.max(1));
        match self.next_step {
            None => weight,
            Some(_) => (weight * self.steps(member).unwrap_or(STEPS) as u32).max(1),
        }
    }

    /// How many steps one has behind it; `None`: all.
    fn steps(&self, member: &Member) -> Option<u64> {
        let slow_start = u128::from(self.slow_start?.max(1));
        let over = self.now.saturating_sub(member.remote.up_since()?);
        let steps = u128::from(over) * u128::from(STEPS) / slow_start;
        u64::try_from(steps).ok().filter(|&steps| steps < STEPS)
    }

    fn next_step_of(&self, member: &Member) -> Option<u64> {
        let part = u128::from(self.slow_start?) * u128::from(self.steps(member)? + 1);
        let time = u64::try_from(part.div_ceil(u128::from(STEPS))).ok()?;
        Some(member.remote.up_since()?.saturating_add(time))
    }
}
