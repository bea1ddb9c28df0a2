//! The files of the access log: opened with their services, and again when a signal asks for it.

use log::{error, info};

use crate::access_log::AccessLog;
use crate::base::error::error_text;
use crate::config::access_log::{AccessLogSettings, Destination};
use crate::log::{Sink, reopen};

/// What a service logs of its sessions, with its file open.
///
/// # Errors
///
/// The file cannot be opened, in one line.
pub(super) fn open(settings: &AccessLogSettings) -> Result<Option<Box<AccessLog>>, String> {
    let sink = match &settings.to {
        None => return Ok(None),
        Some(Destination::StandardOutput) => Sink::standard_output(),
        Some(Destination::File(path)) => {
            Sink::file(path).map_err(|error| format!("access log {}: {}", path.display(), error_text(&error)))?
        }
    };
    let start_after = settings.start.map(|start| u64::try_from(start.as_millis()).unwrap_or(u64::MAX));
    Ok(Some(Box::new(AccessLog::new(sink, settings.format.clone(), start_after))))
}

/// Opens all files again, as a signal has asked for; one that cannot be opened stays as it is.
pub(super) fn open_again(signal: i32) {
    match reopen() {
        Ok(0) if signal == libc::SIGHUP => {}
        Ok(0) => info!("signal {signal}: there is no access log in a file"),
        Ok(_) => info!("signal {signal}: access logs are opened again"),
        Err(errors) => {
            for line in errors {
                error!("signal {signal}: access log {line}; it goes on where it was");
            }
        }
    }
}
