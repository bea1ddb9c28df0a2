//! Whether sessions get a remote, as sessions and checks have found it: one word, which is replaced as a whole.

use super::Policy;

/// A remote is out for no longer than this at once, in milliseconds, unless it is for longer the first time.
pub const LONGEST_OUTAGE: u64 = 5 * 60 * 1000;

/// Whoever tries a remote that is out has at least so long to say what came of it before another may, in milliseconds.
const LEAST_TRIAL: u64 = 1000;

/// What is known of a remote; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is in. So many sessions could not connect to it, the first of them at this time, and none could since.
    In { failures: u16, since: u64 },
    /// Sessions could not connect to it, for so many times in a row. At this time one session may try it.
    Out { until: u64, times: u16 },
    /// One session tries it. If nothing is heard of that until this time, another may.
    Trying { until: u64, times: u16 },
    /// Checks have found it down, and they alone bring it back.
    Down,
}

/// A word has the kind in 2 bits, a count in 16 and a time in 46, which is two thousand years of milliseconds.
const TIME_BITS: u32 = 46;
const KIND_SHIFT: u32 = TIME_BITS + u16::BITS;
const LAST_TIME: u64 = (1 << TIME_BITS) - 1;

impl Health {
    /// Nothing is held against it: the word is 0.
    pub const GOOD: Health = Health::In { failures: 0, since: 0 };

    /// As one word.
    pub fn pack(self) -> u64 {
        let (kind, count, time) = match self {
            Health::In { failures, since } => (0, failures, since),
            Health::Out { until, times } => (1, times, until),
            Health::Trying { until, times } => (2, times, until),
            Health::Down => (3, 0, 0),
        };
        kind << KIND_SHIFT | u64::from(count) << TIME_BITS | time.min(LAST_TIME)
    }

    /// Out of a word.
    pub fn unpack(word: u64) -> Health {
        let (time, count) = (word & LAST_TIME, (word >> TIME_BITS) as u16);
        match word >> KIND_SHIFT {
            0 => Health::In { failures: count, since: time },
            1 => Health::Out { until: time, times: count },
            2 => Health::Trying { until: time, times: count },
            _ => Health::Down,
        }
    }

    /// Whether it is in.
    pub fn is_in(self) -> bool {
        matches!(self, Health::In { .. })
    }

    /// When one session may try it.
    pub fn retry_at(self) -> Option<u64> {
        match self {
            Health::Out { until, .. } | Health::Trying { until, .. } => Some(until),
            Health::In { .. } | Health::Down => None,
        }
    }

    /// After a session could not connect to it; `None`: as before.
    pub fn failed(self, policy: &Policy, now: u64) -> Option<Health> {
        let out = |times| Some(Health::Out { until: now.saturating_add(outage(policy, times)), times });
        match self {
            Health::In { .. } if policy.max_fails == 0 => None,
            Health::In { failures, since } => {
                let counts = failures > 0 && now.saturating_sub(since) <= policy.fail_timeout;
                let (failures, since) = if counts { (failures.saturating_add(1), since) } else { (1, now) };
                let enough = u32::from(failures) >= policy.max_fails.min(u16::MAX.into());
                if enough { out(1) } else { Some(Health::In { failures, since }) }
            }
            // Somebody tried it because there was no other, or had begun before it was out.
            Health::Out { until, .. } if now < until => None,
            Health::Out { times, .. } | Health::Trying { times, .. } => out(times.saturating_add(1)),
            Health::Down => None,
        }
    }

    /// After a session could connect to it; `None`: as before.
    pub fn connected(self) -> Option<Health> {
        // What a check asks for is more than a connection.
        (self != Health::GOOD && self != Health::Down).then_some(Health::GOOD)
    }

    /// After somebody has made sure that he is the one who tries it; `None`: it is not the time.
    pub fn claimed(self, policy: &Policy, now: u64) -> Option<Health> {
        match self {
            Health::Out { until, times } | Health::Trying { until, times } if until <= now => {
                let until = now.saturating_add(outage(policy, times).max(LEAST_TRIAL));
                Some(Health::Trying { until, times })
            }
            _ => None,
        }
    }
}

/// How long a remote is out for the n-th time in a row, in milliseconds: each time twice as long.
fn outage(policy: &Policy, times: u16) -> u64 {
    let doublings = u32::from(times.saturating_sub(1)).min(63);
    let longest = LONGEST_OUTAGE.max(policy.fail_timeout);
    policy.fail_timeout.max(1).saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::balancing::PoolSettings;

    fn policy() -> Policy {
        Policy::new(&PoolSettings::default())
    }

    fn after_failures(times: impl IntoIterator<Item = u64>) -> Health {
        times.into_iter().fold(Health::GOOD, |health, now| health.failed(&policy(), now).unwrap_or(health))
    }

    #[test]
    fn a_word_keeps_what_is_known() {
        for (count, time) in [(0, 0), (1, 1), (u16::MAX, LAST_TIME), (3, 123_456_789)] {
            for health in [
                Health::In { failures: count, since: time },
                Health::Out { until: time, times: count },
                Health::Trying { until: time, times: count },
                Health::Down,
            ] {
                assert_eq!(Health::unpack(health.pack()), health);
            }
        }
        assert_eq!(Health::GOOD.pack(), 0);
        let beyond = Health::Out { until: u64::MAX, times: 1 };
        assert_eq!(Health::unpack(beyond.pack()), Health::Out { until: LAST_TIME, times: 1 });
    }

    #[test]
    fn so_many_failures_within_the_time_take_it_out() {
        assert_eq!(after_failures([5, 6]), Health::In { failures: 2, since: 5 });
        assert_eq!(after_failures([5, 6, 10_005]), Health::Out { until: 20_005, times: 1 });
        // Later, they are counted anew.
        assert_eq!(after_failures([5, 6, 10_006]), Health::In { failures: 1, since: 10_006 });
        // A thread that reads the clock earlier than another reports later.
        assert_eq!(after_failures([5, 4, 3]), Health::Out { until: 10_003, times: 1 });
    }

    #[test]
    fn without_a_limit_none_is_ever_out() {
        let policy = Policy { max_fails: 0, ..policy() };
        assert_eq!(Health::GOOD.failed(&policy, 5), None);
        let many = Policy { max_fails: u32::MAX, ..policy };
        let word = (0..70_000).fold(Health::GOOD, |health, _| health.failed(&many, 5).unwrap_or(health));
        assert!(!word.is_in(), "the most that can be counted is enough");
    }

    #[test]
    fn each_further_time_is_twice_as_long_up_to_five_minutes() {
        let (mut health, mut now, mut lengths) = (after_failures([0, 0, 0]), 0, Vec::new());
        for _ in 0..8 {
            let until = health.retry_at().unwrap();
            lengths.push((until - now) / 1000);
            now = until;
            assert_eq!(health.claimed(&policy(), until - 1), None);
            let trying = health.claimed(&policy(), now).unwrap();
            assert_eq!(trying.claimed(&policy(), now), None, "one session tries it");
            health = trying.failed(&policy(), now).unwrap();
            assert_eq!(health.failed(&policy(), now), None, "what ends later was tried before");
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 300, 300, 300]);
        let forever = Policy { fail_timeout: u64::MAX, ..policy() };
        assert_eq!(outage(&forever, u16::MAX), u64::MAX);
    }

    #[test]
    fn who_never_says_what_came_of_it_does_not_keep_others_from_trying() {
        let trying = after_failures([0, 0, 0]).claimed(&policy(), 10_000).unwrap();
        assert_eq!(trying.claimed(&policy(), 19_999), None);
        assert_eq!(trying.claimed(&policy(), 20_000), Some(Health::Trying { until: 30_000, times: 1 }));
    }

    #[test]
    fn one_connection_makes_up_for_everything_but_what_checks_have_found() {
        for health in [after_failures([1]), after_failures([0, 0, 0]), Health::Trying { until: 5, times: 7 }] {
            assert_eq!(health.connected(), Some(Health::GOOD));
        }
        assert_eq!(Health::GOOD.connected(), None);
        assert_eq!(Health::Down.connected(), None);
        assert_eq!(Health::Down.failed(&policy(), 0), None);
        assert_eq!(Health::Down.claimed(&policy(), u64::MAX), None);
    }
}
