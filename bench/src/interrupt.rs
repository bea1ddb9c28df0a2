//! SIGINT and SIGTERM set a flag, which the controller looks at wherever it waits. So it leaves by the ordinary way, on
//! which every child process is ended and reaped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::failure::Failure;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The longest time that passes between two looks at the flag.
pub const SLICE: Duration = Duration::from_millis(100);

extern "C" fn note(_signal: libc::c_int) {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Catches SIGINT and SIGTERM from here on.
pub fn catch() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `note` only stores to an atomic, which is allowed in a signal handler.
        unsafe { libc::signal(signal, note as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Fails if a signal came.
pub fn check() -> Result<(), Failure> {
    match REQUESTED.load(Ordering::Relaxed) {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    }
}

/// Sleeps until `moment`, or fails as soon as a signal comes.
pub fn sleep_until(moment: Moment) -> Result<(), Failure> {
    loop {
        check()?;
        let left = moment.from_now();
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(SLICE));
    }
}
