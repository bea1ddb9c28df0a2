//! The last minutes, for a chart: totals of all services at some moments.

use std::collections::VecDeque;
use std::time::Duration;

use super::snapshot::Snapshot;

/// What is known of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Moment {
    /// How long the process had been running.
    at: Duration,
    sessions: u64,
    bytes: [u64; 2],
    /// How many sessions have been connected, and how long that took them all together, in microseconds.
    connected: u64,
    connect_time: u64,
}

/// What happened between one moment and the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When it ended, in seconds before the last one did.
    pub ago: f64,
    /// Sessions that there were at its end.
    pub sessions: u64,
    /// Bytes a second, upstream and downstream.
    pub rates: [f64; 2],
    /// How long it took to connect, in seconds, on average; `None`: nobody did.
    pub connect_time: Option<f64>,
}

/// The last five minutes, as far as they are known.
#[derive(Debug, Default)]
pub struct History {
    moments: VecDeque<Moment>,
}

impl History {
    /// How far it goes back.
    pub const LENGTH: Duration = Duration::from_secs(300);

    /// Moments that are nearer to each other than this are one.
    pub const LEAST_STEP: Duration = Duration::from_millis(900);

    /// Adds what is known now, unless that was done just now.
    pub fn add(&mut self, snapshot: &Snapshot) {
        // Sums without a thread that has not answered would look as if something had been undone.
        if snapshot.threads.iter().any(|thread| !thread.has_answered) {
            return;
        }
        let now = snapshot.uptime;
        if self.moments.back().is_some_and(|last| now < last.at + History::LEAST_STEP) {
            return;
        }
        let mut moment = Moment { at: now, sessions: snapshot.sessions_all, ..Moment::default() };
        for counters in snapshot.services.iter().map(|service| &service.counters) {
            moment.bytes[0] += counters.bytes[0];
            moment.bytes[1] += counters.bytes[1];
            moment.connected += counters.connect_time.count();
            moment.connect_time = moment.connect_time.wrapping_add(counters.connect_time.sum);
        }
        self.moments.push_back(moment);
        // The one before the oldest that counts is where the first step begins.
        while self.moments.get(1).is_some_and(|second| second.at + History::LENGTH < now) {
            self.moments.pop_front();
        }
    }

    /// What happened, step by step.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = Step> {
        let last = self.moments.back().map_or(Duration::ZERO, |last| last.at);
        self.moments.iter().zip(self.moments.iter().skip(1)).map(move |(before, now)| Step::between(before, now, last))
    }
}

impl Step {
    fn between(before: &Moment, now: &Moment, last: Duration) -> Step {
        let seconds = (now.at - before.at).as_secs_f64();
        // A service that a reload has removed takes with it what it had counted.
        let more = |before: u64, now: u64| now.saturating_sub(before) as f64;
        let connected = more(before.connected, now.connected);
        let connect_time = more(before.connect_time, now.connect_time) / 1e6;
        Step {
            ago: (last - now.at).as_secs_f64(),
            sessions: now.sessions,
            rates: [0, 1].map(|direction| more(before.bytes[direction], now.bytes[direction]) / seconds),
            connect_time: (connected > 0.0).then(|| connect_time / connected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example::example;

    fn at(milliseconds: u64, bytes: u64) -> Snapshot {
        let mut snapshot = example();
        snapshot.uptime = Duration::from_millis(milliseconds);
        snapshot.services[0].counters.bytes = [bytes, 2 * bytes];
        snapshot
    }

    #[test]
    fn a_step_is_the_difference_of_two_moments() {
        let mut history = History::default();
        history.add(&at(1000, 1000));
        assert_eq!(history.steps().count(), 0);
        let mut second = at(3000, 5000);
        second.services[0].counters.connect_time.record(300);
        second.services[0].counters.connect_time.record(500);
        history.add(&second);
        let steps: Vec<Step> = history.steps().collect();
        let expected = Step { ago: 0.0, sessions: 2, rates: [2000.0, 4000.0], connect_time: Some(0.0004) };
        assert_eq!(steps, [expected]);
        // Too soon after the last one.
        history.add(&at(3800, 6000));
        assert_eq!(history.steps().count(), 1);
        // Less than before, as a service is gone, is nothing.
        history.add(&at(4000, 0));
        let last = history.steps().last().unwrap();
        assert_eq!((last.rates, last.connect_time), ([0.0, 0.0], None));
        assert_eq!(history.steps().next().unwrap().ago, 1.0);
    }

    #[test]
    fn five_minutes_are_kept() {
        let mut history = History::default();
        for second in 0..1000 {
            history.add(&at(1000 * second, second));
        }
        assert_eq!(history.steps().count(), 301);
        assert_eq!(history.steps().next().unwrap().ago, 300.0);
        history.add(&at(2_000_000, 0));
        assert_eq!(history.steps().count(), 1, "a step may be longer than all that");
    }

    #[test]
    fn a_moment_that_is_not_known_of_all_threads_is_left_out() {
        let mut history = History::default();
        let mut snapshot = at(1000, 5);
        snapshot.threads[0].has_answered = false;
        history.add(&snapshot);
        assert!(history.moments.is_empty());
    }
}
