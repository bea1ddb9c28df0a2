//! The log: lines on standard output, written by a thread of their own.
//!
//! A thread's lines collect in a buffer of its own until it calls [`flush`], once a loop turn, which moves them to the
//! thread's outbox without a system call. The writer empties all outboxes every few milliseconds, in the order of the
//! lines' times, with one write. A standard output that nobody reads therefore stops the writer alone: outboxes fill
//! up to [`MOST_PENDING`] bytes, further lines are counted and dropped, and the count is logged when reading resumes.

mod file;
mod levels;
mod lines;
mod sink;
mod stamp;
mod writer;

use log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use lines::{Lines, Outbox, lock};
use sink::ThreadSink;
use stamp::{Stamp, microseconds_now};

pub use levels::{LevelScope, allow};
pub use lines::MOST_PENDING;
pub use sink::{Sink, reopen};

/// What is logged: the command line wins over `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSettings {
    /// `--log-level`, `-q` or `-v` was given.
    Level(LevelFilter),
    /// None was given: `RUST_LOG`, and `info` where that is unset or empty.
    Environment,
}

/// How long the program waits at its end for a standard output that is not read.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// What a thread has logged in this turn.
struct ThreadLog {
    name: String,
    lines: Lines,
    /// What it has written to files.
    sinks: Vec<ThreadSink>,
    /// The time of this turn, in microseconds since 1970, read when its first line is written.
    turn: Option<u64>,
    /// What all lines of the turn begin with; empty before the first one.
    prefix: String,
    stamp: Stamp,
}

/// Lines that nobody will read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Of the log, which standard output did not take.
    pub log: u64,
    /// Of files.
    pub access_log: u64,
}

thread_local! {
    static THREAD_LOG: RefCell<ThreadLog> = RefCell::new(ThreadLog::new());
}

struct Logger {
    filter: env_logger::Logger,
    outboxes: Mutex<Vec<Outbox>>,
    writer: OnceLock<Thread>,
    /// Whether the writer will look at the outboxes again without being woken.
    writer_awake: AtomicBool,
    finish: AtomicBool,
    finished: AtomicBool,
    /// Lines that standard output did not take.
    lost: AtomicU64,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging. The first call decides; to be called before other threads start.
///
/// # Errors
///
/// The system's, where the writer's thread cannot be started: nothing is logged then.
pub fn start(settings: &LogSettings) -> io::Result<()> {
    let mut builder = env_logger::Builder::new();
    match settings {
        LogSettings::Level(level) => builder.filter_level(*level),
        LogSettings::Environment => builder.filter_level(LevelFilter::Info).parse_env("RUST_LOG"),
    };
    let filter = builder.build();
    let level = filter.filter();
    let logger = LOGGER.get_or_init(|| Logger {
        filter,
        outboxes: Mutex::default(),
        writer: OnceLock::new(),
        writer_awake: AtomicBool::new(true),
        finish: AtomicBool::new(false),
        finished: AtomicBool::new(false),
        lost: AtomicU64::new(0),
    });
    let writer = thread::Builder::new().name("log".into()).spawn(move || writer::run_writer(logger))?;
    if logger.writer.set(writer.thread().clone()).is_ok() && log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// How many lines were lost since the start.
pub fn lost() -> Lost {
    let log = LOGGER.get().map_or(0, |logger| logger.lost.load(Ordering::Relaxed));
    Lost { log, access_log: sink::lost() }
}

/// Ends this thread's turn: hands its lines to the writer. Lines logged after this carry a new time.
pub fn flush() {
    THREAD_LOG.with_borrow_mut(ThreadLog::flush);
}

/// Writes what all threads have flushed, for at most a second, and ends logging.
pub fn finish() {
    flush();
    let Some(logger) = LOGGER.get() else { return };
    logger.finish.store(true, Ordering::SeqCst);
    logger.writer_awake.store(true, Ordering::SeqCst);
    if let Some(writer) = logger.writer.get() {
        writer.unpark();
    }
    let start = std::time::Instant::now();
    while !logger.finished.load(Ordering::SeqCst) && start.elapsed() < FINISH_TIMEOUT {
        thread::park_timeout(Duration::from_millis(1));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match levels::current() {
            Some(level) => metadata.level() <= level,
            None => self.filter.enabled(metadata),
        }
    }

    fn log(&self, record: &Record<'_>) {
        let is_logged = match levels::current() {
            Some(level) => record.level() <= level,
            None => self.filter.matches(record),
        };
        if is_logged {
            // A thread that is ending has no buffer any more; its last words are lost.
            let _ = THREAD_LOG.try_with(|log| log.borrow_mut().add(record));
        }
    }

    fn flush(&self) {
        flush();
    }
}

impl Logger {
    fn wake_writer(&self) {
        // The load keeps the line shared between threads while the writer is awake anyway.
        if !self.writer_awake.load(Ordering::SeqCst) && !self.writer_awake.swap(true, Ordering::SeqCst) {
            if let Some(writer) = self.writer.get() {
                writer.unpark();
            }
        }
    }

    fn collect(&self) -> Vec<lines::Batch> {
        lines::collect(&lock(&self.outboxes))
    }

    fn has_lines(&self) -> bool {
        lock(&self.outboxes).iter().any(|outbox| !lock(outbox).is_empty())
    }

    fn collect_is_due(&self) -> bool {
        self.finish.load(Ordering::SeqCst) || self.has_lines() || sink::is_due()
    }
}

impl ThreadLog {
    fn new() -> ThreadLog {
        let lines = Lines::default();
        if let Some(logger) = LOGGER.get() {
            lock(&logger.outboxes).push(lines.outbox.clone());
        }
        let name = thread::current().name().unwrap_or("unknown").to_owned();
        ThreadLog { name, lines, sinks: Vec::new(), turn: None, prefix: String::new(), stamp: Stamp::default() }
    }

    fn add(&mut self, record: &Record<'_>) {
        let time = self.time();
        if self.prefix.is_empty() {
            self.stamp.write(time, &mut self.prefix);
            self.prefix.extend([" [", &self.name, "] "]);
        }
        let text = self.lines.batch.begin_line();
        text.push_str(&self.prefix);
        // Writing to a String cannot fail; a Display that fails costs its own line only.
        let _ = text.write_fmt(*record.args());
        text.push('\n');
        self.lines.batch.end_line(time);
        if self.lines.is_full() && self.lines.flush() {
            wake_writer();
        }
    }

    /// The time of this turn.
    fn time(&mut self) -> u64 {
        *self.turn.get_or_insert_with(microseconds_now)
    }

    fn flush(&mut self) {
        if self.turn.take().is_none() {
            return;
        }
        self.prefix.clear();
        let mut any = self.lines.flush();
        for sink in &mut self.sinks {
            any |= sink.flush();
        }
        if any {
            wake_writer();
        }
    }
}

fn wake_writer() {
    if let Some(logger) = LOGGER.get() {
        logger.wake_writer();
    }
}

impl Drop for ThreadLog {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn lines_of_one_turn_have_a_bound_as_well() {
        let mut log = ThreadLog::new();
        let line = "x".repeat(10_000);
        let lines = 4 * lines::MOST_PENDING / line.len();
        for _ in 0..lines {
            log.add(&Record::builder().level(Level::Info).args(format_args!("{line}")).build());
            assert!(log.lines.batch.text.len() <= lines::MOST_PENDING);
        }
        log.flush();
        let batches = lines::collect(&[log.lines.outbox.clone()]);
        let told: u64 = batches.iter().map(|batch| batch.lines.len() as u64 + batch.dropped).sum();
        assert_eq!(told, lines as u64);
    }
}
