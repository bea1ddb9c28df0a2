//! Bulk: a few sessions that move as many bytes as they can.

use std::io;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::Direction;
use crate::client::{Controller, warm_up};
use crate::clock::{Moment, Window};
use crate::flow::{Flow, Traffic};
use crate::session::{self, Role, poll_once};
use crate::wire::{Order, Tally};

/// Runs the client's side.
pub fn run(order: &Order, controller: &mut Controller, sessions: usize, direction: Direction) -> io::Result<()> {
    let streams = session::open(order.target, &vec![role(direction); sessions])?;
    let mut flows = Flows::new(streams.into_iter().map(|stream| (stream, traffic(direction))))?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let received = flows.run(&window)?;
    controller.finish(Tally { received, ..Tally::default() })
}

/// What the client asks the server for.
pub fn role(direction: Direction) -> Role {
    match direction {
        Direction::Up => Role::Upload,
        Direction::Down => Role::Download,
        Direction::Both => Role::Exchange,
    }
}

/// What the client does itself.
pub fn traffic(direction: Direction) -> Traffic {
    match direction {
        Direction::Up => Traffic::Out,
        Direction::Down => Traffic::In,
        Direction::Both => Traffic::Both,
    }
}

/// The client's bulk flows and the poll that drives them.
pub struct Flows {
    poll: Poll,
    flows: Vec<(TcpStream, Flow)>,
}

impl Flows {
    /// Registers open sessions.
    pub fn new(streams: impl Iterator<Item = (TcpStream, Traffic)>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut flows = Vec::new();
        for (mut stream, traffic) in streams {
            poll.registry().register(&mut stream, Token(flows.len()), Interest::READABLE | Interest::WRITABLE)?;
            flows.push((stream, Flow::new(traffic)));
        }
        Ok(Self { poll, flows })
    }

    /// Moves bytes until the window is over. Returns the bytes received within it.
    pub fn run(&mut self, window: &Window) -> io::Result<u64> {
        let mut events = Events::with_capacity(self.flows.len());
        let mut received = 0;
        loop {
            let now = Moment::now();
            if now > window.stop() {
                return Ok(received);
            }
            let turn = self.turn()?;
            if window.holds(now) {
                received += turn;
            }
            let busy = self.flows.iter().any(|(_, flow)| flow.is_ready());
            let timeout = if busy { Duration::ZERO } else { window.stop().since(now) };
            poll_once(&mut self.poll, &mut events, timeout)?;
            for event in &events {
                self.flows[event.token().0].1.note(event);
            }
        }
    }

    /// Gives every flow one turn. Returns the bytes received.
    fn turn(&mut self) -> io::Result<u64> {
        let mut received = 0;
        for (stream, flow) in &mut self.flows {
            received += flow.turn(stream)?;
        }
        Ok(received)
    }
}
