//! What the scheduler of a thread promises, worked out anew from what happens to it: which session runs now, with which
//! budget, and when its timer is due at the latest.

use std::collections::{BTreeSet, VecDeque};

use cproxy::endpoint::Endpoint;
use cproxy::session::Outcome;
use cproxy::thread::sessions::{Budgets, Sessions};
use cproxy::thread::timers::TICK;

/// How long sparse sessions are taken to be about after one has been seen, in milliseconds.
const MEMORY: u64 = 5;

/// What is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Nothing,
    Sparse,
    /// So many sessions waited and have not run, and so much was moved by those that have.
    Bulk {
        left: usize,
        moved: u64,
    },
}

/// Who waits, and who is to run when.
#[derive(Debug)]
pub struct Promise {
    budgets: Budgets,
    now: u64,
    /// They all run in this turn, in any order.
    sparse: BTreeSet<usize>,
    /// They run in this order.
    bulk: VecDeque<usize>,
    /// When a session that carries messages ran last, or datagrams came that are messages.
    messages: Option<u64>,
    phase: Phase,
    running: Option<usize>,
    /// All keys that there have been are below.
    keys: usize,
}

impl Promise {
    pub fn new(budgets: Budgets) -> Promise {
        Promise {
            budgets,
            now: 0,
            sparse: BTreeSet::new(),
            bulk: VecDeque::new(),
            messages: None,
            phase: Phase::Nothing,
            running: None,
            keys: 0,
        }
    }

    /// A turn begins.
    pub fn begin_turn(&mut self, now: u64) {
        self.now = now;
    }

    /// A session begins.
    pub fn begin(&mut self, key: usize) {
        assert!(!self.waits(key), "a session waits before it begins");
        self.keys = self.keys.max(key + 1);
    }

    /// A session may have become able to move.
    pub fn wake(&mut self, key: usize, bulk: bool) {
        if self.waits(key) {
            return;
        }
        match bulk {
            true => self.bulk.push_back(key),
            false => _ = self.sparse.insert(key),
        }
    }

    /// Datagrams of this size came.
    pub fn datagrams(&mut self, size: usize) {
        if size as u64 <= self.budgets.message {
            self.messages = Some(self.now);
        }
    }

    /// A session has ended.
    pub fn end(&mut self, key: usize) {
        self.sparse.remove(&key);
        self.bulk.retain(|&waiting| waiting != key);
    }

    /// Whether a session is still to run.
    pub fn waits(&self, key: usize) -> bool {
        self.sparse.contains(&key) || self.bulk.contains(&key)
    }

    /// How much may be moved at once now.
    pub fn budget(&self) -> usize {
        let messages = self.messages.is_some_and(|seen| self.now <= seen + MEMORY);
        if messages { self.budgets.small } else { self.budgets.large }
    }

    pub fn begin_sparse(&mut self) {
        self.phase = Phase::Sparse;
    }

    pub fn end_sparse(&mut self) {
        self.phase = Phase::Nothing;
        assert_eq!(self.sparse.first(), None, "a session was woken and did not run");
    }

    pub fn begin_bulk(&mut self) {
        self.phase = Phase::Bulk { left: self.bulk.len(), moved: 0 };
    }

    /// Says whether a session was left to wait as the budget was spent.
    pub fn end_bulk(&mut self) -> bool {
        let Phase::Bulk { left, moved } = self.phase else { panic!("nothing was running") };
        self.phase = Phase::Nothing;
        assert!(left == 0 || moved >= self.budget() as u64, "bulk sessions wait though there is budget left");
        left > 0
    }

    /// A session runs.
    pub fn runs(&mut self, key: usize, budget: usize) {
        assert_eq!(self.running.replace(key), None, "a session runs within another one's run");
        assert_eq!(budget, self.budget(), "the budget of a run is another");
        match &mut self.phase {
            Phase::Nothing => panic!("a session runs outside of its turn"),
            Phase::Sparse => assert!(self.sparse.remove(&key), "a session runs as sparse that does not wait for it"),
            Phase::Bulk { left, moved } => {
                assert!(*left > 0, "a bulk session runs twice in a turn");
                assert!(*moved < budget as u64, "bulk goes on though the turn's budget is spent");
                *left -= 1;
                assert_eq!(self.bulk.pop_front(), Some(key), "another bulk session is next");
            }
        }
    }

    /// It has run, and moved so much.
    pub fn ran(&mut self, key: usize, moved_in_run: u64, outcome: Outcome) {
        assert_eq!(self.running.take(), Some(key), "a session has run that was not running");
        match &mut self.phase {
            Phase::Bulk { moved, .. } => *moved += moved_in_run,
            _ if moved_in_run <= self.budgets.message && outcome != Outcome::Spent => self.messages = Some(self.now),
            _ => {}
        }
        if outcome == Outcome::Spent {
            self.bulk.push_back(key);
        }
    }

    /// Checks what the scheduler says of itself: its time, its queue, and a timer for each session that needs one.
    pub fn check<E: Endpoint>(&self, sessions: &Sessions<E>) {
        assert_eq!(sessions.now(), self.now, "it is another time");
        assert_eq!(sessions.budget(), self.budget(), "the budget is another");
        let waiting = !(self.sparse.is_empty() && self.bulk.is_empty());
        assert_eq!(sessions.queue().is_empty(), !waiting, "the queue and who waits in it do not agree");
        assert!(
            !waiting || sessions.wait().is_some_and(|wait| wait.is_zero()),
            "the thread sleeps though a session waits"
        );
        for key in 0..self.keys {
            let timer = sessions.timer(key);
            let Some(session) = sessions.get(key) else {
                assert_eq!(timer, None, "a timer outlives its session");
                continue;
            };
            match (session.deadline(), timer) {
                (None, timer) => assert_eq!(timer, None, "a timer is armed that is not needed"),
                // It was due, and what is to be done then is done when the session runs.
                (Some(_), None) => assert!(self.waits(key), "no timer is armed"),
                (Some(deadline), Some(timer)) => {
                    // Of its two timers, the one that was due may have gone off.
                    let in_time = timer <= deadline.max(self.now) + TICK || self.waits(key);
                    assert!(in_time, "a timer is armed for {timer}, not {deadline}");
                }
            }
        }
    }
}
