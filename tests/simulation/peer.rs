//! What the client or the server at the far end of a simulated socket does, and when.

use super::plan::Scale;
use super::random::Random;

/// How a peer ends its side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It says that no more comes once it has sent everything, and reads on.
    Finish,
    /// The same, but not before the proxy has said so.
    FinishLast,
    /// It closes once it has sent everything: whatever is sent to it from then on is answered by a reset.
    Close,
    /// It closes once it has sent everything, as the peer of a Unix socket does: the system says at once that it takes no
    /// more.
    HangUp,
    /// It finishes properly and breaks some time after.
    FinishThenBreak,
    /// It breaks with this error as soon as it has sent everything.
    CutOff(i32),
    /// It breaks with this error after some time, wherever it is.
    Break(i32),
    /// It never ends.
    Open,
}

/// A part of what a peer sends: bulk if its pieces are long, messages if they are short.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Where it ends in the stream.
    pub end: u64,
    /// Most bytes sent in one step.
    pub piece: u64,
}

/// All that a peer is going to do.
#[derive(Debug, Clone)]
pub struct Script {
    /// Bytes to send in all.
    pub length: u64,
    /// Send as much as was received, rather than `length`, until the proxy finishes.
    pub echo: bool,
    /// Its bytes, part by part.
    pub parts: Vec<Part>,
    /// Most bytes read in one step.
    pub gulp: u64,
    /// Most milliseconds between two steps.
    pub pause: u64,
    /// Having read so many bytes, it reads no more.
    pub stops_reading_at: Option<u64>,
    pub ending: Ending,
    /// Milliseconds until its end: from the start for `Break`, from the last byte sent for the others.
    pub end_delay: u64,
}

impl Ending {
    fn draw(random: &mut Random) -> Ending {
        let resets = [libc::ECONNRESET, libc::ECONNRESET, libc::ETIMEDOUT];
        match random.below(20) {
            0..=8 => Ending::Finish,
            9..=11 => Ending::FinishLast,
            12 => Ending::Close,
            13 => Ending::HangUp,
            14 => Ending::FinishThenBreak,
            15..=16 => Ending::CutOff(random.pick(&resets)),
            17..=18 => Ending::Break(random.pick(&resets)),
            _ => Ending::Open,
        }
    }
}

impl Part {
    /// One part of few bytes.
    fn draw_few(random: &mut Random) -> Vec<Part> {
        let end = match random.below(8) {
            0 => 0,
            1..=3 => random.size(32),
            4..=6 => random.size(256),
            _ => random.size(2048),
        };
        vec![Part { end, piece: random.size(end.max(1)).max(end / 40) }]
    }

    /// Messages and bulk in turn.
    fn draw_many(random: &mut Random) -> Vec<Part> {
        let mut end = 0;
        let mut bulk = random.once_in(2);
        let parts = (0..random.within(1..=5)).map(|_| {
            let (length, piece) = match bulk {
                true => (random.within(16 << 10..=256 << 10), random.within(8 << 10..=256 << 10)),
                false => {
                    let piece = random.size(10 << 10);
                    (piece * random.within(1..=8), piece)
                }
            };
            bulk = !bulk;
            end += length;
            Part { end, piece }
        });
        parts.collect()
    }
}

impl Script {
    /// A script of some bytes, or of many.
    pub fn draw(random: &mut Random, scale: Scale) -> Script {
        let parts = match scale {
            Scale::Few => Part::draw_few(random),
            Scale::Many => Part::draw_many(random),
        };
        let length = parts.last().map_or(0, |part| part.end);
        let gulp = match scale {
            Scale::Few => random.size(256).max(4),
            Scale::Many => random.size(64) << 12,
        };
        Script {
            length,
            // Bulk is not echoed in messages.
            echo: random.once_in(6) && (scale == Scale::Few || length > 16 << 10),
            parts,
            gulp,
            pause: random.pick(&[0, 0, 1, 5, 50]),
            stops_reading_at: random.once_in(15).then(|| random.below(length + 1)),
            ending: Ending::draw(random),
            end_delay: random.pick(&[0, 0, 1, 20, 200, 3000]),
        }
    }

    /// Most bytes sent in one step by a peer that has sent so many: an echo begins again with the first part.
    pub fn piece(&self, sent: u64) -> u64 {
        let sent = sent % self.length.max(1);
        match self.parts.iter().find(|part| sent < part.end) {
            Some(part) => part.piece.min(part.end - sent),
            None => 1,
        }
    }

    /// Whether the peer ends, given that the proxy moves all there is and ends when it can.
    pub fn ends(&self) -> bool {
        self.stops_reading_at.is_none() && self.ending != Ending::Open
    }

    /// Whether it ends only after the other peer.
    pub fn waits(&self) -> bool {
        self.echo || self.ending == Ending::FinishLast
    }
}

/// A peer and where it is in its script.
#[derive(Debug)]
pub struct Peer {
    pub script: Script,
    /// When it does its next step; `None`: once something happens to it.
    pub next: Option<u64>,
    /// When it ends, once that is known.
    pub end: Option<u64>,
}

impl Peer {
    pub fn new(script: Script) -> Peer {
        Peer { script, next: None, end: None }
    }

    /// Sees to it that a step is done at this time at the latest.
    pub fn step_at(&mut self, time: u64) {
        self.next = Some(self.next.map_or(time, |next| next.min(time)));
    }
}
