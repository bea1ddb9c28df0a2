//! What only some sessions have, as their service asks for it: a place among those that are counted, a time to end, who
//! the client is by its header.

use super::header::Headers;
use crate::service::Service;
use crate::service::limits::Ticket;

/// What a session has beside what all have. It is boxed, so that sessions without it cost nothing.
#[derive(Debug, Default)]
pub struct Terms {
    /// Its place in the limits of its service, given back when it is dropped.
    pub ticket: Option<Ticket>,
    /// What headers of the PROXY protocol say of it.
    pub headers: Option<Box<Headers>>,
}

impl Terms {
    /// Those of a session that begins now; `None`: there are none.
    pub fn new(service: &Service, ticket: Option<Ticket>, now: u64) -> Option<Box<Terms>> {
        let _ = (service, now);
        ticket.is_some().then(|| Box::new(Terms { ticket, ..Terms::default() }))
    }

    pub(super) fn headers_mut(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }
}
