//! What an engine knows of one lane: what is under way on it, how fast it is, and what the peer is to be told on it.

use std::collections::VecDeque;

/// Bytes that may be under way before the rate is known.
const FIRST_IN_FLIGHT: u64 = 192 << 10;

/// Bytes that may be under way beyond what the rate says.
pub(super) const EXTRA_IN_FLIGHT: u64 = 64 << 10;

/// Bytes that come on a lane before they are acknowledged without being asked.
const ACK_BYTES: u64 = 64 << 10;

/// What has come on a lane is acknowledged after this time at the latest, in microseconds.
const ACK_DELAY: u64 = 20_000;

/// More records than this are not kept: the lane gets no more until the peer has acknowledged some.
const MOST_RECORDS: usize = 16_384;

const MIN_RTO: u64 = 200_000;

/// Before anything is known, in microseconds.
const FIRST_RTO: u64 = 1_000_000;

/// Without progress for so many retransmission times a lane is stale.
const STALE_RTOS: u64 = 4;

/// What is assumed of a lane of which nothing is known, in bytes a second.
const GUESSED_RATE: u64 = 12_500_000;

/// How long a rate is believed that nothing confirms, in microseconds, if it is less than what is guessed of a new lane: a
/// lane that was slow once would get nothing for ever, or a few bytes now and then, and so would never show that it is not.
const RATE_BELIEVED: u64 = 5_000_000;

/// Rates are measured over so many microseconds at least.
const RATE_TIME: u64 = 10_000;

const SECOND: u64 = 1_000_000;

/// A segment that went on the lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) number: u64,
    /// What was sent on the lane up to its end.
    pub(super) end: u64,
    pub(super) at: u64,
}

/// What is under way, and what is to be told.
#[derive(Debug)]
pub(super) struct Lane {
    /// Bytes of the stream that were sent on it.
    pub(super) sent: u64,
    /// How many of them have arrived.
    pub(super) arrived: u64,
    pub(super) records: VecDeque<Record>,
    /// Bytes of the stream that went on it and had been on another.
    pub(super) sent_again: u64,
    smoothed: Option<u64>,
    variation: u64,
    least: u64,
    /// Bytes a second, once it is known.
    rate: Option<u64>,
    /// When the rate was measured last while the lane was busy, or was found to be higher.
    confirmed_at: u64,
    /// When the measurement of the rate began, how much had arrived, and the least that was under way since.
    measured: (u64, u64, u64),
    progress_at: u64,
    pub(super) heard_at: u64,
    pub(super) stale: bool,
    pub(super) room: bool,
    /// Bytes of the stream that came on it.
    pub(super) came: u64,
    told: u64,
    untold_since: u64,
    came_at: u64,
    pub(super) ack_now: bool,
    /// When a PING was sent that is not answered.
    pub(super) pinged_at: Option<u64>,
    pub(super) ping_due: bool,
    pub(super) pong_due: Option<u64>,
    /// The next segment that it sends, where each lane sends all.
    pub(super) cursor: u64,
}

impl Lane {
    pub(super) fn new(round_trip: Option<u64>, now: u64) -> Lane {
        Lane {
            sent: 0,
            arrived: 0,
            records: VecDeque::new(),
            sent_again: 0,
            smoothed: round_trip,
            variation: round_trip.unwrap_or(0) / 2,
            least: round_trip.unwrap_or(u64::MAX),
            rate: None,
            confirmed_at: now,
            measured: (now, 0, 0),
            progress_at: now,
            heard_at: now,
            stale: false,
            room: true,
            came: 0,
            told: 0,
            untold_since: now,
            came_at: now,
            ack_now: false,
            pinged_at: None,
            ping_due: false,
            pong_due: None,
            cursor: 0,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.sent - self.arrived
    }

    /// The shortest round trip, in microseconds.
    pub(super) fn least_round_trip(&self) -> u64 {
        if self.least == u64::MAX { 0 } else { self.least }
    }

    /// The smoothed round trip, in microseconds.
    pub(super) fn round_trip(&self) -> Option<u64> {
        self.smoothed
    }

    /// Bytes a second, once it is known.
    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    pub(super) fn assumed_rate(&self) -> u64 {
        self.rate.unwrap_or(GUESSED_RATE)
    }

    fn retransmission_time(&self) -> u64 {
        self.smoothed.map_or(FIRST_RTO, |smoothed| (smoothed + 4 * self.variation).max(MIN_RTO))
    }

    /// Bytes that may be under way.
    pub(super) fn most_in_flight(&self) -> u64 {
        match self.rate {
            None => FIRST_IN_FLIGHT,
            Some(rate) => bytes_in(rate, in_flight_time(self.least_round_trip())) + EXTRA_IN_FLIGHT,
        }
    }

    /// Whether it may have more now.
    pub(super) fn is_free(&self) -> bool {
        self.room && !self.stale && self.in_flight() < self.most_in_flight() && self.records.len() < MOST_RECORDS
    }

    /// Bytes that it gets at a time.
    pub(super) fn burst(&self) -> u64 {
        bytes_in(self.assumed_rate(), 4_000).clamp(8 << 10, 128 << 10)
    }

    /// In how many microseconds so many bytes would be there, if they were sent now.
    pub(super) fn time_for(&self, bytes: u64) -> u64 {
        (self.in_flight() + bytes) * SECOND / self.assumed_rate() + self.least_round_trip() / 2
    }

    /// In how many microseconds what was sent up to this record would be there, if the lane did as it did before.
    pub(super) fn time_left(&self, record: &Record) -> u64 {
        (record.end - self.arrived) * SECOND / self.assumed_rate() + self.least_round_trip() / 2
    }

    /// When it is overdue: the peer should have said before that something has arrived.
    pub(super) fn overdue_at(&self) -> u64 {
        let round_trip = self.smoothed.map_or(FIRST_RTO, |smoothed| smoothed + 4 * self.variation);
        self.progress_at + round_trip + ACK_DELAY
    }

    pub(super) fn sent(&mut self, number: u64, length: u64, now: u64) {
        if self.in_flight() == 0 {
            self.progress_at = now;
            self.measured = (now, self.arrived, 0);
        }
        self.sent += length;
        self.records.push_back(Record { number, end: self.sent, at: now });
    }

    /// So many bytes have arrived on this lane, which were all sent; calls `each` with the number of each segment.
    pub(super) fn acknowledged(&mut self, arrived: u64, delay: u64, now: u64, mut each: impl FnMut(u64)) {
        if arrived <= self.arrived {
            return;
        }
        self.arrived = arrived;
        self.progress_at = now;
        let mut last = None;
        while let Some(record) = self.records.front().filter(|record| record.end <= arrived) {
            each(record.number);
            last = Some(record.at);
            self.records.pop_front();
        }
        if let Some(at) = last {
            self.sample_round_trip(now.saturating_sub(at).saturating_sub(delay));
        }
        self.sample_rate(now.saturating_sub(delay.min(ACK_DELAY)));
    }

    /// Forgets a rate that is too old to keep the lane from being used.
    pub(super) fn forget_old_rate(&mut self, now: u64) {
        let old = self.in_flight() == 0 && now >= self.confirmed_at + RATE_BELIEVED;
        if old && self.rate.is_some_and(|rate| rate < GUESSED_RATE) {
            self.rate = None;
        }
    }

    fn sample_round_trip(&mut self, sample: u64) {
        self.least = self.least.min(sample);
        match self.smoothed {
            None => (self.smoothed, self.variation) = (Some(sample), sample / 2),
            Some(smoothed) => {
                self.variation = (3 * self.variation + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((7 * smoothed + sample) / 8);
            }
        }
    }

    fn sample_rate(&mut self, now: u64) {
        let (since, arrived, least) = self.measured;
        let least = least.min(self.in_flight());
        let time = now.saturating_sub(since);
        if time < RATE_TIME.max(self.smoothed.unwrap_or(0) / 2) {
            self.measured.2 = least;
            return;
        }
        let bytes = self.arrived - arrived;
        let sample = (bytes * SECOND / time).max(1);
        let busy = self.rate.is_some_and(|rate| least > bytes_in(rate, self.least_round_trip()));
        if busy || self.rate.is_none_or(|rate| sample > rate) {
            self.confirmed_at = now;
        }
        self.rate = match self.rate {
            None if bytes < EXTRA_IN_FLIGHT / 2 => None,
            None => Some(sample),
            Some(rate) if busy => Some((3 * rate + sample) / 4),
            Some(rate) => Some(rate.max(sample.min(2 * rate))),
        };
        self.measured = (now, self.arrived, self.in_flight());
    }

    /// Bytes of the stream came on it.
    pub(super) fn came(&mut self, bytes: u64, now: u64) {
        if self.came == self.told {
            self.untold_since = now;
        }
        self.came += bytes;
        self.came_at = now;
    }

    /// Whether something came that the peer was not told of.
    pub(super) fn has_untold(&self) -> bool {
        self.came > self.told
    }

    /// When the peer is to be told what came; `None` if it knows.
    ///
    /// A frame for many bytes: for more of them where the window is large, because the lanes are fast then.
    pub(super) fn ack_due_at(&self, window: u64) -> Option<u64> {
        if self.ack_now || self.came - self.told >= ACK_BYTES.max(window / 128) {
            return Some(0);
        }
        self.has_untold().then(|| self.untold_since + ACK_DELAY)
    }

    /// The peer is told now. Says how much came, and for how long nothing has, in microseconds.
    pub(super) fn tell(&mut self, now: u64) -> (u64, u32) {
        self.ack_now = false;
        self.told = self.came;
        (self.came, u32::try_from(now.saturating_sub(self.came_at)).unwrap_or(u32::MAX))
    }

    /// When it is stale unless something comes before; `None` if nothing is under way.
    pub(super) fn stale_at(&self) -> Option<u64> {
        let since = match self.pinged_at {
            Some(at) if self.in_flight() == 0 => at,
            _ if self.in_flight() == 0 => return None,
            _ => self.progress_at,
        };
        Some(since + STALE_RTOS * self.retransmission_time())
    }

    /// Since when an answer is missing; `None` if none is.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let asked = if self.in_flight() > 0 { self.progress_at } else { self.pinged_at? };
        Some(asked.max(self.heard_at))
    }

    /// It is good again: what is under way has its time from now on.
    pub(super) fn restart(&mut self, now: u64) {
        self.progress_at = now;
        self.measured = (now, self.arrived, 0);
    }

    /// Something came on it.
    pub(super) fn heard(&mut self, now: u64) {
        self.heard_at = now;
        self.pinged_at = None;
        self.ping_due = false;
    }

    /// Gives back memory if nothing is under way.
    pub(super) fn release(&mut self) {
        if self.records.is_empty() && self.records.capacity() > 4 {
            self.records = VecDeque::new();
        }
    }

    pub(super) fn has_spare(&self) -> bool {
        self.records.is_empty() && self.records.capacity() > 4
    }
}

/// For how long a lane's rate may be under way on it, in microseconds: to the peer and back twice, and while the peer
/// waits before it acknowledges.
pub(super) fn in_flight_time(round_trip: u64) -> u64 {
    2 * round_trip + 30_000
}

/// Bytes that come at this rate in so many microseconds.
pub(super) fn bytes_in(rate: u64, time: u64) -> u64 {
    rate.saturating_mul(time) / SECOND
}
