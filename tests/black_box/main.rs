//! Black-box tests: they drive the real program over real sockets and know nothing else of it.
//!
//! A test waits for a condition (a line of the log, a byte, an end), never for a time; ports come from the kernel. One
//! program holds them all, so that their waits overlap: `cargo test --test black_box`, or `... black_box relay` for the
//! tests of one subject. The soak runs only when it is asked for: see [`soak`].

mod access;
mod access_log;
mod admission;
mod balancing;
mod caps;
mod command_line;
mod configuration;
mod datagrams;
mod faults;
mod hours;
mod limits;
mod log;
mod proxy_protocol;
mod relay;
mod reload;
mod signals;
mod soak;
#[cfg(target_os = "linux")]
mod source;
mod status;
#[cfg(target_os = "linux")]
mod stripes;
mod support;
mod timeouts;
mod together;
#[cfg(feature = "top")]
mod top;
mod unix_sockets;
#[cfg(target_os = "linux")]
mod urgent;
