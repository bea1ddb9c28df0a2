//! What looks at a session's bytes on their way, and may change them: captures, dumps, filters.
//!
//! An [`Inspector`] is asked once for each direction of a session what is to look at it there. Sessions that nobody inspects are
//! untouched; those that are inspected go through buffers, and not through kernel pipes.

use std::fmt;

use crate::endpoint::Names;
use crate::service::Service;

/// One direction of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From client to remote.
    Upstream,
    /// From remote to client.
    Downstream,
}

impl Direction {
    /// Both, upstream first.
    pub const BOTH: [Direction; 2] = [Direction::Upstream, Direction::Downstream];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Upstream => "upstream",
            Direction::Downstream => "downstream",
        })
    }
}

/// What an inspector is told of a session that begins to relay.
#[derive(Debug)]
pub struct SessionFacts<'a> {
    /// Tells the session apart from all others of the process.
    pub number: u64,
    /// Its service.
    pub service: &'a Service,
    /// Who it joins.
    pub names: &'a Names,
    /// Whether it moves datagrams.
    pub has_datagrams: bool,
    /// When it begins, in microseconds since the thread's origin.
    pub at: u64,
}

/// Decides what looks at sessions.
pub trait Inspector: fmt::Debug + Send + Sync {
    /// What looks at this direction of a session; asked when its remote is connected, before anything has moved, upstream first.
    fn inspect(&self, session: &SessionFacts<'_>, direction: Direction) -> Inspection;
}

/// What looks at one direction of a session: first the taps, which see what came, and then the filters, one after the other.
#[derive(Debug, Default)]
pub struct Inspection {
    /// These see it.
    pub taps: Vec<Box<dyn Tap>>,
    /// These may change it.
    pub filters: Vec<Box<dyn Filter>>,
}

/// Sees what comes in one direction of a session, and changes nothing. Times are in microseconds since the thread's origin.
pub trait Tap: fmt::Debug + Send {
    /// These bytes of a stream came.
    fn bytes(&mut self, bytes: &[u8], at: u64);

    /// This datagram came.
    fn datagram(&mut self, datagram: &[u8], at: u64);

    /// The source has ended: nothing more will come.
    fn end(&mut self, at: u64);
}

/// Sees what goes in one direction of a session, and may pass it, hold it, change it, or end the session. It knows no clock and no
/// socket.
pub trait Filter: fmt::Debug + Send {
    /// Takes bytes of a stream: those at the beginning of `input` that it has decided about, which it says, and appends to `output`
    /// what goes on in their place. What it leaves it is shown again, with more behind it. `end`: nothing more will come, or for now:
    /// everything is to be decided.
    fn bytes(&mut self, input: &[u8], end: bool, output: &mut Vec<u8>) -> Verdict;

    /// The same for one datagram, which is to be decided about at once: `output` is what goes on in its place.
    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict;
}

/// What a filter has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with so many bytes of the input.
    Taken(usize),
    /// The session is to end: what stands in the output still goes on, and then both sides are reset.
    End,
}
