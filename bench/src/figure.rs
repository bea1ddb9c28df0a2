//! Figures that have a goal: what the rounds of a load have given, and whether that is what is to be reached.

use crate::stats::Summary;

/// One number that a load gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub label: &'static str,
    pub unit: Unit,
    pub goal: Goal,
}

impl Figure {
    /// One that has a goal.
    pub fn new(label: &'static str, unit: Unit, goal: Goal) -> Figure {
        Figure { label, unit, goal }
    }

    /// One that is there to be known.
    pub fn known(label: &'static str, unit: Unit) -> Figure {
        Figure { label, unit, goal: Goal::None }
    }
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    /// A multiple of something.
    Ratio,
    Seconds,
    Bytes,
    BytesPerSecond,
    PerSecond,
    /// A part of one, shown in percent.
    Share,
    Times,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
    Between(f64, f64),
    /// Zero, in every round.
    Never,
    /// It is there to be known.
    None,
}

impl Goal {
    /// Whether rounds that gave this reach it: by their median, or all of them if it is never to happen.
    pub fn is_reached(self, rounds: &Summary) -> bool {
        let value = rounds.median;
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Between(least, most) => (least..=most).contains(&value),
            Self::Never => rounds.min == 0.0 && rounds.max == 0.0,
            Self::None => true,
        }
    }
}

/// What the rounds of a load have given.
pub struct Found {
    /// Its name.
    pub name: String,
    /// The numbers that each round gives, in this order.
    pub figures: Vec<Figure>,
    /// Its numbers, or why there are none.
    pub rounds: Vec<Result<Vec<f64>, String>>,
}

/// How a figure compares with its goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The rounds reach it.
    Reached,
    Missed,
    /// A round failed: bytes were lost, or it did not come to its end.
    Failed,
    /// It has no goal.
    None,
}

impl Found {
    /// Nothing yet.
    pub fn new(name: &str, figures: Vec<Figure>) -> Self {
        Self { name: name.to_owned(), figures, rounds: Vec::new() }
    }

    /// The rounds' values of the figure at this index.
    pub fn values(&self, index: usize) -> Vec<f64> {
        self.rounds.iter().flatten().filter_map(|numbers| numbers.get(index).copied()).collect()
    }

    /// Why rounds failed.
    pub fn failures(&self) -> impl Iterator<Item = &String> {
        self.rounds.iter().filter_map(|round| round.as_ref().err())
    }

    /// How the figure at this index compares with its goal.
    pub fn verdict(&self, index: usize) -> Verdict {
        let goal = self.figures[index].goal;
        match Summary::of(&self.values(index)) {
            _ if goal == Goal::None => Verdict::None,
            Some(summary) if self.failures().next().is_none() => match goal.is_reached(&summary) {
                true => Verdict::Reached,
                false => Verdict::Missed,
            },
            _ => Verdict::Failed,
        }
    }

    /// Whether no goal was missed.
    pub fn is_good(&self) -> bool {
        (0..self.figures.len()).all(|index| matches!(self.verdict(index), Verdict::Reached | Verdict::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_include_their_bounds() {
        let reaches = |goal: Goal, rounds: &[f64]| goal.is_reached(&Summary::of(rounds).unwrap());
        assert!(reaches(Goal::AtLeast(0.9), &[0.9]) && !reaches(Goal::AtLeast(0.9), &[0.89]));
        assert!(reaches(Goal::AtMost(2.0), &[2.0]) && !reaches(Goal::AtMost(2.0), &[f64::INFINITY]));
        assert!(reaches(Goal::Between(1.0, 2.0), &[1.0]) && !reaches(Goal::Between(1.0, 2.0), &[2.1]));
    }

    #[test]
    fn what_is_never_to_happen_may_not_happen_in_a_single_round() {
        let reaches = |rounds: &[f64]| Goal::Never.is_reached(&Summary::of(rounds).unwrap());
        assert!(reaches(&[0.0, 0.0]) && !reaches(&[0.0, 0.0, 1.0]));
    }
}
