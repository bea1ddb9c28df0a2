//! Levels of services, which hold instead of the process's while something is logged of one.

use log::LevelFilter;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether there has been a service with a level of its own: otherwise nobody need ask.
static ANY: AtomicBool = AtomicBool::new(false);

thread_local! {
    static LEVEL: Cell<Option<LevelFilter>> = const { Cell::new(None) };
}

/// Lets lines of services be logged up to this level, where it is theirs.
pub fn allow(level: LevelFilter) {
    ANY.store(true, Relaxed);
    log::set_max_level(log::max_level().max(level));
}

/// As long as this lives, what its thread logs is of a service that has a level of its own.
#[derive(Debug)]
#[must_use]
pub struct LevelScope {
    before: Option<LevelFilter>,
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl LevelScope {
    /// What is logged from now on is of a service with this level; `None`: it has the process's, and nothing is to be done.
    #[inline]
    pub fn of(level: Option<LevelFilter>) -> Option<LevelScope> {
        level.map(|level| LevelScope { before: LEVEL.replace(Some(level)), _thread: PhantomData })
    }
}

impl Drop for LevelScope {
    fn drop(&mut self) {
        LEVEL.set(self.before);
    }
}

/// The level that holds now in this thread instead of the process's, if one does.
pub(super) fn current() -> Option<LevelFilter> {
    if ANY.load(Relaxed) { LEVEL.get() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_until_its_scope_ends() {
        ANY.store(true, Relaxed);
        assert_eq!(current(), None);
        let outer = LevelScope::of(Some(LevelFilter::Debug));
        {
            let _inner = LevelScope::of(Some(LevelFilter::Error));
            assert_eq!(current(), Some(LevelFilter::Error));
            assert!(LevelScope::of(None).is_none());
            assert_eq!(current(), Some(LevelFilter::Error));
        }
        assert_eq!(current(), Some(LevelFilter::Debug));
        drop(outer);
        assert_eq!(current(), None);
    }
}
