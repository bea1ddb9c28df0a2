//! The engine: one end of a session over several lanes. Bytes of the session and frames of the lanes go in and come out.

use std::ops::Range;

use super::frame::{Ack, CloseCode, Frame, Header, MOST_OFFSET, Violation};
use super::lane::{EXTRA_IN_FLIGHT, Lane, in_flight_time};
use super::receive::Receiving;
pub use super::receive::{Direct, Read};
use super::schedule;
pub use super::schedule::Waiting;
use super::send::Sending;
use super::{MAX_PAYLOAD, MOST_LANES};

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
    fn again(&self, now: u64) -> Option<Result<(usize, u64), Option<u64>>> {
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

    /// Does what is due: lanes that are silent become stale, and what they have waits to be sent on others; PINGs become
    /// due; memory is given back. To be called at [`Engine::deadline`] or later, before [`Engine::next_burst`].
    pub fn tick(&mut self, now: u64) {
        let Engine { sending, lanes, config, .. } = self;
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
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

    fn plan_release(&mut self, now: u64) {
        if self.release_at.is_none() {
            let spare = self.sending.has_spare() || self.receiving.has_spare();
            if spare || self.lanes.iter().flatten().any(Lane::has_spare) {
                self.release_at = Some(now + RELEASE_TIME);
            }
        }
    }

    /// Bytes of memory that the engine has for bytes of the stream, and for what it knows of them.
    pub fn memory(&self) -> (usize, usize) {
        let (sending, receiving) = (self.sending.memory(), self.receiving.memory());
        let records = |lane: &Lane| lane.records.capacity() * size_of::<super::lane::Record>();
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

    /// Whether something may be sent now and waits for a lane.
    fn waits(&self) -> bool {
        self.waiting().is_some()
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

    fn lane(&self, number: usize) -> Option<&Lane> {
        self.lanes.get(number)?.as_ref()
    }

    fn lane_mut(&mut self, number: usize) -> Option<&mut Lane> {
        self.lanes.get_mut(number)?.as_mut()
    }
}

#[cfg(test)]
mod tests;
