//! What the two sides of a proxy speak, and how `cproxy` writes it in an address.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What one side of a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transport {
    /// A stream of bytes.
    Tcp,
    /// Datagrams.
    Udp,
    /// Datagrams in a TCP stream, each behind its length (see [`crate::framing`]).
    Framed,
}

/// What the two sides of a proxy speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The side where clients come in.
    pub client: Transport,
    /// The side that is connected to the server.
    pub remote: Transport,
}

impl Transport {
    /// An address as `cproxy` takes it.
    pub fn written(self, address: SocketAddr) -> String {
        match self {
            Self::Tcp => address.to_string(),
            Self::Udp => format!("udp:{address}"),
            Self::Framed => format!("framed:{address}"),
        }
    }
}

impl Sides {
    /// TCP on both sides.
    pub const TCP: Self = Self { client: Transport::Tcp, remote: Transport::Tcp };
    /// UDP on both sides.
    pub const UDP: Self = Self { client: Transport::Udp, remote: Transport::Udp };

    /// Whether both sides speak the same, so that no proxy is needed between them.
    pub fn are_alike(self) -> bool {
        self.client == self.remote
    }
}

/// Where the server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// For ordinary connections.
    pub tcp: SocketAddr,
    /// For datagrams.
    pub udp: SocketAddr,
    /// For connections that carry datagrams.
    pub framed: SocketAddr,
}

impl Places {
    /// Where it takes what speaks `transport`.
    pub fn of(&self, transport: Transport) -> SocketAddr {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
            Transport::Framed => self.framed,
        }
    }
}
