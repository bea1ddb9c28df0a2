//! One direction of a session: moves what comes from one side to the other.
//!
//! Between two streams a flow moves bytes; where one side has datagrams, it moves these.

mod bytes;
mod datagrams;

use std::io;

use crate::buffers::batch::{Batch, Counts};
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::pools::Pools;
use crate::config::caps::CapName;
use crate::endpoint::Endpoint;
use bytes::ByteFlow;
use datagrams::DatagramFlow;

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

/// The end at which a flow broke, with the system's reason.
#[derive(Debug)]
pub enum Broken {
    /// Reading failed.
    Source(io::Error),
    /// Writing, or finishing, failed.
    Sink(io::Error),
}

/// One direction of a session.
#[derive(Debug)]
pub enum Flow<P> {
    /// From stream to stream.
    Bytes(ByteFlow<P>),
    /// From or to datagrams.
    Datagrams(Box<DatagramFlow>),
}

/// Calls the same method of whichever flow it is.
macro_rules! each {
    ($self:ident, $flow:ident => $call:expr) => {
        match $self {
            Flow::Bytes($flow) => $call,
            Flow::Datagrams($flow) => $call,
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

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        each!(self, flow => flow.moved())
    }

    /// Bytes that count for a cap: of a stream, those that were read; of datagrams, those that the sink has taken.
    pub fn counted(&self) -> u64 {
        match self {
            Flow::Bytes(flow) => flow.received(),
            Flow::Datagrams(flow) => flow.moved(),
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
            Flow::Bytes(_) => Counts::default(),
            Flow::Datagrams(flow) => flow.counts(),
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
            Flow::Bytes(_) => Ok(()),
            Flow::Datagrams(flow) => flow.offer(batch, sink, pools),
        }
    }

    /// Has datagrams of the source begin with a header of the PROXY protocol, which is taken off.
    pub fn take_headers(&mut self) {
        match self {
            Flow::Bytes(_) => {}
            Flow::Datagrams(flow) => flow.take_headers(),
        }
    }

    /// Keeps datagrams that were read from the source, without a sink.
    pub fn hold(&mut self, batch: &mut Batch, pools: &mut Pools<P>) {
        match self {
            Flow::Bytes(_) => {}
            Flow::Datagrams(flow) => flow.hold(batch, &mut pools.kept),
        }
    }

    /// Has it take nothing more from a source of datagrams: when it has sent what it keeps, it is drained.
    pub fn end(&mut self) {
        match self {
            Flow::Bytes(_) => {}
            Flow::Datagrams(flow) => flow.end(),
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
