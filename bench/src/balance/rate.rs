//! How many connections a second: over several remotes, over one, and by other proxies over the same number.

use std::time::Duration;

use super::cases::{Method, RATE_REMOTES};
use super::kit::{Kit, Server, written};
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::{Close, Load};
use crate::process::{CLIENT_COMMAND, Helper};
use crate::proxy::Running;
use crate::stats::Summary;
use crate::wire::{FromClient, Order};

/// How often each proxy is measured in a round, in turns.
const TURNS: usize = 8;

/// What all turns measure.
const LOAD: Load = Load::Connect { at_once: 32, close: Close::Ordinary };

/// How long the client has to open its sessions, or to say what it has counted.
const ANSWER: Duration = Duration::from_secs(20);

/// A proxy, and what each of its turns has given.
struct Contestant {
    running: Running,
    /// Connections a second.
    rates: Vec<f64>,
    /// CPU time for each connection, in seconds.
    costs: Vec<f64>,
}

impl Contestant {
    fn new(running: Running) -> Self {
        Self { running, rates: Vec::new(), costs: Vec::new() }
    }

    fn rate(&self) -> f64 {
        median(self.rates.iter().copied())
    }

    /// The rate as a multiple of another's. Those of the same turn are compared: what disturbs the machine for a while
    /// hits both, and a turn in which it hits one of them does not count for more than any other.
    fn rate_to(&self, other: &Self) -> f64 {
        median(self.rates.iter().zip(&other.rates).map(|(own, other)| own / other))
    }

    /// The same of the CPU time for each connection.
    fn cost_to(&self, other: &Self) -> f64 {
        median(self.costs.iter().zip(&other.costs).map(|(own, other)| own / other))
    }

    /// Counts the connections of one more window.
    fn measure(&mut self, kit: &Kit, server: &Server) -> Result<(), Failure> {
        let mut client = Helper::start(CLIENT_COMMAND, &[])?;
        let length = kit.settings.length;
        client.send(&Order { target: self.running.entry, server: server.udp, load: LOAD, length })?;
        let window = match client.receive(Moment::now().after(ANSWER))? {
            FromClient::Opened(window) => window,
            FromClient::Failed(reason) => return Err(Failure::of(CLIENT_COMMAND, reason)),
            FromClient::Finished(_) => return Err(Failure::of(CLIENT_COMMAND, "finished before it began")),
        };
        interrupt::sleep_until(window.from)?;
        let before = self.running.usage();
        interrupt::sleep_until(window.until)?;
        let after = self.running.usage();
        let tally = match client.receive(Moment::now().after(ANSWER))? {
            FromClient::Finished(tally) => tally,
            FromClient::Failed(reason) => return Err(Failure::of(CLIENT_COMMAND, reason)),
            FromClient::Opened(_) => return Err(Failure::of(CLIENT_COMMAND, "opened twice")),
        };
        self.running.check()?;
        let rate = tally.operations as f64 / window.length().as_secs_f64();
        let load = after.cpu.saturating_sub(before.cpu).as_secs_f64() / after.at.since(before.at).as_secs_f64();
        self.rates.push(rate);
        self.costs.push(load / rate);
        Ok(())
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    Summary::of(&values.collect::<Vec<_>>()).map_or(f64::NAN, |summary| summary.median)
}

/// Measures all proxies in turns. All of them run all the time, as one without clients costs nothing.
fn in_turns(proxies: &mut [Contestant], kit: &Kit, server: &Server, round: usize) -> Result<(), Failure> {
    let count = proxies.len();
    for turn in 0..TURNS {
        for place in 0..count {
            // Back and forth, so that what changes steadily hits all alike.
            let place = if turn % 2 == 0 { place } else { count - 1 - place };
            proxies[(place + round) % count].measure(kit, server)?;
        }
    }
    Ok(())
}

/// Several remotes, against one and against other proxies. Each proxy has remotes of its own, so that none finds ports in
/// TIME_WAIT that another has left.
pub fn several_remotes(kit: &Kit, method: Method, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1 + RATE_REMOTES * (1 + kit.peers.len()))?;
    let (one, several) = server.addresses.split_at(1);
    let (ours, theirs) = several.split_at(RATE_REMOTES);
    let mut proxies = vec![
        Contestant::new(kit.cproxy(&written(one), Method::RoundRobin, &[])?),
        Contestant::new(kit.cproxy(&written(ours), method, &[])?),
    ];
    for (peer, targets) in kit.peers.iter().zip(theirs.chunks(RATE_REMOTES)) {
        proxies.push(Contestant::new(kit.peer(peer, targets, peer.kind.method(method))?));
    }
    in_turns(&mut proxies, kit, &server, round)?;
    let (one, ours, peers) = (&proxies[0], &proxies[1], &proxies[2..]);
    let mut numbers = vec![ours.rate_to(one), ours.cost_to(one)];
    numbers.extend(peers.iter().map(|peer| ours.rate_to(peer)));
    numbers.extend(proxies.iter().map(Contestant::rate));
    Ok(numbers)
}

/// One remote, against an earlier program: what the choice costs those who have none.
pub fn one_remote(kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let earlier = kit.settings.earlier.as_deref().ok_or_else(|| Failure::of("--earlier", "not given"))?;
    let (first, second) = server.addresses.split_at(1);
    let mut proxies = [
        Contestant::new(kit.program(earlier, &written(first), Method::RoundRobin, &[])?),
        Contestant::new(kit.cproxy(&written(second), Method::RoundRobin, &[])?),
    ];
    in_turns(&mut proxies, kit, &server, round)?;
    let [earlier, ours] = &proxies;
    Ok(vec![ours.rate_to(earlier), ours.cost_to(earlier), earlier.rate(), ours.rate()])
}
