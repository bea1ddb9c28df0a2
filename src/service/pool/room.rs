//! Room in a pool whose remotes may have only so many sessions: who is on the way to a place, and who waits for one.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, OnceLock};

use super::{Pool, RemoteId, Set};
use crate::service::waiters::Waiters;

/// How many clients have been let in and have no lease yet, and how many of these wait as there is no room.
#[derive(Debug, Default)]
pub(super) struct OnTheWay {
    reserved: AtomicU64,
    waiting: AtomicU64,
    /// Some set of the pool had limits, so that clients need a place. Most pools never have any, and need not look.
    is_limited: AtomicBool,
}

/// A place for a client that has been let in and has no lease yet. It is dropped when the client's session has chosen its
/// remote.
#[derive(Debug)]
pub struct Reservation(Arc<Pool>);

/// A session that waits until a remote has room: as long as this lives, clients are let in only if there is more room.
#[derive(Debug)]
pub struct Waiting(Arc<Pool>);

/// Each remote of a pool has as many sessions as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Whom a remote tells that it has a place again.
#[derive(Debug, Default)]
pub(super) struct Freed {
    /// It may have only so many sessions in some set, so that somebody may wait.
    is_limited: AtomicBool,
    waiters: OnceLock<Arc<Waiters>>,
}

/// The number of clients in the lower half, and how often it has changed in the upper.
const ONE_CHANGE: u64 = 1 << 32;

impl OnTheWay {
    /// This set is the pool's from now on.
    pub(super) fn look_at(&self, set: &Set) {
        if set.has_limits() {
            self.is_limited.store(true, Release);
        }
    }

    fn count(&self) -> u64 {
        self.reserved.load(Acquire) % ONE_CHANGE
    }
}

impl Freed {
    /// The remote is limited from now on.
    pub(super) fn limit(&self) {
        self.is_limited.store(true, Relaxed);
    }

    /// One more session may have it.
    #[inline]
    pub(super) fn tell(&self) {
        if self.is_limited.load(Relaxed) {
            // Either we see the waiters, or they see what was freed.
            fence(SeqCst);
            if let Some(waiters) = self.waiters.get() {
                waiters.wake();
            }
        }
    }

    fn tell_also(&self, waiters: &Arc<Waiters>) {
        // There is only one of these in the process.
        self.waiters.get_or_init(|| waiters.clone());
    }
}

impl Pool {
    /// Takes a place for a client that is to be let in; `None`: there is no limit, so none is needed. No more of these and
    /// of leases are given than there may be sessions, by all threads together. A session that is to try a remote which is
    /// out has a place there, although that is no room yet: otherwise nobody would find out that the remote works again.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn reserve(self: &Arc<Pool>, now: impl Fn() -> u64) -> Result<Option<Reservation>, Full> {
        if !self.on_the_way.is_limited.load(Acquire) {
            return Ok(None);
        }
        loop {
            let before = self.on_the_way.reserved.load(Acquire);
            // Whoever is on the way takes a lease first and gives up the place then, so nobody is overlooked.
            let set = self.set.load();
            let Some(room) = self.room_beside_waiting(&set) else { return Ok(None) };
            match (before % ONE_CHANGE).cmp(&room) {
                Less => {}
                Equal if set.next_trial() <= now() => {}
                Equal | Greater => return Err(Full),
            }
            let after = before.wrapping_add(ONE_CHANGE + 1);
            if self.on_the_way.reserved.compare_exchange(before, after, AcqRel, Relaxed).is_ok() {
                return Ok(Some(Reservation(self.clone())));
            }
        }
    }

    /// Whether it is full for a thread that has been added to these: they are told when it may be so no longer, but for the
    /// time that is returned, when a session may try a remote that is out. `None`: it is not full.
    pub fn full_until(&self, waiters: &Arc<Waiters>, now: u64) -> Option<u64> {
        self.waiters.get_or_init(|| waiters.clone());
        loop {
            let set = self.set.load_full();
            for member in set.members() {
                member.remote.freed.tell_also(waiters);
            }
            fence(SeqCst);
            let room = self.room_beside_waiting(&set)?;
            let until = match (self.on_the_way.count().cmp(&room), set.next_trial()) {
                (Less, _) => return None,
                (Equal, trial) if trial <= now => return None,
                // Whoever is on the way tells when he is there.
                (Greater, trial) if trial <= now => u64::MAX,
                (Equal | Greater, trial) => trial,
            };
            // Of the remotes of another one nobody would tell.
            if Arc::ptr_eq(&set, &self.set.load()) {
                return Some(until);
            }
        }
    }

    /// The room that is not for the sessions that wait; `None`: there is no limit.
    fn room_beside_waiting(&self, set: &Set) -> Option<u64> {
        Some(set.room()?.saturating_sub(self.on_the_way.waiting.load(Relaxed)))
    }

    /// Has a session that found no room, and has tried these remotes, have the next place before all clients that are let
    /// in later. `None`: that place may be one of a remote that it has tried, so it is not kept free.
    pub fn wait(self: &Arc<Pool>, tried: &[RemoteId], waiting: Option<Waiting>) -> Option<Waiting> {
        if self.set.load().uses_any(tried) {
            return None;
        }
        waiting.or_else(|| {
            self.on_the_way.waiting.fetch_add(1, Relaxed);
            Some(Waiting(self.clone()))
        })
    }

    /// Whoever waits looks again: there may be room that no remote has told of.
    pub(super) fn tell_waiters(&self) {
        fence(SeqCst);
        if let Some(waiters) = self.waiters.get() {
            waiters.wake();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // One less, and one change more.
        self.0.on_the_way.reserved.fetch_add(ONE_CHANGE - 1, AcqRel);
        self.0.tell_waiters();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.on_the_way.waiting.fetch_sub(1, Relaxed);
        self.0.tell_waiters();
    }
}
