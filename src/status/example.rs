//! A snapshot for tests.

use std::time::{Duration, UNIX_EPOCH};

use super::snapshot::{RemoteStatus, ServiceStatus, SessionRow, Snapshot, ThreadStatus};
use crate::counters::{RemoteCounters, ServiceCounters};

/// One thread, one service with two remotes, and two sessions.
pub fn example() -> Snapshot {
    let mut counters = ServiceCounters { begun: 5, bytes: [1000, 200_000], ..ServiceCounters::default() };
    counters.ended[0] = 3;
    counters.connect_time.record(700);
    let remote = |name: &str, weight, connected| RemoteStatus {
        name: name.to_string(),
        state: "up",
        weight,
        counters: RemoteCounters { connected, ..RemoteCounters::default() },
        ..RemoteStatus::default()
    };
    let session = |id: &str, client: &str, bytes| SessionRow {
        id: id.to_string(),
        service: "web".to_string(),
        client: client.to_string(),
        listener: "127.0.0.1:80".to_string(),
        remote: "10.0.0.1:80".to_string(),
        phase: "open",
        age: Duration::from_secs(7),
        bytes,
        ..SessionRow::default()
    };
    Snapshot {
        at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_000),
        uptime: Duration::from_secs(61),
        is_draining: false,
        threads: vec![ThreadStatus {
            name: "io-0".to_string(),
            has_answered: true,
            sessions: 2,
            ..ThreadStatus::default()
        }],
        services: vec![ServiceStatus {
            name: "web".to_string(),
            listeners: vec!["127.0.0.1:80".to_string(), "unix:/run/a b".to_string()],
            remotes: vec![remote("10.0.0.1:80", 3, 4), remote("10.0.0.2:80", 1, 1)],
            sessions: 2,
            counters,
            refused: vec![("rules", 2)],
        }],
        sessions: vec![
            session("0-17", "192.0.2.1:1000", [900, 150_000]),
            session("0-18", "192.0.2.2:1000", [100, 50_000]),
        ],
        sessions_all: 2,
        log_lines_lost: 0,
        access_log_lines_lost: 0,
        capture_records_lost: 0,
    }
}
