//! What looks at a session's bytes on their way, and may change them: captures, dumps, filters.
//!
//! An [`Inspector`] is asked once for each direction of a session what is to look at it there. Sessions that nobody inspects are
//! untouched; those that are inspected go through buffers, and not through kernel pipes.

pub mod reject;
pub mod replace;
pub mod rules;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::{Names, SideName};
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

    /// A session of which it was asked has ended.
    fn ended(&self, closing: &Closing<'_>) {
        let _ = closing;
    }
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

/// How long a filter may hold bytes back where it says nothing else: as long as hardly anybody notices.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// How many bytes a filter may hold back where it says nothing else.
pub const WINDOW: usize = 64 << 10;

/// Sees what goes in one direction of a session, and may pass it, hold it, change it, or end the session. It knows no clock and no
/// socket.
pub trait Filter: fmt::Debug + Send {
    /// Takes bytes of a stream: those at the beginning of `input` that it has decided about, which it says, and appends to `output`
    /// what goes on in their place. What it leaves is held, and shown again with more behind it. Only where nothing more has come
    /// (`then`), or more than [`Filter::window`] is left, everything is to be decided: what it still leaves goes on as it is.
    fn bytes(&mut self, input: &[u8], then: Then, output: &mut Vec<u8>) -> Verdict;

    /// The same for one datagram, which is to be decided about at once: `output` is what goes on in its place.
    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict;

    /// How long what it leaves is held while nothing more comes, before it is asked to decide; `None`: until the stream ends.
    fn patience(&self) -> Option<Duration> {
        Some(PATIENCE)
    }

    /// How many bytes it may leave; beyond, it is asked to decide.
    fn window(&self) -> usize {
        WINDOW
    }

    /// Why it has ended the session, for the log.
    fn reason(&self) -> String {
        "a filter".to_string()
    }
}

/// What is known of the bytes that come behind those that a filter is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More may come soon.
    More,
    /// For now nothing does, or there is no room for it.
    Pause,
    /// The stream has ended.
    End,
}

/// What a filter has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with so many bytes of the input.
    Taken(usize),
    /// The session is to end: what stands in the output still goes on if it can at once, and then both sides are reset.
    End,
}

/// How an inspected session ended.
#[derive(Debug, Clone, Copy)]
pub struct Closing<'a> {
    /// The [`SessionFacts::number`] of the session.
    pub number: u64,
    /// When, in microseconds since the thread's origin.
    pub at: u64,
    /// Whether both directions had come to their end; otherwise those who have not heard of it are reset.
    pub is_whole: bool,
    /// Who broke it, if one of the sides did.
    pub by: Option<SideName>,
    /// How the log says it.
    pub end: &'a str,
}

/// All inspectors of a service, each of which is asked, in this order. Two of these are equal if they have the same inspectors.
#[derive(Debug, Clone, Default)]
pub struct Inspectors(Vec<Arc<dyn Inspector>>);

impl Inspectors {
    /// Adds one behind the others.
    pub fn add(&mut self, inspector: Arc<dyn Inspector>) {
        self.0.push(inspector);
    }

    /// Adds these behind the others.
    pub fn extend(&mut self, others: &Inspectors) {
        self.0.extend_from_slice(&others.0);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that looks at this direction of a session; `None`: nothing does.
    pub fn inspect(&self, session: &SessionFacts<'_>, direction: Direction) -> Option<Inspection> {
        let mut all = Inspection::default();
        for inspector in &self.0 {
            let Inspection { taps, filters } = inspector.inspect(session, direction);
            all.taps.extend(taps);
            all.filters.extend(filters);
        }
        (!all.taps.is_empty() || !all.filters.is_empty()).then_some(all)
    }

    /// Tells them that a session has ended.
    pub fn ended(&self, closing: &Closing<'_>) {
        self.0.iter().for_each(|inspector| inspector.ended(closing));
    }
}

impl PartialEq for Inspectors {
    fn eq(&self, other: &Inspectors) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Inspectors {}
