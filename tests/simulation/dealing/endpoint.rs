//! The simulated endpoints, as a session has them.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use cproxy::buffers::batch::Batch;
use cproxy::endpoint::{Carries, Endpoint, Lifetime, Received, SideName};

use super::super::datagrams::endpoint::NoPipe;
use super::world::SharedWorld;

/// A source, or a remote.
#[derive(Debug)]
pub struct SimEnd {
    world: SharedWorld,
    /// Its session.
    pub id: usize,
    side: SideName,
    at_once: bool,
}

impl SimEnd {
    pub fn client(world: &SharedWorld, id: usize) -> SimEnd {
        SimEnd { world: world.clone(), id, side: SideName::Client, at_once: true }
    }

    pub fn remote(world: &SharedWorld, id: usize, at_once: bool) -> SimEnd {
        SimEnd { world: world.clone(), id, side: SideName::Remote, at_once }
    }
}

impl Endpoint for SimEnd {
    const SHORT_MEANS_BLOCKED: bool = true;

    type Pipe = NoPipe;

    fn carries(&self) -> Carries {
        Carries::Datagrams { chunk: 1400 }
    }

    fn lifetime(&self) -> Lifetime {
        match self.side {
            SideName::Client => Lifetime::Idleness,
            SideName::Remote => Lifetime::Connection,
        }
    }

    fn connects_at_once(&self) -> bool {
        self.at_once
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        assert_eq!(self.side, SideName::Remote, "a source is read, which has nothing to be read from");
        self.world.borrow_mut().receive(self.id, batch)
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        match self.side {
            SideName::Client => self.world.borrow_mut().answer(self.id, batch),
            SideName::Remote => self.world.borrow_mut().send(self.id, batch),
        }
    }

    fn takes_an_end(&self) -> bool {
        false
    }

    fn take_error(&mut self) -> Option<io::Error> {
        match self.side {
            SideName::Client => None,
            SideName::Remote => self.world.borrow_mut().take_error(self.id),
        }
    }

    fn abort(&mut self) {
        self.world.borrow_mut().records[self.id].aborted[self.side as usize] = true;
    }

    fn descriptor(&self) -> RawFd {
        self.id as RawFd
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("? -> ?")
    }
}

impl Drop for SimEnd {
    fn drop(&mut self) {
        // While a failed check unwinds the world is still borrowed.
        if let Ok(mut world) = self.world.try_borrow_mut() {
            if self.side == SideName::Client {
                world.records[self.id].closed[0] = true;
            }
        }
    }
}
