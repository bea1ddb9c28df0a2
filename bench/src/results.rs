//! What a comparison has found: `compare` fills it in, and the reports are made from it.

use crate::load::Load;
use crate::metric::Metric;
use crate::proxy::Proxy;
use crate::stats::Summary;

/// Everything a run has found.
pub struct Results {
    /// The proxies, in the order they are reported.
    pub proxies: Vec<Proxy>,
    /// Index of the proxy that ratios are to.
    pub base: usize,
    /// The loads that were run, in order.
    pub loads: Vec<LoadResults>,
}

/// What was found under one load.
pub struct LoadResults {
    /// The load.
    pub load: Load,
    /// One for each of [`Results::proxies`], in the same order.
    pub outcomes: Vec<Outcome>,
}

/// How one proxy did under one load.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was not asked to, for this reason.
    Skipped(&'static str),
    /// Its rounds so far.
    Measured(Vec<Round>),
}

/// One measurement: its numbers, or why there are none.
pub type Round = Result<Vec<(Metric, f64)>, String>;

impl Outcome {
    /// The values of one metric, a round each.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        let Self::Measured(rounds) = self else { return Vec::new() };
        let numbers = rounds.iter().flatten().flatten();
        numbers.filter(|(other, _)| *other == metric).map(|(_, value)| *value).collect()
    }

    /// The values of one metric, summed up.
    pub fn summary(&self, metric: Metric) -> Option<Summary> {
        Summary::of(&self.values(metric))
    }

    /// Why rounds failed.
    pub fn failures(&self) -> Vec<&str> {
        let Self::Measured(rounds) = self else { return Vec::new() };
        rounds.iter().filter_map(|round| round.as_ref().err().map(String::as_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_sums_up_the_rounds_that_went_well() {
        let round = |value| Ok(vec![(Metric::Throughput, value), (Metric::CpuPerGib, 9.0)]);
        let outcome = Outcome::Measured(vec![round(1.0), Err("broke".to_owned()), round(3.0)]);
        assert_eq!(outcome.values(Metric::Throughput), [1.0, 3.0]);
        assert_eq!(outcome.summary(Metric::Throughput).unwrap().median, 2.0);
        assert_eq!(outcome.summary(Metric::LatencyP50), None);
        assert_eq!(outcome.failures(), ["broke"]);
        assert_eq!(Outcome::Skipped("no").summary(Metric::Throughput), None);
    }
}
