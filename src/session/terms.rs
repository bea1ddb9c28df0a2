//! What only some sessions have, as their service asks for it: a place among those that are counted, a time to end, who
//! the client is by its header.

use super::End;
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
}

impl Terms {
    /// Those of a session that begins now; `None`: there are none.
    pub fn new(service: &Service, ticket: Option<Ticket>, now: u64) -> Option<Box<Terms>> {
        let looks_at = ending_hours(service).map(|hours| match hours.ask(now) {
            Answer { is_open: true, until } => until,
            Answer { is_open: false, .. } => now,
        });
        let any = ticket.is_some() || looks_at.is_some();
        any.then(|| Box::new(Terms { ticket, looks_at, ..Terms::default() }))
    }

    pub(super) fn headers_mut(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }

    /// How the session is to end now, if it is.
    pub(super) fn end(&mut self, service: &Service, now: u64) -> Option<End> {
        self.looks_at.filter(|&at| at <= now)?;
        let Answer { is_open, until } = ending_hours(service)?.ask(now);
        self.looks_at = Some(until);
        (!is_open).then_some(End::OutsideTime)
    }

    /// When that is to be asked next, in milliseconds.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.looks_at
    }
}

/// The hours of a service whose sessions end when their time is over.
fn ending_hours(service: &Service) -> Option<&Hours> {
    service.hours.as_deref().filter(|hours| hours.end_outside)
}
