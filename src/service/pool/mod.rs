//! A service's remotes: which one a session gets, and what is known of each.
//!
//! Data and atomics: time and the seed of what is drawn come in as arguments. I/O threads choose and report; one thread,
//! the keeper, replaces the set that they choose from.

mod client;
mod cycle;
mod draw;
mod growth;
mod health;
mod lease;
mod least;
mod mix;
mod remote;
mod room;
mod set;
mod source;
#[cfg(test)]
mod tests;
mod tier;

use arc_swap::{ArcSwap, Guard};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use tier::Turn;

use crate::config::balancing::{Balance, OnDown, PoolSettings};
use crate::service::waiters::Waiters;
use room::OnTheWay;

pub use client::ClientKey;
pub use lease::Lease;
pub use remote::{Checked, Remote, RemoteId, State};
pub use room::{Full, Reservation, Waiting};
pub use set::{MOST_MEMBERS, Member, Set};

/// The remotes of a service, shared by all threads.
pub struct Pool {
    policy: Policy,
    set: ArcSwap<Set>,
    /// No session need try a remote that is out before this time.
    retry_at: AtomicU64,
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
        let on_the_way = OnTheWay::default();
        on_the_way.look_at(&set);
        Pool {
            policy,
            set: ArcSwap::from_pointee(set),
            // A remote that is known already may be out.
            retry_at: AtomicU64::new(now),
            cursor: Cursor::default(),
            seed,
            keeper: OnceLock::new(),
            on_the_way,
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
        let set = Set::new(members, &self.policy, now);
        self.on_the_way.look_at(&set);
        self.set.store(Arc::new(set));
        self.retry_at.fetch_min(now, AcqRel);
        self.tell_waiters();
    }

    /// Says who is told what happens to remotes; once.
    pub fn set_keeper(&self, keeper: Keeper) {
        let _ = self.keeper.set(keeper);
    }

    /// Chooses a remote for a session, but none of those that it has tried.
    pub fn choose(&self, client: impl FnOnce() -> Option<ClientKey>, tried: &[RemoteId], now: u64) -> Choice {
        let set = self.set.load();
        match set.members() {
            [] => return Choice::NoneYet,
            [only] if tried.contains(&only.remote.id) => return Choice::Exhausted,
            [only] => return Lease::new(only).map_or(Choice::Full, Choice::Remote),
            _ => (),
        }
        if self.retry_at.load(Relaxed) <= now {
            if let Some(lease) = self.retry(tried, now) {
                return Choice::Remote(lease);
            }
        }
        let client = (self.policy.balance == Balance::Source).then(client).flatten();
        match set.choose(Turn { cursor: &self.cursor.0, seed: self.seed, client }, tried) {
            // Before it waits, it tries a backup that was not needed until now.
            Choice::Full => self.retry(tried, now).map_or(Choice::Full, Choice::Remote),
            choice => choice,
        }
    }

    /// Has the session try a remote that has been out for long enough, if there is one that no other session tries.
    #[cold]
    fn retry(&self, tried: &[RemoteId], now: u64) -> Option<Lease> {
        // Whoever takes a remote out from here on, or replaces the set, makes it earlier again.
        self.retry_at.swap(u64::MAX, AcqRel);
        let set = self.set.load();
        let mut lease = None;
        let retry_at = set.on_trial().filter_map(|member| {
            let Member { remote, .. } = member;
            let is_free = lease.is_none() && !tried.contains(&remote.id) && !member.is_full();
            if is_free && remote.claim(&self.policy, now) {
                lease = Lease::new(member);
            }
            remote.retry_at()
        });
        let retry_at = retry_at.min().unwrap_or(u64::MAX);
        self.retry_at.fetch_min(retry_at, AcqRel);
        lease
    }

    /// Notes that a session has been connected to a remote.
    pub fn connected(&self, remote: &Arc<Remote>, now: u64) {
        if remote.connected(now) {
            self.tell(Event::In(remote.clone()));
        }
    }

    /// Notes that a session could not be connected to a remote, and why.
    pub fn failed(&self, remote: &Arc<Remote>, reason: &dyn fmt::Display, now: u64) {
        remote.count_failure();
        let set = self.set.load();
        let has_others = set.members().len() > 1;
        if !has_others || set.members().iter().all(|member| member.remote.id != remote.id) {
            return;
        }
        if let Some(was_in) = remote.failed(&self.policy, reason, now) {
            self.retry_at.fetch_min(now, AcqRel);
            if was_in {
                self.tell(Event::Out(remote.clone(), reason.to_string()));
            }
        }
    }

    fn tell(&self, event: Event) {
        if let Some(keeper) = self.keeper.get() {
            keeper(event);
        }
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
