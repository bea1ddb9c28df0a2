//! Medians over the rounds.

use serde::Serialize;

/// The rounds of one number, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle round, or the mean of the two in the middle.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

impl Summary {
    /// Sums up the rounds; nothing if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Self { median, min, max })
    }

    /// This median as a multiple of another.
    pub fn ratio_to(&self, base: &Self) -> Option<f64> {
        Some(self.median / base.median).filter(|ratio| ratio.is_finite() && *ratio >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(Summary::of(&[3.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Summary::of(&[4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of(&[7.0]), Some(Summary { median: 7.0, min: 7.0, max: 7.0 }));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        let one = Summary::of(&[1.0]).unwrap();
        assert_eq!(Summary::of(&[3.0]).unwrap().ratio_to(&one), Some(3.0));
        assert_eq!(one.ratio_to(&Summary::of(&[0.0]).unwrap()), None);
    }
}
