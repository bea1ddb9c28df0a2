//! What is wrong with a header.

use std::fmt;

use super::{v1, v2};

/// Why bytes are no header. Each is shown as one line, a sentence without its full stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They begin with neither `PROXY ` nor the signature of version 2.
    NoHeader,
    /// Version 1: the word behind `PROXY`.
    Protocol,
    /// Version 1: one of the two addresses.
    Address(End),
    /// Version 1: one of the two ports.
    Port(End),
    /// Version 1: a carriage return without a line feed behind it.
    LineEnd,
    /// Version 1: more than 107 bytes.
    LineTooLong,
    /// Another version than 1 or 2.
    Version(u8),
    /// Version 2: neither LOCAL nor PROXY.
    Command(u8),
    /// Version 2: a family of addresses, or a transport, that the specification does not have.
    Family(u8),
    /// Version 2: the addresses need more bytes than there are.
    TooShort {
        /// How many bytes are said to be behind the first 16.
        length: usize,
        /// How many the addresses need.
        addresses: usize,
    },
    /// Version 2: more bytes behind the first 16 than are taken.
    TooLong {
        /// How many are said to be there.
        length: usize,
    },
    /// Version 2: a TLV does not end where the header ends or before.
    Tlv(u8),
    /// Version 2: the last bytes are too few for a TLV.
    HalfTlv,
    /// Version 2: a checksum that has not 4 bytes, or a second one.
    ChecksumForm,
    /// Version 2: the checksum is another.
    Checksum,
}

/// One end of the connection that a header speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client's.
    Source,
    /// The one that the client had reached.
    Destination,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Source => "source",
            End::Destination => "destination",
        })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Malformed::NoHeader => f.write_str("the first bytes are not those of a PROXY header"),
            Malformed::Protocol => f.write_str("the protocol is none of TCP4, TCP6 and UNKNOWN"),
            Malformed::Address(end) => write!(f, "the {end} address is not one of the protocol that is named"),
            Malformed::Port(end) => write!(f, "the {end} port is not a number from 0 to 65535"),
            Malformed::LineEnd => f.write_str("the line does not end with a carriage return and a line feed"),
            Malformed::LineTooLong => write!(f, "the line does not end within {} bytes", v1::MOST),
            Malformed::Version(version) => write!(f, "version {version} is not known"),
            Malformed::Command(command) => write!(f, "command {command} is neither LOCAL nor PROXY"),
            Malformed::Family(family) => write!(f, "the family of addresses and transport 0x{family:02x} is not known"),
            Malformed::TooShort { length, addresses } => {
                write!(f, "the length is {length} bytes, but the addresses have {addresses}")
            }
            Malformed::TooLong { length } => {
                write!(f, "the length is {length} bytes, and {} at most are taken", v2::MOST_BEHIND)
            }
            Malformed::Tlv(kind) => write!(f, "the TLV of type 0x{kind:02x} is longer than the header"),
            Malformed::HalfTlv => f.write_str("the header ends within a TLV"),
            Malformed::ChecksumForm => f.write_str("the checksum does not have 4 bytes, or there are two"),
            Malformed::Checksum => f.write_str("the checksum is wrong"),
        }
    }
}

impl std::error::Error for Malformed {}
