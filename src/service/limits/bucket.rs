//! How many may begin in a time: a token bucket that is one number, the time at which it is full again.

use crate::config::limits::Rate;

/// Nanoseconds in a millisecond, and in a second.
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// What a bucket is like. What is in it is the time at which it will be full, in nanoseconds since the origin of all
/// times; 0 is a full one. As this is a time, it means the same when a reload changes the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The time in which one token comes, in nanoseconds; rounded up, so that there are never too many.
    every: u64,
    /// The time in which an empty one gets full.
    whole: u64,
}

impl Bucket {
    /// That of a rate. It has room for what comes in a second, and for one at least.
    pub fn new(rate: Rate) -> Bucket {
        let (count, per) = (u64::from(rate.count.get()), u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX));
        let every = per.div_ceil(count).max(1);
        let burst = (u128::from(count) * u128::from(SECOND) / u128::from(per.max(1))) as u64;
        Bucket { every, whole: every.saturating_mul(burst.max(1)) }
    }

    /// Takes a token at this time, in milliseconds: what the bucket is then; `None`: there is none in it.
    pub fn take(self, full_at: u64, now: u64) -> Option<u64> {
        let now = now.saturating_mul(MILLISECOND);
        if full_at > now.saturating_add(self.whole).saturating_add(SECOND) {
            // It was emptied at a rate that was slower, and a second is more than the clocks of threads differ: nobody
            // waits as long as that rate would have it.
            return Some(now.saturating_add(self.whole));
        }
        let after = full_at.max(now).saturating_add(self.every);
        (after - now <= self.whole).then_some(after)
    }
}

/// Whether a bucket is full at this time, in milliseconds: it is as good as none.
pub fn is_full(full_at: u64, now: u64) -> bool {
    full_at <= now.saturating_mul(MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::limits::tests::Random;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn bucket(count: u32, seconds: u64) -> Bucket {
        Bucket::new(Rate { count: NonZeroU32::new(count).unwrap(), per: Duration::from_secs(seconds) })
    }

    /// How many of so many attempts get a token at this time.
    fn takes(bucket: Bucket, full_at: &mut u64, now: u64, attempts: u32) -> u32 {
        (0..attempts).filter(|_| bucket.take(*full_at, now).inspect(|&after| *full_at = after).is_some()).count() as u32
    }

    #[test]
    fn a_full_one_has_what_comes_in_a_second_and_one_at_least() {
        for (count, seconds, burst) in [
            (1, 1, 1),
            (10, 1, 10),
            (3, 1, 3),
            (999_999, 1, 999_999),
            (1_000_000, 1, 1_000_000),
            (10, 60, 1),
            (120, 60, 2),
            (1, 3600, 1),
        ] {
            let mut full_at = 0;
            let bucket = bucket(count, seconds);
            assert_eq!(takes(bucket, &mut full_at, 0, burst + 5), burst, "{count} in {seconds} s");
            assert!(!is_full(full_at, 999) && is_full(full_at, (seconds * 1000).max(1001)));
            // The next one comes in its time, and not before.
            let every = (seconds * 1000).div_ceil(count.into());
            assert_eq!(takes(bucket, &mut full_at, every.saturating_sub(2), 1), u32::from(every > 2 && count > 999));
            assert!(takes(bucket, &mut full_at, every + 1, 1) == 1);
        }
    }

    #[test]
    fn it_does_what_one_does_that_counts_tokens() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let (count, seconds) = (1 + random.below(50) as u32, [1, 60][random.below(2) as usize]);
            // In units of which a millisecond brings `count`, and a session takes as many as `seconds` has milliseconds.
            let (cost, most) = (seconds * 1000, u64::from(count) * 1000);
            let most = most - most % cost;
            let most = most.max(cost);
            let (mut tokens, mut last, mut now, mut full_at) = (most, 0, 0, 0);
            let bucket = bucket(count, seconds);
            // A bucket that is rounded may be late by less than a microsecond for each session, so it is only asked at
            // times that are not near those at which a token comes.
            for _ in 0..500 {
                now += random.below(2 * seconds * 1000 / u64::from(count) + 2);
                tokens = (tokens + (now - last) * u64::from(count)).min(most);
                last = now;
                let is_near = tokens % cost < u64::from(count) && tokens < most;
                if is_near {
                    continue;
                }
                let expected = tokens >= cost;
                assert_eq!(takes(bucket, &mut full_at, now, 1) == 1, expected, "seed {seed}, at {now} ms");
                tokens -= if expected { cost } else { 0 };
            }
        }
    }

    #[test]
    fn a_faster_rate_holds_at_once() {
        // What an hour would bring has been taken, and then a reload changes the rate.
        let mut full_at = 0;
        assert_eq!(takes(bucket(1, 3600), &mut full_at, 0, 5), 1);
        let faster = bucket(100, 1);
        // It begins as an empty one.
        assert_eq!(takes(faster, &mut full_at, 10, 5), 1);
        assert_eq!(takes(faster, &mut full_at, 510, 500), 50);
        assert_eq!(takes(faster, &mut full_at, 1510, 500), 100);
        // A slower one lets no more in than it may.
        assert_eq!(takes(bucket(1, 3600), &mut full_at, 5000, 5), 1);
        assert_eq!(takes(bucket(1, 3600), &mut full_at, 3_604_000, 5), 0);
    }

    #[test]
    fn over_a_long_time_it_lets_through_the_rate_whatever_is_offered() {
        for (count, seconds) in [(7, 1), (1000, 1), (3333, 1), (90, 60)] {
            let (bucket, mut full_at) = (bucket(count, seconds), 0);
            let let_through: u64 =
                (0..600_000).map(|now| u64::from(takes(bucket, &mut full_at, now, 2 + count / 500))).sum();
            let expected = u64::from(count) * 600 / seconds;
            let burst = u64::from(count) / seconds;
            assert!((expected..=expected + burst + 1).contains(&(let_through + 1)), "{let_through} of {expected}");
        }
    }
}
