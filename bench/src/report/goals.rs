//! The table of figures with goals, for the terminal: what was reached, and what is to be reached.

use std::process::ExitCode;

use crate::compare::INTERRUPTED;
use crate::failure::Failure;
use crate::figure::{Figure, Found, Goal, Unit, Verdict};
use crate::metric::digits;
use crate::stats::Summary;

/// Prints the figures of all rounds. Returns the status of a command that fails if a goal is missed.
pub fn print(found: &[Found], rounds: usize, end: Result<(), Failure>) -> ExitCode {
    print!("{}", render(found));
    if end.is_err() {
        return ExitCode::from(INTERRUPTED);
    }
    println!("\nmedian of {rounds} rounds");
    if found.iter().all(Found::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One line for each figure of each load.
pub fn render(found: &[Found]) -> String {
    let mut rows = vec![["load", "figure", "reached", "lowest..highest", "to reach", ""].map(str::to_owned)];
    for load in found.iter().filter(|load| !load.rounds.is_empty()) {
        for (index, figure) in load.figures.iter().enumerate() {
            let name = if index == 0 { load.name.clone() } else { String::new() };
            rows.push(row(name, figure, &load.values(index), load.verdict(index)));
        }
        for reason in load.failures().take(1) {
            let failed = format!("{} of {} rounds failed: {reason}", load.failures().count(), load.rounds.len());
            rows.push([String::new(), failed, String::new(), String::new(), String::new(), String::new()]);
        }
    }
    align(&rows)
}

fn row(name: String, figure: &Figure, values: &[f64], verdict: Verdict) -> [String; 6] {
    let text = |value| format(figure.unit, value);
    let (reached, spread) = match Summary::of(values) {
        None => ("-".to_owned(), String::new()),
        Some(summary) if values.len() == 1 => (text(summary.median), String::new()),
        Some(summary) => (text(summary.median), format!("{}..{}", text(summary.min), text(summary.max))),
    };
    let goal = match figure.goal {
        Goal::AtLeast(least) => format!("at least {}", text(least)),
        Goal::AtMost(most) => format!("at most {}", text(most)),
        Goal::Between(least, most) => format!("{} to {}", text(least), text(most)),
        Goal::Never => "none in any round".to_owned(),
        Goal::None => String::new(),
    };
    let verdict = match verdict {
        Verdict::Reached => "ok",
        Verdict::Missed => "MISSED",
        Verdict::Failed => "FAILED",
        Verdict::None => "",
    };
    [name, figure.label.to_owned(), reached, spread, goal, verdict.to_owned()]
}

fn format(unit: Unit, value: f64) -> String {
    match unit {
        _ if value.is_infinite() => "never".to_owned(),
        Unit::Ratio => format!("{value:.3}"),
        Unit::Times => digits(value),
        Unit::PerSecond => format!("{} /s", digits(value)),
        Unit::Share => format!("{} %", digits(value * 100.0)),
        Unit::Seconds if value < 0.001 => format!("{} us", digits(value * 1e6)),
        Unit::Seconds if value < 1.0 => format!("{} ms", digits(value * 1e3)),
        Unit::Seconds => format!("{} s", digits(value)),
        Unit::Bytes => format!("{} KiB", digits(value / 1024.0)),
        Unit::BytesPerSecond => format!("{} Mbit/s", digits(value * 8.0 / 1e6)),
    }
}

/// Pads the cells so that columns line up. One with nothing behind it in its row may be as wide as it likes.
fn align(rows: &[[String; 6]]) -> String {
    let is_last = |row: &[String; 6], column: usize| row[column + 1..].iter().all(String::is_empty);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| !is_last(row, column)).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::cases;

    #[test]
    fn a_line_says_what_was_reached_and_what_is_to_be() {
        let case = cases::all().into_iter().find(|case| case.name == "ping").unwrap();
        let rounds = vec![Ok(vec![1.25, 0.00005]), Ok(vec![1.125, 0.00004]), Err("it broke".to_owned())];
        let text = render(&[Found { rounds, ..Found::new(&case.name, case.figures()) }]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1].split_whitespace().next(), Some("ping"));
        assert!(lines[1].contains("1.188") && lines[1].contains("1.125..1.250"), "{text}");
        assert!(lines[1].contains("at most 1.150") && lines[1].ends_with("FAILED"), "{text}");
        assert!(lines[2].contains("45.0 us"), "{text}");
        assert!(lines[3].contains("1 of 3 rounds failed: it broke"), "{text}");
    }

    #[test]
    fn values_have_the_unit_that_suits_them() {
        let texts =
            [(Unit::Seconds, 0.00005), (Unit::Seconds, 0.0503), (Unit::Bytes, 2048.0), (Unit::Seconds, 1.0 / 0.0)];
        assert_eq!(texts.map(|(unit, value)| format(unit, value)), ["50.0 us", "50.3 ms", "2.00 KiB", "never"]);
        assert_eq!(format(Unit::BytesPerSecond, 6_250_000.0), "50.0 Mbit/s");
    }
}
