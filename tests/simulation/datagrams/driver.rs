//! Runs one session of datagrams as an I/O thread does, turn by turn, and checks what it comes to.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use cproxy::buffers::batch::DATAGRAM_COST;
use cproxy::buffers::batch::{Batch, Counts, MOST_DATAGRAMS, Undelivered};
use cproxy::buffers::pipe_pool::PipeBudget;
use cproxy::buffers::pools::{DropLog, Pools};
use cproxy::config::settings::BufferSize;
use cproxy::endpoint::{Carries, Endpoint, SideName};
use cproxy::flow::Pace;
use cproxy::service::{RemoteAddress, Service};
use cproxy::session::{Caller, Dial, Dialer, End, Outcome, Session, Turn};
use cproxy::thread::timers::TICK;

use super::super::plan::{Answer, number, service};
use super::super::random::Random;
use super::super::sight::Sights;
use super::dropped;
use super::endpoint::{NoPipe, SimEndpoint};
use super::passage::{Passage, SLOT_COST, Unit, datagram};
use super::plan::{Address, Kind, Plan};
use super::side::Side;
use super::sight::Sight;
use super::world::{SharedWorld, World, put};

/// More turns than any schedule needs.
const MOST_TURNS: u64 = 100_000;

/// Bytes that are kept of datagrams which come unasked, with what it takes to keep each.
const MOST_KEPT: usize = 256 << 10;

/// How long nothing may move between the end of one side and the answer to it, in milliseconds.
const LAST_ANSWER: u64 = 2000;

/// How long what is kept then may be kept, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// Datagrams of other clients are numbered from here.
const STRANGER: usize = 900;

/// What became of a schedule.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub pair: (Kind, Kind),
    pub end: End,
    pub sights: Sights<Sight>,
    pub turns: u64,
    pub moved: u64,
}

/// A session, with what an I/O thread has for it.
pub struct Driver<const SHORT: bool> {
    plan: Plan,
    world: SharedWorld,
    dialling: Dialling,
    session: Option<Session<SimEndpoint<SHORT>>>,
    pools: Pools<NoPipe>,
    batch: Batch,
    now: u64,
    turns: u64,
    timer: Option<u64>,
    woken: bool,
    spent: bool,
    /// How many datagrams were offered.
    offered: usize,
    /// The session said so often that it dropped one.
    said: [u64; 2],
    /// Datagrams were kept before the remote was connected, and have not been delivered yet.
    kept_early: Cell<bool>,
    /// When the remote was connected, and when something moved last.
    moved: Option<u64>,
    delivered: u64,
    payload: u64,
    /// When one flow was drained, and the other was not.
    ending: Option<u64>,
    /// When it learnt that a side has broken.
    broke: Option<u64>,
    end: Option<End>,
}

/// How the session reaches the remote's addresses.
struct Dialling {
    addresses: Vec<Address>,
    remote: Option<usize>,
    /// The address that was dialled last, and when first.
    address: Option<usize>,
    began: u64,
}

struct SimDialer<'a> {
    dialling: &'a mut Dialling,
    world: &'a SharedWorld,
}

impl<const SHORT: bool> Dialer<SimEndpoint<SHORT>> for SimDialer<'_> {
    fn dial(
        &mut self,
        _service: &Service,
        address: &RemoteAddress,
        client: &Caller<'_, SimEndpoint<SHORT>>,
    ) -> Dial<SimEndpoint<SHORT>> {
        let Dialling { addresses, remote, address: last, began } = &mut *self.dialling;
        let address = number(address);
        let carried = client.endpoint.carries();
        let mut world = self.world.borrow_mut();
        assert_eq!(
            carried == Carries::Bytes,
            world.side(0).plan.kind == Kind::Stream,
            "the client carries something else"
        );
        if *last != Some(address) {
            assert_eq!(address, last.map_or(0, |last| last + 1), "addresses are to be tried in their order");
            (*last, *began) = (Some(address), world.now);
            if address > 0 && world.passages[0].is_kept() {
                world.see(Sight::NextAddressWithKept);
            }
        }
        *remote = None;
        let target = &mut addresses[address];
        if target.busy > 0 {
            target.busy -= 1;
            return Dial::Busy;
        }
        if target.answer == Answer::FailAtOnce {
            return Dial::Failed(io::ErrorKind::ConnectionRefused.into());
        }
        let id = world.add(SideName::Remote, &target.peer, Some(target.answer));
        drop(world);
        *remote = Some(id);
        Dial::Started(SimEndpoint::new(self.world, id))
    }
}

impl<const SHORT: bool> Driver<SHORT> {
    pub fn new(plan: Plan, random: Random, tracing: bool) -> Driver<SHORT> {
        dropped::begin();
        let mut world = World::new(random, &plan, tracing);
        world.trace(format_args!("{plan:#?}"));
        world.add(SideName::Client, &plan.client, None);
        let world = Rc::new(RefCell::new(world));
        let dialling = Dialling { addresses: plan.addresses.clone(), remote: None, address: None, began: 0 };
        Driver {
            session: Some(Session::new(
                SimEndpoint::new(&world, 0),
                service(plan.timeouts, plan.addresses.len()),
                None,
                Pace::START,
            )),
            plan,
            world,
            dialling,
            pools: Pools::new(BufferSize::Fixed(1), Arc::new(PipeBudget::new(0, 1))),
            batch: Batch::default(),
            now: 0,
            turns: 0,
            timer: None,
            woken: false,
            spent: false,
            offered: 0,
            said: [0; 2],
            kept_early: Cell::new(false),
            moved: None,
            delivered: 0,
            payload: 0,
            ending: None,
            broke: None,
            end: None,
        }
    }

    /// Runs the session to its end.
    pub fn run(mut self) -> Report {
        self.start();
        while self.session.is_some() {
            self.turns += 1;
            assert!(self.turns < MOST_TURNS, "the session never ends");
            self.turn();
        }
        dropped::end();
        let mut world = self.world.borrow_mut();
        Report {
            pair: (self.plan.client.kind, self.plan.addresses[0].peer.kind),
            end: self.end.expect("the session has ended"),
            sights: std::mem::take(&mut world.sights),
            turns: self.turns,
            moved: self.delivered,
        }
    }

    fn turn(&mut self) {
        let acted = self.world.borrow_mut().act();
        let told = self.deliver_events();
        if self.timer.is_some_and(|timer| timer <= self.now) {
            self.timer = None;
            self.woken = true;
        }
        let offered = self.offer();
        let quiet = !acted && !told && !offered && !self.woken && !self.spent;
        if self.woken || (self.spent && !self.random(|random| random.once_in(4))) {
            self.run_session();
        }
        if self.session.is_none() {
            return;
        }
        self.check_deadline();
        if quiet {
            self.check_stuck();
        }
        self.pass_time(quiet);
        if self.plan.drain <= self.now || self.plan.drain_turn.is_some_and(|turn| turn <= self.turns) {
            self.close(End::Drain);
        }
    }

    /// Tells the session of events. Returns whether there was any, though it may be told later.
    fn deliver_events(&mut self) -> bool {
        let mut any = false;
        for (id, name) in [(Some(0), SideName::Client), (self.dialling.remote, SideName::Remote)] {
            let Some(id) = id else { continue };
            let mut world = self.world.borrow_mut();
            let mut event = None;
            if world.has_event(id) {
                any = true;
                if !world.random.once_in(4) {
                    event = world.take_event(id);
                }
            } else if world.random.once_in(100) {
                event = world.spurious_event(id);
            }
            drop(world);
            if let (Some(event), Some(session)) = (event, &mut self.session) {
                session.ready(name, event);
                self.woken = true;
            }
        }
        any
    }

    /// Time passes, or a quiet one is skipped.
    fn pass_time(&mut self, quiet: bool) {
        if quiet {
            let world = self.world.borrow();
            let offer = self.next_offer();
            let next = [self.timer, world.next_action(), offer].into_iter().flatten().min();
            drop(world);
            let next = next.unwrap_or(u64::MAX).min(self.plan.drain);
            self.now = self.now.max(next);
        } else {
            self.now += self.random(|random| random.pick(&[0, 0, 0, 1, 7]));
        }
        self.world.borrow_mut().now = self.now;
    }

    fn start(&mut self) {
        let Some(session) = &mut self.session else { return };
        let turn = Turn { pools: &mut self.pools, now: 0, now_us: 0, budget: 0 };
        let outcome = session.start(&turn, &mut SimDialer { dialling: &mut self.dialling, world: &self.world });
        self.note_open();
        self.after(outcome);
    }

    fn run_session(&mut self) {
        let Some(session) = &mut self.session else { return };
        self.world.borrow_mut().begin_run();
        self.world.borrow().trace(format_args!("run"));
        (self.woken, self.spent) = (false, false);
        self.pools.drop_log = DropLog::default();
        let budget = self.plan.budget;
        let mut turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now * 1000, budget };
        let outcome = session.run(&mut turn, &mut SimDialer { dialling: &mut self.dialling, world: &self.world });
        if outcome == Outcome::Spent {
            let mut world = self.world.borrow_mut();
            // A read that brings nothing counts, too.
            let spent = |passage: &Passage| passage.read_in_run + passage.reads_in_run;
            let read = world.passages.iter().any(|passage| passage.reads_in_run > 0 && spent(passage) >= budget as u64);
            assert!(read, "the budget is not spent, and the session wants to run again");
            world.see(Sight::Spent);
        }
        self.note_open();
        self.note_refused();
        self.observe();
        self.after(outcome);
    }

    /// What was read in this run and found no room is dropped, if its sender does not rely on delivery.
    fn note_refused(&self) {
        let said = dropped::said().so_far;
        let mut world = self.world.borrow_mut();
        for (direction, said) in said.into_iter().enumerate() {
            let (source, sink) =
                if direction == 0 { (Some(0), self.dialling.remote) } else { (self.dialling.remote, Some(0)) };
            let (Some(source), Some(sink)) = (source, sink) else { continue };
            let (takes_end, broken) = (world.side(source).plan.takes_end, world.side(sink).known_broken());
            let passage = &mut world.passages[direction];
            let refused = said.saturating_sub(passage.dropped) as usize;
            if refused == 0 || broken || passage.reads_in_run == 0 {
                continue;
            }
            assert!(!takes_end, "datagrams are dropped though their sender could be made to wait");
            let first = passage.refuse(refused);
            let least = passage.kept_size() + first.length + SLOT_COST as usize;
            assert!(least > self.pools.kept.share(), "a datagram is dropped though there is room for it: {least}");
        }
    }

    /// When the client offers datagrams next, if it has no connection.
    fn next_offer(&self) -> Option<u64> {
        let plan = &self.plan.client;
        (plan.kind == Kind::Source && self.offered < plan.sizes.len()).then(|| self.world.borrow().side(0).next)
    }

    /// Offers datagrams, if it is time. Returns whether it is.
    fn offer(&mut self) -> bool {
        if self.next_offer().is_none_or(|next| next > self.now) {
            return false;
        }
        if self.random(|random| random.once_in(3)) {
            return true;
        }
        let plan = &self.plan.client;
        let left = plan.sizes.len() - self.offered;
        let most = left.min(MOST_DATAGRAMS).min(plan.piece as usize) as u64;
        let (count, pause) = self.random(|random| (random.within(1..=most) as usize, random.below(plan.pause + 1)));
        let units: Vec<Unit> =
            (self.offered..self.offered + count).map(|number| Unit { number, length: plan.sizes[number] }).collect();
        self.offered += count;
        self.world.borrow_mut().side_mut(0).next = self.now + pause;
        // Between them come those of other clients, whose sessions are not looked at here.
        let mut random = self.random(Random::split);
        let mixed = random.once_in(3);
        let (mut keys, mut all, mut strangers) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
        for unit in &units {
            while mixed && all.len() + units.len() < MOST_DATAGRAMS && random.once_in(2) {
                let stranger = Unit { number: STRANGER + all.len(), length: 8 };
                let key = random.below(2) as usize;
                strangers[key].push(stranger);
                keys.push(1 + key);
                all.push(stranger);
            }
            keys.push(0);
            all.push(*unit);
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        put(&mut batch, 0, &all, self.plan.client.rooms);
        batch.for_each_key(&keys, |key, batch| {
            if key == 0 {
                return self.offer_batch(batch, &units);
            }
            let theirs = std::mem::take(&mut strangers[key - 1]);
            let expected = theirs.iter().map(|unit| datagram(0, unit.number, unit.length));
            assert!(!theirs.is_empty() && batch.datagrams().eq(expected), "another client's datagrams are mixed up");
            batch.drop_all(Undelivered::NoSession);
            batch.take_counts();
        });
        assert!(strangers.iter().all(Vec::is_empty), "another client's datagrams are forgotten");
        self.batch = batch;
        true
    }

    fn offer_batch(&mut self, batch: &mut Batch, units: &[Unit]) {
        let Some(session) = &mut self.session else { return };
        let mut world = self.world.borrow_mut();
        world.begin_run();
        world.trace(format_args!("offer {units:?}"));
        let kept = world.passages[0].kept_size();
        units.iter().for_each(|&unit| world.passages[0].add(unit));
        let dropped = world.passages[0].dropped;
        drop(world);
        self.pools.drop_log = DropLog::default();
        let mut turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now * 1000, budget: 0 };
        let outcome = session.offer(batch, &mut turn);
        assert_eq!(batch.take_counts(), Counts::default(), "what became of a batch is counted by the flow");
        let mut world = self.world.borrow_mut();
        let witnessed = world.passages[0].dropped - dropped;
        let refused = (dropped::said().so_far[0] - self.said[0]).saturating_sub(witnessed) as usize;
        let broken = self.dialling.remote.is_some_and(|remote| world.side(remote).known_broken());
        if broken {
            // If it goes on, then only for what the remote had said.
            world.see(Sight::BrokenByOffer);
        } else if refused > 0 {
            assert!(refused <= units.len(), "more datagrams are refused than were offered");
            let first = world.passages[0].refuse(refused);
            let least = world.passages[0].kept_size() + first.length + SLOT_COST as usize;
            assert!(least > MOST_KEPT, "a datagram is refused though there is room for it: {least}");
            world.see(if self.moved.is_some() { Sight::RefusedWhileOpen } else { Sight::RefusedWhileConnecting });
        }
        if !broken && !matches!(outcome, Outcome::Ended(_)) {
            self.check_kept(&mut world, kept);
        }
        drop(world);
        self.observe();
        self.after(outcome);
    }

    fn check_kept(&self, world: &mut World, before: usize) {
        let kept = world.passages[0].kept_size();
        if kept == 0 {
            return;
        }
        assert!(kept <= MOST_KEPT, "{kept} bytes are kept");
        if self.moved.is_none() {
            self.kept_early.set(true);
            world.see(Sight::KeptWhileConnecting);
            if before > 0 {
                world.see(Sight::KeptTwice);
            }
        }
    }

    fn after(&mut self, outcome: Outcome) {
        self.world.borrow().trace(format_args!("{outcome:?}"));
        match outcome {
            Outcome::Ended(end) => self.close(end),
            Outcome::Waiting | Outcome::Spent => {
                self.spent |= outcome == Outcome::Spent;
                self.check_not_ended();
                self.check_counts();
                self.arm();
            }
        }
    }

    /// As `IoThread::arm` does it.
    fn arm(&mut self) {
        let Some(session) = &self.session else { return };
        match session.deadline() {
            None => self.timer = None,
            Some(deadline) if self.timer.is_none_or(|timer| timer > deadline.saturating_add(TICK)) => {
                self.timer = Some(deadline.div_ceil(TICK) * TICK);
            }
            Some(_) => {}
        }
    }

    /// Notes when the remote was connected.
    fn note_open(&mut self) {
        if self.moved.is_none() && self.dialling.remote.is_some_and(|id| is_open(self.world.borrow().side(id))) {
            self.moved = Some(self.now);
        }
    }

    /// Notes when something moved last.
    fn observe(&mut self) {
        let Some(session) = &self.session else { return };
        let world = self.world.borrow();
        let delivered = session.moved();
        let moved: u64 = world.passages.iter().map(Passage::moved).sum();
        let unnoticed: u64 = world.passages.iter().map(Passage::unnoticed).sum();
        let least = moved + world.steps;
        assert!(delivered >= least, "{delivered} are said to have moved, which are at least {least}");
        // Each datagram counts for itself, beside its bytes and the call.
        let left = (delivered - least) % DATAGRAM_COST as u64;
        assert!(left <= unnoticed, "{delivered} are said to have moved, which are {least} and {unnoticed} unnoticed");
        if delivered != self.delivered {
            (self.delivered, self.moved) = (delivered, Some(self.now));
        }
        if self.broke.is_none() {
            let sides = [Some(0), self.dialling.remote];
            let broke = sides.into_iter().flatten().any(|id| world.side(id).known_broken());
            self.broke = broke.then_some(self.now);
        }
        let answer = self.ending.is_some() && moved > self.payload;
        self.payload = moved;
        if self.ending.is_none() && (world.is_drained(0) || world.is_drained(1)) {
            // An answer is waited for from when it is found that there is something to answer.
            (self.ending, self.moved) = (Some(self.now), Some(self.now));
        }
        let arrived = self.kept_early.get() && delivered > 0 && !world.passages[0].is_kept();
        drop(world);
        if answer {
            self.world.borrow_mut().see(Sight::AnswerToEnd);
        }
        if arrived {
            self.kept_early.set(false);
            self.world.borrow_mut().see(Sight::KeptThenDelivered);
        }
    }

    /// What the session says that it dropped is what it dropped.
    fn check_counts(&mut self) {
        let said = dropped::said().so_far;
        let world = self.world.borrow();
        for (direction, (passage, said)) in world.passages.iter().zip(said).enumerate() {
            let sink = if direction == 0 { self.dialling.remote } else { Some(0) };
            if sink.is_some_and(|sink| world.side(sink).known_broken()) {
                // What was on its way when it broke is dropped, and is looked for when the session has ended.
                assert!(passage.dropped <= said, "datagrams were dropped and not counted");
                continue;
            }
            assert_eq!(passage.dropped, said, "datagrams were dropped and not counted, or the other way round");
        }
        self.said = said;
    }

    /// A session that goes on has reason to: of a side that has ended, with all of it delivered, the other has been
    /// told, and may have an answer.
    fn check_not_ended(&self) {
        let world = self.world.borrow();
        let Some(remote) = self.dialling.remote.map(|id| world.side(id)) else { return };
        if self.broke.is_some() {
            assert!(!world.side(0).known_broken() || !remote.known_broken(), "the session goes on though both broke");
            return;
        }
        assert!(!world.is_drained(0) || !world.is_drained(1), "the session goes on though both sides have ended");
        for (source, sink) in [(world.side(0), remote), (remote, world.side(0))] {
            let drained = world.is_drained(source.direction());
            assert!(!drained || sink.plan.takes_end, "the session goes on though the {} has ended", source.name);
            assert_eq!(drained, sink.told_end, "whether the {} has ended is not what the other is told", source.name);
        }
    }

    /// How long nothing may move now.
    fn idle_timeout(&self) -> Option<u64> {
        match self.plan.client.kind {
            _ if self.ending.is_some() => Some(LAST_ANSWER),
            Kind::Source => self.plan.timeouts.connectionless,
            _ => self.plan.timeouts.idle,
        }
    }

    /// Whether nothing has moved for too long.
    fn is_idle(&self) -> bool {
        let deadline = self.moved.zip(self.idle_timeout()).map(|(moved, idle)| moved + idle);
        deadline.is_some_and(|deadline| deadline <= self.now)
    }

    /// Checks that a session which waits has not waited too long.
    fn check_deadline(&self) {
        if self.spent || self.woken {
            return;
        }
        let kept = self.world.borrow().passages.iter().any(Passage::is_kept);
        let deadline = match self.moved {
            Some(moved) if self.broke.is_some() => {
                let idle = match self.plan.client.kind {
                    Kind::Source => self.plan.timeouts.connectionless,
                    _ => self.plan.timeouts.idle,
                };
                Some(moved.max(self.broke.unwrap_or(0)) + idle.map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES)))
            }
            // Whether the time is over is looked at whenever nothing has moved for a while.
            Some(moved) if kept && self.ending.is_some() => Some(moved + LAST_BYTES + LAST_ANSWER + TICK),
            Some(moved) => self.idle_timeout().map(|idle| moved + idle),
            None => Some(self.dialling.began + self.plan.timeouts.connect),
        };
        assert!(deadline.is_none_or(|deadline| deadline + TICK > self.now), "a deadline is missed: {deadline:?}");
    }

    /// Checks, when nothing more will be told, that the session overlooks nothing that it could do.
    fn check_stuck(&self) {
        let world = self.world.borrow();
        let client = world.side(0);
        let Some(remote) = self.dialling.remote.map(|id| world.side(id)) else { return };
        for side in [client, remote] {
            assert!(
                !side.broken || !side.armed.registered || side.known_broken(),
                "it is overlooked that a side broke"
            );
        }
        if self.moved.is_none() {
            return;
        }
        for (passage, source, sink) in [(&world.passages[0], client, remote), (&world.passages[1], remote, client)] {
            if sink.known_broken() {
                // Nothing more goes there.
            } else if passage.is_kept() {
                assert!(!sink.conditions().output, "something is kept that could be sent");
            } else if source.known_broken() {
                assert!(!source.has_input(), "something is left unread of what the {} had said", source.name);
            } else if source.plan.kind != Kind::Source {
                assert!(!source.readable(), "something could be read");
            }
        }
    }

    fn close(&mut self, end: End) {
        let Some(mut session) = self.session.take() else { return };
        self.check_end(end);
        session.release(&mut self.pools);
        session.close(end);
        self.end = Some(end);
        self.check_closed(end);
    }

    /// Checks that the session ends for a good reason, and names it rightly.
    fn check_end(&self, end: End) {
        let mut world = self.world.borrow_mut();
        let kept = world.passages.iter().any(Passage::is_kept);
        match end {
            End::EndOfStream => {
                let sight = self.check_end_of_stream(&world);
                world.see(sight);
                if sight == Sight::EndInSilence && self.moved > self.ending {
                    world.see(Sight::SilenceAfterAnswer);
                }
                assert!(sight != Sight::EndInSilence || !kept, "what is kept is made to look whole");
            }
            End::Reset(name) => {
                let side = self.side(&world, name);
                let reset = side.witness.told.iter().any(|&error| error != libc::ETIMEDOUT);
                assert!(reset, "{end:?}, of which nothing was told");
            }
            End::Error(name) => {
                let side = self.side(&world, name);
                let timed_out = side.witness.told.contains(&libc::ETIMEDOUT);
                assert!(timed_out || side.witness.cut, "{end:?} without a timeout, or an end inside a frame");
                if side.witness.cut {
                    assert!(!world.passages[side.direction()].is_kept(), "what came before the end is not delivered");
                }
            }
            End::ConnectFailed | End::ConnectTimeout => {
                let last = Some(self.plan.addresses.len() - 1);
                assert!(self.dialling.address == last && self.moved.is_none(), "{end:?} with addresses left to try");
                let late = self.now >= self.dialling.began + self.plan.timeouts.connect;
                assert!(end == End::ConnectFailed || late || self.dialling.remote.is_none(), "{end:?} too early");
            }
            End::SessionTimeout | End::HalfCloseTimeout => unreachable!("no session has these timeouts"),
            End::ExchangeComplete => unreachable!("nobody knows how many answers there are"),
            End::IdleTimeout => {
                assert!(self.is_idle(), "the idle timeout is early");
                if self.ending.is_some() {
                    let late = self.moved.is_some_and(|moved| self.now >= moved + LAST_BYTES);
                    assert!(kept && late, "an end without an answer is no idleness");
                } else if self.delivered == 0 {
                    world.see(Sight::IdleFromTheStart);
                }
            }
            End::Drain => {}
            End::Refused => unreachable!("a datagram is never refused by the remote's system"),
            End::MadeRoom | End::RemoteDown => unreachable!("nobody needs room, and nothing is checked"),
            End::BadHeader | End::NotLetIn => unreachable!("nobody has to say who it is"),
            End::OutsideTime => unreachable!("there are no hours"),
            End::Rejected => unreachable!("nothing is filtered"),
        }
        if let (true, Some(sight)) = (kept, sight_of(end)) {
            world.see(sight);
        }
        match end {
            End::Reset(_) | End::Error(_) if self.ending.is_some() => world.see(Sight::BrokenWhileEnding),
            End::Drain if self.ending.is_some() => world.see(Sight::DrainWhileEnding),
            _ => {}
        }
        if matches!(end, End::Reset(_) | End::Error(_)) {
            self.check_last_words(&world);
        }
    }

    fn side<'a>(&self, world: &'a World, name: SideName) -> &'a Side {
        match name {
            SideName::Client => world.side(0),
            SideName::Remote => world.side(self.dialling.remote.expect("there is a remote")),
        }
    }

    /// A side has ended, all it sent has been delivered, and nothing failed; and so has the other, or it cannot be
    /// told, or it has been told and had no answer for long.
    fn check_end_of_stream(&self, world: &World) -> Sight {
        let (client, remote) = (self.side(world, SideName::Client), self.side(world, SideName::Remote));
        assert!(!client.failed() && !remote.failed(), "a broken stream looks whole");
        for side in [client, remote] {
            if side.witness.read_end {
                assert!(side.read_to_the_end() && !side.witness.cut, "the {} has not ended", side.name);
                assert!(!world.passages[side.direction()].is_kept(), "what came before the end is not delivered");
            }
        }
        let told = client.told_end || remote.told_end;
        let sink = match (client.witness.read_end, remote.witness.read_end) {
            (true, true) => return if told { Sight::EndAnswered } else { Sight::EndTogether },
            (true, false) => remote,
            (false, true) => client,
            (false, false) => panic!("no side has ended with all of it delivered"),
        };
        if !sink.plan.takes_end {
            return Sight::EndUntold;
        }
        assert!(sink.told_end, "the {} is not told that the other side has ended", sink.name);
        assert!(self.is_idle(), "the {} could still have an answer to the other side's end", sink.name);
        Sight::EndInSilence
    }

    /// What a side said before it was found to take no more is still passed on, as far as the other side takes it.
    fn check_last_words(&self, world: &World) {
        let Some(remote) = self.dialling.remote.map(|id| world.side(id)) else { return };
        for (source, sink) in [(world.side(0), remote), (remote, world.side(0))] {
            if !source.witness.send_failed || source.failed_reading() || sink.known_broken() {
                continue;
            }
            let moves = match world.passages[source.direction()].is_kept() {
                true => sink.space() > 0 && sink.witness.believes_writable && !sink.broken,
                false => source.has_input() && source.witness.believes_readable,
            };
            assert!(!moves, "what the {} had said is not passed on", source.name);
        }
    }

    /// Checks what the peers saw when the session was over, and what it says of itself.
    fn check_closed(&self, end: End) {
        let world = self.world.borrow();
        let remote = self.dialling.remote.map(|id| world.side(id));
        for side in [Some(world.side(0)), remote].into_iter().flatten() {
            assert!(side.witness.closed, "an endpoint outlives its session");
            let aborted = end != End::EndOfStream && end != End::Reset(side.name);
            assert_eq!(side.witness.aborted, aborted, "{end:?} looks otherwise to the {}", side.name);
        }
        assert_eq!(self.pools.in_use(), 0, "a buffer is out that nobody has");
        assert_eq!(self.pools.kept.used(), 0, "memory is charged for what nobody keeps");
        let said = dropped::said().in_all.expect("a session says how it ended");
        let (mut least, mut most) = (0, 0);
        for passage in &world.passages {
            let (kept_at_least, kept_at_most) = passage.kept();
            least += passage.dropped + kept_at_least;
            most += passage.dropped + kept_at_most;
        }
        assert!((least..=most).contains(&said), "{said} datagrams are said to be dropped, which are {least} or {most}");
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.world.borrow_mut().random)
    }
}

/// What it is to end so while something is kept.
fn sight_of(end: End) -> Option<Sight> {
    match end {
        End::Reset(_) => Some(Sight::ResetWithKept),
        End::Error(_) => Some(Sight::ErrorWithKept),
        End::IdleTimeout => Some(Sight::IdleTimeoutWithKept),
        End::Drain => Some(Sight::DrainWithKept),
        End::ConnectFailed | End::ConnectTimeout => Some(Sight::ConnectFailedWithKept),
        End::EndOfStream | End::MadeRoom | End::Refused | End::RemoteDown => None,
        End::BadHeader | End::NotLetIn | End::OutsideTime | End::Rejected => None,
        End::SessionTimeout | End::HalfCloseTimeout | End::ExchangeComplete => None,
    }
}

/// Whether a remote is connected, and the session knows.
fn is_open(remote: &Side) -> bool {
    let told = remote.witness.told_writable && remote.witness.told.is_empty();
    remote.plan.kind.connects_at_once() || (remote.connected && told)
}
