//! What one session may move in one direction, by its own cap.

use std::num::NonZeroU64;

use super::BURST;

/// How long a session that has used up everything is left to save, in milliseconds, at the most. Each run costs about the
/// same, whatever it moves, so it is long; the rest up to [`BURST`] is for the ticks of timers and for threads that are late.
const PAUSE: u64 = 95;

/// The same for one to which something is owed, as its thread was late: what is owed has to fit beside what comes in.
const PAUSE_OWED: u64 = 70;

/// The same for one to which more than a [`BURST`] is owed, as its thread is late each time.
const PAUSE_LATE: u64 = 40;

/// It need not save more than this, in bytes: it would not get cheaper.
const ENOUGH: u64 = 1 << 20;

/// The most that is owed to a session that was run too late, in [`BURST`]s.
const MOST_OWED: i64 = 10;

/// Bytes that come in at a rate, and are used up by what moves.
///
/// It is exact: a byte a second is a thousandth of a byte a millisecond, so nothing is ever rounded.
#[derive(Debug)]
pub struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Thousandths of bytes; what moved beyond it is less than none.
    credit: i64,
    /// When it was filled last.
    filled: u64,
    /// What is owed to a session that was run too late, in thousandths of bytes.
    owed: i64,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: NonZeroU64, now: u64) -> Bucket {
        let mut bucket = Bucket { rate: rate.get(), credit: 0, filled: now, owed: 0 };
        bucket.credit = bucket.depth();
        bucket
    }

    /// What may be saved up, in thousandths of bytes: never less than a byte.
    fn depth(&self) -> i64 {
        i64::try_from(self.rate.saturating_mul(BURST).max(1000)).unwrap_or(i64::MAX)
    }

    /// Bytes that are worth waiting for.
    pub fn portion(&self) -> u64 {
        let pause = match self.owed {
            0 => PAUSE,
            owed if owed <= self.depth() => PAUSE_OWED,
            _ => PAUSE_LATE,
        };
        (self.rate.saturating_mul(pause) / 1000).clamp(1, ENOUGH)
    }

    /// Notes what has come in until now. What is more than may be saved up is lost, unless something waited for it all the
    /// time: then the thread was late, and the session gets it a little later, by a quarter more than its rate.
    pub fn fill(&mut self, was_waited_for: bool, now: u64) {
        let elapsed = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        let came = i64::try_from(elapsed.saturating_mul(self.rate)).unwrap_or(i64::MAX);
        let owed = self.owed.min(came / 4);
        self.owed -= owed;
        let credit = self.credit.saturating_add(came).saturating_add(owed);
        self.credit = credit.min(self.depth());
        self.owed = match was_waited_for {
            true => self.owed.saturating_add(credit - self.credit).min(self.depth().saturating_mul(MOST_OWED)),
            false => 0,
        };
    }

    /// Bytes that may be moved, of what had come in when it was filled last.
    pub fn available(&self) -> u64 {
        u64::try_from(self.credit / 1000).unwrap_or(0)
    }

    /// Notes that so many bytes have moved, which may be more than were available: then nothing may for as much longer.
    pub fn take(&mut self, bytes: u64) {
        let taken = i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_sub(taken);
    }

    /// When so many bytes are available, if none are taken; never before it was filled last.
    pub fn ready_at(&self, bytes: u64) -> u64 {
        let wanted = i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX).min(self.depth());
        let missing = u64::try_from(wanted.saturating_sub(self.credit)).unwrap_or(0);
        self.filled.saturating_add(missing.div_ceil(self.rate))
    }
}
