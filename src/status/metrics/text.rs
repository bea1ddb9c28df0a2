//! Metrics as text: the format of Prometheus, and OpenMetrics, which came of it.

use std::fmt::{self, Write as _};

use super::{Kind, Metric, Unit, Value};
use crate::counters::Histogram;
use crate::status::snapshot::Snapshot;

/// A form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What a response says that it is.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All metrics with their values.
pub fn text(snapshot: &Snapshot, format: Format) -> String {
    let mut text = String::with_capacity(16 << 10);
    for metric in super::all() {
        write_about(metric, format, &mut text);
        let (name, labels) = (metric.full_name(), metric.labels());
        metric.visit(snapshot, &mut |values, value| {
            let labels = Labels { names: &labels, values, bound: None };
            write_value(metric, &name, labels, value, &mut text);
        });
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

// Writing to a String cannot fail.
fn write_about(metric: &Metric, format: Format, text: &mut String) {
    let (name, kind) = match (format, metric.kind) {
        (Format::Prometheus, Kind::Counter) => (metric.full_name(), "counter"),
        (Format::Prometheus, Kind::Info) => (metric.full_name(), "gauge"),
        (Format::OpenMetrics, Kind::Counter) => (metric.name.to_string(), "counter"),
        (Format::OpenMetrics, Kind::Info) => (metric.name.to_string(), "info"),
        (_, Kind::Gauge) => (metric.name.to_string(), "gauge"),
        (_, Kind::Histogram) => (metric.name.to_string(), "histogram"),
    };
    let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
    match (format, metric.unit) {
        (Format::Prometheus, _) | (_, Unit::None) => {}
        (Format::OpenMetrics, Unit::Seconds) => drop(writeln!(text, "# UNIT {name} seconds")),
        (Format::OpenMetrics, Unit::Bytes) => drop(writeln!(text, "# UNIT {name} bytes")),
    }
}

fn write_value(metric: &Metric, name: &str, labels: Labels<'_>, value: Value<'_>, text: &mut String) {
    match value {
        Value::Number(value) => drop(writeln!(text, "{name}{labels} {}", Number(value, metric.unit))),
        Value::Histogram(histogram) => {
            let mut count = 0;
            for (bucket, seen) in histogram.buckets.iter().enumerate() {
                count += seen;
                let bound = Some((Histogram::bound(bucket), metric.unit));
                let _ = writeln!(text, "{name}_bucket{} {count}", Labels { bound, ..labels });
            }
            let sum = Number(histogram.sum, metric.unit);
            let _ = writeln!(text, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
        }
    }
}

/// The labels of a value; that of a bucket has its bound, which is `None` where there is none.
#[derive(Clone, Copy)]
struct Labels<'a> {
    names: &'a [&'static str],
    values: &'a [&'a str],
    bound: Option<(Option<u64>, Unit)>,
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() && self.bound.is_none() {
            return Ok(());
        }
        let mut before = "{";
        for (name, value) in self.names.iter().zip(self.values) {
            write!(f, "{before}{name}=\"{}\"", Quoted(value))?;
            before = ",";
        }
        match self.bound {
            None => {}
            Some((None, _)) => write!(f, "{before}le=\"+Inf\"")?,
            // Both formats have the same, so that a bucket is the same whichever is asked for.
            Some((Some(bound), unit @ Unit::Seconds)) => write!(f, "{before}le=\"{}\"", Number(bound, unit))?,
            Some((Some(bound), unit)) => write!(f, "{before}le=\"{}.0\"", Number(bound, unit))?,
        }
        f.write_char('}')
    }
}

/// The value of a label.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// A number as it is told in its unit.
struct Number(u64, Unit);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number(value, Unit::Seconds) => {
                write!(f, "{}.", value / 1_000_000)?;
                let text = format!("{:06}", value % 1_000_000);
                let significant = text.trim_end_matches('0');
                f.write_str(if significant.is_empty() { "0" } else { significant })
            }
            Number(value, Unit::None | Unit::Bytes) => write!(f, "{value}"),
        }
    }
}
