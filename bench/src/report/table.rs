//! The table on the terminal.

use crate::load::Load;
use crate::metric::{Metric, digits};
use crate::results::{LoadResults, Outcome, Results};

/// Writes one table for each load.
pub fn render(results: &Results) -> String {
    let mut text = String::new();
    for load in &results.loads {
        text.push_str(&render_load(results, load));
    }
    if !results.loads.is_empty() {
        let base = &results.proxies[results.base].name;
        text.push_str(&format!("\nmedian of the rounds, as a multiple of {base}, (lowest..highest round)\n"));
    }
    text
}

fn render_load(results: &Results, found: &LoadResults) -> String {
    let metrics = found.load.group().headline();
    let rival = compared_with(results, found.load);
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(metrics.iter().map(|metric| metric.label().to_owned()));
    if let Some(rival) = rival {
        rows[0].push(format!("p50, p99 vs {}", rival.load));
    }
    for (index, proxy) in results.proxies.iter().enumerate() {
        let outcome = &found.outcomes[index];
        let mut row = vec![proxy.name.clone()];
        match outcome {
            Outcome::Skipped(reason) => row.push(format!("- ({reason})")),
            Outcome::Measured(_) => {
                let base = &found.outcomes[results.base];
                row.extend(metrics.iter().map(|&metric| cell(outcome, base, metric)));
                row.extend(rival.map(|rival| slowdown(outcome, &rival.outcomes[index])));
                row.extend(failure_note(outcome));
            }
        }
        rows.push(row);
    }
    format!("\n{}: {}\n{}", found.load, found.load.description(), align(&rows))
}

/// The load that this one is compared with, if it was run too.
fn compared_with(results: &Results, load: Load) -> Option<&LoadResults> {
    match load {
        Load::Many { .. } => results.loads.iter().find(|other| other.load == Load::PING_64),
        _ => None,
    }
}

/// One number: its median, as a multiple of the base, and its spread.
fn cell(outcome: &Outcome, base: &Outcome, metric: Metric) -> String {
    let Some(summary) = outcome.summary(metric) else { return "-".to_owned() };
    // A multiple of next to nothing says nothing.
    let base = base.summary(metric).filter(|_| metric != Metric::LostShare);
    let ratio = base.and_then(|base| summary.ratio_to(&base));
    let ratio = ratio.map_or(String::new(), |ratio| format!(" ×{}", digits(ratio)));
    let median = metric.format(summary.median);
    if outcome.values(metric).len() == 1 {
        return format!("{median}{ratio}");
    }
    let (low, high) = (metric.format(summary.min), metric.format(summary.max));
    format!("{median}{ratio} ({low}..{high})", low = without_unit(&low, &high))
}

/// `low` without its unit if `high` has the same.
fn without_unit<'a>(low: &'a str, high: &str) -> &'a str {
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => number,
        _ => low,
    }
}

/// How many times longer the latencies are than under another load.
fn slowdown(outcome: &Outcome, other: &Outcome) -> String {
    let ratio = |metric| outcome.summary(metric)?.ratio_to(&other.summary(metric)?);
    match (ratio(Metric::LatencyP50), ratio(Metric::LatencyP99)) {
        (Some(p50), Some(p99)) => format!("×{}, ×{}", digits(p50), digits(p99)),
        _ => "-".to_owned(),
    }
}

/// How many rounds failed and why, if any did.
fn failure_note(outcome: &Outcome) -> Option<String> {
    let failures = outcome.failures();
    failures.first().map(|first| format!("{} failed: {first}", failures.len()))
}

/// Pads the cells so that columns line up. A row may be shorter or longer than the heading.
fn align(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| {
        // A lone remark beside the name may be as wide as it likes.
        let full = rows.iter().filter(|row| row.len() >= columns);
        full.filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let name_width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = format!("  {:name_width$}", row[0]);
        for (column, cell) in row.iter().enumerate().skip(1) {
            let width = widths.get(column).copied().unwrap_or(0);
            line.push_str(&format!("  {cell:width$}"));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(values: &[f64]) -> Outcome {
        Outcome::Measured(values.iter().map(|&value| Ok(vec![(Metric::RoundTripRate, value)])).collect())
    }

    #[test]
    fn a_cell_has_the_median_the_ratio_and_the_spread() {
        let cell = |values: &[f64], base: &[f64]| cell(&rates(values), &rates(base), Metric::RoundTripRate);
        assert_eq!(cell(&[2000.0, 3000.0, 4000.0], &[1500.0]), "3.00 k/s ×2.00 (2.00..4.00 k/s)");
        assert_eq!(cell(&[500.0, 2500.0], &[]), "1.50 k/s (500 /s..2.50 k/s)");
        assert_eq!(cell(&[1500.0], &[1500.0]), "1.50 k/s ×1.00");
        assert_eq!(cell(&[], &[1.0]), "-");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["", "speed", "cost"], vec!["long", "1", "22"], vec!["x", "a remark that is long"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        assert_eq!(align(&rows), "        speed  cost\n  long  1      22\n  x     a remark that is long\n");
    }
}
