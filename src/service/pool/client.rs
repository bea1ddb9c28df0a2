//! What a client is recognised by when it comes again.

use std::net::IpAddr;

use super::mix::{fnv1a, splitmix64};

/// What a client's address comes to, without its port: the same in every process and on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

/// Clients with the same number of so many bits have the same remote.
pub const BUCKET_BITS: u32 = 20;

impl ClientKey {
    /// Of an IP address; an IPv4 address that is written as an IPv6 one is the same.
    pub fn of_ip(ip: IpAddr) -> ClientKey {
        match ip.to_canonical() {
            IpAddr::V4(ip) => ClientKey::of_bytes(&ip.octets()),
            IpAddr::V6(ip) => ClientKey::of_bytes(&ip.octets()),
        }
    }

    /// Of any other address.
    pub fn of_bytes(bytes: &[u8]) -> ClientKey {
        ClientKey(fnv1a(bytes))
    }

    /// Which of the 2^20 groups of clients it is in, of which each has one remote.
    pub fn bucket(self) -> u32 {
        (splitmix64(self.0) >> (u64::BITS - BUCKET_BITS)) as u32
    }
}
