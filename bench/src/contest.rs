//! Proxies that are measured in turns, under a load of a client process, so that they can be compared.

use crate::clock::{Moment, Window};
use crate::failure::Failure;
use crate::interrupt;
use crate::kit::{Kit, Server};
use crate::load::{Close, Load};
use crate::process::{CLIENT_COMMAND, Helper};
use crate::proxy::Running;
use crate::stats::Summary;
use crate::wire::{FromClient, Order, Tally};
use std::net::SocketAddr;
use std::time::Duration;

/// How often each proxy is measured in a round, in turns.
const TURNS: usize = 8;

/// Connections as fast as can be.
pub const CONNECT: Load = Load::Connect { at_once: 32, close: Close::Ordinary };

/// How long the client has to open its sessions, or to say what it has counted.
const ANSWER: Duration = Duration::from_secs(20);

/// A load that a client process has begun.
pub struct Begun {
    client: Helper,
    /// What counts of it.
    pub window: Window,
}

impl Begun {
    /// Has a client process open its sessions to `target`.
    pub fn new(target: SocketAddr, server: &Server, load: Load, length: Duration) -> Result<Self, Failure> {
        let mut client = Helper::start(CLIENT_COMMAND, &[])?;
        client.send(&Order { target, server: server.udp, load, length })?;
        match client.receive(Moment::now().after(ANSWER))? {
            FromClient::Opened(window) => Ok(Self { client, window }),
            FromClient::Failed(reason) => Err(Failure::of(CLIENT_COMMAND, reason)),
            FromClient::Finished(_) => Err(Failure::of(CLIENT_COMMAND, "finished before it began")),
        }
    }

    /// Waits for the ends of the window and takes a look at both. Returns them, and what the client counted.
    pub fn watch<T>(mut self, mut look: impl FnMut() -> T) -> Result<([T; 2], Tally), Failure> {
        interrupt::sleep_until(self.window.from)?;
        let before = look();
        interrupt::sleep_until(self.window.until)?;
        let after = look();
        match self.client.receive(Moment::now().after(ANSWER))? {
            FromClient::Finished(tally) => Ok(([before, after], tally)),
            FromClient::Failed(reason) => Err(Failure::of(CLIENT_COMMAND, reason)),
            FromClient::Opened(_) => Err(Failure::of(CLIENT_COMMAND, "opened twice")),
        }
    }
}

/// A proxy, and what each of its turns has given.
pub struct Contestant {
    running: Running,
    /// Operations a second.
    rates: Vec<f64>,
    /// CPU time for each operation, in seconds.
    costs: Vec<f64>,
    /// How long half of the operations took at most, in seconds.
    waits: Vec<f64>,
}

impl Contestant {
    /// A proxy that has had no turn.
    pub fn new(running: Running) -> Self {
        Self { running, rates: Vec::new(), costs: Vec::new(), waits: Vec::new() }
    }

    /// Operations a second.
    pub fn rate(&self) -> f64 {
        median(self.rates.iter().copied())
    }

    /// The median latency, in seconds.
    pub fn wait(&self) -> f64 {
        median(self.waits.iter().copied())
    }

    /// The rate as a multiple of another's. Those of the same turn are compared: what disturbs the machine for a while
    /// hits both, and a turn in which it hits one of them does not count for more than any other.
    pub fn rate_to(&self, other: &Self) -> f64 {
        median(ratios(&self.rates, &other.rates))
    }

    /// The same of the CPU time for each operation.
    pub fn cost_to(&self, other: &Self) -> f64 {
        median(ratios(&self.costs, &other.costs))
    }

    /// The same of the median latency.
    pub fn wait_to(&self, other: &Self) -> f64 {
        median(ratios(&self.waits, &other.waits))
    }

    /// Counts the operations of one more window.
    fn measure(&mut self, load: Load, kit: &Kit, server: &Server) -> Result<(), Failure> {
        let begun = Begun::new(self.running.entry, server, load, kit.length)?;
        let seconds = begun.window.length().as_secs_f64();
        let ([before, after], tally) = begun.watch(|| self.running.usage())?;
        self.running.check()?;
        let rate = tally.operations as f64 / seconds;
        self.rates.push(rate);
        self.costs.push(after.load_since(&before) / rate);
        self.waits.extend(tally.latency.map(|latency| latency.p50 as f64 / 1e9));
        Ok(())
    }
}

/// Measures all proxies in turns. All of them run all the time, as one without clients costs nothing.
pub fn in_turns(
    proxies: &mut [Contestant],
    load: Load,
    kit: &Kit,
    server: &Server,
    round: usize,
) -> Result<(), Failure> {
    let count = proxies.len();
    for turn in 0..TURNS {
        for place in 0..count {
            // Back and forth, so that what changes steadily hits all alike.
            let place = if turn % 2 == 0 { place } else { count - 1 - place };
            proxies[(place + round) % count].measure(load, kit, server)?;
        }
    }
    Ok(())
}

/// What each of `own` is as a multiple of the other in its place.
pub fn ratios<'a>(own: &'a [f64], others: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    own.iter().zip(others).map(|(own, other)| own / other)
}

/// The middle one, if there is any.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    Summary::of(&values.collect::<Vec<_>>()).map_or(f64::NAN, |summary| summary.median)
}
