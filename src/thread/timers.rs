//! A coarse timer wheel: at most one deadline a key, no allocation to arm, move or cancel one.
//!
//! A deadline is met at the first tick at or after it: never early, and late by at most one tick.

use std::time::Duration;

/// One tick of the wheel, in milliseconds, where nothing needs to be more exact.
pub const TICK: u64 = 50;

/// One tick of the wheel for what is about to happen on lanes, in milliseconds.
pub const FINE_TICK: u64 = 2;

/// Deadlines less than this far away, in milliseconds, are for a wheel of fine ticks: half of its turn.
pub const FINE_REACH: u64 = FINE_TICK * BUCKETS as u64 / 2;

/// Buckets of the wheel, a power of two; a deadline further away than one turn waits several turns in its bucket.
const BUCKETS: usize = 512;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The tick of the deadline; 0 when none is armed.
    tick: u64,
    next: u32,
    previous: u32,
}

const UNARMED: Entry = Entry { tick: 0, next: NONE, previous: NONE };

/// The timers of one I/O thread, over session keys, with ticks of so many milliseconds. Times are milliseconds since an
/// origin the thread chose.
#[derive(Debug)]
pub struct Timers<const LENGTH: u64 = TICK> {
    heads: Vec<u32>,
    occupied: [u64; BUCKETS / 64],
    entries: Vec<Entry>,
    /// How many are armed: mostly none, and then there is nothing to look for.
    armed: usize,
    /// All ticks up to and with this one have been served.
    served: u64,
}

impl<const LENGTH: u64> Default for Timers<LENGTH> {
    fn default() -> Timers<LENGTH> {
        Timers { heads: vec![NONE; BUCKETS], occupied: [0; BUCKETS / 64], entries: Vec::new(), armed: 0, served: 0 }
    }
}

impl<const LENGTH: u64> Timers<LENGTH> {
    /// Whether none is armed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// Arms the key's timer, in place of the one it had.
    pub fn arm(&mut self, key: usize, deadline: u64) {
        self.cancel(key);
        if key >= self.entries.len() {
            self.entries.resize(key + 1, UNARMED);
        }
        let tick = deadline.div_ceil(LENGTH).max(self.served + 1);
        let bucket = bucket_of(tick);
        let head = self.heads[bucket];
        self.entries[key] = Entry { tick, next: head, previous: NONE };
        if head != NONE {
            self.entries[head as usize].previous = key as u32;
        }
        self.heads[bucket] = key as u32;
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        self.armed += 1;
    }

    /// Disarms the key's timer, if it has one.
    pub fn cancel(&mut self, key: usize) {
        let Some(&Entry { tick, next, previous }) = self.entries.get(key) else { return };
        if tick == 0 {
            return;
        }
        let bucket = bucket_of(tick);
        match previous {
            NONE => self.heads[bucket] = next,
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if self.heads[bucket] == NONE {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        self.entries[key] = UNARMED;
        self.armed -= 1;
    }

    /// When the key's timer is due, in milliseconds.
    pub fn armed(&self, key: usize) -> Option<u64> {
        match self.entries.get(key) {
            Some(entry) if entry.tick != 0 => Some(entry.tick.saturating_mul(LENGTH)),
            _ => None,
        }
    }

    /// How long there is surely nothing to do; `None`: no timer is armed.
    pub fn wait(&self, now: u64) -> Option<Duration> {
        if self.armed == 0 {
            return None;
        }
        let bucket = self.next_occupied(bucket_of(self.served + 1))?;
        let first = self.served + 1;
        let distance = (bucket + BUCKETS - bucket_of(first)) % BUCKETS;
        let due = (first + distance as u64) * LENGTH;
        Some(Duration::from_millis(due.saturating_sub(now)))
    }

    /// Disarms all timers due by `now` and appends their keys to `due`.
    pub fn expire(&mut self, now: u64, due: &mut Vec<usize>) {
        let now_tick = now / LENGTH;
        if self.armed == 0 {
            self.served = self.served.max(now_tick);
            return;
        }
        let first = self.served + 1;
        // After a long sleep each bucket need be looked at only once.
        let last = now_tick.min(first + BUCKETS as u64 - 1);
        for tick in first..=last {
            let bucket = bucket_of(tick);
            if self.occupied[bucket / 64] & (1 << (bucket % 64)) == 0 {
                continue;
            }
            let mut key = self.heads[bucket];
            while key != NONE {
                let entry = self.entries[key as usize];
                if entry.tick <= now_tick {
                    self.cancel(key as usize);
                    due.push(key as usize);
                }
                key = entry.next;
            }
        }
        self.served = self.served.max(now_tick);
    }

    /// The first occupied bucket at or, wrapping round, after `start`.
    fn next_occupied(&self, start: usize) -> Option<usize> {
        let words = self.occupied.len();
        let (first_word, first_bit) = (start / 64, start % 64);
        for step in 0..=words {
            let index = (first_word + step) % words;
            let mask = match step {
                0 => u64::MAX << first_bit,
                step if step == words => !(u64::MAX << first_bit),
                _ => u64::MAX,
            };
            let word = self.occupied[index] & mask;
            if word != 0 {
                return Some(index * 64 + word.trailing_zeros() as usize);
            }
        }
        None
    }
}

fn bucket_of(tick: u64) -> usize {
    tick as usize % BUCKETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn expired(timers: &mut Timers, now: u64) -> Vec<usize> {
        let mut due = Vec::new();
        timers.expire(now, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn nothing_armed_means_no_wait() {
        assert_eq!(<Timers>::default().wait(0), None);
    }

    #[test]
    fn a_deadline_is_met_within_a_tick_and_never_early() {
        let mut timers = <Timers>::default();
        timers.arm(7, 1001);
        assert!(expired(&mut timers, 1000).is_empty());
        assert_eq!(timers.wait(1000), Some(Duration::from_millis(50)));
        assert_eq!(expired(&mut timers, 1050), [7]);
        assert_eq!(timers.wait(1050), None);
    }

    #[test]
    fn a_deadline_that_has_passed_is_due_at_the_next_tick() {
        let mut timers = <Timers>::default();
        expired(&mut timers, 10_000);
        timers.arm(1, 5);
        assert_eq!(expired(&mut timers, 10_050), [1]);
    }

    #[test]
    fn it_agrees_with_a_sorted_map_over_random_use() {
        let mut random = 1u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        let mut timers = <Timers>::default();
        let mut model: BTreeMap<usize, u64> = BTreeMap::new();
        let mut now = 0;
        for _ in 0..100_000 {
            let key = next(200) as usize;
            match next(4) {
                0 => {
                    timers.cancel(key);
                    model.remove(&key);
                }
                1 | 2 => {
                    let deadline = now + next(100_000);
                    timers.arm(key, deadline);
                    model.insert(key, deadline.div_ceil(TICK).max(now / TICK + 1) * TICK);
                }
                _ => {
                    if let Some(wait) = timers.wait(now) {
                        let first = *model.values().min().unwrap();
                        assert!(now + wait.as_millis() as u64 <= first);
                    } else {
                        assert!(model.is_empty());
                    }
                    let step = if next(50) == 0 { 60_000 } else { 100 };
                    now += next(step);
                    let due: Vec<usize> = model.iter().filter(|&(_, &at)| at <= now).map(|(&key, _)| key).collect();
                    model.retain(|_, at| *at > now);
                    assert_eq!(expired(&mut timers, now), due);
                }
            }
            assert_eq!(timers.armed(key), model.get(&key).copied());
        }
    }
}
