//! The I/O thread of a schedule: the turn of `io_thread`, with the real run queue, timers and buffers, on a simulated
//! kernel and clock, and with checks after every step.

use cproxy::buffers::pipe_pool::PipeBudget;
use cproxy::buffers::pools::Pools;
use cproxy::endpoint::SideName;
use cproxy::session::{End, Outcome, Session, Turn};
use cproxy::thread::run_queue::RunQueue;
use cproxy::thread::sessions::SPARSE_MEMORY;
use cproxy::thread::timers::{TICK, Timers};
use slab::Slab;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::dialer::{Dialling, SimDialer};
use super::kernel::{Kernel, SharedKernel, SimSocket};
use super::pipe::{self, SimPipe};
use super::plan::{Plan, SessionPlan, service};
use super::random::Random;
use super::sight::{Sight, Sights};
use super::socket::Socket;
use super::traffic::Means;

/// More turns than any schedule can need: one that takes so many never ends.
const MOST_TURNS: u64 = 250_000;

/// How long a session that is ending waits for the peer to take what was sent last, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// How late a thread may look at a timer, in milliseconds.
const LATE: u64 = 120 + TICK;

/// How a schedule went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub ends: Vec<End>,
    pub sights: Sights,
    pub turns: u64,
    pub bytes: u64,
}

/// A session and what is known of it.
struct Entry<const SHORT: bool> {
    session: Session<SimSocket<SHORT>>,
    /// Its place in the plan.
    number: usize,
    client: usize,
    dialling: Dialling,
    /// When bytes could first move.
    opened: Option<u64>,
    /// When a byte last moved to a sink.
    moved: u64,
    /// When the session learnt that a side has broken, or closed wholly.
    broke: Option<u64>,
    sent: u64,
    /// It has been woken as a sparse one and is to run in this turn.
    woken: bool,
    /// It is bulk, and has to run after so many runs of bulk sessions at the latest.
    bulk: Option<usize>,
}

/// One I/O thread.
pub struct Thread<const SHORT: bool> {
    plan: Plan,
    kernel: SharedKernel,
    sessions: Slab<Entry<SHORT>>,
    /// The slot of each session of the plan while it lives.
    keys: Vec<Option<usize>>,
    /// Sessions of the plan that have not come yet.
    expected: Vec<(usize, SessionPlan)>,
    queue: RunQueue,
    timers: Timers,
    pools: Pools<SimPipe>,
    /// When a session that carries messages was last seen.
    sparse_seen: Option<u64>,
    now: u64,
    report: Report,
}

impl<const SHORT: bool> Thread<SHORT> {
    pub fn new(mut plan: Plan, mut random: Random, tracing: bool) -> Self {
        pipe::begin(plan.pipes, random.split());
        let kernel = Kernel::new(random, &plan, tracing);
        kernel.trace(format_args!("{plan:#?}"));
        let expected: Vec<_> = std::mem::take(&mut plan.sessions).into_iter().enumerate().collect();
        Thread {
            kernel: Rc::new(RefCell::new(kernel)),
            sessions: Slab::new(),
            keys: vec![None; expected.len()],
            expected,
            queue: RunQueue::default(),
            timers: Timers::default(),
            pools: Pools::new(plan.buffer_size, Arc::new(PipeBudget::new(plan.pipes.most, 1))),
            sparse_seen: None,
            now: 0,
            plan,
            report: Report::default(),
        }
    }

    /// Serves all sessions of the plan until they have ended.
    pub fn run(mut self) -> Report {
        let mut due = Vec::new();
        while !(self.expected.is_empty() && self.sessions.is_empty()) {
            self.report.turns += 1;
            assert!(self.report.turns < MOST_TURNS, "the sessions do not come to an end");
            self.poll();
            self.note_events();
            self.accept();
            self.timers.expire(self.now, &mut due);
            for key in due.drain(..) {
                self.wake(key, false);
            }
            self.run_sparse();
            self.run_bulk();
            self.end_drain();
            self.check_turn();
        }
        assert_eq!(self.pools.in_use(), 0, "buffers or pipes are missing");
        assert_eq!(self.timers.wait(self.now), None, "a timer outlives its session");
        if pipe::standing().opened_after_refusal {
            self.see(Sight::PipeOpenedAfterRefusal);
        }
        drop(self.pools);
        assert_eq!(pipe::standing().open, 0, "a pipe is open that no pool has");
        self.report.sights = std::mem::take(&mut self.kernel.borrow_mut().sights);
        self.report
    }

    /// Lets the world go on: until something happens if nothing waits to be run, for a moment otherwise.
    fn poll(&mut self) {
        if self.queue.is_empty() {
            while !self.has_events() {
                self.check_stuck();
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
    }

    fn let_peers_act(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        kernel.now = self.now;
        kernel.act();
    }

    fn has_events(&self) -> bool {
        let kernel = self.kernel.borrow();
        (0..kernel.count()).any(|id| kernel.has_event(id))
    }

    /// When the first thing happens for which the thread has to wake up, or the network does something.
    fn next_happening(&self) -> Option<u64> {
        let arrival = self.expected.iter().map(|(_, session)| session.arrival).min();
        [self.next_timer(), self.plan.drain, arrival, self.kernel.borrow().next_action()].into_iter().flatten().min()
    }

    fn next_timer(&self) -> Option<u64> {
        self.timers.wait(self.now).map(|wait| self.now + wait.as_millis() as u64)
    }

    /// Whether the thread has something to do though no event came.
    fn is_due(&self) -> bool {
        let past = |time: u64| time <= self.now;
        self.next_timer().is_some_and(past)
            || self.plan.drain.is_some_and(past)
            || self.expected.iter().any(|(_, session)| past(session.arrival))
    }

    /// Takes events in any order; some come only with a later turn, and some without reason.
    fn note_events(&mut self) {
        let count = self.kernel.borrow().count();
        let first = self.random(|random| random.below(count.max(1) as u64)) as usize;
        for id in (0..count).map(|index| (first + index) % count) {
            if self.random(|random| random.once_in(4)) {
                continue;
            }
            let spurious = self.random(|random| random.once_in(100));
            let mut kernel = self.kernel.borrow_mut();
            let event = if spurious { kernel.spurious_event(id) } else { kernel.take_event(id) };
            drop(kernel);
            let Some((number, side, readiness)) = event else { continue };
            let key = self.keys[number].expect("only sockets of living sessions are open");
            self.sessions[key].session.ready(side, readiness);
            let bulk = self.sessions[key].session.is_bulk();
            self.wake(key, bulk);
        }
    }

    fn wake(&mut self, key: usize, bulk: bool) {
        self.queue.wake(key, bulk);
        let entry = &mut self.sessions[key];
        if entry.bulk.is_some() || entry.woken {
            return;
        }
        match bulk {
            true => entry.bulk = Some(self.queue.bulk_waiting()),
            false => entry.woken = true,
        }
    }

    /// Takes the clients that have come.
    fn accept(&mut self) {
        while let Some(index) = self.expected.iter().position(|(_, session)| session.arrival <= self.now) {
            let (number, session) = self.expected.remove(index);
            self.start_session(number, session);
        }
    }

    fn start_session(&mut self, number: usize, plan: SessionPlan) {
        let client = self.kernel.borrow_mut().accept(number, &plan.client);
        let key = self.sessions.insert(Entry {
            session: Session::new(SimSocket::new(&self.kernel, client), service(self.plan.timeouts), self.plan.pace),
            number,
            client,
            dialling: Dialling::new(client, plan.addresses, self.plan.timeouts.connect),
            opened: None,
            moved: 0,
            broke: None,
            sent: 0,
            woken: false,
            bulk: None,
        });
        self.keys[number] = Some(key);
        self.kernel.borrow_mut().begin_run();
        let Entry { session, dialling, .. } = &mut self.sessions[key];
        let turn = Turn { pools: &mut self.pools, now: self.now, budget: 0 };
        let outcome = session.start(&turn, &mut SimDialer { dialling, kernel: &self.kernel });
        self.after(key, outcome);
    }

    fn run_sparse(&mut self) {
        while let Some(key) = self.queue.next_sparse() {
            let moved = self.run_session(key, self.budget());
            if moved <= self.plan.message && !self.queue.is_bulk(key) {
                self.sparse_seen = Some(self.now);
            }
        }
    }

    fn run_bulk(&mut self) {
        let budget = self.budget();
        let before = self.delivered();
        let mut moved = 0;
        for _ in 0..self.queue.bulk_waiting() {
            let Some(key) = self.queue.next_bulk() else { return };
            self.count_bulk_run(key);
            assert!(self.delivered() - before < budget as u64, "bulk goes on though the turn's budget is spent");
            moved += self.run_session(key, budget);
            if moved >= budget as u64 {
                if self.sessions.iter().any(|(other, entry)| other != key && entry.bulk.is_some()) {
                    self.see(Sight::BulkPostponed);
                }
                return;
            }
        }
    }

    fn budget(&self) -> usize {
        match self.sparse_seen {
            Some(seen) if self.now <= seen + SPARSE_MEMORY => self.plan.small_budget,
            _ => self.plan.large_budget,
        }
    }

    /// Runs a session and says how many bytes it delivered.
    fn run_session(&mut self, key: usize, budget: usize) -> u64 {
        self.kernel.borrow_mut().begin_run();
        self.kernel.borrow().trace(format_args!("run session {} budget {budget}", self.sessions[key].number));
        let Entry { session, dialling, woken, .. } = &mut self.sessions[key];
        *woken = false;
        let before = session.moved();
        let mut turn = Turn { pools: &mut self.pools, now: self.now, budget };
        let outcome = session.run(&mut turn, &mut SimDialer { dialling, kernel: &self.kernel });
        let moved = session.moved() - before;
        self.observe(key);
        self.check_run(key, budget, outcome);
        self.after(key, outcome);
        self.check_pools();
        moved
    }

    fn after(&mut self, key: usize, outcome: Outcome) {
        self.kernel.borrow().trace(format_args!("session {} {outcome:?}", self.sessions[key].number));
        match outcome {
            Outcome::Waiting => self.arm(key),
            Outcome::Spent => {
                self.arm(key);
                self.queue.spent(key);
                self.sessions[key].bulk = Some(self.queue.bulk_waiting());
            }
            Outcome::Ended(end) => {
                self.timers.cancel(key);
                self.close(key, end);
            }
        }
    }

    /// As `IoThread::arm` does it.
    fn arm(&mut self, key: usize) {
        let Some(deadline) = self.sessions[key].session.deadline() else { return };
        if self.timers.armed(key).is_none_or(|armed| armed > deadline.saturating_add(TICK)) {
            self.timers.arm(key, deadline);
        }
    }

    fn close(&mut self, key: usize, end: End) {
        self.check_end(&self.sessions[key], end);
        if self.held(&self.sessions[key]).contains(&Means::Pipe) {
            match end {
                End::Reset(_) => self.see(Sight::ResetWithPipe),
                End::Error(_) => self.see(Sight::ErrorWithPipe),
                End::IdleTimeout => self.see(Sight::IdleTimeoutWithPipe),
                End::Drain => self.see(Sight::DrainWithPipe),
                _ => panic!("a session ends with {end:?} though bytes are in a pipe"),
            }
        }
        let entry = self.sessions.remove(key);
        self.keys[entry.number] = None;
        let sockets = entry.sockets();
        entry.session.close(end, &mut self.pools);
        for id in sockets {
            self.check_closed(self.kernel.borrow().socket(id), end);
        }
        self.report.ends.push(end);
        self.report.bytes += entry.sent;
    }

    /// Resets what is left when the time to drain is over.
    fn end_drain(&mut self) {
        let over = self.plan.drain.is_some_and(|drain| drain <= self.now)
            || self.plan.drain_turn.is_some_and(|turn| turn <= self.report.turns);
        if over {
            self.expected.clear();
            let keys: Vec<usize> = self.sessions.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.timers.cancel(key);
                self.close(key, End::Drain);
            }
            self.check_pools();
        }
    }

    /// Bytes that all sessions have delivered, as the kernel saw it.
    fn delivered(&self) -> u64 {
        self.report.bytes + self.sessions.iter().map(|(_, entry)| entry.sent).sum::<u64>()
    }

    /// Notes when the session opened, when bytes last moved, and what it comes by.
    fn observe(&mut self, key: usize) {
        let kernel = self.kernel.borrow();
        let entry = &mut self.sessions[key];
        let Some(remote) = entry.dialling.remote().map(|id| kernel.socket(id)) else { return };
        let sent = remote.sent + kernel.socket(entry.client).sent;
        if entry.opened.is_none() && remote.told_connected() && !remote.witness.closed {
            (entry.opened, entry.moved) = (Some(self.now), self.now);
        }
        if sent != entry.sent {
            (entry.sent, entry.moved) = (sent, self.now);
        }
        if entry.broke.is_none() {
            let sockets = [kernel.socket(entry.client), remote];
            entry.broke = sockets.iter().any(|socket| socket.known_broken() || socket.known_left()).then_some(self.now);
        }
    }

    /// A bulk session runs at the latest when every other that was bulk before it has run.
    fn count_bulk_run(&mut self, key: usize) {
        for (_, entry) in &mut self.sessions {
            if let Some(runs) = &mut entry.bulk {
                assert!(*runs > 0, "session {} is passed over", entry.number);
                *runs -= 1;
            }
        }
        self.sessions[key].bulk = None;
    }

    /// Bytes that were read and not yet written keep one buffer or pipe a flow.
    fn check_pools(&self) {
        let (mut buffers, mut pipes) = (0, 0);
        for (_, entry) in &self.sessions {
            for held in self.held(entry) {
                match held {
                    Means::Buffer => buffers += 1,
                    Means::Pipe => pipes += 1,
                }
            }
        }
        assert_eq!(self.pools.pipes.in_use(), pipes, "a pipe is out that holds nothing, or one is shared");
        assert_eq!(self.pools.in_use(), buffers + pipes, "a buffer is out that holds nothing, or one is shared");
        assert_eq!(pipe::standing().filled, pipes, "bytes were left in a pipe that no flow has");
    }

    /// What the flows of a session hold bytes in.
    fn held(&self, entry: &Entry<SHORT>) -> Vec<Means> {
        let kernel = self.kernel.borrow();
        let holds = |(source, sink): (usize, usize)| {
            let source = kernel.socket(source);
            source.witness.read_into.filter(|_| source.received > kernel.socket(sink).sent)
        };
        entry.flows().into_iter().filter_map(holds).collect()
    }

    fn see(&self, sight: Sight) {
        self.kernel.borrow_mut().sights.note(sight);
    }

    /// Checks what a session did in one run.
    fn check_run(&self, key: usize, budget: usize, outcome: Outcome) {
        let kernel = self.kernel.borrow();
        let entry = &self.sessions[key];
        let number = entry.number;
        assert_eq!(entry.session.moved(), entry.sent, "session {number} counts wrongly what it delivered");
        let bulk = entry.sockets().into_iter().any(|id| kernel.socket(id).witness.traffic.is_bulk());
        assert_eq!(entry.session.is_bulk(), bulk, "session {number} is wrong about whether it carries bulk");
        if outcome == Outcome::Spent {
            assert!(kernel.moved_in_run() > 0, "session {number} moved nothing and wants to run again");
        }
        if outcome == Outcome::Waiting {
            for (source, sink) in entry.flows() {
                let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                let over = source.known_broken() && (sink.known_broken() || !source.is_owed(sink));
                assert!(!over, "session {number} goes on though a socket failed");
                let over = source.known_left() && !source.is_owed(sink);
                assert!(!over, "session {number} goes on though its {} has left", source.side);
            }
        }
        for socket in entry.sockets().into_iter().map(|id| kernel.socket(id)).filter(|socket| !socket.witness.closed) {
            // When a socket has broken, what it said before is read for another budget in the same run.
            let budgets = if socket.known_broken() { 2 } else { 1 };
            let within = socket.witness.received_in_run <= budgets * budget as u64;
            assert!(within, "session {number} reads more than its budget");
        }
    }

    /// Checks what a turn left behind.
    fn check_turn(&self) {
        for (key, entry) in &self.sessions {
            let number = entry.number;
            if entry.bulk.is_some() {
                continue;
            }
            assert!(!entry.woken, "session {number} was woken and did not run");
            let deadlines = [entry.session.deadline(), self.expected_deadline(entry)];
            for deadline in deadlines.into_iter().flatten() {
                assert!(deadline + TICK > self.now, "session {number} missed its deadline {deadline}");
            }
            assert!(self.timers.armed(key).is_some() || self.expected_deadline(entry).is_none(), "no timer is armed");
        }
    }

    /// When a session has to be run at the latest, as the kernel saw it.
    fn expected_deadline(&self, entry: &Entry<SHORT>) -> Option<u64> {
        match entry.opened {
            Some(_) => {
                let idle = self.plan.timeouts.idle?;
                // It is found only in the next idle timeout that a peer takes no more of what was sent to it before.
                let progress = self.last_progress(entry);
                Some(if progress == entry.moved && !self.has_unsent(entry) {
                    progress + idle
                } else {
                    progress + 2 * idle + LATE
                })
            }
            None => entry.dialling.deadline(),
        }
    }

    /// When a byte last moved, or was taken by a peer, or a side was last found to have broken.
    fn last_progress(&self, entry: &Entry<SHORT>) -> u64 {
        let kernel = self.kernel.borrow();
        let taken = entry.sockets().into_iter().map(|id| kernel.socket(id).fetched_at).max();
        entry.moved.max(taken.unwrap_or(0)).max(entry.broke.unwrap_or(0))
    }

    /// Whether something that was sent is not taken, or was not when the peer closed.
    fn has_unsent(&self, entry: &Entry<SHORT>) -> bool {
        let kernel = self.kernel.borrow();
        entry.sockets().into_iter().any(|id| kernel.socket(id).unsent() > 0 || kernel.socket(id).left)
    }

    /// Checks, when no event is left to tell, that no session overlooks what it could do.
    fn check_stuck(&self) {
        let kernel = self.kernel.borrow();
        for (_, entry) in &self.sessions {
            for id in entry.sockets() {
                let socket = kernel.socket(id);
                let unknown = socket.witness.closed || socket.unregistered();
                assert!(
                    !socket.broken || unknown || socket.known_broken(),
                    "session {} overlooks that socket {id} broke",
                    entry.number
                );
            }
            let Some(remote) = entry.dialling.remote() else { continue };
            if kernel.socket(remote).told_connected() {
                for (source, sink) in entry.flows() {
                    check_flow_stuck(entry.number, kernel.socket(source), kernel.socket(sink));
                }
            }
        }
    }

    /// Checks that a session ends for a good reason, and names it rightly.
    fn check_end(&self, entry: &Entry<SHORT>, end: End) {
        let kernel = self.kernel.borrow();
        // That the connection timed out is an error; all else that breaks one is a reset.
        let told = |side: SideName, timed_out: bool| {
            let id = if side == SideName::Client { Some(entry.client) } else { entry.dialling.remote() };
            let errors = id.map_or(&[][..], |id| &kernel.socket(id).witness.told);
            assert!(errors.iter().any(|&error| (error == libc::ETIMEDOUT) == timed_out), "{end:?} after {errors:?}");
        };
        match end {
            End::EndOfStream => {
                for (source, sink) in entry.flows() {
                    let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                    if !sink.known_left() {
                        check_whole(entry.number, source, sink);
                    }
                    // Where both have ended, closing delivers the rest, as nobody will answer it.
                    let may_end = sink.read_to_the_end() || !source.is_owed(sink) || self.has_waited(entry);
                    assert!(
                        !source.known_left() || may_end,
                        "session {} ends before what its {} said is taken",
                        entry.number,
                        source.side
                    );
                }
            }
            End::Reset(side) => told(side, false),
            End::Error(side) => told(side, true),
            End::ConnectFailed | End::ConnectTimeout => entry.dialling.check_end(end, &self.kernel),
            End::IdleTimeout => {
                let idle = self.plan.timeouts.idle.expect("there is an idle timeout");
                assert!(entry.opened.is_some() && self.now >= entry.moved + idle, "the idle timeout fires early");
                let left = entry.sockets().into_iter().any(|id| kernel.socket(id).left);
                let taking = !left && self.has_unsent(entry) && self.now < self.last_progress(entry) + idle;
                assert!(!taking, "the idle timeout fires though a peer takes what was sent to it");
            }
            End::Drain => {}
            End::MadeRoom => unreachable!("every client has a connection"),
        }
        if matches!(end, End::Reset(_) | End::Error(_)) {
            for (source, sink) in entry.flows() {
                let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                // A client that broke before the remote was connected has nobody to whom it could have said something.
                let early = source.side == SideName::Client && entry.opened.is_none_or(|at| entry.broke == Some(at));
                let may_end = sink.broken || sink.left || !source.is_owed(sink) || self.has_waited(entry);
                assert!(
                    !source.known_broken() || may_end || early,
                    "session {} does not pass on what its {} had said",
                    entry.number,
                    source.side
                );
            }
        }
    }

    /// Whether nothing more has moved, nor been taken, for as long as a session waits that is ending.
    fn has_waited(&self, entry: &Entry<SHORT>) -> bool {
        let patience = self.plan.timeouts.idle.map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES));
        self.now >= self.last_progress(entry) + patience
    }

    /// Checks what the peer of a socket saw when the session was over.
    fn check_closed(&self, socket: &Socket, end: End) {
        assert!(socket.witness.closed, "a socket outlives its session");
        if end == End::EndOfStream {
            assert!(!socket.witness.aborted, "a whole stream is made to look cut off");
        } else {
            assert!(
                socket.witness.aborted || socket.broken || socket.left,
                "a stream that was cut off ({end:?}) looks whole"
            );
        }
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.kernel.borrow_mut().random)
    }
}

impl<const SHORT: bool> Entry<SHORT> {
    /// The sockets the session has had last, one a side.
    fn sockets(&self) -> Vec<usize> {
        [Some(self.client), self.dialling.remote()].into_iter().flatten().collect()
    }

    /// Source and sink of each flow.
    fn flows(&self) -> Vec<(usize, usize)> {
        self.dialling.remote().map_or(Vec::new(), |remote| vec![(self.client, remote), (remote, self.client)])
    }
}

/// A flow that no event will move must be one that cannot move.
fn check_flow_stuck(number: usize, source: &Socket, sink: &Socket) {
    if sink.known_broken() || sink.known_left() {
        // Nothing more goes there.
    } else if source.received > sink.sent {
        assert!(!sink.writable(), "session {number} holds bytes that its sink would take");
    } else if source.known_broken() {
        assert_eq!(source.received, source.arrived, "session {number} leaves unread what its source had said");
    } else if source.read_to_the_end() {
        assert!(sink.finished, "session {number} does not pass on that its source finished");
    } else {
        assert!(!source.readable(), "session {number} leaves unread what its source has to say");
    }
}

/// A flow that ended well has passed on everything, and its end.
fn check_whole(number: usize, source: &Socket, sink: &Socket) {
    assert!(source.read_to_the_end(), "session {number} ends well before its source has");
    assert_eq!(source.received, sink.sent, "session {number} ends well though bytes are missing");
}
