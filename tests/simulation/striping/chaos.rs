//! A schedule of two engines: what happens, and when, is chance.

use cproxy::stripe::engine::{Burst, Config, Direct, Engine, LaneState, Mode, Read};
use cproxy::stripe::frame::{Frame, MOST_OFFSET};
use cproxy::stripe::{INITIAL_WINDOW, MOST_LANES};

use crate::random::{Random, contents};

/// How often each thing was seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    steps: u64,
    bytes: u64,
    counts: [u64; SIGHTS.len()],
}

const SIGHTS: [&str; 10] = [
    "a lane died with bytes under way",
    "a lane died while the end was under way",
    "all lanes were down with bytes under way",
    "a lane was stale",
    "a stale lane came back",
    "bytes came twice",
    "bytes went straight to the reader",
    "the window was full",
    "a lane was asked for a sign of life",
    "a lane was silent for too long",
];

impl Report {
    pub fn add(&mut self, other: &Report) {
        self.steps += other.steps;
        self.bytes += other.bytes;
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
    }

    pub fn missing(&self) -> Option<&'static str> {
        SIGHTS.iter().zip(self.counts).find(|(_, count)| *count == 0).map(|(name, _)| *name)
    }
}

/// Bytes that are added at one end and taken at the other.
#[derive(Default)]
struct Bytes {
    bytes: Vec<u8>,
    taken: usize,
}

impl Bytes {
    fn all(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn length(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn add(&mut self, bytes: &[u8]) {
        if self.taken > 100_000 || self.taken == self.bytes.len() {
            self.bytes.drain(..std::mem::take(&mut self.taken));
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn move_to(&mut self, to: &mut Bytes, count: usize) {
        to.add(&self.all()[..count]);
        self.taken += count;
    }
}

/// One direction of a lane.
#[derive(Default)]
struct Way {
    /// What the sender's lane has and its socket has not taken.
    left: Bytes,
    /// What the network has.
    under_way: Bytes,
    /// What the receiver has of a frame.
    begun: Bytes,
}

impl Way {
    fn put(&mut self, capacity: usize) {
        let count = capacity.saturating_sub(self.under_way.length()).min(self.left.length());
        self.left.move_to(&mut self.under_way, count);
    }
}

struct Lane {
    up: [bool; 2],
    /// How much the network holds.
    capacity: usize,
    frozen: bool,
    /// By the end that sends.
    ways: [Way; 2],
}

pub struct Chaos {
    random: Random,
    tracing: bool,
    report: Report,
    now: u64,
    windows: [u64; 2],
    ends: [Engine; 2],
    lanes: Vec<Lane>,
    /// How much each end will write, has written and has read.
    totals: [u64; 2],
    written: [u64; 2],
    finished: [bool; 2],
    read: [u64; 2],
    ended: [bool; 2],
    recovering: bool,
    burst: Burst,
    buffer: Vec<u8>,
}

impl Chaos {
    pub fn new(seed: u64, tracing: bool) -> Chaos {
        let mut random = Random::new(seed);
        let mode = random.pick(&[Mode::UntilCongested, Mode::UntilCongested, Mode::RoundRobin, Mode::Redundant]);
        let windows = [0; 2].map(|_| random.pick(&[1, 7, 1000, 20_000, INITIAL_WINDOW, 3 * INITIAL_WINDOW, 1 << 20]));
        let start = random.pick(&[0, 0, (4 << 30) - 1000, 4 << 30, 1 << 40, MOST_OFFSET / 2]);
        let lane_timeout = random.within(1_000_000..=60_000_000);
        let ping_after = random.pick(&[500_000, 15_000_000, u64::MAX]);
        let configs = windows.map(|window| Config { mode, window, lane_timeout, ping_after });
        let now = random.below(1 << 40);
        let lanes = random.size(MOST_LANES as u64).min(MOST_LANES as u64);
        let totals = [0, 1].map(|end: usize| match random.below(24) {
            0..6 => 0,
            // More than the window at the start, so that those of one byte count.
            _ if windows[end] < 1000 => random.size(300),
            6 if windows[1 - end] < 1000 => INITIAL_WINDOW - 100 + random.size(200),
            6 => INITIAL_WINDOW + random.size(100_000),
            _ => random.size(30_000),
        });
        if tracing {
            println!("{configs:?} start {start} lanes {lanes}");
        }
        Chaos {
            tracing,
            report: Report::default(),
            now,
            windows,
            ends: configs.map(|config| Engine::starting_at(start, config, now)),
            lanes: (0..lanes)
                .map(|_| Lane {
                    up: [false; 2],
                    capacity: random.size(200_000) as usize,
                    frozen: false,
                    ways: Default::default(),
                })
                .collect(),
            totals,
            written: [0; 2],
            finished: [false; 2],
            read: [0; 2],
            ended: [false; 2],
            recovering: false,
            burst: Burst::default(),
            buffer: vec![0; 70_000],
            random,
        }
    }

    pub fn run(mut self) -> Report {
        if !self.random.once_in(10) {
            (0..self.lanes.len()).for_each(|lane| self.revive(lane));
        }
        for _ in 0..self.random.within(10..=50) {
            self.step();
            self.check();
        }
        self.recover();
        self.report
    }

    fn step(&mut self) {
        if self.random.once_in(3) {
            self.now += self.random.size(3_000_000);
        }
        let end = self.random.below(2) as usize;
        let lane = self.random.below(self.lanes.len() as u64) as usize;
        let action = self.random.below(40);
        if self.tracing {
            println!("{} end {end} lane {lane} action {action} sizes {:?} {:?}", self.now, self.written, self.read);
        }
        match action {
            0..8 => self.write(end),
            8..14 => self.read(end),
            14..24 => self.deliver(lane, end),
            24..27 => (0..self.lanes.len()).for_each(|lane| self.deliver(lane, end)),
            27..35 => self.pump(end),
            35 => self.lanes[lane].frozen ^= true,
            36 => self.die(lane, end),
            37 => self.down(lane, end),
            _ => self.revive(lane),
        }
    }

    fn write(&mut self, end: usize) {
        let left = self.totals[end] - self.written[end];
        if left > 0 {
            let length = self.random.size(left).min(left).min(200_000) as usize;
            let writable = self.ends[end].writable();
            let taken = self.ends[end].write(contents(end, self.written[end], length));
            assert_eq!(taken > 0, writable, "writable() is wrong");
            self.written[end] += taken as u64;
        } else if !self.finished[end] {
            self.finished[end] = true;
            self.ends[end].finish();
            assert_eq!(self.ends[end].write(b"more"), 0, "something was written behind the end");
        }
    }

    /// Reads what the other end wrote.
    fn read(&mut self, end: usize) {
        let length = if self.recovering { 65_536 } else { self.random.size(65_536).min(65_536) as usize };
        let readable = self.ends[end].readable();
        let read = self.ends[end].read(&mut self.buffer[..length], self.now);
        assert_eq!(read != Read::Nothing, readable, "readable() is wrong");
        match read {
            Read::Bytes(count) => self.got(end, count),
            Read::Nothing => {}
            Read::End => {
                assert!(!self.ended[end], "a stream ended twice");
                assert!(self.finished[1 - end] && self.read[end] == self.totals[1 - end], "a stream ended early");
                self.ended[end] = true;
            }
        }
    }

    /// The reader has so many bytes more, in the buffer.
    fn got(&mut self, end: usize, count: usize) {
        assert!(count > 0, "nothing was read");
        let expected = contents(1 - end, self.read[end], count);
        assert!(self.buffer[..count] == *expected, "what was read is not what was written");
        self.read[end] += count as u64;
        assert!(self.read[end] <= self.written[1 - end], "more was read than written");
        self.report.bytes += count as u64;
    }

    /// Some bytes of a lane come to its other end.
    fn deliver(&mut self, lane: usize, sender: usize) {
        let receiver = 1 - sender;
        if self.lanes[lane].frozen || !self.lanes[lane].up[receiver] {
            return;
        }
        let way = &mut self.lanes[lane].ways[sender];
        let most = if self.recovering { 1_000_000 } else { self.random.size(100_000) };
        let count = most.min(way.under_way.length() as u64) as usize;
        way.under_way.move_to(&mut way.begun, count);
        let mut begun = std::mem::take(&mut way.begun);
        let mut used = 0;
        let direct_size = if self.random.once_in(2) { 0 } else { self.random.size(65_536).min(65_536) as usize };
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut direct = Direct { buffer: &mut buffer[..direct_size], filled: 0 };
        while let Some((frame, length)) = Frame::decode(&begun.all()[used..]).expect("an engine sends no such frame") {
            let state = self.ends[receiver].lane_report(lane).state;
            let direct = (direct_size > 0).then_some(&mut direct);
            let event = self.ends[receiver].received(lane, frame, direct, self.now);
            assert_eq!(event, Ok(None), "an engine breaks the rules with {frame:?}");
            if state == LaneState::Stale {
                self.report.counts[4] += 1;
            }
            if matches!(frame, Frame::Ping(_)) {
                self.report.counts[8] += 1;
            }
            used += length;
        }
        let filled = direct.filled;
        self.buffer = buffer;
        if filled > 0 {
            self.report.counts[6] += 1;
            self.got(receiver, filled);
        }
        begun.taken += used;
        self.lanes[lane].ways[sender].begun = begun;
    }

    /// An end does what is due and sends what it can.
    fn pump(&mut self, end: usize) {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            if lane.up[end] {
                lane.ways[end].put(lane.capacity);
                let room = lane.ways[end].left.length() == 0;
                self.ends[end].has_room(number, room);
            }
        }
        if self.ends[end].deadline().is_some_and(|at| at <= self.now) {
            self.ends[end].tick(self.now);
        }
        let stale = (0..self.lanes.len()).filter(|&lane| self.ends[end].lane_report(lane).state == LaneState::Stale);
        self.report.counts[3] += stale.count() as u64;
        while let Some(silent) = self.ends[end].silent_lane(self.now) {
            self.report.counts[9] += 1;
            self.down(silent, end);
        }
        for bursts in 0.. {
            assert!(bursts < 20_000, "bursts without end");
            let Some(number) = self.ends[end].next_burst(&mut self.burst, self.now) else { break };
            let lane = &mut self.lanes[number];
            assert!(lane.up[end] && lane.ways[end].left.length() == 0, "a burst on a lane that takes none");
            assert!(!self.burst.frames.is_empty(), "a burst of nothing");
            for frame in &self.burst.frames {
                let payload = self.ends[end].payload(frame.payload.clone());
                assert_eq!(payload.len() as u64, frame.payload.end - frame.payload.start, "bytes are gone");
                lane.ways[end].left.add(frame.header.bytes());
                lane.ways[end].left.add(payload);
            }
            lane.ways[end].put(lane.capacity);
            self.ends[end].has_room(number, lane.ways[end].left.length() == 0);
        }
        self.check_that_none_waits(end);
    }

    /// Of bytes that wait though they may be sent, there is a reason on some lane: it has bytes under way, or no room.
    fn check_that_none_waits(&mut self, end: usize) {
        if !self.ends[end].waits() {
            return;
        }
        let good = |number: &usize| self.ends[end].lane_report(*number).state == LaneState::Good;
        let mut good = (0..self.lanes.len()).filter(good).peekable();
        let none = good.peek().is_none();
        let busy = |number: usize| {
            self.lanes[number].ways[end].left.length() > 0 || self.ends[end].lane_report(number).in_flight > 0
        };
        assert!(none || good.any(busy), "bytes wait while all lanes are idle");
    }

    /// One end closes the lane; what is under way is lost.
    fn die(&mut self, lane: usize, end: usize) {
        self.down(lane, end);
        if self.random.once_in(2) {
            self.down(lane, 1 - end);
        }
    }

    fn down(&mut self, lane: usize, end: usize) {
        if !self.lanes[lane].up[end] {
            return;
        }
        let under_way = self.ends[end].lane_report(lane).in_flight;
        self.lanes[lane].up[end] = false;
        self.ends[end].lane_down(lane, self.now);
        self.lanes[lane].ways[end] = Way::default();
        if self.random.once_in(2) {
            self.lanes[lane].ways[1 - end].under_way = Bytes::default();
        }
        if under_way > 0 {
            self.report.counts[0] += 1;
            let all_down = self.lanes.iter().all(|lane| !lane.up[end]);
            self.report.counts[2] += u64::from(all_down);
            self.report.counts[1] += u64::from(self.finished[end] && self.ends[end].unacknowledged() > 0);
        }
    }

    /// The lane is opened again, once both ends have closed it.
    fn revive(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        if lane.up != [false; 2] {
            return;
        }
        lane.ways = Default::default();
        lane.up = [true; 2];
        lane.frozen = false;
        for end in &mut self.ends {
            let round_trip = if self.random.once_in(2) { None } else { Some(self.random.size(200_000)) };
            end.lane_up(number, round_trip, self.now);
        }
    }

    fn check(&mut self) {
        self.report.steps += 1;
        for end in 0..2 {
            let engine = &self.ends[end];
            engine.check();
            let (bytes, rest) = engine.memory();
            let chunks = 2 * (4 + 2) * 32_768;
            let window = self.windows[end];
            assert!(bytes as u64 <= window + window.max(INITIAL_WINDOW) + chunks, "too much memory: {bytes}");
            assert!(rest < 5_000_000, "too much memory to know what is where: {rest}");
            let held = engine.unacknowledged();
            assert!(held <= window + 1, "more is held than the window: {held}");
            self.report.counts[7] += u64::from(engine.is_held_back());
            self.report.counts[5] += u64::from(engine.duplicates() > 0);
        }
    }

    /// The lanes are well from now on: everything arrives, and then nothing moves.
    fn recover(&mut self) {
        self.recovering = true;
        for lane in 0..self.lanes.len() {
            // Those that one end has closed are closed by the other, too, and others stay as they are.
            if self.lanes[lane].up != [true; 2] {
                self.down(lane, 0);
                self.down(lane, 1);
                self.revive(lane);
            }
            self.lanes[lane].frozen = false;
            self.lanes[lane].capacity = self.lanes[lane].capacity.max(20_000);
        }
        for rounds in 0.. {
            assert!(rounds < 20_000, "it never ends: {:?} of {:?} read", self.read, self.totals);
            let before = (self.read, self.written, self.ended);
            for end in 0..2 {
                self.write(end);
                // At first the readers wait, so that all is acknowledged and only they can bring news of the window.
                if rounds >= 8 {
                    (0..2).for_each(|_| self.read(end));
                }
                self.pump(end);
                (0..self.lanes.len()).for_each(|lane| self.deliver(lane, end));
            }
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].up != [true; 2] {
                    self.down(lane, 0);
                    self.down(lane, 1);
                    self.revive(lane);
                }
            }
            self.check();
            if self.ends.iter().all(Engine::is_finished) {
                break;
            }
            if before == (self.read, self.written, self.ended) {
                let deadline = self.ends.iter().filter_map(Engine::deadline).min().unwrap_or(0);
                self.now = deadline.clamp(self.now + 1000, self.now + 1_000_000);
            }
        }
        assert_eq!(self.read, [self.totals[1], self.totals[0]], "not everything arrived");
        assert_eq!(self.ended, [true; 2], "an end did not arrive");
        self.become_quiet();
    }

    fn become_quiet(&mut self) {
        for _ in 0..6 {
            self.now += 400_000;
            for end in 0..2 {
                self.pump(end);
                (0..self.lanes.len()).for_each(|lane| {
                    self.lanes[lane].capacity = usize::MAX;
                    self.deliver(lane, end);
                });
                self.check();
            }
        }
        for end in 0..2 {
            let (bytes, rest) = self.ends[end].memory();
            assert_eq!(bytes, 0, "an idle session has memory for bytes");
            assert!(rest < 1000 + 32 * 600, "an idle session has memory: {rest}");
            assert_eq!(self.ends[end].unacknowledged(), 0);
        }
    }
}
