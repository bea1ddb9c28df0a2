//! Many: the same pings as `ping`, while thousands of sessions are open and silent.

use std::io;

use crate::client::{Controller, warm_up};
use crate::session::{self, Role};
use crate::wire::Order;

use super::ping::Pings;

/// Runs the client's side. The sessions that ping are spread evenly over those that are open.
pub fn run(order: &Order, controller: &mut Controller, open: usize, pinging: usize) -> io::Result<()> {
    let mut silent = session::open(order.target, &vec![Role::Echo; open])?;
    let stride = open / pinging;
    let chosen = (0..pinging).rev().map(|nth| silent.swap_remove(nth * stride)).collect();
    let mut pings = Pings::new(chosen)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let tally = pings.run(&window)?;
    controller.finish(tally)
}
