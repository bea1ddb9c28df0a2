//! The I/O thread of a schedule: the turn of `IoThread::run` with the real scheduler, on a simulated kernel and clock.

mod checks;
mod counts;
mod host;

use cproxy::buffers::pipe_pool::PipeBudget;
use cproxy::buffers::pools::Pools;
use cproxy::service::pool::Member;
use cproxy::service::{Service, ServiceId};
use cproxy::session::End;
use cproxy::thread::sessions::Sessions;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::kernel::{Kernel, SimSocket};
use super::pipe;
use super::plan::{Down, Plan, ServicePlan, SessionPlan};
use super::random::Random;
use super::sight::{Sight, Sights};
use counts::Counts;
use host::{Ending, SimHost};

/// More turns than any schedule can need: one that takes so many never ends.
const MOST_TURNS: u64 = 1_000_000;

/// How a schedule went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub ends: Vec<End>,
    pub sights: Sights,
    pub turns: u64,
    pub bytes: u64,
}

/// What the thread is told, and when.
#[derive(Debug, Clone, Copy)]
enum Message {
    Retire(usize),
    Drain,
    Down(Down),
}

/// One I/O thread.
pub struct Thread<const SHORT: bool> {
    plan: Plan,
    sessions: Sessions<SimSocket<SHORT>>,
    host: SimHost,
    services: Vec<Arc<Service>>,
    /// Their remotes, and those of services that have none before this time.
    members: Vec<Vec<Member>>,
    missing: Vec<(u64, usize)>,
    /// Sessions of the plan that have not come yet.
    expected: Vec<(usize, SessionPlan)>,
    messages: Vec<(u64, Message)>,
    /// Services whose sessions' time is over at this time.
    retired: Option<(u64, ServiceId)>,
    now: u64,
    counts: Counts,
}

impl<const SHORT: bool> Thread<SHORT> {
    pub fn new(mut plan: Plan, mut random: Random, tracing: bool) -> Self {
        pipe::begin(plan.pipes, random.split());
        let kernel = Kernel::new(random, &plan, tracing);
        kernel.trace(format_args!("{plan:#?}"));
        let expected: Vec<_> = std::mem::take(&mut plan.sessions).into_iter().enumerate().collect();
        let retire = plan.retirement.map(|retired| (retired.told, Message::Retire(retired.service)));
        let down = plan.down.map(|down| (down.told, Message::Down(down)));
        let members: Vec<_> = plan.services.iter().map(ServicePlan::members).collect();
        let missing = plan.services.iter().enumerate().filter_map(|(number, plan)| Some((plan.empty_until?, number)));
        let drain = plan.drain_told.map(|told| (told, Message::Drain));
        let watch = plan.watch;
        Thread {
            sessions: Sessions::new(
                Pools::new(plan.buffer_size, Arc::new(PipeBudget::new(plan.pipes.most, 1))),
                plan.pace,
                plan.budgets,
            ),
            host: SimHost::new(Rc::new(RefCell::new(kernel)), &plan, expected.len()),
            services: plan.services.iter().zip(&members).map(|(plan, members)| plan.service(members, watch)).collect(),
            missing: missing.collect(),
            members,
            expected,
            messages: retire.into_iter().chain(drain).chain(down).collect(),
            retired: None,
            now: 0,
            counts: Counts::default(),
            plan,
        }
    }

    /// Serves all sessions of the plan until they have ended.
    pub fn run(mut self) -> Report {
        while !(self.expected.is_empty() && self.sessions.is_empty()) {
            self.host.report.turns += 1;
            assert!(self.host.report.turns < MOST_TURNS, "the sessions do not come to an end");
            self.poll();
            self.note_events();
            self.receive();
            self.wake_due();
            self.accept();
            self.run_sparse();
            self.run_bulk();
            self.end_what_is_due();
            self.host.check_turn(&self.sessions);
            self.host.check_leases(&self.services, &self.members);
            let started = self.host.report.ends.len() + self.sessions.iter().count();
            self.counts.check(&self.sessions, &self.host.report, started as u64);
        }
        assert_eq!(self.sessions.wait(), None, "something waits, and nobody is there");
        if pipe::standing().opened_after_refusal {
            self.host.see(Sight::PipeOpenedAfterRefusal);
        }
        drop(self.sessions);
        let left: u32 = self.members.iter().flatten().map(|member| member.remote.sessions()).sum();
        assert_eq!(left, 0, "a remote has sessions when all have ended");
        assert_eq!(pipe::standing().open, 0, "a pipe is open that no pool has");
        self.host.report.sights = std::mem::take(&mut self.host.kernel.borrow_mut().sights);
        self.host.report
    }

    /// Lets the world go on: until something happens if nothing waits to be run, for a moment otherwise.
    fn poll(&mut self) {
        if self.sessions.queue().is_empty() {
            while !self.has_events() {
                self.host.check_stuck(&self.sessions);
                let next = self.next_happening().expect("a session lives, and nothing will ever happen again");
                self.now = self.now.max(next);
                self.let_peers_act();
                if self.is_due() {
                    break;
                }
            }
        }
        if self.random(|random| random.once_in(20)) {
            // The thread was not scheduled for a while.
            self.now += self.random(|random| random.below(120));
        } else if self.random(|random| random.once_in(4)) {
            self.now += 1;
        }
        self.let_peers_act();
        self.sessions.begin_turn(self.now * 1000);
        self.host.promise.begin_turn(self.now);
    }

    fn let_peers_act(&mut self) {
        let mut kernel = self.host.kernel.borrow_mut();
        kernel.now = self.now;
        kernel.act();
        while let Some(index) = self.missing.iter().position(|&(time, _)| time <= self.now) {
            let (_, number) = self.missing.remove(index);
            self.services[number].pool.replace(self.members[number].clone(), self.now);
        }
    }

    fn has_events(&self) -> bool {
        let kernel = self.host.kernel.borrow();
        (0..kernel.count()).any(|id| kernel.has_event(id))
    }

    /// When the first thing happens for which the thread has to wake up, or the network does something.
    fn next_happening(&self) -> Option<u64> {
        [self.next_duty(), self.host.kernel.borrow().next_action()].into_iter().flatten().min()
    }

    /// When the thread has something to do though no event comes.
    fn next_duty(&self) -> Option<u64> {
        let timer = self.sessions.wait().map(|wait| self.sessions.now() + wait.as_millis() as u64);
        let arrival = self.expected.iter().map(|(_, session)| session.arrival).min();
        let message = self.messages.iter().map(|&(time, _)| time).min();
        let retired = self.retired.map(|(time, _)| time);
        [timer, arrival, message, retired, self.plan.drain].into_iter().flatten().min()
    }

    fn is_due(&self) -> bool {
        self.next_duty().is_some_and(|duty| duty <= self.now)
    }

    /// Takes events in any order; some come only with a later turn, and some without reason.
    fn note_events(&mut self) {
        let count = self.host.kernel.borrow().count();
        let first = self.random(|random| random.below(count.max(1) as u64)) as usize;
        for id in (0..count).map(|index| (first + index) % count) {
            if self.random(|random| random.once_in(4)) {
                continue;
            }
            let spurious = self.random(|random| random.once_in(100));
            let mut kernel = self.host.kernel.borrow_mut();
            let event = if spurious { kernel.spurious_event(id) } else { kernel.take_event(id) };
            drop(kernel);
            let Some((number, side, readiness)) = event else { continue };
            let key = self.host.keys[number].expect("only sockets of living sessions are open");
            self.sessions.note(key, side, None, readiness);
            self.host.notes(key);
        }
    }

    /// Takes what other threads have to say, and the clients that they have accepted.
    fn receive(&mut self) {
        while let Some(index) = self.messages.iter().position(|&(time, _)| time <= self.now) {
            match self.messages.remove(index).1 {
                Message::Retire(number) => {
                    let id = self.services[number].id;
                    self.drain(Some(id));
                    self.retired = self.plan.retirement.map(|retirement| (retirement.over, id));
                }
                Message::Down(down) => self.find_down(down),
                Message::Drain => {
                    self.sessions.close_doors();
                    self.drain(None);
                }
            }
        }
        if !self.plan.accepts {
            self.start_clients();
        }
    }

    /// Sessions that have no end of their own are to end now, and no others.
    fn drain(&mut self, service: Option<ServiceId>) {
        self.host.ending = Some(Ending { service, endless: true });
        self.sessions.drain(service, &mut self.host);
        self.host.check_ending();
        self.check();
    }

    /// A remote is found down: sessions that are being connected to it go to another at once.
    fn find_down(&mut self, Down { service, remote, on_down, .. }: Down) {
        let concerned = self.host.begin_down(self.services[service].id, remote, on_down);
        let id = self.members[service][remote].remote.id;
        self.sessions.remote_is_down(id, on_down, &mut self.host);
        self.host.end_down(&concerned);
        self.check();
    }

    fn accept(&mut self) {
        if self.plan.accepts {
            self.start_clients();
        }
    }

    /// Starts the sessions of clients that have come.
    fn start_clients(&mut self) {
        while let Some(index) = self.expected.iter().position(|(_, session)| session.arrival <= self.now) {
            let (number, session) = self.expected.remove(index);
            let service = self.services[session.service].clone();
            let plan = &self.plan.services[session.service];
            let client = self.host.expect(number, session, &service, plan);
            let socket = SimSocket::new(&self.host.kernel, client);
            let key = self.sessions.start(socket, service, None, &mut self.host);
            assert_eq!(key, self.host.keys[number], "whether a session has started is not what is said");
            if let Some(key) = key {
                self.host.looked(key);
            }
            self.check();
        }
    }

    fn wake_due(&mut self) {
        let due = |&key: &usize| self.sessions.timer(key).is_some_and(|timer| timer <= self.now);
        let due: Vec<usize> = self.host.living().map(|(key, _)| key).filter(due).collect();
        self.sessions.wake_due();
        due.iter().for_each(|&key| self.host.promise.wake(key, false));
    }

    fn run_sparse(&mut self) {
        self.host.promise.begin_sparse();
        self.sessions.run_sparse(&mut self.host);
        self.host.promise.end_sparse();
        self.check();
    }

    fn run_bulk(&mut self) {
        self.host.promise.begin_bulk();
        self.sessions.run_bulk(&mut self.host);
        if self.host.promise.end_bulk() {
            self.host.see(Sight::BulkPostponed);
        }
        self.check();
    }

    /// Resets what is left when the time to drain is over, of a service or of all.
    fn end_what_is_due(&mut self) {
        if let Some((_, id)) = self.retired.take_if(|(over, _)| *over <= self.now) {
            self.end_all(Some(id));
        }
        let over = self.plan.drain.is_some_and(|drain| drain <= self.now)
            || self.plan.drain_turn.is_some_and(|turn| turn <= self.host.report.turns);
        if over {
            self.expected.clear();
            self.end_all(None);
        }
    }

    fn end_all(&mut self, service: Option<ServiceId>) {
        self.host.ending = Some(Ending { service, endless: false });
        self.sessions.end_all(service, End::Drain, &mut self.host);
        self.host.check_ending();
        self.check();
    }

    /// Checks that the scheduler and those who watch it agree.
    fn check(&self) {
        self.host.check_agreement(&self.sessions);
        self.host.promise.check(&self.sessions);
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.host.kernel.borrow_mut().random)
    }
}
