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

/// How long the calling thread has had a processor, in microseconds; 0 where the system does not say.
pub fn thread_cpu_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is valid for writing, and nothing else is touched.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    if result == 0 { time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000 } else { 0 }
}
