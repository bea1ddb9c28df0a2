//! The proxy's log, read as it is written. Every line of every test must have the log's form.

use chrono::NaiveDateTime;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::{Address, DEADLINE};

/// One line of the log, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The local time it was logged at.
    pub time: NaiveDateTime,
    pub thread: String,
    pub message: String,
}

impl Line {
    /// Takes `YYYY-Mon-DD HH:MM:SS.uuuuuu [thread] message` apart, and nothing else.
    pub fn parse(text: &str) -> Result<Line, String> {
        const FORM: &str = "%Y-%b-%d %H:%M:%S%.6f";
        let wrong = |what: &str| Err(format!("log line with a bad {what}: {text:?}"));
        let Some((stamp, rest)) = text.split_at_checked("2026-Nov-20 20:47:01.123456".len()) else {
            return wrong("length");
        };
        let Ok(time) = NaiveDateTime::parse_from_str(stamp, FORM) else { return wrong("time") };
        if time.format(FORM).to_string() != stamp {
            return wrong("form of time");
        }
        let Some((thread, message)) = rest.strip_prefix(" [").and_then(|rest| rest.split_once("] ")) else {
            return wrong("thread");
        };
        let io_thread = thread.strip_prefix("io-").is_some_and(|number| number.parse::<u32>().is_ok());
        if !io_thread && !["main", "acceptor", "log", "health"].contains(&thread) {
            return wrong("thread name");
        }
        // One that is torn has another in it.
        let torn = [" [main] ", " [acceptor] ", " [log] ", " [health] ", " [io-"]
            .iter()
            .any(|thread| message.contains(thread));
        if message.is_empty() || torn || message.contains("(os error") {
            return wrong("message");
        }
        Ok(Line { time, thread: thread.into(), message: message.into() })
    }

    /// What follows `prefix` in the message.
    pub fn after(&self, prefix: &str) -> &str {
        self.message.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix:?} does not start {self:?}"))
    }

    /// The address of a listener, of which the line says that it listens.
    pub fn listener(&self) -> Address {
        Address::parse(self.after("listening on ").split(" (fd=").next().expect("an address"))
    }

    /// The number in `(fd=N)`.
    pub fn descriptor(&self) -> i32 {
        let number = self.message.split("(fd=").nth(1).and_then(|rest| rest.split(')').next());
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no descriptor in {self:?}"))
    }
}

/// How a session ended, as its disconnect lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub how: String,
    pub upstream: u64,
    pub downstream: u64,
    /// Datagrams that were not delivered.
    pub dropped: u64,
}

/// An expected [`Ended`], with nothing dropped.
pub fn ended(how: &str, upstream: u64, downstream: u64) -> Ended {
    Ended { how: how.into(), upstream, downstream, dropped: 0 }
}

impl Ended {
    /// Reads `... (fd=14): end of stream, upstream 5 bytes, downstream 7 bytes`, and `, 3 datagrams dropped` if any.
    pub fn parse(line: &Line) -> Ended {
        let parse = || {
            let (_, rest) = line.message.split_once("): ")?;
            let (how, rest) = rest.split_once(", upstream ")?;
            let (upstream, rest) = rest.split_once(" bytes, downstream ")?;
            let (downstream, dropped) = match rest.split_once(", ") {
                // A stripe says what its lanes did.
                Some((rest, account)) if account.ends_with(" bytes sent again") => (rest, 0),
                Some((rest, dropped)) => (rest, dropped_of(dropped)?),
                None => (rest, 0),
            };
            let downstream = downstream.strip_suffix(" bytes")?.parse().ok()?;
            Some(Ended { how: how.into(), upstream: upstream.parse().ok()?, downstream, dropped })
        };
        parse().unwrap_or_else(|| panic!("not the end of a session: {line:?}"))
    }
}

/// The number in `1 datagram dropped` or `2 datagrams dropped`.
fn dropped_of(text: &str) -> Option<u64> {
    text.strip_suffix(" dropped")?.trim_end_matches('s').strip_suffix(" datagram")?.parse().ok()
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    complete: bool,
}

/// What the proxy has logged so far.
#[derive(Debug, Clone, Default)]
pub struct Log {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Log {
    /// Reads everything from `source` in a thread of its own.
    pub fn read(&self, source: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line);
                // A line without an end shows as one of a bad form.
                let text = text.strip_suffix('\n').map_or_else(|| format!("\\ {text}"), str::to_owned);
                log.lock().lines.push(text);
                log.shared.1.notify_all();
                line.clear();
            }
            log.lock().complete = true;
            log.shared.1.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` finds what it looks for in the lines so far.
    pub fn wait<T>(&self, what: &str, mut find: impl FnMut(&[Line]) -> Option<T>) -> T {
        let start = Instant::now();
        let mut lines: Vec<Line> = Vec::new();
        let mut state = self.lock();
        loop {
            for text in &state.lines[lines.len()..] {
                lines.push(Line::parse(text).unwrap_or_else(|error| panic!("{error}")));
            }
            if let Some(found) = find(&lines) {
                return found;
            }
            assert!(!state.complete, "{what}: not in the log, which has ended");
            let left = DEADLINE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| panic!("{what}: not in the log within {DEADLINE:?}"));
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the first line that starts with `prefix`.
    pub fn line(&self, prefix: &str) -> Line {
        self.lines(prefix, 1).remove(0)
    }

    /// Waits for the first `count` lines that start with `prefix`.
    pub fn lines(&self, prefix: &str, count: usize) -> Vec<Line> {
        self.matching(&format!("'{prefix}'..."), count, |line| line.message.starts_with(prefix))
    }

    /// Waits for the first `count` lines that have `part` in them.
    pub fn lines_with(&self, part: &str, count: usize) -> Vec<Line> {
        self.matching(&format!("'...{part}...'"), count, |line| line.message.contains(part))
    }

    fn matching(&self, what: &str, count: usize, matches: impl Fn(&&Line) -> bool) -> Vec<Line> {
        self.wait(&format!("{count} lines {what}"), |lines| {
            let found: Vec<Line> = lines.iter().filter(&matches).cloned().collect();
            (found.len() >= count).then(|| found[..count].to_vec())
        })
    }

    /// All lines so far.
    pub fn so_far(&self) -> Vec<Line> {
        self.wait("", |lines| Some(lines.to_vec()))
    }

    /// Waits until the log has ended and returns all of it.
    pub fn complete(&self) -> Vec<Line> {
        super::until("the end of the log", || self.lock().complete.then_some(()));
        self.so_far()
    }

    /// Its text, for a test that has failed.
    pub fn text(&self) -> String {
        self.lock().lines.iter().map(|line| format!("    {line}\n")).collect()
    }
}
