//! How many sessions a service may have, and how many may begin: for all its sources together, and for each.
//!
//! What is counted belongs to the service whatever a reload makes of it: each of its versions has limits of its own, and
//! all of them count in the same place. There is no clock here: times are milliseconds since the origin that all threads
//! share, and come as arguments.

mod bucket;
mod sources;
#[cfg(test)]
pub mod tests;

use std::net::IpAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};
use std::sync::{Arc, LazyLock, OnceLock};

use super::access::ClientAddress;
use super::refusals::Reason;
use super::waiters::Waiters;
use crate::config::limits::{LimitSettings, SourcePrefix, WhenFull};
use bucket::Bucket;
use sources::{Known, Source, Sources};

/// The limits of a service that has some.
#[derive(Debug)]
pub struct Limits {
    max_sessions: Option<u32>,
    when_full: WhenFull,
    rate: Option<Bucket>,
    /// Those of one source.
    per_source: Option<PerSource>,
    usage: Arc<Usage>,
}

/// What one source may have.
#[derive(Debug)]
struct PerSource {
    max_sessions: Option<u32>,
    rate: Option<Bucket>,
    prefix: SourcePrefix,
}

/// What the sessions of a service take of its limits, those of its former versions among them.
#[derive(Debug)]
struct Usage {
    /// Tells its sources from those of other services.
    service: u32,
    /// The sessions that there are, as far as there was a limit to them when they began, and clients on their way.
    sessions: AtomicU32,
    /// What is in the bucket of all sources together.
    full_at: AtomicU64,
    /// Those who wait until there are fewer.
    waiters: OnceLock<Arc<Waiters>>,
    sources: Arc<Sources>,
}

/// The place of a session among those that are counted; it is given back when this is dropped.
// It is boxed, as a client on its way to its thread has room for one though its service has no limits.
#[derive(Debug)]
pub struct Ticket(Box<Place>);

#[derive(Debug)]
struct Place {
    usage: Arc<Usage>,
    /// It is one of the sessions of the service.
    has_place: bool,
    /// It is one of the sessions of this source.
    source: Option<Source>,
}

/// A service has as many sessions as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Limits {
    /// Those of a service, if it has any. What is counted goes on from the service before it.
    pub fn new(settings: &LimitSettings, former: Option<&Limits>) -> Option<Limits> {
        let LimitSettings { max_sessions, max_sessions_per_source, session_rate, session_rate_per_source, .. } =
            *settings;
        let per_source = (max_sessions_per_source.is_some() || session_rate_per_source.is_some()).then(|| PerSource {
            max_sessions: max_sessions_per_source.map(u32::from),
            rate: session_rate_per_source.map(Bucket::new),
            prefix: settings.source_prefix,
        });
        if max_sessions.is_none() && session_rate.is_none() && per_source.is_none() {
            return None;
        }
        Some(Limits {
            max_sessions: max_sessions.map(u32::from),
            when_full: settings.when_full,
            rate: session_rate.map(Bucket::new),
            per_source,
            usage: former.map_or_else(|| Arc::new(Usage::new(of_process())), |former| former.usage.clone()),
        })
    }

    /// Takes a place for a client that is to be accepted, where clients wait in the backlog until there is one. `None`: they
    /// do not.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn reserve(&self) -> Result<Option<Ticket>, Full> {
        match self.max_sessions {
            Some(most) if self.when_full == WhenFull::Wait => self.usage.place(most).map(Some).ok_or(Full),
            _ => Ok(None),
        }
    }

    /// Whether [`Limits::reserve`] would fail now.
    pub fn is_full(&self) -> bool {
        let is_full = |most| self.usage.sessions.load(Acquire) >= most;
        self.when_full == WhenFull::Wait && self.max_sessions.is_some_and(is_full)
    }

    /// Whether it is full for a thread that has been added to these: they are told when it may be so no longer.
    pub fn is_full_for(&self, waiters: &Arc<Waiters>) -> bool {
        // There is only one of these in the process.
        self.usage.waiters.get_or_init(|| waiters.clone());
        // Either whoever gives a place back sees the waiters, or they see the place.
        fence(SeqCst);
        self.is_full()
    }

    /// How many sessions there may be.
    pub fn max_sessions(&self) -> Option<u32> {
        self.max_sessions
    }

    /// Lets a client in at this time, in milliseconds, which has this place if one was taken for it before. One that comes
    /// without an address only needs a place, and one of a Unix socket is no source. `None`: nothing of it is counted as
    /// long as it is here.
    ///
    /// # Errors
    ///
    /// Why it is refused. It counts for nothing then.
    pub fn admit(
        &self,
        place: Option<Ticket>,
        client: Option<ClientAddress>,
        now: u64,
    ) -> Result<Option<Ticket>, Reason> {
        let mut ticket = match (place, self.max_sessions) {
            (Some(place), _) => Some(place),
            (None, Some(most)) => Some(self.usage.place(most).ok_or(Reason::Sessions)?),
            (None, None) => None,
        };
        let (address, per_source) = match (client, &self.per_source) {
            (None, _) => return Ok(ticket),
            (Some(ClientAddress::Ip(address)), Some(per_source)) => (address, per_source),
            (Some(_), _) => return self.take_token(now).map(|()| ticket),
        };
        let source = per_source.source(address, self.usage.service);
        // What is taken last is taken for certain, and all that is before it only if it is.
        self.usage.sources.admit(source, now, |known| {
            let known = per_source.admit(known, now)?;
            self.take_token(now)?;
            Ok(known)
        })?;
        if per_source.max_sessions.is_some() {
            let without_place = || Ticket::new(&self.usage, false);
            let before = ticket.get_or_insert_with(without_place).0.source.replace(source);
            before.into_iter().for_each(|before| self.usage.sources.leave(before));
        }
        Ok(ticket)
    }

    fn take_token(&self, now: u64) -> Result<(), Reason> {
        let Some(bucket) = self.rate else { return Ok(()) };
        let taken = self.usage.full_at.fetch_update(Relaxed, Relaxed, |full_at| bucket.take(full_at, now));
        taken.map_err(|_| Reason::Rate).map(drop)
    }
}

impl PerSource {
    fn source(&self, address: IpAddr, service: u32) -> Source {
        match address.to_canonical() {
            IpAddr::V4(address) => Source::new(service, address.to_ipv6_mapped().to_bits(), 96 + self.prefix.v4),
            IpAddr::V6(address) => Source::new(service, address.to_bits(), self.prefix.v6),
        }
    }

    /// What is known of a source when one more of its sessions has begun.
    fn admit(&self, Known { sessions, full_at }: Known, now: u64) -> Result<Known, Reason> {
        if self.max_sessions.is_some_and(|most| sessions >= most) {
            return Err(Reason::SourceSessions);
        }
        let full_at = match self.rate {
            Some(bucket) => bucket.take(full_at, now).ok_or(Reason::SourceRate)?,
            None => full_at,
        };
        Ok(Known { sessions: sessions + u32::from(self.max_sessions.is_some()), full_at })
    }
}

impl Usage {
    fn new(sources: Arc<Sources>) -> Usage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Usage {
            service: NEXT.fetch_add(1, Relaxed),
            sessions: AtomicU32::new(0),
            full_at: AtomicU64::new(0),
            waiters: OnceLock::new(),
            sources,
        }
    }

    /// A place among so many; `None`: there is none.
    fn place(self: &Arc<Usage>, most: u32) -> Option<Ticket> {
        let count = |sessions| (sessions < most).then_some(sessions + 1);
        self.sessions.fetch_update(AcqRel, Acquire, count).ok()?;
        Some(Ticket::new(self, true))
    }
}

impl Ticket {
    fn new(usage: &Arc<Usage>, has_place: bool) -> Ticket {
        Ticket(Box::new(Place { usage: usage.clone(), has_place, source: None }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(source) = self.source {
            self.usage.sources.leave(source);
        }
        if self.has_place {
            self.usage.sessions.fetch_sub(1, AcqRel);
            fence(SeqCst);
            if let Some(waiters) = self.usage.waiters.get() {
                waiters.wake();
            }
        }
    }
}

/// The one table of the process, so that all services together have a bound.
fn of_process() -> Arc<Sources> {
    static SOURCES: LazyLock<Arc<Sources>> = LazyLock::new(|| Arc::new(Sources::new(sources::MOST)));
    SOURCES.clone()
}
