//! Several remotes: which one a session gets, and what becomes of those that do not work.

mod health;
mod max;
mod refused;
