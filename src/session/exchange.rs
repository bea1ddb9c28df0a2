//! Sessions of senders of datagrams that end when these have asked so often, or have been answered.
//!
//! Nobody closes such a session, so it would otherwise last until it is idle for long enough.

use super::{End, Phase, Session, Terms};
use crate::endpoint::{Endpoint, Lifetime};
use crate::service;
use crate::service::Service;

/// What a client without a connection has asked.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Datagrams that came from it.
    requests: u64,
    /// All that was to be asked and answered has been.
    is_complete: bool,
}

/// The terms of a session that begins with this client, which end it after so many datagrams if its service says so.
pub(super) fn begin<E: Endpoint>(client: &E, service: &Service, terms: Option<Box<Terms>>) -> Option<Box<Terms>> {
    if service.exchange == service::Exchange::default() || client.lifetime() != Lifetime::Idleness {
        return terms;
    }
    let mut terms = terms.unwrap_or_default();
    terms.exchange = Some(Exchange::default());
    terms.is_timed = true;
    Some(terms)
}

impl<E: Endpoint> Session<E> {
    /// Notes that so many datagrams of the client have come.
    pub(super) fn note_requests(&mut self, count: usize) {
        if let Some(exchange) = self.terms.as_mut().and_then(|terms| terms.exchange.as_mut()) {
            exchange.requests += count as u64;
        }
    }

    /// Whether what its client sends next is not for this session, as that is about to end.
    pub fn takes_no_more(&self) -> bool {
        let exchange = self.terms.as_ref().and_then(|terms| terms.exchange.as_ref());
        exchange.is_some_and(|exchange| exchange.is_complete)
    }

    /// Has the session end, once, if everything was asked and answered. Returns whether it is to.
    pub(super) fn complete_exchange(&mut self) -> bool {
        if !self.is_answered() {
            return false;
        }
        self.upstream.end();
        if let Some(exchange) = self.terms.as_mut().and_then(|terms| terms.exchange.as_mut()) {
            exchange.is_complete = true;
        }
        true
    }

    /// What this end is called if that was why.
    pub(super) fn end_of_exchange(&self, end: End) -> End {
        if end == End::EndOfStream && self.takes_no_more() { End::ExchangeComplete } else { end }
    }

    /// Whether everything was asked and answered, which was not known yet.
    fn is_answered(&self) -> bool {
        let exchange = self.terms.as_ref().and_then(|terms| terms.exchange.as_ref());
        let Some(exchange) = exchange.filter(|exchange| !exchange.is_complete) else { return false };
        let Some(responses) = self.service.exchange.responses else { return false };
        let is_open = matches!(self.phase, Phase::Open { .. });
        if !is_open || self.upstream.keeps() || self.downstream.keeps() {
            return false;
        }
        if self.service.exchange.requests.is_some_and(|most| exchange.requests < u64::from(most.get())) {
            return false;
        }
        let (up, down) = (self.upstream.counts(), self.downstream.counts());
        // Nobody answers what was not sent.
        let asked = exchange.requests.saturating_sub(up.dropped);
        down.taken + down.dropped >= asked.saturating_mul(responses.into())
    }
}
