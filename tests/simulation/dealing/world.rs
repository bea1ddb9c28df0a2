//! The simulated far ends of all sessions, and the sockets that sources share. It is also the witness of what is sent.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use cproxy::buffers::batch::{Batch, Undelivered};
use cproxy::endpoint::Received;
use cproxy::endpoint::datagram::Origin;
use cproxy::flow::Readiness;
use cproxy::service::Service;

use super::super::random::Random;
use super::super::sight::Sights;
use super::plan::{Fate, Plan, Way};
use super::record::{Record, Remote, Unit};
use super::register::Step;
use super::sight::Sight;

/// Bytes of an answer.
const ANSWER: usize = 20;

/// All that endpoints share.
pub type SharedWorld = Rc<RefCell<World>>;

/// A socket of sources.
#[derive(Debug)]
pub struct Door {
    pub service: Arc<Service>,
    pub open: bool,
    /// Answers that it takes before it blocks.
    room: u64,
    /// The sources that wait for it to take more.
    pub waiting: Vec<usize>,
}

/// A client without a connection.
#[derive(Debug)]
pub struct Source {
    pub door: usize,
    pub origin: Origin,
    /// How many datagrams it has sent.
    pub sent: usize,
}

/// The sockets, the sources and the sessions of a schedule, those that have ended included.
#[derive(Debug)]
pub struct World {
    pub random: Random,
    pub now: u64,
    pub sights: Sights<Sight>,
    pub doors: Vec<Door>,
    pub sources: Vec<Source>,
    pub records: Vec<Record>,
    /// Those that live.
    pub alive: BTreeSet<usize>,
    /// A batch is being dealt, and this is to happen.
    pub dealing: bool,
    pub script: VecDeque<Step>,
    /// Sessions that learn from it that their remotes have broken.
    pub broken_by_offer: Vec<usize>,
    trouble: u64,
    tracing: bool,
}

impl World {
    pub fn new(random: Random, plan: &Plan, doors: Vec<Arc<Service>>, tracing: bool) -> World {
        let door = |service| Door { service, open: true, room: 10, waiting: Vec::new() };
        World {
            random,
            now: 0,
            sights: Sights::default(),
            doors: doors.into_iter().map(door).collect(),
            sources: Vec::new(),
            records: Vec::new(),
            alive: BTreeSet::new(),
            dealing: false,
            script: VecDeque::new(),
            broken_by_offer: Vec::new(),
            trouble: plan.trouble,
            tracing,
        }
    }

    pub fn trace(&self, line: fmt::Arguments<'_>) {
        if self.tracing {
            eprintln!("{:>6} {line}", self.now);
        }
    }

    pub fn see(&mut self, sight: Sight) {
        self.sights.note(sight);
    }

    /// What will await a session of a socket's service.
    pub fn draw_fate(&mut self, door: usize) -> Fate {
        let addresses = self.doors[door].service.pool.set().members()[0].remote.addresses.len();
        Fate::draw(&mut self.random, self.trouble, addresses)
    }

    /// A source gets a session. Returns its number.
    pub fn begin(&mut self, door: usize, origin: &Origin) -> usize {
        let step = self.script.pop_front();
        let Some(Step::Begins { source, fate, units }) = step else {
            panic!("a source gets a session that is to have none, or before {step:?}");
        };
        let expected = &self.sources[source];
        assert!(expected.door == door && expected.origin == *origin, "another source gets a session");
        let mut record = Record::new(source, door, &self.doors[door].service, fate, self.now);
        units.into_iter().for_each(|unit| record.expect(unit));
        self.records.push(record);
        self.alive.insert(self.records.len() - 1);
        self.records.len() - 1
    }

    /// The keys of sessions that live, and their numbers.
    pub fn living(&self) -> impl Iterator<Item = (usize, usize)> {
        self.alive.iter().filter_map(|&id| Some((self.records[id].key?, id)))
    }

    /// When something happens next by itself.
    pub fn next_action(&self) -> Option<u64> {
        let remotes = self.alive.iter().filter_map(|&id| self.records[id].remote.as_ref());
        let doors = self.doors.iter().filter(|door| !door.waiting.is_empty()).map(|_| self.now + 1);
        remotes.filter_map(|remote| remote.next(self.now)).chain(doors).min()
    }

    /// Lets happen what it is time for.
    pub fn act(&mut self) {
        let World { random, now, records, alive, doors, .. } = self;
        for &id in alive.iter() {
            let Some(remote) = &mut records[id].remote else { continue };
            let past = |time: Option<u64>| time.is_some_and(|time| time <= *now);
            if remote.broken {
                continue;
            }
            if !remote.connected && past(remote.answers_at) {
                (remote.connected, remote.broken, remote.edge) = (!remote.refuses, remote.refuses, true);
            } else if remote.connected && past(remote.breaks_at) {
                (remote.broken, remote.edge) = (true, true);
            } else if remote.wants_room && random.once_in(3) {
                (remote.wants_room, remote.room, remote.edge) = (false, random.size(40), true);
            }
        }
        for door in doors.iter_mut().filter(|door| door.room == 0) {
            if random.once_in(3) {
                door.room = random.size(40);
            }
        }
    }

    /// Whether a session's remote has something to tell.
    pub fn has_event(&self, id: usize) -> bool {
        self.records[id].remote.as_ref().is_some_and(|remote| remote.edge)
    }

    /// Tells what happened to a session's remote.
    pub fn take_event(&mut self, id: usize) -> Option<Readiness> {
        let remote = self.records[id].remote.as_mut()?;
        if !std::mem::take(&mut remote.edge) {
            return None;
        }
        let readiness = remote.readiness();
        remote.told_writable |= readiness.writable;
        self.trace(format_args!("{id} event {readiness:?}"));
        Some(readiness)
    }

    /// The sources that need not wait any longer for a socket to take answers.
    pub fn take_resumed(&mut self, door: usize) -> Vec<usize> {
        let Door { room, waiting, .. } = &mut self.doors[door];
        if *room > 0 { std::mem::take(waiting) } else { Vec::new() }
    }

    /// A session dials the address of this number.
    pub fn dial(&mut self, id: usize, address: usize) -> Way {
        let (now, room) = (self.now, self.random.size(40));
        let record = &mut self.records[id];
        assert!(!record.fate.refused, "a session dials that has nothing to dial for");
        if record.address != Some(address) {
            assert_eq!(address, record.address.map_or(0, |last| last + 1), "addresses are to be tried in their order");
            let late = now >= record.began + record.timeouts.connect;
            let failed = record.remote.as_ref().is_some_and(|remote| remote.told_broken) || record.failed_at_once;
            assert!(record.address.is_none() || late || failed, "an address is given up that might still answer");
            (record.address, record.began) = (Some(address), now);
        }
        record.remote = None;
        let way = &mut record.fate.addresses[address];
        match way {
            Way::Busy(0) => *way = Way::AtOnce,
            Way::Busy(times) => *times -= 1,
            _ => {}
        }
        record.failed_at_once = matches!(way, Way::Fail);
        // What it was, and not what is left of it.
        let way = if let Way::Busy(times) = *way { Way::Busy(times + 1) } else { *way };
        let (answers_at, refuses) = match way {
            Way::Fail | Way::Busy(_) => return way,
            Way::AtOnce | Way::Never => (None, false),
            Way::Connect { after } => (Some(now + after), false),
            Way::Refuse { after } => (Some(now + after), true),
        };
        let at_once = matches!(way, Way::AtOnce);
        record.remote = Some(Remote {
            connected: at_once,
            answers_at,
            refuses,
            breaks_at: record.fate.breaks_after.map(|after| now + after),
            broken: false,
            told_broken: false,
            told_writable: at_once,
            room,
            wants_room: false,
            inbox: 0,
            // Registering it tells what is already true.
            edge: at_once,
        });
        if at_once {
            record.last_moved = Some(now);
        }
        way
    }

    fn remote(&mut self, id: usize) -> &mut Remote {
        let record = &mut self.records[id];
        assert!(record.key.is_some() && !record.closed[1], "a session is used that has ended");
        let remote = record.remote.as_mut().expect("it was dialled");
        assert!(remote.connected && remote.told_writable, "a remote is used that is not connected");
        remote
    }

    /// Sends to a session's remote.
    pub fn send(&mut self, id: usize, batch: &mut Batch) -> io::Result<()> {
        assert!(!batch.is_empty(), "nothing is sent");
        let (now, dealing) = (self.now, self.dealing);
        let (trouble, most, answers) = (self.random.once_in(30), self.random.size(32), self.random.below(3));
        let edge = answers > 0;
        let remote = self.remote(id);
        if remote.broken {
            self.tell_broken(id);
            if dealing {
                self.see(Sight::EndedByOffer);
            }
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if remote.room == 0 {
            remote.wants_room = true;
            self.see(Sight::KeptWhileBlocked);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        remote.inbox += answers;
        remote.edge |= edge;
        let count = if trouble { 1 } else { most.min(remote.room).min(batch.datagrams().count() as u64) };
        remote.room -= count;
        let record = &mut self.records[id];
        batch.datagrams().take(count as usize).for_each(|bytes| record.take(bytes));
        record.note_moved(now);
        if trouble {
            batch.drop_first(Undelivered::Error(libc::EPERM));
        } else {
            batch.take(count as usize);
            record.delivered += count;
        }
        let (service, door) = (record.service, record.door);
        if service != self.doors[door].service.id {
            self.see(Sight::OldService);
        }
        self.trace(format_args!("{id} sent {count}, dropped: {trouble}"));
        Ok(())
    }

    /// Reads answers of a session's remote.
    pub fn receive(&mut self, id: usize, batch: &mut Batch) -> io::Result<Received> {
        let (now, asked) = (self.now, self.random.size(8));
        let remote = self.remote(id);
        if remote.inbox == 0 && remote.broken {
            self.tell_broken(id);
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if remote.inbox == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = asked.min(remote.inbox);
        remote.inbox -= count;
        let record = &mut self.records[id];
        let mut bytes = Vec::new();
        for _ in 0..count {
            Unit { source: id, number: record.answers_read as usize, length: ANSWER }.append_to(&mut bytes);
            record.answers_read += 1;
        }
        batch.space(bytes.len()).copy_from_slice(&bytes);
        batch.add_chunks(0, bytes.len(), ANSWER);
        record.note_moved(now);
        Ok(if count == asked { Received::More } else { Received::Last })
    }

    /// Sends answers to a session's source.
    pub fn answer(&mut self, id: usize, batch: &mut Batch) -> io::Result<()> {
        let (now, door, source) = (self.now, self.records[id].door, self.records[id].source);
        let Door { room, waiting, .. } = &mut self.doors[door];
        if *room == 0 {
            waiting.push(source);
            self.see(Sight::AnswersBlocked);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let record = &mut self.records[id];
        assert!(record.key.is_some() && !record.closed[0], "a source is answered by a session that has ended");
        let count = (*room).min(batch.datagrams().count() as u64);
        *room -= count;
        for bytes in batch.datagrams().take(count as usize) {
            let expected = Unit { source: id, number: record.answers_sent as usize, length: ANSWER };
            assert!(expected.is(bytes), "a source gets an answer that is not its next one");
            record.answers_sent += 1;
        }
        record.note_moved(now);
        batch.take(count as usize);
        Ok(())
    }

    /// A session learns that its remote has broken: it goes on for what that had said.
    fn tell_broken(&mut self, id: usize) {
        let (now, record) = (self.now, &mut self.records[id]);
        let Some(remote) = &mut record.remote else { return };
        if !std::mem::replace(&mut remote.told_broken, true) && remote.connected {
            record.last_moved = Some(now);
            if self.dealing {
                self.broken_by_offer.push(id);
            }
        }
    }

    /// The error of a remote.
    pub fn take_error(&mut self, id: usize) -> Option<io::Error> {
        let remote = self.records[id].remote.as_mut()?;
        if !remote.broken || remote.told_broken {
            return None;
        }
        let connected = remote.connected;
        self.tell_broken(id);
        let refused = if connected { io::ErrorKind::ConnectionReset } else { io::ErrorKind::ConnectionRefused };
        Some(refused.into())
    }
}
