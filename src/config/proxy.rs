//! The PROXY protocol, as a service asks for it.

use super::access::Clients;

/// Which headers of the PROXY protocol a service sends and takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// What is sent to the remote before all else; `None`: nothing.
    pub send: Option<SendProxy>,
    /// Whether clients begin with a header.
    pub accept: bool,
    /// Whose headers are believed; empty: everybody's.
    pub accept_from: Vec<Clients>,
    /// Which datagrams have a header.
    pub datagrams: HeaderOf,
}

/// The version of the header that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendProxy {
    /// A line of text.
    V1,
    /// The binary one.
    V2,
}

/// Which datagrams of a session have a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeaderOf {
    /// Each of them.
    #[default]
    Each,
    /// The first one only.
    First,
}
