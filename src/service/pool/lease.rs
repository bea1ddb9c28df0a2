//! A session's hold on its remote.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use super::{Member, Remote};

/// Counts one session of a remote as long as it lives.
#[derive(Debug)]
pub struct Lease(Arc<Remote>);

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
        Lease(remote.clone())
    }

    /// The remote.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.0
    }
}

impl Deref for Lease {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.sessions.subtract();
        self.0.freed.tell();
    }
}
