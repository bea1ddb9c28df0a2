//! The page of documentation about metrics.

use std::fmt::Write as _;

use super::{Kind, Metric, Source, all};

/// What stands before the tables.
const BEFORE: &str = "\
# Metrics

With `--status ADDRESS`, `cproxy` tells what it counts at `/metrics` of that address, in the text format of Prometheus, or
in OpenMetrics where that is asked for. [status.md](status.md) says how to reach it. A part of the configuration of
Prometheus that reads it:

```yaml
scrape_configs:
  - job_name: cproxy
    static_configs:
      - targets: ['127.0.0.1:9300']
```

- Counters begin with 0 when the process starts. They go on over a reload. A service or a remote that a reload removes is
  told no longer; one that comes back begins with 0.
- What sessions move is in the numbers at once, also while they last. Each session is counted once, in its service and in
  the remote that it was connected to last.
- The label `service` has the name of the service; it is empty for the service of the command line. The label `remote`
  has the remote's address, or what was written where it stands for several addresses.
- A client whose PROXY header is bad, or names somebody who is not let in, has a session until then: it is counted with
  the ending `bad_proxy_header` or `not_let_in`, and has no line in the access log.
- No label has the address of a client: there are no more values than there are services and remotes.
- The buckets of histograms end at powers of four: 16 us, 64 us, 256 us, and so on for times, up to 19 hours, and 16
  bytes, 64 bytes, 256 bytes, and so on for sizes, up to 64 GiB.
- Each I/O thread counts for itself, in memory that no other thread writes, when sessions end. What sessions that last
  have moved is added when somebody looks. So nothing is counted while bytes move.

`docs/metrics.md` is made from the same table as the answer, so it names all metrics.
";

/// What the values of labels are.
const AFTER: &str = "
The label `direction` is `upstream` (from client to remote) or `downstream`. The label `ending` has the words that the
access log has for the ends of sessions, too. The label `reason` says what refused a client: the rules of access
(`rules`), the time (`hours`), a limit (`max_sessions`, `max_sessions_per_source`, `session_rate`,
`session_rate_per_source`), or its header (`bad_proxy_header`). The label `state` is `up`, `out` (sessions could not connect to it),
`trying` (the same, and a session tries it now), or `down` (checks have found it so).
";

/// What a metric is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Process,
    Thread,
    Service,
    Remote,
}

impl Group {
    const ALL: [Group; 4] = [Group::Process, Group::Thread, Group::Service, Group::Remote];

    fn of(metric: &Metric) -> Group {
        match metric.source {
            Source::Version | Source::Process(_) => Group::Process,
            Source::Thread(_) => Group::Thread,
            Source::Service(_) | Source::ServiceFlow(_) | Source::ServiceWord(..) | Source::ServiceHistogram(_) => {
                Group::Service
            }
            Source::Remote(_) | Source::RemoteFlow(_) | Source::RemoteWord(..) | Source::RemoteHistogram(_) => {
                Group::Remote
            }
        }
    }

    fn title(self) -> &'static str {
        match self {
            Group::Process => "The process",
            Group::Thread => "I/O threads",
            Group::Service => "Services",
            Group::Remote => "Remotes",
        }
    }
}

/// The page `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = BEFORE.to_string();
    for group in Group::ALL {
        // Writing to a String cannot fail.
        let _ =
            write!(page, "\n## {}\n\n| name | kind | labels | meaning |\n| --- | --- | --- | --- |\n", group.title());
        for metric in all().iter().filter(|metric| Group::of(metric) == group) {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
                Kind::Info => "information",
            };
            let labels: Vec<String> = metric.labels().iter().map(|label| format!("`{label}`")).collect();
            let labels = labels.join(", ");
            let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.full_name(), metric.help);
        }
    }
    page.push_str(AFTER);
    page
}
