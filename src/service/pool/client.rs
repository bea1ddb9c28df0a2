//! What a client is recognised by when it comes again.

use std::net::IpAddr;

/// What a client's address comes to, without its port: the same in every process and on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

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
        ClientKey(hash(bytes))
    }
}

/// FNV-1a (RFC 9923), whose last step is repeated on other bits by whoever needs all of them to be mixed.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
