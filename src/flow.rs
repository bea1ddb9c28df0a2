//! One direction of a session: moves bytes from one side to the other through a buffer of the pool.

use std::io;

use crate::buffer_pool::{Buffer, BufferPool};
use crate::endpoint::Endpoint;

/// What is known to be possible on a side's endpoint, from events and from how the last calls went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A read may have something to say.
    pub readable: bool,
    /// A write may take something.
    pub writable: bool,
    /// The peer has closed its writing half, so a short read is not the last thing to be read.
    pub read_closed: bool,
    /// An error may be pending.
    pub error: bool,
}

impl Readiness {
    /// Adds what an event said.
    pub fn add(&mut self, event: Readiness) {
        self.readable |= event.readable;
        self.writable |= event.writable;
        self.read_closed |= event.read_closed;
        self.error |= event.error;
    }
}

/// An endpoint with what is known of its readiness.
#[derive(Debug)]
pub struct Side<E> {
    pub endpoint: E,
    pub ready: Readiness,
}

/// Where a flow stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowState {
    /// More may come from the source.
    Open,
    /// The source has ended; what is held must still go out.
    Draining,
    /// The sink has been told that no more will come.
    Shut,
}

/// Why a flow stopped moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Only an event can make it move again.
    Blocked,
    /// Its budget is spent; it could move more.
    Spent,
    /// It is done.
    Shut,
}

/// The end at which a flow broke, with the system's reason.
#[derive(Debug)]
pub enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

/// A buffer that holds bytes which the sink has not taken yet.
#[derive(Debug)]
struct Held {
    buffer: Buffer,
    start: usize,
    end: usize,
}

/// One direction of a session.
#[derive(Debug)]
pub struct Flow {
    state: FlowState,
    held: Option<Held>,
    moved: u64,
}

impl Flow {
    /// A flow that has moved nothing yet.
    pub fn new() -> Flow {
        Flow { state: FlowState::Open, held: None, moved: 0 }
    }

    /// Where the flow stands.
    pub fn state(&self) -> FlowState {
        self.state
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Moves bytes until neither end can, or `budget` bytes have been read.
    ///
    /// # Errors
    ///
    /// The end that broke. Bytes held then are lost with the session.
    pub fn pump<E: Endpoint>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pool: &mut BufferPool,
        mut budget: usize,
    ) -> Result<Stopped, Broken> {
        loop {
            if self.held.is_some() && !self.send_held(sink, pool).map_err(Broken::Sink)? {
                return Ok(Stopped::Blocked);
            }
            match self.state {
                FlowState::Open if !source.ready.readable => return Ok(Stopped::Blocked),
                FlowState::Open if budget == 0 => return Ok(Stopped::Spent),
                FlowState::Open => budget -= self.receive(source, pool, budget).map_err(Broken::Source)?,
                FlowState::Draining => {
                    self.state = FlowState::Shut;
                    sink.endpoint.finish().map_err(Broken::Sink)?;
                }
                FlowState::Shut => return Ok(Stopped::Shut),
            }
        }
    }

    /// Gives the flow's buffer back, with whatever it still held.
    pub fn release(&mut self, pool: &mut BufferPool) {
        if let Some(held) = self.held.take() {
            pool.give_back(held.buffer);
        }
    }

    /// Reads once, at most `limit` bytes, and says how many came.
    fn receive<E: Endpoint>(&mut self, source: &mut Side<E>, pool: &mut BufferPool, limit: usize) -> io::Result<usize> {
        let mut buffer = pool.take();
        let asked = buffer.len().min(limit);
        match retry(|| source.endpoint.receive(&mut buffer[..asked])) {
            Ok(0) => {
                pool.give_back(buffer);
                self.state = FlowState::Draining;
                Ok(0)
            }
            Ok(n) => {
                if n < asked && E::SHORT_MEANS_BLOCKED && !source.ready.read_closed {
                    source.ready.readable = false;
                }
                self.held = Some(Held { buffer, start: 0, end: n });
                Ok(n)
            }
            Err(error) => {
                pool.give_back(buffer);
                if error.kind() != io::ErrorKind::WouldBlock {
                    return Err(error);
                }
                source.ready.readable = false;
                Ok(0)
            }
        }
    }

    /// Writes what is held and says whether all of it went out.
    fn send_held<E: Endpoint>(&mut self, sink: &mut Side<E>, pool: &mut BufferPool) -> io::Result<bool> {
        let Some(held) = &mut self.held else { return Ok(true) };
        while held.start < held.end {
            if !sink.ready.writable {
                return Ok(false);
            }
            let bytes = &held.buffer[held.start..held.end];
            match retry(|| sink.endpoint.send(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    if n < bytes.len() && E::SHORT_MEANS_BLOCKED {
                        sink.ready.writable = false;
                    }
                    held.start += n;
                    self.moved += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.ready.writable = false,
                Err(error) => return Err(error),
            }
        }
        self.release(pool);
        Ok(true)
    }
}

impl Default for Flow {
    fn default() -> Flow {
        Flow::new()
    }
}

/// Repeats a call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
