//! What the proxy is doing, for whoever looks: all that is known at one moment, and the forms in which it is told.

pub mod metrics;
pub mod snapshot;
