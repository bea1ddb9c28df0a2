//! How fast bytes move, by what has moved since the last time.

use std::collections::HashMap;
use std::time::Duration;

use super::snapshot::Snapshot;

/// Bytes a second, upstream and downstream.
pub type Rate = [f64; 2];

/// What had moved at one moment, and how fast it moves since.
#[derive(Debug, Default)]
pub struct Rates {
    /// What is compared with.
    before: Moved,
    /// The last that was seen; it is what is compared with when it is old enough.
    last: Moved,
}

/// How much had moved at one moment.
#[derive(Debug, Default)]
struct Moved {
    at: Duration,
    services: HashMap<String, [u64; 2]>,
    sessions: HashMap<String, [u64; 2]>,
    /// How long threads had worked, in microseconds.
    threads: HashMap<String, u64>,
}

impl Rates {
    /// What is nearer to the last moment than this says too little.
    const LEAST: Duration = Duration::from_millis(900);

    /// So long it is of use what sessions had moved.
    const LASTS: Duration = Duration::from_secs(5);

    /// Notes what has moved so far.
    pub fn add(&mut self, snapshot: &Snapshot) {
        // Who asks without sessions must not keep others from knowing how fast theirs are.
        let knows_less = snapshot.sessions.is_empty() && !self.last.sessions.is_empty();
        let least = if knows_less { Rates::LASTS } else { Rates::LEAST };
        if snapshot.uptime >= self.last.at + least {
            self.before = std::mem::replace(&mut self.last, Moved::new(snapshot));
        }
    }

    /// How fast bytes of a service move.
    pub fn of_service(&self, name: &str, bytes: [u64; 2], uptime: Duration) -> Option<Rate> {
        let before = self.reference(uptime);
        before.services.get(name).and_then(|then| before.rate(*then, bytes, uptime))
    }

    /// How fast bytes of a session move that is so old.
    pub fn of_session(&self, id: &str, bytes: [u64; 2], age: Duration, uptime: Duration) -> Option<Rate> {
        let before = self.reference(uptime);
        match before.sessions.get(id) {
            Some(then) => before.rate(*then, bytes, uptime),
            // It has begun since.
            None if !age.is_zero() && age <= uptime.saturating_sub(before.at) => {
                Some(bytes.map(|bytes| bytes as f64 / age.as_secs_f64()))
            }
            None => None,
        }
    }

    /// Which part of the time a thread works, from 0 to 1.
    pub fn of_thread(&self, name: &str, busy: u64, uptime: Duration) -> Option<f64> {
        let before = self.reference(uptime);
        let then = before.threads.get(name)?;
        before.rate([*then, 0], [busy, 0], uptime).map(|[rate, _]| (rate / 1e6).min(1.0))
    }

    fn reference(&self, uptime: Duration) -> &Moved {
        if uptime >= self.last.at + Rates::LEAST { &self.last } else { &self.before }
    }
}

impl Moved {
    fn new(snapshot: &Snapshot) -> Moved {
        let services = snapshot.services.iter().map(|service| (service.name.clone(), service.counters.bytes));
        let sessions = snapshot.sessions.iter().map(|session| (session.id.clone(), session.bytes));
        let threads = snapshot.threads.iter().filter(|thread| thread.has_answered);
        let threads = threads.map(|thread| (thread.name.clone(), thread.busy));
        Moved {
            at: snapshot.uptime,
            services: services.collect(),
            sessions: sessions.collect(),
            threads: threads.collect(),
        }
    }

    fn rate(&self, then: [u64; 2], now: [u64; 2], uptime: Duration) -> Option<Rate> {
        let seconds = uptime.checked_sub(self.at).filter(|time| !time.is_zero())?.as_secs_f64();
        Some([0, 1].map(|direction| now[direction].saturating_sub(then[direction]) as f64 / seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example::example;

    fn at(seconds: u64, bytes: u64) -> Snapshot {
        let mut snapshot = example();
        snapshot.uptime = Duration::from_secs(seconds);
        snapshot.services[0].counters.bytes = [bytes, 0];
        snapshot.sessions[0].bytes = [0, bytes];
        snapshot
    }

    #[test]
    fn a_rate_is_what_has_moved_since_the_moment_before() {
        let mut rates = Rates::default();
        let long = Duration::from_secs(3600);
        let (ten, twelve) = (Duration::from_secs(10), Duration::from_secs(12));
        rates.add(&at(10, 1000));
        assert_eq!(rates.of_session("0-17", [0, 1000], long, ten), None);
        rates.add(&at(12, 5000));
        assert_eq!(rates.of_session("0-17", [0, 5000], long, twelve), Some([0.0, 2000.0]));
        assert_eq!(rates.of_service("web", [5000, 0], twelve), Some([2000.0, 0.0]));
        assert_eq!(rates.of_service("other", [5000, 0], twelve), None);
        // One that was not there is as old as it is.
        let young = Duration::from_millis(500);
        assert_eq!(rates.of_session("0-99", [50, 0], young, twelve), Some([100.0, 0.0]));
        assert_eq!(rates.of_session("0-99", [50, 0], long, twelve), None);
        assert_eq!(rates.of_thread("io-0", 1_000_000, twelve), Some(0.5));
    }

    #[test]
    fn who_asks_without_sessions_leaves_their_rates_alone() {
        let mut rates = Rates::default();
        let long = Duration::from_secs(3600);
        rates.add(&at(10, 0));
        let without = |seconds| Snapshot { sessions: Vec::new(), ..at(seconds, 500) };
        rates.add(&without(11));
        let of_session =
            |rates: &Rates, seconds, bytes| rates.of_session("0-17", [0, bytes], long, Duration::from_secs(seconds));
        assert_eq!(of_session(&rates, 12, 4000), Some([0.0, 2000.0]));
        // After some time nobody looks at them any more.
        rates.add(&without(20));
        assert_eq!(of_session(&rates, 22, 4000), None);
        assert_eq!(rates.of_service("web", [4500, 0], Duration::from_secs(22)), Some([2000.0, 0.0]));
    }
}
