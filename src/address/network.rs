//! Networks of IP addresses, and sets of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// Of IPv4.
    V4(Block<u32>),
    /// Of IPv6.
    V6(Block<u128>),
}

/// Numbers from the first to the last, both among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<N> {
    /// The first one.
    pub first: N,
    /// The last one, never less than the first.
    pub last: N,
}

/// An address as a number.
pub trait Number: Copy + Ord {
    /// The one after it; `None`: it is the last of all.
    fn next(self) -> Option<Self>;
    /// The one before it, which there is.
    fn previous(self) -> Self;
}

impl Number for u32 {
    fn next(self) -> Option<u32> {
        self.checked_add(1)
    }

    fn previous(self) -> u32 {
        self.wrapping_sub(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<u128> {
        self.checked_add(1)
    }

    fn previous(self) -> u128 {
        self.wrapping_sub(1)
    }
}

/// Bits of an IPv6 address before those of the IPv4 address that it maps to.
const MAPPED: u32 = 96;

impl Network {
    /// Every address of IPv4.
    pub const ALL_V4: Network = Network::V4(Block { first: 0, last: u32::MAX });
    /// Every address of IPv6.
    pub const ALL_V6: Network = Network::V6(Block { first: 0, last: u128::MAX });

    /// Reads `192.0.2.0/24`, `2001:db8::/32` or an address alone. What maps to IPv4 is the network that it maps to.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn parse(text: &str) -> Result<Network, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| EXPECTED.to_string())?;
        let bits = if address.is_ipv4() { u32::BITS } else { u128::BITS };
        let length = length.map_or(Ok(bits), |length| {
            let digits = (1..=3).contains(&length.len()) && length.bytes().all(|byte| byte.is_ascii_digit());
            let length = length.parse().ok().filter(|length| digits && *length <= bits);
            length.ok_or_else(|| format!("expected a whole number from 0 to {bits} after the /"))
        })?;
        let network = match address {
            IpAddr::V4(address) => Network::v4(address, length),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) if length >= MAPPED => Network::v4(mapped, length - MAPPED),
                _ => Network::v6(address, length),
            },
        };
        if network.first() == address.to_canonical() || network.first() == address {
            Ok(network)
        } else {
            Err(format!("the address has bits after the first {length}; its network is {}/{length}", {
                let first = network.first();
                match (address, first) {
                    (IpAddr::V6(_), IpAddr::V4(first)) => IpAddr::V6(first.to_ipv6_mapped()),
                    _ => first,
                }
            }))
        }
    }

    fn v4(address: Ipv4Addr, length: u32) -> Network {
        let host = u32::MAX.checked_shr(length).unwrap_or(0);
        let address = u32::from(address);
        Network::V4(Block { first: address & !host, last: address | host })
    }

    fn v6(address: Ipv6Addr, length: u32) -> Network {
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let address = u128::from(address);
        Network::V6(Block { first: address & !host, last: address | host })
    }

    fn first(&self) -> IpAddr {
        match self {
            Network::V4(block) => IpAddr::V4(block.first.into()),
            Network::V6(block) => IpAddr::V6(block.first.into()),
        }
    }
}

/// What is expected of a text that is no address.
const EXPECTED: &str = "expected an IPv4 or IPv6 address, perhaps with a / and the length of its network behind it";

/// A set of addresses: the blocks that its networks come to, sorted and apart, so that the one that may have an address
/// is found by halving. A million networks take 8 MB (IPv4) or 32 MB (IPv6).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Block<u32>>,
    v6: Vec<Block<u128>>,
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").field("v4", &self.v4.len()).field("v6", &self.v6.len()).finish()
    }
}

impl Networks {
    /// Whether an address is in one of them; it must be canonical ([`IpAddr::to_canonical`]).
    #[inline]
    pub fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => has(&self.v4, address.into()),
            IpAddr::V6(address) => has(&self.v6, address.into()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Networks {
        let mut set = Networks::default();
        for network in networks {
            match network {
                Network::V4(block) => set.v4.push(block),
                Network::V6(block) => set.v6.push(block),
            }
        }
        tidy(&mut set.v4);
        tidy(&mut set.v6);
        set
    }
}

fn has<N: Number>(blocks: &[Block<N>], number: N) -> bool {
    let behind = blocks.partition_point(|block| block.first <= number);
    behind.checked_sub(1).is_some_and(|at| number <= blocks[at].last)
}

/// Sorts blocks and puts those together that touch, in place.
fn tidy<N: Number>(blocks: &mut Vec<Block<N>>) {
    blocks.sort_unstable_by_key(|block| block.first);
    blocks.dedup_by(|next, block| {
        let touches = block.last.next().is_none_or(|after| next.first <= after);
        if touches {
            block.last = block.last.max(next.last);
        }
        touches
    });
    blocks.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_what_is_none_is_told() {
        let v4 = |first, last| Ok(Network::V4(Block { first, last }));
        let v6 = |first, last| Ok(Network::V6(Block { first, last }));
        for (text, expected) in [
            ("10.0.0.0/8", v4(0x0a00_0000, 0x0aff_ffff)),
            ("192.0.2.1", v4(0xc000_0201, 0xc000_0201)),
            ("192.0.2.1/32", v4(0xc000_0201, 0xc000_0201)),
            ("0.0.0.0/0", Ok(Network::ALL_V4)),
            ("::/0", Ok(Network::ALL_V6)),
            ("::1", v6(1, 1)),
            ("2001:db8::/32", v6(0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1)),
            ("::ffff:10.0.0.0/104", v4(0x0a00_0000, 0x0aff_ffff)),
            ("::ffff:192.0.2.1", v4(0xc000_0201, 0xc000_0201)),
            ("::ffff:0:0/96", Ok(Network::ALL_V4)),
        ] {
            assert_eq!(Network::parse(text), expected, "{text}");
        }
        for (text, expected) in [
            ("", EXPECTED),
            ("10.0.0.0.0/8", EXPECTED),
            ("10.0.0/8", EXPECTED),
            ("fe80::1%eth0", EXPECTED),
            ("localhost", EXPECTED),
            ("10.0.0.0/", "expected a whole number from 0 to 32 after the /"),
            ("10.0.0.0/33", "expected a whole number from 0 to 32 after the /"),
            ("10.0.0.0/+8", "expected a whole number from 0 to 32 after the /"),
            ("::/129", "expected a whole number from 0 to 128 after the /"),
            ("10.1.2.3/8", "the address has bits after the first 8; its network is 10.0.0.0/8"),
            ("2001:db8::1/32", "the address has bits after the first 32; its network is 2001:db8::/32"),
            ("::ffff:10.1.2.3/104", "the address has bits after the first 104; its network is ::ffff:10.0.0.0/104"),
            ("::ffff:0:0/95", "the address has bits after the first 95; its network is ::fffe:0:0/95"),
        ] {
            assert_eq!(Network::parse(text), Err(expected.to_string()), "{text}");
        }
    }

    #[test]
    fn a_set_has_what_its_networks_have() {
        let set = |texts: &[&str]| texts.iter().map(|text| Network::parse(text).unwrap()).collect::<Networks>();
        let has = |set: &Networks, address: &str| set.contain(address.parse().unwrap());
        let some = set(&["10.0.0.128/25", "10.0.0.0/25", "10.0.0.7", "192.0.2.255", "255.255.255.255", "::/128"]);
        assert_eq!((some.v4.len(), some.v6.len()), (3, 1));
        for (address, expected) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.0.255", true),
            ("10.0.1.0", false),
            ("192.0.2.254", false),
            ("192.0.2.255", true),
            ("255.255.255.254", false),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", false),
        ] {
            assert_eq!(has(&some, address), expected, "{address}");
        }
        let all = set(&["0.0.0.0/1", "128.0.0.0/1", "255.0.0.0/8"]);
        assert_eq!((all.v4.len(), has(&all, "0.0.0.0"), has(&all, "255.255.255.255")), (1, true, true));
        assert!(!has(&all, "::1") && !all.is_empty() && set(&[]).is_empty());
    }
}
