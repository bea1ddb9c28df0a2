//! All that is known at one moment.

use std::time::{Duration, SystemTime};

use crate::counters::{RemoteCounters, ServiceCounters};

pub use crate::counters::{SessionRow, ThreadStatus};

/// All that is known at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When.
    pub at: SystemTime,
    /// How long the process has been running.
    pub uptime: Duration,
    /// Whether it stops, and serves only the sessions that it has.
    pub is_draining: bool,
    /// Its I/O threads.
    pub threads: Vec<ThreadStatus>,
    /// Its services, in the order of the settings.
    pub services: Vec<ServiceStatus>,
    /// Some of its sessions, if they were asked for.
    pub sessions: Vec<SessionRow>,
    /// How many there are in all.
    pub sessions_all: u64,
    /// Lines of the log that nobody took.
    pub log_lines_lost: u64,
    /// Lines of access logs that could not be written.
    pub access_log_lines_lost: u64,
    /// Records of captures for which there was no room.
    pub capture_records_lost: u64,
}

/// What is known of a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceStatus {
    /// Its name; empty for the one of the command line.
    pub name: String,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Its remotes.
    pub remotes: Vec<RemoteStatus>,
    /// Sessions that it has.
    pub sessions: u64,
    /// What its sessions have come to, those that go on among them.
    pub counters: ServiceCounters,
    /// Clients that were refused, by the word for the reason.
    pub refused: Vec<(&'static str, u64)>,
}

/// What is known of a remote.
#[derive(Debug, Clone, Default)]
pub struct RemoteStatus {
    /// Its address, or what was written where it has several.
    pub name: String,
    /// `up`, `out`, `trying` or `down`.
    pub state: &'static str,
    /// Why it is what it is, where that is known.
    pub why: String,
    /// How long it has been so.
    pub since: Duration,
    /// Its weight.
    pub weight: u32,
    /// Whether it is used only where no other can be.
    pub is_backup: bool,
    /// How many sessions it may have.
    pub max_sessions: Option<u32>,
    /// Sessions that it has.
    pub sessions: u64,
    /// Attempts to connect to it that have failed.
    pub failures: u64,
    /// What its sessions have come to.
    pub counters: RemoteCounters,
}
