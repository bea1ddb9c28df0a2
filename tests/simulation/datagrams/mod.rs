//! Sessions with datagrams on at least one side, each alone in a small world of its own.
//!
//! A seed draws a client and a remote of any kind, what they send, how the kernel queues, tells and fails, and when all
//! ends. Datagrams have contents of their own, so that none can be merged, split, changed or invented unnoticed; of
//! those that do not arrive the session has to say how many.

mod driver;
pub mod dropped;
pub mod endpoint;
mod passage;
mod plan;
mod side;
mod sight;
mod world;

use std::collections::BTreeMap;

use super::plan::Style;
use super::random::Random;
use super::sight::Sights;
use super::{Tally, explore};
use driver::{Driver, Report};
use plan::Plan;
use sight::Sight;

/// Schedules that are run unless the environment says otherwise.
const SCHEDULES: u64 = 30_000;

/// So many schedules reach everything that they are meant to reach.
const ENOUGH_FOR_COVERAGE: u64 = 20_000;

/// How sessions ended, with which kinds of client and remote, and what they did in all.
#[derive(Debug, Default)]
struct Totals {
    ends: BTreeMap<String, u64>,
    pairs: BTreeMap<String, u64>,
    sights: Sights<Sight>,
    turns: u64,
    moved: u64,
}

impl Tally for Totals {
    type Report = Report;

    fn note(&mut self, report: &Report) {
        *self.ends.entry(format!("{:?}", report.end)).or_default() += 1;
        *self.pairs.entry(format!("{:?}", report.pair)).or_default() += 1;
        self.sights.add(&report.sights);
        self.turns += report.turns;
        self.moved += report.moved;
    }

    fn add(&mut self, other: &Totals) {
        for (total, added) in [(&mut self.ends, &other.ends), (&mut self.pairs, &other.pairs)] {
            for (key, count) in added {
                *total.entry(key.clone()).or_default() += count;
            }
        }
        self.sights.add(&other.sights);
        self.turns += other.turns;
        self.moved += other.moved;
    }
}

#[test]
fn all_schedules_of_datagrams_keep_what_sessions_promise() {
    let Some((schedules, totals)) = explore::<Totals>(SCHEDULES, simulate) else { return };
    if schedules >= ENOUGH_FOR_COVERAGE {
        assert_eq!(totals.ends.len(), 9, "some way for a session to end was never taken: {totals:?}");
        assert_eq!(totals.pairs.len(), 11, "some pair of endpoints was never joined: {totals:?}");
        assert_eq!(totals.sights.missing(&Sight::ALL), None, "something was never seen: {totals:?}");
    }
}

#[test]
fn a_seed_replays_its_schedule_of_datagrams() {
    for seed in 0..100 {
        assert_eq!(simulate(seed, false), simulate(seed, false), "seed {seed}");
    }
}

/// Runs the schedule of a seed.
fn simulate(seed: u64, tracing: bool) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    match plan.style {
        Style::Epoll | Style::Kqueue => Driver::<true>::new(plan, random, tracing).run(),
        Style::Poll => Driver::<false>::new(plan, random, tracing).run(),
    }
}
