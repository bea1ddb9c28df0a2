//! Finds out what the proxy is doing: asks the I/O threads, and puts together what they say and what is shared anyway.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Watched;
use crate::base::clock::Clock;
use crate::capture;
use crate::counters::{RemoteCounters, ServiceSeen, SessionRow, ThreadSnapshot, ThreadStatus};
use crate::log;
use crate::service::pool::{Member, State};
use crate::service::refusals::Reason;
use crate::status::snapshot::{RemoteStatus, ServiceStatus, Snapshot};
use crate::thread::Message;
use crate::thread::look::{LastLooks, Look};
use crate::thread::mailbox::Mailbox;

/// How many sessions are shown.
const MOST_ROWS: usize = 1000;

/// How long threads may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a snapshot is as good as a new one.
const FRESH: Duration = Duration::from_millis(200);

/// Who is asked, and what is known already.
#[derive(Debug)]
pub(super) struct Gatherer {
    io_threads: Vec<Mailbox<Message>>,
    last_looks: Arc<LastLooks>,
    clock: Clock,
    /// Where threads answer.
    answers: Mailbox<ThreadSnapshot>,
    services: Vec<Watched>,
    is_draining: bool,
    /// What each thread has said last.
    said: Vec<Option<ThreadSnapshot>>,
    /// The number of the last look.
    number: u64,
    /// The look that is under way.
    look: Option<UnderWay>,
    /// When the latest snapshot was made, and whether it has sessions.
    latest: Option<(Instant, bool, Snapshot)>,
}

/// A look that threads have not answered yet.
#[derive(Debug)]
struct UnderWay {
    give_up: Instant,
    with_rows: bool,
    /// The threads that have not answered.
    missing: Vec<usize>,
}

impl Gatherer {
    pub(super) fn new(
        io_threads: Vec<Mailbox<Message>>,
        last_looks: Arc<LastLooks>,
        clock: Clock,
        answers: Mailbox<ThreadSnapshot>,
    ) -> Gatherer {
        let said = io_threads.iter().map(|_| None).collect();
        Gatherer {
            io_threads,
            last_looks,
            clock,
            answers,
            services: Vec::new(),
            is_draining: false,
            said,
            number: 0,
            look: None,
            latest: None,
        }
    }

    /// These are the services from now on.
    pub(super) fn follow(&mut self, services: Vec<Watched>) {
        self.services = services;
    }

    /// The program ends as soon as its sessions have.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Whether the program ends.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// What is known, if it is as good as new and has sessions where these are wanted.
    pub(super) fn fresh(&self, with_rows: bool, now: Instant) -> Option<&Snapshot> {
        let (at, has_rows, snapshot) = self.latest.as_ref()?;
        let is_fresh = now.saturating_duration_since(*at) <= FRESH && (*has_rows || !with_rows);
        is_fresh.then_some(snapshot)
    }

    /// Asks the threads, unless they are being asked already.
    pub(super) fn ask(&mut self, with_rows: bool, now: Instant) {
        if self.look.is_some() {
            return;
        }
        self.number += 1;
        let most_rows = if with_rows { MOST_ROWS } else { 0 };
        let look = || Box::new(Look { number: self.number, most_rows, to: self.answers.clone() });
        let has_ended = |number: usize| self.last_looks.of(number).is_some();
        let asked = self.io_threads.iter().enumerate().filter(|(number, thread)| {
            // One that has ended has said before what it had to say.
            !has_ended(*number) && thread.send(Message::Look(look())).is_ok()
        });
        let missing = asked.map(|(number, _)| number).collect();
        self.look = Some(UnderWay { give_up: now + PATIENCE, with_rows, missing });
    }

    /// A thread has answered.
    pub(super) fn answer(&mut self, snapshot: ThreadSnapshot) {
        let Some(look) = self.look.as_mut().filter(|_| snapshot.look == self.number) else { return };
        look.missing.retain(|&number| number != snapshot.number);
        if let Some(said) = self.said.get_mut(snapshot.number) {
            *said = Some(snapshot);
        }
    }

    /// When the threads that have not answered are no longer waited for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look.as_ref().map(|look| look.give_up)
    }

    /// What has been found out, as soon as all threads have answered, or have had enough time for it.
    pub(super) fn finish(&mut self, now: Instant) -> Option<&Snapshot> {
        // One that has ended meanwhile does not answer any more.
        let waits = |number: &usize| self.last_looks.of(*number).is_none();
        let is_over = |look: &UnderWay| now >= look.give_up || !look.missing.iter().any(waits);
        let UnderWay { with_rows, mut missing, .. } = self.look.take_if(|look| is_over(look))?;
        missing.retain(waits);
        for number in 0..self.said.len() {
            if let Some(last) = self.last_looks.of(number) {
                self.said[number] = Some(last.clone());
            }
        }
        let snapshot = self.snapshot(&missing);
        Some(&self.latest.insert((now, with_rows, snapshot)).2)
    }

    fn snapshot(&mut self, missing: &[usize]) -> Snapshot {
        let mut services: HashMap<u32, ServiceSeen> = HashMap::new();
        let mut threads = Vec::new();
        let mut sessions: Vec<SessionRow> = Vec::new();
        for (number, said) in self.said.iter_mut().enumerate() {
            let unknown = || ThreadStatus { name: format!("io-{number}"), ..ThreadStatus::default() };
            let mut thread = said.as_ref().map_or_else(unknown, |said| said.thread.clone());
            thread.has_answered = !missing.contains(&number);
            let Some(said) = said else {
                threads.push(thread);
                continue;
            };
            // What a thread has said before still counts when it does not answer, so that no sum goes backwards.
            for (service, seen) in &said.services {
                let sum = services.entry(*service).or_default();
                sum.sessions += seen.sessions;
                sum.counters.add(&seen.counters);
            }
            threads.push(thread);
            sessions.append(&mut said.rows);
        }
        if sessions.len() > MOST_ROWS {
            let moved = |session: &SessionRow| std::cmp::Reverse(session.bytes.iter().sum::<u64>());
            sessions.sort_unstable_by_key(moved);
            sessions.truncate(MOST_ROWS);
        }
        let lost = log::lost();
        Snapshot {
            at: SystemTime::now(),
            uptime: Duration::from_micros(self.clock.now_us()),
            is_draining: self.is_draining,
            sessions_all: threads.iter().map(|thread| thread.sessions).sum(),
            threads,
            services: self.services.iter().map(|service| self.service(service, &mut services)).collect(),
            sessions,
            log_lines_lost: lost.log,
            access_log_lines_lost: lost.access_log,
            capture_records_lost: capture::lost(),
        }
    }

    fn service(&self, watched: &Watched, seen: &mut HashMap<u32, ServiceSeen>) -> ServiceStatus {
        let ServiceSeen { sessions, mut counters } = seen.remove(&watched.number).unwrap_or_default();
        let set = watched.pool.set();
        // Remotes that are gone leave no row.
        let mut of_remotes = std::mem::take(&mut counters.remotes);
        let remotes = set.members().iter().map(|member| {
            let counters = of_remotes.remove(&member.remote.id).unwrap_or_default();
            remote_status(member, counters, self.clock.now())
        });
        let remotes = remotes.collect();
        ServiceStatus {
            name: watched.name.clone(),
            listeners: watched.listeners.clone(),
            remotes,
            sessions,
            counters,
            refused: Reason::ALL.map(|reason| (reason.word(), watched.refusals.get(reason))).to_vec(),
        }
    }
}

/// What is known of a remote at this time, in milliseconds.
fn remote_status(member: &Member, counters: RemoteCounters, now: u64) -> RemoteStatus {
    let Member { remote, weight, is_backup, max_sessions } = member;
    let state = match remote.state() {
        State::Up => "up",
        State::Out => "out",
        State::Trying => "trying",
        State::Down => "down",
    };
    RemoteStatus {
        name: remote.name.clone(),
        state,
        why: remote.why().map_or_else(String::new, |why| why.to_string()),
        since: Duration::from_millis(now.saturating_sub(remote.since())),
        weight: (*weight).into(),
        is_backup: *is_backup,
        max_sessions: *max_sessions,
        sessions: remote.sessions().into(),
        failures: remote.failures_ever(),
        counters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::mailbox::{Inbox, mailbox};
    use mio::{Poll, Token};

    /// A gatherer, two threads that can be answered for, and what keeps it all alive.
    struct Threads {
        gatherer: Gatherer,
        inboxes: Vec<Inbox<Message>>,
        last_looks: Arc<LastLooks>,
        _polls: Vec<Poll>,
        _answers: Inbox<ThreadSnapshot>,
    }

    fn threads() -> Threads {
        let polls: Vec<Poll> = (0..3).map(|_| Poll::new().unwrap()).collect();
        let (mailboxes, inboxes) = polls[..2].iter().map(|poll| mailbox(poll.registry(), Token(0)).unwrap()).unzip();
        let (answers, inbox) = mailbox(polls[2].registry(), Token(0)).unwrap();
        let last_looks = Arc::new(LastLooks::new(2));
        let gatherer = Gatherer::new(mailboxes, last_looks.clone(), Clock::start(), answers);
        Threads { gatherer, inboxes, last_looks, _polls: polls, _answers: inbox }
    }

    /// The number of the look that a thread was asked for, and how many sessions of it.
    fn asked(inbox: &Inbox<Message>) -> Option<(u64, usize)> {
        match inbox.next()? {
            Message::Look(look) => Some((look.number, look.most_rows)),
            other => panic!("{other:?}"),
        }
    }

    fn answer(number: usize, look: u64, bytes: &[u64]) -> ThreadSnapshot {
        let rows = bytes.iter().enumerate().map(|(row, &bytes)| SessionRow {
            id: format!("{number}-{row}"),
            bytes: [bytes, 0],
            ..SessionRow::default()
        });
        let sessions = bytes.len() as u64;
        let thread = ThreadStatus { has_answered: true, sessions, ..ThreadStatus::default() };
        ThreadSnapshot { number, look, thread, rows: rows.collect(), ..ThreadSnapshot::default() }
    }

    #[test]
    fn one_look_serves_all_who_ask_at_about_the_same_time() {
        let mut threads = threads();
        let gatherer = &mut threads.gatherer;
        let now = Instant::now();
        assert!(gatherer.fresh(false, now).is_none());
        gatherer.ask(true, now);
        gatherer.ask(true, now);
        for inbox in &threads.inboxes {
            assert_eq!(asked(inbox), Some((1, MOST_ROWS)));
            assert_eq!(asked(inbox), None);
        }
        gatherer.answer(answer(0, 1, &[5, 7]));
        assert!(gatherer.finish(now).is_none(), "the other one has not answered");
        gatherer.answer(answer(1, 0, &[1]));
        assert!(gatherer.finish(now).is_none(), "that is an answer to something else");
        gatherer.answer(answer(1, 1, &[6]));
        let snapshot = gatherer.finish(now).unwrap();
        assert_eq!((snapshot.sessions.len(), snapshot.sessions_all), (3, 3));
        assert!(gatherer.fresh(true, now + FRESH).is_some() && gatherer.fresh(false, now).is_some());
        assert!(gatherer.fresh(true, now + FRESH + Duration::from_millis(1)).is_none());
        // Without sessions it is of use to those who want none.
        gatherer.ask(false, now);
        assert_eq!(threads.inboxes.iter().map(|inbox| asked(inbox).unwrap().1).sum::<usize>(), 0);
        gatherer.answer(answer(0, 2, &[]));
        gatherer.answer(answer(1, 2, &[]));
        assert!(gatherer.finish(now).is_some());
        assert!(gatherer.fresh(true, now).is_none() && gatherer.fresh(false, now).is_some());
    }

    #[test]
    fn a_thread_that_does_not_answer_is_waited_for_so_long_and_marked() {
        let mut threads = threads();
        let gatherer = &mut threads.gatherer;
        let now = Instant::now();
        gatherer.ask(true, now);
        gatherer.answer(answer(0, 1, &[5]));
        gatherer.answer(answer(1, 1, &[5, 6]));
        assert_eq!(gatherer.finish(now).unwrap().sessions_all, 3);
        gatherer.ask(true, now);
        gatherer.answer(answer(0, 2, &[5]));
        assert_eq!(gatherer.deadline(), Some(now + PATIENCE));
        let snapshot = gatherer.finish(now + PATIENCE).unwrap();
        let answered: Vec<bool> = snapshot.threads.iter().map(|thread| thread.has_answered).collect();
        assert_eq!((answered, snapshot.sessions_all, snapshot.sessions.len()), (vec![true, false], 3, 1));
        assert_eq!(gatherer.deadline(), None);
    }

    #[test]
    fn a_thread_that_has_ended_has_said_what_it_had_to_say() {
        let mut threads = threads();
        let gatherer = &mut threads.gatherer;
        let now = Instant::now();
        gatherer.ask(false, now);
        let mut last = answer(1, 0, &[]);
        last.services.entry(0).or_default().counters.begun = 4;
        threads.last_looks.leave(last);
        gatherer.answer(answer(0, 1, &[]));
        gatherer.follow(Vec::new());
        let snapshot = gatherer.finish(now).unwrap();
        assert!(snapshot.threads[1].has_answered);
        assert_eq!(gatherer.said[1].as_ref().unwrap().services[&0].counters.begun, 4);
        gatherer.ask(false, now);
        threads.inboxes.iter().for_each(|inbox| assert!(asked(inbox).is_some()));
        assert_eq!(asked(&threads.inboxes[1]), None, "it is not asked again");
    }

    #[test]
    fn of_many_sessions_those_are_shown_that_moved_most() {
        let mut threads = threads();
        let gatherer = &mut threads.gatherer;
        let now = Instant::now();
        gatherer.ask(true, now);
        let bytes: Vec<u64> = (0..MOST_ROWS as u64).collect();
        gatherer.answer(answer(0, 1, &bytes));
        gatherer.answer(answer(1, 1, &bytes));
        let snapshot = gatherer.finish(now).unwrap();
        assert_eq!((snapshot.sessions.len(), snapshot.sessions_all), (MOST_ROWS, 2 * MOST_ROWS as u64));
        assert!(snapshot.sessions.iter().all(|session| session.bytes[0] >= MOST_ROWS as u64 / 2));
    }
}
