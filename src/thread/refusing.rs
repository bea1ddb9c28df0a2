//! What is said of clients that a service's rules refuse, or its hours.

use log::warn;

use crate::service::Service;
use crate::service::access::{Access, ClientAddress};
use crate::service::hours::Hours;
use crate::service::limits::Ticket;

/// A service does not let this client in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Lets a client in, with its place in the limits of the service, if it has some. A device, which has no address, always
/// is let in.
///
/// # Errors
///
/// The service refuses it. It has been counted, and now and then the log says how many they are.
#[inline]
pub fn let_in(
    service: &Service,
    client: impl FnOnce() -> Option<ClientAddress>,
    now: impl FnOnce() -> u64,
) -> Result<Option<Ticket>, Refused> {
    if service.access.is_none() && service.hours.is_none() {
        return Ok(None);
    }
    let Some(client) = client() else { return Ok(None) };
    let by_rules = || service.access.as_ref().is_none_or(|access| decide(service, access, client));
    let by_hours = || service.hours.as_ref().is_none_or(|hours| is_time(service, hours, client, now()));
    if by_rules() && by_hours() { Ok(None) } else { Err(Refused) }
}

fn is_time(service: &Service, hours: &Hours, client: ClientAddress, now: u64) -> bool {
    let is_time = hours.ask(now).is_open;
    if !is_time {
        if let Some(count) = hours.count_refusal() {
            let line = format_args!("refused outside the allowed times so far: {count}, the last one from {client}");
            warn!("{}", service.named(&line));
        }
    }
    is_time
}

fn decide(service: &Service, access: &Access, client: ClientAddress) -> bool {
    let is_let_in = access.decide(client);
    if !is_let_in {
        if let Some(count) = access.count_refusal() {
            let line = format_args!("refused by the access rules so far: {count}, the last one from {client}");
            warn!("{}", service.named(&line));
        }
    }
    is_let_in
}
