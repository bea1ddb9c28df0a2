//! What SRV records come to: remotes with weights.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Found;
use crate::address::EndpointAddress;
use crate::config::settings::RemoteSettings;

/// An SRV record whose host has been resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As the record has it.
    pub priority: u16,
    /// As the record has it.
    pub weight: u16,
    /// What the host stands for.
    pub addresses: Vec<SocketAddr>,
}

/// Weights have this unit until they are scaled, so that they can be divided.
const UNIT: u64 = 1 << 16;

/// The remotes that these records are, each once: those of the lowest priority, and all others as backups. A host's weight
/// is shared out to its addresses. Weights keep their proportions: they stay as they are where all are whole and within
/// what weights may be, and otherwise the largest becomes the largest that there is. The weight 0 is as little as can be.
pub fn found(targets: &[Target], kind: fn(SocketAddr) -> EndpointAddress) -> Vec<Found> {
    // What counts is whoever can be used, so a host without an address does not make others backups.
    let usable = targets.iter().filter(|target| !target.addresses.is_empty());
    let Some(lowest) = usable.clone().map(|target| target.priority).min() else { return Vec::new() };
    let mut shares: HashMap<SocketAddr, (bool, u64)> = HashMap::new();
    for target in usable {
        let is_backup = target.priority > lowest;
        let share = u64::from(target.weight) * UNIT / target.addresses.len() as u64;
        for &address in &target.addresses {
            let entry = shares.entry(address).or_insert((is_backup, 0));
            match (entry.0, is_backup) {
                // Two records for one address: it gets what both get.
                (true, true) | (false, false) => entry.1 += share,
                (true, false) => *entry = (false, share),
                (false, true) => {}
            }
        }
    }
    let scale =
        [false, true].map(|tier| Scale::new(shares.values().filter(|share| share.0 == tier).map(|share| share.1)));
    let found = shares.into_iter().map(|(address, (is_backup, share))| {
        let weight = Some(scale[usize::from(is_backup)].weight(share));
        Found { address: kind(address), weight, is_backup }
    });
    found.collect()
}

/// What shares are multiplied with to be weights.
struct Scale {
    largest: u64,
    is_one: bool,
}

impl Scale {
    fn new(shares: impl Iterator<Item = u64> + Clone) -> Scale {
        let largest = shares.clone().max().unwrap_or(0);
        let is_whole = |share: u64| share % UNIT == 0 && (1..=MOST).contains(&(share / UNIT));
        Scale { largest, is_one: shares.clone().all(is_whole) }
    }

    fn weight(&self, share: u64) -> u16 {
        let weight = match self {
            Scale { is_one: true, .. } => share / UNIT,
            // All are 0.
            Scale { largest: 0, .. } => 1,
            Scale { largest, .. } => (share * MOST + largest / 2) / largest,
        };
        weight.clamp(1, MOST) as u16
    }
}

const MOST: u64 = RemoteSettings::MAX_WEIGHT as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, addresses: &[&str]) -> Target {
        Target { priority, weight, addresses: addresses.iter().map(|address| address.parse().unwrap()).collect() }
    }

    fn shares(targets: &[Target]) -> Vec<(String, u16, bool)> {
        let found = found(targets, EndpointAddress::Tcp);
        let shown = |found: &Found| (found.address.to_string(), found.weight.unwrap(), found.is_backup);
        let mut shares: Vec<_> = found.iter().map(shown).collect();
        shares.sort();
        shares
    }

    fn weights(weights: &[u16]) -> Vec<u16> {
        let target = |(number, &weight)| Target {
            priority: 7,
            weight,
            addresses: vec![SocketAddr::from(([10, 0, 0, 1], number as u16))],
        };
        let targets: Vec<Target> = weights.iter().enumerate().map(target).collect();
        let mut found = found(&targets, EndpointAddress::Tcp);
        found.sort_by_key(|found| found.address.port());
        assert!(found.iter().all(|found| !found.is_backup));
        found.iter().map(|found| found.weight.unwrap()).collect()
    }

    #[test]
    fn weights_keep_their_proportions_and_are_weights() {
        assert_eq!(weights(&[5, 1, 1]), [5, 1, 1]);
        assert_eq!(weights(&[256, 1]), [256, 1]);
        assert_eq!(weights(&[1000, 500, 250]), [256, 128, 64]);
        assert_eq!(weights(&[65535, 65535]), [256, 256]);
        // As little as can be, but something.
        assert_eq!(weights(&[65535, 1]), [256, 1]);
        assert_eq!(weights(&[10, 10, 0]), [256, 256, 1]);
        assert_eq!(weights(&[0, 0]), [1, 1]);
        assert_eq!(weights(&[0]), [1]);
    }

    #[test]
    fn higher_priorities_are_backups_with_weights_of_their_own() {
        let targets =
            [target(20, 1000, &["10.0.0.2:1"]), target(10, 3, &["10.0.0.1:1"]), target(30, 500, &["10.0.0.3:1"])];
        let expected =
            [("10.0.0.1:1".into(), 3, false), ("10.0.0.2:1".into(), 256, true), ("10.0.0.3:1".into(), 128, true)];
        assert_eq!(shares(&targets), expected);
        // One that has no address is no reason to use the others only if it fails.
        let targets = [target(10, 1, &[]), target(20, 1, &["10.0.0.2:1"])];
        assert_eq!(shares(&targets), [("10.0.0.2:1".into(), 1, false)]);
        assert_eq!(shares(&[target(10, 1, &[])]), []);
        assert_eq!(shares(&[]), []);
    }

    #[test]
    fn a_host_with_two_addresses_gets_no_more_than_one_with_one() {
        let targets = [target(0, 10, &["10.0.0.1:1", "[::1]:1"]), target(0, 10, &["10.0.0.2:1"])];
        let expected = [("10.0.0.1:1".into(), 5, false), ("10.0.0.2:1".into(), 10, false), ("::1:1".into(), 5, false)];
        assert_eq!(shares(&targets), expected);
        let targets = [target(0, 1, &["10.0.0.1:1", "[::1]:1"]), target(0, 1, &["10.0.0.2:1"])];
        let expected =
            [("10.0.0.1:1".into(), 128, false), ("10.0.0.2:1".into(), 256, false), ("::1:1".into(), 128, false)];
        assert_eq!(shares(&targets), expected);
    }

    #[test]
    fn an_address_that_is_there_twice_is_one_remote() {
        let targets = [target(0, 1, &["10.0.0.1:1"]), target(0, 2, &["10.0.0.1:1"]), target(0, 3, &["10.0.0.1:2"])];
        assert_eq!(shares(&targets), [("10.0.0.1:1".into(), 3, false), ("10.0.0.1:2".into(), 3, false)]);
        for (first, second) in [(0, 1), (1, 0)] {
            let targets = [target(first, 7, &["10.0.0.1:1"]), target(second, 7, &["10.0.0.1:1"])];
            assert_eq!(shares(&targets), [("10.0.0.1:1".into(), 7, false)]);
        }
    }
}
