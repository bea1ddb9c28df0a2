//! What the thread says when somebody looks, checked against what has happened.

use cproxy::counters::{ServiceCounters, ServicesSeen};
use cproxy::endpoint::Endpoint;
use cproxy::session::Ending;
use cproxy::thread::sessions::Sessions;

use super::Report;

/// One turn in so many is looked at.
const LOOKED_AT: u64 = 32;

/// What was seen last.
#[derive(Debug, Default)]
pub struct Counts {
    last: ServicesSeen,
}

impl Counts {
    /// Checks that what is counted never gets less, and that sessions that have ended and those that go on are all of them.
    pub fn check<E: Endpoint>(&mut self, sessions: &Sessions<E>, report: &Report, started: u64) {
        let is_over = sessions.is_empty();
        if report.turns % LOOKED_AT != 0 && !is_over {
            return;
        }
        let seen = sessions.seen(0, 2);
        let live = sessions.iter().count() as u64;
        assert_eq!((seen.thread.sessions, seen.rows.len() as u64), (live, live.min(2)));
        for (number, before) in &self.last {
            check_growth(&before.counters, &seen.services[number].counters);
        }
        let all: Vec<&ServiceCounters> = seen.services.values().map(|service| &service.counters).collect();
        let sum = |of: &dyn Fn(&ServiceCounters) -> u64| all.iter().map(|counters| of(counters)).sum::<u64>();
        assert_eq!(sum(&|counters| counters.begun), started);
        for ending in Ending::all() {
            let ends = report.ends.iter().filter(|&&end| Ending::from(end) == ending).count() as u64;
            assert_eq!(sum(&|counters| counters.ended[ending.number()]), ends, "{}", ending.word());
        }
        let ends = report.ends.len() as u64;
        assert_eq!(sum(&|counters| counters.session_time.count()), ends);
        assert_eq!(sum(&|counters| counters.session_bytes.count()), ends);
        let moved: u64 = sessions.iter().map(|(_, session)| session.moved()).sum();
        assert_eq!(sum(&|counters| counters.bytes.iter().sum()), report.bytes + moved);
        let of_remotes = |counters: &ServiceCounters| counters.remotes.values().map(|remote| remote.connected).sum();
        assert_eq!(sum(&of_remotes), sum(&|counters| counters.connect_time.count()));
        self.last = seen.services;
    }
}

fn check_growth(before: &ServiceCounters, now: &ServiceCounters) {
    assert!(before.begun <= now.begun);
    assert!(before.bytes.iter().zip(now.bytes).all(|(before, now)| *before <= now));
    assert!(before.ended.iter().zip(now.ended).all(|(before, now)| *before <= now));
    let histograms = |counters: &ServiceCounters| {
        [counters.connect_time, counters.session_time, counters.session_bytes].map(|histogram| histogram.buckets)
    };
    let (before_histograms, now_histograms) = (histograms(before), histograms(now));
    let mut buckets = before_histograms.as_flattened().iter().zip(now_histograms.as_flattened());
    assert!(buckets.all(|(before, now)| before <= now));
    for (id, before) in &before.remotes {
        let now = &now.remotes[id];
        assert!(
            before.connected <= now.connected && before.bytes[0] <= now.bytes[0] && before.bytes[1] <= now.bytes[1]
        );
    }
}
