//! The ports of an address of ours that are in use, for each peer.
//!
//! The kernel finds a port by trying one after the other, only in its own range (`ip_local_port_range`), and one that a
//! socket is bound to by hand may fail when it is too late to take another. So it is known here which ones are in use,
//! and the next one is found without a system call.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::random::random;

/// A port that was not to be had, as another program has it or a former connection lingers, is not tried again for so
/// long, in milliseconds. After a second, Linux may give it away though a connection lingers (`tcp_tw_reuse`).
const REST: u64 = 1000;

/// From so many peers on, those without connections are looked for and forgotten.
const MANY_PEERS: usize = 64;

/// What a port is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortsOf {
    /// The same port can have a connection to each of several peers.
    Tcp,
    /// A port is bound once.
    Udp,
}

/// For whom a port may be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whose {
    Tcp(SocketAddr),
    Udp,
}

/// The ports of one address.
#[derive(Debug)]
pub struct PortTables {
    first: u16,
    last: u16,
    of: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    all: HashMap<Whose, Arc<Ports>>,
    /// With so many, those without a port in use are forgotten.
    many: usize,
}

/// The ports that are in use for one peer, or for all.
#[derive(Debug)]
struct Ports {
    first: u16,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// A bit for each, from the first; none behind the last is ever clear.
    taken: Box<[u64]>,
    /// Where the next one is looked for: the longer a port has not been used, the surer it is free.
    next: usize,
    /// Those that were not to be had, and when they are tried again.
    resting: VecDeque<(u64, u16)>,
}

/// A port that is in use until it is dropped.
#[derive(Debug)]
pub struct Port {
    ports: Arc<Ports>,
    number: u16,
    /// Until when it is not to be used by another; 0: it can be at once.
    rests_until: u64,
}

impl PortTables {
    /// None from the first to the last is in use.
    pub fn new(first: u16, last: u16) -> PortTables {
        PortTables { first, last, of: Mutex::new(Tables { all: HashMap::new(), many: MANY_PEERS }) }
    }

    /// A port for a connection to this peer. `None`: all are in use. `now` is in milliseconds.
    pub fn take(&self, of: PortsOf, peer: SocketAddr, now: u64) -> Option<Port> {
        let whose = match of {
            PortsOf::Tcp => Whose::Tcp(peer),
            PortsOf::Udp => Whose::Udp,
        };
        let ports = self.ports(whose);
        let number = ports.state().take(now)? as u16 + self.first;
        Some(Port { ports, number, rests_until: 0 })
    }

    fn ports(&self, whose: Whose) -> Arc<Ports> {
        let Tables { all, many } = &mut *lock(&self.of);
        if let Some(ports) = all.get(&whose) {
            return ports.clone();
        }
        if all.len() >= *many {
            all.retain(|_, ports| Arc::strong_count(ports) > 1);
            *many = MANY_PEERS.max(2 * all.len());
        }
        all.entry(whose).or_insert(Arc::new(Ports::new(self.first, self.last))).clone()
    }
}

impl Ports {
    fn new(first: u16, last: u16) -> Ports {
        let count = usize::from(last - first) + 1;
        let mut taken = vec![0; count.div_ceil(64)].into_boxed_slice();
        if let Some(last) = taken.last_mut().filter(|_| count % 64 > 0) {
            *last = u64::MAX << (count % 64);
        }
        // Another process may have begun at the first, or this one before.
        let next = random().map_or(0, u64::from_ne_bytes) as usize % count;
        Ports { first, state: Mutex::new(State { taken, next, resting: VecDeque::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Takes the next one that is free, counted from the first.
    fn take(&mut self, now: u64) -> Option<usize> {
        while let Some(&(_, place)) = self.resting.front().filter(|(until, _)| *until <= now) {
            self.resting.pop_front();
            self.give_back(place.into());
        }
        let place = self.free_from(self.next).or_else(|| self.free_from(0))?;
        self.taken[place / 64] |= 1 << (place % 64);
        self.next = if place + 1 < self.taken.len() * 64 { place + 1 } else { 0 };
        Some(place)
    }

    /// The first one that is free from this place on.
    fn free_from(&self, from: usize) -> Option<usize> {
        let before = (1 << (from % 64)) - 1;
        let words = self.taken.iter().enumerate().skip(from / 64);
        words
            .map(|(number, taken)| (number, if number == from / 64 { taken | before } else { *taken }))
            .find(|(_, taken)| *taken != u64::MAX)
            .map(|(number, taken)| number * 64 + taken.trailing_ones() as usize)
    }

    fn give_back(&mut self, place: usize) {
        self.taken[place / 64] &= !(1 << (place % 64));
    }
}

impl Port {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// It was not to be had: it is left alone for a while.
    pub fn rest(mut self, now: u64) {
        self.rests_until = now + REST;
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let place = self.number - self.ports.first;
        let mut state = self.ports.state();
        match self.rests_until {
            0 => state.give_back(place.into()),
            until => state.resting.push_back((until, place)),
        }
    }
}

/// What is locked is never left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn take(tables: &PortTables, now: u64) -> Option<Port> {
        tables.take(PortsOf::Tcp, peer(1), now)
    }

    #[test]
    fn each_port_of_a_range_is_taken_once_and_no_other() {
        for (first, last) in [(1, 1), (5, 6), (100, 163), (100, 164), (1, 65535), (65535, 65535), (1000, 2000)] {
            let tables = PortTables::new(first, last);
            let held: Vec<Port> = std::iter::from_fn(|| take(&tables, 0)).collect();
            let numbers: BTreeSet<u16> = held.iter().map(Port::number).collect();
            assert_eq!(numbers, (first..=last).collect(), "{first} to {last}");
            assert_eq!(held.len(), numbers.len());
            // The one that is given back is the next.
            let number = held[held.len() / 2].number();
            let mut held = held;
            held.retain(|port| port.number() != number);
            assert_eq!(take(&tables, 0).map(|port| port.number()), Some(number));
        }
    }

    #[test]
    fn the_port_that_was_not_used_for_longest_is_next() {
        let tables = PortTables::new(1000, 1099);
        let numbers: Vec<u16> = (0..200).map(|_| take(&tables, 0).expect("one is free").number()).collect();
        for (number, next) in numbers.iter().zip(&numbers[1..]) {
            assert_eq!(*next, if *number == 1099 { 1000 } else { number + 1 });
        }
    }

    #[test]
    fn one_that_was_not_to_be_had_rests() {
        let tables = PortTables::new(1000, 1002);
        take(&tables, 5).expect("one is free").rest(5);
        let held = [take(&tables, 5), take(&tables, 5)];
        assert!(held.iter().all(Option::is_some));
        assert!(take(&tables, 4 + REST).is_none());
        assert!(take(&tables, 5 + REST).is_some());
    }

    #[test]
    fn each_peer_of_tcp_has_all_ports_and_those_of_udp_share_them() {
        let tables = PortTables::new(1000, 1000);
        let _tcp = [1, 2, 3].map(|number| tables.take(PortsOf::Tcp, peer(number), 0).expect("one is free"));
        let _udp = tables.take(PortsOf::Udp, peer(1), 0).expect("one is free");
        assert!(tables.take(PortsOf::Tcp, peer(2), 0).is_none());
        assert!(tables.take(PortsOf::Udp, peer(2), 0).is_none());
    }

    #[test]
    fn peers_without_connections_are_forgotten() {
        let tables = PortTables::new(1, 65535);
        let kept: Vec<Port> =
            (1..100).map(|number| tables.take(PortsOf::Tcp, peer(number), 0).expect("one is free")).collect();
        for number in 100..5000 {
            drop(tables.take(PortsOf::Tcp, peer(number), 0));
        }
        assert!(lock(&tables.of).all.len() <= 2 * kept.len());
        // Those that have some are not.
        let port = |number| tables.take(PortsOf::Tcp, peer(number), 0).expect("one is free").number();
        assert!(kept.iter().zip(1..).all(|(kept, number)| port(number) != kept.number()));
    }

    #[test]
    fn threads_never_have_the_same_port() {
        let tables = PortTables::new(1, 40);
        let holders = [const { std::sync::atomic::AtomicU32::new(0) }; 41];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        let Some(port) = take(&tables, 0) else { continue };
                        let holder = &holders[usize::from(port.number())];
                        assert_eq!(holder.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        holder.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
