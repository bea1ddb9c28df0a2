//! When checks are believed: after several in a row with the same result.

/// What checks in a row have found a remote to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// It works.
    Up,
    /// It does not.
    Down,
}

/// How many checks in a row had the same result. A remote is believed to work until something else is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RiseFall {
    passed: u32,
    failed: u32,
}

impl RiseFall {
    /// Notes a check, and says what is found, as long as it is: after so many in a row that passed (`rise`) or failed (`fall`).
    pub fn note(&mut self, passed: bool, rise: u32, fall: u32) -> Option<Finding> {
        if passed {
            *self = RiseFall { passed: self.passed.saturating_add(1), failed: 0 };
            (self.passed >= rise).then_some(Finding::Up)
        } else {
            *self = RiseFall { passed: 0, failed: self.failed.saturating_add(1) };
            (self.failed >= fall).then_some(Finding::Down)
        }
    }

    /// Sessions could not connect to it: what passed before counts no longer.
    pub fn doubt(&mut self) {
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found after each of these checks: `+` passed, `-` failed, `!` sessions failed.
    fn found(checks: &str, rise: u32, fall: u32) -> String {
        let mut state = RiseFall::default();
        let mut note = |check: char| match check {
            '!' => {
                state.doubt();
                '.'
            }
            check => match state.note(check == '+', rise, fall) {
                None => '.',
                Some(Finding::Up) => 'u',
                Some(Finding::Down) => 'd',
            },
        };
        checks.chars().map(&mut note).collect()
    }

    #[test]
    fn so_many_in_a_row_are_believed_and_as_long_as_nothing_contradicts() {
        assert_eq!(found("---+++++---", 2, 3), "..d.uuuu..d");
        assert_eq!(found("--+--+--+---", 2, 3), "...........d");
        assert_eq!(found("---+-+-++", 2, 3), "..d.....u");
        assert_eq!(found("-+-+", 1, 1), "dudu");
    }

    #[test]
    fn after_sessions_failed_what_passed_before_counts_no_longer() {
        assert_eq!(found("+++!+++", 2, 3), ".uu..uu");
        assert_eq!(found("--!-", 2, 3), "...d", "what failed before does");
    }

    #[test]
    fn nothing_overflows() {
        let mut state = RiseFall { passed: u32::MAX, failed: 0 };
        assert_eq!(state.note(true, 1, 1), Some(Finding::Up));
        let mut state = RiseFall { passed: 0, failed: u32::MAX };
        assert_eq!(state.note(false, 1, 1), Some(Finding::Down));
    }
}
