//! The time that all threads share.

use std::time::Instant;

/// What tells the time, in milliseconds since the program started. All copies tell the same.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// One that begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The time, rounded down.
    #[inline]
    pub fn now(self) -> u64 {
        self.now_us() / 1000
    }

    /// The same in microseconds.
    #[inline]
    pub fn now_us(self) -> u64 {
        Instant::now().saturating_duration_since(self.0).as_micros() as u64
    }
}
