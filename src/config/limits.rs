//! How much a service lets in, as it asks for it.

use std::num::NonZeroU32;
use std::time::Duration;

/// How many sessions a service may have, and how many may begin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitSettings {
    /// How many sessions it may have at once; `None`: any number.
    pub max_sessions: Option<NonZeroU32>,
    /// What becomes of clients that come when it has that many.
    pub when_full: WhenFull,
    /// How many of these may be one source's.
    pub max_sessions_per_source: Option<NonZeroU32>,
    /// How many may begin in a time.
    pub session_rate: Option<Rate>,
    /// How many of one source may.
    pub session_rate_per_source: Option<Rate>,
    /// What one source is.
    pub source_prefix: SourcePrefix,
    /// After how many datagrams of its client a session has had its last one; `None`: there is no such number.
    pub requests: Option<u32>,
    /// After how many datagrams of its remote a session ends.
    pub responses: Option<u32>,
}

/// What becomes of clients for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// They wait in the backlog.
    #[default]
    Wait,
    /// They are reset.
    Reset,
}

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Duration,
}

/// How many bits of an address say whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePrefix {
    /// Of one of IPv4, 32 at most.
    pub v4: u8,
    /// Of one of IPv6, 128 at most.
    pub v6: u8,
}

impl Default for SourcePrefix {
    /// Whoever has an address of IPv6 mostly has the whole network of 64 bits.
    fn default() -> SourcePrefix {
        SourcePrefix { v4: 32, v6: 64 }
    }
}
