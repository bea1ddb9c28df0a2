//! What looks at a session's flows: it is attached when the remote is connected, and told when the session ends.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{End, Phase, Session};
use crate::endpoint::{Carries, Endpoint, SideName};
use crate::inspect::{Closing, Direction, SessionFacts};

impl<E: Endpoint> Session<E> {
    /// Has those look at it from now on, in microseconds, whom its service asks for.
    #[cold]
    pub(super) fn begin_inspection(&mut self, now: u64) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let (Some(inspectors), Some(remote)) = (&self.service.inspectors, &self.remote) else { return };
        let carries_datagrams = |endpoint: &E| endpoint.carries() != Carries::Bytes;
        let number = NEXT.fetch_add(1, Relaxed);
        let facts = SessionFacts {
            number,
            service: &self.service,
            names: &self.names(),
            has_datagrams: carries_datagrams(&self.client.endpoint) || carries_datagrams(&remote.endpoint),
            at: now,
        };
        let [up, down] = Direction::BOTH.map(|direction| inspectors.inspect(&facts, direction));
        if up.is_none() && down.is_none() {
            return;
        }
        if let Some(up) = up {
            self.upstream.inspect(up, now);
        }
        if let Some(down) = down {
            self.downstream.inspect(down, now);
        }
        self.terms.get_or_insert_default().inspected = Some(number);
        self.has_more = true;
    }

    /// Notes the time of what follows, in microseconds, for those who look at it.
    pub(super) fn note_time(&mut self, now: u64) {
        if self.terms.as_ref().is_some_and(|terms| terms.inspected.is_some()) {
            self.upstream.note_time(now);
            self.downstream.note_time(now);
        }
    }

    /// Tells those who look at it that it ends so, at this time in microseconds.
    #[inline]
    pub fn end_inspection(&self, end: End, now: u64) {
        if self.has_more {
            self.tell_end(end, now);
        }
    }

    fn tell_end(&self, end: End, now: u64) {
        let Some(number) = self.terms.as_ref().and_then(|terms| terms.inspected) else { return };
        if let Some(inspectors) = &self.service.inspectors {
            let is_whole = matches!(end, End::EndOfStream | End::ExchangeComplete);
            inspectors.ended(&Closing { number, at: now, is_whole, by: end.broken_side(), end: &end.to_string() });
        }
    }

    /// When a filter is to decide about what it holds, in milliseconds.
    pub(super) fn deadline_of_filters(&self) -> Option<u64> {
        let (up, down) = (|| self.upstream.deadline(), || self.downstream.deadline());
        match self.phase {
            Phase::Open { .. } | Phase::Ending { .. } => up().into_iter().chain(down()).min(),
            Phase::LastWords { of: SideName::Client, .. } => up(),
            Phase::LastWords { of: SideName::Remote, .. } => down(),
            _ => None,
        }
    }
}
