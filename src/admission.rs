//! Who may come in: no more sessions than the descriptors allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many sessions one I/O thread has ended, in a cache line of its own: the thread writes it, the acceptor reads it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndedCount(AtomicU64);

impl EndedCount {
    /// Counts a session that has ended. Only its own thread may call this.
    pub fn add_one(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }
}

/// The acceptor's view of how many sessions are open.
#[derive(Debug)]
pub struct Admission {
    most_sessions: u64,
    admitted: u64,
    ended: u64,
    counts: Vec<Arc<EndedCount>>,
}

impl Admission {
    /// At most `most_sessions` at once, which end in the threads that hold `counts`.
    pub fn new(most_sessions: usize, counts: Vec<Arc<EndedCount>>) -> Admission {
        Admission { most_sessions: most_sessions as u64, admitted: 0, ended: 0, counts }
    }

    /// Whether one more session may be opened.
    pub fn has_room(&mut self) -> bool {
        // The threads' counts are looked at only when the last look would not do.
        if self.admitted - self.ended >= self.most_sessions {
            self.ended = self.counts.iter().map(|count| count.0.load(Ordering::Acquire)).sum();
        }
        self.admitted - self.ended < self.most_sessions
    }

    /// Counts a session that was handed to an I/O thread.
    pub fn admit(&mut self) {
        self.admitted += 1;
    }

    /// The limit.
    pub fn most_sessions(&self) -> u64 {
        self.most_sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_makes_room_for_another() {
        let counts = vec![Arc::new(EndedCount::default()), Arc::new(EndedCount::default())];
        let mut admission = Admission::new(2, counts.clone());
        for _ in 0..2 {
            assert!(admission.has_room());
            admission.admit();
        }
        assert!(!admission.has_room());
        counts[1].add_one();
        assert!(admission.has_room());
        admission.admit();
        assert!(!admission.has_room());
    }
}
