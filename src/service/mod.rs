//! What sessions have in common: data and atomics, without input or output.

pub mod admission;
mod options;
mod remote;

pub use options::SocketOptions;
pub use remote::{RemoteAddress, UnixRemote};
