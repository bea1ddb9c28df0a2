//! Connect: connect, a byte to the server, a byte back, close; and the next.
//!
//! The client closes first, in the ordinary way, as real clients do, or with a reset. Source addresses vary (see [`crate::session`]),
//! so that it does not run out of ports.

use std::io;
use std::net::SocketAddr;

use mio::{Events, Poll, Token};

use crate::client::{Controller, Latencies, warm_up};
use crate::clock::{Moment, Window};
use crate::load::Close;
use crate::session::{Opening, Progress, Role, poll_once};
use crate::wire::{Order, Tally};

/// Runs the client's side.
pub fn run(order: &Order, controller: &mut Controller, at_once: usize, close: Close) -> io::Result<()> {
    let mut visits = Visits::new(order.target, close)?;
    for slot in 0..at_once {
        let opening = visits.begin(slot)?;
        visits.openings.push(opening);
    }
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let tally = visits.run(&window)?;
    controller.finish(tally)
}

/// The connections under way.
struct Visits {
    target: SocketAddr,
    close: Close,
    poll: Poll,
    /// One for each slot; the slot is its token.
    openings: Vec<Opening>,
    /// How many connections have been begun.
    begun: usize,
}

impl Visits {
    fn new(target: SocketAddr, close: Close) -> io::Result<Self> {
        Ok(Self { target, close, poll: Poll::new()?, openings: Vec::new(), begun: 0 })
    }

    fn begin(&mut self, slot: usize) -> io::Result<Opening> {
        let mut opening = Opening::begin(self.target, self.begun, Role::Visit)?;
        opening.register(&self.poll, Token(slot))?;
        self.begun += 1;
        Ok(opening)
    }

    /// Makes connections until the window is over. Returns those that ended within it, timed from the connect to the
    /// byte that came back.
    fn run(&mut self, window: &Window) -> io::Result<Tally> {
        let mut latencies = Latencies::new()?;
        let mut events = Events::with_capacity(self.openings.len());
        while Moment::now() < window.stop() {
            poll_once(&mut self.poll, &mut events, window.stop().from_now())?;
            for slot in events.iter().map(|event| event.token().0) {
                let opening = &mut self.openings[slot];
                if opening.advance()? == Progress::Open {
                    latencies.finished(opening.begun, Moment::now(), window);
                    if self.close == Close::Reset {
                        opening.reset_at_close()?;
                    }
                    // The old connection is closed as it is replaced.
                    self.openings[slot] = self.begin(slot)?;
                }
            }
        }
        for opening in &self.openings {
            latencies.unfinished(opening.begun, window);
        }
        Ok(latencies.tally())
    }
}
