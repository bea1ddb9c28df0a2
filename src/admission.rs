//! Who may come in: no more sessions than the descriptors allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one I/O thread has counted, in cache lines of its own: it alone writes, those who accept read now and then.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    received: Count,
    started: Count,
    ended: Count,
}

/// A count with one writer.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add_one(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Counts {
    /// Counts a client that came from the acceptor. Only the thread itself may call this and what follows.
    pub fn client_received(&self) {
        self.received.add_one();
    }

    /// Counts a session that was started.
    pub fn session_started(&self) {
        self.started.add_one();
    }

    /// Counts a session that has ended.
    pub fn session_ended(&self) {
        self.ended.add_one();
    }
}

/// Where admitted clients go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// To other threads, which count them as received once they have them.
    Dealt,
    /// Nowhere: the thread that accepted them starts their sessions at once.
    Local,
}

/// The view that somebody who accepts has of how many sessions are open.
#[derive(Debug)]
pub struct Admission {
    most_sessions: u64,
    /// Clients that can be admitted before the counts must be looked at again.
    credit: u64,
    dealt: u64,
    handover: Handover,
    counts: Vec<Arc<Counts>>,
}

impl Admission {
    /// At most `most_sessions` at once in the threads that hold `counts`.
    pub fn new(most_sessions: usize, handover: Handover, counts: Vec<Arc<Counts>>) -> Admission {
        Admission { most_sessions: most_sessions as u64, credit: 0, dealt: 0, handover, counts }
    }

    /// Whether one more session may be opened.
    pub fn has_room(&mut self) -> bool {
        if self.credit == 0 {
            self.credit = self.most_sessions.saturating_sub(self.open());
        }
        self.credit > 0
    }

    /// Counts a client that was admitted.
    pub fn admit(&mut self) {
        self.credit = self.credit.saturating_sub(1);
        if self.handover == Handover::Dealt {
            self.dealt += 1;
        }
    }

    /// The limit.
    pub fn most_sessions(&self) -> u64 {
        self.most_sessions
    }

    /// Sessions that are open or about to be.
    fn open(&self) -> u64 {
        let sum = |count: fn(&Counts) -> &Count| self.counts.iter().map(|counts| count(counts).get()).sum::<u64>();
        // In this order a count that moves meanwhile makes the result too large rather than too small.
        let ended = sum(|counts| &counts.ended);
        let received = sum(|counts| &counts.received);
        let started = sum(|counts| &counts.started);
        started.saturating_sub(ended) + self.dealt.saturating_sub(received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_makes_room_for_another() {
        let counts = vec![Arc::new(Counts::default()), Arc::new(Counts::default())];
        let mut admission = Admission::new(2, Handover::Dealt, counts.clone());
        for count in &counts {
            assert!(admission.has_room());
            admission.admit();
            count.client_received();
            count.session_started();
        }
        assert!(!admission.has_room());
        counts[1].session_ended();
        assert!(admission.has_room());
        admission.admit();
        assert!(!admission.has_room(), "a client that is on its way takes room, too");
    }

    #[test]
    fn sessions_that_others_started_take_room() {
        let counts = Arc::new(Counts::default());
        let mut admission = Admission::new(1, Handover::Local, vec![counts.clone()]);
        counts.session_started();
        assert!(!admission.has_room());
        counts.session_ended();
        assert!(admission.has_room());
    }
}
