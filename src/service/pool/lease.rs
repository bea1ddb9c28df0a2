//! A session's hold on its remote.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Member, Remote};

/// Counts one session of a remote as long as it lives.
#[derive(Debug)]
pub struct Lease(Arc<Remote>);

impl Lease {
    /// One more session of a remote; `None`: it has as many as it may have.
    pub fn new(Member { remote, max_sessions, .. }: &Member) -> Option<Lease> {
        match *max_sessions {
            None => {
                remote.sessions.fetch_add(1, Relaxed);
            }
            Some(most) => {
                remote.sessions.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1)).ok()?;
            }
        }
        Some(Lease::counted(remote))
    }

    /// One more session of a remote that has exactly so many; `None`: it has more or fewer by now, or as many as it may.
    pub(super) fn after(Member { remote, max_sessions, .. }: &Member, sessions: u32) -> Option<Lease> {
        if max_sessions.is_some_and(|most| sessions >= most) {
            return None;
        }
        remote.sessions.compare_exchange(sessions, sessions + 1, Relaxed, Relaxed).ok()?;
        Some(Lease::counted(remote))
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
        self.0.sessions.fetch_sub(1, Relaxed);
        self.0.freed.tell();
    }
}
