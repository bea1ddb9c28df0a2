//! The log: lines on standard output, written by a thread of their own.
//!
//! A thread's lines collect in a buffer of its own until it calls [`flush`], once a loop turn, which moves them to the
//! thread's outbox without a system call. The writer empties all outboxes every few milliseconds, in the order of the
//! lines' times, with one write. A standard output that nobody reads therefore stops the writer alone: outboxes fill
//! up to [`MOST_PENDING`] bytes, further lines are counted and dropped, and the count is logged when reading resumes.

mod stamp;
mod writer;

use log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use stamp::{Stamp, microseconds_now};

/// What is logged: the command line wins over `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSettings {
    /// `--log-level`, `-q` or `-v` was given.
    Level(LevelFilter),
    /// None was given: `RUST_LOG`, and `info` where that is unset or empty.
    Environment,
}

/// Bytes of lines that wait for the writer, a thread; lines beyond that are dropped and counted.
pub const MOST_PENDING: usize = 1 << 20;

/// Bytes that a thread keeps for the lines of its next turn, when it had more in one.
const MOST_KEPT: usize = 16 << 10;

/// Room for lines that a thread begins with when the writer took what it had.
const FIRST_TEXT: usize = 4 << 10;

/// How long the program waits at its end for a standard output that is not read.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Finished lines of one thread: their text, and for each its time and where it ends.
#[derive(Debug, Default)]
struct Batch {
    text: String,
    lines: Vec<LineMark>,
    dropped: u64,
}

#[derive(Debug, Clone, Copy)]
struct LineMark {
    /// Microseconds since 1970.
    time: u64,
    end: usize,
}

impl Batch {
    fn end_line(&mut self, time: u64) {
        self.lines.push(LineMark { time, end: self.text.len() });
    }

    fn append(&mut self, other: &mut Batch) {
        let shift = self.text.len();
        self.text.push_str(&other.text);
        other.text.clear();
        self.lines.extend(other.lines.drain(..).map(|mark| LineMark { end: mark.end + shift, ..mark }));
    }
}

type Outbox = Arc<Mutex<Batch>>;

/// What a thread has logged in this turn.
struct ThreadLog {
    name: String,
    batch: Batch,
    /// The time of this turn, in microseconds since 1970, read when its first line is logged.
    turn: Option<u64>,
    /// What all lines of the turn begin with.
    prefix: String,
    stamp: Stamp,
    outbox: Outbox,
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
    });
    let writer = thread::Builder::new().name("log".into()).spawn(move || writer::run_writer(logger))?;
    if logger.writer.set(writer.thread().clone()).is_ok() && log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
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
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
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

    fn collect(&self) -> Vec<Batch> {
        let outboxes = lock(&self.outboxes);
        outboxes.iter().map(|outbox| std::mem::take(&mut *lock(outbox))).filter(|batch| !batch.is_empty()).collect()
    }

    fn collect_is_due(&self) -> bool {
        self.finish.load(Ordering::SeqCst) || lock(&self.outboxes).iter().any(|outbox| !lock(outbox).is_empty())
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

impl ThreadLog {
    fn new() -> ThreadLog {
        let outbox = Outbox::default();
        if let Some(logger) = LOGGER.get() {
            lock(&logger.outboxes).push(outbox.clone());
        }
        let name = thread::current().name().unwrap_or("unknown").to_owned();
        ThreadLog { name, batch: Batch::default(), turn: None, prefix: String::new(), stamp: Stamp::default(), outbox }
    }

    fn add(&mut self, record: &Record<'_>) {
        let time = match self.turn {
            Some(time) => time,
            None => self.begin_turn(),
        };
        let text = &mut self.batch.text;
        text.push_str(&self.prefix);
        // Writing to a String cannot fail; a Display that fails costs its own line only.
        let _ = text.write_fmt(*record.args());
        text.push('\n');
        self.batch.end_line(time);
    }

    fn begin_turn(&mut self) -> u64 {
        let time = microseconds_now();
        if self.batch.text.capacity() == 0 {
            self.batch.text.reserve(FIRST_TEXT);
            self.batch.lines.reserve(FIRST_TEXT / 128);
        }
        self.prefix.clear();
        self.stamp.write(time, &mut self.prefix);
        self.prefix.extend([" [", &self.name, "] "]);
        self.turn = Some(time);
        time
    }

    fn flush(&mut self) {
        self.turn = None;
        if self.batch.lines.is_empty() {
            return;
        }
        {
            let mut pending = lock(&self.outbox);
            if pending.is_empty() {
                // The writer frees it.
                *pending = std::mem::take(&mut self.batch);
            } else if pending.text.len() + self.batch.text.len() <= MOST_PENDING {
                pending.append(&mut self.batch);
                if self.batch.text.capacity() > MOST_KEPT {
                    self.batch = Batch::default();
                }
            } else {
                pending.dropped += self.batch.lines.len() as u64;
                self.batch = Batch::default();
            }
        }
        if let Some(logger) = LOGGER.get() {
            logger.wake_writer();
        }
    }
}

impl Drop for ThreadLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A poisoned log would help nobody: the data under it is whole at every point.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
