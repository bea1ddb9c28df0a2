//! The header of the PROXY protocol: what a proxy says of a connection, before the first byte of it.
//!
//! Both versions are those of the specification by HAProxy (`proxy-protocol.txt`, 2026-04-27). Nothing here knows a
//! socket or a clock: bytes come in, and bytes go out.

mod malformed;
mod tlvs;
mod v1;
mod v2;

use std::net::SocketAddr;

pub use malformed::{End, Malformed};
pub use tlvs::{Tlv, Tlvs};

/// The longest header that is taken, in bytes: of version 2 with all that may stand behind its first 16 bytes. So many
/// bytes are never [`Parsed::Incomplete`].
pub const MOST: usize = v2::FIXED + v2::MOST_BEHIND;

/// The shortest header of either version, in bytes: `PROXY UNKNOWN\r\n`.
const LEAST: usize = 15;

/// What a header says of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Between whom the connection is.
    pub addresses: Addresses,
    /// What else is said of it. Version 1 has no room for this.
    pub tlvs: Tlvs,
}

/// Between whom a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addresses {
    /// The proxy has opened it on its own account, for example to check the server. The connection's real addresses
    /// hold. Version 1 says [`Unknown`](Addresses::Unknown) instead.
    Local,
    /// The proxy does not say. The connection's real addresses hold.
    Unknown,
    /// Between two addresses of IP, which are as the header has them: an IPv4-mapped address is one of IPv6.
    Ip {
        /// The client's.
        source: SocketAddr,
        /// The one that the client connected to or sent to.
        destination: SocketAddr,
        /// What goes between them.
        transport: Transport,
    },
    /// Between two Unix sockets. A name has at most 108 bytes and no NUL at its end; an abstract one starts with a NUL,
    /// and an empty one is that of a socket without a name. Version 1 says [`Unknown`](Addresses::Unknown) instead.
    Unix {
        /// The client's.
        source: Box<[u8]>,
        /// The one that the client connected to or sent to.
        destination: Box<[u8]>,
        /// What goes between them.
        transport: Transport,
    },
}

impl Addresses {
    /// Those of a client and of what it has reached. If both are of IPv4, though written as IPv6, they become so.
    pub fn between(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Addresses {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let both = (canonical(source), canonical(destination));
        let (source, destination) = if both.0.is_ipv4() && both.1.is_ipv4() { both } else { (source, destination) };
        Addresses::Ip { source, destination, transport }
    }
}

/// What goes between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A stream of bytes: TCP, or a Unix stream. Version 1 knows nothing else.
    Stream,
    /// Datagrams: UDP, or a Unix datagram socket. Version 1 says [`Addresses::Unknown`] instead.
    Datagram,
}

/// Which form a header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Version {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Version::V1 => "v1",
            Version::V2 => "v2",
        }
    }
}

/// What the bytes that have come so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// They are the beginning of a header, or none yet.
    Incomplete {
        /// So many more bytes belong to the header in any case, at least 1. Who reads no more than that never reads
        /// beyond the header. Who has a place for what is behind it may read as much as he likes.
        at_least: usize,
    },
    /// They begin with a whole header.
    Complete {
        /// What it says.
        header: ProxyHeader,
        /// How long it is, in bytes. What is behind it is the client's.
        length: usize,
    },
}

/// The header that `bytes`, all that have come so far, begin with.
///
/// # Errors
///
/// They are no beginning of a header, whatever may follow. This is known at the first wrong byte of what tells a header
/// from anything else, behind a wrong field in version 1, and in version 2 behind the first 16 bytes or at the end.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    match bytes.first() {
        None => Ok(Parsed::Incomplete { at_least: LEAST }),
        Some(&byte) if byte == v1::FIRST => v1::parse(bytes),
        Some(&byte) if byte == v2::SIGNATURE[0] => v2::parse(bytes),
        Some(_) => Err(Malformed::NoHeader),
    }
}

impl ProxyHeader {
    /// That of a connection which the proxy has opened on its own account.
    pub fn local() -> ProxyHeader {
        ProxyHeader::new(Addresses::Local)
    }

    /// One that has nothing but addresses.
    pub fn new(addresses: Addresses) -> ProxyHeader {
        ProxyHeader { addresses, tlvs: Tlvs::default() }
    }

    /// Adds its bytes. What the version cannot say is left out. A checksum among the TLVs is made anew. Where one
    /// address is of IPv4 and the other of IPv6, the former is written as one of IPv6.
    pub fn write(&self, version: Version, into: &mut Vec<u8>) {
        match version {
            Version::V1 => v1::write(&self.addresses, into),
            Version::V2 => v2::write(self, into),
        }
    }
}

/// Both addresses in the same family.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    use std::net::IpAddr::{V4, V6};
    let mapped = |address: SocketAddr| match address.ip() {
        V4(ip) => SocketAddr::new(V6(ip.to_ipv6_mapped()), address.port()),
        V6(_) => address,
    };
    if source.is_ipv4() == destination.is_ipv4() {
        (source, destination)
    } else {
        (mapped(source), mapped(destination))
    }
}

/// What `bytes` have behind `expected`; `None` if they end before it does.
///
/// # Errors
///
/// They begin with something else.
fn behind<'a>(bytes: &'a [u8], expected: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
    match bytes.strip_prefix(expected) {
        Some(rest) => Ok(Some(rest)),
        None if expected.starts_with(bytes) => Ok(None),
        None => Err(Malformed::NoHeader),
    }
}

#[cfg(test)]
mod tests;
