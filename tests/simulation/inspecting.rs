//! Flows with rules, between a source whose bytes come in any pieces and a sink that takes as much as it likes: what goes on is
//! what one replacement of the whole stream would make, and nothing of what is rejected goes on whole.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use cproxy::buffers::pipe_pool::PipeBudget;
use cproxy::buffers::pools::Pools;
use cproxy::config::inspection::{Rule, RuleSettings};
use cproxy::config::settings::BufferSize;
use cproxy::endpoint::{Endpoint, SideName};
use cproxy::flow::{Broken, Flow, Pace, Readiness, Side, Stopped};
use cproxy::inspect::Inspection;
use cproxy::inspect::rules::rule_filter;
use regex::bytes::{Regex, RegexBuilder};

use super::Tally;
use super::pipe::{self, PipePlan, SimPipe};
use super::random::Random;

/// Expressions whose matches overlap, grow, straddle and depend on what is beside them, and what replaces them.
const RULES: [&str; 16] = [
    "ab+c=<$0>",
    "abc|ab=x",
    "ab|abc=[]",
    "(a|b)+c=$1",
    r"\bab?\b=w",
    "(?m)^a+=A",
    "(?m)b+$=B",
    "^a=first",
    "c$=last",
    "a.*?c=short",
    "a.*b=long",
    "[ab]{2,5}c=n",
    "c=abc",
    "aaab|ab=",
    "b+|ab+c=-",
    r"(?m)a$\nb=line",
];

/// One end of a flow.
#[derive(Debug, Default)]
struct End {
    /// What is still to come, and how much of it has; or what was sent.
    bytes: Vec<u8>,
    at: usize,
    come: usize,
    /// How many bytes it takes before it blocks.
    room: usize,
    breaks: bool,
    finished: bool,
}

impl Endpoint for End {
    const SHORT_MEANS_BLOCKED: bool = true;

    type Pipe = SimPipe;

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!self.finished, "it is read behind its end");
        let count = buffer.len().min(self.come - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        match count {
            0 if self.at < self.bytes.len() => Err(io::ErrorKind::WouldBlock.into()),
            0 if self.breaks => Err(io::ErrorKind::ConnectionReset.into()),
            0 => {
                self.finished = true;
                Ok(0)
            }
            count => Ok(count),
        }
    }

    fn short_read_means_empty(&self) -> bool {
        self.at < self.bytes.len()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        self.room -= count;
        self.bytes.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.finished = true;
        Ok(())
    }

    fn descriptor(&self) -> RawFd {
        0
    }

    fn write_route(&self, _side: SideName, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// What happened in one schedule.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    replaced: bool,
    rejected: bool,
    broke: bool,
    held: bool,
    waited: bool,
}

/// In how many schedules each of it has.
#[derive(Debug, Default)]
struct Totals([u64; 5]);

impl Tally for Totals {
    type Report = Report;

    fn note(&mut self, report: &Report) {
        let Report { replaced, rejected, broke, held, waited } = *report;
        let seen = [replaced, rejected, broke, held, waited];
        self.0.iter_mut().zip(seen).for_each(|(count, seen)| *count += u64::from(seen));
    }

    fn add(&mut self, other: &Totals) {
        self.0.iter_mut().zip(other.0).for_each(|(count, other)| *count += other);
    }
}

#[test]
fn all_schedules_of_looked_at_flows_make_what_one_replacement_would() {
    let Some((schedules, totals)) = super::explore::<Totals>(10_000, simulate) else { return };
    if schedules >= 5_000 {
        assert!(totals.0.iter().all(|&count| count > 0), "something was never seen: {totals:?}");
    }
}

/// A rule as it is written, and what it is for the program and for those who check it.
#[derive(Debug)]
struct Known {
    expression: Regex,
    text: &'static str,
    reject: Rule,
    replace: Rule,
}

/// Making them takes longer than a schedule.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| RULES.iter().map(|rule| Known::new(rule)).collect());

impl Known {
    fn new(rule: &'static str) -> Known {
        let (regex, text) = rule.split_once('=').expect("a text");
        let expression = RegexBuilder::new(regex).unicode(false).build().expect("an expression");
        let parse = |rule: String| Rule::parse(&rule).expect("a rule");
        Known { expression, text, reject: parse(format!("reject {regex}")), replace: parse(format!("replace {rule}")) }
    }

    fn replaced(&self, bytes: &[u8]) -> Vec<u8> {
        self.expression.replace_all(bytes, self.text.as_bytes()).into_owned()
    }
}

fn simulate(seed: u64, tracing: bool) -> Report {
    let mut random = Random::new(seed);
    pipe::begin(PipePlan::default(), random.split());
    let mut report = Report::default();
    let hurries = random.once_in(4);
    let rules: Vec<&Known> = (0..random.within(1..=3)).map(|_| &KNOWN[random.below(16) as usize]).collect();
    let rejects = !hurries && random.once_in(3);
    let wait = if hurries { Duration::from_millis(10) } else { Duration::from_secs(3600) };
    let settings = RuleSettings { wait, ..RuleSettings::default() };
    let filter = |(number, known): (usize, &&Known)| {
        let rule = if rejects && number + 1 == rules.len() { &known.reject } else { &known.replace };
        rule_filter(rule, "rule".into(), &settings)
    };
    let filters = rules.iter().enumerate().map(filter).collect();
    let text: Vec<u8> = (0..random.size(300)).map(|_| random.pick(b"aaaabbbbcc \n")).collect();
    if tracing {
        println!("{rules:?}, the last one rejects: {rejects}, in {}", text.escape_ascii());
    }

    let pace = random.pick(&[Pace::START, Pace::AlwaysBulk]);
    let mut pools = Pools::new(BufferSize::Fixed(random.size(64) as usize), Arc::new(PipeBudget::new(0, 1)));
    let mut flow = Flow::<SimPipe>::bytes(pace);
    flow.inspect(Inspection { taps: Vec::new(), filters }, 0);
    let breaks = random.once_in(6);
    let mut source = Side { endpoint: End { bytes: text, breaks, ..End::default() }, ready: Readiness::default() };
    let mut sink = Side { endpoint: End::default(), ready: Readiness::default() };
    let mut now = 0;
    let broken = loop {
        if random.once_in(2) {
            let End { bytes, come, .. } = &mut source.endpoint;
            *come = bytes.len().min(*come + random.size(20) as usize);
            source.ready.readable = true;
        }
        if random.once_in(2) {
            sink.endpoint.room = random.size(40) as usize;
            sink.ready.writable = true;
        }
        if random.once_in(2) {
            now += random.size(8_000);
        }
        flow.note_time(now);
        let due = flow.deadline().is_some_and(|at| at <= now / 1000);
        let stopped = flow.pump(&mut source, &mut sink, &mut pools, random.size(100) as usize);
        report.held |= flow.keeps() && !flow.waits_for_sink();
        match stopped {
            Ok(Stopped::Drained) => break None,
            Ok(Stopped::Blocked) => {
                assert!(!sink.ready.writable || !flow.waits_for_sink(), "it does not send what the sink would take");
                assert!(!sink.ready.writable || !source.ready.readable, "it does not read what it could");
                assert!(flow.deadline().is_none_or(|at| at > now / 1000), "it overlooks that it is to decide");
                report.waited |= due;
            }
            Ok(Stopped::Spent) => assert!(source.ready.readable),
            Err(broken) => break Some(broken),
        }
    };
    flow.finish(&mut sink).expect("a sink");
    flow.release(&mut pools);
    assert_eq!(pools.in_use(), 0, "a buffer is kept");
    let sent = std::mem::take(&mut sink.endpoint.bytes);
    assert_eq!(flow.moved(), sent.len() as u64);
    let (last, others) = rules.split_last().expect("a rule");
    let before_last = others.iter().fold(source.endpoint.bytes.clone(), |bytes, rule| rule.replaced(&bytes));
    match broken {
        Some(Broken::Rejected(_)) => {
            let end = last.expression.shortest_match(&before_last);
            assert!(end.is_none_or(|end| sent.len() < end) && !sink.endpoint.finished, "a match has gone on");
            // What comes behind a break may have looked like an end.
            assert!(end.is_some() || breaks, "nothing matches");
            report.rejected = true;
        }
        Some(Broken::Source(_)) => {
            assert!(breaks && !sink.endpoint.finished, "the source has not broken");
            report.broke = true;
        }
        Some(Broken::Sink(error)) => panic!("{error}"),
        None => {
            assert!(!breaks && sink.endpoint.finished, "a break looks like an end");
            assert!(!rejects || !last.expression.is_match(&before_last), "a match is not rejected");
            let expected = if rejects { before_last } else { last.replaced(&before_last) };
            report.replaced = expected != source.endpoint.bytes;
            // Who hurries decides with what is there, which may come to another decision.
            assert!(hurries || sent == expected, "{} is not {}", sent.escape_ascii(), expected.escape_ascii());
        }
    }
    report
}
