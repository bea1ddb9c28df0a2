//! Sessions and flows on simulated sockets, in schedules drawn from seeds.
//!
//! A seed decides everything: what the peers do and when, how the kernel queues, tells and fails, which sessions share
//! the thread, and when it drains. A seed that fails is printed; `CPROXY_SIMULATION_SEED=<seed> cargo test --test
//! simulation` runs it alone and traces it. `CPROXY_SIMULATION_SCHEDULES` is how many seeds are run, from 0.

mod dialer;
mod kernel;
mod peer;
mod pipe;
mod plan;
mod random;
mod sight;
mod socket;
mod thread;
mod traffic;

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::num::NonZero;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use plan::{Plan, Style};
use random::Random;
use sight::Sights;
use thread::{Report, Thread};

/// Schedules that are run unless the environment says otherwise.
const SCHEDULES: u64 = 100_000;

/// So many schedules reach everything that they are meant to reach.
const ENOUGH_FOR_COVERAGE: u64 = 10_000;

/// How often sessions ended in each way, and what they did in all.
#[derive(Debug, Default)]
struct Totals {
    ends: BTreeMap<String, u64>,
    sights: Sights,
    turns: u64,
    bytes: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        for end in &report.ends {
            *self.ends.entry(format!("{end:?}")).or_default() += 1;
        }
        self.sights.add(&report.sights);
        self.turns += report.turns;
        self.bytes += report.bytes;
    }
}

#[test]
fn all_schedules_keep_what_sessions_promise() {
    if let Some(seed) = number_from_environment("CPROXY_SIMULATION_SEED") {
        println!("{:?}", simulate(seed, true));
        return;
    }
    let schedules = number_from_environment("CPROXY_SIMULATION_SCHEDULES").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    let failure = Mutex::new(None);
    scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| work(&next, schedules, &totals, &failure));
        }
    });
    if let Some((seed, message)) = failure.into_inner().unwrap() {
        panic!("seed {seed}: {message}\nreplay it: CPROXY_SIMULATION_SEED={seed} cargo test --test simulation");
    }
    let totals = totals.into_inner().unwrap();
    println!("{schedules} schedules: {totals:#?}");
    if schedules >= ENOUGH_FOR_COVERAGE {
        assert_eq!(totals.ends.len(), 9, "some way for a session to end was never taken: {totals:?}");
        assert_eq!(totals.sights.missing(), None, "something was never seen: {totals:?}");
    }
}

#[test]
fn a_seed_replays_its_schedule() {
    for seed in 0..100 {
        assert_eq!(simulate(seed, false), simulate(seed, false), "seed {seed}");
    }
}

/// Runs one seed after another until there are no more or one fails.
fn work(next: &AtomicU64, schedules: u64, totals: &Mutex<Totals>, failure: &Mutex<Option<(u64, String)>>) {
    let mut own = Totals::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= schedules {
            break;
        }
        match panic::catch_unwind(|| simulate(seed, false)) {
            Ok(report) => own.add(&report),
            Err(payload) => {
                next.store(schedules, Ordering::Relaxed);
                failure.lock().unwrap().get_or_insert((seed, message(payload.as_ref())));
            }
        }
    }
    let mut totals = totals.lock().unwrap();
    totals.sights.add(&own.sights);
    totals.turns += own.turns;
    totals.bytes += own.bytes;
    for (end, count) in own.ends {
        *totals.ends.entry(end).or_default() += count;
    }
}

/// Runs the schedule of a seed.
fn simulate(seed: u64, tracing: bool) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(&mut random);
    match plan.style {
        Style::Epoll | Style::Kqueue => Thread::<true>::new(plan, random, tracing).run(),
        Style::Poll => Thread::<false>::new(plan, random, tracing).run(),
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
