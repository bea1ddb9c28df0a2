//! Loads with somebody who looks at the page, and with nobody.

use std::net::SocketAddr;
use std::time::Duration;

use super::viewer::{Seen, Viewer};
use crate::contest::{Begun, median, ratios};
use crate::failure::Failure;
use crate::kit::{Kit, Server, written};
use crate::load::Load;
use crate::proxy::{Running, free_address};
use crate::transport::Transport;

/// How often each proxy is measured in a round, in turns.
const TURNS: usize = 8;

/// The same where thousands of sessions are opened each time.
const TURNS_OF_MANY: usize = 4;

/// How many of many sessions ping.
const PINGING: usize = 64;

/// How long each is measured at least: the page is looked at each second.
const LEAST_LENGTH: Duration = Duration::from_secs(2);

/// A proxy, and what each of its turns has given.
struct Side {
    running: Running,
    /// Where its page is, if somebody looks at it.
    page: Option<SocketAddr>,
    /// Operations, or bytes of bulk, a second.
    rates: Vec<f64>,
    /// CPU time for each of these, in seconds.
    costs: Vec<f64>,
    /// How long 99 of 100 operations took at most, in seconds.
    tails: Vec<f64>,
    seen: Vec<Seen>,
}

impl Side {
    fn new(running: Running, page: Option<SocketAddr>) -> Side {
        Side { running, page, rates: Vec::new(), costs: Vec::new(), tails: Vec::new(), seen: Vec::new() }
    }

    /// Measures one more window, and looks at the page meanwhile.
    fn measure(&mut self, load: Load, kit: &Kit, server: &Server) -> Result<(), Failure> {
        let begun = Begun::new(self.running.entry, server, load, kit.length.max(LEAST_LENGTH))?;
        let viewer = self.page.map(Viewer::begin);
        let seconds = begun.window.length().as_secs_f64();
        let ([before, after], tally) = begun.watch(|| self.running.usage())?;
        if let Some(viewer) = viewer {
            self.seen.extend(viewer.end()?);
        }
        self.running.check()?;
        let done = if tally.operations > 0 { tally.operations } else { tally.received };
        let rate = done as f64 / seconds;
        self.rates.push(rate);
        self.costs.push(after.load_since(&before) / rate);
        self.tails.extend(tally.latency.map(|latency| latency.p99 as f64 / 1e9));
        Ok(())
    }

    fn median_of_seen(&self, of: impl Fn(&Seen) -> f64) -> f64 {
        median(self.seen.iter().map(of))
    }
}

/// Both, each with a remote of its own, so that none finds ports in TIME_WAIT that the other has left.
fn sides(kit: &Kit, server: &Server) -> Result<[Side; 2], Failure> {
    let page = free_address(Transport::Tcp)?;
    let status = page.to_string();
    Ok([
        Side::new(kit.cproxy(&written(&server.addresses[..1]), &[])?, None),
        Side::new(kit.cproxy(&written(&server.addresses[1..2]), &["--status", &status])?, Some(page)),
    ])
}

fn in_turns(
    sides: &mut [Side; 2],
    turns: usize,
    load: Load,
    (kit, server): (&Kit, &Server),
    round: usize,
) -> Result<(), Failure> {
    for turn in 0..turns {
        for place in 0..2 {
            sides[(turn + place + round) % 2].measure(load, kit, server)?;
        }
    }
    Ok(())
}

/// A load, with the page and without.
pub fn seen(kit: &Kit, load: Load, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let mut sides = sides(kit, &server)?;
    in_turns(&mut sides, TURNS, load, (kit, &server), round)?;
    let [plain, page] = &sides;
    Ok(vec![
        median(ratios(&page.rates, &plain.rates)),
        median(ratios(&page.costs, &plain.costs)),
        median(plain.rates.iter().copied()),
        median(page.rates.iter().copied()),
        page.median_of_seen(|seen| seen.first_byte),
    ])
}

/// Pings among many sessions, with the page and without.
pub fn many(kit: &Kit, open: usize, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let mut sides = sides(kit, &server)?;
    in_turns(&mut sides, TURNS_OF_MANY, Load::Many { open, pinging: PINGING }, (kit, &server), round)?;
    let [plain, page] = &sides;
    Ok(vec![
        page.median_of_seen(|seen| seen.first_byte),
        median(ratios(&page.tails, &plain.tails)),
        page.seen.iter().map(|seen| seen.first_byte).fold(0.0, f64::max),
        median(plain.tails.iter().copied()),
        median(page.tails.iter().copied()),
        page.median_of_seen(|seen| seen.size as f64),
        open as f64,
    ])
}
