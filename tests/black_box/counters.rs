//! What is counted: after sessions have ended, it is what they have done, by the metrics and by the access log.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Address, Kind, Peer, Proxy, Remote, Stream, TempDir, until};

/// What the status page at this address says at `/metrics`.
fn text(page: &Address) -> String {
    let mut stream = Stream::connect(page).expect("a status page");
    stream.send("GET /metrics HTTP/1.0\r\n\r\n");
    let (answer, _) = stream.rest();
    let answer = String::from_utf8(answer).expect("text");
    answer.split_once("\r\n\r\n").expect("a header").1.to_string()
}

/// Has Prometheus' own tool, where it is installed, look for what is wrong with metrics.
fn judge(text: &str) {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut tool) = tool.spawn() else {
        return eprintln!("promtool is not installed: the metrics are not checked with it");
    };
    tool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("a tool that reads");
    let said = tool.wait_with_output().expect("a tool that ends");
    let lines = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && lines.is_empty(), "{}", String::from_utf8_lossy(&lines));
}

/// The values of metrics, by name and labels, and the names of those that come and go.
fn metrics(text: &str) -> (HashMap<String, f64>, Vec<String>) {
    let value = |line: &str| {
        let (labelled, value) = line.rsplit_once(' ').expect("a value");
        (labelled.to_string(), value.parse().expect("a number"))
    };
    let values = text.lines().filter(|line| !line.starts_with('#')).map(value).collect();
    let gauges = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" gauge"));
    (values, gauges.map(str::to_string).collect())
}

/// Gauges that say something else than how much there is of what sessions take.
const STANDING: [&str; 8] = [
    "cproxy_build_info",
    "cproxy_start_time_seconds",
    "cproxy_draining",
    "cproxy_thread_answering",
    "cproxy_thread_buffers",
    "cproxy_thread_pipes",
    "cproxy_remote_state",
    "cproxy_remote_weight",
];

/// What a line of the access log says of a session, and what counters say of all.
const FIELDS: [(&str, &str, &str); 6] = [
    ("upstream_bytes", "transferred_bytes", "upstream"),
    ("downstream_bytes", "transferred_bytes", "downstream"),
    ("upstream_datagrams", "datagrams", "upstream"),
    ("downstream_datagrams", "datagrams", "downstream"),
    ("upstream_dropped", "datagrams_dropped", "upstream"),
    ("downstream_dropped", "datagrams_dropped", "downstream"),
];

/// A client that has had an answer of so many bytes, which are what it has sent.
fn answered(listener: &Address, bytes: usize) -> Stream {
    let mut client = Stream::connect(listener).expect("a listener");
    for chunk in vec![b'x'; bytes].chunks(16 << 10) {
        client.send(chunk);
        client.expect(chunk);
    }
    client
}

#[test]
fn what_sessions_did_is_counted_as_the_access_log_has_it_and_nothing_is_left_of_them() {
    let directory = TempDir::new();
    let nobody = Remote::refusing(Kind::V4);
    let log = directory.path().join("access.log");
    let format: Vec<String> = FIELDS.iter().map(|(field, ..)| format!("%{{{field}}}")).collect();
    let settings = format!(
        "status = \"127.0.0.1:0\"\nio-threads = 2\n\
         [service.echo]\nlisten = [\"127.0.0.1:0\", \"udp:127.0.0.1:0\"]\nremote = \"echo:\"\n\
         requests = 1\nresponses = 1\naccess-log = \"{log}\"\naccess-log-format = \"%{{service}} %{{ending}} {format}\"\n\
         [service.nobody]\nlisten = \"127.0.0.1:0\"\nremote = \"{nobody}\"\n\
         access-log = \"{log}\"\naccess-log-format = \"%{{service}} %{{ending}} {format}\"\n",
        log = log.display(),
        format = format.join(" "),
        nobody = nobody.address,
    );
    let path = directory.file("cproxy.toml", &settings);
    let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
    let page = proxy.log.line("status page at http://");
    let page = Address::parse(page.after("status page at http://").trim_end_matches('/'));
    let listener = |service: &str, number| {
        let line = proxy.log.lines_with(&format!(", service {service}"), number + 1).remove(number);
        line.listener()
    };

    let (stream, datagram) = (listener("echo", 0), listener("echo", 1));
    [1, 100, 1 << 20].map(|bytes| answered(&stream, bytes)).iter_mut().for_each(|client| {
        client.finish();
        client.end();
    });
    answered(&stream, 10_000).reset();
    let mut sender = Peer::connect(&datagram).expect("a listener");
    sender.send("a datagram");
    sender.expect("a datagram");
    Stream::connect(&listener("nobody", 0)).expect("a listener").end();

    judge(&text(&page));
    let service = |name: &str, more: &str| format!("{{service=\"{name}\"{more}}}");
    let (values, gauges) = until("the end of all sessions", || {
        let (values, gauges) = metrics(&text(&page));
        let ends = ["echo", "nobody"].map(|name| {
            let of = service(name, "");
            let begun = values[&format!("cproxy_service_sessions_begun_total{of}")];
            begun - values[&format!("cproxy_service_sessions{of}")]
        });
        (ends == [5.0, 1.0]).then_some((values, gauges))
    });
    for (labelled, value) in &values {
        let name = labelled.split('{').next().expect("a name");
        let is_taken = gauges.iter().any(|gauge| gauge == name) && !STANDING.contains(&name);
        assert!(!is_taken || *value == 0.0, "{labelled} is {value} when all sessions have ended");
    }

    let lines = until("the lines of all sessions", || {
        let text = fs::read_to_string(&log).expect("the access log");
        (text.lines().count() == 6 && text.ends_with('\n')).then_some(text)
    });
    let mut counted: HashMap<String, f64> = HashMap::new();
    for line in lines.lines() {
        let mut words = line.split(' ');
        let (name, ending) = (words.next().expect("a service"), words.next().expect("an ending"));
        let ended = service(name, &format!(",ending=\"{ending}\""));
        *counted.entry(format!("cproxy_service_sessions_ended_total{ended}")).or_default() += 1.0;
        for ((_, metric, direction), word) in FIELDS.iter().zip(words) {
            let of = service(name, &format!(",direction=\"{direction}\""));
            *counted.entry(format!("cproxy_service_{metric}_total{of}")).or_default() +=
                word.parse::<f64>().expect("a number");
        }
    }
    for (labelled, value) in &values {
        let is_summed =
            FIELDS.iter().any(|(_, metric, _)| labelled.starts_with(&format!("cproxy_service_{metric}_total")))
                || labelled.starts_with("cproxy_service_sessions_ended_total");
        let logged = counted.remove(labelled).unwrap_or_default();
        assert!(!is_summed || *value == logged, "{labelled} is {value}, and {logged} by the access log:\n{lines}");
    }
    assert!(counted.is_empty(), "the metrics have not {counted:?}");
    let of_remote = "{service=\"echo\",remote=\"echo:\",direction=\"downstream\"}";
    let bytes = (1 + 100 + (1 << 20) + 10_000 + "a datagram".len()) as f64;
    assert_eq!(values[&format!("cproxy_remote_transferred_bytes_total{of_remote}")], bytes);
    for (metric, count) in [("connect_seconds", 5.0), ("session_seconds", 5.0), ("session_bytes", 5.0)] {
        assert_eq!(values[&format!("cproxy_service_{metric}_count{}", service("echo", ""))], count, "{metric}");
    }
    assert_eq!(values[&format!("cproxy_service_session_bytes_sum{}", service("echo", ""))], 2.0 * bytes);
}
