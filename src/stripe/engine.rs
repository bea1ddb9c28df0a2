//! The engine: one end of a session over several lanes. Bytes of the session and frames of the lanes go in and come out.

mod burst;
mod report;

use super::frame::{Ack, CloseCode, Frame, MOST_OFFSET, Violation};
use super::lane::{EXTRA_IN_FLIGHT, Lane, in_flight_time};
use super::receive::Receiving;
pub use super::receive::{Direct, Read};
pub use super::schedule::Waiting;
use super::send::Sending;
use super::{MAX_PAYLOAD, MOST_LANES};
pub use burst::{Burst, BurstFrame};
pub use report::{LaneReport, LaneState, Outlook};

/// What is written beyond what the peer's window takes, in bytes: so there is always something to send.
const BACKLOG: u64 = 256 << 10;

/// After nothing has moved for so many microseconds, memory is given back.
const RELEASE_TIME: u64 = 1_000_000;

/// Which lanes carry what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What would be there first goes first, and no lane gets more than it can carry away.
    UntilCongested,
    /// Each lane in turn.
    RoundRobin,
    /// Each lane carries everything.
    Redundant,
}

/// What an engine is told at the start. All times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Which lanes carry what.
    pub mode: Mode,
    /// How much is kept at most in each direction, in bytes.
    pub window: u64,
    /// For how long a session lives without a lane, and a lane without an answer.
    pub lane_timeout: u64,
    /// After how long without a frame a lane is asked for one.
    pub ping_after: u64,
}

/// What a frame means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The peer has ended the session.
    Closed(CloseCode),
}

/// One end of a session over several lanes.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    sending: Sending,
    receiving: Receiving,
    lanes: Vec<Option<Lane>>,
    /// The lane that sent last.
    last: usize,
    /// Whether what was written filled the buffer: then more will come.
    pressed: bool,
    no_lane_since: Option<u64>,
    release_at: Option<u64>,
    /// Memory was freed of which nobody was told.
    released: bool,
    closed: bool,
}

impl Engine {
    /// The end of a session that begins.
    pub fn new(config: Config, now: u64) -> Engine {
        Engine::starting_at(0, config, now)
    }

    /// The end of a session that is as if so many bytes, at most half of [`MOST_OFFSET`], had gone both ways: for tests.
    pub fn starting_at(offset: u64, config: Config, now: u64) -> Engine {
        Engine {
            config,
            sending: Sending::starting_at(offset),
            receiving: Receiving::starting_at(offset, config.window.max(1)),
            lanes: Vec::new(),
            last: 0,
            pressed: false,
            no_lane_since: Some(now),
            release_at: None,
            released: false,
            closed: false,
        }
    }

    /// Takes as many of the bytes as there is room for, and says how many. After [`Engine::finish`] it takes none.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(usize::try_from(self.room()).unwrap_or(usize::MAX));
        self.sending.write(&bytes[..taken]);
        self.pressed = self.room() == 0;
        taken
    }

    /// Memory for what is written next, not empty if the engine is [`Engine::writable`]: [`Engine::fill_space`] says how
    /// much of it was filled.
    pub fn space(&mut self) -> &mut [u8] {
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        if room == 0 {
            return &mut [];
        }
        let space = self.sending.space();
        let most = room.min(space.len());
        &mut space[..most]
    }

    /// So many bytes, at most all, were put into what [`Engine::space`] gave: they are taken, as by [`Engine::write`].
    pub fn fill_space(&mut self, bytes: usize) {
        self.sending.fill_space(bytes);
        self.pressed = self.room() == 0;
    }

    /// Whether [`Engine::write`] would take something.
    pub fn writable(&self) -> bool {
        self.room() > 0
    }

    fn room(&self) -> u64 {
        if self.sending.is_finished() {
            return 0;
        }
        let window = self.sending.window_end().saturating_sub(self.sending.acknowledged());
        let most = window.saturating_add(BACKLOG).min(self.config.window);
        let left = MOST_OFFSET - self.sending.last();
        most.saturating_sub(self.sending.held()).min(left)
    }

    /// What was written is all: the end of the stream follows it.
    pub fn finish(&mut self) {
        self.sending.finish();
        self.pressed = false;
    }

    /// Reads bytes of the stream, or its end.
    pub fn read(&mut self, buffer: &mut [u8], now: u64) -> Read {
        let read = self.receiving.read(buffer);
        self.plan_release(now);
        read
    }

    /// Whether [`Engine::read`] would bring something.
    pub fn readable(&self) -> bool {
        self.receiving.readable()
    }

    /// Bytes that were written and that the peer has not acknowledged; the end of the stream counts as one.
    pub fn unacknowledged(&self) -> u64 {
        self.sending.last() - self.sending.acknowledged()
    }

    /// Whether the end of the stream was read, and the peer has the other direction's.
    pub fn is_finished(&self) -> bool {
        self.receiving.end_delivered() && self.sending.is_finished() && self.unacknowledged() == 0
    }

    /// There is a lane of this number, which is below [`MOST_LANES`], from now on. `round_trip` is what is known of its
    /// round trip. The peer is told on it at once what has come and what may come: so it knows that the lane is there, and
    /// what was said on one that is gone.
    pub fn lane_up(&mut self, lane: usize, round_trip: Option<u64>, now: u64) {
        debug_assert!(lane < MOST_LANES, "there are no lanes of such numbers");
        self.lane_down(lane, now);
        if self.lanes.len() <= lane {
            self.lanes.resize_with(lane + 1, || None);
        }
        let mut new = Lane::new(round_trip, now);
        new.ack_now = true;
        self.lanes[lane] = Some(new);
        self.sending.set_good(lane, true, std::iter::empty());
        self.no_lane_since = None;
    }

    /// There is no lane of this number any more: what is not known to have arrived is sent again on others.
    pub fn lane_down(&mut self, lane: usize, now: u64) {
        let Some(gone) = self.lanes.get_mut(lane).and_then(Option::take) else { return };
        let numbers = || gone.records.iter().map(|record| record.number);
        self.sending.set_good(lane, false, numbers());
        self.sending.forget_lane(lane, numbers());
        if self.lanes.iter().all(Option::is_none) {
            self.no_lane_since = Some(now);
        }
    }

    /// Says whether a lane takes bytes now. Until it is said, it does.
    pub fn has_room(&mut self, lane: usize, room: bool) {
        if let Some(lane) = self.lane_mut(lane) {
            lane.room = room;
        }
    }

    /// Takes a frame that came on a lane. Bytes that are the next to be read go to `direct`, if it is there and
    /// [`Engine::readable`] is false.
    ///
    /// # Errors
    ///
    /// The peer broke the rules: the lane or the session is to be ended. What came before is not harmed.
    pub fn received(
        &mut self,
        lane: usize,
        frame: Frame<'_>,
        direct: Option<&mut Direct<'_>>,
        now: u64,
    ) -> Result<Option<Event>, Violation> {
        if self.lane(lane).is_none() {
            return Ok(None);
        }
        self.heard(lane, now);
        match frame {
            Frame::Data { offset, payload } => {
                if payload.is_empty() || payload.len() > MAX_PAYLOAD || offset > MOST_OFFSET - payload.len() as u64 {
                    return Err(Violation("an offset that is too large"));
                }
                self.receiving.data(offset, payload, direct)?;
                self.grow_window(now);
                let complete = self.receiving.is_complete();
                if let Some(lane) = self.lane_mut(lane) {
                    lane.came(payload.len() as u64, now);
                    lane.ack_now |= complete;
                }
            }
            Frame::End { offset } => {
                if offset > MOST_OFFSET {
                    return Err(Violation("an offset that is too large"));
                }
                self.receiving.end(offset)?;
                if let Some(lane) = self.lane_mut(lane) {
                    lane.came(1, now);
                    lane.ack_now = true;
                }
            }
            Frame::Ack(ack) => self.acknowledged(lane, ack, now)?,
            Frame::Ping(token) => {
                if let Some(lane) = self.lane_mut(lane) {
                    lane.pong_due = Some(token);
                }
            }
            Frame::Pong(_) => {}
            Frame::Close(code) => {
                if code == CloseCode::Finished {
                    self.closed_as_finished()?;
                }
                return Ok(Some(Event::Closed(code)));
            }
            Frame::Join(_) => return Err(Violation("a JOIN where none belongs")),
        }
        self.plan_release(now);
        Ok(None)
    }

    fn acknowledged(&mut self, number: usize, ack: Ack, now: u64) -> Result<(), Violation> {
        let Engine { sending, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(number).and_then(Option::as_mut) else { return Ok(()) };
        if ack.cumulative > sending.next() || ack.on_this_lane > lane.sent {
            return Err(Violation("an ACK of what was not sent"));
        }
        lane.acknowledged(ack.on_this_lane, u64::from(ack.delay), now, |segment| sending.arrived(segment, number));
        sending.acknowledge(ack.cumulative);
        sending.widen(ack.window_end);
        Ok(())
    }

    fn grow_window(&mut self, now: u64) {
        if self.receiving.may_grow() {
            let (mut longest, mut count) = (0, 0);
            for lane in self.lanes.iter().flatten() {
                longest = lane.round_trip().unwrap_or(0).max(longest);
                count += 1;
            }
            self.receiving.grow(in_flight_time(longest), count * EXTRA_IN_FLIGHT, now);
        }
    }

    /// The peer has all, and all has come from it, or it lies.
    fn closed_as_finished(&mut self) -> Result<(), Violation> {
        if !self.receiving.is_complete() || !self.sending.is_finished() || self.sending.next() != self.sending.last() {
            return Err(Violation("a CLOSE as finished before the end"));
        }
        self.sending.acknowledge(self.sending.last());
        self.closed = true;
        Ok(())
    }

    fn heard(&mut self, number: usize, now: u64) {
        let Engine { sending, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(number).and_then(Option::as_mut) else { return };
        lane.heard(now);
        if std::mem::take(&mut lane.stale) {
            lane.restart(now);
            sending.set_good(number, true, lane.records.iter().map(|record| record.number));
        }
    }

    /// Does what is due: lanes that are silent become stale, and what they have waits to be sent on others; PINGs become
    /// due; memory is given back. To be called at [`Engine::deadline`] or later, before [`Engine::next_burst`].
    pub fn tick(&mut self, now: u64) {
        let Engine { sending, lanes, config, .. } = self;
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            lane.forget_old_rate(now);
            if lane.pinged_at.is_none() && now >= lane.heard_at.saturating_add(config.ping_after) {
                lane.pinged_at = Some(now);
                lane.ping_due = true;
            }
            if !lane.stale && lane.stale_at().is_some_and(|at| at <= now) {
                lane.stale = true;
                sending.set_good(number, false, lane.records.iter().map(|record| record.number));
            }
        }
        if self.release_at.is_some_and(|at| at <= now) {
            self.release_at = None;
            self.released |= self.sending.has_spare() || self.receiving.has_spare();
            self.sending.release();
            self.receiving.release();
            self.lanes.iter_mut().flatten().for_each(Lane::release);
        }
    }

    /// When [`Engine::tick`] and [`Engine::next_burst`] have something to do though nothing comes, and when
    /// [`Engine::silent_lane`] or [`Engine::is_abandoned`] say something new; `None` if never.
    pub fn deadline(&self) -> Option<u64> {
        let abandoned = self.no_lane_since.map(|since| since.saturating_add(self.config.lane_timeout));
        let lanes = self.lanes.iter().flatten().flat_map(|lane| {
            let ack = if lane.room { lane.ack_due_at(self.receiving.window()) } else { None };
            let stale = if lane.stale { None } else { lane.stale_at() };
            let silent = lane.waits_since().map(|since| since.saturating_add(self.config.lane_timeout));
            let ping = match lane.pinged_at {
                None => Some(lane.heard_at.saturating_add(self.config.ping_after)),
                Some(_) => None,
            };
            [ack, stale, silent, ping]
        });
        // What is sent once more now is none of this: it waits for nothing but a call.
        let again = self.again(0).and_then(Result::err).flatten();
        lanes.chain([abandoned, self.release_at, again]).flatten().filter(|&at| at < u64::MAX).min()
    }

    /// A lane that has not answered for the lane timeout: the caller is to close it and say [`Engine::lane_down`].
    pub fn silent_lane(&self, now: u64) -> Option<usize> {
        let silent =
            |lane: &Lane| lane.waits_since().is_some_and(|since| since.saturating_add(self.config.lane_timeout) <= now);
        self.lanes.iter().position(|lane| lane.as_ref().is_some_and(silent))
    }

    /// Whether there has been no lane for the lane timeout.
    pub fn is_abandoned(&self, now: u64) -> bool {
        self.no_lane_since.is_some_and(|since| since.saturating_add(self.config.lane_timeout) <= now)
    }

    fn plan_release(&mut self, now: u64) {
        if self.release_at.is_none() {
            let spare = self.sending.has_spare() || self.receiving.has_spare();
            if spare || self.lanes.iter().flatten().any(Lane::has_spare) {
                self.release_at = Some(now + RELEASE_TIME);
            }
        }
    }

    fn lane(&self, number: usize) -> Option<&Lane> {
        self.lanes.get(number)?.as_ref()
    }

    fn lane_mut(&mut self, number: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(number)?.as_mut()
    }
}

#[cfg(test)]
mod tests;
