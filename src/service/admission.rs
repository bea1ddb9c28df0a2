//! Who may come in: no more sessions than the descriptors allow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one thread has counted, in cache lines of its own: it alone writes, those who admit clients read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counts {
    admitted: Count,
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
    /// Counts a session that has ended. Only the thread that holds these counts may call this.
    pub fn session_ended(&self) {
        self.ended.add_one();
    }
}

/// The view that a thread which admits clients has of how many sessions are open, in all threads together.
#[derive(Debug, Clone)]
pub struct Admission {
    most_sessions: u64,
    own: Arc<Counts>,
    all: Vec<Arc<Counts>>,
}

impl Admission {
    /// At most `most_sessions` at once, admitted and ended by the threads that hold `all` counts; `own` are those of the
    /// thread itself. Threads that admit at the same time may let in one too many each.
    pub fn new(most_sessions: usize, own: Arc<Counts>, all: Vec<Arc<Counts>>) -> Admission {
        Admission { most_sessions: most_sessions as u64, own, all }
    }

    /// Whether one more session may be opened.
    pub fn has_room(&self) -> bool {
        // In this order a count that moves meanwhile makes the result too large rather than too small.
        let ended: u64 = self.all.iter().map(|counts| counts.ended.get()).sum();
        let admitted: u64 = self.all.iter().map(|counts| counts.admitted.get()).sum();
        admitted - ended < self.most_sessions
    }

    /// Counts a client that was admitted.
    pub fn admit(&self) {
        self.own.admitted.add_one();
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
        let all: Vec<_> = (0..3).map(|_| Arc::new(Counts::default())).collect();
        let acceptor = Admission::new(2, all[0].clone(), all.clone());
        let io_thread = Admission::new(2, all[1].clone(), all.clone());
        assert!(acceptor.has_room());
        acceptor.admit();
        assert!(io_thread.has_room());
        io_thread.admit();
        assert!(!acceptor.has_room() && !io_thread.has_room());
        all[2].session_ended();
        assert!(acceptor.has_room() && io_thread.has_room());
        acceptor.admit();
        assert!(!acceptor.has_room() && !io_thread.has_room());
    }
}
