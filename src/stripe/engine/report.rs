//! What is told of an engine and its lanes, and what always holds.

use super::{Engine, Mode};
use crate::stripe::lane::{Lane, Record};

/// How a lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    /// There is none.
    Down,
    /// It carries what it gets.
    Good,
    /// Nothing has come back for too long.
    Stale,
}

/// What is told of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneReport {
    /// How it does.
    pub state: LaneState,
    /// Bytes of the stream that were sent on it.
    pub sent: u64,
    /// Those of them that had been on another lane before.
    pub sent_again: u64,
    /// Bytes of the stream that are not known to have arrived.
    pub in_flight: u64,
    /// Bytes of the stream that came on it.
    pub received: u64,
    /// The smoothed round trip in microseconds, once it is known.
    pub round_trip: Option<u64>,
    /// Bytes a second that it was seen to carry, once that is known.
    pub rate: Option<u64>,
}

/// What a lane promises: for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Whether it may have more now.
    pub free: bool,
    /// In how many microseconds it would be done with a burst, if it got one now.
    pub time: u64,
    /// Bytes a second that it was seen to carry, once that is known.
    pub rate: Option<u64>,
    /// The same, or a guess.
    pub assumed_rate: u64,
}

impl Engine {
    /// What there is to tell of a lane.
    pub fn lane_report(&self, lane: usize) -> LaneReport {
        let Some(lane) = self.lane(lane) else {
            let state = LaneState::Down;
            let (round_trip, rate) = (None, None);
            return LaneReport { state, sent: 0, sent_again: 0, in_flight: 0, received: 0, round_trip, rate };
        };
        LaneReport {
            state: if lane.stale { LaneState::Stale } else { LaneState::Good },
            sent: lane.sent,
            sent_again: lane.sent_again,
            in_flight: lane.in_flight(),
            received: lane.came,
            round_trip: lane.round_trip(),
            rate: lane.rate(),
        }
    }

    /// Bytes that came more than once.
    pub fn duplicates(&self) -> u64 {
        self.receiving.duplicates()
    }

    /// Whether much memory was freed since this was asked last.
    pub fn take_released(&mut self) -> bool {
        std::mem::take(&mut self.released)
    }

    /// Bytes of memory that the engine has for bytes of the stream, and for what it knows of them.
    pub fn memory(&self) -> (usize, usize) {
        let (sending, receiving) = (self.sending.memory(), self.receiving.memory());
        let records = |lane: &Lane| lane.records.capacity() * size_of::<Record>();
        let lanes = self.lanes.capacity() * size_of::<Option<Lane>>();
        let lanes = lanes + self.lanes.iter().flatten().map(records).sum::<usize>();
        (sending.0 + receiving.0, sending.1 + receiving.1 + lanes + size_of::<Engine>())
    }

    /// Checks what always holds: for tests.
    ///
    /// # Panics
    ///
    /// It does not.
    pub fn check(&self) {
        let records = self.lanes.iter().map(|lane| lane.iter().flat_map(|lane| lane.records.iter()));
        let redundant = self.config.mode == Mode::Redundant;
        self.sending.check(!redundant, records.map(|records| records.map(|record| record.number)));
        for lane in self.lanes.iter().flatten() {
            let under_way = lane.records.back().map_or(lane.arrived, |record| record.end);
            assert!(lane.sent >= under_way && lane.arrived <= lane.sent, "a lane counts what it did not send");
        }
        self.receiving.check();
    }

    /// What a lane promises while so many bytes may be sent; `None` if there is none of this number: for tests.
    pub fn outlook(&self, lane: usize, sendable: u64) -> Option<Outlook> {
        let lane = self.lane(lane)?;
        let time = lane.time_for(lane.burst().min(sendable));
        Some(Outlook { free: lane.is_free(), time, rate: lane.rate(), assumed_rate: lane.assumed_rate() })
    }

    /// Whether a lane is free that is to carry everything, and has not carried something that has not arrived: for tests.
    pub fn lacks(&self, lane: usize) -> bool {
        let carries =
            |number: u64, lane: &Lane| lane.records.binary_search_by_key(&number, |record| record.number).is_ok();
        let new = self.sending.sendable() > 0 || self.sending.end_is_next();
        self.lane(lane).filter(|lane| lane.is_free()).is_some_and(|lane| {
            new || self.sending.numbers().any(|number| self.sending.open(number).is_some() && !carries(number, lane))
        })
    }

    /// Whether bytes wait that the peer's window has no room for, and none that it has room for.
    pub fn is_held_back(&self) -> bool {
        self.sending.unsent() > 0 && !self.waits()
    }

    /// How many bytes of the stream from this offset the session may take from their lane itself, as they are what it would
    /// read next: [`Engine::went_direct`] says how many it took.
    pub fn direct_room(&self, offset: u64) -> u64 {
        self.receiving.direct_room(offset)
    }

    /// The session has taken so many bytes from a lane itself, at most as many as it might.
    pub fn went_direct(&mut self, lane: usize, bytes: u64, now: u64) {
        self.heard(lane, now);
        self.receiving.went_direct(bytes);
        self.grow_window(now);
        let complete = self.receiving.is_complete();
        if let Some(lane) = self.lane_mut(lane) {
            lane.came(bytes, now);
            lane.ack_now |= complete;
        }
    }
}
