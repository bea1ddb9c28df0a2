//! The table of metrics.

use std::time::UNIX_EPOCH;

use super::Kind::{Counter, Gauge, Histogram, Info};
use super::Source::{
    Process, Remote, RemoteFlow, RemoteHistogram, RemoteWord, Service, ServiceFlow, ServiceHistogram, ServiceWord,
    Thread, Version,
};
use super::Unit::{Bytes, None, Seconds};
use super::{Metric, Source, Unit};
use crate::session::Ending;
use crate::status::snapshot::{RemoteStatus, ServiceStatus, Snapshot};

/// A metric that only grows.
const fn counter(name: &'static str, unit: Unit, help: &'static str, source: Source) -> Metric {
    Metric { name, kind: Counter, unit, help, source }
}

/// A metric that comes and goes.
const fn gauge(name: &'static str, unit: Unit, help: &'static str, source: Source) -> Metric {
    Metric { name, kind: Gauge, unit, help, source }
}

/// A metric that says how many there were of each size.
const fn histogram(name: &'static str, unit: Unit, help: &'static str, source: Source) -> Metric {
    Metric { name, kind: Histogram, unit, help, source }
}

/// The words for what is known of a remote.
const STATES: [&str; 4] = ["up", "out", "trying", "down"];

/// All metrics, in the order in which they are told.
pub(super) const METRICS: &[Metric] = &[
    Metric { name: "cproxy_build", kind: Info, unit: None, help: "The version of the program.", source: Version },
    gauge("cproxy_start_time_seconds", Seconds, "When the process started, since 1970.", Process(start_time)),
    gauge(
        "cproxy_draining",
        None,
        "Whether the process is stopping and takes no new clients: 1 if it is, otherwise 0.",
        Process(|snapshot| snapshot.is_draining.into()),
    ),
    counter(
        "cproxy_log_lines_lost",
        None,
        "Lines of the log that were lost, as standard output did not take them.",
        Process(|snapshot| snapshot.log_lines_lost),
    ),
    counter(
        "cproxy_access_log_lines_lost",
        None,
        "Lines of access logs that were lost, as they could not be written.",
        Process(|snapshot| snapshot.access_log_lines_lost),
    ),
    counter(
        "cproxy_capture_records_lost",
        None,
        "Records of captures that were lost, as there was no room for them.",
        Process(|snapshot| snapshot.capture_records_lost),
    ),
    gauge(
        "cproxy_thread_answering",
        None,
        "Whether the I/O thread has answered this time: 1 if it has. If it has not (0), its other values are older.",
        Thread(|thread| thread.has_answered.into()),
    ),
    gauge("cproxy_thread_sessions", None, "Sessions of the I/O thread now.", Thread(|thread| thread.sessions)),
    counter("cproxy_thread_turns", None, "Turns of the I/O thread's loop.", Thread(|thread| thread.turns)),
    counter(
        "cproxy_thread_busy_seconds",
        Seconds,
        "How long these turns took, without the time in which the I/O thread waited for something to do (estimated).",
        Thread(|thread| thread.busy),
    ),
    counter(
        "cproxy_thread_cpu_seconds",
        Seconds,
        "How much CPU time the I/O thread has used, in the program and in the system.",
        Thread(|thread| thread.cpu),
    ),
    gauge(
        "cproxy_thread_buffers_in_use",
        None,
        "Buffers in which bytes wait on the I/O thread.",
        Thread(|thread| thread.buffers[0]),
    ),
    gauge(
        "cproxy_thread_buffers",
        None,
        "Buffers that the I/O thread has, those that are free among them.",
        Thread(|thread| thread.buffers[1]),
    ),
    gauge(
        "cproxy_thread_pipes_in_use",
        None,
        "Kernel pipes in which bytes wait on the I/O thread.",
        Thread(|thread| thread.pipes[0]),
    ),
    gauge(
        "cproxy_thread_pipes",
        None,
        "Kernel pipes that the I/O thread has, those that are free among them.",
        Thread(|thread| thread.pipes[1]),
    ),
    gauge(
        "cproxy_thread_kept_bytes",
        Bytes,
        "Memory in which the I/O thread keeps datagrams that could not be sent at once.",
        Thread(|thread| thread.kept),
    ),
    counter(
        "cproxy_thread_datagrams_dropped",
        None,
        "Datagrams that were dropped because there was no session for their sender.",
        Thread(|thread| thread.lost),
    ),
    gauge("cproxy_service_sessions", None, "Sessions of the service now.", Service(|service| service.sessions)),
    counter(
        "cproxy_service_sessions_begun",
        None,
        "Sessions of the service that have begun.",
        Service(|service| service.counters.begun),
    ),
    counter(
        "cproxy_service_sessions_ended",
        None,
        "Sessions of the service that have ended, by what ended them.",
        ServiceWord("ending", endings),
    ),
    counter(
        "cproxy_service_clients_refused",
        None,
        "Clients that the service did not let in, by what refused them.",
        ServiceWord("reason", |service| service.refused.clone()),
    ),
    counter(
        "cproxy_service_transferred_bytes",
        Bytes,
        "Bytes that sessions of the service have delivered to remotes (upstream) and to clients (downstream).",
        ServiceFlow(|service| service.counters.bytes),
    ),
    counter(
        "cproxy_service_datagrams",
        None,
        "Datagrams that sessions of the service have delivered.",
        ServiceFlow(|service| service.counters.datagrams),
    ),
    counter(
        "cproxy_service_datagrams_dropped",
        None,
        "Datagrams that sessions of the service could not deliver.",
        ServiceFlow(|service| service.counters.dropped),
    ),
    histogram(
        "cproxy_service_connect_seconds",
        Seconds,
        "How long it took from the beginning of a session until its remote was connected.",
        ServiceHistogram(|service| &service.counters.connect_time),
    ),
    histogram(
        "cproxy_service_session_seconds",
        Seconds,
        "How long sessions of the service lasted that have ended.",
        ServiceHistogram(|service| &service.counters.session_time),
    ),
    histogram(
        "cproxy_service_session_bytes",
        Bytes,
        "How many bytes sessions of the service delivered that have ended, in both directions together.",
        ServiceHistogram(|service| &service.counters.session_bytes),
    ),
    gauge(
        "cproxy_remote_state",
        None,
        "What is known of the remote: 1 for the state that it is in, 0 for the others.",
        RemoteWord("state", states),
    ),
    gauge("cproxy_remote_weight", None, "The weight of the remote.", Remote(|remote| remote.weight.into())),
    gauge("cproxy_remote_sessions", None, "Sessions that the remote has now.", Remote(|remote| remote.sessions)),
    counter(
        "cproxy_remote_sessions_connected",
        None,
        "Sessions that were connected to the remote.",
        Remote(|remote| remote.counters.connected),
    ),
    counter(
        "cproxy_remote_connect_failures",
        None,
        "Attempts to connect to the remote that failed for a reason that is the remote's.",
        Remote(|remote| remote.failures),
    ),
    counter(
        "cproxy_remote_transferred_bytes",
        Bytes,
        "Bytes that were delivered to the remote (upstream), and from it to clients (downstream).",
        RemoteFlow(|remote| remote.counters.bytes),
    ),
    histogram(
        "cproxy_remote_connect_seconds",
        Seconds,
        "How long it took from the beginning of a session until this remote was connected.",
        RemoteHistogram(|remote| &remote.counters.connect_time),
    ),
];

/// In microseconds since 1970. To the second, so that it does not change from one snapshot to the next.
fn start_time(snapshot: &Snapshot) -> u64 {
    let since = snapshot.at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.saturating_sub(snapshot.uptime).as_millis() as u64 + 500) / 1000 * 1_000_000
}

fn endings(service: &ServiceStatus) -> Vec<(&'static str, u64)> {
    Ending::all().map(|ending| (ending.word(), service.counters.ended[ending.number()])).collect()
}

fn states(remote: &RemoteStatus) -> Vec<(&'static str, u64)> {
    STATES.map(|state| (state, u64::from(state == remote.state))).to_vec()
}
