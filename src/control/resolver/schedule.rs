//! Which name is looked up when, and who is told what of it: data only, time comes in as an argument.

use std::collections::HashMap;
use std::mem;
use std::time::{Duration, Instant};

use super::lookup::{Memory, Outcome};
use super::{Answer, Found, Name};
use crate::service::ServiceId;

/// A name whose look-up took longer may be one whose server does not answer.
const SLOW: Duration = Duration::from_secs(1);

/// How long after a failure a name is looked up again, if not sooner anyway: the first time, and, twice as long each time,
/// at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a name rests at least, however often it is to be looked up.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// All names that are followed. One that several remotes have is looked up once for all of them.
#[derive(Debug)]
pub struct Schedule {
    entries: HashMap<String, Entry>,
    /// How many slow names may be looked up at the same time, and how many are.
    most_slow: usize,
    slow: usize,
    /// How many entries there were, which are told apart by this.
    numbers: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    followers: Vec<(ServiceId, usize)>,
    /// The shortest time that any of them asks for.
    every: Option<Duration>,
    work: Work,
    /// Whether the last look-up was slow.
    is_slow: bool,
    /// How many look-ups in a row have failed.
    failures: u32,
    memory: Memory,
    /// What the name stands for, as far as is known.
    found: Option<Vec<Found>>,
    /// Why the last look-up failed, if it did.
    failure: Option<String>,
}

/// What an entry waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The time at which it is looked up; `None`: never again.
    Until(Option<Instant>),
    /// The end of its look-up, which began then.
    UnderWay(Instant),
}

/// A look-up that is to be made.
#[derive(Debug)]
pub struct Job {
    /// What is looked up.
    pub argument: String,
    /// What the look-up before left for it.
    pub memory: Memory,
    number: u64,
    is_slow: bool,
}

/// What a thread is to do.
#[derive(Debug)]
pub enum Next {
    /// This look-up.
    LookUp(Job),
    /// Nothing before this time; `None`: before something else has happened.
    Wait(Option<Instant>),
}

impl Schedule {
    /// One without names, that has at most so many slow ones looked up at the same time, lest others have to wait.
    pub fn new(most_slow: usize) -> Schedule {
        Schedule { entries: HashMap::new(), most_slow, slow: 0, numbers: 0 }
    }

    /// Replaces the names that are followed. Returns what those who are new are to be told at once.
    pub fn follow(&mut self, names: Vec<Name>, now: Instant) -> Vec<Answer> {
        let mut groups: HashMap<String, (Option<Duration>, Vec<(ServiceId, usize)>)> = HashMap::new();
        for Name { service, remote, argument, every } in names {
            let (shortest, followers) = groups.entry(argument).or_default();
            *shortest = [*shortest, every].into_iter().flatten().min();
            followers.push((service, remote));
        }
        let mut answers = Vec::new();
        let mut former = mem::take(&mut self.entries);
        for (argument, (every, followers)) in groups {
            let mut entry = former.remove(&argument).unwrap_or_else(|| {
                self.numbers += 1;
                Entry::new(self.numbers, now)
            });
            let news: Vec<_> = entry.found.clone().map(Ok).into_iter().chain(entry.failure.clone().map(Err)).collect();
            let added = followers.iter().filter(|follower| !entry.followers.contains(follower));
            answers.extend(added.flat_map(|&follower| news.iter().map(move |found| answer(follower, found))));
            entry.followers = followers;
            entry.look_up_every(every, now);
            self.entries.insert(argument, entry);
        }
        answers
    }

    /// What is to be done at this time. Whoever is given a look-up says when it is [`done`](Schedule::done).
    pub fn next(&mut self, now: Instant) -> Next {
        let may_be_slow = self.slow < self.most_slow;
        let waiting = self.entries.iter_mut().filter(|(_, entry)| may_be_slow || !entry.is_slow);
        let earliest =
            waiting.filter_map(|(argument, entry)| Some((entry.due()?, argument, entry))).min_by_key(|entry| entry.0);
        match earliest {
            Some((due, argument, entry)) if due <= now => {
                entry.work = Work::UnderWay(now);
                self.slow += usize::from(entry.is_slow);
                let memory = mem::take(&mut entry.memory);
                Next::LookUp(Job { argument: argument.clone(), memory, number: entry.number, is_slow: entry.is_slow })
            }
            earliest => Next::Wait(earliest.map(|(due, ..)| due)),
        }
    }

    /// Takes what a look-up came to. Returns what is to be told.
    pub fn done(&mut self, job: Job, outcome: Outcome, now: Instant) -> Vec<Answer> {
        self.slow -= usize::from(job.is_slow);
        let entry = self.entries.get_mut(&job.argument).filter(|entry| entry.number == job.number);
        let Some(entry) = entry else { return Vec::new() };
        let began = match entry.work {
            Work::UnderWay(began) => began,
            Work::Until(_) => now,
        };
        entry.memory = job.memory;
        entry.is_slow = now.saturating_duration_since(began) > SLOW;
        let news = match &outcome.found {
            Ok(found) => {
                let pause = [entry.every, outcome.life].into_iter().flatten().min();
                entry.work = Work::Until(pause.map(|pause| after(began, pause).max(after(now, SHORTEST_PAUSE))));
                entry.failures = 0;
                let failed = entry.failure.take().is_some();
                let before = entry.found.replace(found.clone());
                failed || before.as_ref() != Some(found)
            }
            Err(reason) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << entry.failures.min(8)).min(LONGEST_PAUSE);
                let pause = entry.every.map_or(pause, |every| pause.min(every)).max(SHORTEST_PAUSE);
                entry.work = Work::Until(Some(after(now, pause)));
                entry.failures = entry.failures.saturating_add(1);
                entry.failure.replace(reason.clone()).is_none()
            }
        };
        if !news {
            return Vec::new();
        }
        entry.followers.iter().map(|&follower| answer(follower, &outcome.found)).collect()
    }
}

impl Entry {
    /// One that is looked up at once.
    fn new(number: u64, now: Instant) -> Entry {
        Entry {
            number,
            followers: Vec::new(),
            every: None,
            work: Work::Until(Some(now)),
            is_slow: false,
            failures: 0,
            memory: Memory::default(),
            found: None,
            failure: None,
        }
    }

    /// When it is to be looked up, if it waits for that.
    fn due(&self) -> Option<Instant> {
        match self.work {
            Work::Until(due) => due,
            Work::UnderWay(_) => None,
        }
    }

    /// A shorter time than before holds from now on; a longer one from the next look-up.
    fn look_up_every(&mut self, every: Option<Duration>, now: Instant) {
        self.every = every;
        if let (Work::Until(due), Some(every)) = (&mut self.work, every) {
            let latest = after(now, every);
            *due = Some(due.map_or(latest, |due| due.min(latest)));
        }
    }
}

fn answer((service, remote): (ServiceId, usize), found: &Result<Vec<Found>, String>) -> Answer {
    Answer { service, remote, found: found.clone() }
}

/// So much later; as late as can be, if that is later than times can be.
fn after(time: Instant, pause: Duration) -> Instant {
    const AGES: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    time.checked_add(pause).unwrap_or_else(|| time + AGES)
}
