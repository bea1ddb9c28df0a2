//! Several remotes: which one a session gets, and what becomes of those that do not work.

mod failing;
mod flapping;
mod health;
mod kinds;
mod max;
mod none_works;
mod on_down;
mod passive;
mod refused;
mod reload;
mod servers;
mod slow_start;
mod source;
mod spread;
#[cfg(target_os = "linux")]
mod unresolved;

/// All that `--balance` can be.
const METHODS: [&str; 4] = ["round-robin", "least-sessions", "random", "source"];
