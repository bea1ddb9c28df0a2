//! What the table and the text promise.

use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::counters::{RemoteCounters, ServiceCounters};

/// Two services, the second of which has two remotes of one name.
fn snapshot() -> Snapshot {
    let mut connect_time = Histogram::default();
    [3, 17, 5_000_000, u64::MAX / 4].into_iter().for_each(|time| connect_time.record(time));
    let remote = |name: &str, state| RemoteStatus {
        name: name.into(),
        state,
        weight: 3,
        counters: RemoteCounters { connected: 4, bytes: [1, 2], connect_time },
        ..RemoteStatus::default()
    };
    let service = |name: &str, remotes| ServiceStatus {
        name: name.into(),
        remotes,
        sessions: 2,
        counters: ServiceCounters { begun: 9, bytes: [100, 1 << 60], connect_time, ..ServiceCounters::default() },
        refused: vec![("rules", 5)],
        ..ServiceStatus::default()
    };
    Snapshot {
        at: UNIX_EPOCH + Duration::from_millis(1_000_000_123),
        uptime: Duration::from_millis(50_130),
        is_draining: true,
        threads: vec![ThreadStatus { name: "io-0".into(), busy: 1_500_000, ..ThreadStatus::default() }],
        services: vec![
            service("", vec![remote("127.0.0.1:80", "up")]),
            service("a \"b\" \\ \n<c>", vec![remote("db", "out"), remote("db", "up")]),
        ],
        sessions: Vec::new(),
        sessions_all: 4,
        log_lines_lost: 7,
        access_log_lines_lost: 0,
        capture_records_lost: 0,
    }
}

fn lines(format: Format) -> Vec<String> {
    text(&snapshot(), format).lines().map(str::to_string).collect()
}

#[test]
fn names_are_as_prometheus_wants_them() {
    let mut names = HashSet::new();
    for metric in all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("cproxy_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let unit = match metric.unit {
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
            Unit::None => "",
        };
        assert!(name.ends_with(unit), "{name}");
        assert!(
            !["_total", "_count", "_sum", "_bucket", "_info"].iter().any(|suffix| name.ends_with(suffix)),
            "{name}"
        );
        assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '|']), "{name}");
        assert!(!metric.labels().contains(&"client"));
    }
}

#[test]
fn each_metric_is_told_once_with_its_values_behind_it() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let lines = lines(format);
        let about = lines.iter().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(about, all().len());
        let mut values = HashSet::new();
        let mut of = "";
        for line in &lines {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                of = rest.split(' ').next().unwrap_or_default();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(of), "{line} is not behind what is said of it");
                let (labelled, value) = line.rsplit_once(' ').expect("a value");
                assert!(values.insert(labelled), "{labelled} is there twice");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
    }
}

#[test]
fn values_are_told_in_base_units() {
    let lines = lines(Format::Prometheus);
    for line in [
        "cproxy_start_time_seconds 999950.0",
        "cproxy_draining 1",
        "cproxy_log_lines_lost_total 7",
        "cproxy_thread_busy_seconds_total{thread=\"io-0\"} 1.5",
        "cproxy_service_sessions{service=\"\"} 2",
        "cproxy_service_sessions{service=\"a \\\"b\\\" \\\\ \\n<c>\"} 2",
        "cproxy_service_transferred_bytes_total{service=\"\",direction=\"downstream\"} 1152921504606846976",
        "cproxy_service_clients_refused_total{service=\"\",reason=\"rules\"} 5",
        "cproxy_service_connect_seconds_bucket{service=\"\",le=\"0.000016\"} 1",
        "cproxy_service_connect_seconds_bucket{service=\"\",le=\"0.000064\"} 2",
        "cproxy_service_connect_seconds_bucket{service=\"\",le=\"68719.476736\"} 3",
        "cproxy_service_connect_seconds_bucket{service=\"\",le=\"+Inf\"} 4",
        "cproxy_service_connect_seconds_count{service=\"\"} 4",
        "cproxy_service_session_bytes_bucket{service=\"\",le=\"16.0\"} 0",
        "cproxy_remote_state{service=\"\",remote=\"127.0.0.1:80\",state=\"up\"} 1",
        "cproxy_remote_state{service=\"\",remote=\"127.0.0.1:80\",state=\"out\"} 0",
        "cproxy_remote_sessions_connected_total{service=\"a \\\"b\\\" \\\\ \\n<c>\",remote=\"db #2\"} 4",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} is not in:\n{}", lines.join("\n"));
    }
}

#[test]
fn openmetrics_has_families_without_suffixes_units_and_an_end() {
    let (lines, plain) = (lines(Format::OpenMetrics), lines(Format::Prometheus));
    for line in [
        "# TYPE cproxy_thread_busy_seconds counter",
        "# UNIT cproxy_thread_busy_seconds seconds",
        "# TYPE cproxy_build info",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}");
    }
    assert_eq!(lines.last().map(String::as_str), Some("# EOF"));
    // What is said about the values differs, and they do not.
    let values = |lines: &[String]| lines.iter().filter(|line| !line.starts_with('#')).cloned().collect::<Vec<_>>();
    assert_eq!(values(&lines), values(&plain));
}
