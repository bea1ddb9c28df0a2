//! Opens the capture files of services.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::capture::{Capture, Dump, Recorder};
use crate::config::capture::CaptureSettings;
use crate::inspect::Inspectors;

/// What captures and dumps the sessions of a service that asks for it.
///
/// # Errors
///
/// A file that cannot be written, in words.
pub fn inspectors(settings: &CaptureSettings, clock: Clock) -> Result<Inspectors, String> {
    let mut inspectors = Inspectors::default();
    if let Some(path) = &settings.file {
        let failed = |error| format!("capture {}: {}", path.display(), error_text(&error));
        let capture = Capture::open(path, settings.rotation(), clock).map_err(failed)?;
        let only = (!settings.only.is_empty()).then(|| settings.only.iter().map(|(network, _)| *network).collect());
        inspectors.add(Arc::new(Recorder::new(capture, only, settings.bytes)));
    }
    if let Some(form) = settings.dump {
        inspectors.add(Arc::new(Dump::new(form)));
    }
    Ok(inspectors)
}
