//! UDP: datagrams there and back, a window of them under way from each source.
//!
//! Each source is a socket of its own. A datagram that comes back goes out again under a new number; one that does not
//! come back in time is given up, and another takes its place.

use std::io;
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Controller, warm_up};
use crate::clock::{Moment, Window};
use crate::datagram::{self, Batch, Kind, To};
use crate::session::poll_once;
use crate::wire::{Order, Tally};

/// How long a datagram has to come back.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often it is looked whether any has not.
const SWEEP: Duration = Duration::from_millis(20);

/// Runs the client's side: `under_way` datagrams of `size` bytes from each source.
pub fn run(
    order: &Order,
    controller: &mut Controller,
    sources: usize,
    under_way: usize,
    size: usize,
) -> io::Result<()> {
    let mut echoes = Echoes::open(order, sources, under_way, size)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let tally = echoes.run(&window)?;
    controller.finish(tally)
}

/// All sources, and the poll that drives them.
struct Echoes {
    poll: Poll,
    sources: Vec<Source>,
    batch: Batch,
    size: usize,
}

/// One source.
struct Source {
    socket: UdpSocket,
    flight: Flight,
}

impl Echoes {
    fn open(order: &Order, sources: usize, under_way: usize, size: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut open = Vec::with_capacity(sources);
        for index in 0..sources {
            let socket = datagram::open(order.target)?;
            socket.set_nonblocking(true)?;
            let mut socket = UdpSocket::from_std(socket);
            poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
            open.push(Source { socket, flight: Flight::new(under_way) });
        }
        Ok(Self { poll, sources: open, batch: Batch::new(under_way), size })
    }

    /// Sends and receives until the window is over. Counts what came back within it, and what was given up within it.
    fn run(&mut self, window: &Window) -> io::Result<Tally> {
        let mut tally = Tally::default();
        let mut events = Events::with_capacity(self.sources.len());
        let begin = Moment::now();
        for source in &mut self.sources {
            source.begin(&mut self.batch, self.size, begin)?;
        }
        let mut next_sweep = begin.after(SWEEP);
        loop {
            poll_once(&mut self.poll, &mut events, next_sweep.from_now())?;
            let now = Moment::now();
            if now > window.stop() {
                return Ok(tally);
            }
            let mut came_back = 0;
            for index in events.iter().map(|event| event.token().0) {
                came_back += self.sources[index].turn(&mut self.batch, self.size, now)?;
            }
            let mut lost = 0;
            if now >= next_sweep {
                for source in &mut self.sources {
                    lost += source.replace_overdue(&mut self.batch, self.size, now)?;
                }
                next_sweep = now.after(SWEEP);
            }
            if window.holds(now) {
                tally.operations += came_back;
                tally.lost += lost;
            }
        }
    }
}

impl Source {
    /// Sends the first datagrams. What the kernel does not take, here or later, is as good as lost, and is missed in
    /// time.
    fn begin(&mut self, batch: &mut Batch, size: usize, now: Moment) -> io::Result<()> {
        let numbers = self.flight.begin(now);
        self.send(batch, size, &numbers)
    }

    /// Receives what is there and sends it again. Returns how many came back.
    fn turn(&mut self, batch: &mut Batch, size: usize, now: Moment) -> io::Result<u64> {
        let mut came_back = 0;
        let mut again = Vec::with_capacity(batch.slots());
        loop {
            let received = match batch.receive(&self.socket) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(came_back),
                // Having been told, the socket goes on.
                Err(error) if datagram::is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
            again.clear();
            for slot in 0..received {
                let datagram = batch.datagram_mut(slot);
                let Some((Kind::Echo, number)) = datagram::parse(datagram) else { return Err(changed()) };
                // What was given up may come late.
                let Some(next) = self.flight.came_back(number, now) else { continue };
                if datagram.len() != size {
                    return Err(changed());
                }
                datagram::renumber(datagram, next);
                again.push(slot);
            }
            came_back += again.len() as u64;
            batch.send(&self.socket, &again, To::Peer)?;
            if received < batch.slots() {
                // That was all; what comes next brings an event of its own.
                return Ok(came_back);
            }
        }
    }

    /// Sends others for those that are overdue. Returns how many.
    fn replace_overdue(&mut self, batch: &mut Batch, size: usize, now: Moment) -> io::Result<u64> {
        let numbers = self.flight.replace_overdue(now);
        self.send(batch, size, &numbers)?;
        Ok(numbers.len() as u64)
    }

    fn send(&mut self, batch: &mut Batch, size: usize, numbers: &[u64]) -> io::Result<()> {
        for (slot, &number) in numbers.iter().enumerate() {
            batch.compose(slot, size, Kind::Echo, number);
        }
        let slots: Vec<usize> = (0..numbers.len()).collect();
        batch.send(&self.socket, &slots, To::Peer).map(drop)
    }
}

/// The error for a datagram that is not what was sent.
fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a datagram came back changed")
}

/// The datagrams of one source that are under way. Each has a place; the numbers of a place are a window apart, so that
/// a number says where to look.
struct Flight {
    places: Vec<Place>,
}

/// One datagram under way.
struct Place {
    number: u64,
    sent: Moment,
}

impl Flight {
    fn new(window: usize) -> Self {
        let sent = Moment::now();
        Self { places: (0..window as u64).map(|number| Place { number, sent }).collect() }
    }

    /// The numbers of the first datagrams, which are sent now.
    fn begin(&mut self, now: Moment) -> Vec<u64> {
        self.places.iter_mut().for_each(|place| place.sent = now);
        self.places.iter().map(|place| place.number).collect()
    }

    /// Takes note that a datagram came back. Returns the number of the next in its place, which is sent now; nothing if
    /// it was not awaited any more.
    fn came_back(&mut self, number: u64, now: Moment) -> Option<u64> {
        let window = self.places.len() as u64;
        let place = &mut self.places[(number % window) as usize];
        (place.number == number).then(|| place.follow(window, now))
    }

    /// Gives up what is overdue. Returns the numbers of those in its place, which are sent now.
    fn replace_overdue(&mut self, now: Moment) -> Vec<u64> {
        let window = self.places.len() as u64;
        let overdue = self.places.iter_mut().filter(|place| now.since(place.sent) >= PATIENCE);
        overdue.map(|place| place.follow(window, now)).collect()
    }
}

impl Place {
    fn follow(&mut self, window: u64, now: Moment) -> u64 {
        self.number += window;
        self.sent = now;
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_taken_by_the_next_number() {
        let now = Moment::now();
        let mut flight = Flight::new(4);
        assert_eq!(flight.begin(now), [0, 1, 2, 3]);
        assert_eq!(flight.came_back(2, now), Some(6));
        assert_eq!(flight.came_back(2, now), None, "it came back before");
        assert_eq!(flight.came_back(6, now), Some(10));
        assert_eq!(flight.came_back(u64::MAX, now), None, "it was never sent");
    }

    #[test]
    fn what_is_overdue_is_replaced_and_not_awaited_any_more() {
        let now = Moment::now();
        let mut flight = Flight::new(3);
        flight.begin(now);
        flight.came_back(1, now.after(PATIENCE / 2));
        assert!(flight.replace_overdue(now.after(PATIENCE / 2)).is_empty());
        let later = now.after(PATIENCE);
        assert_eq!(flight.replace_overdue(later), [3, 5]);
        assert!(flight.replace_overdue(later).is_empty());
        assert_eq!(flight.came_back(0, later), None, "it came late");
        assert_eq!(flight.came_back(3, later), Some(6));
    }
}
