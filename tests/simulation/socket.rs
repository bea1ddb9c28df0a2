//! One simulated socket: its queues, what the kernel tells of it, and what its session did to it.

use cproxy::endpoint::SideName;
use cproxy::flow::Readiness;
use std::collections::VecDeque;

use super::header::Passing;
use super::peer::{Ending, Peer};
use super::plan::{Answer, Connection};
use super::traffic::{Means, Traffic};

/// Whether a socket is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Connecting(Answer),
    /// Connected or refused.
    Settled,
}

/// What happened to a socket since it was last told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Edges {
    pub read: bool,
    pub write: bool,
}

impl Edges {
    pub const BOTH: Edges = Edges { read: true, write: true };
}

/// What poll(2) is still asked to tell of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Armed {
    pub input: bool,
    pub output: bool,
    pub read_hangup: bool,
    pub registered: bool,
}

impl Armed {
    pub const FULLY: Armed = Armed { input: true, output: true, read_hangup: true, registered: true };

    /// An operation that would block arms a source again, unless poll has thrown it out.
    pub fn again(self) -> Armed {
        if self.registered { Armed::FULLY } else { self }
    }
}

/// What is true of a socket, in the words of poll(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    pub input: bool,
    pub output: bool,
    pub read_hangup: bool,
    pub hangup: bool,
    pub error: bool,
    /// The writing filter says that the peer has closed, where there are filters.
    pub write_ended: bool,
}

/// One socket of the proxy, with the peer at its far end.
#[derive(Debug)]
pub struct Socket {
    pub session: usize,
    pub side: SideName,
    /// The socket of the session's other side.
    pub other: Option<usize>,
    pub link: Link,
    pub connected: bool,
    /// Nothing but the proxy is said to end it.
    pub endless: bool,
    pub peer: Peer,
    pub receive_room: u64,
    pub send_room: u64,
    /// The header in front of what the peer sends, and the one in front of what the session sends.
    pub header_in: Passing,
    pub header_out: Passing,
    /// Bytes that the peer has sent, and those of them that the session has read.
    pub arrived: u64,
    pub received: u64,
    /// Where the pieces end in which they arrived and that have not been read to their end.
    pub pieces: VecDeque<u64>,
    /// The peer said that no more comes.
    pub peer_finished: bool,
    /// Bytes that the session has written, and those of them that the peer has read.
    pub sent: u64,
    pub fetched: u64,
    /// When the peer last read.
    pub fetched_at: u64,
    /// The peer has closed, without a reset: what it sent can be read, and nothing can be sent to it.
    pub left: bool,
    /// The session said that no more comes.
    pub finished: bool,
    /// The last write found too little space: more space is an edge.
    pub wants_space: bool,
    /// Reset, timed out or refused.
    pub broken: bool,
    pub error: Option<i32>,
    pub edges: Edges,
    pub armed: Armed,
    pub witness: Witness,
}

/// What a session did to a socket, and what it was told of it: the kernel writes it, checks read it.
#[derive(Debug, Default)]
pub struct Witness {
    pub finish_called: bool,
    pub aborted: bool,
    pub closed: bool,
    /// The session has read that the peer finished.
    pub read_finish: bool,
    /// A splice said so, which a read has to confirm.
    pub splice_ended: bool,
    pub receive_failed: bool,
    pub send_failed: bool,
    /// The errors the session was told.
    pub told: Vec<i32>,
    /// An event said that the socket is writable.
    pub told_writable: bool,
    /// An event said that the peer has finished or is gone, so a short read is not the last.
    pub told_read_closed: bool,
    /// An event said that the peer takes no more.
    pub told_write_closed: bool,
    /// What the session has reason to believe, from events and from how its calls went.
    pub believes_readable: bool,
    pub believes_writable: bool,
    pub received_in_run: u64,
    /// What the last bytes were read into.
    pub read_into: Option<Means>,
    pub traffic: Traffic,
    /// They were messages, not bulk.
    pub copied_messages: bool,
    /// The header was sent with the promise that more follows at once, and nothing has followed.
    pub corked: bool,
    /// Times that the flow changed from messages to a pipe.
    pub pipes_begun: u64,
}

impl Witness {
    /// An event told the session this.
    pub fn note(&mut self, event: Readiness) {
        self.told_writable |= event.writable;
        self.told_read_closed |= event.read_closed;
        self.told_write_closed |= event.write_closed;
        self.believes_readable |= event.readable;
        self.believes_writable |= event.writable;
    }
}

impl Socket {
    pub fn new(session: usize, side: SideName, link: Link, connection: &Connection, traffic: Traffic) -> Socket {
        Socket {
            session,
            side,
            other: None,
            link,
            connected: false,
            endless: connection.endless,
            peer: Peer::new(connection.script.clone()),
            receive_room: connection.receive_room,
            send_room: connection.send_room,
            header_in: Passing::default(),
            header_out: Passing::default(),
            arrived: 0,
            received: 0,
            pieces: VecDeque::new(),
            peer_finished: false,
            sent: 0,
            fetched: 0,
            fetched_at: 0,
            left: false,
            finished: false,
            wants_space: false,
            broken: false,
            error: None,
            // Registering tells what is already true.
            edges: Edges::BOTH,
            armed: Armed::FULLY,
            witness: Witness { traffic, ..Witness::default() },
        }
    }

    pub fn conditions(&self) -> Conditions {
        if self.link != Link::Settled {
            return Conditions::default();
        }
        Conditions {
            input: self.header_in.waiting() > 0 || self.arrived > self.received || self.peer_finished || self.broken,
            output: self.has_space() || self.finished || self.broken || self.left,
            read_hangup: self.peer_finished || self.broken,
            hangup: self.broken || self.left || (self.peer_finished && self.finished),
            error: self.error.is_some(),
            write_ended: false,
        }
    }

    /// Bytes that can be read into so many slots, each of which takes a piece.
    pub fn readable_into(&self, slots: usize) -> u64 {
        let last = slots.min(self.pieces.len());
        last.checked_sub(1).map_or(0, |last| self.pieces[last] - self.received)
    }

    /// The session has read bytes.
    pub fn take(&mut self, count: u64, asked: u64, means: Means) {
        self.received += count;
        while self.pieces.front().is_some_and(|&end| end <= self.received) {
            self.pieces.pop_front();
        }
        self.witness.received_in_run += count;
        self.witness.read_into = Some(means);
        self.witness.traffic.note(count, asked);
    }

    /// Bytes that a write would take.
    pub fn space(&self) -> u64 {
        self.send_room - (self.sent - self.fetched) - self.header_out.waiting() as u64
    }

    /// Whether there is so much space that kernels tell of it: they do not for every byte.
    pub fn has_space(&self) -> bool {
        self.space() * 3 >= self.send_room
    }

    /// Bytes that the peer has still to send.
    pub fn unsupplied(&self) -> u64 {
        let script = &self.peer.script;
        (if script.echo { self.fetched } else { script.length }).saturating_sub(self.arrived)
    }

    /// Whether the peer has sent all and may end, apart from `Ending::Break`, which has its own time.
    pub fn peer_is_through(&self) -> bool {
        let script = &self.peer.script;
        let heard_all = self.finished && self.fetched == self.sent;
        let waits = match script.ending {
            Ending::Open | Ending::Break(_) => return false,
            Ending::FinishLast => true,
            _ => script.echo,
        };
        !self.peer_finished && self.header_in.left() == 0 && self.unsupplied() == 0 && (heard_all || !waits)
    }

    /// Whether the session knows that the socket is of no more use.
    pub fn failed(&self) -> bool {
        self.witness.receive_failed || self.witness.send_failed
    }

    /// Whether the session knows that it broke.
    pub fn known_broken(&self) -> bool {
        self.failed() || !self.witness.told.is_empty()
    }

    /// Whether the session knows that its peer has closed, and has read all that it had sent.
    pub fn known_left(&self) -> bool {
        self.left && self.witness.told_write_closed && self.read_to_the_end()
    }

    /// Whether something of what this peer had sent has not been taken by the peer at the other end.
    pub fn is_owed(&self, sink: &Socket) -> bool {
        self.received > sink.sent || self.arrived > self.received || sink.unsent() > 0
    }

    /// Bytes that the peer has not taken yet.
    pub fn unsent(&self) -> u64 {
        if self.left { 0 } else { self.sent - self.fetched + self.header_out.waiting() as u64 }
    }

    /// Whether the connection was made and an event has said so.
    pub fn told_connected(&self) -> bool {
        self.connected && self.witness.told_writable
    }

    /// Whether all that the peer sent was read, with its end.
    pub fn read_to_the_end(&self) -> bool {
        self.peer_finished && self.witness.read_finish && self.received == self.arrived
    }

    /// Whether a read would say something.
    pub fn readable(&self) -> bool {
        self.conditions().input && !self.witness.read_finish
    }

    /// Whether a write would be taken, and the kernel tells of it.
    pub fn writable(&self) -> bool {
        self.conditions().output
    }

    /// Whether poll(2) tells no more of this socket.
    pub fn unregistered(&self) -> bool {
        !self.armed.registered
    }
}

impl Conditions {
    /// What kqueue's two filters tell, each only after an edge of its own.
    pub fn filtered(self, edges: Edges) -> Conditions {
        let (read, write) = (edges.read && self.input, edges.write && self.output);
        Conditions {
            input: read,
            output: write,
            read_hangup: read && self.read_hangup,
            // It has no word for both at once.
            hangup: false,
            error: (read || write) && self.error,
            write_ended: write && self.hangup,
        }
    }

    /// What poll(2) tells, and no longer is armed for then.
    pub fn polled(self, armed: &mut Armed, tells_finish: bool) -> Conditions {
        let told = Conditions {
            input: self.input && armed.input,
            output: self.output && armed.output,
            read_hangup: self.read_hangup && armed.read_hangup && tells_finish,
            ..self
        };
        armed.input &= !told.input;
        armed.output &= !told.output;
        armed.read_hangup &= !told.read_hangup;
        armed.registered = !(told.hangup || told.error);
        told
    }

    /// What mio and the I/O thread make of it.
    pub fn readiness(self) -> Readiness {
        let read_closed = self.hangup || self.read_hangup;
        Readiness {
            readable: self.input || read_closed || self.error,
            writable: self.output || self.hangup || self.error,
            read_closed,
            write_closed: (self.hangup || self.write_ended) && !self.error,
            error: self.error,
            urgent: false,
        }
    }
}
