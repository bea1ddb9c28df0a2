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

/// Those who are told what comes of a name.
type Followers = Vec<(ServiceId, usize)>;

#[derive(Debug)]
struct Entry {
    number: u64,
    followers: Followers,
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
        let mut groups: HashMap<String, (Option<Duration>, Followers)> = HashMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::EndpointAddress;

    const SECOND: Duration = Duration::from_secs(1);

    fn name(service: ServiceId, remote: usize, argument: &str, every: Option<u64>) -> Name {
        Name { service, remote, argument: argument.into(), every: every.map(Duration::from_secs) }
    }

    fn found(ports: &[u16]) -> Result<Vec<Found>, String> {
        let at = |&port: &u16| EndpointAddress::Tcp(([10, 0, 0, 1], port).into());
        Ok(ports.iter().map(|port| Found { address: at(port), weight: None, is_backup: false }).collect())
    }

    fn outcome(found: Result<Vec<Found>, String>, life: Option<u64>) -> Outcome {
        Outcome { found, life: life.map(Duration::from_secs) }
    }

    #[track_caller]
    fn job(schedule: &mut Schedule, now: Instant) -> Job {
        match schedule.next(now) {
            Next::LookUp(job) => job,
            other => panic!("{other:?}"),
        }
    }

    /// In how many milliseconds there is something to do.
    #[track_caller]
    fn wait(schedule: &mut Schedule, now: Instant) -> Option<u128> {
        match schedule.next(now) {
            Next::Wait(until) => until.map(|until| until.duration_since(now).as_millis()),
            other => panic!("{other:?}"),
        }
    }

    /// Makes the look-up that is due, which takes no time, and returns what is told.
    #[track_caller]
    fn look_up(schedule: &mut Schedule, now: Instant, found: &Result<Vec<Found>, String>) -> Vec<Answer> {
        let job = job(schedule, now);
        schedule.done(job, outcome(found.clone(), None), now)
    }

    #[test]
    fn a_name_is_looked_up_at_once_and_then_each_time_it_is_due() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        assert_eq!(wait(&mut schedule, now), None);
        schedule.follow(vec![name(ServiceId::next(), 0, "a:1", Some(5))], now);
        let first = job(&mut schedule, now);
        assert_eq!(wait(&mut schedule, now), None, "one at a time");
        // From the beginning of one to the beginning of the next.
        schedule.done(first, outcome(found(&[1]), None), now + SECOND / 2);
        assert_eq!(wait(&mut schedule, now + SECOND / 2), Some(4500));
        let second = job(&mut schedule, now + 5 * SECOND);
        schedule.done(second, outcome(found(&[1]), None), now + 20 * SECOND);
        assert_eq!(wait(&mut schedule, now + 20 * SECOND), Some(10));
    }

    #[test]
    fn the_shorter_of_life_and_interval_holds() {
        for (every, life, expected) in [
            (Some(5), Some(3), Some(3000)),
            (Some(5), Some(30), Some(5000)),
            (None, Some(30), Some(30_000)),
            (None, None, None),
        ] {
            let (mut schedule, now) = (Schedule::new(1), Instant::now());
            schedule.follow(vec![name(ServiceId::next(), 0, "srv:a", every)], now);
            let job = job(&mut schedule, now);
            schedule.done(job, outcome(found(&[1]), life), now);
            assert_eq!(wait(&mut schedule, now), expected);
        }
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let ages = Name { every: Some(Duration::MAX), ..name(ServiceId::next(), 0, "a", None) };
        schedule.follow(vec![ages], now);
        look_up(&mut schedule, now, &found(&[1]));
        assert!(wait(&mut schedule, now).is_some());
    }

    #[test]
    fn only_news_are_told_and_failures_once() {
        let (mut schedule, mut now) = (Schedule::new(1), Instant::now());
        let service = ServiceId::next();
        schedule.follow(vec![name(service, 7, "a:1", Some(1))], now);
        let failed = |reason: &str| Err(reason.to_string());
        for (found, told) in [
            (failed("x"), true),
            (failed("y"), false),
            (found(&[1, 2]), true),
            (found(&[1, 2]), false),
            (found(&[1, 2, 3]), true),
            (failed("x"), true),
            (failed("x"), false),
            // As before, but now it is known to be so.
            (found(&[1, 2, 3]), true),
            (found(&[4]), true),
        ] {
            let expected = Answer { service, remote: 7, found: found.clone() };
            let answers = look_up(&mut schedule, now, &found);
            assert_eq!(answers, if told { vec![expected] } else { Vec::new() });
            now += SECOND;
        }
    }

    #[test]
    fn a_failure_is_tried_again_soon_and_then_more_rarely() {
        let (mut schedule, mut now) = (Schedule::new(1), Instant::now());
        schedule.follow(vec![name(ServiceId::next(), 0, "a:1", Some(60))], now);
        for pause in [1, 2, 4, 8, 10, 10] {
            look_up(&mut schedule, now, &Err("x".into()));
            assert_eq!(wait(&mut schedule, now), Some(pause * 1000));
            now += Duration::from_millis(pause as u64 * 1000);
        }
        look_up(&mut schedule, now, &found(&[1]));
        assert_eq!(wait(&mut schedule, now), Some(60_000));
        now += 60 * SECOND;
        look_up(&mut schedule, now, &Err("x".into()));
        assert_eq!(wait(&mut schedule, now), Some(1000));
    }

    #[test]
    fn one_look_up_is_for_all_who_have_the_name() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let (one, two) = (ServiceId::next(), ServiceId::next());
        let names = vec![name(one, 0, "a:1", Some(30)), name(one, 1, "a:1", Some(10)), name(two, 0, "a:1", None)];
        assert_eq!(schedule.follow(names, now), []);
        let mut told: Vec<_> =
            look_up(&mut schedule, now, &found(&[1])).iter().map(|a| (a.service, a.remote)).collect();
        told.sort_by_key(|(service, remote)| (*service == two, *remote));
        assert_eq!(told, [(one, 0), (one, 1), (two, 0)]);
        assert_eq!(wait(&mut schedule, now), Some(10_000));
    }

    #[test]
    fn who_follows_later_is_told_what_is_known() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let [old, new] = [(); 2].map(|()| ServiceId::next());
        schedule.follow(vec![name(old, 0, "a:1", Some(30))], now);
        look_up(&mut schedule, now, &found(&[1]));
        // A reload that has the same remote in another service; the time of the next look-up stays.
        let later = now + 10 * SECOND;
        let answers = schedule.follow(vec![name(new, 3, "a:1", Some(30))], later);
        assert_eq!(answers, [Answer { service: new, remote: 3, found: found(&[1]) }]);
        assert_eq!(wait(&mut schedule, later), Some(20_000));
        // Who follows already is told nothing twice. A shorter time holds at once.
        assert_eq!(schedule.follow(vec![name(new, 3, "a:1", Some(5))], later), []);
        assert_eq!(wait(&mut schedule, later), Some(5000));
        look_up(&mut schedule, later + 5 * SECOND, &Err("x".into()));
        let answers = schedule.follow(vec![name(old, 0, "a:1", Some(30))], later + 5 * SECOND);
        let known = [found(&[1]), Err("x".into())].map(|found| Answer { service: old, remote: 0, found });
        assert_eq!(answers, known);
    }

    #[test]
    fn a_name_that_nobody_follows_any_longer_is_forgotten() {
        let (mut schedule, now) = (Schedule::new(1), Instant::now());
        let service = ServiceId::next();
        schedule.follow(vec![name(service, 0, "a:1", Some(30))], now);
        let stale = job(&mut schedule, now);
        schedule.follow(Vec::new(), now);
        assert_eq!(wait(&mut schedule, now), None);
        // It is followed again before its look-up is over: that was another's.
        schedule.follow(vec![name(service, 0, "a:1", Some(30))], now);
        assert_eq!(schedule.done(stale, outcome(found(&[1]), None), now), []);
        assert_eq!(look_up(&mut schedule, now, &found(&[2])).len(), 1);
    }

    #[test]
    fn slow_names_leave_threads_to_the_others() {
        let (mut schedule, mut now) = (Schedule::new(2), Instant::now());
        let service = ServiceId::next();
        let names = ["a", "b", "c"].iter().map(|argument| name(service, 0, argument, Some(1))).collect::<Vec<_>>();
        schedule.follow(names.clone(), now);
        // Nobody knows yet that they are slow.
        let jobs: Vec<Job> = (0..3).map(|_| job(&mut schedule, now)).collect();
        now += 5 * SECOND;
        for job in jobs {
            schedule.done(job, outcome(Err("x".into()), None), now);
        }
        now += SECOND;
        let (first, second) = (job(&mut schedule, now), job(&mut schedule, now));
        assert_eq!(wait(&mut schedule, now), None);
        schedule.follow(names.into_iter().chain([name(service, 0, "d", Some(1))]).collect(), now);
        assert_eq!(job(&mut schedule, now).argument, "d");
        // Quick again, so it is slow no longer; and a place is free.
        schedule.done(first, outcome(found(&[1]), None), now);
        let third = job(&mut schedule, now);
        assert_eq!(wait(&mut schedule, now), Some(1000));
        schedule.done(third, outcome(found(&[1]), None), now);
        schedule.done(second, outcome(found(&[1]), None), now);
        assert_eq!(schedule.slow, 0);
    }
}
