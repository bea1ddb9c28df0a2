//! What happens in a second, from two looks at what has happened in all; and the last minutes of it.

use std::collections::{HashMap, VecDeque};

use super::report::Report;

/// How many looks a service's graph goes back: five minutes.
const MOST: usize = 300;

/// How much happens each second; `None` where that takes another look.
pub type Rate = Option<f64>;

/// The last look, and what those before it have left.
#[derive(Debug, Default)]
pub struct History {
    /// The last look.
    pub report: Report,
    /// Rates of the services, in the order of the report.
    pub services: Vec<ServiceRates>,
    /// Bytes each second of the remotes, in the order of the report, up and down.
    pub remotes: Vec<[Rate; 2]>,
    /// The same of the sessions.
    pub sessions: Vec<[Rate; 2]>,
    /// How much of the time the I/O threads have run, of 1.
    pub busy: Rate,
    graphs: HashMap<String, VecDeque<f64>>,
}

/// What happens in a service each second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServiceRates {
    /// Sessions that begin.
    pub begun: Rate,
    /// Bytes, up and down.
    pub bytes: [Rate; 2],
}

impl History {
    /// Takes another look. If it is at a process that has been started since, the looks before it are forgotten.
    pub fn add(&mut self, report: Report) {
        if report.pid != self.report.pid || report.uptime < self.report.uptime {
            *self = History::default();
        }
        let before = std::mem::take(&mut self.report);
        let elapsed = report.uptime - before.uptime;
        // The first look has none before it, and a copy of the last one says nothing new.
        let seconds = (before.pid != 0 && elapsed > 0).then_some(elapsed as f64 / 1000.0);
        let rate = |before: u64, now: u64| seconds.map(|seconds| now.saturating_sub(before) as f64 / seconds);
        let rates = |before: [u64; 2], now: [u64; 2]| [rate(before[0], now[0]), rate(before[1], now[1])];

        let known: HashMap<_, _> = before.services.iter().map(|service| (&service.name, service)).collect();
        let of_service = |service: &super::report::Service| {
            // One that a reload has brought was not there before, and had counted nothing.
            let (begun, bytes) = known.get(&service.name).map_or((0, [0; 2]), |known| (known.begun, known.bytes));
            ServiceRates { begun: rate(begun, service.begun), bytes: rates(bytes, service.bytes) }
        };
        self.services = report.services.iter().map(of_service).collect();

        let known: HashMap<_, _> =
            before.remotes.iter().map(|remote| ((&remote.service, &remote.name), remote.bytes)).collect();
        let of_remote = |remote: &super::report::Remote| {
            rates(known.get(&(&remote.service, &remote.name)).copied().unwrap_or_default(), remote.bytes)
        };
        self.remotes = report.remotes.iter().map(of_remote).collect();

        let known: HashMap<_, _> = before.sessions.iter().map(|session| (&session.id, session.bytes)).collect();
        let of_session = |session: &super::report::Session| match known.get(&session.id) {
            Some(&bytes) => rates(bytes, session.bytes),
            None if session.age <= elapsed => rates([0; 2], session.bytes),
            // It was among those that were left out.
            None => [None; 2],
        };
        self.sessions = report.sessions.iter().map(of_session).collect();

        self.busy = rate(before.busy, report.busy).map(|busy| busy / 1e6 / report.threads.max(1) as f64);
        self.note(&report);
        self.report = report;
    }

    /// The bytes of each look, in both directions, from the oldest to the last.
    pub fn graph(&self, service: &str) -> impl DoubleEndedIterator<Item = f64> + '_ {
        self.graphs.get(service).into_iter().flatten().copied()
    }

    /// Adds the last look to the graphs of the services that are still there.
    fn note(&mut self, report: &Report) {
        let mut graphs = std::mem::take(&mut self.graphs);
        for (service, rates) in report.services.iter().zip(&self.services) {
            let mut graph = graphs.remove(&service.name).unwrap_or_default();
            if let [Some(up), Some(down)] = rates.bytes {
                if graph.len() == MOST {
                    graph.pop_front();
                }
                graph.push_back(up + down);
            }
            self.graphs.insert(service.name.clone(), graph);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::report::{Remote, Service, Session};

    fn report(uptime: u64, begun: u64, bytes: [u64; 2]) -> Report {
        let name = || "web".to_string();
        Report {
            pid: 7,
            uptime,
            busy: uptime * 500,
            threads: 2,
            services: vec![Service { name: name(), begun, bytes, ..Service::default() }],
            remotes: vec![Remote { service: name(), bytes, ..Remote::default() }],
            sessions: vec![Session { id: "0-1".to_string(), age: uptime, bytes, ..Session::default() }],
            ..Report::default()
        }
    }

    #[test]
    fn two_looks_make_a_rate() {
        let mut history = History::default();
        history.add(report(1000, 10, [100, 200]));
        assert_eq!(history.services, [ServiceRates::default()]);
        assert_eq!((history.busy, history.graph("web").count()), (None, 0));
        history.add(report(3000, 14, [300, 1200]));
        let bytes = [Some(100.0), Some(500.0)];
        assert_eq!(history.services, [ServiceRates { begun: Some(2.0), bytes }]);
        assert_eq!((&history.remotes[..], &history.sessions[..]), (&[bytes][..], &[bytes][..]));
        assert_eq!(history.busy, Some(0.25));
        assert_eq!(history.graph("web").collect::<Vec<_>>(), [600.0]);
    }

    #[test]
    fn a_session_that_is_new_has_a_rate_and_one_that_was_left_out_has_none() {
        let mut history = History::default();
        history.add(Report { sessions: Vec::new(), ..report(10_000, 0, [0, 0]) });
        let mut next = report(11_000, 0, [1000, 0]);
        next.sessions.push(Session { age: 500, ..next.sessions[0].clone() });
        history.add(next);
        assert_eq!(history.sessions, [[None, None], [Some(1000.0), Some(0.0)]]);
    }

    #[test]
    fn a_process_that_was_started_again_begins_anew() {
        for again in [report(10, 1, [1, 1]), Report { pid: 8, ..report(5000, 1, [1, 1]) }] {
            let mut history = History::default();
            history.add(report(1000, 10, [100, 200]));
            history.add(report(2000, 10, [100, 200]));
            assert_eq!(history.graph("web").count(), 1);
            history.add(again);
            assert_eq!((history.services[0].begun, history.graph("web").count()), (None, 0));
        }
    }

    #[test]
    fn a_graph_has_an_end_and_one_of_a_service_that_is_gone_is_not_kept() {
        let mut history = History::default();
        for second in 1..=MOST as u64 + 10 {
            history.add(report(second * 1000, 0, [second, 0]));
        }
        assert_eq!(history.graph("web").count(), MOST);
        history.add(Report { services: Vec::new(), ..report(1_000_000, 0, [0, 0]) });
        assert!(history.graphs.is_empty());
    }
}
