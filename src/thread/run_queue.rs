//! Which session of an I/O thread runs next: those that just became ready first, then bulk ones in turn.
//!
//! The sparse-flow rule of fq_codel (RFC 8290), for sessions: one that becomes ready while it waits in no queue is
//! sparse and runs before all bulk ones; one that spends its budget, or is known to carry bulk, waits with these.

use std::collections::VecDeque;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Nowhere,
    Sparse,
    Bulk,
}

/// The two queues of one I/O thread, over session keys.
#[derive(Debug, Default)]
pub struct RunQueue {
    sparse: VecDeque<usize>,
    bulk: VecDeque<usize>,
    places: Vec<Place>,
}

impl RunQueue {
    /// Queues a session that may have become able to move; once, however often this is called. `bulk` says whether it
    /// is known to carry bulk.
    // A call of its own for each event shows in what a message costs.
    #[inline(always)]
    pub fn wake(&mut self, key: usize, bulk: bool) {
        if key >= self.places.len() {
            self.places.resize(key + 1, Place::Nowhere);
        }
        match self.places[key] {
            Place::Nowhere if bulk => {
                self.places[key] = Place::Bulk;
                self.bulk.push_back(key);
            }
            Place::Nowhere => {
                self.places[key] = Place::Sparse;
                self.sparse.push_back(key);
            }
            Place::Sparse | Place::Bulk => {}
        }
    }

    /// Takes the next sparse session out of the queue.
    #[inline]
    pub fn next_sparse(&mut self) -> Option<usize> {
        let key = self.sparse.pop_front()?;
        self.places[key] = Place::Nowhere;
        Some(key)
    }

    /// Takes the next bulk session out of the queue.
    #[inline]
    pub fn next_bulk(&mut self) -> Option<usize> {
        let key = self.bulk.pop_front()?;
        self.places[key] = Place::Nowhere;
        Some(key)
    }

    /// Puts a session that spent its budget and could still move behind the other bulk ones. One that was offered
    /// something may wait already, or may never have been woken.
    #[inline]
    pub fn spent(&mut self, key: usize) {
        self.wake(key, true);
    }

    /// Takes a session out of the queue that has ended while it waited, which is rare: another one may get its key.
    pub fn forget(&mut self, key: usize) {
        let Some(place) = self.places.get_mut(key) else { return };
        match std::mem::replace(place, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Sparse => self.sparse.retain(|&waiting| waiting != key),
            Place::Bulk => self.bulk.retain(|&waiting| waiting != key),
        }
    }

    /// Whether the session waits with the bulk ones.
    #[inline]
    pub fn is_bulk(&self, key: usize) -> bool {
        self.places.get(key) == Some(&Place::Bulk)
    }

    /// How many bulk sessions wait.
    #[inline]
    pub fn bulk_waiting(&self) -> usize {
        self.bulk.len()
    }

    /// Whether no session waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.sparse.is_empty() && self.bulk.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_queued_once() {
        let mut queue = RunQueue::default();
        queue.wake(3, false);
        queue.wake(3, false);
        assert_eq!((queue.next_sparse(), queue.next_sparse()), (Some(3), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_bulk_session_stays_bulk_when_it_is_woken() {
        let mut queue = RunQueue::default();
        queue.wake(0, false);
        queue.next_sparse();
        queue.spent(0);
        queue.wake(0, false);
        assert_eq!((queue.next_sparse(), queue.next_bulk()), (None, Some(0)));
        queue.wake(0, false);
        assert_eq!(queue.next_sparse(), Some(0));
    }

    #[test]
    fn the_next_session_of_a_key_does_not_wait_where_the_last_one_did() {
        let mut queue = RunQueue::default();
        queue.wake(0, true);
        queue.wake(1, true);
        queue.forget(0);
        queue.wake(0, false);
        assert_eq!((queue.next_sparse(), queue.next_sparse()), (Some(0), None));
        assert_eq!((queue.next_bulk(), queue.next_bulk()), (Some(1), None));
    }

    #[test]
    fn a_session_spends_its_budget_before_it_was_ever_woken_or_while_it_waits() {
        let mut queue = RunQueue::default();
        queue.spent(3);
        queue.spent(3);
        assert_eq!((queue.next_bulk(), queue.next_bulk()), (Some(3), None));
        queue.wake(3, false);
        queue.spent(3);
        assert_eq!((queue.next_sparse(), queue.next_bulk()), (Some(3), None));
        assert!(queue.is_empty());
    }

    #[test]
    fn between_two_runs_of_a_bulk_session_every_other_runs_once() {
        let mut queue = RunQueue::default();
        for key in 0..5 {
            queue.wake(key, false);
            queue.next_sparse();
            queue.spent(key);
        }
        for turn in 0..50 {
            let key = queue.next_bulk().unwrap();
            assert_eq!(key, turn % 5);
            queue.spent(key);
        }
    }
}
