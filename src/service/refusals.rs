//! Letting clients in, and what is counted and said of those that a service refuses.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use log::warn;

use super::Service;
use super::access::ClientAddress;
use super::limits::{Full, Ticket};

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The access rules refuse it.
    Rules,
    /// It is not the time for clients.
    Hours,
    /// The service has as many sessions as it may have.
    Sessions,
    /// Its source has as many as one source may have.
    SourceSessions,
    /// As many sessions have begun as may begin.
    Rate,
    /// As many of its source have.
    SourceRate,
    /// Its header of the PROXY protocol is none, or came too late.
    Header,
}

impl Reason {
    /// All, in the order in which they are told.
    pub const ALL: [Reason; 7] = [
        Reason::Rules,
        Reason::Hours,
        Reason::Sessions,
        Reason::SourceSessions,
        Reason::Rate,
        Reason::SourceRate,
        Reason::Header,
    ];

    /// The word for it, as labels of counters have it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Rules => "rules",
            Reason::Hours => "hours",
            Reason::Sessions => "max_sessions",
            Reason::SourceSessions => "max_sessions_per_source",
            Reason::Rate => "session_rate",
            Reason::SourceRate => "session_rate_per_source",
            Reason::Header => "bad_proxy_header",
        }
    }

    /// Why, to follow "by".
    fn text(self) -> &'static str {
        match self {
            Reason::Rules => "the access rules",
            Reason::Hours => "allow-time",
            Reason::Sessions => "max-sessions",
            Reason::SourceSessions => "max-sessions-per-source",
            Reason::Rate => "session-rate",
            Reason::SourceRate => "session-rate-per-source",
            Reason::Header => "a bad PROXY header",
        }
    }
}

/// A service does not let this client in. It has been counted, and now and then the log says how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Reason);

impl Service {
    /// Whether clients wait in the backlog, as there are as many sessions as there may be.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.limits.as_ref().is_some_and(|limits| limits.is_full())
    }

    /// Logs now and then that clients wait in the backlog, at this time, in milliseconds.
    pub fn tell_of_waiting(&self, now: u64) {
        let most = self.limits.as_ref().filter(|limits| limits.is_full()).and_then(|limits| limits.max_sessions());
        let Some(most) = most.filter(|_| self.refusals.may_tell_of_waiting(now)) else { return };
        let _level = self.log_scope();
        let (are, plural) = if most == 1 { ("is", "") } else { ("are", "s") };
        let message =
            format_args!("there {are} {most} session{plural}, as many as max-sessions allows: further clients wait");
        warn!("{}", self.named(&message));
    }

    /// Takes a place for a client before it is accepted, where clients of the service wait in the backlog while it is full.
    ///
    /// # Errors
    ///
    /// It is.
    #[inline]
    pub fn reserve_place(&self) -> Result<Option<Ticket>, Full> {
        self.limits.as_ref().map_or(Ok(None), |limits| limits.reserve())
    }

    /// Lets a client in at this time, in milliseconds, with the place that was taken for it before, if there is one. One
    /// without an address, as a device has none, is refused only where there is no room for it.
    ///
    /// # Errors
    ///
    /// The service refuses it.
    #[inline]
    pub fn let_in(
        &self,
        place: Option<Ticket>,
        client: impl FnOnce() -> Option<ClientAddress>,
        now: impl FnOnce() -> u64,
    ) -> Result<Option<Ticket>, Refused> {
        if self.access.is_none() && self.hours.is_none() && self.limits.is_none() {
            return Ok(place);
        }
        let (client, now) = (client(), now());
        let let_in = self.obey_rules(client).and_then(|()| self.obey_hours(client, now));
        let_in.and_then(|()| self.obey_limits(place, client, now)).map_err(|reason| self.refuse(reason, client, now))
    }

    /// Lets a connection in that is to be a lane of a client: what else holds for clients is asked when it makes a session,
    /// and where clients have headers, also the rules, as they are about those whom these name.
    ///
    /// # Errors
    ///
    /// The rules refuse it.
    #[inline]
    pub fn let_lane_in(
        &self,
        client: impl FnOnce() -> Option<ClientAddress>,
        now: impl FnOnce() -> u64,
    ) -> Result<(), Refused> {
        if self.access.is_none() || self.takes_headers() {
            return Ok(());
        }
        let client = client();
        self.obey_rules(client).map_err(|reason| self.refuse(reason, client, now()))
    }

    /// Lets a client in of which it is not known yet who it is, if it is the time for clients and there is room:
    /// [`Service::let_in`] is asked with the place when that is known.
    ///
    /// # Errors
    ///
    /// It is not, or there is none.
    #[inline]
    pub fn let_unknown_in(
        &self,
        place: Option<Ticket>,
        peer: impl FnOnce() -> Option<ClientAddress>,
        now: impl FnOnce() -> u64,
    ) -> Result<Option<Ticket>, Refused> {
        if self.hours.is_none() && self.limits.is_none() {
            return Ok(place);
        }
        let (peer, now) = (peer(), now());
        self.obey_hours(peer, now)
            .and_then(|()| self.obey_limits(place, None, now))
            .map_err(|reason| self.refuse(reason, peer, now))
    }

    fn obey_rules(&self, client: Option<ClientAddress>) -> Result<(), Reason> {
        match (&self.access, client) {
            (Some(access), Some(client)) if !access.decide(client) => Err(Reason::Rules),
            _ => Ok(()),
        }
    }

    fn obey_hours(&self, client: Option<ClientAddress>, now: u64) -> Result<(), Reason> {
        match (&self.hours, client) {
            (Some(hours), Some(_)) if !hours.ask(now).is_open => Err(Reason::Hours),
            _ => Ok(()),
        }
    }

    fn obey_limits(
        &self,
        place: Option<Ticket>,
        client: Option<ClientAddress>,
        now: u64,
    ) -> Result<Option<Ticket>, Reason> {
        match &self.limits {
            None => Ok(place),
            Some(limits) => limits.admit(place, client, now),
        }
    }

    /// Counts a client that is refused at this time, in milliseconds, and logs it if that is due.
    fn refuse(&self, reason: Reason, client: Option<ClientAddress>, now: u64) -> Refused {
        self.refuse_because(reason, client, now, &"");
        Refused(reason)
    }

    /// The same, and the log says more about why.
    pub fn refuse_because(&self, reason: Reason, client: Option<ClientAddress>, now: u64, why: &dyn fmt::Display) {
        if let Some(told) = self.refusals.count(reason, now) {
            let _level = self.log_scope();
            let from = client.map_or(String::new(), |client| format!(", the last one from {client}"));
            let why = why.to_string();
            let colon = if why.is_empty() { "" } else { ": " };
            warn!("{}", self.named(&format_args!("{told}{from}{colon}{why}")));
        }
    }
}

/// How many clients of a service were refused, those of its former versions among them.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [Count; Reason::ALL.len()],
    /// When they may be logged again, in milliseconds.
    next_line: AtomicU64,
    /// The same of clients that wait.
    next_of_waiting: AtomicU64,
}

/// Those that were refused for one reason.
#[derive(Debug, Default)]
struct Count {
    all: AtomicU64,
    /// How many of them the log has told of.
    told: AtomicU64,
}

/// How often refusals are logged, in milliseconds.
const LINE_EVERY: u64 = 1000;

/// The same of clients that wait, which may be the usual state of a service.
const WAITING_EVERY: u64 = 60_000;

/// What the log is to say: how many were refused for each reason since it said so last, and how many there have been.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    since: [u64; Reason::ALL.len()],
    all: u64,
}

impl Refusals {
    /// How many were refused for this reason.
    pub fn get(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].all.load(Relaxed)
    }

    /// Counts one; `Some`: the log may say so.
    fn count(&self, reason: Reason, now: u64) -> Option<Told> {
        self.counts[reason as usize].all.fetch_add(1, Relaxed);
        is_due(&self.next_line, LINE_EVERY, now).then(|| self.tell())
    }

    fn may_tell_of_waiting(&self, now: u64) -> bool {
        is_due(&self.next_of_waiting, WAITING_EVERY, now)
    }

    /// What has not been told yet.
    fn tell(&self) -> Told {
        let mut told = Told { since: [0; Reason::ALL.len()], all: 0 };
        for (count, since) in self.counts.iter().zip(&mut told.since) {
            let all = count.all.load(Relaxed);
            *since = all.saturating_sub(count.told.swap(all, Relaxed));
            told.all += all;
        }
        told
    }
}

/// Whether the next line is due, of which there is one in this time. Of threads that ask at the same time, one is told so.
fn is_due(next: &AtomicU64, every: u64, now: u64) -> bool {
    let due = next.load(Relaxed);
    now >= due && next.compare_exchange(due, now + every, Relaxed, Relaxed).is_ok()
}

/// `clients refused: 7 by the access rules, 2 by session-rate, 40 so far`
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("clients refused: ")?;
        for (reason, since) in Reason::ALL.into_iter().zip(self.since).filter(|(_, since)| *since > 0) {
            write!(f, "{since} by {}, ", reason.text())?;
        }
        write!(f, "{} so far", self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_a_second_with_their_reasons() {
        let refusals = Refusals::default();
        let told = |reason, now| refusals.count(reason, now).map(|told| told.to_string());
        assert_eq!(told(Reason::Rules, 5).as_deref(), Some("clients refused: 1 by the access rules, 1 so far"));
        for now in [5, 6, 1004] {
            assert_eq!(told(Reason::SourceRate, now), None);
        }
        assert_eq!(told(Reason::Rules, 1004), None);
        let expected =
            "clients refused: 1 by the access rules, 1 by session-rate, 3 by session-rate-per-source, 6 so far";
        assert_eq!(told(Reason::Rate, 1005).as_deref(), Some(expected));
        assert_eq!(told(Reason::Sessions, 2004), None);
        let expected = "clients refused: 1 by max-sessions, 1 by max-sessions-per-source, 8 so far";
        assert_eq!(told(Reason::SourceSessions, 9000).as_deref(), Some(expected));
        let counts = Reason::ALL.map(|reason| refusals.get(reason));
        assert_eq!(counts, [2, 0, 1, 1, 1, 3, 0]);
    }

    #[test]
    fn clients_that_wait_are_told_of_once_a_minute() {
        let refusals = Refusals::default();
        let told = [0, 1, 59_999, 60_000, 119_999, 500_000].map(|now| refusals.may_tell_of_waiting(now));
        assert_eq!(told, [true, false, false, true, false, true]);
    }
}
