//! Trains: datagrams of one size that enter the kernel as one.

use std::io;

/// Datagrams of one train (`UDP_MAX_SEGMENTS`).
const MOST_IN_TRAIN: usize = 64;

/// Bytes of one train.
const MOST_BYTES: usize = 65_000;

/// Datagrams that go one by one after a train was refused; after each further refusal, twice as many as before.
const FIRST_WAIT: u16 = 256;

/// How often that is doubled, at most.
const MOST_DOUBLINGS: u8 = 7;

/// How long the datagrams of a train to one peer may be.
///
/// A train is refused where the packets of the path are smaller than its datagrams. A path belongs to a peer, so each
/// peer has a limit of its own. Paths change, so no limit is for ever; nothing tells when, so longer trains are tried
/// again after some datagrams, more and more of them while they are refused again. (Time is of no use: whoever sends
/// little gains nothing by trains.)
#[derive(Debug, Clone, Copy)]
pub struct TrainLimit {
    /// Trains of datagrams as long as this, or longer, were refused.
    refused: u16,
    /// Datagrams to be sent before such are tried again.
    left: u16,
    /// How many trials were refused, one after the other.
    refusals: u8,
}

impl Default for TrainLimit {
    fn default() -> TrainLimit {
        TrainLimit { refused: u16::MAX, left: 0, refusals: 0 }
    }
}

impl TrainLimit {
    /// The longest datagram that goes in a train now.
    pub fn longest(&self) -> usize {
        if self.left > 0 { usize::from(self.refused) - 1 } else { MOST_BYTES }
    }

    /// Notes that a train of datagrams of this length was refused.
    pub(super) fn note_refused(&mut self, length: usize, error: &io::Error) {
        // This one means that trains of no length are to be had.
        let length = if error.raw_os_error() == Some(libc::EIO) { 1 } else { length };
        let length = u16::try_from(length).unwrap_or(u16::MAX).max(1);
        if self.left == 0 {
            self.refused = length;
            self.left = FIRST_WAIT << self.refusals.min(MOST_DOUBLINGS);
            self.refusals = self.refusals.saturating_add(1);
        } else {
            self.refused = self.refused.min(length);
        }
    }

    /// Notes that so many datagrams were sent, of which the first were a train of datagrams of this length, or one.
    pub(super) fn note_sent(&mut self, count: usize, train: Option<usize>) {
        if self.left > 0 {
            self.left = self.left.saturating_sub(u16::try_from(count).unwrap_or(u16::MAX));
        } else if train.is_some_and(|length| length >= self.refused.into()) {
            *self = TrainLimit::default();
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn too_long() -> io::Error {
        io::Error::from_raw_os_error(libc::EMSGSIZE)
    }

    /// Sends so many datagrams one by one and says after how many there were no limit any more.
    fn recovers_after(limit: &mut TrainLimit) -> usize {
        (1..=1 << 20)
            .find(|_| {
                limit.note_sent(1, None);
                limit.longest() == MOST_BYTES
            })
            .expect("a limit that ends")
    }

    #[test]
    fn a_refused_length_is_tried_again_after_more_and_more_datagrams() {
        let mut limit = TrainLimit::default();
        assert_eq!(limit.longest(), MOST_BYTES);
        let mut waits = Vec::new();
        for _ in 0..10 {
            limit.note_refused(1400, &too_long());
            assert_eq!(limit.longest(), 1399);
            waits.push(recovers_after(&mut limit));
        }
        assert_eq!(waits[..3], [256, 512, 1024]);
        assert_eq!(waits[7..], [32768; 3]);
    }

    #[test]
    fn a_train_that_passes_ends_the_doubling_if_it_is_as_long_as_the_refused_one() {
        let mut limit = TrainLimit::default();
        for _ in 0..3 {
            limit.note_refused(1400, &too_long());
            recovers_after(&mut limit);
        }
        limit.note_sent(64, Some(1399));
        assert_eq!(limit.refusals, 3);
        limit.note_sent(64, Some(1400));
        limit.note_refused(1400, &too_long());
        assert_eq!(recovers_after(&mut limit), 256);
    }

    #[test]
    fn a_shorter_train_that_is_refused_lowers_the_limit_but_does_not_prolong_it() {
        let mut limit = TrainLimit::default();
        limit.note_refused(1400, &too_long());
        limit.note_sent(200, None);
        limit.note_refused(1300, &too_long());
        assert_eq!(limit.longest(), 1299);
        limit.note_refused(1200, &io::Error::from_raw_os_error(libc::EIO));
        assert_eq!(limit.longest(), 0);
        assert_eq!(recovers_after(&mut limit), 56);
    }
}
