//! What only some sessions have, as their service asks for it: a place among those that are counted, a time to end, caps,
//! who the client is by its header.

use super::End;
use super::cap::SessionCaps;
use super::exchange::Exchange;
use super::header::Headers;
use crate::service::Service;
use crate::service::hours::{Answer, Hours};
use crate::service::limits::Ticket;

/// What a session has beside what all have. It is boxed, so that sessions without it cost nothing.
#[derive(Debug, Default)]
pub struct Terms {
    /// Its place in the limits of its service, given back when it is dropped.
    pub ticket: Option<Ticket>,
    /// What headers of the PROXY protocol say of it.
    pub headers: Option<Box<Headers>>,
    /// When it is looked whether the time of clients is over, in milliseconds since the thread's origin; `None`: never.
    looks_at: Option<u64>,
    /// When it has lasted for long enough to be written of, in milliseconds; `None`: never, or it has been.
    pub(super) lasts_at: Option<u64>,
    /// When it is to end whatever it is doing, in milliseconds.
    pub(super) ends_at: Option<u64>,
    /// When one of its flows was first seen to have ended, where that changes how long the other may be silent.
    pub(super) half_closed: Option<u64>,
    /// How fast bytes may move in it, if that is limited.
    pub(super) caps: Option<Box<SessionCaps>>,
    /// What the session's client has asked, if the session ends when it is answered.
    pub(super) exchange: Option<Exchange>,
    /// Which session it is for those who look at it, if anybody does.
    pub(super) inspected: Option<u64>,
    /// Its runs look at what it has of these.
    pub(super) is_timed: bool,
}

impl Terms {
    /// Those of a session that begins now; `None`: there are none.
    pub fn new(service: &Service, ticket: Option<Ticket>, now: u64) -> Option<Box<Terms>> {
        let looks_at = ending_hours(service).map(|hours| match hours.ask(now) {
            Answer { is_open: true, until } => until,
            Answer { is_open: false, .. } => now,
        });
        let timeouts = &service.timeouts;
        let has_times = timeouts.session.is_some() || timeouts.half_close.is_some() || looks_at.is_some();
        let start_after = service.access_log.as_ref().and_then(|log| log.start_after);
        let is_timed = has_times || service.caps.is_some() || start_after.is_some();
        (ticket.is_some() || is_timed).then(|| {
            Box::new(Terms {
                ticket,
                looks_at,
                lasts_at: start_after.map(|after| now.saturating_add(after)),
                ends_at: timeouts.session.map(|timeout| now.saturating_add(timeout)),
                caps: service.caps.as_ref().map(|caps| Box::new(SessionCaps::new(caps, now))),
                is_timed,
                ..Terms::default()
            })
        })
    }

    pub(super) fn headers_mut(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }

    /// How the session is to end now, if it is.
    pub(super) fn end(&mut self, service: &Service, now: u64) -> Option<End> {
        if self.ends_at.is_some_and(|at| at <= now) {
            return Some(End::SessionTimeout);
        }
        self.looks_at.filter(|&at| at <= now)?;
        let Answer { is_open, until } = ending_hours(service)?.ask(now);
        self.looks_at = Some(until);
        (!is_open).then_some(End::OutsideTime)
    }

    /// When that is to be asked next, in milliseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.looks_at.into_iter().chain(self.ends_at).min()
    }
}

/// The hours of a service whose sessions end when their time is over.
fn ending_hours(service: &Service) -> Option<&Hours> {
    service.hours.as_deref().filter(|hours| hours.end_outside)
}
