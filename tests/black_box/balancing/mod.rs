//! Several remotes.

mod health;
