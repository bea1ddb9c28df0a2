//! Trains: datagrams of one size that enter the kernel as one.

use std::io;

/// Datagrams of one train (`UDP_MAX_SEGMENTS`).
const MOST_IN_TRAIN: usize = 64;

/// Bytes of one train.
pub(super) const MOST_BYTES: usize = 65_000;

/// Whether sending may have failed because a train is longer than the network's packets, or trains are not to be had.
pub(super) fn may_be_the_trains(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}

/// Datagrams that go out as one: all of the same size but the last, which may be shorter.
pub(super) struct Train {
    segment: usize,
    pub length: usize,
    bytes: usize,
    closed: bool,
}

impl Train {
    pub fn new(first: usize, longest_in_train: usize) -> Train {
        Train { segment: first, length: 1, bytes: first, closed: first == 0 || first > longest_in_train }
    }

    /// Whether the next datagram, of this length, goes with it; if so, it does.
    pub fn takes(&mut self, next: usize) -> bool {
        if self.closed
            || next == 0
            || next > self.segment
            || self.length == MOST_IN_TRAIN
            || self.bytes + next > MOST_BYTES
        {
            return false;
        }
        self.closed = next < self.segment;
        self.length += 1;
        self.bytes += next;
        true
    }
}
