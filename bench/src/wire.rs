//! What the controller, the server and the client say to each other: one JSON value a line, over pipes.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::{Moment, Window};
use crate::load::Load;
use crate::transport::Places;

/// What the client is to do; the one line it is sent.
#[derive(Serialize, Deserialize)]
pub struct Order {
    /// Where to connect: the proxy, or the server itself.
    pub target: SocketAddr,
    /// Where the server itself takes datagrams, for what is not to go through the proxy.
    pub server: SocketAddr,
    /// What to do there.
    pub load: Load,
    /// How long to measure.
    pub length: Duration,
}

/// What the server says.
#[derive(Serialize, Deserialize)]
pub enum FromServer {
    /// Clients reach it here; and all its TCP addresses. Said once, first.
    Listening(Places, Vec<SocketAddr>),
    /// How much it has received. Said in answer to each line it is sent.
    Received(Received),
}

/// How much the server has received so far, of bulk flows and of datagrams that it is to count.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Received {
    /// Bytes since the server started.
    pub bytes: u64,
    /// Datagrams since the server started.
    pub datagrams: u64,
    /// Datagrams that have not come, though later ones have.
    pub missing: u64,
    /// When that was so.
    pub at: Moment,
}

/// What the client says.
#[derive(Serialize, Deserialize)]
pub enum FromClient {
    /// All sessions are open, and the load runs; this part of it counts.
    Opened(Window),
    /// What happened in the window. The sessions stay open until the client's standard input ends.
    Finished(Tally),
    /// The load could not be run to its end.
    Failed(String),
}

/// What the client counted within the window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Bytes the client's bulk flows received.
    pub received: u64,
    /// Finished operations: round trips, of messages or of datagrams, or connections.
    pub operations: u64,
    /// Datagrams that did not come back in time.
    pub lost: u64,
    /// How long an operation took, if operations were timed.
    pub latency: Option<Latency>,
}

/// Quantiles of a latency histogram, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1,000 took no longer.
    pub p999: u64,
    /// None took longer.
    pub max: u64,
}

/// Writes one message.
pub fn send(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// Reads one message.
pub fn receive<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<T> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}
