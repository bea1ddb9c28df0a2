//! Two engines of stripes on simulated lanes. `chaos` has schedules drawn from seeds: lanes with rates and delays that
//! deliver in pieces, stall, also one way only and for good, die and come back, readers that are slow or begin late,
//! windows of one byte; after each step it checks what engines promise, and `rule` which lane ought to have data.
//! `figures` has lanes with rates and delays, and measures how much goes through.

mod chaos;
mod figures;
mod lane;
mod network;
mod rule;

use crate::{ENOUGH_FOR_COVERAGE, Tally, explore};
use chaos::{Chaos, Report};

/// Schedules that are run unless the environment says otherwise.
const SCHEDULES: u64 = 100_000;

/// What many schedules came to.
#[derive(Debug, Default)]
struct Totals {
    sum: Report,
}

impl Tally for Totals {
    type Report = Report;

    fn note(&mut self, report: &Report) {
        self.sum.add(report);
    }

    fn add(&mut self, other: &Totals) {
        self.sum.add(&other.sum);
    }
}

#[test]
fn all_schedules_keep_what_engines_promise() {
    let Some((schedules, totals)) = explore::<Totals>(SCHEDULES, simulate) else { return };
    if schedules >= ENOUGH_FOR_COVERAGE {
        assert_eq!(totals.sum.missing(), None, "something was never seen: {totals:?}");
    }
}

#[test]
fn a_seed_replays_its_schedule_of_engines() {
    for seed in 0..100 {
        assert_eq!(simulate(seed, false), simulate(seed, false), "seed {seed}");
    }
}

fn simulate(seed: u64, tracing: bool) -> Report {
    Chaos::new(seed, tracing).run()
}
