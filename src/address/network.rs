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
        let first = match network.first() {
            IpAddr::V4(first) if address.is_ipv6() => IpAddr::V6(first.to_ipv6_mapped()),
            first => first,
        };
        if first != address {
            return Err(format!("the address has bits after the first {length}; its network is {first}/{length}"));
        }
        Ok(network)
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

/// A set of addresses. A million networks take 9 MB (IPv4) or 33 MB (IPv6).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Blocks<u32>,
    v6: Blocks<u128>,
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Networks").field("v4", &self.v4.all.len()).field("v6", &self.v6.all.len()).finish()
    }
}

impl Networks {
    /// Whether an address is in one of them; it must be canonical ([`IpAddr::to_canonical`]).
    #[inline]
    pub fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.have(address.into()),
            IpAddr::V6(address) => self.v6.have(address.into()),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.all.is_empty() && self.v6.all.is_empty()
    }
}

impl FromIterator<Network> for Networks {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Networks {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                Network::V4(block) => v4.push(block),
                Network::V6(block) => v6.push(block),
            }
        }
        Networks { v4: Blocks::new(v4), v6: Blocks::new(v6) }
    }
}

/// Blocks in their order and apart, below a tree of the numbers at which they begin.
#[derive(Clone, PartialEq, Eq)]
struct Blocks<N> {
    all: Vec<Block<N>>,
    /// The first has the first number of each [`FAN`]-th block, and each other one each [`FAN`]-th of those in the one
    /// before it; the last has no more than [`FAN`]. So a search looks at few lines of memory that are far apart.
    levels: Vec<Vec<N>>,
}

/// How many blocks, or numbers, one number of the level above stands for.
const FAN: usize = 16;

impl<N> Default for Blocks<N> {
    fn default() -> Blocks<N> {
        Blocks { all: Vec::new(), levels: Vec::new() }
    }
}

impl<N: Number> Blocks<N> {
    /// Sorts blocks, in place, and puts those together that touch.
    fn new(mut all: Vec<Block<N>>) -> Blocks<N> {
        all.sort_unstable_by_key(|block| block.first);
        all.dedup_by(|next, block| {
            let touches = block.last.next().is_none_or(|after| next.first <= after);
            if touches {
                block.last = block.last.max(next.last);
            }
            touches
        });
        all.shrink_to_fit();
        let mut levels = Vec::new();
        let mut level: Vec<N> = all.iter().step_by(FAN).map(|block| block.first).collect();
        while level.len() > 1 {
            let above = level.iter().copied().step_by(FAN).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        Blocks { all, levels }
    }

    fn have(&self, number: N) -> bool {
        // The one that may have it is the last that does not begin behind it. Which group of the next level it is in:
        let mut group = 0;
        for level in self.levels.iter().rev() {
            let from = group * FAN;
            let numbers = &level[from..level.len().min(from + FAN)];
            group = from + numbers.partition_point(|first| *first <= number).saturating_sub(1);
        }
        let from = group * FAN;
        let blocks = &self.all[from..self.all.len().min(from + FAN)];
        let behind = blocks.partition_point(|block| block.first <= number);
        behind.checked_sub(1).is_some_and(|at| number <= blocks[at].last)
    }
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
        assert_eq!((some.v4.all.len(), some.v6.all.len()), (3, 1));
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
        assert_eq!((all.v4.all.len(), has(&all, "0.0.0.0"), has(&all, "255.255.255.255")), (1, true, true));
        assert!(!has(&all, "::1") && !all.is_empty() && set(&[]).is_empty());
    }

    #[test]
    fn a_set_of_any_size_has_what_its_networks_have_and_nothing_between() {
        for count in [0, 1, 2, 15, 16, 17, 31, 33, 255, 256, 257, 272, 273, 4095, 4096, 4097, 70_000_u32] {
            // Of each three numbers, the second and the third.
            let blocks = (0..count).rev().map(|n| Block { first: n * 3 + 1, last: n * 3 + 2 });
            let set: Networks = blocks.map(Network::V4).collect();
            for number in 0..count * 3 + 3 {
                let expected = number % 3 != 0 && number < count * 3;
                assert_eq!(set.contain(Ipv4Addr::from(number).into()), expected, "{number} of {count}");
            }
        }
    }
}
