//! Why an address cannot be listened on.

use std::fmt;
use std::io;

/// Why an address cannot be listened on: the step that failed, and the system's reason.
#[derive(Debug)]
pub struct ListenError {
    step: &'static str,
    what: &'static str,
    address: String,
    error: io::Error,
}

impl ListenError {
    pub(super) fn new(step: &'static str, address: impl fmt::Display, error: io::Error) -> ListenError {
        ListenError { step, what: "server socket", address: address.to_string(), error }
    }

    /// The same, of a device.
    #[cfg(target_os = "linux")]
    pub(super) fn device(step: &'static str, address: String, error: io::Error) -> ListenError {
        ListenError { step, what: "device", address, error }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: {}", self.step, self.what, self.address, crate::base::error::error_text(&self.error))
    }
}

impl std::error::Error for ListenError {}
