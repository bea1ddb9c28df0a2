//! Where connections to remotes come from, as a service asks for it.

use std::net::IpAddr;

/// Which address of ours connections to remotes have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ConnectFrom {
    /// The one that the system chooses.
    #[default]
    Any,
    /// One of these, in turn.
    Ours(Vec<OurAddress>),
    /// The client's own, as `IP_TRANSPARENT` of Linux allows.
    Client,
}

/// An address of ours, and which ports of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OurAddress {
    /// The address.
    pub ip: IpAddr,
    /// The first and the last port; `None`: the system chooses.
    pub ports: Option<(u16, u16)>,
}
