//! The part of an I/O thread that concerns sources, turn by turn: what the sockets bring is dealt to sessions.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use cproxy::buffers::batch::{DATAGRAM_COST, MOST_DATAGRAMS, Undelivered};
use cproxy::buffers::pipe_pool::PipeBudget;
use cproxy::buffers::pools::Pools;
use cproxy::config::settings::BufferSize;
use cproxy::endpoint::SideName;
use cproxy::endpoint::datagram::Origin;
use cproxy::flow::Pace;
use cproxy::service::ServiceId;
use cproxy::session::End;
use cproxy::thread::dealing::{Arrivals, Door};
use cproxy::thread::sessions::Sessions;

use super::super::datagrams::dropped;
use super::super::plan::service;
use super::super::promise::Promise;
use super::super::random::Random;
use super::super::sight::Sights;
use super::endpoint::SimEnd;
use super::host::SimHost;
use super::plan::{Plan, draw_addresses, draw_timeouts};
use super::record::{Record, Unit};
use super::register::{Register, Step};
use super::sight::Sight;
use super::world::{SharedWorld, Source, World};

/// More turns than any schedule needs.
const MOST_TURNS: u64 = 20_000;

/// What a new session is said to cost, in bytes.
const NEW_SESSION_COST: usize = 32 << 10;

/// How a schedule went.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub ends: Vec<End>,
    pub sights: Sights<Sight>,
    pub turns: u64,
    pub datagrams: u64,
}

/// The sessions of a thread, all of sources.
pub struct Driver {
    plan: Plan,
    world: SharedWorld,
    host: SimHost,
    sessions: Sessions<SimEnd>,
    arrivals: Arrivals,
    now: u64,
    turns: u64,
    datagrams: u64,
    draining: bool,
    /// Replaced services, whose sessions' time is over then.
    retired: Vec<(u64, ServiceId)>,
}

impl Driver {
    pub fn new(plan: Plan, mut random: Random, tracing: bool) -> Driver {
        dropped::begin();
        let services =
            plan.doors.iter().map(|_| service(draw_timeouts(&mut random), draw_addresses(&mut random))).collect();
        let mut world = World::new(random, &plan, services, tracing);
        world.trace(format_args!("{plan:#?}"));
        for (door, &count) in plan.doors.iter().enumerate() {
            world.sources.extend((0..count).map(|number| Source { door, origin: origin(number), sent: 0 }));
        }
        let world = Rc::new(RefCell::new(world));
        let register = Register::new(plan.doors.len(), plan.most_sources, plan.most);
        let mut sessions =
            Sessions::new(Pools::new(BufferSize::Fixed(1), Arc::new(PipeBudget::new(0, 1))), Pace::START, plan.budgets);
        sessions.set_most_sources(plan.most_sources);
        Driver {
            host: SimHost::new(world.clone(), Promise::new(plan.budgets), register),
            sessions,
            world,
            arrivals: Arrivals::default(),
            now: 0,
            turns: 0,
            datagrams: 0,
            draining: false,
            retired: Vec::new(),
            plan,
        }
    }

    /// Lets sources come and go until the thread has drained.
    pub fn run(mut self) -> Report {
        while !(self.draining && self.sessions.is_empty()) {
            self.turns += 1;
            assert!(self.turns < MOST_TURNS, "the sessions do not come to an end");
            self.turn();
        }
        assert_eq!(self.sessions.wait(), None, "something waits, and nobody is there");
        assert_eq!(self.sessions.pools.kept.used(), 0, "memory is kept for datagrams that nobody has");
        dropped::end();
        let sights = std::mem::take(&mut self.world.borrow_mut().sights);
        Report { ends: self.host.ends, sights, turns: self.turns, datagrams: self.datagrams }
    }

    fn turn(&mut self) {
        self.pass_time();
        self.note_events();
        self.hear_news();
        self.drain();
        self.wake_due();
        self.host.promise.begin_sparse();
        self.sessions.run_sparse(&mut self.host);
        self.host.promise.end_sparse();
        self.check();
        self.receive();
        self.host.promise.begin_bulk();
        self.sessions.run_bulk(&mut self.host);
        self.host.promise.end_bulk();
        self.check();
        self.end_what_is_due();
        self.host.check_turn(&self.sessions);
    }

    /// Time passes: a little, or until something is to be done.
    fn pass_time(&mut self) {
        let told = self.world.borrow().living().any(|(_, id)| self.world.borrow().has_event(id));
        if !told && self.sessions.queue().is_empty() {
            self.host.check_stuck();
            let timer = self.sessions.wait().map(|wait| self.sessions.now() + wait.as_millis() as u64);
            let retired = self.retired.iter().map(|&(time, _)| time).min();
            let over = self.draining.then_some(self.plan.over);
            let next = [timer, retired, over, self.world.borrow().next_action()].into_iter().flatten().min();
            // More datagrams may come at any time.
            let step = self.random(|random| random.pick(&[1, 1, 5, 20, 60, 250, 1000]));
            let latest = if self.draining { u64::MAX } else { self.now + step };
            self.now = self.now.max(next.unwrap_or(latest).min(latest));
        } else {
            self.now += self.random(|random| random.pick(&[0, 0, 1, 5, 60]));
        }
        let mut world = self.world.borrow_mut();
        world.now = self.now;
        world.act();
        self.sessions.begin_turn(self.now * 1000);
        self.host.promise.begin_turn(self.now);
    }

    fn note_events(&mut self) {
        let living: Vec<_> = self.world.borrow().living().collect();
        for (key, id) in living {
            if self.random(|random| random.once_in(4)) {
                continue;
            }
            let Some(readiness) = self.world.borrow_mut().take_event(id) else { continue };
            self.wake(key);
            self.sessions.note(key, SideName::Remote, None, readiness);
        }
    }

    fn wake(&mut self, key: usize) {
        let bulk = self.sessions.get(key).is_some_and(|session| session.is_bulk());
        self.host.promise.wake(key, bulk);
    }

    /// Services are replaced, sockets closed; other threads have more sessions or fewer.
    fn hear_news(&mut self) {
        if self.draining || !self.random(|random| random.once_in(self.plan.news)) {
            return;
        }
        let door = self.random(|random| random.below(self.plan.doors.len() as u64)) as usize;
        match self.random(|random| random.below(8)) {
            0..=2 => self.replace_service(door),
            3 => self.close_door(door),
            4 => {
                self.plan.most_sources = self.random(|random| random.pick(&[1, 3, 8, usize::MAX]));
                self.sessions.set_most_sources(self.plan.most_sources);
                self.host.register.most_sources = self.plan.most_sources;
            }
            _ => self.host.register.others = self.random(|random| random.pick(&[0, 0, 1, 5, 98, 100])),
        }
        self.check();
    }

    /// The socket is another service's from now on; sessions of the last one go on, or are to end.
    fn replace_service(&mut self, door: usize) {
        let new = service(self.random(draw_timeouts), self.random(draw_addresses));
        let old = std::mem::replace(&mut self.world.borrow_mut().doors[door].service, new);
        self.world.borrow().trace(format_args!("door {door} has another service"));
        if self.random(|random| random.once_in(2)) {
            self.drain_sessions(Some(old.id));
            let over = self.random(|random| random.pick(&[0, 100, 1000, 2500]));
            self.retired.push((self.now + over, old.id));
        }
    }

    fn close_door(&mut self, door: usize) {
        self.world.borrow().trace(format_args!("door {door} closes"));
        let mut world = self.world.borrow_mut();
        world.doors[door].open = false;
        world
            .records
            .iter_mut()
            .filter(|record| record.key.is_some() && record.door == door)
            .for_each(|record| _ = record.draining.get_or_insert(self.now));
        drop(world);
        self.sessions.close_door(door);
    }

    fn drain_sessions(&mut self, service: Option<ServiceId>) {
        let mut world = self.world.borrow_mut();
        let of = |id: ServiceId| service.is_none_or(|service| service == id);
        world
            .records
            .iter_mut()
            .filter(|record| record.key.is_some() && of(record.service))
            .for_each(|record| _ = record.draining.get_or_insert(self.now));
        drop(world);
        self.sessions.drain(service, &mut self.host);
        self.check();
    }

    fn drain(&mut self) {
        if !self.draining && self.now >= self.plan.told {
            self.draining = true;
            self.host.register.closed = true;
            self.sessions.close_doors();
            self.drain_sessions(None);
        }
    }

    fn wake_due(&mut self) {
        let due = |&key: &usize| self.sessions.timer(key).is_some_and(|timer| timer <= self.now);
        let due: Vec<usize> = self.world.borrow().living().map(|(key, _)| key).filter(due).collect();
        self.sessions.wake_due();
        due.iter().for_each(|&key| self.host.promise.wake(key, false));
    }

    /// Reads what has come to the sockets.
    fn receive(&mut self) {
        for door in 0..self.plan.doors.len() {
            let resumed = self.world.borrow_mut().take_resumed(door);
            resumed.iter().for_each(|&source| self.resume(door, source));
            while self.random(|random| random.once_in(3)) {
                self.deal(door);
                self.check();
            }
        }
    }

    /// The socket takes answers to a source again, which may have another session by now, or none.
    fn resume(&mut self, door: usize, source: usize) {
        let key = self.host.register.of.get(&source).and_then(|&id| self.world.borrow().records[id].key);
        if let Some(key) = key {
            self.wake(key);
        }
        let origin = self.world.borrow().sources[source].origin.clone();
        self.sessions.wake_source(&(door, origin));
        self.world.borrow_mut().see(Sight::AnswersResumed);
    }

    /// A batch of some sources' datagrams comes to a socket.
    fn deal(&mut self, door: usize) {
        let units = self.draw_units(door);
        self.fill_arrivals(&units);
        let mut world = self.world.borrow_mut();
        world.trace(format_args!("door {door} brings {units:?}"));
        let size = self.arrivals.batch.size();
        let script = self.host.register.predict(&mut world, door, &units);
        let new = script.iter().filter(|step| matches!(step, Step::Begins { .. })).count();
        let service = world.doors[door].service.clone();
        let open = world.doors[door].open;
        let before = self.host.register.of.len();
        (world.script, world.dealing) = (script, true);
        drop(world);
        self.host.promise.datagrams(size);
        let client = |origin: &Origin| SimEnd::client(&self.world, self.world.borrow_mut().begin(door, origin));
        let door = Door { index: door, service: open.then_some(&service), client: &client };
        let cost = self.sessions.deal(&mut self.arrivals, &door, &mut self.host);
        self.host.note_moved(&self.sessions);
        self.world.borrow_mut().dealing = false;
        let broken = std::mem::take(&mut self.world.borrow_mut().broken_by_offer);
        for id in broken {
            let world = self.world.borrow();
            let record = &world.records[id];
            // It has its turn for what the remote had said, unless that waits for its source.
            if let (Some(key), true) = (record.key, record.answers_read == record.answers_sent) {
                self.host.promise.wake(key, true);
            }
        }
        assert_eq!(
            cost,
            size + units.len() * DATAGRAM_COST + new * NEW_SESSION_COST,
            "dealing is said to cost otherwise"
        );
        let count = self.host.register.of.len();
        assert!(count <= before.max(self.plan.most_sources), "there are {count} sessions of sources");
        self.see_batch(&units);
    }

    fn draw_units(&mut self, door: usize) -> Vec<Unit> {
        let (burst, longest) = (self.plan.burst, self.plan.longest);
        let mut world = self.world.borrow_mut();
        let World { random, sources, .. } = &mut *world;
        let first = sources.iter().position(|source| source.door == door).expect("every socket has sources");
        let count = self.plan.doors[door] as u64;
        let (few, start) = (random.size(count).min(count), random.below(count));
        let most = random.size(burst).min(MOST_DATAGRAMS as u64);
        let unit = |_| {
            let source = first + ((start + random.below(few)) % count) as usize;
            sources[source].sent += 1;
            Unit { source, number: sources[source].sent, length: 16 + random.size(longest) as usize }
        };
        (0..most).map(unit).collect()
    }

    fn fill_arrivals(&mut self, units: &[Unit]) {
        self.arrivals.clear();
        let mut bytes = Vec::new();
        units.iter().for_each(|unit| unit.append_to(&mut bytes));
        self.arrivals.batch.space(bytes.len()).copy_from_slice(&bytes);
        let mut start = 0;
        for unit in units {
            self.arrivals.batch.add(start, unit.length);
            self.arrivals.origins.push(self.world.borrow().sources[unit.source].origin.clone());
            start += unit.length;
        }
        self.datagrams += units.len() as u64;
        if self.random(|random| random.once_in(20)) {
            self.arrivals.batch.count_dropped(Undelivered::TooLarge);
            self.host.register.lost += 1;
            self.world.borrow_mut().see(Sight::LostOnRead);
        }
    }

    fn see_batch(&self, units: &[Unit]) {
        let mut world = self.world.borrow_mut();
        if units.windows(3).any(|three| three[0].source == three[2].source && three[0].source != three[1].source) {
            world.see(Sight::Mixed);
        }
        let keeps = |record: &Record| !record.pending.is_empty() && record.last_moved.is_none();
        if world.alive.iter().any(|&id| keeps(&world.records[id])) {
            world.see(Sight::KeptWhileConnecting);
        }
        if world.alive.iter().any(|&id| world.records[id].overflowed) {
            world.see(Sight::Overflowed);
        }
    }

    /// Ends what is left of services, or of all, when their time is over.
    fn end_what_is_due(&mut self) {
        while let Some(index) = self.retired.iter().position(|&(over, _)| over <= self.now) {
            let (_, id) = self.retired.remove(index);
            self.end_all(Some(id));
            let world = self.world.borrow();
            assert!(world.living().all(|(_, session)| world.records[session].service != id), "a session lives on");
        }
        if self.draining && self.now >= self.plan.over {
            self.end_all(None);
            assert!(self.sessions.is_empty(), "a session lives on");
        }
    }

    fn end_all(&mut self, service: Option<ServiceId>) {
        self.host.ending = Some(service);
        self.sessions.end_all(service, End::Drain, &mut self.host);
        self.host.ending = None;
        self.check();
    }

    fn check(&self) {
        self.host.check(&self.sessions);
        self.host.promise.check(&self.sessions);
    }

    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.world.borrow_mut().random)
    }
}

/// A source of this number: some differ only in their port, or in the address of ours that they write to.
fn origin(number: usize) -> Origin {
    let peer = SocketAddr::from(([127, 0, 0, 1 + (number / 4) as u8], 1000 + (number % 2) as u16));
    let local = [127, 0, 1, (number / 2 % 2) as u8];
    Origin { peer: peer.into(), local: Some(local.into()) }
}
