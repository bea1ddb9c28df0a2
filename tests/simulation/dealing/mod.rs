//! Sources and their sessions: what sockets bring is dealt by the real scheduler, beside a register of who is to get what.
//!
//! A seed draws sources on a few sockets, in which order their datagrams come, what becomes of remotes, how many sessions
//! there may be, and when services are replaced, sockets are closed and the thread drains.

mod driver;
mod endpoint;
mod host;
mod plan;
mod record;
mod register;
mod sight;
mod world;

use std::collections::BTreeMap;

use super::random::Random;
use super::sight::Sights;
use super::{Tally, explore};
use driver::{Driver, Report};
use plan::Plan;
use sight::Sight;

/// Schedules that are run unless the environment says otherwise.
const SCHEDULES: u64 = 10_000;

/// So many schedules reach everything that they are meant to reach.
const ENOUGH_FOR_COVERAGE: u64 = 5_000;

/// How sessions ended, and what they did in all.
#[derive(Debug, Default)]
struct Totals {
    ends: BTreeMap<String, u64>,
    sights: Sights<Sight>,
    turns: u64,
    datagrams: u64,
}

impl Tally for Totals {
    type Report = Report;

    fn note(&mut self, report: &Report) {
        for end in &report.ends {
            *self.ends.entry(format!("{end:?}")).or_default() += 1;
        }
        self.sights.add(&report.sights);
        self.turns += report.turns;
        self.datagrams += report.datagrams;
    }

    fn add(&mut self, other: &Totals) {
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        self.sights.add(&other.sights);
        self.turns += other.turns;
        self.datagrams += other.datagrams;
    }
}

#[test]
fn all_schedules_of_sources_keep_what_dealing_promises() {
    let Some((schedules, totals)) = explore::<Totals>(SCHEDULES, simulate) else { return };
    if schedules >= ENOUGH_FOR_COVERAGE {
        assert_eq!(totals.ends.len(), 7, "some way for a session to end was never taken: {totals:?}");
        assert_eq!(totals.sights.missing(&Sight::ALL), None, "something was never seen: {totals:?}");
    }
}

#[test]
fn a_seed_replays_its_schedule_of_sources() {
    for seed in 0..100 {
        assert_eq!(simulate(seed, false), simulate(seed, false), "seed {seed}");
    }
}

/// Runs the schedule of a seed.
fn simulate(seed: u64, tracing: bool) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    Driver::new(plan, random, tracing).run()
}
