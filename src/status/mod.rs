//! What the proxy is doing, for whoever looks: all that is known at one moment, and the forms in which it is told.

#[cfg(test)]
mod example;
pub mod history;
pub mod json;
pub mod metrics;
pub mod page;
pub mod rates;
pub mod snapshot;
