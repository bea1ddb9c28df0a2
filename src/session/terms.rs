//! What only some sessions have, as their service asks for it: a place among those that are counted, a time to end.

use crate::service::Service;
use crate::service::limits::Ticket;

/// What a session has beside what all have. It is boxed, so that sessions without it cost nothing.
#[derive(Debug)]
pub struct Terms {
    /// Its place in the limits of its service, given back when it is dropped.
    pub ticket: Option<Ticket>,
}

impl Terms {
    /// Those of a session that begins now; `None`: there are none.
    pub fn new(service: &Service, ticket: Option<Ticket>, now: u64) -> Option<Box<Terms>> {
        let _ = (service, now);
        ticket.is_some().then(|| Box::new(Terms { ticket }))
    }
}
