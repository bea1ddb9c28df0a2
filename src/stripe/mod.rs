//! Striping: one session over several connections, its lanes.
//!
//! Nothing here knows a socket, a clock or chance: bytes, times and random numbers come in as arguments. So the whole of
//! it can be driven by a seed.

pub mod channel;
pub mod engine;
pub mod frame;
pub mod key;
mod lane;
mod noise;
pub mod opening;
pub mod receive;
mod schedule;
mod send;

use std::fmt;

/// The version of the protocol.
pub const VERSION: u8 = 1;

/// The most lanes that a session has.
pub const MOST_LANES: usize = 32;

/// The most bytes of the stream in one frame.
pub const MAX_PAYLOAD: usize = 32 << 10;

/// What each direction may send before the peer has said how much it may, in bytes.
pub const INITIAL_WINDOW: u64 = 64 << 10;

/// Bytes of the stream are kept in chunks of so many, each of which has those of one block: from a multiple of this to
/// the next.
const CHUNK: usize = 128 << 10;

/// So many chunks are kept for later, in each direction, while something moves.
const MOST_SPARE: usize = 16;

/// Where the block that the offset is in ends.
fn block_end(offset: u64) -> u64 {
    (offset | (CHUNK as u64 - 1)) + 1
}

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
