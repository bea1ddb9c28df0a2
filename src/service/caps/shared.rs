//! What all sessions of a service may move in one direction together.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Nanoseconds of a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// What may have been saved up before a reservation, in nanoseconds. With a reservation it is [`super::BURST`].
const SAVED: u64 = 40 * MILLISECOND;

/// What those who wait may have reserved together, in nanoseconds, if each can have [`LEAST`] of it.
const RESERVED: u64 = 60 * MILLISECOND;

/// Bytes that one reservation has at the least, if they are not more than [`RESERVED`]: each of them costs a run of a session.
const LEAST: u64 = 2 << 10;

/// Bytes that it has at the most, or one session would keep the others waiting where nobody need wait.
const MOST: u64 = 1 << 20;

/// A clock of the bytes that may move: each reservation moves it on by the time that its bytes take.
///
/// A session has one reservation at most, and all are of one size. So those who always want more have equal shares, in
/// whatever threads they are, and nobody keeps a list of them.
#[derive(Debug)]
#[repr(align(128))]
pub struct SharedCap {
    /// Bytes a second.
    rate: AtomicU64,
    /// When what was reserved is over, in nanoseconds; [`SAVED`] more than the threads' time.
    next: AtomicU64,
    /// How many have a reservation whose time has not come.
    waiting: AtomicU32,
}

/// Bytes that a session may move from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// When they may be moved, in milliseconds.
    pub start: u64,
    /// How many they are.
    pub bytes: u64,
}

impl SharedCap {
    /// One of which nothing is used.
    pub fn new(rate: NonZeroU64) -> SharedCap {
        SharedCap { rate: AtomicU64::new(rate.get()), next: AtomicU64::new(0), waiting: AtomicU32::new(0) }
    }

    /// Goes by another rate from now on.
    pub fn set_rate(&self, rate: NonZeroU64) {
        self.rate.store(rate.get(), Relaxed);
    }

    /// Reserves what is this session's share now, and no more than `most` bytes. If its time has not come, it waits:
    /// [`SharedCap::came`] must follow, or [`SharedCap::left`].
    pub fn reserve(&self, most: u64, now: u64) -> Reservation {
        let rate = self.rate.load(Relaxed);
        let all = share_of(rate, RESERVED).max(1);
        let waiting = u64::from(self.waiting.load(Relaxed)) + 1;
        let bytes = (all / waiting).clamp(LEAST.min(all), MOST.max(LEAST)).min(most).max(1);
        let takes = time_of(bytes, rate);
        // Times of this clock begin when as much has been saved up as can be.
        let now = now.saturating_mul(MILLISECOND).saturating_add(SAVED);
        let mut next = self.next.load(Relaxed);
        let start = loop {
            let start = next.max(now - SAVED);
            match self.next.compare_exchange_weak(next, start.saturating_add(takes), Relaxed, Relaxed) {
                Ok(_) => break start,
                Err(other) => next = other,
            }
        };
        if start > now {
            self.waiting.fetch_add(1, Relaxed);
        }
        Reservation { start: (start - start.min(SAVED)).div_ceil(MILLISECOND), bytes }
    }

    /// The time of a reservation has come that had to be waited for.
    pub fn came(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Who waited does not wait any more, before its time has come.
    pub fn left(&self, bytes: u64) {
        self.came();
        self.give_back(bytes);
    }

    /// So many bytes of a reservation are not needed. Others may have them.
    pub fn give_back(&self, bytes: u64) {
        let time = time_of(bytes, self.rate.load(Relaxed));
        // A change of the rate must not make it less than nothing.
        let _ = self.next.fetch_update(Relaxed, Relaxed, |next| Some(next.saturating_sub(time)));
    }

    /// So many bytes more than were reserved have been moved.
    pub fn charge(&self, bytes: u64) {
        let time = time_of(bytes, self.rate.load(Relaxed));
        let _ = self.next.fetch_update(Relaxed, Relaxed, |next| Some(next.saturating_add(time)));
    }
}

/// How long so many bytes take at a rate, in nanoseconds.
fn time_of(bytes: u64, rate: u64) -> u64 {
    let time = u128::from(bytes) * u128::from(1000 * MILLISECOND) / u128::from(rate);
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// How many bytes take so long, in nanoseconds.
fn share_of(rate: u64, time: u64) -> u64 {
    let bytes = u128::from(rate) * u128::from(time) / u128::from(1000 * MILLISECOND);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
