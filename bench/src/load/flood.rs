//! Flood: one source sends datagrams as fast as it can, one way, and takes no notice of how many arrive.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use crate::client::{Controller, warm_up};
use crate::clock::Moment;
use crate::datagram::{self, Batch, Kind, To};
use crate::wire::{Order, Tally};

/// How many datagrams go with one system call.
pub const BURST: usize = 64;

/// Runs the client's side. The server counts what arrives, and what does not.
pub fn run(order: &Order, controller: &mut Controller, size: usize) -> io::Result<()> {
    let mut jet = Jet::open(order.target, size)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let mut number = 0;
    while Moment::now() < window.stop() {
        jet.send(number, BURST)?;
        number += BURST as u64;
    }
    controller.finish(Tally::default())
}

/// A source of datagrams that the server counts.
pub struct Jet {
    socket: UdpSocket,
    batch: Batch,
    slots: Vec<usize>,
}

impl Jet {
    /// A source whose way to the server is open.
    pub fn open(target: SocketAddr, size: usize) -> io::Result<Self> {
        let socket = datagram::open(target)?;
        let mut batch = Batch::new(BURST);
        let slots: Vec<usize> = (0..BURST).collect();
        slots.iter().for_each(|&slot| batch.compose(slot, size, Kind::Count, 0));
        Ok(Self { socket, batch, slots })
    }

    /// Sends the next `count` datagrams, at most [`BURST`], numbered from `first` on. What the kernel does not take is
    /// missed by the server.
    pub fn send(&mut self, first: u64, count: usize) -> io::Result<()> {
        for (number, &slot) in (first..).zip(&self.slots[..count]) {
            datagram::renumber(self.batch.datagram_mut(slot), number);
        }
        self.batch.send(&self.socket, &self.slots[..count], To::Peer).map(drop)
    }
}
