//! Why a measurement has no result.

use std::fmt;
use std::io;

/// Why a measurement has no result.
#[derive(Debug)]
pub enum Failure {
    /// The user asked to stop (SIGINT or SIGTERM): the run ends here.
    Interrupted,
    /// This one measurement went wrong, for the reason given; the run goes on.
    Broken(String),
}

impl Failure {
    /// A failure whose reason is `what` went wrong, and the error that says why.
    pub fn of(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Broken(format!("{what}: {why}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
