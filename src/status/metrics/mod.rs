//! What is counted, as Prometheus and others that speak its language read it.
//!
//! One table says of each metric what it is; the text and the documentation are made from it.

mod reference;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use reference::reference;
pub use text::{Format, text};

use crate::counters::Histogram;
use crate::status::snapshot::{RemoteStatus, ServiceStatus, Snapshot, ThreadStatus};

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, without the `_total` that counters have.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// One sentence about it.
    pub help: &'static str,
    /// Where its values are.
    source: Source,
}

/// How the values of a metric behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow, while the process runs.
    Counter,
    /// They come and go.
    Gauge,
    /// They say how many there were of each size.
    Histogram,
    /// Only the labels say something.
    Info,
}

/// What the values of a metric are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// They are numbers of something.
    None,
    /// They are counted in microseconds, and told in seconds.
    Seconds,
    /// They are bytes.
    Bytes,
}

/// Where the values of a metric are. The labels follow from it.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// The version of the program.
    Version,
    /// One of the process.
    Process(fn(&Snapshot) -> u64),
    /// One for each I/O thread.
    Thread(fn(&ThreadStatus) -> u64),
    /// One for each service.
    Service(fn(&ServiceStatus) -> u64),
    /// One for each direction of a service.
    ServiceFlow(fn(&ServiceStatus) -> [u64; 2]),
    /// One for each of some words, which the label of this name has.
    ServiceWord(&'static str, fn(&ServiceStatus) -> Vec<(&'static str, u64)>),
    /// One for each service.
    ServiceHistogram(fn(&ServiceStatus) -> &Histogram),
    /// One for each remote of a service.
    Remote(fn(&RemoteStatus) -> u64),
    /// One for each direction of a remote.
    RemoteFlow(fn(&RemoteStatus) -> [u64; 2]),
    /// One for each of some words, which the label of this name has.
    RemoteWord(&'static str, fn(&RemoteStatus) -> Vec<(&'static str, u64)>),
    /// One for each remote of a service.
    RemoteHistogram(fn(&RemoteStatus) -> &Histogram),
}

/// A value of a metric.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Histogram(&'a Histogram),
}

/// What takes the values of a metric: the values of its labels, and the value.
type Visit<'v> = &'v mut dyn FnMut(&[&str], Value<'_>);

/// The directions, as labels have them.
const DIRECTIONS: [&str; 2] = ["upstream", "downstream"];

/// All metrics, in the order in which they are told.
pub fn all() -> &'static [Metric] {
    table::METRICS
}

impl Metric {
    /// The name that its values have.
    pub fn full_name(&self) -> String {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// The names of its labels.
    pub fn labels(&self) -> Vec<&'static str> {
        match self.source {
            Source::Version => vec!["version"],
            Source::Process(_) => vec![],
            Source::Thread(_) => vec!["thread"],
            Source::Service(_) | Source::ServiceHistogram(_) => vec!["service"],
            Source::ServiceFlow(_) => vec!["service", "direction"],
            Source::ServiceWord(label, _) => vec!["service", label],
            Source::Remote(_) | Source::RemoteHistogram(_) => vec!["service", "remote"],
            Source::RemoteFlow(_) => vec!["service", "remote", "direction"],
            Source::RemoteWord(label, _) => vec!["service", "remote", label],
        }
    }

    /// Shows its values.
    fn visit(&self, snapshot: &Snapshot, visit: Visit<'_>) {
        match self.source {
            Source::Version => visit(&[env!("CARGO_PKG_VERSION")], Value::Number(1)),
            Source::Process(value) => visit(&[], Value::Number(value(snapshot))),
            Source::Thread(value) => {
                snapshot.threads.iter().for_each(|thread| visit(&[&thread.name], Value::Number(value(thread))));
            }
            Source::Service(value) => each_service(snapshot, |service| {
                visit(&[&service.name], Value::Number(value(service)));
            }),
            Source::ServiceHistogram(value) => each_service(snapshot, |service| {
                visit(&[&service.name], Value::Histogram(value(service)));
            }),
            Source::ServiceFlow(value) => each_service(snapshot, |service| {
                for (direction, value) in DIRECTIONS.into_iter().zip(value(service)) {
                    visit(&[&service.name, direction], Value::Number(value));
                }
            }),
            Source::ServiceWord(_, values) => each_service(snapshot, |service| {
                for (word, value) in values(service) {
                    visit(&[&service.name, word], Value::Number(value));
                }
            }),
            Source::Remote(value) => each_remote(snapshot, |service, name, remote| {
                visit(&[service, name], Value::Number(value(remote)));
            }),
            Source::RemoteHistogram(value) => each_remote(snapshot, |service, name, remote| {
                visit(&[service, name], Value::Histogram(value(remote)));
            }),
            Source::RemoteFlow(value) => each_remote(snapshot, |service, name, remote| {
                for (direction, value) in DIRECTIONS.into_iter().zip(value(remote)) {
                    visit(&[service, name, direction], Value::Number(value));
                }
            }),
            Source::RemoteWord(_, values) => each_remote(snapshot, |service, name, remote| {
                for (word, value) in values(remote) {
                    visit(&[service, name, word], Value::Number(value));
                }
            }),
        }
    }
}

fn each_service(snapshot: &Snapshot, visit: impl FnMut(&ServiceStatus)) {
    snapshot.services.iter().for_each(visit);
}

/// Shows each remote with the names of its service and of its own. What names stand for may change while they are looked
/// up, so that two remotes have the same: the second one is told apart by a number, as no two values may have the same labels.
fn each_remote(snapshot: &Snapshot, mut visit: impl FnMut(&str, &str, &RemoteStatus)) {
    for service in &snapshot.services {
        let mut seen = std::collections::HashMap::new();
        for remote in &service.remotes {
            let times = seen.entry(remote.name.as_str()).and_modify(|times| *times += 1).or_insert(1);
            match *times {
                1 => visit(&service.name, &remote.name, remote),
                times => visit(&service.name, &format!("{} #{times}", remote.name), remote),
            }
        }
    }
}
