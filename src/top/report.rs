//! What a process tells of itself, read from its JSON.

use crate::base::text::Escaped;
use serde_json::Value;

/// What is known at one moment. What an older process does not tell is zero or empty.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// The number of the process.
    pub pid: u64,
    /// Whether it serves only the sessions that it has.
    pub is_draining: bool,
    /// How long it has been running, in milliseconds.
    pub uptime: u64,
    /// How long its I/O threads have run, in microseconds, and how many there are.
    pub busy: u64,
    /// See `busy`.
    pub threads: u64,
    /// Sessions that it has; `sessions` may have fewer.
    pub sessions_all: u64,
    /// What could not be written, by what it is.
    pub lost: Vec<(&'static str, u64)>,
    /// Its services.
    pub services: Vec<Service>,
    /// The remotes of all of them.
    pub remotes: Vec<Remote>,
    /// Some of its sessions.
    pub sessions: Vec<Session>,
}

/// What is known of a service. Of two numbers the first is about upstream.
#[derive(Debug, Clone, Default)]
pub struct Service {
    /// Its name, or what the page has for one of the command line.
    pub name: String,
    /// Sessions that it has.
    pub sessions: u64,
    /// Sessions that have begun.
    pub begun: u64,
    /// Clients that were refused.
    pub refused: u64,
    /// Bytes that were delivered.
    pub bytes: [u64; 2],
}

/// What is known of a remote.
#[derive(Debug, Clone, Default)]
pub struct Remote {
    /// Its address.
    pub name: String,
    /// The name of its service.
    pub service: String,
    /// `up`, `out`, `trying` or `down`.
    pub state: String,
    /// Why it is what it is.
    pub why: String,
    /// Its share of the sessions that its service has had, of 1; `None` where there was none.
    pub share: Option<f64>,
    /// Sessions that it has.
    pub sessions: u64,
    /// Attempts to connect to it that have failed.
    pub failures: u64,
    /// Bytes that were delivered.
    pub bytes: [u64; 2],
}

/// What is known of a session.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Tells it apart from all others of the process.
    pub id: String,
    /// The name of its service.
    pub service: String,
    /// The client's address.
    pub client: String,
    /// The remote's address.
    pub remote: String,
    /// What it is doing.
    pub phase: String,
    /// How long it has lasted, in milliseconds.
    pub age: u64,
    /// How long nothing has moved in it, in milliseconds.
    pub idle: u64,
    /// Bytes that were delivered.
    pub bytes: [u64; 2],
}

/// The fields that count what could not be written, and what that is.
const LOST: [(&str, &str); 3] = [
    ("log_lines_lost", "log lines"),
    ("access_log_lines_lost", "access log lines"),
    ("capture_records_lost", "capture records"),
];

impl Report {
    /// Reads the JSON.
    ///
    /// # Errors
    ///
    /// It is not that of a cproxy's status; the reason, in one line.
    pub fn parse(text: &[u8]) -> Result<Report, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("the status is not JSON: {error}"))?;
        if !value["services"].is_array() {
            return Err("the JSON is not a cproxy's status".to_string());
        }
        let mut report = Report {
            version: text_of(&value["version"]),
            pid: number(&value["pid"]),
            is_draining: value["state"] == "draining",
            uptime: number(&value["uptime_ms"]),
            busy: list(&value["threads"]).iter().map(|thread| number(&thread["cpu_us"])).sum(),
            threads: list(&value["threads"]).len() as u64,
            sessions_all: number(&value["sessions_all"]),
            lost: LOST.iter().map(|(field, name)| (*name, number(&value[*field]))).filter(|lost| lost.1 > 0).collect(),
            sessions: list(&value["sessions"]).iter().map(session).collect(),
            ..Report::default()
        };
        for value in list(&value["services"]) {
            let service = service(value);
            report.remotes.extend(remotes(value, &service.name));
            report.services.push(service);
        }
        Ok(report)
    }
}

fn service(value: &Value) -> Service {
    Service {
        name: service_name(&value["name"]),
        sessions: number(&value["sessions"]),
        begun: number(&value["begun"]),
        refused: value["refused"].as_object().into_iter().flatten().map(|(_, count)| number(count)).sum(),
        bytes: pair(&value["bytes"]),
    }
}

/// The name of a service. That of the command line has none.
fn service_name(value: &Value) -> String {
    let name = text_of(value);
    if name.is_empty() { "(command line)".to_string() } else { name }
}

/// The remotes of a service.
fn remotes(service: &Value, name: &str) -> Vec<Remote> {
    let remotes = list(&service["remotes"]);
    let all: u64 = remotes.iter().map(|remote| number(&remote["connected"])).sum();
    let share = |remote: &Value| (all > 0).then(|| number(&remote["connected"]) as f64 / all as f64);
    let read = |remote: &Value| Remote {
        name: text_of(&remote["name"]),
        service: name.to_string(),
        state: text_of(&remote["state"]),
        why: text_of(&remote["why"]),
        share: share(remote),
        sessions: number(&remote["sessions"]),
        failures: number(&remote["failures"]),
        bytes: pair(&remote["bytes"]),
    };
    remotes.iter().map(read).collect()
}

fn session(value: &Value) -> Session {
    Session {
        id: text_of(&value["id"]),
        service: service_name(&value["service"]),
        client: text_of(&value["client"]),
        remote: text_of(&value["remote"]),
        phase: text_of(&value["phase"]),
        age: number(&value["age_ms"]),
        idle: number(&value["idle_ms"]),
        bytes: pair(&value["bytes"]),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn pair(value: &Value) -> [u64; 2] {
    [number(&value[0]), number(&value[1])]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Text that may go to a terminal, whatever is in it.
fn text_of(value: &Value) -> String {
    Escaped(value.as_str().unwrap_or_default().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_zero() {
        let report = Report::parse(br#"{"services": [{"name": "web", "bytes": [1]}, 3], "sessions": [{}]}"#).unwrap();
        assert_eq!(report.services[0].bytes, [1, 0]);
        assert_eq!((report.services.len(), report.sessions.len()), (2, 1));
        assert_eq!(report.lost, Vec::new());
        let report = Report::parse(br#"{"services": [], "log_lines_lost": 0, "access_log_lines_lost": 5}"#).unwrap();
        assert_eq!(report.lost, [("access log lines", 5)]);
    }

    #[test]
    fn what_is_something_else_is_refused() {
        for text in ["", "{", "[]", "{}", "3", r#"{"services": 3}"#] {
            let error = Report::parse(text.as_bytes()).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn names_cannot_drive_the_terminal() {
        let report = Report::parse(b"{\"services\": [{\"name\": \"a\\u001b[2Jb\"}]}").unwrap();
        assert_eq!(report.services[0].name, "a\\u{1b}[2Jb");
    }

    #[test]
    fn remotes_share_the_sessions_of_their_service() {
        let text = br#"{"services": [{"name": "", "refused": {"a": 1, "b": 2}, "remotes":
            [{"connected": 1}, {"connected": 3}]}, {"name": "b", "remotes": [{}]}], "sessions": [{"service": ""}]}"#;
        let report = Report::parse(text).unwrap();
        assert_eq!((report.services[0].name.as_str(), report.services[0].refused), ("(command line)", 3));
        assert_eq!(report.sessions[0].service, "(command line)");
        let shares: Vec<_> = report.remotes.iter().map(|remote| remote.share).collect();
        assert_eq!(shares, [Some(0.25), Some(0.75), None]);
    }
}
