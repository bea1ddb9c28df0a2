//! A flow of bytes from one stream to another, through a buffer or a kernel pipe.
//!
//! It starts with messages, which it copies through a buffer: the cheapest way for few bytes. One that goes on
//! filling its buffer becomes bulk and moves through a pipe, if one can be had; one that then carries little at a time
//! goes back to messages. Buffers and pipes belong to a flow only while it holds bytes.

use std::io;

use super::{Broken, Side, Stopped, retry};
use crate::buffers::buffer_pool::Buffer;
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::pools::Pools;
use crate::endpoint::Endpoint;

/// Bytes that come without a short read between them and make a flow bulk.
pub const BULK_BYTES: usize = 64 << 10;

/// A bulk read of fewer bytes is a small one.
pub const SMALL_READ: usize = 16 << 10;

/// So many small reads in a row make a bulk flow one of messages again.
pub const SMALL_READS: u8 = 4;

/// What a read, and the write that follows it, cost beside the bytes, in bytes that could be moved in the time.
pub(super) const CALL_COST: usize = 1 << 10;

/// Where a flow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlowState {
    /// More may come from the source.
    Open,
    /// The source has ended, and all that came has gone out, as a flow that holds bytes does not read. The sink has not
    /// been told that no more will come.
    Drained,
    /// The sink has been told.
    Shut,
    /// The source broke, when all that came had gone out. The sink must not be told that this is the end.
    Cut,
}

/// What kind of traffic a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Messages: copied.
    Messages {
        /// Bytes read without a short read between them.
        unbroken: u32,
    },
    /// Bulk: spliced, if a pipe can be had.
    Bulk {
        /// Small reads in a row.
        small: u8,
    },
    /// Bulk whatever comes, by the command line.
    AlwaysBulk,
}

impl Pace {
    /// How a flow begins that decides by its traffic.
    pub const START: Pace = Pace::Messages { unbroken: 0 };

    pub(super) fn is_bulk(self) -> bool {
        !matches!(self, Pace::Messages { .. })
    }

    /// Learns from a read of `n` bytes where `asked` were asked for.
    fn learn(&mut self, n: usize, asked: usize) {
        *self = match *self {
            Pace::Messages { .. } if n < asked => Pace::START,
            Pace::Messages { unbroken } if unbroken as usize + n < BULK_BYTES => {
                Pace::Messages { unbroken: unbroken + n as u32 }
            }
            Pace::Messages { .. } => Pace::Bulk { small: 0 },
            Pace::Bulk { small } if n < asked.min(SMALL_READ) && small + 1 == SMALL_READS => Pace::START,
            Pace::Bulk { small } if n < asked.min(SMALL_READ) => Pace::Bulk { small: small + 1 },
            Pace::Bulk { .. } => Pace::Bulk { small: 0 },
            Pace::AlwaysBulk => Pace::AlwaysBulk,
        }
    }

    /// Learns from a read of `came` bytes of this source, where `asked` were asked for, and notes if there is nothing left.
    pub(super) fn learn_of<E: Endpoint>(&mut self, source: &mut Side<E>, came: usize, asked: usize) {
        self.learn(came, asked);
        let more = source.ready.read_closed || source.ready.urgent;
        if came < asked && !more && source.endpoint.short_read_means_empty() {
            source.ready.readable = false;
        }
    }
}

/// Bytes that the sink has not taken yet.
#[derive(Debug)]
enum Held<P> {
    Nothing,
    Buffer { buffer: Buffer, start: u32, end: u32 },
    Pipe { pipe: P, bytes: usize },
}

/// A flow of bytes.
#[derive(Debug)]
pub struct ByteFlow<P> {
    state: FlowState,
    held: Held<P>,
    pace: Pace,
    moved: u64,
}

impl<P: Pipe> ByteFlow<P> {
    /// A flow that has moved nothing yet.
    pub fn new(pace: Pace) -> ByteFlow<P> {
        ByteFlow { state: FlowState::Open, held: Held::Nothing, pace, moved: 0 }
    }

    /// What kind of traffic it carries.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Bytes that were read.
    pub fn received(&self) -> u64 {
        self.moved
            + match self.held {
                Held::Nothing => 0,
                Held::Buffer { start, end, .. } => u64::from(end - start),
                Held::Pipe { bytes, .. } => bytes as u64,
            }
    }

    /// Whether the flow carries bulk, as far as is known.
    pub fn is_bulk(&self) -> bool {
        self.pace.is_bulk()
    }

    /// Whether it holds bytes that the sink has not taken yet.
    pub fn keeps(&self) -> bool {
        !matches!(self.held, Held::Nothing)
    }

    /// Whether the sink has been told that no more will come.
    pub fn has_finished(&self) -> bool {
        self.state == FlowState::Shut
    }

    /// Moves bytes until neither end can, or `budget` bytes have been read. A read counts for [`CALL_COST`] beside what it
    /// brings, or a flow with a small buffer would keep others waiting.
    ///
    /// # Errors
    ///
    /// As of [`super::Flow::pump`].
    pub fn pump<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        mut budget: usize,
    ) -> Result<Stopped, Broken> {
        loop {
            if !self.send_held(sink, pools).map_err(Broken::Sink)? {
                return Ok(Stopped::Blocked);
            }
            match self.state {
                FlowState::Open if !source.ready.readable => return Ok(Stopped::Blocked),
                FlowState::Open if budget == 0 => return Ok(Stopped::Spent),
                FlowState::Open if self.pace.is_bulk() && sink.endpoint.space_is_full() => {
                    sink.ready.writable = false;
                    return Ok(Stopped::Blocked);
                }
                FlowState::Open => {
                    let received = self.receive(source, sink, pools, budget).map_err(Broken::Source)?;
                    budget = budget.saturating_sub(received + CALL_COST);
                }
                FlowState::Drained | FlowState::Shut | FlowState::Cut => return Ok(Stopped::Drained),
            }
        }
    }

    /// Tells the sink of a drained flow that no more bytes will come; once.
    pub fn finish<E: Endpoint<Pipe = P>>(&mut self, sink: &mut Side<E>) -> io::Result<()> {
        match self.state {
            FlowState::Drained => {
                self.state = FlowState::Shut;
                sink.endpoint.finish()
            }
            FlowState::Open | FlowState::Shut | FlowState::Cut => Ok(()),
        }
    }

    /// Gives back what the flow holds bytes in, with whatever is still in it.
    pub fn release(&mut self, pools: &mut Pools<P>) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Buffer { buffer, .. } => pools.give_back(buffer),
            Held::Pipe { pipe, bytes: 0 } => pools.pipes.give_back(pipe),
            Held::Pipe { pipe, .. } => pools.pipes.discard(pipe),
        }
    }

    /// Reads once, at most `limit` bytes, and says how many came.
    fn receive<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        limit: usize,
    ) -> io::Result<usize> {
        let result = if self.pace.is_bulk() {
            self.receive_bulk(source, sink, pools, limit)
        } else {
            self.receive_by_buffer(source, pools, limit)
        };
        match result {
            Ok(0) => {
                self.release(pools);
                self.state = FlowState::Drained;
                Ok(0)
            }
            Ok(n) => Ok(n),
            Err(error) => {
                self.release(pools);
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.state = FlowState::Cut;
                    return Err(error);
                }
                (source.ready.readable, source.ready.urgent) = (false, false);
                Ok(0)
            }
        }
    }

    // Apart from what a message costs.
    #[inline(never)]
    fn receive_bulk<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        limit: usize,
    ) -> io::Result<usize> {
        let spliced = !source.ready.urgent && source.endpoint.can_splice_to() && sink.endpoint.can_splice_from();
        let pipe = if spliced { pools.pipes.take() } else { None };
        match pipe.map(|pipe| self.receive_by_pipe(source, pipe, limit)) {
            Some(Ok(0)) => {
                // splice(2) says so, too, where urgent data stands before the rest, and a stripe where something was kept: a
                // read knows.
                self.release(pools);
                self.receive_by_buffer(source, pools, limit)
            }
            Some(result) => result,
            None if sink.endpoint.has_space() => self.receive_in_place(source, sink, limit),
            None => self.receive_by_buffer(source, pools, limit),
        }
    }

    fn receive_by_pipe<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        mut pipe: P,
        limit: usize,
    ) -> io::Result<usize> {
        let result = retry(|| source.endpoint.splice_to(&mut pipe, limit));
        let bytes = *result.as_ref().unwrap_or(&0);
        self.held = Held::Pipe { pipe, bytes };
        if bytes > 0 {
            self.pace.learn(bytes, limit);
        }
        result
    }

    /// Reads into the memory of a sink that has some, which takes it as sent.
    fn receive_in_place<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        limit: usize,
    ) -> io::Result<usize> {
        let space = sink.endpoint.space();
        let asked = space.len().min(limit);
        let came = retry(|| source.endpoint.receive(&mut space[..asked]))?;
        if came > 0 {
            sink.endpoint.fill_space(came);
            self.moved += came as u64;
            self.pace.learn_of(source, came, asked);
        }
        Ok(came)
    }

    // It must not be one of the calls that a message costs.
    #[inline(always)]
    fn receive_by_buffer<E: Endpoint<Pipe = P>>(
        &mut self,
        source: &mut Side<E>,
        pools: &mut Pools<P>,
        limit: usize,
    ) -> io::Result<usize> {
        let mut buffer = if self.pace.is_bulk() { pools.take_bulk_buffer() } else { pools.take_buffer() };
        let asked = buffer.len().min(limit);
        let result = retry(|| source.endpoint.receive(&mut buffer[..asked]));
        let end = *result.as_ref().unwrap_or(&0);
        self.held = Held::Buffer { buffer, start: 0, end: end as u32 };
        if end > 0 {
            self.pace.learn_of(source, end, asked);
        }
        result
    }

    /// Writes what is held and says whether all of it went out.
    fn send_held<E: Endpoint<Pipe = P>>(&mut self, sink: &mut Side<E>, pools: &mut Pools<P>) -> io::Result<bool> {
        loop {
            let (result, left) = match &mut self.held {
                Held::Nothing => return Ok(true),
                Held::Buffer { start, end, .. } if start == end => break,
                Held::Pipe { bytes: 0, .. } => break,
                _ if !sink.ready.writable => return Ok(false),
                Held::Buffer { buffer, start, end } => {
                    let result = retry(|| sink.endpoint.send(&buffer[*start as usize..*end as usize]));
                    *start += *result.as_ref().unwrap_or(&0) as u32;
                    (result, E::SHORT_MEANS_BLOCKED && start < end)
                }
                Held::Pipe { pipe, bytes } => {
                    let result = retry(|| sink.endpoint.splice_from(pipe, *bytes));
                    *bytes -= *result.as_ref().unwrap_or(&0);
                    (result, false)
                }
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.moved += n as u64;
                    sink.ready.writable = !left;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.ready.writable = false,
                Err(error) => return Err(error),
            }
        }
        self.release(pools);
        Ok(true)
    }
}
