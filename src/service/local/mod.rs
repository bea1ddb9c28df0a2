//! Which address of ours connections to remotes have, as those who connect ask for it.

mod ports;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::config::origin::{ConnectFrom, OurAddress};

use ports::PortTables;
pub use ports::{Port, PortsOf};

/// An address from which no connection could be made is tried after the others for so long, in milliseconds: where the
/// system chooses the port, it looks at each of them to find that none is free.
const REST: u64 = 100;

/// Which address of ours the connections of a service have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LocalAddress {
    /// The one that the system chooses.
    #[default]
    System,
    /// One of these.
    Ours(Arc<OurAddresses>),
    /// The client's own.
    Client,
}

impl LocalAddress {
    /// As a service asks for it. What is known of ports goes on from the service before it.
    pub fn new(asked: &ConnectFrom, former: Option<&LocalAddress>) -> LocalAddress {
        match asked {
            ConnectFrom::Any => LocalAddress::System,
            ConnectFrom::Client => LocalAddress::Client,
            ConnectFrom::Ours(addresses) => {
                let former = match former {
                    Some(LocalAddress::Ours(former)) => Some(&**former),
                    _ => None,
                };
                LocalAddress::Ours(Arc::new(OurAddresses::new(addresses, former)))
            }
        }
    }
}

/// Addresses of ours that connections have in turn.
#[derive(Debug)]
pub struct OurAddresses {
    v4: Circle,
    v6: Circle,
}

/// Those of one family.
#[derive(Debug)]
struct Circle {
    addresses: Vec<Arc<Ours>>,
    /// Whose turn it is, modulo their number.
    next: AtomicUsize,
}

/// One address of ours.
#[derive(Debug)]
pub struct Ours {
    /// As it was asked for.
    pub asked: OurAddress,
    /// Where its ports are ours to choose.
    ports: Option<PortTables>,
    /// Until when others are tried before it.
    rests_until: AtomicU64,
}

impl OurAddresses {
    fn new(asked: &[OurAddress], former: Option<&OurAddresses>) -> OurAddresses {
        let circle = |is_v4: bool| {
            let of_family = asked.iter().filter(|address| address.ip.is_ipv4() == is_v4);
            let addresses = of_family.map(|address| {
                let mut known = former.into_iter().flat_map(|former| &former.circle(is_v4).addresses);
                // The sessions of the service before it have ports.
                known.find(|known| known.asked == *address).cloned().unwrap_or_else(|| Arc::new(Ours::new(*address)))
            });
            Circle { addresses: addresses.collect(), next: AtomicUsize::new(0) }
        };
        OurAddresses { v4: circle(true), v6: circle(false) }
    }

    fn circle(&self, is_v4: bool) -> &Circle {
        if is_v4 { &self.v4 } else { &self.v6 }
    }

    /// Those of the family of a peer, from the one whose turn it is; without any, the choice is the system's. `now` is in
    /// milliseconds.
    pub fn in_turn(&self, peer: SocketAddr, now: u64) -> Vec<&Arc<Ours>> {
        let Circle { addresses, next } = self.circle(peer.ip().to_canonical().is_ipv4());
        let first = next.fetch_add(1, Relaxed) % addresses.len().max(1);
        let mut all: Vec<_> = addresses[first..].iter().chain(&addresses[..first]).collect();
        all.sort_by_key(|ours| ours.rests(now));
        all
    }

    /// Whether there is one of the family of a peer.
    pub fn has_for(&self, peer: SocketAddr) -> bool {
        !self.circle(peer.ip().to_canonical().is_ipv4()).addresses.is_empty()
    }
}

impl Eq for OurAddresses {}

/// The same addresses in the same order.
impl PartialEq for OurAddresses {
    fn eq(&self, other: &OurAddresses) -> bool {
        let asked = |ours: &OurAddresses| {
            let all = ours.v4.addresses.iter().chain(&ours.v6.addresses);
            all.map(|ours| ours.asked).collect::<Vec<_>>()
        };
        asked(self) == asked(other)
    }
}

impl Ours {
    fn new(asked: OurAddress) -> Ours {
        let ports = asked.ports.map(|(first, last)| PortTables::new(first, last));
        Ours { asked, ports, rests_until: AtomicU64::new(0) }
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.asked.ip
    }

    /// Whether the system chooses its ports.
    pub fn has_any_port(&self) -> bool {
        self.ports.is_none()
    }

    /// A port for a connection to this peer; `None`: all are in use.
    pub fn take_port(&self, of: PortsOf, peer: SocketAddr, now: u64) -> Option<Port> {
        self.ports.as_ref()?.take(of, peer, now)
    }

    /// No connection could be made from it.
    pub fn rest(&self, now: u64) {
        self.rests_until.store(now + REST, Relaxed);
    }

    fn rests(&self, now: u64) -> bool {
        now < self.rests_until.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(addresses: &[&str], former: Option<&OurAddresses>) -> OurAddresses {
        let parse = |address: &&str| address.parse().expect(address);
        OurAddresses::new(&addresses.iter().map(parse).collect::<Vec<_>>(), former)
    }

    fn turn(ours: &OurAddresses, peer: &str, now: u64) -> Vec<String> {
        ours.in_turn(peer.parse().unwrap(), now).into_iter().map(|ours| ours.ip().to_string()).collect()
    }

    #[test]
    fn addresses_of_the_peers_family_have_turns() {
        let ours = ours(&["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"], None);
        assert_eq!(turn(&ours, "198.51.100.1:80", 0), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
        assert_eq!(turn(&ours, "[::ffff:198.51.100.1]:80", 0), ["192.0.2.2", "192.0.2.3", "192.0.2.1"]);
        assert_eq!(turn(&ours, "[2001:db8::2]:80", 0), ["2001:db8::1"]);
        assert_eq!(turn(&ours, "198.51.100.1:80", 0), ["192.0.2.3", "192.0.2.1", "192.0.2.2"]);
        assert_eq!(turn(&ours, "198.51.100.1:80", 0), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    }

    #[test]
    fn without_an_address_of_the_family_there_is_none() {
        let ours = ours(&["192.0.2.1"], None);
        let peer: SocketAddr = "[2001:db8::2]:80".parse().unwrap();
        assert!(!ours.has_for(peer) && ours.in_turn(peer, 0).is_empty());
        assert!(ours.has_for("198.51.100.1:80".parse().unwrap()));
    }

    #[test]
    fn one_that_rests_is_tried_last() {
        let ours = ours(&["192.0.2.1", "192.0.2.2"], None);
        let peer = "198.51.100.1:80";
        ours.v4.addresses[0].rest(10);
        assert_eq!(turn(&ours, peer, 10), ["192.0.2.2", "192.0.2.1"]);
        assert_eq!(turn(&ours, peer, 10), ["192.0.2.2", "192.0.2.1"]);
        assert_eq!(turn(&ours, peer, 10 + REST), ["192.0.2.1", "192.0.2.2"]);
    }

    #[test]
    fn a_port_that_is_in_use_is_so_after_a_reload() {
        let former = ours(&["192.0.2.1:1000-1000", "192.0.2.2:1000-1000"], None);
        let peer = "198.51.100.1:80".parse().unwrap();
        let take = |ours: &OurAddresses| {
            let ports = ours.in_turn(peer, 0).into_iter().filter_map(|ours| ours.take_port(PortsOf::Tcp, peer, 0));
            ports.collect::<Vec<_>>()
        };
        let held = take(&former);
        let now = ours(&["192.0.2.1:1000-1001", "192.0.2.2:1000-1000"], Some(&former));
        assert_eq!((held.len(), take(&now).len()), (2, 1));
        drop(held);
        assert_eq!(take(&now).len(), 2);
    }
}
