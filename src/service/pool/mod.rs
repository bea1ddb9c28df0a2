//! A service's remotes: which one a session gets, and what is known of each.
//!
//! Data and atomics: time and the seed of what is drawn come in as arguments. I/O threads choose and report; one thread,
//! the keeper, replaces the set that they choose from.

mod client;
mod lease;
mod remote;
mod room;
mod set;

use arc_swap::{ArcSwap, Guard};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::config::balancing::{Balance, OnDown, PoolSettings};
use crate::service::waiters::Waiters;
use room::OnTheWay;

pub use client::ClientKey;
pub use lease::Lease;
pub use remote::{Remote, RemoteId};
pub use room::{Full, Reservation};
pub use set::{Member, Set};

/// The remotes of a service, shared by all threads.
pub struct Pool {
    policy: Policy,
    set: ArcSwap<Set>,
    /// What `round-robin` goes through and `random` draws with.
    cursor: Cursor,
    seed: u64,
    keeper: OnceLock<Keeper>,
    /// Where remotes may have only so many sessions: who is on the way to one, and who waits.
    on_the_way: OnTheWay,
    waiters: OnceLock<Arc<Waiters>>,
}

/// In a cache line of its own, as every session changes it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cursor(AtomicU64);

/// Told what has happened to a remote; it must not wait.
pub type Keeper = Box<dyn Fn(Event) + Send + Sync>;

/// How remotes are chosen, and when one is taken out; times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How the next one is chosen.
    pub balance: Balance,
    /// How many others are tried when one cannot be connected to; `None`: all.
    pub retries: Option<u32>,
    /// How long all attempts of a session may take together.
    pub retry_timeout: Option<u64>,
    /// After so many failed connects a remote is out; 0: never.
    pub max_fails: u32,
    /// Within which time these count, and how long the remote is out at first.
    pub fail_timeout: u64,
    /// Within which time one that comes back gets its whole share.
    pub slow_start: Option<u64>,
    /// What becomes of the sessions of a remote that is found down.
    pub on_down: OnDown,
}

/// Something that the keeper must know: the set is to be made anew, and the log told.
#[derive(Debug)]
pub enum Event {
    /// Sessions could not connect to it, for this reason the last time: it is out.
    Out(Arc<Remote>, String),
    /// A session could connect to it again.
    In(Arc<Remote>),
}

/// What a choice came to.
#[derive(Debug)]
pub enum Choice {
    /// This one. The lease counts the session.
    Remote(Lease),
    /// Each that could be tried has as many sessions as it may have.
    Full,
    /// There is none yet, as its name has no address.
    NoneYet,
    /// All that could be tried have been.
    Exhausted,
}

impl Pool {
    /// A pool of these remotes. What it draws with follows from the seed. Time is in milliseconds since the origin that
    /// all threads share.
    pub fn new(settings: &PoolSettings, members: Vec<Member>, seed: u64, now: u64) -> Pool {
        let policy = Policy::new(settings);
        let set = Set::new(members, &policy, now);
        Pool {
            policy,
            set: ArcSwap::from_pointee(set),
            cursor: Cursor::default(),
            seed,
            keeper: OnceLock::new(),
            on_the_way: OnTheWay::default(),
            waiters: OnceLock::new(),
        }
    }

    /// How remotes are chosen.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The remotes as they are now.
    pub fn set(&self) -> Guard<Arc<Set>> {
        self.set.load()
    }

    /// Replaces the remotes, or makes their set anew where what is known of them has changed. Only the keeper calls this.
    pub fn replace(&self, members: Vec<Member>, now: u64) {
        self.set.store(Arc::new(Set::new(members, &self.policy, now)));
        self.tell_waiters();
    }

    /// Says who is told what happens to remotes; once.
    pub fn set_keeper(&self, keeper: Keeper) {
        let _ = self.keeper.set(keeper);
    }

    /// How many more sessions there may be on the remotes that are in use; `None`: any number.
    pub fn room(&self) -> Option<u64> {
        self.set.load().room()
    }

    /// Chooses a remote for a session, but none of those that it has tried.
    pub fn choose(&self, client: impl FnOnce() -> Option<ClientKey>, tried: &[RemoteId], now: u64) -> Choice {
        let _ = (client, now, self.seed);
        let set = self.set.load();
        if set.members().is_empty() {
            return Choice::NoneYet;
        }
        let first = self.cursor.0.fetch_add(1, Relaxed) as usize % set.members().len();
        let (before, after) = set.members().split_at(first);
        let mut full = false;
        for member in after.iter().chain(before).filter(|member| !tried.contains(&member.remote.id)) {
            match Lease::new(member) {
                Some(lease) => return Choice::Remote(lease),
                None => full = true,
            }
        }
        if full { Choice::Full } else { Choice::Exhausted }
    }

    /// Notes that a session has been connected to a remote.
    pub fn connected(&self, remote: &Arc<Remote>, now: u64) {
        let _ = (remote, now);
    }

    /// Notes that a session could not be connected to a remote, and why.
    pub fn failed(&self, remote: &Arc<Remote>, reason: &dyn fmt::Display, now: u64) {
        let _ = (remote, reason, now);
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("policy", &self.policy).field("set", &self.set).finish_non_exhaustive()
    }
}

impl Policy {
    fn new(settings: &PoolSettings) -> Policy {
        let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Policy {
            balance: settings.balance,
            retries: settings.retries,
            retry_timeout: settings.retry_timeout.map(milliseconds),
            max_fails: settings.max_fails,
            fail_timeout: milliseconds(settings.fail_timeout),
            slow_start: settings.slow_start.map(milliseconds),
            on_down: settings.on_down,
        }
    }
}
