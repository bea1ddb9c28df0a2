//! The loads: what each does, which figures it gives, and what is to be reached.

use std::time::Duration;

use super::chain::Key;
use super::transfer::Way;
use crate::figure::{Figure, Goal, Unit};
use crate::relay::Rule;
use crate::subcommand::means;

/// One load.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub kind: Kind,
}

/// What a load does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// One connection through the relay and no proxy: whether its cap is what it says.
    RelayCap,
    /// The same, pings: whether its delay is.
    RelayDelay,
    /// A transfer over a lane for each rule.
    Links { way: Way, rules: Vec<Rule>, base: Base },
    /// A transfer during which a lane is frozen and thawed.
    Freeze { way: Way },
    /// A transfer during which lanes are reset.
    Resets { way: Way },
    /// A transfer over lanes without a cap.
    Uncapped { way: Way, key: Key },
    /// Pings over lanes without a cap.
    Ping { key: Key },
    /// Sessions that carry nothing.
    Idle { key: Key },
}

/// What a rate is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Base {
    /// The sum of the caps.
    Sum,
    /// What one lane reaches alone, over the link of the first rule.
    FirstAlone,
}

/// How fast a connection is in most loads, in Mbit/s.
pub const LINK: f64 = 50.0;

/// How fast each lane is while lanes are reset, in Mbit/s: fast enough that a lot is under way, and slow enough that the
/// caps, not the machine, are what limits the transfer.
pub const RESET_LINK: f64 = 400.0;

/// How many lanes a session has where nothing else is said.
pub const LANES: usize = 4;

/// What [`Kind::RelayDelay`] delays each direction by.
pub const RELAY_DELAY: Duration = Duration::from_millis(25);

/// All loads, in the order they are reported.
pub fn all() -> Vec<Case> {
    let mut cases = vec![case("relay-cap", Kind::RelayCap), case("relay-delay", Kind::RelayDelay)];
    for way in Way::BOTH {
        let mut links = |name: String, rules: Vec<Rule>, base| {
            cases.push(case(&format!("{name}-{}", way.name()), Kind::Links { way, rules, base }));
        };
        let near = Duration::from_millis(1);
        links("capped-8".to_owned(), vec![Rule::link(LINK, near); 8], Base::FirstAlone);
        for (first, second) in [(10, 10), (15, 5), (30, 10), (10, 3)] {
            for (one, other) in [(1, 25), (25, 1)] {
                let link = |rate: u32, delay| Rule::link(rate.into(), Duration::from_millis(delay));
                links(
                    format!("pair-{first}-{second}-{one}ms-{other}ms"),
                    vec![link(first, one), link(second, other)],
                    Base::Sum,
                );
            }
        }
        links("beside-slow".to_owned(), vec![Rule::link(LINK, near), Rule::link(LINK / 10.0, near)], Base::FirstAlone);
        for delay in [100, 200] {
            let far = Rule::link(LINK, Duration::from_millis(delay));
            links(format!("beside-far-{delay}ms"), vec![Rule::link(LINK, near), far], Base::FirstAlone);
        }
        cases.push(case(&format!("freeze-{}", way.name()), Kind::Freeze { way }));
        cases.push(case(&format!("resets-{}", way.name()), Kind::Resets { way }));
    }
    for (key, suffix) in [(Key::None, ""), (Key::Shared, "-key")] {
        for way in Way::BOTH {
            cases.push(case(&format!("uncapped{suffix}-{}", way.name()), Kind::Uncapped { way, key }));
        }
        cases.push(case(&format!("ping{suffix}"), Kind::Ping { key }));
        cases.push(case(&format!("idle{suffix}"), Kind::Idle { key }));
    }
    cases
}

fn case(name: &str, kind: Kind) -> Case {
    Case { name: name.to_owned(), kind }
}

impl Case {
    /// Whether a word of `--only` means it.
    pub fn is_meant_by(&self, word: &str) -> bool {
        means(word, &self.name)
    }

    /// Whether others may run at the same time, because it leaves the machine idle for the most part.
    pub fn is_light(&self) -> bool {
        matches!(self.kind, Kind::RelayCap | Kind::RelayDelay | Kind::Links { .. } | Kind::Freeze { .. })
    }

    /// The numbers that it gives, in this order.
    pub fn figures(&self) -> Vec<Figure> {
        let ratio = |label, goal| Figure::new(label, Unit::Ratio, goal);
        let known = Figure::known;
        match &self.kind {
            Kind::RelayCap => vec![ratio("rate to the cap", Goal::Between(0.97, 1.03))],
            Kind::RelayDelay => {
                let twice = 2.0 * RELAY_DELAY.as_secs_f64();
                vec![Figure { label: "p50", unit: Unit::Seconds, goal: Goal::Between(twice, twice * 1.04) }]
            }
            Kind::Links { base: Base::Sum, .. } => {
                vec![ratio("rate to the sum", Goal::AtLeast(0.92)), known("rate", Unit::BytesPerSecond)]
            }
            Kind::Links { base: Base::FirstAlone, rules, .. } => {
                let goal = if rules.len() > 2 { 7.6 } else { 0.97 };
                vec![ratio("rate to one lane's", Goal::AtLeast(goal)), known("rate", Unit::BytesPerSecond)]
            }
            Kind::Freeze { .. } => vec![
                ratio("rate while frozen, to the others' caps", Goal::AtLeast(0.9)),
                Figure { label: "used again after", unit: Unit::Seconds, goal: Goal::AtMost(2.0) },
            ],
            Kind::Resets { .. } => vec![
                ratio("rate to undisturbed", Goal::AtLeast(0.9)),
                known("rate", Unit::BytesPerSecond),
                known("resets", Unit::Times),
            ],
            Kind::Uncapped { key, .. } => {
                let (rate, cpu) = if *key == Key::None { (0.8, 1.5) } else { (0.6, 2.0) };
                vec![
                    ratio("rate to a plain chain's", Goal::AtLeast(rate)),
                    ratio("CPU per GiB to a plain chain's", Goal::AtMost(cpu)),
                    known("rate", Unit::BytesPerSecond),
                    known("CPU per GiB", Unit::Seconds),
                ]
            }
            Kind::Ping { key } => {
                // Nothing is asked of encrypted ones.
                let goal = if *key == Key::None { Goal::AtMost(1.15) } else { Goal::None };
                vec![ratio("p50 to a plain chain's", goal), known("p50", Unit::Seconds)]
            }
            Kind::Idle { .. } => ["memory near, a session", "memory far, a session"]
                .map(|label| Figure::new(label, Unit::Bytes, Goal::AtMost(16.0 * 1024.0)))
                .to_vec(),
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
        assert_eq!((chosen("pair"), chosen("pair-10-3"), chosen("ping"), chosen("pa")), (16, 4, 2, 0));
    }
}
