//! One remote, and what is counted and known of it, whichever set it is in.

use arc_swap::ArcSwapOption;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::Policy;
use super::health::Health;
use super::lease::Leases;
use super::room::Freed;
use crate::address::EndpointAddress;
use crate::service::RemoteAddress;

/// Tells remotes apart, those that are gone among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RemoteId(u32);

impl RemoteId {
    fn next() -> RemoteId {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        RemoteId(NEXT.fetch_add(1, Relaxed))
    }
}

/// A remote: an address, or the addresses of a name that are tried one after the other.
///
/// It outlives the sets that it is in: a reload or a new answer of a name server that leaves it in place leaves all this alone.
#[derive(Debug)]
#[repr(align(128))]
pub struct Remote {
    /// Which one it is.
    pub id: RemoteId,
    /// Its address as the log has it; where there are several, what was written.
    pub name: String,
    /// Where it is, before it was made ready for the system: by this it is recognised.
    pub at: Vec<EndpointAddress>,
    /// The addresses that are tried, in this order.
    pub addresses: Vec<RemoteAddress>,
    /// Sessions that it has now.
    pub(super) sessions: Leases,
    /// Sessions that it ever had.
    pub(super) sessions_ever: AtomicU64,
    /// Whom it tells when it has one less.
    pub(super) freed: Freed,
    failures_ever: AtomicU64,
    /// A packed [`Health`].
    health: AtomicU64,
    /// When it became what it is, and why.
    since: AtomicU64,
    why: ArcSwapOption<String>,
    /// When it came back, or came; 0: it has been there from the start.
    up_since: AtomicU64,
    /// When it was last in, if it is not.
    in_until: AtomicU64,
}

/// What is known of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing speaks against it.
    Up,
    /// Sessions could not connect to it.
    Out,
    /// The same, and one session tries it now.
    Trying,
    /// Checks have found it down.
    Down,
}

/// What checks have found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It answers as it should.
    Up,
    /// It does not.
    Down,
}

impl Remote {
    /// A remote that nothing is known of.
    ///
    /// # Errors
    ///
    /// An address that the system cannot have.
    pub fn new(name: String, at: Vec<EndpointAddress>) -> io::Result<Remote> {
        Ok(Remote {
            id: RemoteId::next(),
            name,
            addresses: at.iter().map(RemoteAddress::new).collect::<io::Result<_>>()?,
            at,
            sessions: Leases::default(),
            sessions_ever: AtomicU64::new(0),
            freed: Freed::default(),
            failures_ever: AtomicU64::new(0),
            health: AtomicU64::new(Health::GOOD.pack()),
            since: AtomicU64::new(0),
            why: ArcSwapOption::empty(),
            up_since: AtomicU64::new(0),
            in_until: AtomicU64::new(0),
        })
    }

    /// Whether it is where each client had wanted to go, so that what becomes of one says nothing of the others.
    pub fn is_original(&self) -> bool {
        self.addresses.iter().any(|address| matches!(address, RemoteAddress::Original))
    }

    /// Sessions that it has now, but for those whose remote has ended already.
    pub fn sessions(&self) -> u32 {
        self.sessions.now()
    }

    /// Sessions that it ever had, those that could not connect to it among them.
    pub fn sessions_ever(&self) -> u64 {
        self.sessions_ever.load(Relaxed)
    }

    /// Sessions that could not connect to it.
    pub fn failures_ever(&self) -> u64 {
        self.failures_ever.load(Relaxed)
    }

    /// What is known of it. The last one of a set that is usable is used whatever this says.
    pub fn state(&self) -> State {
        match self.health() {
            Health::In { .. } => State::Up,
            Health::Out { .. } => State::Out,
            Health::Trying { .. } => State::Trying,
            Health::Down => State::Down,
        }
    }

    /// When it became up, out or down, in milliseconds; 0: it has been up from the start.
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// Why it became what it is; `None`: nothing has happened yet.
    pub fn why(&self) -> Option<Arc<String>> {
        self.why.load_full()
    }

    /// When it came back, or came; `None`: it has been there from the start.
    pub fn up_since(&self) -> Option<u64> {
        Some(self.up_since.load(Relaxed)).filter(|&since| since > 0)
    }

    /// Notes that it came after the start, at this time, so that its share grows slowly if that is asked for.
    pub fn appeared(&self, now: u64) {
        self.since.store(now, Relaxed);
        self.up_since.store(now.max(1), Relaxed);
    }

    /// Notes what checks have found, for this reason: after as many in a row as it takes. Up also ends an outage that
    /// sessions have found. Returns whether this is new; then the sets that it is in are to be made anew.
    pub fn set_checked(&self, checked: Checked, reason: &dyn fmt::Display, now: u64) -> bool {
        // Failures that are counted, and have not taken it out, are none of the checks' business.
        let (health, changed) = match checked {
            Checked::Up => (Health::GOOD, self.replace(|health| (!health.is_in()).then_some(Health::GOOD))),
            Checked::Down => (Health::Down, self.replace(|health| (health != Health::Down).then_some(Health::Down))),
        };
        if let Some(was) = changed {
            self.note_change(was, health, reason, now);
        }
        changed.is_some()
    }

    pub(super) fn health(&self) -> Health {
        Health::unpack(self.health.load(Acquire))
    }

    /// Whether neither sessions nor checks have anything against it.
    pub(super) fn is_in(&self) -> bool {
        Health::unpack(self.health.load(Relaxed)).is_in()
    }

    /// When it was last in, if it is not.
    pub(super) fn in_until(&self) -> u64 {
        self.in_until.load(Relaxed)
    }

    /// Counts a failure, and nothing else.
    pub(super) fn count_failure(&self) {
        self.failures_ever.fetch_add(1, Relaxed);
    }

    /// Notes that a session could not connect to it. If it is out because of this, says whether it was in before.
    pub(super) fn failed(&self, policy: &Policy, reason: &dyn fmt::Display, now: u64) -> Option<bool> {
        let was = self.replace(|health| health.failed(policy, now))?;
        let is = was.failed(policy, now)?;
        if is.is_in() {
            return None;
        }
        if was.is_in() {
            self.note_change(was, is, reason, now);
        }
        Some(was.is_in())
    }

    /// Notes that a session could connect to it; returns whether it was out.
    pub(super) fn connected(&self, now: u64) -> bool {
        // What is seldom otherwise is only read.
        if self.health.load(Relaxed) == Health::GOOD.pack() {
            return false;
        }
        let came_back = self.replace(Health::connected).filter(|was| !was.is_in());
        if let Some(was) = came_back {
            self.note_change(was, Health::GOOD, &"connected", now);
        }
        came_back.is_some()
    }

    /// When one session may try it, if it is out.
    pub(super) fn retry_at(&self) -> Option<u64> {
        self.health().retry_at()
    }

    /// Makes sure that the caller is the one who tries it.
    pub(super) fn claim(&self, policy: &Policy, now: u64) -> bool {
        self.replace(|health| health.claimed(policy, now)).is_some()
    }

    /// Returns what was there, if it has been replaced.
    fn replace(&self, by: impl Fn(Health) -> Option<Health>) -> Option<Health> {
        let replaced = self.health.fetch_update(AcqRel, Acquire, |word| by(Health::unpack(word)).map(Health::pack));
        replaced.ok().map(Health::unpack)
    }

    fn note_change(&self, was: Health, is: Health, reason: &dyn fmt::Display, now: u64) {
        self.why.store(Some(Arc::new(reason.to_string())));
        self.since.store(now, Relaxed);
        match (was.is_in(), is.is_in()) {
            (_, true) => self.up_since.store(now.max(1), Relaxed),
            (true, false) => self.in_until.store(now, Relaxed),
            (false, false) => {}
        }
    }
}
