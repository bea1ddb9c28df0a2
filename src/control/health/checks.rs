//! All checks: when each begins, how many are under way, and what they find.

use mio::event::Event;
use mio::{Registry, Token};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::plan::Plan;
use super::probe::{Attempt, Probe, Target};
use super::rise_fall::{Finding, RiseFall};
use crate::endpoint::Readiness;
use crate::service::pool::{Remote, RemoteId};
use crate::thread::timers::Timers;

/// Checks begin and are given up at ticks of so many milliseconds, so that one wake-up does for many.
const TICK: u64 = 16;

/// How long a remote whose queue is full is left alone before it is tried again, in milliseconds.
const BUSY_PAUSE: u64 = 50;

/// What is lacking here is told again only if it was not lacking for so long, in milliseconds, or for two intervals.
const QUIET: u64 = 60_000;

/// One remote, and how its checks go.
#[derive(Debug)]
struct Check {
    remote: Arc<Remote>,
    plan: Arc<Plan>,
    targets: Vec<(Target, bool)>,
    health: RiseFall,
    state: State,
    /// When the last one began.
    began: u64,
}

#[derive(Debug)]
enum State {
    /// The next one begins when its timer says so.
    Idle,
    /// It is to begin, and too many are under way.
    Queued,
    Running {
        /// `None`: the remote's queue was full.
        probe: Option<Probe>,
        /// Which of the addresses.
        target: usize,
        /// When this address is given up.
        give_up: u64,
    },
}

/// What checks have found.
#[derive(Debug)]
pub struct Found {
    /// The remote.
    pub remote: Arc<Remote>,
    /// What it is.
    pub finding: Finding,
    /// Why the last check failed; `None`: it passed.
    pub reason: Option<String>,
}

/// The checks of all remotes.
#[derive(Debug)]
pub struct Checks {
    all: Slab<Check>,
    of: HashMap<RemoteId, usize>,
    /// For each check, when it begins or what it waits for is given up.
    timers: Timers<TICK>,
    queue: VecDeque<usize>,
    running: usize,
    /// How many may be under way at once.
    most: usize,
    /// Those that an event was for.
    woken: Vec<usize>,
    due: Vec<usize>,
    chance: u64,
    lacking: Lacking,
}

/// Why checks could not be made, for want of something here, and when that was last so.
#[derive(Debug, Default)]
struct Lacking(HashMap<String, u64>);

impl Lacking {
    /// Notes a reason; returns whether it is to be told. It is not forgotten when another check succeeds, as that may be
    /// so each time while some remotes cannot be checked.
    fn is_news(&mut self, reason: &str, interval: u64, now: u64) -> bool {
        let last = self.0.insert(reason.to_string(), now);
        last.is_none_or(|last| now.saturating_sub(last) > QUIET.max(interval.saturating_mul(2)))
    }
}

impl Checks {
    /// None yet; what they draw with follows from the seed.
    pub fn new(seed: u64) -> Checks {
        Checks {
            all: Slab::new(),
            of: HashMap::new(),
            timers: Timers::default(),
            queue: VecDeque::new(),
            running: 0,
            most: 1,
            woken: Vec::new(),
            due: Vec::new(),
            chance: seed,
            lacking: Lacking::default(),
        }
    }

    /// How many may be under way at once.
    pub fn set_most(&mut self, most: usize) {
        self.most = most.max(1);
    }

    /// Checks these remotes and no others. What is known of one that is checked already stays.
    pub fn follow<'a>(&mut self, remotes: impl Iterator<Item = (&'a Arc<Remote>, &'a Arc<Plan>)>, now: u64) {
        let mut former = std::mem::take(&mut self.of);
        for (remote, plan) in remotes {
            let key = match former.remove(&remote.id) {
                Some(key) => {
                    self.set_plan(key, plan, now);
                    key
                }
                None => match self.add(remote, plan, now) {
                    Some(key) => key,
                    None => continue,
                },
            };
            self.of.insert(remote.id, key);
        }
        for key in former.into_values() {
            self.timers.cancel(key);
            if let State::Running { .. } = self.all.remove(key).state {
                self.running -= 1;
            }
        }
    }

    fn add(&mut self, remote: &Arc<Remote>, plan: &Arc<Plan>, now: u64) -> Option<usize> {
        let targets = Target::all(&remote.addresses)?;
        let first = plan.first(now, self.draw());
        let health = RiseFall::default();
        let check =
            Check { remote: remote.clone(), plan: plan.clone(), targets, health, state: State::Idle, began: now };
        let key = self.all.insert(check);
        self.timers.arm(key, first);
        Some(key)
    }

    fn set_plan(&mut self, key: usize, plan: &Arc<Plan>, now: u64) {
        if self.all[key].plan == *plan {
            return;
        }
        let first = plan.first(now, self.draw());
        let check = &mut self.all[key];
        check.plan = plan.clone();
        if let State::Idle = check.state {
            self.timers.arm(key, first);
        }
    }

    /// Sessions could not connect to this remote.
    pub fn doubt(&mut self, remote: RemoteId) {
        if let Some(check) = self.of.get(&remote).and_then(|&key| self.all.get_mut(key)) {
            check.health.doubt();
        }
    }

    /// How long there is surely nothing to do; `None`: until an event comes.
    pub fn wait(&self, now: u64) -> Option<Duration> {
        if self.woken.is_empty() { self.timers.wait(now) } else { Some(Duration::ZERO) }
    }

    /// Whether some wait for events.
    pub fn are_under_way(&self) -> bool {
        self.running > 0
    }

    /// Notes an event.
    pub fn note(&mut self, event: &Event) {
        let Token(key) = event.token();
        if let Some(Check { state: State::Running { probe: Some(probe), .. }, .. }) = self.all.get_mut(key) {
            probe.note(Readiness {
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed(),
                write_closed: event.is_write_closed(),
                error: event.is_error(),
                urgent: false,
            });
            self.woken.push(key);
        }
    }

    /// Goes on with those that events were for or whose time has come; what they find is added to `found`.
    pub fn run(&mut self, now: u64, registry: &Registry, found: &mut Vec<Found>) {
        for key in std::mem::take(&mut self.woken) {
            if let Some(Check { state: State::Running { probe: Some(probe), .. }, .. }) = self.all.get_mut(key) {
                let attempt = probe.run();
                self.went(key, attempt, now, registry, found);
            }
        }
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now, &mut due);
        for key in due.drain(..) {
            self.is_due(key, now, registry, found);
        }
        self.due = due;
        while self.running < self.most {
            let Some(key) = self.queue.pop_front() else { break };
            // Another one may have its key, if it is no longer checked.
            if self.all.get(key).is_some_and(|check| matches!(check.state, State::Queued)) {
                self.begin(key, now, registry, found);
            }
        }
    }

    fn is_due(&mut self, key: usize, now: u64, registry: &Registry, found: &mut Vec<Found>) {
        let check = &mut self.all[key];
        match &check.state {
            State::Idle => {
                check.state = State::Queued;
                self.queue.push_back(key);
            }
            State::Queued => {}
            State::Running { probe: Some(probe), .. } => {
                let attempt = probe.time_is_over();
                self.went(key, attempt, now, registry, found);
            }
            &State::Running { probe: None, target, give_up } if now < give_up => {
                self.try_target(key, target, give_up, now, registry, found);
            }
            State::Running { probe: None, .. } => {
                let attempt = Attempt::Failed("the queue of connections is full".to_string());
                self.went(key, attempt, now, registry, found);
            }
        }
    }

    fn begin(&mut self, key: usize, now: u64, registry: &Registry, found: &mut Vec<Found>) {
        self.running += 1;
        self.all[key].began = now;
        let give_up = self.all[key].give_up(0, now);
        self.try_target(key, 0, give_up, now, registry, found);
    }

    fn try_target(
        &mut self,
        key: usize,
        target: usize,
        give_up: u64,
        now: u64,
        registry: &Registry,
        found: &mut Vec<Found>,
    ) {
        let check = &mut self.all[key];
        let (probe, attempt) = Probe::start(&check.targets[target], &check.plan, now, registry, Token(key));
        check.state = State::Running { probe, target, give_up };
        match attempt {
            Attempt::Waits => self.timers.arm(key, give_up),
            Attempt::Busy => self.timers.arm(key, (now + BUSY_PAUSE).min(give_up)),
            attempt => self.went(key, attempt, now, registry, found),
        }
    }

    /// Does what follows from what an attempt came to.
    fn went(&mut self, key: usize, attempt: Attempt, now: u64, registry: &Registry, found: &mut Vec<Found>) {
        let check = &mut self.all[key];
        let State::Running { target, .. } = check.state else { return };
        let reason = match attempt {
            Attempt::Waits | Attempt::Busy => return,
            Attempt::Failed(_) | Attempt::Unknown(_) if target + 1 < check.targets.len() => {
                let give_up = check.give_up(target + 1, now);
                return self.try_target(key, target + 1, give_up, now, registry, found);
            }
            Attempt::Passed => None,
            Attempt::Failed(reason) => Some(reason),
            Attempt::Unknown(reason) => {
                self.lacks(key, &reason, now);
                return self.end(key, now);
            }
        };
        let Plan { rise, fall, .. } = *check.plan;
        if let Some(finding) = check.health.note(reason.is_none(), rise, fall) {
            found.push(Found { remote: check.remote.clone(), finding, reason });
        }
        self.end(key, now);
    }

    fn end(&mut self, key: usize, now: u64) {
        self.running -= 1;
        let drawn = self.draw();
        let check = &mut self.all[key];
        check.state = State::Idle;
        // One that waited long for its turn does not begin again at once.
        self.timers.arm(key, check.plan.next(check.began, drawn).max(now + 1));
    }

    /// Notes that a check could not be made, and logs it once.
    fn lacks(&mut self, key: usize, reason: &str, now: u64) {
        let Check { remote, plan, .. } = &self.all[key];
        if self.lacking.is_news(reason, plan.interval, now) {
            log::warn!("remotes cannot be checked, {} among them: {reason}", remote.name);
        }
    }

    /// A number that is hard enough to foresee: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    /// generators", 2014).
    fn draw(&mut self) -> u32 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

impl Check {
    /// When this address is given up, if it is tried now: those that are left share what is left of the time.
    fn give_up(&self, target: usize, now: u64) -> u64 {
        let end = self.began.saturating_add(self.plan.timeout);
        let left = (self.targets.len() - target) as u64;
        now.saturating_add((end.saturating_sub(now) / left.max(1)).max(1))
    }
}

#[cfg(test)]
mod tests;
