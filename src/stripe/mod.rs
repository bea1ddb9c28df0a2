//! Striping: one session over several connections, its lanes.
//!
//! Nothing here knows a socket, a clock or chance: bytes, times and random numbers come in as arguments. So the whole of
//! it can be driven by a seed.

pub mod frame;
pub mod key;

use std::fmt;

/// The version of the protocol.
pub const VERSION: u8 = 1;

/// The most lanes that a session has.
pub const MOST_LANES: usize = 32;

/// The most bytes of the stream in one frame.
pub const MAX_PAYLOAD: usize = 32 << 10;

/// What each direction may send before the peer has said how much it may, in bytes.
pub const INITIAL_WINDOW: u64 = 64 << 10;

/// Which session a lane belongs to: random, and so a secret of its two ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

/// The first four bytes: enough to find a session in two logs, and too few to join it.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
