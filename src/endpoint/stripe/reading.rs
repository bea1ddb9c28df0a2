//! What comes on the lanes: how much of it is read when, and where it goes.

use super::dial::Dialer;
use super::lane::{Lane, LaneEnd};
use super::{GAP_TIME, Slot, State, StripeEndpoint, UNASKED};
use crate::stripe::engine::{Direct, Engine, Event};
use crate::stripe::frame::{CloseCode, Frame, Violation};
use std::io;

impl StripeEndpoint {
    /// Reads what is there, within bounds, though nobody asked for it.
    pub(super) fn read_unasked(&mut self) {
        let mut left = UNASKED;
        while let Some(number) = self.next_readable().filter(|_| left > 0) {
            left = left.saturating_sub(self.read_lane(number, left, None));
        }
    }

    /// The lane on which the bytes come that are to be read next, as far as is known, and how many they are.
    pub(super) fn lane_with_next(&self) -> Option<(usize, usize)> {
        self.lanes().filter(|(_, lane)| lane.line.ready.readable).find_map(|(number, lane)| {
            let (offset, left) = lane.begun()?;
            let room = usize::try_from(self.engine.direct_room(offset)).unwrap_or(usize::MAX).min(left);
            (room > 0).then_some((number, room))
        })
    }

    /// Reads as far as the header of the next DATA frame on a lane of which no header was read. Whether there was one.
    pub(super) fn read_header(&mut self) -> bool {
        let unknown = |(_, lane): &(usize, &Lane)| lane.line.ready.readable && lane.begun().is_none();
        let Some((number, left)) = self.lanes().find(unknown).map(|(number, lane)| (number, lane.header_left())) else {
            return false;
        };
        self.read_lane(number, left, None);
        true
    }

    /// Whether what is there can wait, as it is bulk that comes in order but for a gap that is likely to be filled at once:
    /// then it need not be copied.
    pub(super) fn gap_may_be_filled(&mut self) -> bool {
        let behind_gap = |(_, lane): (usize, &Lane)| lane.line.ready.readable && lane.begun().is_some();
        if self.engine.readable() || !self.lanes().any(behind_gap) || self.lane_with_next().is_some() {
            self.gap_since = None;
            return false;
        }
        self.now < *self.gap_since.get_or_insert(self.now) + GAP_TIME
    }

    /// A lane that may have something to read, each in its turn.
    pub(super) fn next_readable(&mut self) -> Option<usize> {
        if !self.is_alive() {
            return None;
        }
        let count = self.slots.len();
        let mut in_turn = (0..count).map(|step| (self.turn + step) % count);
        let readable = |number: &usize| match &self.slots[*number] {
            Slot::Open(lane, _) => lane.line.ready.readable,
            Slot::Empty | Slot::Dialing(_) => false,
        };
        let number = in_turn.find(readable)?;
        self.turn = number + 1;
        Some(number)
    }

    /// Reads a lane once. What comes next in the stream goes to `direct`, all else to the engine. Returns what was read, at
    /// most `limit`, in bytes.
    pub(super) fn read_lane(&mut self, number: usize, limit: usize, mut direct: Option<&mut Direct<'_>>) -> usize {
        let Slot::Open(lane, _) = &mut self.slots[number] else { return 0 };
        let mut heard = Heard { engine: &mut self.engine, dialer: &mut self.dialer, closed: None };
        let now = self.now;
        let result = lane.read(limit, |frame| heard.take(number, frame, direct.as_deref_mut(), now));
        let closed = heard.closed;
        let came = *result.as_ref().unwrap_or(&0);
        self.after_reading(number, result.map(drop), closed);
        came
    }

    pub(super) fn after_reading(&mut self, number: usize, result: Result<(), LaneEnd>, closed: Option<CloseCode>) {
        if let Err(end) = result {
            self.lane_ended(number, end);
        }
        match closed {
            None => {}
            // What has come and was not read yet is still to be read.
            Some(CloseCode::Finished) => self.state = State::Over,
            Some(code) => self.fail(io::ErrorKind::ConnectionReset, format!("closed by the peer: {code}")),
        }
        if !self.is_alive() {
            self.hang_up();
        }
    }
}

/// Who hears the frames of lanes.
pub(super) struct Heard<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) dialer: &'a mut Option<Dialer>,
    /// What the peer closed the session with.
    pub(super) closed: Option<CloseCode>,
}

impl Heard<'_> {
    pub(super) fn take(
        &mut self,
        number: usize,
        frame: Frame<'_>,
        direct: Option<&mut Direct<'_>>,
        now: u64,
    ) -> Result<(), Violation> {
        if let Some(dialer) = self.dialer {
            dialer.is_known = true;
        }
        if let Some(Event::Closed(code)) = self.engine.received(number, frame, direct, now * 1000)? {
            self.closed = Some(code);
        }
        Ok(())
    }
}
