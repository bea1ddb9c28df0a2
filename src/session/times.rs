//! Sessions that may be silent only so long when one of their flows has ended.

use super::{End, Phase, Session};
use crate::endpoint::Endpoint;

impl<E: Endpoint> Session<E> {
    /// The end of a session of which one flow has ended, and nothing has moved in the other for too long.
    pub(super) fn half_close_is_over(&mut self, now: u64) -> Option<End> {
        self.service.timeouts.half_close?;
        let is_half_closed = self.upstream.has_finished() != self.downstream.has_finished();
        let terms = self.terms.as_mut().filter(|_| is_half_closed)?;
        terms.half_closed.get_or_insert(now);
        if self.half_close_deadline()? > now {
            return None;
        }
        self.silent(now).map(|_| End::HalfCloseTimeout)
    }

    /// When it may have been silent for too long.
    pub(super) fn half_close_deadline(&self) -> Option<u64> {
        let timeout = self.service.timeouts.half_close?;
        let since = self.terms.as_ref()?.half_closed?;
        match self.phase {
            Phase::Open { last_moved, .. } => Some(last_moved.max(since).saturating_add(timeout)),
            _ => None,
        }
    }
}
