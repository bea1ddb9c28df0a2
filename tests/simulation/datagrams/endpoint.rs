//! The simulated endpoints, as a session has them.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use cproxy::buffers::batch::Batch;
use cproxy::buffers::pipe_pool::Pipe;
use cproxy::endpoint::framed::Framed;
use cproxy::endpoint::{Carries, Endpoint, Lifetime, Received, SideName};

use super::plan::Kind;
use super::world::SharedWorld;

/// Where datagrams are involved, there are no pipes.
#[derive(Debug)]
pub struct NoPipe;

impl Pipe for NoPipe {
    fn open() -> io::Result<NoPipe> {
        unreachable!("a flow of datagrams has no use for a pipe")
    }
}

/// A simulated socket: a stream, a datagram socket, or a client without a connection.
#[derive(Debug)]
pub struct SimSocket<const SHORT: bool> {
    world: SharedWorld,
    id: usize,
}

impl<const SHORT: bool> Drop for SimSocket<SHORT> {
    fn drop(&mut self) {
        self.world.borrow_mut().side_mut(self.id).witness.closed = true;
    }
}

impl<const SHORT: bool> Endpoint for SimSocket<SHORT> {
    const SHORT_MEANS_BLOCKED: bool = SHORT;

    type Pipe = NoPipe;

    fn carries(&self) -> Carries {
        let world = self.world.borrow();
        let plan = &world.side(self.id).plan;
        if plan.kind.is_stream() { Carries::Bytes } else { Carries::Datagrams { chunk: plan.chunk } }
    }

    fn lifetime(&self) -> Lifetime {
        match self.world.borrow().side(self.id).plan.kind {
            Kind::Source => Lifetime::Idleness,
            _ => Lifetime::Connection,
        }
    }

    fn connects_at_once(&self) -> bool {
        self.world.borrow().side(self.id).plan.kind.connects_at_once()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.borrow_mut().receive(self.id, SHORT, buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.world.borrow_mut().send(self.id, SHORT, bytes)
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        self.world.borrow_mut().receive_datagrams(self.id, SHORT, batch)
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        self.world.borrow_mut().send_datagrams(self.id, batch)
    }

    fn takes_an_end(&self) -> bool {
        self.world.borrow().side(self.id).plan.takes_end
    }

    fn finish(&mut self) -> io::Result<()> {
        self.world.borrow_mut().finish(self.id)
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.world.borrow_mut().take_error(self.id)
    }

    fn abort(&mut self) {
        self.world.borrow_mut().side_mut(self.id).witness.aborted = true;
    }

    fn descriptor(&self) -> RawFd {
        self.id as RawFd
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("? -> ?")
    }
}

/// Any simulated endpoint.
#[derive(Debug)]
pub enum SimEndpoint<const SHORT: bool> {
    /// A socket as it is.
    Plain(SimSocket<SHORT>),
    /// The real frames over a simulated stream.
    Framed { framed: Framed<SimSocket<SHORT>>, world: SharedWorld, id: usize },
}

impl<const SHORT: bool> SimEndpoint<SHORT> {
    pub fn new(world: &SharedWorld, id: usize) -> SimEndpoint<SHORT> {
        let socket = SimSocket { world: world.clone(), id };
        let kind = world.borrow().side(id).plan.kind;
        match kind {
            Kind::Framed => SimEndpoint::Framed { framed: Framed::new(socket), world: world.clone(), id },
            _ => SimEndpoint::Plain(socket),
        }
    }
}

/// Calls the same method of whichever endpoint it is.
macro_rules! each {
    ($self:ident, $endpoint:ident => $call:expr) => {
        match $self {
            SimEndpoint::Plain($endpoint) => $call,
            SimEndpoint::Framed { framed: $endpoint, .. } => $call,
        }
    };
}

impl<const SHORT: bool> Endpoint for SimEndpoint<SHORT> {
    const SHORT_MEANS_BLOCKED: bool = SHORT;

    type Pipe = NoPipe;

    fn carries(&self) -> Carries {
        let (SimEndpoint::Plain(SimSocket { world, .. }) | SimEndpoint::Framed { world, .. }) = self;
        world.borrow_mut().count_call();
        each!(self, endpoint => endpoint.carries())
    }

    fn lifetime(&self) -> Lifetime {
        each!(self, endpoint => endpoint.lifetime())
    }

    fn connects_at_once(&self) -> bool {
        each!(self, endpoint => endpoint.connects_at_once())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, endpoint => endpoint.receive(buffer))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, endpoint => endpoint.send(bytes))
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        match self {
            SimEndpoint::Plain(socket) => socket.receive_datagrams(batch),
            SimEndpoint::Framed { framed, world, id } => {
                let result = framed.receive_datagrams(batch);
                world.borrow_mut().receive_frames(*id, batch, &result);
                result
            }
        }
    }

    fn send_datagrams(&mut self, batch: &mut Batch, encoded: &mut Vec<u8>) -> io::Result<()> {
        each!(self, endpoint => endpoint.send_datagrams(batch, encoded))
    }

    fn takes_an_end(&self) -> bool {
        each!(self, endpoint => endpoint.takes_an_end())
    }

    fn finish(&mut self) -> io::Result<()> {
        each!(self, endpoint => endpoint.finish())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        each!(self, endpoint => endpoint.take_error())
    }

    fn abort(&mut self) {
        each!(self, endpoint => endpoint.abort());
    }

    fn descriptor(&self) -> RawFd {
        each!(self, endpoint => endpoint.descriptor())
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, endpoint => endpoint.write_route(side, f))
    }
}
