//! How much a thread works.

/// Of so many turns after which the thread sleeps, one is measured.
const MEASURED: u64 = 16;

/// How many turns there have been, and how long they took.
///
/// A turn that another follows at once ends where that begins, so the clock need not be read. Of the others, which are
/// many and short where messages are carried, some are measured and taken for all.
#[derive(Debug, Default)]
pub struct Effort {
    turns: u64,
    /// Turns that a sleep followed.
    slept: u64,
    busy: u64,
    /// When the turn began, in microseconds.
    begun: u64,
    /// It goes over into the one that comes next.
    goes_on: bool,
}

impl Effort {
    /// A turn begins at this time, in microseconds.
    #[inline]
    pub fn begin_turn(&mut self, now: u64) {
        if self.goes_on {
            self.busy += now.saturating_sub(self.begun);
        }
        self.begun = now;
    }

    /// The turn ends, and the thread sleeps until something happens, or does not.
    #[inline]
    pub fn end_turn(&mut self, sleeps: bool, now: impl FnOnce() -> u64) {
        self.turns += 1;
        self.goes_on = !sleeps;
        if sleeps {
            self.slept += 1;
            if self.slept % MEASURED == 0 {
                self.busy += MEASURED * now().saturating_sub(self.begun);
            }
        }
    }

    /// Turns that have ended.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// How long turns took, in microseconds.
    pub fn busy(&self) -> u64 {
        self.busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_busy_and_the_time_between_them_is_not() {
        let (mut effort, mut now) = (Effort::default(), 5);
        // Turns of 3 us, with sleeps of 1000 between them.
        for _ in 0..10 * MEASURED {
            effort.begin_turn(now);
            effort.end_turn(true, || now + 3);
            now += 1003;
        }
        assert_eq!((effort.turns(), effort.busy()), (10 * MEASURED, 10 * MEASURED * 3));
        // Turns of 7 us without a sleep, which are exact.
        for _ in 0..100 {
            effort.begin_turn(now);
            effort.end_turn(false, || panic!("the clock need not be read"));
            now += 7;
        }
        effort.begin_turn(now);
        assert_eq!((effort.turns(), effort.busy()), (10 * MEASURED + 100, 10 * MEASURED * 3 + 700));
    }
}
