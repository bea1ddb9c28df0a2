//! One source is refused as often as it can come, while others ping.
//!
//! The flood takes much of the machine itself, and so would anybody who refuses. So the pings are compared with those
//! through the same proxy while the same flood goes to a bare listener beside it, which does nothing but reset, and while
//! it goes where nobody listens, so that the kernel refuses.

use std::net::SocketAddr;

use super::cases::By;
use super::flood::{Flood, SOURCE};
use crate::clock::Moment;
use crate::contest::{Begun, median};
use crate::failure::Failure;
use crate::interrupt;
use crate::kit::{Kit, PeerKind, Server, written};
use crate::load::Load;
use crate::proxy::{Running, free_address};
use crate::server::Manner;
use crate::transport::Transport;
use crate::usage::Usage;

/// How often each window comes in a round, in turns.
const TURNS: usize = 8;

/// What one window has given, a second each.
#[derive(Clone, Copy)]
struct Window {
    pings: f64,
    offered: f64,
    refused: f64,
}

/// The windows of one kind.
#[derive(Default)]
struct Windows(Vec<Window>);

impl Windows {
    fn median(&self, of: fn(&Window) -> f64) -> f64 {
        median(self.0.iter().map(of))
    }

    /// The pings as a multiple of those of others, window by window.
    fn pings_to(&self, other: &Self) -> f64 {
        median(self.0.iter().zip(&other.0).map(|(own, other)| own.pings / other.pings))
    }
}

/// Runs the load.
pub fn run(kit: &Kit, by: By, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let bare = Server::start_as(Manner::Refusing, 1)?;
    let source = SOURCE.to_string();
    let arguments = match by {
        By::Rule => ["--deny", &source],
        By::Rate => ["--session-rate-per-source", "100/s"],
    };
    let proxy = kit.cproxy(&written(&server.addresses[..1]), &arguments)?;
    let haproxy = kit.peers.iter().find(|peer| peer.kind == PeerKind::Haproxy && by == By::Rule);
    let reject = format!("    tcp-request connection reject if {{ src {source} }}\n");
    let haproxy = haproxy.map(|peer| kit.peer(peer, &server.addresses[1..], &reject)).transpose()?;

    // Through whom the pings go, and where the flood.
    let mut windows = vec![
        (&proxy, None, Windows::default()),
        (&proxy, Some(bare.addresses[0]), Windows::default()),
        (&proxy, Some(proxy.entry), Windows::default()),
        (&proxy, Some(free_address(Transport::Tcp)?), Windows::default()),
    ];
    if let Some(haproxy) = &haproxy {
        windows.push((haproxy, None, Windows::default()));
        windows.push((haproxy, Some(haproxy.entry), Windows::default()));
    }
    let count = windows.len();
    for turn in 0..TURNS {
        for place in 0..count {
            let place = if turn % 2 == 0 { place } else { count - 1 - place };
            let (proxy, flooded, windows) = &mut windows[(place + round) % count];
            windows.0.push(ping_beside(kit, &server, proxy, *flooded)?);
        }
    }
    let (refused, cost) = refuse_alone(kit, proxy.entry, || proxy.usage())?;
    let (_, bare_cost) = refuse_alone(kit, bare.addresses[0], || bare.usage())?;

    let [calm, beside, flooded, nobody] = [0, 1, 2, 3].map(|index| &windows[index].2);
    let mut numbers = vec![
        flooded.pings_to(beside),
        flooded.pings_to(nobody),
        flooded.pings_to(calm),
        calm.median(|window| window.pings),
        flooded.median(|window| window.pings),
        beside.median(|window| window.pings),
        flooded.median(|window| window.offered),
        flooded.median(|window| window.refused),
        beside.median(|window| window.offered),
        beside.median(|window| window.refused),
        refused,
        cost,
        bare_cost,
    ];
    if let [(_, _, calm), (_, _, flooded)] = &windows[4..] {
        numbers.extend([flooded.pings_to(calm), flooded.median(|window| window.refused)]);
    }
    Ok(numbers)
}

/// Pings through a proxy while a flood goes to `flooded`. The sessions are open before it comes.
fn ping_beside(kit: &Kit, server: &Server, proxy: &Running, flooded: Option<SocketAddr>) -> Result<Window, Failure> {
    let begun = Begun::new(proxy.entry, server, Load::PING_64, kit.length)?;
    let seconds = begun.window.length().as_secs_f64();
    let flood = flooded.map(Flood::start).transpose()?;
    let ([before, after], tally) = begun.watch(|| flood.as_ref().map(Flood::counted))?;
    let pings = tally.operations as f64 / seconds;
    let (offered, refused) = match (before, after) {
        (Some(before), Some(after)) => after.rates_since(&before),
        _ => (0.0, 0.0),
    };
    Ok(Window { pings, offered, refused })
}

/// What is refused a second at `entry` while nobody pings, and the CPU time for each, in seconds, of whom `usage` tells.
fn refuse_alone(kit: &Kit, entry: SocketAddr, usage: impl Fn() -> Usage) -> Result<(f64, f64), Failure> {
    let flood = Flood::start(entry)?;
    interrupt::sleep_until(Moment::now().after(kit.length / 4))?;
    let (counted, used) = (flood.counted(), usage());
    interrupt::sleep_until(Moment::now().after(kit.length * 2))?;
    let (_, refused) = flood.counted().rates_since(&counted);
    Ok((refused, usage().load_since(&used) / refused))
}
