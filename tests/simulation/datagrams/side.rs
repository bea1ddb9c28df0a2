//! One endpoint of a simulated session: its queues, its peer, what the kernel tells, and what the session did to it.

use std::collections::VecDeque;

use cproxy::endpoint::SideName;
use cproxy::flow::Readiness;

use super::super::plan::Answer;
use super::super::socket::{Armed, Conditions, Edges};
use super::passage::{Unit, datagram, stream};
use super::plan::{Ending, Kind, PeerPlan};

/// What waits to be read from a datagram socket.
#[derive(Debug, Clone, Copy)]
pub enum Item {
    Datagram(Unit),
    /// One that is longer than what it is read into.
    TooLong,
}

/// One endpoint with the peer at its far end.
#[derive(Debug)]
pub struct Side {
    pub name: SideName,
    pub plan: PeerPlan,
    pub connecting: Option<Answer>,
    pub connected: bool,
    /// When the peer acts next, if there is something for it to do.
    pub next: u64,
    /// What it sends over a stream, and where frames end in it.
    pub wire: Vec<u8>,
    pub frame_ends: Vec<usize>,
    /// Datagrams that it has sent, and what of them waits to be read.
    pub supplied: usize,
    pub queue: VecDeque<Item>,
    /// Bytes of a stream that it has sent, and those of them that have been read, with the frames in them.
    pub arrived: usize,
    pub received: usize,
    pub frames_read: usize,
    /// Bytes, or datagrams, that the session has sent, and those of them that the peer has read.
    pub sent: u64,
    pub fetched: u64,
    /// When the peer ends, and that it has.
    pub end_at: Option<u64>,
    pub finished: bool,
    pub broken: bool,
    pub error: Option<i32>,
    /// The session said that nothing more comes, and what came before is on its way.
    pub told_end: bool,
    /// The session was told that there is no room.
    pub wants_space: bool,
    pub edges: Edges,
    pub armed: Armed,
    pub witness: Witness,
}

/// What the session did, and what it was told.
#[derive(Debug, Default)]
pub struct Witness {
    pub told_writable: bool,
    pub told_read_closed: bool,
    pub believes_readable: bool,
    pub believes_writable: bool,
    /// The end was read; and it was in the middle of a frame.
    pub read_end: bool,
    pub cut: bool,
    pub receive_failed: bool,
    pub send_failed: bool,
    pub finish_called: bool,
    /// The errors that the session was told.
    pub told: Vec<i32>,
    pub aborted: bool,
    pub closed: bool,
}

impl Side {
    pub fn new(name: SideName, plan: PeerPlan, connecting: Option<Answer>, now: u64) -> Side {
        let direction = direction_from(name);
        let (mut wire, mut frame_ends) = (Vec::new(), Vec::new());
        if plan.kind == Kind::Framed {
            for (number, &length) in plan.sizes.iter().enumerate() {
                wire.extend_from_slice(&(length as u16).to_be_bytes());
                wire.extend_from_slice(datagram(direction, number, length));
                frame_ends.push(wire.len());
            }
        } else if plan.kind == Kind::Stream {
            for &length in &plan.sizes {
                let part = stream(direction, wire.len() as u64, length);
                wire.extend_from_slice(part);
            }
        }
        if let Some(cut) = plan.cut {
            wire.truncate(cut);
        }
        let at_once = plan.kind.connects_at_once();
        Side {
            name,
            connecting: if at_once { None } else { connecting },
            connected: at_once,
            next: match connecting {
                Some(Answer::Accept { after } | Answer::Refuse { after, .. }) if !at_once => now + after,
                _ => now,
            },
            wire,
            frame_ends,
            supplied: 0,
            queue: VecDeque::new(),
            arrived: 0,
            received: 0,
            frames_read: 0,
            sent: 0,
            fetched: 0,
            end_at: None,
            finished: false,
            broken: false,
            error: None,
            told_end: false,
            wants_space: false,
            // Registering tells what is already true; a client without a connection is not registered.
            edges: if plan.kind == Kind::Source { Edges::default() } else { Edges::BOTH },
            armed: Armed::FULLY,
            witness: Witness { believes_writable: at_once, ..Witness::default() },
            plan,
        }
    }

    /// The direction in which its peer sends.
    pub fn direction(&self) -> usize {
        direction_from(self.name)
    }

    /// Whether something can be read.
    pub fn has_input(&self) -> bool {
        self.arrived > self.received || !self.queue.is_empty()
    }

    /// What a write would take: bytes or datagrams.
    pub fn space(&self) -> u64 {
        self.plan.send_room - (self.sent - self.fetched)
    }

    /// Whether there is so much space that kernels tell of it.
    pub fn has_space(&self) -> bool {
        self.space() * 3 >= self.plan.send_room && self.space() > 0
    }

    pub fn conditions(&self) -> Conditions {
        if self.connecting.is_some() {
            return Conditions::default();
        }
        if self.plan.kind == Kind::Source {
            return Conditions { output: self.has_space(), ..Conditions::default() };
        }
        Conditions {
            input: self.has_input() || self.finished || self.broken,
            output: self.has_space() || self.told_end || self.broken,
            read_hangup: self.finished || self.broken,
            hangup: self.broken || (self.finished && self.told_end),
            error: self.error.is_some(),
            write_ended: false,
        }
    }

    /// Whether a read would say something.
    pub fn readable(&self) -> bool {
        self.conditions().input && !self.witness.read_end
    }

    pub fn failed(&self) -> bool {
        self.witness.receive_failed || self.witness.send_failed
    }

    /// Whether the session knows that it broke, or that its stream of frames was cut off.
    pub fn known_broken(&self) -> bool {
        self.failed() || !self.witness.told.is_empty() || self.witness.cut
    }

    /// Whether nothing more can be read.
    pub fn failed_reading(&self) -> bool {
        self.witness.receive_failed || self.witness.read_end
    }

    /// Whether all that the peer sent was read, with its end.
    pub fn read_to_the_end(&self) -> bool {
        self.finished && self.witness.read_end && !self.has_input()
    }

    /// Where the frame begins that is being read.
    pub fn frame_start(&self) -> usize {
        self.frames_read.checked_sub(1).map_or(0, |last| self.frame_ends[last])
    }

    /// Whether the peer has nothing more to send.
    pub fn is_through(&self) -> bool {
        match self.plan.kind.is_stream() {
            true => self.arrived == self.wire.len(),
            false => self.supplied == self.plan.sizes.len(),
        }
    }

    /// Whether the peer has read all, and behind it that nothing more comes.
    fn heard_end(&self) -> bool {
        self.told_end && self.fetched == self.sent
    }

    /// How the peer ends: once it heard that nothing more comes, one that answers does so, too.
    pub fn ending(&self) -> Ending {
        if self.plan.answers && self.heard_end() { Ending::Finish } else { self.plan.ending }
    }

    /// When the peer acts next.
    pub fn due(&self) -> Option<u64> {
        if self.witness.closed || self.broken {
            return None;
        }
        match self.connecting {
            Some(Answer::Accept { .. } | Answer::Refuse { .. }) => return Some(self.next),
            Some(_) => return None,
            None => {}
        }
        if self.fetchable() > 0 || self.suppliable() > 0 {
            return Some(self.next);
        }
        match self.end_at {
            Some(end) => Some(end),
            None if self.ends_now() => Some(self.next),
            None => None,
        }
    }

    /// Whether the peer is about to end, and it is not yet said when.
    pub fn ends_now(&self) -> bool {
        self.is_through() && self.ending() != Ending::Open && !self.finished && self.end_at.is_none()
    }

    /// What the peer could read now.
    pub fn fetchable(&self) -> u64 {
        let limit = self.plan.stops_reading_at.unwrap_or(u64::MAX).min(self.sent);
        limit.saturating_sub(self.fetched).min(self.plan.gulp)
    }

    /// What the peer could send now. Who has no connection sends by offers.
    pub fn suppliable(&self) -> u64 {
        if self.finished || self.plan.kind == Kind::Source {
            return 0;
        }
        let room = self.plan.receive_room as usize;
        let (all, sent) = match self.plan.kind.is_stream() {
            true => (self.wire.len(), self.arrived),
            false => (self.plan.sizes.len(), self.supplied),
        };
        let most = self.plan.waits_at.filter(|_| !self.heard_end()).unwrap_or(all).min(all);
        let left = match self.plan.kind.is_stream() {
            true => most.saturating_sub(sent).min(room - (self.arrived - self.received)),
            false if self.plan.loses => most.saturating_sub(sent),
            false => most.saturating_sub(sent).min(room - self.queue.len()),
        };
        (left as u64).min(self.plan.piece)
    }

    /// Errors that a call is told.
    pub fn fail(&mut self, sending: bool) -> i32 {
        let error = self.error.take().unwrap_or(if sending { libc::EPIPE } else { libc::ECONNRESET });
        self.witness.told.push(error);
        error
    }
}

impl Witness {
    /// An event told the session this.
    pub fn note(&mut self, event: Readiness) {
        self.told_writable |= event.writable;
        self.told_read_closed |= event.read_closed;
        self.believes_readable |= event.readable;
        self.believes_writable |= event.writable;
    }
}

/// The direction in which the peer of this side sends: 0 is upstream.
pub fn direction_from(name: SideName) -> usize {
    match name {
        SideName::Client => 0,
        SideName::Remote => 1,
    }
}
