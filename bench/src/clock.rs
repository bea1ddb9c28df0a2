//! Points in time that the controller, the server and the client all agree on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A reading of the system-wide monotonic clock. Unlike `std::time::Instant` it can be sent to another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Nanoseconds since an arbitrary moment that is the same for every process of the machine.
    nanoseconds: u64,
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        Self { nanoseconds: read(libc::CLOCK_MONOTONIC).as_nanos() as u64 }
    }

    /// The moment `delay` after this one.
    pub fn after(self, delay: Duration) -> Self {
        Self { nanoseconds: self.nanoseconds + delay.as_nanos() as u64 }
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds.saturating_sub(earlier.nanoseconds))
    }

    /// How long it is until this moment; zero if it has passed.
    pub fn from_now(self) -> Duration {
        self.since(Self::now())
    }
}

/// The CPU time that this thread has used.
pub fn own_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Reads a clock that always exists.
fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to, and the clock exists, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The part of a load's run that counts. Before it the load warms up, and after it the load goes on for a moment, so
/// that whoever reads the proxy's CPU at the edges reads it under load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Window {
    /// What ends at or after this moment counts, whenever it began: so nothing is too slow to be counted.
    pub from: Moment,
    /// What ends at or before this moment counts.
    pub until: Moment,
}

/// How long a load goes on after its window.
const COOL_DOWN: Duration = Duration::from_millis(30);

impl Window {
    /// A window of the given length that opens once `warm_up` has passed.
    pub fn after(warm_up: Duration, length: Duration) -> Self {
        let from = Moment::now().after(warm_up);
        Self { from, until: from.after(length) }
    }

    /// Whether something that ended at `moment` counts.
    pub fn holds(&self, moment: Moment) -> bool {
        (self.from..=self.until).contains(&moment)
    }

    /// When the load may stop.
    pub fn stop(&self) -> Moment {
        self.until.after(COOL_DOWN)
    }

    /// How long the window is.
    pub fn length(&self) -> Duration {
        self.until.since(self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_ends_in_it() {
        let window = Window::after(Duration::from_secs(1), Duration::from_secs(2));
        let at = |seconds| window.from.after(Duration::from_secs(seconds));
        assert!(window.holds(at(0)) && window.holds(at(2)));
        assert!(!window.holds(Moment::now()) && !window.holds(at(3)));
        assert_eq!(window.length(), Duration::from_secs(2));
    }
}
