//! What one thread says when somebody looks.

use std::time::Duration;

use super::ServicesSeen;

/// What one thread knows at one moment.
#[derive(Debug, Clone, Default)]
pub struct ThreadSnapshot {
    /// The number of the thread.
    pub number: usize,
    /// The number of the look that it answers.
    pub look: u64,
    /// What is known of the thread.
    pub thread: ThreadStatus,
    /// What is known of services.
    pub services: ServicesSeen,
    /// Those of its sessions that have moved most, as many as were asked for.
    pub rows: Vec<SessionRow>,
}

/// What is known of an I/O thread.
#[derive(Debug, Clone, Default)]
pub struct ThreadStatus {
    /// Its name.
    pub name: String,
    /// Whether it has answered in time, or has ended; otherwise what is known of it is what it said last.
    pub has_answered: bool,
    /// Sessions that it has.
    pub sessions: u64,
    /// Turns of its loop.
    pub turns: u64,
    /// How long these took, without the time in which it waited for events, in microseconds.
    pub busy: u64,
    /// How long it had a processor, in microseconds.
    pub cpu: u64,
    /// Buffers that are in use, and that it has.
    pub buffers: [u64; 2],
    /// Pipes that are in use, and that it has.
    pub pipes: [u64; 2],
    /// Bytes of memory in which it keeps datagrams.
    pub kept: u64,
    /// Datagrams dropped that belonged to no session.
    pub lost: u64,
}

/// What is known of a session.
#[derive(Debug, Clone, Default)]
pub struct SessionRow {
    /// Tells it apart from all others of the process.
    pub id: String,
    /// The name of its service.
    pub service: String,
    /// The client, and the address of ours that it is connected to.
    pub client: String,
    /// See `client`.
    pub listener: String,
    /// The remote's address; empty where there is none yet.
    pub remote: String,
    /// The remote's name, as remotes are listed; empty where there is none yet.
    pub remote_name: String,
    /// What it is doing: `header`, `waiting`, `connecting`, `open` or `ending`.
    pub phase: &'static str,
    /// How long it has lasted.
    pub age: Duration,
    /// How long nothing has moved in it.
    pub idle: Duration,
    /// Bytes of payload that were delivered, upstream and downstream.
    pub bytes: [u64; 2],
    /// The same of datagrams.
    pub datagrams: [u64; 2],
}
