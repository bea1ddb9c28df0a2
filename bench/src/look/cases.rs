//! The loads: what each does, which figures it gives, and what is to be reached.

use crate::contest::CONNECT;
use crate::figure::{Figure, Goal, Unit};
use crate::load::{Direction, Load};
use crate::subcommand::means;

/// One load.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: &'static str,
    pub kind: Kind,
}

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// This load, with somebody who looks at the page and with nobody.
    Page(Load),
    /// Pings while so many sessions are open, which are on the page.
    Many { open: usize },
}

/// All loads, in the order they are reported.
pub fn all() -> Vec<Case> {
    let case = |name, kind| Case { name, kind };
    vec![
        case("page-bulk", Kind::Page(Load::Bulk { sessions: 8, direction: Direction::Down })),
        case("page-ping", Kind::Page(Load::PING_64)),
        case("page-connect", Kind::Page(CONNECT)),
        case("page-many", Kind::Many { open: 10_000 }),
    ]
}

/// How many of so many sessions a proxy with these descriptors can have: two for each, and some for pipes and itself.
pub fn allowed(sessions: usize, descriptors: u64) -> usize {
    sessions.min(descriptors.saturating_sub(1000) as usize / 2)
}

impl Case {
    /// Whether a word of `--only` means it.
    pub fn is_meant_by(&self, word: &str) -> bool {
        means(word, self.name)
    }

    /// The numbers that it gives, in this order.
    pub fn figures(&self) -> Vec<Figure> {
        let (figure, known) = (Figure::new, Figure::known);
        match self.kind {
            Kind::Page(load) => {
                let unit = if let Load::Bulk { .. } = load { Unit::BytesPerSecond } else { Unit::PerSecond };
                vec![
                    figure("rate to that without a page", Unit::Ratio, Goal::AtLeast(0.99)),
                    known("CPU per operation, to the same", Unit::Ratio),
                    known("rate without a page", unit),
                    known("rate", unit),
                    known("first byte of the page", Unit::Seconds),
                ]
            }
            Kind::Many { .. } => vec![
                figure("first byte of the page", Unit::Seconds, Goal::AtMost(0.1)),
                figure("p99 of pings, to that without a page", Unit::Ratio, Goal::AtMost(2.0)),
                known("the latest first byte", Unit::Seconds),
                known("p99 of pings without a page", Unit::Seconds),
                known("p99 of pings", Unit::Seconds),
                known("size of the page", Unit::Bytes),
                known("sessions", Unit::Times),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_chosen_by_what_they_begin_with() {
        let cases = all();
        for case in &cases {
            assert_eq!(cases.iter().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
            assert!(!case.figures().is_empty());
        }
        let chosen = |word: &str| cases.iter().filter(|case| case.is_meant_by(word)).count();
        assert_eq!((chosen("page"), chosen("page-ping"), chosen("pa")), (4, 1, 0));
    }
}
