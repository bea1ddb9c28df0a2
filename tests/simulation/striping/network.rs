//! Two engines on lanes with rates and delays, in virtual time: end 0 writes, end 1 reads.

use std::collections::VecDeque;

use cproxy::stripe::engine::{Burst, Config, Direct, Engine, Mode, Read};
use cproxy::stripe::frame::Frame;

use crate::random::contents;

const MILLISECOND: u64 = 1000;
pub const SECOND: u64 = 1_000_000;

/// What a socket takes beyond what is under way: as with `TCP_NOTSENT_LOWAT`.
const NOT_SENT: u64 = 64 << 10;

/// How a lane is, both ways.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes a second.
    pub rate: u64,
    /// One way, in microseconds.
    pub delay: u64,
    /// From when to when nothing passes.
    pub frozen: (u64, u64),
}

/// A lane of so many Mbit/s and milliseconds one way.
pub fn lane(megabits: u64, delay: u64) -> Shape {
    Shape { rate: megabits * 125_000, delay: delay * MILLISECOND, frozen: (0, 0) }
}

/// One direction of a lane.
#[derive(Debug)]
struct Way {
    shape: Shape,
    /// What the sender's lane has and its socket has not taken.
    left: Vec<u8>,
    /// What the socket has taken: bytes, and when they come to the other end.
    under_way: VecDeque<(u64, Vec<u8>)>,
    /// How much of that has not come there, and when the peer's kernel has acknowledged what has: time and bytes.
    taken: u64,
    acknowledged: VecDeque<(u64, u64)>,
    free_at: u64,
    begun: Vec<u8>,
    pub sent: u64,
}

impl Way {
    fn new(shape: Shape) -> Way {
        Way {
            shape,
            left: Vec::new(),
            under_way: VecDeque::new(),
            taken: 0,
            acknowledged: VecDeque::new(),
            free_at: 0,
            begun: Vec::new(),
            sent: 0,
        }
    }

    fn room(&mut self, now: u64) -> u64 {
        while let Some((_, bytes)) = pop_if(&mut self.acknowledged, |(at, _)| *at <= now) {
            self.taken -= bytes;
        }
        let limit = NOT_SENT + self.shape.rate * 2 * self.shape.delay / SECOND;
        limit.saturating_sub(self.taken)
    }

    /// The socket takes what it can of what is left.
    fn put(&mut self, now: u64) {
        let count = (self.room(now) as usize).min(self.left.len());
        let piece = (self.shape.rate / 1000).max(1448) as usize;
        for piece in self.left[..count].chunks(piece) {
            let mut start = self.free_at.max(now);
            let mut end = start + piece.len() as u64 * SECOND / self.shape.rate;
            let (from, to) = self.shape.frozen;
            if end + self.shape.delay > from && start < to {
                start = to;
                end = start + piece.len() as u64 * SECOND / self.shape.rate;
            }
            self.free_at = end;
            self.under_way.push_back((end + self.shape.delay, piece.to_vec()));
            self.acknowledged.push_back((end + 2 * self.shape.delay, piece.len() as u64));
            self.taken += piece.len() as u64;
            self.sent += piece.len() as u64;
        }
        self.left.drain(..count);
    }

    /// When something happens; `None` if nothing does.
    fn next(&self) -> Option<u64> {
        let came = self.under_way.front().map(|(at, _)| *at);
        let room = if self.left.is_empty() { None } else { self.acknowledged.front().map(|(at, _)| *at) };
        came.into_iter().chain(room).min()
    }
}

pub struct Network {
    pub now: u64,
    pub ends: [Engine; 2],
    /// By the end that sends, and the lane.
    ways: [Vec<Way>; 2],
    pub written: u64,
    pub read: u64,
    /// How much there is to write.
    pub total: u64,
    /// Not all of it at once: what may be written so far.
    pub allowed: u64,
    burst: Burst,
    buffer: Vec<u8>,
}

impl Network {
    pub fn new(shapes: &[Shape], mode: Mode) -> Network {
        let config = Config { mode, window: 16 << 20, lane_timeout: 30 * SECOND, ping_after: 15 * SECOND };
        let mut ends = [0; 2].map(|_| Engine::new(config, 0));
        for (number, shape) in shapes.iter().enumerate() {
            ends.iter_mut().for_each(|end| end.lane_up(number, Some(2 * shape.delay), 0));
        }
        let ways = [0; 2].map(|_| shapes.iter().map(|shape| Way::new(*shape)).collect());
        Network {
            now: 0,
            ends,
            ways,
            written: 0,
            read: 0,
            total: u64::MAX,
            allowed: u64::MAX,
            burst: Burst::default(),
            buffer: vec![0; 128 << 10],
        }
    }

    /// Until the condition holds, or the time has come.
    pub fn run(&mut self, until: u64, done: impl Fn(&Network) -> bool) {
        while self.now < until && !done(self) {
            for end in 0..2 {
                self.turn(end);
            }
            if done(self) {
                break;
            }
            let ways = self.ways.iter().flatten().filter_map(Way::next);
            // Engines see times in whole milliseconds.
            let deadlines = self.ends.iter().filter_map(Engine::deadline);
            let deadlines = deadlines.map(|at| at.div_ceil(MILLISECOND) * MILLISECOND);
            let next = ways.chain(deadlines).chain([until]).min().unwrap_or(until);
            assert!(next > self.now || ways_due(&self.ways, self.now), "time stands still at {next}");
            self.now = next.max(self.now);
            for end in 0..2 {
                self.receive(1 - end);
            }
        }
    }

    /// A lane dies, with all that is under way on it, and there is another in its place at once.
    pub fn reset(&mut self, lane: usize) {
        let now = self.clock();
        for end in 0..2 {
            let sent = self.ways[end][lane].sent;
            let shape = self.ways[end][lane].shape;
            self.ways[end][lane] = Way { sent, ..Way::new(shape) };
            // The first byte passes when the connection has been made: two round trips.
            self.ways[end][lane].free_at = self.now + 4 * shape.delay;
            self.ends[end].lane_down(lane, now);
            self.ends[end].lane_up(lane, Some(2 * shape.delay), now);
        }
    }

    fn clock(&self) -> u64 {
        self.now / MILLISECOND * MILLISECOND
    }

    fn turn(&mut self, end: usize) {
        let now = self.clock();
        if self.ends[end].deadline().is_some_and(|at| at <= now) {
            self.ends[end].tick(now);
        }
        if end == 1 {
            while let Read::Bytes(count) = self.ends[1].read(&mut self.buffer, now) {
                assert!(self.buffer[..count] == *contents(0, self.read, count), "something else was read");
                self.read += count as u64;
            }
        }
        for number in 0..self.ways[end].len() {
            let way = &mut self.ways[end][number];
            way.put(self.now);
            let room = way.left.is_empty() && way.room(self.now) > 0;
            self.ends[end].has_room(number, room);
        }
        loop {
            if end == 0 {
                while self.written < self.total.min(self.allowed) && self.ends[0].writable() {
                    let length = (self.total.min(self.allowed) - self.written).min(65_536) as usize;
                    self.written += self.ends[0].write(contents(0, self.written, length)) as u64;
                }
            }
            let Some(number) = self.ends[end].next_burst(&mut self.burst, now) else { break };
            let way = &mut self.ways[end][number];
            for frame in &self.burst.frames {
                way.left.extend_from_slice(frame.header.bytes());
                way.left.extend_from_slice(self.ends[end].payload(frame.payload.clone()));
            }
            way.put(self.now);
            let room = way.left.is_empty() && way.room(self.now) > 0;
            self.ends[end].has_room(number, room);
        }
    }

    /// What has come to this end is received.
    fn receive(&mut self, end: usize) {
        let now = self.clock();
        for number in 0..self.ways[1 - end].len() {
            let way = &mut self.ways[1 - end][number];
            let mut came = false;
            while let Some((_, bytes)) = pop_if(&mut way.under_way, |(at, _)| *at <= self.now) {
                way.begun.extend_from_slice(&bytes);
                came = true;
            }
            if !came {
                continue;
            }
            let mut used = 0;
            let mut direct = Direct { buffer: &mut self.buffer, filled: 0 };
            while let Some((frame, length)) = Frame::decode(&way.begun[used..]).unwrap() {
                self.ends[end].received(number, frame, Some(&mut direct), now).unwrap();
                used += length;
            }
            let filled = direct.filled;
            way.begun.drain(..used);
            assert!(self.buffer[..filled] == *contents(0, self.read, filled), "something else was received");
            self.read += filled as u64;
        }
    }

    /// Bytes that end 0 has given to a lane.
    pub fn sent_on(&self, lane: usize) -> u64 {
        self.ways[0][lane].sent
    }

    pub fn report(&self) -> String {
        (0..self.ways[0].len())
            .map(|lane| {
                let report = self.ends[0].lane_report(lane);
                format!("\n  {lane}: {report:?} wire {}", self.sent_on(lane))
            })
            .collect()
    }
}

fn ways_due(ways: &[Vec<Way>; 2], now: u64) -> bool {
    ways.iter().flatten().any(|way| way.next().is_some_and(|at| at <= now))
}

/// Takes the first if the condition holds for it.
fn pop_if<T>(queue: &mut VecDeque<T>, condition: impl Fn(&T) -> bool) -> Option<T> {
    if condition(queue.front()?) { queue.pop_front() } else { None }
}
