//! A snapshot as JSON, for programs. `docs/status.md` says what the fields are.

use std::fmt::{Display, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use super::snapshot::{RemoteStatus, ServiceStatus, SessionRow, Snapshot, ThreadStatus};
use crate::counters::Histogram;
use crate::session::Ending;

/// Writes a snapshot as one object.
pub fn json(snapshot: &Snapshot) -> String {
    let mut json = Json { text: String::with_capacity(4096 + 300 * snapshot.sessions.len()) };
    json.snapshot(snapshot);
    json.text.push('\n');
    json.text
}

/// JSON in the making. Values are written behind one another; a comma goes before each that is not the first.
struct Json {
    text: String,
}

impl Json {
    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.object(|json| {
            json.text_field("version", env!("CARGO_PKG_VERSION"));
            json.field("pid", std::process::id());
            json.text_field("state", if snapshot.is_draining { "draining" } else { "serving" });
            json.field("at_ms", milliseconds(snapshot.at.duration_since(UNIX_EPOCH).unwrap_or_default()));
            json.field("uptime_ms", milliseconds(snapshot.uptime));
            json.field("log_lines_lost", snapshot.log_lines_lost);
            json.field("access_log_lines_lost", snapshot.access_log_lines_lost);
            json.field("capture_records_lost", snapshot.capture_records_lost);
            json.field("sessions_all", snapshot.sessions_all);
            json.objects("threads", &snapshot.threads, Json::thread);
            json.objects("services", &snapshot.services, Json::service);
            json.objects("sessions", &snapshot.sessions, Json::session);
        });
    }

    fn thread(&mut self, thread: &ThreadStatus) {
        self.text_field("name", &thread.name);
        self.field("answered", thread.has_answered);
        self.field("sessions", thread.sessions);
        self.field("turns", thread.turns);
        self.field("busy_us", thread.busy);
        self.field("cpu_us", thread.cpu);
        self.numbers("buffers", &thread.buffers);
        self.numbers("pipes", &thread.pipes);
        self.field("kept", thread.kept);
        self.field("lost", thread.lost);
    }

    fn service(&mut self, service: &ServiceStatus) {
        let counters = &service.counters;
        self.text_field("name", &service.name);
        self.list("listeners", &service.listeners, |json, listener| json.text(listener));
        self.field("sessions", service.sessions);
        self.field("begun", counters.begun);
        self.labelled("ended", Ending::all().map(|ending| (ending.word(), counters.ended[ending.number()])));
        self.numbers("bytes", &counters.bytes);
        self.numbers("datagrams", &counters.datagrams);
        self.numbers("dropped", &counters.dropped);
        self.labelled("refused", service.refused.iter().copied());
        self.histogram("connect_time", &counters.connect_time);
        self.histogram("session_time", &counters.session_time);
        self.histogram("session_bytes", &counters.session_bytes);
        self.objects("remotes", &service.remotes, Json::remote);
    }

    fn remote(&mut self, remote: &RemoteStatus) {
        self.text_field("name", &remote.name);
        self.text_field("state", remote.state);
        self.text_field("why", &remote.why);
        self.field("since_ms", milliseconds(remote.since));
        self.field("weight", remote.weight);
        self.field("backup", remote.is_backup);
        self.maybe("max_sessions", remote.max_sessions);
        self.field("sessions", remote.sessions);
        self.field("failures", remote.failures);
        self.field("connected", remote.counters.connected);
        self.numbers("bytes", &remote.counters.bytes);
        self.histogram("connect_time", &remote.counters.connect_time);
    }

    fn session(&mut self, session: &SessionRow) {
        self.text_field("id", &session.id);
        self.text_field("service", &session.service);
        self.text_field("client", &session.client);
        self.text_field("listener", &session.listener);
        self.text_field("remote", &session.remote);
        self.text_field("remote_name", &session.remote_name);
        self.text_field("phase", session.phase);
        self.field("age_ms", milliseconds(session.age));
        self.field("idle_ms", milliseconds(session.idle));
        self.numbers("bytes", &session.bytes);
        self.numbers("datagrams", &session.datagrams);
    }

    /// The upper bounds of the buckets but the last, how many values are in each, and their sum.
    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let bounds: Vec<u64> = (0..Histogram::BUCKETS).map_while(Histogram::bound).collect();
        self.name(name);
        self.object(|json| {
            json.numbers("bounds", &bounds);
            json.numbers("counts", &histogram.buckets);
            json.field("sum", histogram.sum);
        });
    }

    fn object(&mut self, fields: impl FnOnce(&mut Json)) {
        self.text.push('{');
        fields(self);
        self.text.push('}');
    }

    fn objects<T>(&mut self, name: &str, all: &[T], fields: impl Fn(&mut Json, &T)) {
        self.list(name, all, |json, one| json.object(|json| fields(json, one)));
    }

    fn list<T>(&mut self, name: &str, all: &[T], one: impl Fn(&mut Json, &T)) {
        self.name(name);
        self.text.push('[');
        for value in all {
            self.separate();
            one(self, value);
        }
        self.text.push(']');
    }

    fn numbers(&mut self, name: &str, numbers: &[u64]) {
        self.list(name, numbers, |json, number| json.value(number));
    }

    fn labelled<'a>(&mut self, name: &str, counts: impl Iterator<Item = (&'a str, u64)>) {
        self.name(name);
        self.object(|json| counts.for_each(|(label, count)| json.field(label, count)));
    }

    /// A field whose value needs no quotes.
    fn field(&mut self, name: &str, value: impl Display) {
        self.name(name);
        self.value(value);
    }

    /// The same, which is `null` where it is not known.
    fn maybe(&mut self, name: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.field(name, value),
            None => self.field(name, "null"),
        }
    }

    fn text_field(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text(text);
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.text(name);
        self.text.push(':');
    }

    fn separate(&mut self) {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    fn value(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
    }

    /// A string (RFC 8259, 7). What could end a script is escaped as well, so that it can stand in a page.
    fn text(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                c if c.is_control() || matches!(c, '<' | '\u{2028}' | '\u{2029}') => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::example::example;

    #[test]
    fn a_snapshot_is_one_object() {
        let text = json(&example());
        for part in [
            r#""state":"serving","at_ms":1700000000000,"uptime_ms":61000,"#,
            r#""threads":[{"name":"io-0","answered":true,"sessions":2,"#,
            r#""services":[{"name":"web","listeners":["127.0.0.1:80","unix:/run/a b"],"sessions":2,"begun":5,"#,
            r#""ended":{"end_of_stream":3,"reset":0,"#,
            r#""bytes":[1000,200000],"#,
            r#""max_sessions":null,"#,
            r#""remotes":[{"name":"10.0.0.1:80","state":"up","why":"","since_ms":0,"weight":3,"backup":false,"#,
            r#""sessions":[{"id":"0-17","service":"web","client":"192.0.2.1:1000","#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.starts_with(r#"{"version":""#) && text.ends_with("}\n"));
    }

    #[test]
    fn text_of_peers_stays_within_its_string() {
        let mut snapshot = example();
        snapshot.sessions[0].client = "\"},\\\n\u{7f}\u{2028}</script>\u{e9}".to_string();
        let text = json(&snapshot);
        assert!(text.contains(r#""client":"\"},\\\u000a\u007f\u2028\u003c/script>é","#), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
