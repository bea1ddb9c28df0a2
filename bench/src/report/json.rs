//! The report to compute with: every number of every round.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::load::Load;
use crate::metric::Metric;
use crate::options::Settings;
use crate::proxy::Proxy;
use crate::results::{Outcome, Results};

/// Writes the report.
pub fn write(file: &Path, settings: &Settings, results: &Results) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&report(settings, results))?;
    fs::write(file, text + "\n")
}

fn report(settings: &Settings, results: &Results) -> Value {
    let names: Vec<&str> = results.proxies.iter().map(|proxy| proxy.name.as_str()).collect();
    let described = |proxy: &Proxy| json!({ "name": proxy.name, "command": proxy.recipe.to_string() });
    let proxies: Vec<Value> = results.proxies.iter().map(described).collect();
    let loads: Vec<Value> = results
        .loads
        .iter()
        .map(|found| {
            let outcomes = names.iter().zip(&found.outcomes);
            json!({
                "load": found.load.to_string(),
                "description": found.load.description(),
                "proxies": outcomes.map(|(name, outcome)| proxy(name, outcome, found.load)).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "machine": machine(),
        "rounds": settings.rounds,
        "seconds": settings.length.as_secs_f64(),
        "base": names[results.base],
        "proxies": proxies,
        "loads": loads,
    })
}

/// How one proxy did under one load.
fn proxy(name: &str, outcome: &Outcome, load: Load) -> Value {
    match outcome {
        Outcome::Skipped(reason) => json!({ "name": name, "skipped": reason }),
        Outcome::Measured(_) => {
            let metrics: Map<String, Value> =
                load.group().metrics().iter().filter_map(|&metric| numbers(outcome, metric)).collect();
            json!({ "name": name, "metrics": metrics, "failures": outcome.failures() })
        }
    }
}

/// One metric's key, and its numbers in its base unit.
fn numbers(outcome: &Outcome, metric: Metric) -> Option<(String, Value)> {
    let summary = outcome.summary(metric)?;
    let key = json!(metric).as_str()?.to_owned();
    let value = json!({
        "unit": metric.unit(),
        "better": metric.better(),
        "median": summary.median,
        "min": summary.min,
        "max": summary.max,
        "rounds": outcome.values(metric),
    });
    Some((key, value))
}

/// What was measured on, and when.
fn machine() -> Value {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim().to_owned()));
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, |cpus| cpus.get()),
        "cpu_model": model,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_its_unit_and_its_rounds() {
        let outcome = Outcome::Measured(vec![Ok(vec![(Metric::CpuPerGib, 2.0)]), Ok(vec![(Metric::CpuPerGib, 4.0)])]);
        let (key, value) = numbers(&outcome, Metric::CpuPerGib).unwrap();
        assert_eq!(key, "cpu_per_gib");
        assert_eq!(value["unit"], "ns");
        assert_eq!(value["better"], "lower");
        assert_eq!(value["median"], 3.0);
        assert_eq!(value["rounds"], json!([2.0, 4.0]));
    }
}
