//! Sessions and flows on simulated sockets, in schedules drawn from seeds. There are four simulations: this one has
//! threads of sessions between streams, that in `datagrams` sessions with datagrams, each alone, that in `dealing` threads
//! of sources' sessions, and that in `striping` the engines of stripes, without sockets. Those of threads drive the real
//! scheduler, beside a model of what it promises.
//!
//! A seed decides everything: what the peers do and when, how the kernel queues, tells and fails, which sessions share
//! the thread, and when it drains. A seed that fails is printed; `CPROXY_SIMULATION_SEED=<seed> cargo test --test
//! simulation <test>` runs it alone and traces it, or in all simulations if no test is named.
//! `CPROXY_SIMULATION_SCHEDULES` is how many seeds each runs, from 0.

mod datagrams;
mod dealing;
mod dialer;
mod header;
mod inspecting;
mod kernel;
mod peer;
mod pipe;
mod plan;
mod promise;
mod random;
mod sight;
mod socket;
mod striping;
mod thread;
mod traffic;
mod watch;

use std::any::Any;
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::num::NonZero;
use std::panic;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{available_parallelism, current, scope};

use plan::{Plan, Style};
use random::Random;
use sight::{Sight, Sights};
use thread::{Report, Thread};

/// Schedules that are run unless the environment says otherwise.
const SCHEDULES: u64 = 40_000;

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

impl Tally for Totals {
    type Report = Report;

    fn note(&mut self, report: &Report) {
        for end in &report.ends {
            *self.ends.entry(format!("{end:?}")).or_default() += 1;
        }
        self.sights.add(&report.sights);
        self.turns += report.turns;
        self.bytes += report.bytes;
    }

    fn add(&mut self, other: &Totals) {
        for (end, count) in &other.ends {
            *self.ends.entry(end.clone()).or_default() += count;
        }
        self.sights.add(&other.sights);
        self.turns += other.turns;
        self.bytes += other.bytes;
    }
}

#[test]
fn all_schedules_keep_what_sessions_promise() {
    let Some((schedules, totals)) = explore::<Totals>(SCHEDULES, simulate) else { return };
    if schedules >= ENOUGH_FOR_COVERAGE {
        assert_eq!(totals.ends.len(), 11, "some way for a session to end was never taken: {totals:?}");
        assert_eq!(totals.sights.missing(&Sight::ALL), None, "something was never seen: {totals:?}");
    }
}

#[test]
fn a_seed_replays_its_schedule() {
    for seed in 0..100 {
        assert_eq!(simulate(seed, false), simulate(seed, false), "seed {seed}");
    }
}

/// What many schedules came to.
trait Tally: fmt::Debug + Default + Send {
    /// What one came to.
    type Report: fmt::Debug;

    /// Adds a schedule.
    fn note(&mut self, report: &Self::Report);

    /// Adds what others came to.
    fn add(&mut self, other: &Self);
}

/// Runs so many schedules, or as many as the environment says, and says how many; or only the one that the environment
/// names.
fn explore<T: Tally>(schedules: u64, simulate: fn(u64, bool) -> T::Report) -> Option<(u64, T)> {
    if let Some(seed) = number_from_environment("CPROXY_SIMULATION_SEED") {
        println!("{:?}", simulate(seed, true));
        return None;
    }
    let schedules = number_from_environment("CPROXY_SIMULATION_SCHEDULES").unwrap_or(schedules);
    let next = AtomicU64::new(0);
    let totals = Mutex::new(T::default());
    let failure = Mutex::new(None);
    scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| work(&next, schedules, simulate, &totals, &failure));
        }
    });
    if let Some((seed, message)) = failure.into_inner().unwrap() {
        // Where tests run one at a time, they do so on the main thread: then the seed is replayed in all of them.
        let test = current().name().filter(|&name| name != "main").unwrap_or_default().to_owned();
        panic!("seed {seed}: {message}\nreplay it: CPROXY_SIMULATION_SEED={seed} cargo test --test simulation {test}");
    }
    let totals = totals.into_inner().unwrap();
    println!("{schedules} schedules: {totals:#?}");
    Some((schedules, totals))
}

/// Runs one seed after another until there are no more or one fails.
fn work<T: Tally>(
    next: &AtomicU64,
    schedules: u64,
    simulate: fn(u64, bool) -> T::Report,
    totals: &Mutex<T>,
    failure: &Mutex<Option<(u64, String)>>,
) {
    let mut own = T::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= schedules {
            break;
        }
        match panic::catch_unwind(|| simulate(seed, false)) {
            Ok(report) => own.note(&report),
            Err(payload) => {
                next.store(schedules, Ordering::Relaxed);
                failure.lock().unwrap().get_or_insert((seed, message(payload.as_ref())));
            }
        }
    }
    totals.lock().unwrap().add(&own);
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
