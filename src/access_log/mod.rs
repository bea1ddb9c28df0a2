//! The access log: a line for each session, as a format says it.
//!
//! Nothing here knows a session or a socket: what is known of one comes in as [`Facts`], and a line comes out. Where it
//! goes is a [`Sink`] of the log.

mod format;
mod line;

use std::sync::Arc;

use crate::log::Sink;

pub use format::{Field, Format};
pub use line::{Ending, Event, Facts};

/// What a service logs of its sessions, and where.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Where the lines go.
    pub sink: Sink,
    /// What stands in them.
    pub format: Arc<Format>,
    /// How long a session has lasted when it also gets a line that it has begun, in milliseconds; `None`: it gets none.
    pub start_after: Option<u64>,
    /// Whether lines have addresses of ours, for which the system must be asked.
    pub has_routes: bool,
}

impl AccessLog {
    /// What goes there in this format.
    pub fn new(sink: Sink, format: Arc<Format>, start_after: Option<u64>) -> AccessLog {
        let has_routes = [Field::Listener, Field::Source].iter().any(|field| format.has(*field));
        AccessLog { sink, format, start_after, has_routes }
    }
}
