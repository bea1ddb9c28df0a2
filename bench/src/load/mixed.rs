//! Mixed: pings on a few sessions while bulk flows share the proxy.
//!
//! Half the flows go up and half go down, so that pings meet bulk on the way there and on the way back. Pings have a
//! thread of their own at both ends: what they wait for is the proxy.

use std::io;
use std::thread;

use super::Direction;
use super::bulk::{self, Flows};
use super::ping::Pings;
use crate::client::{Controller, warm_up};
use crate::session::{self, Role};
use crate::wire::{Order, Tally};

/// Runs the client's side.
pub fn run(order: &Order, controller: &mut Controller, pinging: usize, flows: usize) -> io::Result<()> {
    let directions: Vec<Direction> = [Direction::Up, Direction::Down].into_iter().cycle().take(flows).collect();
    let roles: Vec<Role> = directions.iter().map(|&direction| bulk::role(direction)).collect();
    let streams = session::open(order.target, &roles)?;
    let traffic = directions.iter().map(|&direction| bulk::traffic(direction));
    let mut flows = Flows::new(streams.into_iter().zip(traffic))?;
    let mut pings = Pings::new(session::open(order.target, &vec![Role::Echo; pinging])?)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let (received, tally) = thread::scope(|scope| {
        let bulk = scope.spawn(|| flows.run(&window));
        let tally = pings.run(&window);
        (bulk.join().expect("the bulk thread does not panic"), tally)
    });
    controller.finish(Tally { received: received?, ..tally? })
}
