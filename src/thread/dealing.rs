//! Deals the datagrams of sources to their sessions, and sees to it that these have room.

use log::warn;
use std::sync::Arc;

use super::directory::{Directory, Source};
use super::sessions::{Host, Sessions};
use crate::buffers::batch::{Batch, Counts, Undelivered};
use crate::config::proxy::HeaderOf;
use crate::endpoint::datagram::Origin;
use crate::endpoint::{Endpoint, SideName};
use crate::flow::Readiness;
use crate::service::Service;
use crate::session::{End, Outcome, header_of};

/// How long no new source of a socket gets a session, in milliseconds, after one could not be connected: otherwise every
/// datagram would be an attempt, with its log lines.
const PAUSE: u64 = 100;

/// After so many sessions were refused by their remotes in the time of a pause, there is one.
const REFUSED_BEFORE_PAUSE: u32 = 16;

/// A session makes room for another only when nothing has moved in it for so long, in milliseconds: an answer may be on
/// its way, and of more clients than there is room for, some are served rather than none.
const MADE_ROOM_AFTER: u64 = 200;

/// Of so many new sources that need another's room, one does not get it. Where the remote leads back to the proxy by way of
/// another program, each datagram begins sessions without end, and with this it comes to an end.
const ROOMS_BEFORE_REFUSAL: u32 = 256;

/// What a session costs to start, in bytes that could be moved in the time: some 20 us.
const NEW_SESSION_COST: usize = 32 << 10;

/// In place of a session's key: there is none.
const NOBODY: usize = usize::MAX;

/// The same, as the service's rules refuse the source.
const REFUSED: usize = usize::MAX - 1;

/// The same, as the source does not say who it is, though it has to.
const UNKNOWN: usize = usize::MAX - 2;

/// Datagrams that one read of a socket of sources brought.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// The datagrams.
    pub batch: Batch,
    /// Who sent each of them.
    pub origins: Vec<Origin>,
    /// Room for the key of each one's session.
    keys: Vec<usize>,
}

impl Arrivals {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.origins.clear();
    }
}

/// A socket of sources, as their sessions see it.
pub struct Door<'a, E> {
    /// Its number among the thread's.
    pub index: usize,
    /// The service of sources that come from now on; `None`: they get no sessions.
    pub service: Option<&'a Arc<Service>>,
    /// Makes the endpoint of a source.
    pub client: &'a dyn Fn(&Origin) -> E,
}

/// What a thread knows of its sources' sessions.
#[derive(Debug)]
pub struct Dealing {
    pub(super) directory: Directory,
    pub(super) most_sources: usize,
    /// By a socket's index: no new ones until then, as connecting failed.
    paused: Vec<u64>,
    /// Sources that could have another's room since one was refused it.
    rooms_made: u32,
    /// How many sessions were refused by their remotes within a pause's time since then.
    refused: (u64, u32),
    /// The thread drains: no new ones at all.
    closed: bool,
    /// Datagrams dropped that no session counts.
    lost: u64,
}

impl Default for Dealing {
    fn default() -> Dealing {
        let directory = Directory::default();
        Dealing {
            directory,
            most_sources: usize::MAX,
            paused: Vec::new(),
            rooms_made: 0,
            refused: (0, 0),
            closed: false,
            lost: 0,
        }
    }
}

impl Dealing {
    /// Forgets a session that ends.
    pub(super) fn forget(&mut self, key: usize, end: End, now: u64) {
        match (self.directory.forget(key), end) {
            (Some((index, _)), End::ConnectFailed | End::ConnectTimeout) => self.pause(index, now),
            (Some((index, _)), End::Refused) if self.are_refused(now) => self.pause(index, now),
            _ => {}
        }
    }

    /// Whether remotes refuse so many that all of them may; few are the price of finding out which of them do.
    fn are_refused(&mut self, now: u64) -> bool {
        let (since, count) = &mut self.refused;
        if *since + PAUSE <= now {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count > REFUSED_BEFORE_PAUSE
    }

    fn pause(&mut self, index: usize, now: u64) {
        if index >= self.paused.len() {
            self.paused.resize(index + 1, 0);
        }
        self.paused[index] = now + PAUSE;
    }

    /// Whether a new source does not get another's room, though it could.
    fn refuses(&mut self) -> bool {
        self.rooms_made = (self.rooms_made + 1) % ROOMS_BEFORE_REFUSAL;
        self.rooms_made == 0
    }

    fn is_paused(&self, index: usize, now: u64) -> bool {
        self.closed || self.paused.get(index).is_some_and(|&until| now < until)
    }
}

impl<E: Endpoint> Sessions<E> {
    /// Gives what was read from a socket to the sessions of those who sent it. Returns what it cost, in bytes that could
    /// have been moved instead.
    pub fn deal(&mut self, arrivals: &mut Arrivals, door: &Door<'_, E>, host: &mut impl Host<E>) -> usize {
        let mut cost = arrivals.batch.cost();
        self.saw_messages(arrivals.batch.size());
        let Arrivals { batch, origins, keys } = arrivals;
        self.find_sessions(door, origins, keys);
        // No session makes room for a new one that the same batch also goes to, so all who have one are known by now.
        for number in 0..keys.len() {
            if keys[number] != NOBODY {
                continue;
            }
            let same_as_last = |last: &usize| {
                origins[*last] == origins[number]
                    && keys[*last] != REFUSED
                    && keys[*last] != UNKNOWN
                    && !self.dealing.directory.counts_requests()
            };
            keys[number] = match number.checked_sub(1).filter(same_as_last) {
                Some(last) => keys[last],
                None => self.session_of(door, (&origins[number], number), batch, keys, &mut cost, host),
            };
            self.dealing.directory.count_request(keys[number]);
        }
        self.log_lost(batch.take_counts());
        batch.for_each_key(keys, |key, batch| {
            if key == REFUSED {
                // They are counted already, and are lost on purpose.
                batch.drop_all(Undelivered::NoSession);
                batch.take_counts();
            } else if key == UNKNOWN {
                batch.drop_all(Undelivered::BadHeader);
                self.log_lost(batch.take_counts());
            } else if !self.offer(key, batch, host) {
                batch.drop_all(Undelivered::NoSession);
                self.log_lost(batch.take_counts());
            }
        });
        cost
    }

    /// The socket of a source takes what is sent to it again.
    pub fn wake_source(&mut self, source: &Source) {
        let directory = &self.dealing.directory;
        let former = directory.former(source).to_vec();
        for key in directory.find(source).into_iter().chain(former) {
            self.note(key, SideName::Client, None, Readiness { writable: true, ..Readiness::default() });
        }
    }

    /// Nobody reads the socket of this index any more: the sessions of its sources end soon.
    pub fn close_door(&mut self, index: usize) {
        for key in self.dealing.directory.keys(index) {
            self.drain_one(key);
        }
    }

    /// Ends the sessions of this socket's sources.
    pub fn end_sources(&mut self, index: usize, host: &mut impl Host<E>) {
        for key in self.dealing.directory.keys(index) {
            self.after(key, Outcome::Ended(End::Drain), host);
        }
    }

    /// Whether sources of this socket have sessions.
    pub fn has_sources(&self, index: usize) -> bool {
        self.dealing.directory.has_any(index)
    }

    /// How many datagrams were dropped that no session counts.
    pub fn lost(&self) -> u64 {
        self.dealing.lost
    }

    /// Gives no source a new session from now on.
    pub fn close_doors(&mut self) {
        self.dealing.closed = true;
    }

    /// Logs datagrams that no session counts, now and then.
    fn log_lost(&mut self, counts: Counts) {
        self.dealing.lost += counts.dropped;
        let Some(why) = counts.why else { return };
        let now = self.now();
        if self.pools.drop_log.may_log(now) {
            warn!("datagrams of no session dropped so far: {}, the last one because: {why}", self.dealing.lost);
        }
    }

    /// Finds the sessions of those who have one.
    fn find_sessions(&mut self, door: &Door<'_, E>, origins: &[Origin], keys: &mut Vec<usize>) {
        keys.clear();
        for (number, origin) in origins.iter().enumerate() {
            let key = match keys.last() {
                Some(&key) if origins[number - 1] == *origin && !self.dealing.directory.counts_requests() => key,
                _ => self.dealing.directory.find(&(door.index, origin.clone())).unwrap_or(NOBODY),
            };
            self.dealing.directory.touch(key);
            self.dealing.directory.count_request(key);
            keys.push(key);
        }
    }

    /// The session of the source that has sent the datagram of this number, a new one if there is none; `taken` are those
    /// that are not to make room for it.
    fn session_of(
        &mut self,
        door: &Door<'_, E>,
        (origin, number): (&Origin, usize),
        batch: &mut Batch,
        taken: &[usize],
        cost: &mut usize,
        host: &mut impl Host<E>,
    ) -> usize {
        let source: Source = (door.index, origin.clone());
        if let Some(key) = self.dealing.directory.find(&source) {
            return key;
        }
        let now = self.now();
        let Some(service) = door.service.filter(|_| !self.dealing.is_paused(door.index, now)) else { return NOBODY };
        let Ok(_reservation) = service.pool.reserve(|| now) else { return NOBODY };
        let proxy = service.proxy.as_ref().filter(|proxy| proxy.accept);
        let Ok(header) = proxy.map(|_| header_of(batch.datagram(number))).transpose() else { return UNKNOWN };
        let client = || match (proxy, &header) {
            (Some(proxy), Some((header, _))) => proxy.client(header, origin.client_address()),
            _ => origin.client_address(),
        };
        let Ok(ticket) = service.let_in(None, || Some(client()), || now) else { return REFUSED };
        if !self.make_room(taken, host) {
            return NOBODY;
        }
        host.count_source();
        *cost += NEW_SESSION_COST;
        if let (Some(HeaderOf::First), Some((_, length))) = (proxy.map(|proxy| proxy.datagrams), &header) {
            batch.cut_one(number, *length);
        }
        let header = header.map(|(header, _)| header);
        match self.start_introduced((door.client)(origin), service.clone(), ticket, header, host) {
            Some(key) => {
                self.dealing.directory.add(source, key, service.exchange.requests);
                key
            }
            None => {
                self.dealing.pause(door.index, now);
                NOBODY
            }
        }
    }

    /// Whether there is room for one more source, for which the one that has been idle for longest may have to go.
    fn make_room(&mut self, taken: &[usize], host: &mut impl Host<E>) -> bool {
        if self.dealing.directory.count() < self.dealing.most_sources && host.has_room() {
            return true;
        }
        let Some(oldest) = self.dealing.directory.oldest().filter(|key| !taken.contains(key)) else { return false };
        let last_moved = self.get(oldest).and_then(|session| session.last_moved());
        let is_idle = last_moved.is_none_or(|moved| moved + MADE_ROOM_AFTER <= self.now());
        if !is_idle || self.dealing.refuses() {
            return false;
        }
        self.after(oldest, Outcome::Ended(End::MadeRoom), host);
        true
    }
}
