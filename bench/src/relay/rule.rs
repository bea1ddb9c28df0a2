//! What the relay does to a connection, and the arithmetic of a cap.

use std::time::{Duration, Instant};

/// What is done to a connection, in each of its directions alike.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// The most that passes, in bytes a second; no cap if `None`.
    pub rate: Option<f64>,
    /// How long each byte is under way in the relay.
    pub delay: Duration,
}

impl Rule {
    /// A link of so many megabits a second (of 1,000,000 bits) with this delay in each direction.
    pub fn link(megabits: f64, delay: Duration) -> Self {
        Self { rate: Some(megabits * 1e6 / 8.0), delay }
    }

    /// The most bytes that are under way in one direction: what the link holds, and a little for an end that is late.
    pub fn capacity(&self) -> usize {
        match self.rate {
            Some(rate) => (rate * self.delay.as_secs_f64()) as usize + SPARE,
            None => UNCAPPED_CAPACITY,
        }
    }

    /// How many bytes the kernel may hold in each socket, as setsockopt(2) is told it: about 10 ms of the rate, so that
    /// a thread that wakes a little late finds enough, and not so much that it would hide what the link is like.
    pub fn socket_buffer(&self) -> usize {
        self.rate
            .map_or(MOST_SOCKET_BUFFER, |rate| (rate * 0.01) as usize)
            .clamp(LEAST_SOCKET_BUFFER, MOST_SOCKET_BUFFER)
    }
}

/// What a link holds beyond its rate times its delay.
const SPARE: usize = 64 * 1024;

/// What a link without a cap holds.
const UNCAPPED_CAPACITY: usize = 4 * 1024 * 1024;

/// The bounds of a socket's buffer in the kernel.
const LEAST_SOCKET_BUFFER: usize = 64 * 1024;
const MOST_SOCKET_BUFFER: usize = 512 * 1024;

/// What a cap has saved up at most while nothing waited for it, as time at its rate.
const BURST: Duration = Duration::from_millis(5);

/// The same while something waited: a link does not stop when the thread that plays it has to wait for a core, so it
/// may make up for that much.
const CATCH_UP: Duration = Duration::from_millis(100);

/// A burst is never less than this, so that a packet fits.
const LEAST_BURST: f64 = 3000.0;

/// Bytes that are waited for before any are taken, at most, so that a fast link is not moved in crumbs.
const MOST_QUANTUM: f64 = 16_384.0;

/// A token bucket: how many bytes may pass now.
#[derive(Debug)]
pub struct Bucket {
    /// In bytes a second; no cap if `None`.
    rate: Option<f64>,
    /// Bytes that may pass.
    tokens: f64,
    /// When `tokens` was so.
    at: Instant,
    demand: Demand,
}

/// Whether bytes wait for the bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// Those that came have passed.
    Met,
    /// There were as many as were allowed, so there may be more.
    Waiting,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Option<f64>, now: Instant) -> Self {
        let mut bucket = Self { rate, tokens: 0.0, at: now, demand: Demand::Met };
        bucket.tokens = bucket.most();
        bucket
    }

    /// How many bytes may pass at `now`: none until a quantum of them may.
    pub fn allowance(&mut self, now: Instant) -> usize {
        let Some(rate) = self.rate else { return usize::MAX };
        let earned = rate * now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + earned).min(self.most());
        self.at = self.at.max(now);
        match self.tokens >= self.quantum() {
            true => self.tokens as usize,
            false => 0,
        }
    }

    /// Takes bytes that have passed, and notes whether more wait.
    pub fn take(&mut self, bytes: usize, demand: Demand) {
        self.demand = demand;
        if self.rate.is_some() {
            self.tokens -= bytes as f64;
        }
    }

    /// How long it is, from when the allowance was last asked for, until there is one.
    pub fn wait(&self) -> Duration {
        match self.rate {
            Some(rate) => Duration::from_secs_f64(((self.quantum() - self.tokens) / rate).max(0.0)),
            None => Duration::ZERO,
        }
    }

    fn burst(&self) -> f64 {
        self.rate.map_or(0.0, |rate| (rate * BURST.as_secs_f64()).max(LEAST_BURST))
    }

    /// The most that is saved up.
    fn most(&self) -> f64 {
        match (self.demand, self.rate) {
            (Demand::Waiting, Some(rate)) => (rate * CATCH_UP.as_secs_f64()).max(LEAST_BURST),
            _ => self.burst(),
        }
    }

    fn quantum(&self) -> f64 {
        (self.burst() / 2.0).min(MOST_QUANTUM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_pass_and_saves_up_a_burst_only() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Some(1e6), start);
        let mut passed = 0;
        for millisecond in 0..=10_000 {
            let allowed = bucket.allowance(start + Duration::from_millis(millisecond));
            bucket.take(allowed, Demand::Met);
            passed += allowed;
        }
        assert!((9_990_000..=10_005_000).contains(&passed), "{passed}");
        assert_eq!(bucket.allowance(start + Duration::from_secs(3600)), 5000);
    }

    #[test]
    fn a_bucket_that_was_asked_late_makes_up_for_it_if_something_waited() {
        let start = Instant::now();
        for (demand, allowed) in [(Demand::Met, 5000), (Demand::Waiting, 40_000)] {
            let mut bucket = Bucket::new(Some(1e6), start);
            bucket.take(5000, demand);
            assert_eq!(bucket.allowance(start + Duration::from_millis(40)), allowed);
        }
    }

    #[test]
    fn a_bucket_says_how_long_to_wait() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Some(1e6), start);
        assert_eq!((bucket.allowance(start), bucket.wait()), (5000, Duration::ZERO));
        bucket.take(5000, Demand::Met);
        assert_eq!((bucket.allowance(start), bucket.wait()), (0, Duration::from_micros(2500)));
        assert_eq!(bucket.allowance(start + bucket.wait() + Duration::from_micros(1)), 2501);
    }

    #[test]
    fn without_a_cap_anything_passes() {
        let mut bucket = Bucket::new(None, Instant::now());
        bucket.take(1 << 40, Demand::Waiting);
        assert_eq!((bucket.allowance(Instant::now()), bucket.wait()), (usize::MAX, Duration::ZERO));
    }

    #[test]
    fn a_link_holds_its_rate_times_its_delay() {
        let rule = Rule::link(80.0, Duration::from_millis(100));
        assert_eq!(rule.capacity(), 1_000_000 + SPARE);
    }
}
