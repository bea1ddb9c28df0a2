//! What is said of clients that a service's rules refuse.

use log::warn;

use crate::service::Service;
use crate::service::access::{Access, ClientAddress};
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
    let _ = now;
    match &service.access {
        None => Ok(None),
        Some(access) if client().is_none_or(|client| decide(service, access, client)) => Ok(None),
        Some(_) => Err(Refused),
    }
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
