//! What the sessions of sources see of their thread, and the checks as they run and end.

use cproxy::endpoint::SideName;
use cproxy::service::{RemoteAddress, Service, ServiceId};
use cproxy::session::{Caller, Dial, End, Outcome, Session};
use cproxy::thread::sessions::{Host, Sessions};
use cproxy::thread::timers::TICK;
use std::io;

use super::super::datagrams::dropped;
use super::super::plan::number;
use super::super::promise::Promise;
use super::endpoint::SimEnd;
use super::plan::Way;
use super::record::Record;
use super::register::{Register, Step};
use super::sight::Sight;
use super::world::SharedWorld;

/// The thread, as its sessions see it.
pub struct SimHost {
    pub world: SharedWorld,
    pub promise: Promise,
    pub register: Register,
    /// Whose sessions are being ended: of one service, or of all.
    pub ending: Option<Option<ServiceId>>,
    /// How sessions ended.
    pub ends: Vec<End>,
    /// Sources that were counted, without those whose sessions have ended.
    counted: usize,
    /// The number of each slot's session.
    ids: Vec<Option<usize>>,
    /// The session that has run last and is over.
    over: Option<(usize, End)>,
}

impl SimHost {
    pub fn new(world: SharedWorld, promise: Promise, register: Register) -> SimHost {
        let (ends, ids) = (Vec::new(), Vec::new());
        SimHost { world, promise, register, ending: None, ends, counted: 0, ids, over: None }
    }

    fn id(&self, key: usize) -> usize {
        self.ids.get(key).copied().flatten().expect("a session that lives")
    }

    /// Checks that the thread and those who watch it agree.
    pub fn check(&self, sessions: &Sessions<SimEnd>) {
        assert_eq!(self.over, None, "a session has ended, and the thread has not been told");
        let world = self.world.borrow();
        assert!(world.script.is_empty(), "something has not happened: {:?}", world.script);
        let living = self.ids.iter().enumerate().filter_map(|(key, id)| id.map(|_| key));
        assert!(sessions.iter().map(|(key, _)| key).eq(living), "other sessions live");
        assert_eq!(self.counted, self.register.of.len(), "sources are counted wrongly");
        assert_eq!(sessions.lost(), self.register.lost, "datagrams are lost and not counted, or the other way round");
        for (index, _) in world.doors.iter().enumerate() {
            let count = world.living().filter(|&(_, id)| world.records[id].door == index).count();
            assert_eq!(sessions.has_sources(index), count > 0, "the directory has other sessions");
        }
        for (key, id) in world.living() {
            let (session, record) = (sessions.get(key).expect("it lives"), &world.records[id]);
            assert_eq!(session.service().id, record.service, "a session has another service than it began with");
            assert_eq!(session.last_moved(), record.last_moved, "a session is wrong about when something moved");
            let otherwise = record.last_moved.is_none() || record.has_last_words();
            assert!(otherwise || session.deadline() == record.deadline(), "a session may be idle for another time");
        }
        assert_eq!(sessions.pools.in_use(), 0, "datagrams need no buffers and no pipes");
    }

    /// Notes what sessions say that they have moved, also where they did not run.
    pub fn note_moved(&self, sessions: &Sessions<SimEnd>) {
        let mut world = self.world.borrow_mut();
        for (key, session) in sessions.iter() {
            world.records[self.id(key)].moved = session.moved();
        }
    }

    /// Checks what a turn left behind.
    pub fn check_turn(&self, sessions: &Sessions<SimEnd>) {
        let world = self.world.borrow();
        for (key, id) in world.living().filter(|&(key, _)| !self.promise.waits(key)) {
            let said = sessions.get(key).and_then(Session::deadline);
            for deadline in [said, world.records[id].deadline()].into_iter().flatten() {
                // It may have been over when the session was told to drain.
                let deadline = deadline.max(world.records[id].draining.unwrap_or(0));
                assert!(deadline + TICK > world.now, "session {id} missed its deadline {deadline}");
            }
        }
    }

    /// Checks, when nothing more will be told, that no session overlooks what it could do.
    pub fn check_stuck(&self) {
        let world = self.world.borrow();
        for (_, id) in world.living() {
            let record = &world.records[id];
            let Some(remote) = &record.remote else { continue };
            assert!(!remote.broken || remote.told_broken, "session {id} overlooks that its remote broke");
            if record.last_moved.is_none() {
                continue;
            }
            let kept = !record.pending.is_empty() && !record.overflowed && !record.has_last_words();
            assert!(!kept || remote.room == 0, "session {id} keeps what it could send");
            if record.answers_read == record.answers_sent {
                assert_eq!(remote.inbox, 0, "session {id} leaves answers unread");
            } else {
                let door = &world.doors[record.door];
                assert!(door.waiting.contains(&record.source), "session {id} keeps answers that it could send");
            }
        }
    }

    fn check_end(&mut self, record: &Record, id: usize, end: End) {
        let mut world = self.world.borrow_mut();
        let remote = record.remote.as_ref();
        match end {
            End::MadeRoom => match world.script.pop_front() {
                Some(Step::MakesRoom(expected)) if expected == id => {}
                step => panic!("session {id} makes room, though it is time for {step:?}"),
            },
            End::Drain => {
                let service = self.ending.expect("sessions go on while they drain");
                assert!(service.is_none_or(|service| service == record.service), "another service's session is ended");
                if service.is_some() {
                    world.see(Sight::Retired);
                }
            }
            End::IdleTimeout => {
                let idle =
                    record.last_moved.is_some() && record.deadline().is_some_and(|deadline| deadline <= world.now);
                assert!(idle, "the idle timeout of session {id} fires early");
                world.see(if record.draining.is_some() { Sight::IdleDraining } else { Sight::Idle });
            }
            End::ConnectFailed | End::ConnectTimeout => {
                assert!(record.is_last_address() && record.last_moved.is_none(), "{end:?} with addresses left to try");
                self.register.pause(record.door, world.now);
                world.see(match end {
                    End::ConnectTimeout => Sight::TimedOut,
                    _ if record.fate.fails_at_once() => Sight::FailedAtOnce,
                    _ => Sight::FailedLater,
                });
            }
            End::Reset(SideName::Remote) => {
                assert!(remote.is_some_and(|remote| remote.told_broken), "session {id} is reset by nobody");
            }
            End::Error(SideName::Client) => {
                assert!(record.fate.refused, "session {id} has no reason to fail");
                world.see(Sight::ClientRefused);
            }
            end => panic!("session {id} ends with {end:?}"),
        }
        assert!(record.closed[0] && record.aborted[0], "the client of session {id} does not learn that it ended");
        let reset = remote.is_none() || record.aborted[1] != (end == End::Reset(SideName::Remote));
        assert!(reset, "the remote of session {id} does not learn that it was cut off");
        let dropped = (record.offered - record.delivered) + (record.answers_read - record.answers_sent);
        assert_eq!(dropped::said().in_all, Some(dropped), "session {id} says wrongly how many datagrams it dropped");
        dropped::begin();
    }
}

impl Host<SimEnd> for SimHost {
    fn admit(&mut self, key: usize, client: &mut SimEnd, service: &Service) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.trace(format_args!("session {} starts as {key}", client.id));
        let record = &mut world.records[client.id];
        assert_eq!(record.service, service.id, "a session begins with another service");
        record.key = Some(key);
        if key >= self.ids.len() {
            self.ids.resize(key + 1, None);
        }
        assert_eq!(self.ids[key].replace(client.id), None, "two sessions have the same key");
        self.promise.begin(key);
        self.register.begin(record.source, client.id);
        if record.fate.refused { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }

    fn dial(&mut self, key: usize, service: &Service, address: &RemoteAddress, _: &Caller<'_, SimEnd>) -> Dial<SimEnd> {
        let id = self.id(key);
        assert_eq!(self.world.borrow().records[id].service, service.id, "a session dials for another service");
        let address = number(address);
        let way = self.world.borrow_mut().dial(id, address);
        self.world.borrow().trace(format_args!("{id} dials address {address}: {way:?}"));
        match way {
            Way::Fail => Dial::Failed(io::ErrorKind::ConnectionRefused.into()),
            Way::Busy(_) => Dial::Busy,
            way => Dial::Started(SimEnd::remote(&self.world, id, matches!(way, Way::AtOnce))),
        }
    }

    fn has_room(&mut self) -> bool {
        self.register.has_room(self.counted)
    }

    fn count_source(&mut self) {
        self.counted += 1;
    }

    fn runs(&mut self, key: usize, budget: usize) {
        assert_eq!(self.over, None, "a session is over and has not been closed");
        let id = self.id(key);
        self.promise.runs(key, budget);
        self.world.borrow_mut().records[id].moved_in_run = false;
        self.world.borrow().trace(format_args!("run session {id}, budget {budget}"));
    }

    fn ran(&mut self, key: usize, session: &Session<SimEnd>, outcome: Outcome) {
        let id = self.id(key);
        let mut world = self.world.borrow_mut();
        world.trace(format_args!("session {id} {outcome:?}"));
        let now = world.now;
        let record = &mut world.records[id];
        let moved = session.moved() - std::mem::replace(&mut record.moved, session.moved());
        assert_eq!(moved > 0, record.moved_in_run, "session {id} is wrong about whether something moved");
        let opens = record.remote.as_ref().is_some_and(|remote| remote.connected && remote.told_writable);
        if opens && record.last_moved.is_none() && !matches!(outcome, Outcome::Ended(_)) {
            record.last_moved = Some(now);
        }
        if moved > 0 {
            self.register.touch(id);
        }
        self.promise.ran(key, moved, outcome);
        if let Outcome::Ended(end) = outcome {
            self.over = Some((key, end));
        }
    }

    fn ended(&mut self, key: usize, end: End) {
        let id = self.ids.get_mut(key).and_then(Option::take).expect("a session ends that does not live");
        let mut world = self.world.borrow_mut();
        world.trace(format_args!("session {id} ended: {end:?}"));
        world.records[id].key = None;
        world.alive.remove(&id);
        if self.promise.waits(key) {
            world.see(Sight::EndedWaiting);
        }
        // Nothing more can happen to it.
        let source = world.records[id].source;
        let ended = Record::new(source, 0, &world.doors[0].service.clone(), world.records[id].fate.clone(), 0);
        let record = std::mem::replace(&mut world.records[id], ended);
        drop(world);
        self.promise.end(key);
        self.register.end(source, id);
        self.counted -= 1;
        if let Some(over) = self.over.take() {
            assert_eq!((key, end), over, "another session ends, or for another reason");
        }
        self.check_end(&record, id, end);
        self.ends.push(end);
    }
}
