//! One direction of a session: moves what comes from one side to the other.
//!
//! Between two streams a flow moves bytes; where one side has datagrams, it moves these. Bytes that somebody looks at have a flow
//! of their own.

mod bytes;
mod datagrams;
mod inspected;
mod inspected_datagrams;

use std::io;

use crate::buffers::batch::{Batch, Counts};
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::pools::Pools;
use crate::config::caps::CapName;
use crate::endpoint::Endpoint;
use crate::inspect::Inspection;
use bytes::ByteFlow;
use datagrams::DatagramFlow;
use inspected::InspectedFlow;

pub use crate::endpoint::Readiness;
pub use bytes::{BULK_BYTES, Pace, SMALL_READ, SMALL_READS};

/// An endpoint with what is known of its readiness.
#[derive(Debug)]
pub struct Side<E> {
    /// What reads and writes.
    pub endpoint: E,
    /// What is worth trying on it.
    pub ready: Readiness,
}

/// Why a flow stopped moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Only an event can make it move again.
    Blocked,
    /// Its budget is spent; it could move more.
    Spent,
    /// It has moved everything there will be.
    Drained,
}

/// The end at which a flow broke, with the system's reason, or that it was ended in between.
#[derive(Debug)]
pub enum Broken {
    /// Reading failed.
    Source(io::Error),
    /// Writing, or finishing, failed.
    Sink(io::Error),
    /// A filter ends the session, for this reason.
    Rejected(String),
}

/// One direction of a session.
#[derive(Debug)]
pub enum Flow<P> {
    /// From stream to stream.
    Bytes(ByteFlow<P>),
    /// From or to datagrams.
    Datagrams(Box<DatagramFlow>),
    /// From stream to stream, and looked at.
    Inspected(Box<InspectedFlow>),
}

/// Calls the same method of whichever flow it is.
macro_rules! each {
    ($self:ident, $flow:ident => $call:expr) => {
        match $self {
            Flow::Bytes($flow) => $call,
            Flow::Datagrams($flow) => $call,
            Flow::Inspected($flow) => $call,
        }
    };
}

impl<P: Pipe> Flow<P> {
    /// A flow of bytes that has moved nothing yet.
    pub fn bytes(pace: Pace) -> Flow<P> {
        Flow::Bytes(ByteFlow::new(pace))
    }

    /// A flow of datagrams that has moved nothing yet.
    pub fn datagrams() -> Flow<P> {
        Flow::Datagrams(Box::default())
    }

    /// Has it be looked at from now on, at this time in microseconds. No byte of a stream may have come yet; datagrams that it
    /// keeps are looked at, too.
    pub fn inspect(&mut self, inspection: Inspection, now: u64) {
        match self {
            Flow::Bytes(flow) => {
                *self = Flow::Inspected(Box::new(InspectedFlow::new(inspection, flow.pace(), now)));
            }
            Flow::Datagrams(flow) => flow.inspect(inspection, now),
            Flow::Inspected(_) => {}
        }
    }

    /// Notes the time of what follows, in microseconds, for those who look at it.
    pub fn note_time(&mut self, now: u64) {
        match self {
            Flow::Bytes(_) => {}
            Flow::Datagrams(flow) => flow.note_time(now),
            Flow::Inspected(flow) => flow.note_time(now),
        }
    }

    /// When a filter is to decide about what it holds, in milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        match self {
            Flow::Inspected(flow) => flow.deadline(),
            Flow::Bytes(_) | Flow::Datagrams(_) => None,
        }
    }

    /// Whether something is to go on, for which the sink was not ready, or had no leave.
    pub fn waits_for_sink(&self) -> bool {
        match self {
            Flow::Inspected(flow) => flow.waits_for_sink(),
            Flow::Bytes(_) | Flow::Datagrams(_) => self.keeps(),
        }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        each!(self, flow => flow.moved())
    }

    /// Bytes that count for a cap: of a stream, those that were read; of datagrams, those that the sink has taken.
    pub fn counted(&self) -> u64 {
        match self {
            Flow::Bytes(flow) => flow.received(),
            Flow::Datagrams(flow) => flow.moved(),
            Flow::Inspected(flow) => flow.received(),
        }
    }

    /// Has a flow of datagrams send no more bytes than these, which this cap allows, until it is told otherwise.
    pub fn allow(&mut self, bytes: usize, cap: CapName) {
        if let Flow::Datagrams(flow) = self {
            flow.allow(bytes as u64, cap);
        }
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> Counts {
        match self {
            Flow::Datagrams(flow) => flow.counts(),
            Flow::Bytes(_) | Flow::Inspected(_) => Counts::default(),
        }
    }

    /// Whether it has something that the sink has not taken yet.
    pub fn keeps(&self) -> bool {
        each!(self, flow => flow.keeps())
    }

    /// Whether the sink has been told that no more will come.
    pub fn has_finished(&self) -> bool {
        each!(self, flow => flow.has_finished())
    }

    /// Whether the flow carries bulk, as far as is known.
    pub fn is_bulk(&self) -> bool {
        each!(self, flow => flow.is_bulk())
    }

    /// Whether the flow's end ends the session, soon if not at once: there is no half-close where datagrams are involved.
    pub fn ends_session(&self) -> bool {
        matches!(self, Flow::Datagrams(_))
    }

    /// Moves what comes until neither end can, or `budget` bytes have been read; calls count, too.
    ///
    /// # Errors
    ///
    /// The end that broke. If it is the source, all that came has gone out, and from then on the flow is drained.
    pub fn pump<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        budget: usize,
    ) -> Result<Stopped, Broken> {
        each!(self, flow => flow.pump(source, sink, pools, budget))
    }

    /// Moves datagrams that came for the source without being read from it. What the sink does not take is kept, as
    /// far as there is room; without a sink, all is kept.
    ///
    /// # Errors
    ///
    /// As of [`Flow::pump`].
    pub fn offer<E: Endpoint<Pipe = P>>(
        &mut self,
        batch: &mut Batch,
        sink: Option<&mut Side<E>>,
        pools: &mut Pools<P>,
    ) -> Result<(), Broken> {
        match self {
            Flow::Datagrams(flow) => flow.offer(batch, sink, pools),
            Flow::Bytes(_) | Flow::Inspected(_) => Ok(()),
        }
    }

    /// Has datagrams of the source begin with a header of the PROXY protocol, which is taken off.
    pub fn take_headers(&mut self) {
        if let Flow::Datagrams(flow) = self {
            flow.take_headers();
        }
    }

    /// Keeps datagrams that were read from the source, without a sink.
    pub fn hold(&mut self, batch: &mut Batch, pools: &mut Pools<P>) {
        if let Flow::Datagrams(flow) = self {
            flow.hold(batch, &mut pools.kept);
        }
    }

    /// Has it take nothing more from a source of datagrams: when it has sent what it keeps, it is drained.
    pub fn end(&mut self) {
        if let Flow::Datagrams(flow) = self {
            flow.end();
        }
    }

    /// Tells the sink of a drained flow that no more bytes will come; once.
    pub fn finish<E: Endpoint<Pipe = P>>(&mut self, sink: &mut Side<E>) -> io::Result<()> {
        each!(self, flow => flow.finish(sink))
    }

    /// Gives back what the flow holds bytes in, with whatever is still in it.
    pub fn release(&mut self, pools: &mut Pools<P>) {
        match self {
            Flow::Bytes(flow) => flow.release(pools),
            Flow::Datagrams(flow) => flow.release(&mut pools.kept),
            Flow::Inspected(flow) => flow.release(pools),
        }
    }
}

/// Repeats a call that a signal interrupted.
#[inline(always)]
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
