//! What a service logs of its sessions, as it was asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::settings::ServiceSettings;
use crate::access_log::Format;

/// What a service logs of its sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where the lines go; `None`: there are none.
    pub to: Option<Destination>,
    /// What stands in them.
    pub format: Arc<Format>,
    /// How long a session has lasted when it gets a line that it has begun; `None`: it gets none.
    pub start: Option<Duration>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output, among the lines of the log.
    StandardOutput,
    /// The file at this path, which is absolute.
    File(PathBuf),
}

/// The word for standard output.
pub const STANDARD_OUTPUT: &str = "-";

/// Options that can have no effect: somebody believes that they have one.
pub fn useless(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let AccessLogSettings { to, format, start } = &service.access_log;
    if to.is_some() {
        return Vec::new();
    }
    let useless = |what: &str| format!("invalid {what}: nothing is written without an access-log");
    let format = (**format != Format::default()).then(|| ("access-log-format", useless("access log format")));
    format.into_iter().chain(start.map(|_| ("access-log-start", useless("access log start")))).collect()
}

/// Whether these services have files that can be opened again.
pub fn has_files(services: &[ServiceSettings]) -> bool {
    services.iter().any(|service| matches!(service.access_log.to, Some(Destination::File(_))))
}
