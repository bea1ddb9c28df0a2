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
        let most = max_sessions.unwrap_or(u32::MAX);
        remote.sessions.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1)).ok()?;
        remote.sessions_ever.fetch_add(1, Relaxed);
        Some(Lease(remote.clone()))
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
