//! One direction of a relayed connection: bytes come in at the rate of its rule, and go out once they are due.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::rule::{Bucket, Demand, Rule};

/// What goes one way.
#[derive(Debug)]
pub struct Direction {
    rule: Rule,
    bucket: Bucket,
    /// What is under way.
    queue: VecDeque<Piece>,
    /// Bytes in `queue`.
    queued: usize,
    /// The most that `queue` holds, in bytes.
    capacity: usize,
    input: Input,
    output: Output,
    /// Bytes that have gone out since the start.
    pub carried: u64,
}

/// Bytes that came in together.
#[derive(Debug)]
struct Piece {
    /// When they may go out.
    due: Instant,
    bytes: Vec<u8>,
    /// How many of them have gone out.
    sent: usize,
}

/// The side where bytes come in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Input {
    Open,
    /// Its end has come in, and goes out at this moment, behind the bytes.
    Ended(Instant),
}

/// The side where bytes go out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Output {
    /// It takes bytes, as far as is known.
    Open,
    /// It took no more; poll(2) says when it does again.
    Full,
    /// The end has gone out.
    Ended,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wants {
    /// Bytes from its source.
    pub input: bool,
    /// Room at its destination.
    pub output: bool,
    /// A moment.
    pub moment: Option<Instant>,
}

/// The most that is read with one call.
const READ: usize = 64 * 1024;

/// How many reads are made before others have their turn.
const TURNS: usize = 8;

impl Direction {
    /// A direction that nothing has come in of.
    pub fn new(rule: Rule, now: Instant) -> Self {
        Self {
            rule,
            bucket: Bucket::new(rule.rate, now),
            queue: VecDeque::new(),
            queued: 0,
            capacity: rule.capacity(),
            input: Input::Open,
            output: Output::Open,
            carried: 0,
        }
    }

    /// Moves what can be moved now. An error of either stream is one of the connection.
    pub fn run(&mut self, mut from: &TcpStream, mut to: &TcpStream, now: Instant) -> io::Result<()> {
        for _ in 0..TURNS {
            let allowance = self.bucket.allowance(now);
            let most = allowance.min(self.capacity.saturating_sub(self.queued)).min(READ);
            if self.input != Input::Open || most == 0 {
                break;
            }
            let mut bytes = vec![0; most];
            let due = now + self.rule.delay;
            match from.read(&mut bytes) {
                Ok(0) => self.input = Input::Ended(due),
                Ok(read) => {
                    bytes.truncate(read);
                    let demand = if read == allowance { Demand::Waiting } else { Demand::Met };
                    self.bucket.take(read, demand);
                    self.queued += read;
                    self.queue.push_back(Piece { due, bytes, sent: 0 });
                }
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        while let Some(piece) = self.queue.front_mut().filter(|piece| piece.due <= now) {
            match to.write(&piece.bytes[piece.sent..]) {
                Ok(written) => {
                    self.output = Output::Open;
                    piece.sent += written;
                    self.queued -= written;
                    self.carried += written as u64;
                    if piece.sent == piece.bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if would_block(&error) => {
                    self.output = Output::Full;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if let Input::Ended(due) = self.input {
            if self.queue.is_empty() && due <= now && !self.is_finished() {
                to.shutdown(Shutdown::Write)?;
                self.output = Output::Ended;
            }
        }
        Ok(())
    }

    /// Whether the end has gone out.
    pub fn is_finished(&self) -> bool {
        self.output == Output::Ended
    }

    /// What has to happen before [`Self::run`] moves anything more.
    pub fn wants(&mut self, now: Instant) -> Wants {
        let mut wants = Wants::default();
        if self.input == Input::Open && self.queued < self.capacity {
            match self.bucket.allowance(now) {
                0 => wants.moment = Some(now + self.bucket.wait()),
                _ => wants.input = true,
            }
        }
        let next = match (self.queue.front(), self.input, self.output) {
            (_, _, Output::Ended) => None,
            (Some(_), _, Output::Full) => {
                wants.output = true;
                None
            }
            (Some(piece), ..) => Some(piece.due),
            (None, Input::Ended(due), _) => Some(due),
            (None, Input::Open, _) => None,
        };
        wants.moment = [wants.moment, next].into_iter().flatten().min();
        wants
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
