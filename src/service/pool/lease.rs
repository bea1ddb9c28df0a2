//! A session's hold on its remote.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::{Member, Remote};

/// Counts one session of a remote until it is given back or dropped.
#[derive(Debug)]
pub struct Lease {
    remote: Arc<Remote>,
    is_held: bool,
}

/// How many leases of a remote there are, in the lower half, and how many have been taken, in the upper.
#[derive(Debug, Default)]
pub(super) struct Leases(AtomicU64);

const ONE_TAKEN: u64 = (1 << 32) + 1;

impl Leases {
    /// How many there are now.
    pub(super) fn now(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// How many have been taken, of which the lower 32 bits are known.
    pub(super) fn taken(&self) -> u32 {
        (self.0.load(Relaxed) >> 32) as u32
    }

    // Whoever sees that one was taken also sees what the taker saw before, such as the places that were free.
    fn add(&self) {
        self.0.fetch_add(ONE_TAKEN, Release);
    }

    fn add_if(&self, may: impl Fn(u32) -> bool) -> bool {
        let add = |leases: u64| may(leases as u32).then(|| leases.wrapping_add(ONE_TAKEN));
        self.0.fetch_update(Release, Relaxed, add).is_ok()
    }

    fn subtract(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Lease {
    /// One more session of a remote; `None`: it has as many as it may have.
    pub fn new(Member { remote, max_sessions, .. }: &Member) -> Option<Lease> {
        match *max_sessions {
            None => remote.sessions.add(),
            Some(most) => remote.sessions.add_if(|now| now < most).then_some(())?,
        }
        Some(Lease::counted(remote))
    }

    /// One more session of a remote that has exactly so many; `None`: it has more or fewer by now, or as many as it may.
    pub(super) fn after(Member { remote, max_sessions, .. }: &Member, sessions: u32) -> Option<Lease> {
        if max_sessions.is_some_and(|most| sessions >= most) {
            return None;
        }
        remote.sessions.add_if(|now| now == sessions).then(|| Lease::counted(remote))
    }

    fn counted(remote: &Arc<Remote>) -> Lease {
        remote.sessions_ever.fetch_add(1, Relaxed);
        Lease { remote: remote.clone(), is_held: true }
    }

    /// Has it count no longer: it only says which remote it was.
    pub fn give_back(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.remote.sessions.subtract();
            self.remote.freed.tell();
        }
    }

    /// Whether it counts.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// The remote.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }
}

impl Deref for Lease {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
