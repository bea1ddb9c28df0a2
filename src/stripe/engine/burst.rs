//! What an engine sends: which lane is next, and what goes on it.

use std::ops::Range;

use super::{Engine, Mode};
use crate::stripe::frame::{Ack, Frame, Header};
use crate::stripe::lane::Lane;
use crate::stripe::schedule::{self, Waiting};

/// A frame that is to be sent.
#[derive(Debug, Clone)]
pub struct BurstFrame {
    /// Its first bytes.
    pub header: Header,
    /// Which bytes of the stream follow; see [`Engine::payload`]. Empty for most frames.
    pub payload: Range<u64>,
}

/// Frames that one lane is to send, in their order. It is kept and used again.
#[derive(Debug, Default)]
pub struct Burst {
    /// The frames.
    pub frames: Vec<BurstFrame>,
}

impl Burst {
    fn add(&mut self, frame: &Frame<'_>) {
        self.frames.push(BurstFrame { header: frame.header(), payload: 0..0 });
    }

    /// How long all of it is, in bytes.
    pub fn length(&self) -> usize {
        let length =
            |frame: &BurstFrame| frame.header.bytes().len() + (frame.payload.end - frame.payload.start) as usize;
        self.frames.iter().map(length).sum()
    }
}

impl Engine {
    /// Puts into `burst` what a lane is to send now, all of it, and says which lane; `None` if there is nothing to send
    /// or no lane for it. To be called until it says that.
    pub fn next_burst(&mut self, burst: &mut Burst, now: u64) -> Option<usize> {
        burst.frames.clear();
        if self.receiving.has_news_for_all() && self.lanes.iter().any(Option::is_some) {
            // The peer would wait for as long as a lane that is just being lost keeps the news.
            self.receiving.spread_window();
            self.lanes.iter_mut().flatten().for_each(|lane| lane.ack_now = true);
        }
        if let Some(number) = self.next_for_data() {
            if self.has_control(number, now) {
                self.add_control(number, burst, now);
            }
            self.add_data(number, burst, now);
            self.last = number;
            return Some(number);
        }
        if let Some(Ok((number, segment))) = self.again(now) {
            if self.has_control(number, now) {
                self.add_control(number, burst, now);
            }
            self.sending.hold(segment, number);
            self.add_segment(number, segment, true, burst, now);
            return Some(number);
        }
        let number =
            (0..self.lanes.len()).find(|&number| self.is_control_due(number, now)).or_else(|| self.for_news())?;
        self.add_control(number, burst, now);
        Some(number)
    }

    /// The bytes of a frame of the burst that was made last, if nothing else was asked of the engine since.
    pub fn payload(&self, range: Range<u64>) -> &[u8] {
        self.sending.payload(&range)
    }

    fn next_for_data(&mut self) -> Option<usize> {
        if self.config.mode == Mode::Redundant {
            let new = self.sending.sendable() > 0 || self.sending.end_is_next();
            return (0..self.lanes.len()).find(|&number| self.redundant(number, new).is_some());
        }
        let waiting = self.waiting()?;
        match self.config.mode {
            Mode::RoundRobin => schedule::round_robin(&self.lanes, self.last),
            _ => schedule::until_congested(&self.lanes, &waiting, self.last),
        }
    }

    /// What may be sent now and waits for a lane; `None` if nothing does.
    pub fn waiting(&self) -> Option<Waiting> {
        let sending = &self.sending;
        let lost = sending.lost_bytes();
        let sendable = lost + sending.sendable() + u64::from(sending.end_is_next());
        (sendable > 0).then(|| Waiting {
            sendable,
            backlog: (!self.pressed).then(|| lost + sending.unsent()),
            window: (lost == 0).then(|| sending.window_end().saturating_sub(sending.next())),
        })
    }

    /// The number of the segment that a lane which sends all is to send next; the number behind all if that is a new one.
    fn redundant(&mut self, number: usize, new: bool) -> Option<u64> {
        let Engine { sending, lanes, .. } = self;
        let lane = lanes.get_mut(number).and_then(Option::as_mut).filter(|lane| lane.is_free())?;
        let numbers = sending.numbers();
        lane.cursor = lane.cursor.max(numbers.start);
        while lane.cursor < numbers.end && sending.open(lane.cursor).is_none() {
            lane.cursor += 1;
        }
        (lane.cursor < numbers.end || new).then_some(lane.cursor)
    }

    fn add_data(&mut self, number: usize, burst: &mut Burst, now: u64) {
        let Some(lane) = self.lane(number) else { return };
        let mut left = lane.burst();
        while left > 0 {
            let Some((segment, again)) = self.next_segment(number, left) else { break };
            match self.add_segment(number, segment, again, burst, now) {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        if self.sending.unsent() == 0 {
            self.pressed = false;
        }
    }

    /// Adds a segment, which the lane holds, and says how long it is.
    fn add_segment(&mut self, number: usize, segment: u64, again: bool, burst: &mut Burst, now: u64) -> u64 {
        let Engine { sending, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(number).and_then(Option::as_mut) else { return 0 };
        let Some(range) = sending.open(segment) else { return 0 };
        let length = range.end - range.start;
        if sending.is_end(&range) {
            burst.add(&Frame::End { offset: range.start });
        } else {
            let header = Header::of_data(range.start, length as usize);
            burst.frames.push(BurstFrame { header, payload: range });
        }
        lane.sent(segment, length, now);
        lane.cursor = segment + 1;
        if again {
            lane.sent_again += length;
        }
        length
    }

    /// What may be sent once more, or when; `None` if there is something else to send, or that is not to be done.
    pub(super) fn again(&self, now: u64) -> Option<Result<(usize, u64), Option<u64>>> {
        if self.config.mode != Mode::UntilCongested || self.waits() {
            return None;
        }
        Some(schedule::again(&self.lanes, &self.sending, now))
    }

    /// The segment that the lane is to send next, and whether it was sent before.
    fn next_segment(&mut self, number: usize, most: u64) -> Option<(u64, bool)> {
        if self.config.mode == Mode::Redundant {
            let segment = self.redundant(number, true)?;
            if segment == self.sending.numbers().end {
                return self.sending.cut(most, number).map(|segment| (segment, false));
            }
            self.sending.hold(segment, number);
            return Some((segment, true));
        }
        if let Some(segment) = self.sending.take_lost(number) {
            return Some((segment, true));
        }
        self.sending.cut(most, number).map(|segment| (segment, false))
    }

    /// Whether a lane has something to tell that can go along with data.
    fn has_control(&self, number: usize, now: u64) -> bool {
        self.is_control_due(number, now) || self.lane(number).is_some_and(Lane::has_untold)
    }

    /// Whether a lane has something to tell now.
    fn is_control_due(&self, number: usize, now: u64) -> bool {
        self.lane(number).is_some_and(|lane| {
            let ack = lane.ack_due_at(self.receiving.window()).is_some_and(|at| at <= now);
            lane.room && (ack || lane.ping_due || lane.pong_due.is_some())
        })
    }

    /// The lane that tells the peer the news of the window, if there are some.
    fn for_news(&self) -> Option<usize> {
        if !self.receiving.has_window_news() {
            return None;
        }
        let lanes = self.lanes.iter().enumerate().filter_map(|(number, lane)| Some((number, lane.as_ref()?)));
        let free = lanes.filter(|(_, lane)| lane.room && !lane.stale);
        free.min_by_key(|(_, lane)| lane.round_trip()).map(|(number, _)| number)
    }

    fn add_control(&mut self, number: usize, burst: &mut Burst, now: u64) {
        let Engine { receiving, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(number).and_then(Option::as_mut) else { return };
        let (on_this_lane, delay) = lane.tell(now);
        let (cumulative, window_end) = (receiving.cumulative(), receiving.tell_window());
        burst.add(&Frame::Ack(Ack { cumulative, window_end, on_this_lane, delay }));
        if let Some(token) = lane.pong_due.take() {
            burst.add(&Frame::Pong(token));
        }
        if std::mem::take(&mut lane.ping_due) {
            burst.add(&Frame::Ping(now));
        }
    }

    /// Whether something may be sent now and waits for a lane.
    pub(super) fn waits(&self) -> bool {
        self.waiting().is_some()
    }
}
