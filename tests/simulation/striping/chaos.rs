//! A schedule of two engines: what happens, and when, is chance.

use cproxy::stripe::engine::{Burst, Config, Direct, Engine, LaneState, Mode, Read};
use cproxy::stripe::frame::{Frame, MOST_OFFSET};
use cproxy::stripe::{INITIAL_WINDOW, MOST_LANES};

use super::lane::Lane;
use super::rule::neglected;
use crate::random::{Random, contents};

/// How often each thing was seen.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    steps: u64,
    bytes: u64,
    counts: [u64; SIGHTS.len()],
}

const SIGHTS: [&str; 14] = [
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
    "bytes were put into the engine's memory",
    "a lane came to a standstill one way as a reader began",
    "a reader began while the other end waited for it",
    "data waited while a lane was free",
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

/// More bursts than this are no schedule's: something goes on without end.
const MOST_BURSTS: u64 = 50_000;

/// Engines that have more turns than this, once the lanes are well, never come to the end.
const MOST_TURNS: usize = 10_000;

/// The longest chunk that an engine keeps bytes in.
const MOST_CHUNK: u64 = 128 << 10;

pub struct Chaos {
    random: Random,
    tracing: bool,
    report: Report,
    now: u64,
    mode: Mode,
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
    /// Whether the readers wait.
    waiting: bool,
    /// An end that has more to write only when they begin.
    slow_writer: Option<usize>,
    /// Bursts so far.
    bursts: u64,
    burst: Burst,
    buffer: Vec<u8>,
}

impl Chaos {
    pub fn new(seed: u64, tracing: bool) -> Chaos {
        let mut random = Random::new(seed);
        let mode = random.pick(&[Mode::UntilCongested, Mode::UntilCongested, Mode::RoundRobin, Mode::Redundant]);
        // More than the window at the start, so that those at the receiver count.
        let long = random.once_in(12);
        let windows = [0; 2].map(|_| match long {
            true => random.pick(&[1, 7, 1000, 20_000, INITIAL_WINDOW]),
            false => random.pick(&[1, 7, 1000, 20_000, INITIAL_WINDOW, 3 * INITIAL_WINDOW, 1 << 20]),
        });
        let start = random.pick(&[0, 0, (4 << 30) - 1000, 4 << 30, 1 << 40, MOST_OFFSET / 2]);
        let lane_timeout = if random.once_in(2) { u64::MAX } else { random.within(1_000_000..=60_000_000) };
        let ping_after = random.pick(&[500_000, 15_000_000, u64::MAX]);
        let configs = windows.map(|window| Config { mode, window, lane_timeout, ping_after });
        let now = random.below(1 << 40);
        let lanes = random.pick(&[1, 2, 2, 3, 4, 4, 6, 9, MOST_LANES]);
        let totals = [0, 1].map(|end: usize| match random.below(24) {
            0..6 => 0,
            _ if windows[end] < 1000 => random.size(60),
            6..20 if long && windows[1 - end] < 1000 => INITIAL_WINDOW - 10 + random.size(30),
            6..20 if long => INITIAL_WINDOW + random.size(30_000),
            20 if windows[1 - end] >= 1000 => INITIAL_WINDOW + random.size(100_000),
            _ => random.size(10_000),
        });
        if tracing {
            println!("{configs:?} start {start} lanes {lanes}");
        }
        Chaos {
            tracing,
            report: Report::default(),
            now,
            mode,
            windows,
            ends: configs.map(|config| Engine::starting_at(start, config, now)),
            lanes: (0..lanes).map(|_| Lane::draw(&mut random)).collect(),
            totals,
            written: [0; 2],
            finished: [false; 2],
            read: [0; 2],
            ended: [false; 2],
            recovering: false,
            waiting: long,
            slow_writer: None,
            bursts: 0,
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
            8..14 if !self.waiting => self.read(end),
            14..24 => self.deliver(lane, end),
            24..27 => (0..self.lanes.len()).for_each(|lane| self.deliver(lane, end)),
            8..14 | 27..35 => self.pump(end),
            35 => self.lanes[lane].ways[end].frozen ^= true,
            36 => self.die(lane, end),
            37 => self.down(lane, end),
            _ => self.revive(lane),
        }
    }

    fn write(&mut self, end: usize) {
        let left = self.totals[end] - self.written[end];
        if left > 0 {
            let length = if self.recovering { left } else { self.random.size(left).min(left) };
            let length = length.min(200_000) as usize;
            let writable = self.ends[end].writable();
            let taken = if self.random.once_in(2) {
                self.ends[end].write(contents(end, self.written[end], length))
            } else {
                self.fill(end, length)
            };
            assert_eq!(taken > 0, writable, "writable() is wrong");
            self.written[end] += taken as u64;
        } else if !self.finished[end] {
            self.finished[end] = true;
            self.ends[end].finish();
            assert_eq!(self.ends[end].write(b"more"), 0, "something was written behind the end");
            assert!(self.ends[end].space().is_empty(), "there is memory for what comes behind the end");
        }
    }

    /// Puts bytes into the engine's memory, and says how many, 0 only if there is no room.
    fn fill(&mut self, end: usize, length: usize) -> usize {
        if self.random.once_in(4) && !self.ends[end].space().is_empty() {
            // There was nothing to be read, for once.
            self.ends[end].fill_space(0);
        }
        let space = self.ends[end].space();
        let count = length.min(space.len());
        space[..count].copy_from_slice(contents(end, self.written[end], count));
        if count > 0 {
            self.ends[end].fill_space(count);
            self.report.counts[10] += 1;
        }
        count
    }

    /// Reads what the other end wrote.
    fn read(&mut self, end: usize) {
        let length = self.random.size(65_536).min(65_536) as usize;
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
        let most = if self.recovering { 1_000_000 } else { self.random.size(100_000) as usize };
        let up = self.lanes[lane].up[receiver];
        let way = &mut self.lanes[lane].ways[sender];
        if way.frozen || !up || way.receive(most, self.now) == 0 {
            return;
        }
        let mut begun = std::mem::take(&mut way.begun);
        let mut used = 0;
        let direct = !self.waiting && self.random.once_in(2);
        let direct_size = if direct { self.random.size(65_536).min(65_536) as usize } else { 0 };
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
        begun.take(used);
        self.lanes[lane].ways[sender].begun = begun;
    }

    /// An end does what is due and sends what it can.
    fn pump(&mut self, end: usize) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if lane.up[end] {
                let room = lane.put(end, self.now);
                self.ends[end].has_room(number, room);
            }
        }
        if self.ends[end].deadline().is_some_and(|at| at <= self.now) {
            self.ends[end].tick(self.now);
        }
        while let Some(silent) = self.ends[end].silent_lane(self.now) {
            self.report.counts[9] += 1;
            self.down(silent, end);
        }
        while let Some(number) = self.ends[end].next_burst(&mut self.burst, self.now) {
            self.bursts += 1;
            assert!(self.bursts < MOST_BURSTS, "bursts without end: {:?} of {:?} read", self.read, self.totals);
            let lane = &mut self.lanes[number];
            assert!(lane.up[end] && lane.ways[end].left.length() == 0, "a burst on a lane that takes none");
            assert!(!self.burst.frames.is_empty(), "a burst of nothing");
            for frame in &self.burst.frames {
                let payload = self.ends[end].payload(frame.payload.clone());
                assert_eq!(payload.len() as u64, frame.payload.end - frame.payload.start, "bytes are gone");
                lane.ways[end].left.add(frame.header.bytes());
                lane.ways[end].left.add(payload);
            }
            let room = lane.put(end, self.now);
            self.ends[end].has_room(number, room);
        }
        self.check_rest(end);
    }

    /// An engine that has done everything waits for something to come, or for a time that is not yet there; and no lane
    /// ought to have data that waits.
    fn check_rest(&mut self, end: usize) {
        let engine = &self.ends[end];
        let restless = engine.deadline().is_some_and(|at| at <= self.now) && !engine.is_abandoned(self.now);
        assert!(!restless, "an engine has nothing to do, and a deadline that is over");
        if let Some((lane, why)) = neglected(engine, self.mode, self.lanes.len()) {
            panic!("data waits for lane {lane} of end {end}: {why}");
        }
        let states = (0..self.lanes.len()).map(|lane| engine.lane_report(lane).state);
        self.report.counts[3] += states.filter(|&state| state == LaneState::Stale).count() as u64;
        if let Some(waiting) = engine.waiting() {
            let free = |lane| engine.outlook(lane, waiting.sendable).is_some_and(|look| look.free);
            self.report.counts[13] += u64::from((0..self.lanes.len()).any(free));
        }
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
        self.lanes[lane].close(end, self.random.once_in(2));
        self.ends[end].lane_down(lane, self.now);
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
        lane.open();
        for end in &mut self.ends {
            let round_trip = if self.random.once_in(2) { None } else { Some(self.random.size(200_000)) };
            end.lane_up(number, round_trip, self.now);
        }
    }

    /// Lanes that one end has closed are closed by the other, too, and opened again.
    fn revive_all(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].up != [true; 2] {
                self.down(lane, 0);
                self.down(lane, 1);
                self.revive(lane);
            }
        }
    }

    fn check(&mut self) {
        self.report.steps += 1;
        for end in 0..2 {
            let engine = &self.ends[end];
            engine.check();
            let (bytes, rest) = engine.memory();
            let chunks = 2 * (4 + 2) * MOST_CHUNK;
            let window = self.windows[end];
            assert!(bytes as u64 <= window + window.max(INITIAL_WINDOW) + chunks, "too much memory: {bytes}");
            assert!(rest < 5_000_000, "too much memory to know what is where: {rest}");
            let held = engine.unacknowledged();
            assert!(held <= window + 1, "more is held than the window: {held}");
            self.report.counts[7] += u64::from(engine.is_held_back());
            self.report.counts[5] += u64::from(engine.duplicates() > 0);
        }
    }

    /// Everything arrives from now on, and then nothing moves.
    fn recover(&mut self) {
        self.recovering = true;
        self.revive_all();
        for lane in &mut self.lanes {
            lane.ways.iter_mut().for_each(|way| way.frozen = false);
            lane.capacity = lane.capacity.max(20_000);
        }
        // At first the readers wait, so that all is acknowledged and only they can bring news of the window.
        self.waiting |= self.random.once_in(2);
        self.slow_writer = self.random.pick(&[None, Some(0), Some(1)]);
        let patience = self.random.size(60) as usize;
        for turns in 0.. {
            assert!(turns < MOST_TURNS, "it never ends: {:?} of {:?} read", self.read, self.totals);
            let before = self.state();
            self.turn();
            if self.ends.iter().all(Engine::is_finished) {
                break;
            }
            if before == self.state() {
                let next = self.next_event();
                if self.waiting && (turns > patience || next.is_none()) {
                    self.waiting = false;
                    self.begin_to_read();
                } else {
                    // Times are in whole milliseconds in practice.
                    self.now = next.expect("nothing will ever happen again").max(self.now + 1000);
                }
            }
        }
        assert_eq!(self.read, [self.totals[1], self.totals[0]], "not everything arrived");
        assert_eq!(self.ended, [true; 2], "an end did not arrive");
        self.become_quiet();
    }

    fn turn(&mut self) {
        if self.tracing {
            println!("{} turn bursts {} sizes {:?} {:?}", self.now, self.bursts, self.written, self.read);
        }
        for end in 0..2 {
            if !self.waiting || self.slow_writer != Some(end) {
                self.write(end);
            }
            if !self.waiting {
                (0..2).for_each(|_| self.read(end));
            }
            self.pump(end);
            (0..self.lanes.len()).for_each(|lane| self.deliver(lane, end));
        }
        self.revive_all();
        self.check();
    }

    /// What changes as long as something moves.
    fn state(&self) -> ([u64; 2], [u64; 2], [bool; 2], [u64; 2]) {
        let under_way = [0, 1].map(|end| {
            let left = self.lanes.iter().map(|lane| lane.ways[end].left.length() as u64).sum::<u64>();
            self.ends[end].unacknowledged() + (left << 32)
        });
        (self.read, self.written, self.ended, under_way)
    }

    /// When something happens next; `None` if nothing ever does.
    fn next_event(&self) -> Option<u64> {
        let arrivals = self.lanes.iter().flat_map(|lane| &lane.ways).filter_map(|way| way.next_arrival());
        arrivals.chain(self.ends.iter().filter_map(Engine::deadline)).min()
    }

    /// The readers begin. At the same time ways of lanes freeze, for good: all but those of one lane may.
    fn begin_to_read(&mut self) {
        self.report.counts[12] += u64::from(self.ends.iter().any(Engine::is_held_back));
        if self.random.once_in(3) {
            return;
        }
        let well = self.random.below(self.lanes.len() as u64) as usize;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let frozen = [0, 1].map(|_| number != well && self.random.once_in(2));
            lane.ways.iter_mut().zip(frozen).for_each(|(way, frozen)| way.frozen = frozen);
            self.report.counts[11] += u64::from(frozen[0] != frozen[1]);
        }
    }

    fn become_quiet(&mut self) {
        for lane in &mut self.lanes {
            lane.capacity = usize::MAX;
            lane.ways.iter_mut().for_each(|way| way.frozen = false);
        }
        let mut quiet_turns = 0;
        for turns in 0.. {
            assert!(turns < MOST_TURNS, "it never becomes quiet");
            for end in 0..2 {
                self.pump(end);
                (0..self.lanes.len()).for_each(|lane| self.deliver(lane, end));
            }
            self.revive_all();
            self.check();
            // PINGs and their answers may go on and on.
            let lanes = 0..self.lanes.len();
            let settled = self.ends.iter().all(|end| lanes.clone().all(|lane| end.lane_report(lane).in_flight == 0));
            quiet_turns += u32::from(settled);
            if quiet_turns == 4 {
                break;
            }
            self.now = self.next_event().unwrap_or(0).max(self.now + if settled { 400_000 } else { 10_000 });
        }
        for end in 0..2 {
            let (bytes, rest) = self.ends[end].memory();
            assert_eq!(bytes, 0, "an idle session has memory for bytes");
            assert!(rest < 1000 + 32 * 600, "an idle session has memory: {rest}");
            assert_eq!(self.ends[end].unacknowledged(), 0);
        }
    }
}
