//! What is said of clients that a service's rules refuse.

use log::warn;

use crate::service::Service;
use crate::service::access::{Access, ClientAddress};

/// Whether a service lets a client in; one without an address, a device, always is. One that is refused is counted, and
/// now and then the log says how many they are.
#[inline]
pub fn lets_in(service: &Service, client: impl FnOnce() -> Option<ClientAddress>) -> bool {
    match &service.access {
        None => true,
        Some(access) => client().is_none_or(|client| decide(service, access, client)),
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
