//! When clients may come in: the hours of a service, as those who accept ask for them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{Local, Offset, TimeZone};

use crate::config::hours::{HourSettings, Reading, Week};

/// How long an answer holds at most, in milliseconds: somebody may set the clock, or change the zone.
const LOOK_AGAIN: u64 = 60_000;

/// Monday came so many seconds before the beginning of 1970, a Thursday.
const MONDAY: i64 = 3 * 86400;

/// What tells the time of day.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// The time, in milliseconds since 1970 (UTC).
    fn now(&self) -> i64;

    /// For how many seconds local clocks are ahead at a second since 1970.
    fn ahead(&self, second: i64) -> i64;
}

/// The hours of a service that has some.
#[derive(Debug)]
pub struct Hours {
    week: Week,
    /// Whether sessions are reset when the time of clients is over.
    pub end_outside: bool,
    wall: Box<dyn WallClock>,
    /// The last answer: until when it holds, and in the lowest bit whether clients are let in.
    answer: AtomicU64,
}

/// Whether clients are let in, and until when that surely holds, in milliseconds since the threads' origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// They are.
    pub is_open: bool,
    /// When to ask again.
    pub until: u64,
}

impl Hours {
    /// Those of a service, by the clock and the zone of the system; `None`: clients are always let in.
    pub fn new(settings: &HourSettings) -> Option<Hours> {
        Hours::by(settings, Box::new(SystemClock))
    }

    /// Those of a service by this clock.
    pub fn by(settings: &HourSettings, wall: Box<dyn WallClock>) -> Option<Hours> {
        let HourSettings { rules, end_outside } = settings;
        let week = Week::new(rules)?;
        Some(Hours { week, end_outside: *end_outside, wall, answer: AtomicU64::new(0) })
    }

    /// Whether clients are let in now, a time in milliseconds since the threads' origin.
    #[inline]
    pub fn ask(&self, now: u64) -> Answer {
        let word = self.answer.load(Relaxed);
        let answer = Answer { is_open: word & 1 != 0, until: word >> 1 };
        if now < answer.until { answer } else { self.look(now) }
    }

    /// Looks at the clock. Threads that do so at the same time find the same.
    #[cold]
    fn look(&self, now: u64) -> Answer {
        let look = || look(&self.week, self.wall.now(), LOOK_AGAIN, |second| self.wall.ahead(second));
        // A thread remembers the zone that it has read, also when the file is replaced; one that has just begun reads it.
        let (is_open, holds) = thread::scope(|scope| {
            let reader = thread::Builder::new().name("zone".to_string()).spawn_scoped(scope, look);
            reader.ok().and_then(|reader| reader.join().ok()).unwrap_or_else(look)
        });
        let answer = Answer { is_open, until: now + holds };
        self.answer.store(answer.until << 1 | u64::from(is_open), Relaxed);
        answer
    }
}

/// Whether clients are let in at this time, in milliseconds since 1970 (UTC), and for how many milliseconds more: until that
/// changes, or the zone's clocks are changed, or for `most`.
///
/// What the clocks of the zone show decides. `zone` tells for how many seconds they are ahead at a second since 1970; it
/// must not change more than once in `most`.
pub fn look(week: &Week, now: i64, most: u64, zone: impl Fn(i64) -> i64) -> (bool, u64) {
    let second = now.div_euclid(1000);
    let ahead = zone(second);
    let of_week = (second + ahead + MONDAY).rem_euclid(Week::SECONDS.into());
    let Reading { is_open, changes_in } = week.at(of_week as u32);
    let end = now.saturating_add_unsigned(most);
    let change = changes_in.map_or(end, |seconds| end.min((second + i64::from(seconds)) * 1000));
    // Where clocks are changed before, it is to be looked again just then.
    let (mut same, mut other) = (second, change.div_euclid(1000));
    if zone(other) == ahead {
        return (is_open, change.abs_diff(now));
    }
    while other - same > 1 {
        let between = same + (other - same) / 2;
        if zone(between) == ahead { same = between } else { other = between }
    }
    (is_open, (other * 1000).abs_diff(now))
}

/// The clock of the system, and its zone: `TZ`, or else that of the machine.
#[derive(Debug)]
struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        }
    }

    fn ahead(&self, second: i64) -> i64 {
        let time = Local.timestamp_opt(second, 0).single();
        time.map_or(0, |time| time.offset().fix().local_minus_utc().into())
    }
}

#[cfg(test)]
mod tests;
