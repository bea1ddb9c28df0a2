//! Who may come in: the rules of a service, as those who accept ask them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::{Block, Network, Networks, Number};
use crate::config::access::{AccessRule, Clients, Decision, NetworkFile};
use crate::proxy_header::Addresses;

/// What rules know of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// It has an IP address; one of IPv4 that is written as one of IPv6 is the former.
    Ip(IpAddr),
    /// It is at a Unix socket.
    Unix,
}

impl ClientAddress {
    /// That of the client of whom a header of the PROXY protocol speaks; `None`: it names none.
    pub fn in_header(addresses: &Addresses) -> Option<ClientAddress> {
        match addresses {
            Addresses::Local | Addresses::Unknown => None,
            Addresses::Ip { source, .. } => Some(ClientAddress::Ip(source.ip())),
            Addresses::Unix { .. } => Some(ClientAddress::Unix),
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAddress::Ip(address) => write!(f, "{}", address.to_canonical()),
            ClientAddress::Unix => f.write_str("a Unix socket"),
        }
    }
}

/// The rules of a service that has some.
#[derive(Debug)]
pub struct Access {
    /// In their order; the first that has an address decides.
    parts: Vec<Part>,
    /// Whether clients of Unix sockets are let in.
    unix: bool,
    /// Whether those are let in that no part has.
    others: bool,
}

/// Addresses, and whether they are let in.
#[derive(Debug)]
struct Part {
    allow: bool,
    networks: Listed,
}

#[derive(Debug)]
enum Listed {
    /// Of rules with a network each.
    Here(Networks),
    /// Of a file, which the settings have as well.
    File(Arc<NetworkFile>),
}

impl Part {
    fn has(&self, address: IpAddr) -> bool {
        match &self.networks {
            Listed::Here(networks) => networks.contain(address),
            Listed::File(file) => file.networks.contain(address),
        }
    }
}

impl Access {
    /// Those of a service, if it has any.
    pub fn new(rules: &[AccessRule]) -> Option<Access> {
        if rules.is_empty() {
            return None;
        }
        let allows = |rule: &AccessRule| rule.decision == Decision::Allow;
        let others = !rules.iter().any(allows);
        let unix =
            rules.iter().find(|rule| matches!(rule.clients, Clients::All | Clients::Unix)).map_or(others, allows);
        let mut parts = Vec::new();
        let mut run = Vec::new();
        for rule in rules {
            let allow = allows(rule);
            match &rule.clients {
                Clients::All => run.extend([(Network::ALL_V4, allow), (Network::ALL_V6, allow)]),
                Clients::Unix => {}
                Clients::In(network, _) => run.push((*network, allow)),
                Clients::Listed(file) => {
                    add_run(&mut run, &mut parts);
                    parts.push(Part { allow, networks: Listed::File(file.clone()) });
                }
            }
        }
        add_run(&mut run, &mut parts);
        Some(Access { parts, unix, others })
    }

    /// Whether a client is let in.
    pub fn decide(&self, client: ClientAddress) -> bool {
        match client {
            ClientAddress::Ip(address) => {
                let address = address.to_canonical();
                self.parts.iter().find(|part| part.has(address)).map_or(self.others, |part| part.allow)
            }
            ClientAddress::Unix => self.unix,
        }
    }
}

/// Adds what a run of rules comes to, two sets that have nothing in common: which of them stands first does not matter.
fn add_run(run: &mut Vec<(Network, bool)>, parts: &mut Vec<Part>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (order, (network, allow)) in run.drain(..).enumerate() {
        match network {
            Network::V4(block) => v4.push(Ranked { block, order, allow }),
            Network::V6(block) => v6.push(Ranked { block, order, allow }),
        }
    }
    let (v4, v6) = (first_matches(v4), first_matches(v6));
    for allow in [true, false] {
        let v4 = v4.iter().filter(|(_, decision)| *decision == allow).map(|(block, _)| Network::V4(*block));
        let v6 = v6.iter().filter(|(_, decision)| *decision == allow).map(|(block, _)| Network::V6(*block));
        let networks: Networks = v4.chain(v6).collect();
        if !networks.is_empty() {
            parts.push(Part { allow, networks: Listed::Here(networks) });
        }
    }
}

/// A network in a list of rules.
#[derive(Debug, Clone, Copy)]
struct Ranked<N> {
    block: Block<N>,
    /// Its place in the list.
    order: usize,
    allow: bool,
}

/// Blocks that have nothing in common, each with what the first network that has it says.
///
/// Of two networks, one is in the other, or they are apart. So those that have an address are nested. One that is in an
/// earlier one never decides and is left out; of those that are left, the innermost is the first.
fn first_matches<N: Number>(mut networks: Vec<Ranked<N>>) -> Vec<(Block<N>, bool)> {
    networks
        .sort_unstable_by_key(|network| (network.block.first, std::cmp::Reverse(network.block.last), network.order));
    let mut pieces = Vec::new();
    // The networks around the place that has been reached, each in the one before it, and that place.
    let mut around: Vec<Ranked<N>> = Vec::new();
    let mut reached: Option<N> = None;
    for network in networks {
        let first = network.block.first;
        leave(&mut around, &mut reached, &mut pieces, |last| last < first);
        if let Some(outer) = around.last() {
            if outer.order < network.order {
                continue;
            }
            let from = reached.unwrap_or(first);
            if from < first {
                pieces.push((Block { first: from, last: first.previous() }, outer.allow));
            }
        }
        reached = Some(first);
        around.push(network);
    }
    leave(&mut around, &mut reached, &mut pieces, |_| true);
    pieces
}

/// Leaves the networks whose last address is behind, and adds what is left of them.
fn leave<N: Number>(
    around: &mut Vec<Ranked<N>>,
    reached: &mut Option<N>,
    pieces: &mut Vec<(Block<N>, bool)>,
    is_behind: impl Fn(N) -> bool,
) {
    while around.last().is_some_and(|inner| is_behind(inner.block.last)) {
        let Some(inner) = around.pop() else { break };
        // Nothing is reached any more behind the last address of all, and nothing of those around it is left.
        let Some(first) = *reached else { continue };
        let last = inner.block.last;
        if first <= last {
            pieces.push((Block { first, last }, inner.allow));
            *reached = last.next();
        }
    }
}

#[cfg(test)]
mod tests;
