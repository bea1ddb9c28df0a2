//! The log: lines on standard output, written by a thread of their own.
//!
//! A thread's lines collect in a buffer of its own until it calls [`flush`], once a loop turn, which moves them to the
//! thread's outbox without a system call. The writer empties all outboxes every few milliseconds, in the order of the
//! lines' times, with one write. A standard output that nobody reads therefore stops the writer alone: outboxes fill
//! up to [`MOST_PENDING`] bytes, further lines are counted and dropped, and the count is logged when reading resumes.

use chrono::{Local, TimeZone};
use log::{LevelFilter, Log, Metadata, Record};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::memory;
use crate::settings::LogSettings;
use crate::text::ShortText;

/// Bytes of lines that wait for the writer, a thread; lines beyond that are dropped and counted.
pub const MOST_PENDING: usize = 1 << 20;

/// Bytes that a thread keeps for the lines of its next turn, when it had more in one.
const MOST_KEPT: usize = 16 << 10;

/// Room for lines that a thread begins with when the writer took what it had.
const FIRST_TEXT: usize = 4 << 10;

/// How long the writer lets lines collect after it wrote some.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// After so long without a line, memory is given back.
const QUIET: Duration = Duration::from_millis(200);

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
pub fn start(settings: &LogSettings) {
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
    let spawned = thread::Builder::new().name("log".into()).spawn(move || run_writer(logger));
    let Ok(writer) = spawned else { return };
    if logger.writer.set(writer.thread().clone()).is_ok() && log::set_logger(logger).is_ok() {
        log::set_max_level(level);
    }
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

fn microseconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Writes times in the log's form, remembering the text of the current second.
#[derive(Debug, Default)]
struct Stamp {
    second: Option<u64>,
    text: String,
}

impl Stamp {
    /// Appends `YYYY-Mon-DD HH:MM:SS.uuuuuu`, in local time.
    fn write(&mut self, microseconds: u64, out: &mut String) {
        let second = microseconds / 1_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = match Local.timestamp_opt(second as i64, 0).earliest() {
                Some(time) => time.format("%Y-%b-%d %H:%M:%S").to_string(),
                None => second.to_string(),
            };
        }
        out.push_str(&self.text);
        // With a digit before the others, so that none of their zeros is left out.
        let mut fraction = ShortText::<16>::default();
        fraction.add_number(1_000_000 + microseconds % 1_000_000);
        out.push('.');
        out.push_str(&fraction.as_str()[1..]);
    }
}

fn run_writer(logger: &Logger) {
    let mut output = Output::standard();
    // Whether lines were written since memory was given back.
    let mut wrote = false;
    loop {
        let batches = logger.collect();
        if !batches.is_empty() {
            output.write(batches);
            wrote = true;
            thread::park_timeout(WRITE_INTERVAL);
            continue;
        }
        if logger.finish.load(Ordering::SeqCst) {
            logger.finished.store(true, Ordering::SeqCst);
            return;
        }
        logger.writer_awake.store(false, Ordering::SeqCst);
        // Lines may have come before the writer was seen to sleep.
        if logger.collect_is_due() {
            logger.writer_awake.store(true, Ordering::SeqCst);
        } else {
            if wrote {
                thread::park_timeout(QUIET);
            }
            if std::mem::take(&mut wrote) && !logger.writer_awake.load(Ordering::SeqCst) {
                // A burst of lines took some, and so did the sessions that it told of.
                memory::give_back();
            }
            while !logger.writer_awake.load(Ordering::SeqCst) {
                thread::park();
            }
        }
    }
}

impl Logger {
    fn collect_is_due(&self) -> bool {
        self.finish.load(Ordering::SeqCst) || lock(&self.outboxes).iter().any(|outbox| !lock(outbox).is_empty())
    }
}

/// Standard output, as the writer sees it.
struct Output {
    /// `None` once nobody can read it any more.
    file: Option<File>,
    stamp: Stamp,
    dropped: u64,
    /// Whether the last write ended inside a line.
    inside_line: bool,
}

impl Output {
    fn standard() -> Output {
        let file = io::stdout().as_fd().try_clone_to_owned().ok().map(File::from);
        Output { file, stamp: Stamp::default(), dropped: 0, inside_line: false }
    }

    fn write(&mut self, batches: Vec<Batch>) {
        let lines: usize = batches.iter().map(|batch| batch.lines.len()).sum();
        self.dropped += batches.iter().map(|batch| batch.dropped).sum::<u64>();
        let mut text = String::new();
        if self.inside_line {
            text.push('\n');
        }
        if self.dropped > 0 {
            self.stamp.write(microseconds_now(), &mut text);
            let _ = writeln!(text, " [log] {} lines lost: standard output did not take them", self.dropped);
        }
        merge(&batches, &mut text);
        match self.write_all(text.as_bytes()) {
            Ok(()) => (self.dropped, self.inside_line) = (0, false),
            Err(_) => self.dropped += lines as u64,
        }
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        while !text.is_empty() {
            match file.write(text) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.inside_line = text[n - 1] != b'\n';
                    text = &text[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody made it non-blocking: try again later.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(WRITE_INTERVAL),
                Err(error) => {
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        self.file = None;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Appends the lines of all batches to `text`, in the order of their times.
fn merge(batches: &[Batch], text: &mut String) {
    if let [only] = batches {
        text.push_str(&only.text);
        return;
    }
    let mut lines: Vec<(u64, &str)> = Vec::new();
    for batch in batches {
        let mut start = 0;
        for mark in &batch.lines {
            lines.push((mark.time, &batch.text[start..mark.end]));
            start = mark.end;
        }
    }
    // Stable: lines of one thread keep their order.
    lines.sort_by_key(|&(time, _)| time);
    for (_, line) in lines {
        text.push_str(line);
    }
}

/// What the system calls an error, without Rust's own additions to it.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

/// The number of a system error, 0 where it has none.
pub fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &[(u64, &str)]) -> Batch {
        let mut batch = Batch::default();
        for (time, line) in lines {
            batch.text.push_str(line);
            batch.end_line(*time);
        }
        batch
    }

    #[test]
    fn lines_of_several_threads_are_merged_by_time() {
        let mut first = batch(&[(1, "a\n"), (5, "b\n")]);
        first.append(&mut batch(&[(6, "c\n")]));
        let second = batch(&[(2, "x\n"), (5, "y\n")]);
        let mut text = String::new();
        merge(&[first, second], &mut text);
        assert_eq!(text, "a\nx\nb\ny\nc\n");
    }

    #[test]
    fn a_time_has_the_original_form() {
        let mut text = String::new();
        let mut stamp = Stamp::default();
        stamp.write(1_700_000_000_000_042, &mut text);
        let expected = Local.timestamp_opt(1_700_000_000, 0).unwrap().format("%Y-%b-%d %H:%M:%S").to_string();
        assert_eq!(text, format!("{expected}.000042"));
        assert_eq!(text.len(), "2026-Nov-20 20:47:01.123456".len());
    }

    #[test]
    fn an_error_is_named_as_the_system_names_it() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(error_text(&refused), "Connection refused");
        assert_eq!(error_number(&refused), libc::ECONNREFUSED);
        assert_eq!(error_text(&io::Error::other("short")), "short");
    }
}
