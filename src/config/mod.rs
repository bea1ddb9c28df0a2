//! What the proxy is asked to do: settings, and the units in which they are written.

pub mod loops;
pub mod settings;
pub mod units;
