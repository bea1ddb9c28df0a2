//! Lanes of chance between two engines: they deliver in pieces, at some rate and after some time, or not at all.

use std::collections::VecDeque;

use crate::random::Random;

/// Bytes that are added at one end and taken at the other.
#[derive(Default)]
pub struct Bytes {
    bytes: Vec<u8>,
    taken: usize,
}

impl Bytes {
    pub fn all(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub fn length(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub fn add(&mut self, bytes: &[u8]) {
        if self.taken > 100_000 || self.taken == self.bytes.len() {
            self.bytes.drain(..std::mem::take(&mut self.taken));
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub fn take(&mut self, count: usize) {
        self.taken += count;
    }

    fn move_to(&mut self, to: &mut Bytes, count: usize) {
        to.add(&self.all()[..count]);
        self.take(count);
    }
}

/// One direction of a lane.
#[derive(Default)]
pub struct Way {
    /// Bytes a second; 0 if there is no limit.
    rate: u64,
    /// How long a byte is under way, in microseconds.
    delay: u64,
    pub frozen: bool,
    /// What the sender's lane has and its socket has not taken.
    pub left: Bytes,
    /// What the network has, and when so many bytes of it are at the other end.
    under_way: Bytes,
    arrivals: VecDeque<(u64, usize)>,
    free_at: u64,
    /// What the receiver has of a frame.
    pub begun: Bytes,
}

impl Way {
    fn draw(random: &mut Random) -> Way {
        let rate = if random.once_in(2) { 0 } else { random.within(50_000..=99_999) * random.size(1000) };
        let delay = if random.once_in(2) { 0 } else { random.size(300_000) };
        Way { rate, delay, ..Way::default() }
    }

    /// The network takes what it has room for.
    fn put(&mut self, capacity: usize, now: u64) {
        let count = capacity.saturating_sub(self.under_way.length()).min(self.left.length());
        if count == 0 {
            return;
        }
        self.left.move_to(&mut self.under_way, count);
        let time = (count as u64 * 1_000_000).checked_div(self.rate).unwrap_or(0);
        self.free_at = self.free_at.max(now) + time;
        let at = self.free_at + self.delay;
        match self.arrivals.back_mut() {
            Some((last, bytes)) if *last == at => *bytes += count,
            _ => self.arrivals.push_back((at, count)),
        }
    }

    /// Some of what is at the other end by now, at most so many bytes, is received there. Says how many that are.
    pub fn receive(&mut self, most: usize, now: u64) -> usize {
        let mut received = 0;
        while let Some((_, bytes)) = self.arrivals.front_mut().filter(|(at, _)| *at <= now && received < most) {
            let count = (most - received).min(*bytes);
            received += count;
            *bytes -= count;
            if *bytes == 0 {
                self.arrivals.pop_front();
            }
        }
        self.under_way.move_to(&mut self.begun, received);
        received
    }

    /// When more of it is at the other end; `None` if nothing is under way or it does not get there.
    pub fn next_arrival(&self) -> Option<u64> {
        self.arrivals.front().filter(|_| !self.frozen).map(|(at, _)| *at)
    }

    /// What the network has is lost, and if it is all, what is on either side of it, too.
    fn lose(&mut self) {
        self.under_way = Bytes::default();
        self.arrivals.clear();
        self.begun = Bytes::default();
    }

    fn clear(&mut self) {
        *self = Way { rate: self.rate, delay: self.delay, ..Way::default() };
    }
}

/// A lane, both ways.
pub struct Lane {
    /// Whether each end has it.
    pub up: [bool; 2],
    /// How much the network holds.
    pub capacity: usize,
    /// By the end that sends.
    pub ways: [Way; 2],
}

impl Lane {
    pub fn draw(random: &mut Random) -> Lane {
        let capacity = random.size(200_000) as usize;
        Lane { up: [false; 2], capacity, ways: [Way::draw(random), Way::draw(random)] }
    }

    /// What this end has goes to the network, as far as there is room. Says whether all has gone.
    pub fn put(&mut self, end: usize, now: u64) -> bool {
        self.ways[end].put(self.capacity, now);
        self.ways[end].left.length() == 0
    }

    /// It is opened, and nothing is under way.
    pub fn open(&mut self) {
        self.up = [true; 2];
        self.ways.iter_mut().for_each(Way::clear);
    }

    /// One end closes it. What that end has not handed to the network is lost, and what is under way to it.
    pub fn close(&mut self, end: usize, abruptly: bool) {
        self.up[end] = false;
        self.ways[end].left = Bytes::default();
        self.ways[1 - end].lose();
        if abruptly {
            self.ways[end].lose();
        }
    }
}
