//! How many connections a second: over several remotes, over one, and by other proxies over the same number.

use super::cases::{Method, RATE_REMOTES};
use super::kit::{Kit, Server, written};
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::{Close, Load};
use crate::process::{CLIENT_COMMAND, Helper};
use crate::proxy::Running;
use crate::wire::{FromClient, Order};
use std::time::Duration;

/// How often each proxy is measured in a round, in turns.
const TURNS: usize = 4;

/// What all turns measure.
const LOAD: Load = Load::Connect { at_once: 32, close: Close::Ordinary };

/// How long the client has to open its sessions, or to say what it has counted.
const ANSWER: Duration = Duration::from_secs(20);

/// A proxy, and what its turns have given.
struct Contestant {
    running: Running,
    connections: f64,
    seconds: f64,
    cpu: f64,
}

impl Contestant {
    fn new(running: Running) -> Self {
        Self { running, connections: 0.0, seconds: 0.0, cpu: 0.0 }
    }

    fn rate(&self) -> f64 {
        self.connections / self.seconds
    }

    /// CPU time for each connection.
    fn cost(&self) -> f64 {
        self.cpu / self.connections
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
        let tally = match client.receive(Moment::now().after(ANSWER + length))? {
            FromClient::Finished(tally) => tally,
            FromClient::Failed(reason) => return Err(Failure::of(CLIENT_COMMAND, reason)),
            FromClient::Opened(_) => return Err(Failure::of(CLIENT_COMMAND, "opened twice")),
        };
        self.running.check()?;
        self.connections += tally.operations as f64;
        self.seconds += window.length().as_secs_f64();
        self.cpu += after.cpu.saturating_sub(before.cpu).as_secs_f64();
        Ok(())
    }
}

/// Measures all proxies in turns. All of them run all the time, as one without clients costs nothing. Each has remotes of
/// its own, so that none finds ports in TIME_WAIT that another has left.
pub fn run(kit: &Kit, method: Method, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1 + RATE_REMOTES * (1 + kit.peers.len()))?;
    let (one, several) = server.addresses.split_at(1);
    let mut several = several.chunks(RATE_REMOTES);
    let mut several = || several.next().expect("there are as many as proxies");
    let mut proxies = vec![
        Contestant::new(kit.cproxy(&written(one), Method::RoundRobin, &[])?),
        Contestant::new(kit.cproxy(&written(several()), method, &[])?),
    ];
    for peer in &kit.peers {
        proxies.push(Contestant::new(kit.peer(peer, several(), method)?));
    }
    for turn in 0..TURNS {
        let count = proxies.len();
        for place in 0..count {
            // Back and forth, so that what changes steadily hits all alike.
            let place = if turn % 2 == 0 { place } else { count - 1 - place };
            proxies[(place + round) % count].measure(kit, &server)?;
        }
    }
    let (one, ours, peers) = (&proxies[0], &proxies[1], &proxies[2..]);
    let mut numbers = vec![ours.rate() / one.rate(), ours.cost() / one.cost()];
    numbers.extend(peers.iter().map(|peer| ours.rate() / peer.rate()));
    numbers.extend(proxies.iter().map(Contestant::rate));
    Ok(numbers)
}
