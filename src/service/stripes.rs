//! Which stripes there are in the process, and on which threads: a lane may come to any thread, and its session is on one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stripe::SessionId;

/// How long a session that has ended is remembered, so that no late lane makes it another time.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many of these there are at most.
const MOST_REMEMBERED: usize = 1 << 16;

/// Where a lane belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// To a session of the thread of this number, which has this key there; `None`: it is just being made.
    Session {
        /// The thread.
        thread: usize,
        /// The session's key.
        key: Option<usize>,
    },
    /// To no session so far; it is to be made, and has been entered for the thread that asked.
    New,
    /// To one that has ended, with all that was said delivered at both ends.
    Finished,
    /// To one that is not known, or has ended in another way.
    Unknown,
}

/// The stripes of the process. It is locked when a lane joins a session, and never while bytes move.
#[derive(Debug, Default)]
pub struct Stripes {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<SessionId, Entry>,
    /// Sessions that have ended, in that order.
    ended: VecDeque<(Instant, SessionId)>,
    /// And which of them had finished.
    finished: HashMap<SessionId, bool>,
}

#[derive(Debug)]
struct Entry {
    service: String,
    thread: usize,
    key: Option<usize>,
}

/// A session's place in the table, until this is dropped.
#[derive(Debug)]
pub struct Registered {
    stripes: Arc<Stripes>,
    id: SessionId,
    /// Whether the session has ended with all that was said delivered.
    pub finished: bool,
}

impl Stripes {
    /// Where a lane belongs that came to this thread, by a listener of this service, and joins this session.
    pub fn home(&self, id: SessionId, service: &str, may_be_made: bool, thread: usize, now: Instant) -> Home {
        let mut table = self.table();
        table.forget_old(now);
        match table.sessions.get(&id) {
            Some(entry) if entry.service == service => Home::Session { thread: entry.thread, key: entry.key },
            Some(_) => Home::Unknown,
            None if table.finished.get(&id) == Some(&true) => Home::Finished,
            None if !may_be_made || table.finished.contains_key(&id) => Home::Unknown,
            None => {
                table.sessions.insert(id, Entry { service: service.to_string(), thread, key: None });
                Home::New
            }
        }
    }

    /// What gives the place back of a session that is being made.
    pub fn registered(self: &Arc<Stripes>, id: SessionId) -> Registered {
        Registered { stripes: self.clone(), id, finished: false }
    }

    /// Notes the key of a session that was made.
    pub fn made(&self, id: SessionId, key: usize) {
        if let Some(entry) = self.table().sessions.get_mut(&id) {
            entry.key = Some(key);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nobody leaves it half done: what a panic would leave is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_old(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.ended.front() {
            if self.ended.len() <= MOST_REMEMBERED && now.saturating_duration_since(at) < REMEMBERED {
                return;
            }
            self.ended.pop_front();
            self.finished.remove(&id);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut table = self.stripes.table();
        table.sessions.remove(&self.id);
        table.ended.push_back((Instant::now(), self.id));
        table.finished.insert(self.id, self.finished);
        table.forget_old(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_made_once_and_found_from_every_thread() {
        let stripes = Arc::new(Stripes::default());
        let (id, other, now) = (SessionId([1; 16]), SessionId([2; 16]), Instant::now());
        let home = |id, service: &str, may_be_made, thread| stripes.home(id, service, may_be_made, thread, now);
        assert_eq!(home(id, "a", false, 0), Home::Unknown);
        assert_eq!(home(id, "a", true, 1), Home::New);
        let registered = stripes.registered(id);
        assert_eq!(home(id, "a", true, 0), Home::Session { thread: 1, key: None });
        stripes.made(id, 7);
        assert_eq!(home(id, "a", false, 2), Home::Session { thread: 1, key: Some(7) });
        assert_eq!(home(id, "b", true, 2), Home::Unknown);
        assert_eq!(home(other, "a", true, 2), Home::New);
        drop(registered);
        assert_eq!(home(id, "a", true, 0), Home::Unknown);
        stripes.registered(other).finished = true;
        assert_eq!((home(other, "a", true, 0), home(other, "a", false, 1)), (Home::Finished, Home::Finished));
        assert_eq!(stripes.home(id, "a", true, 3, now + 2 * REMEMBERED), Home::New);
    }

    #[test]
    fn only_so_many_that_have_ended_are_remembered() {
        let stripes = Arc::new(Stripes::default());
        for number in 0..2 * MOST_REMEMBERED as u128 {
            drop(stripes.registered(SessionId(number.to_be_bytes())));
        }
        let table = stripes.table();
        assert!(table.ended.len() <= MOST_REMEMBERED && table.finished.len() == table.ended.len());
        assert!(table.finished.contains_key(&SessionId((2 * MOST_REMEMBERED as u128 - 1).to_be_bytes())));
    }
}
