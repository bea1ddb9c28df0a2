//! What became of datagrams, and why some were not delivered.

use std::fmt;
use std::io;

use crate::base::error::error_text;
use crate::config::caps::CapName;

/// What became of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of payload that the sink took.
    pub moved: u64,
    /// What this took beside moving bytes, in bytes: [`super::batch::DATAGRAM_COST`] for each datagram, and one for each call.
    pub work: u64,
    /// Datagrams that the sink took.
    pub taken: u64,
    /// Datagrams that could not be delivered.
    pub dropped: u64,
    /// Why the last of these could not.
    pub why: Option<Undelivered>,
}

impl Counts {
    /// Adds what was counted elsewhere, later.
    pub fn add(&mut self, other: Counts) {
        self.moved += other.moved;
        self.work += other.work;
        self.taken += other.taken;
        self.dropped += other.dropped;
        self.why = other.why.or(self.why);
    }

    pub(super) fn drop_one(&mut self, why: Undelivered) {
        self.dropped += 1;
        self.why = Some(why);
    }
}

/// Why a datagram could not be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undelivered {
    /// It is too large for the next endpoint, or for any.
    TooLarge,
    /// The system's error of this number, which concerns the datagram alone.
    Error(i32),
    /// The next endpoint takes nothing now, and there is no room to keep more.
    NoRoom,
    /// The next endpoint takes nothing now, and too much is kept for others that do not.
    NoMemory,
    /// This cap lets nothing go on now, and there is no room to keep more.
    HeldBack(CapName),
    /// Nobody is there to send it to.
    NoPeer,
    /// No session could be had for the client.
    NoSession,
    /// It does not begin with a header of the PROXY protocol, as it has to.
    BadHeader,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Undelivered::TooLarge => f.write_str("too large for the next endpoint"),
            Undelivered::Error(number) => f.write_str(&error_text(&io::Error::from_raw_os_error(*number))),
            Undelivered::NoRoom => f.write_str("the next endpoint takes no more"),
            Undelivered::NoMemory => f.write_str("the next endpoint takes no more, and too much is kept for others"),
            Undelivered::HeldBack(cap) => write!(f, "{cap} allows no more"),
            Undelivered::NoPeer => f.write_str("no address to send them to"),
            Undelivered::NoSession => f.write_str("no session for the client"),
            Undelivered::BadHeader => f.write_str("bad PROXY header"),
        }
    }
}
