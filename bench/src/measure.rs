//! One measurement: one load, through one proxy, once.

use std::time::Duration;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::load::Load;
use crate::metric::Metric;
use crate::process::{CLIENT_COMMAND, Helper, SERVER_COMMAND};
use crate::proxy::{Proxy, Room, Running};
use crate::transport::Sides;
use crate::usage::Usage;
use crate::wire::{FromClient, FromServer, Order, Received, Tally};

/// How long the client has to open its sessions.
const OPENING: Duration = Duration::from_secs(60);
/// How long a helper has to answer a question.
const ANSWER: Duration = Duration::from_secs(20);

/// What one measurement saw.
pub struct Sample {
    /// The proxy before its first session of the load; none without a proxy.
    before: Option<Usage>,
    /// When the window opened.
    start: Snapshot,
    /// When it closed.
    end: Snapshot,
    /// How long the client's window was.
    window: Duration,
    /// What the client counted.
    pub tally: Tally,
}

/// The proxy and the server at one moment.
struct Snapshot {
    proxy: Option<Usage>,
    server: Received,
}

/// Measures. Server, proxy and client are started for it, and gone when it returns.
pub fn measure(proxy: &Proxy, load: Load, length: Duration, room: &Room) -> Result<Vec<(Metric, f64)>, Failure> {
    let mut server = Helper::start(SERVER_COMMAND, &[])?;
    let FromServer::Listening(places, _) = server.receive(Moment::now().after(ANSWER))? else {
        return Err(Failure::of(SERVER_COMMAND, "did not say where it listens"));
    };
    let sides = load.sides();
    let address = places.of(sides.remote);
    let mut running = proxy.start(sides, address, room)?;
    let target = running.as_ref().map_or(address, |running| running.entry);
    let before = running.as_ref().map(Running::usage);

    let mut client = Helper::start(CLIENT_COMMAND, &[])?;
    client.send(&Order { target, server: places.udp, load, length })?;
    let window = match client.receive(Moment::now().after(OPENING))? {
        FromClient::Opened(window) => window,
        FromClient::Failed(reason) => return Err(Failure::of(CLIENT_COMMAND, reason)),
        FromClient::Finished(_) => return Err(Failure::of(CLIENT_COMMAND, "finished before it began")),
    };
    interrupt::sleep_until(window.from)?;
    let start = Snapshot::take(&running, &mut server)?;
    interrupt::sleep_until(window.until)?;
    let end = Snapshot::take(&running, &mut server)?;
    let tally = match client.receive(Moment::now().after(ANSWER))? {
        FromClient::Finished(tally) => tally,
        FromClient::Failed(reason) => return Err(Failure::of(CLIENT_COMMAND, reason)),
        FromClient::Opened(_) => return Err(Failure::of(CLIENT_COMMAND, "opened twice")),
    };
    let sample = Sample { before, start, end, window: window.length(), tally };
    // Sources of datagrams do not notice that nobody is there.
    if let Some(running) = &mut running {
        running.check()?;
    }
    if sides != Sides::TCP && sample.datagrams_per_second() == 0.0 {
        return Err(Failure::Broken("no datagram arrived".to_owned()));
    }
    Ok(load.metrics(&sample))
}

impl Snapshot {
    fn take(proxy: &Option<Running>, server: &mut Helper) -> Result<Self, Failure> {
        let proxy = proxy.as_ref().map(Running::usage);
        server.send(&"how much?")?;
        match server.receive(Moment::now().after(ANSWER))? {
            FromServer::Received(received) => Ok(Self { proxy, server: received }),
            FromServer::Listening(..) => Err(Failure::of(SERVER_COMMAND, "did not answer")),
        }
    }
}

impl Sample {
    /// Bytes of bulk or of datagrams that arrived, at both ends together. Each end counts over its own interval, which is the same to
    /// within milliseconds.
    pub fn bytes_per_second(&self) -> f64 {
        let up = self.end.server.bytes - self.start.server.bytes;
        up as f64 / self.server_seconds() + self.tally.received as f64 / self.window.as_secs_f64()
    }

    /// Datagrams that arrived where they were sent to: back at the client, or at the server.
    pub fn datagrams_per_second(&self) -> f64 {
        let counted = self.end.server.datagrams - self.start.server.datagrams;
        counted as f64 / self.server_seconds() + self.operations_per_second()
    }

    /// The share of datagrams that did not arrive.
    pub fn lost_share(&self) -> f64 {
        let arrived = self.end.server.datagrams - self.start.server.datagrams + self.tally.operations;
        // One that was late may make the number of missing ones go down.
        let lost = self.end.server.missing.saturating_sub(self.start.server.missing) + self.tally.lost;
        lost as f64 / (arrived + lost).max(1) as f64
    }

    /// How long the server counted.
    fn server_seconds(&self) -> f64 {
        self.end.server.at.since(self.start.server.at).as_secs_f64()
    }

    /// Round trips or connections.
    pub fn operations_per_second(&self) -> f64 {
        self.tally.operations as f64 / self.window.as_secs_f64()
    }

    /// The proxy's CPU time, in nanoseconds, for each of the things that are done `rate` times a second.
    pub fn cpu_per(&self, rate: f64) -> Option<f64> {
        let (start, end) = (self.start.proxy?, self.end.proxy?);
        let used = end.cpu.saturating_sub(start.cpu).as_secs_f64() / end.at.since(start.at).as_secs_f64();
        Some(used * 1e9 / rate).filter(|cost| cost.is_finite())
    }

    /// The proxy's growth in resident memory, in bytes, for each of `sessions`.
    pub fn resident_per(&self, sessions: usize) -> Option<f64> {
        Some((self.end.proxy?.resident as f64 - self.before?.resident as f64) / sessions as f64)
    }
}
