//! Where lines go that are not the log's: a file, or standard output beside the log.
//!
//! As the log's, they collect in a buffer of the thread until it flushes, and are written by the log's thread. All who
//! write to the same file share one sink.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::file::Output;
use super::lines::{Lines, Outbox, collect, lock};
use super::{THREAD_LOG, wake_writer};
use crate::base::error::error_text;

/// Who may read a file of lines that is made: its owner, and its group.
const MODE: u32 = 0o640;

/// Where lines go. The clones of one are the same.
#[derive(Debug, Clone)]
pub struct Sink(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Standard output, among the lines of the log.
    Standard,
    File(Arc<FileSink>),
}

/// A file of lines.
#[derive(Debug)]
pub(super) struct FileSink {
    path: PathBuf,
    /// Those of the threads that have written something.
    outboxes: Mutex<Vec<Outbox>>,
    /// What the writer knows of it, and nobody else.
    output: Mutex<Output>,
    /// The same file, opened again, until the writer takes it.
    next: Mutex<Option<File>>,
    /// Lines that were lost.
    lost: AtomicU64,
}

/// What a thread has for a sink.
#[derive(Debug)]
pub(super) struct ThreadSink {
    lines: Lines,
    /// The sink, as long as there are lines for it here.
    sink: Option<Arc<FileSink>>,
    /// The address of the sink, by which it is known. The outbox, which the sink has as well, shows that it is there.
    place: usize,
}

/// All files that lines are written to.
static FILES: Mutex<Vec<Arc<FileSink>>> = Mutex::new(Vec::new());

/// Lines of files that are closed by now and were lost.
static LOST_BEFORE: AtomicU64 = AtomicU64::new(0);

impl Sink {
    /// Standard output: lines stand among those of the log, in the order of their times.
    pub fn standard_output() -> Sink {
        Sink(Kind::Standard)
    }

    /// The file at this path, which is made if there is none; lines are added at its end.
    ///
    /// # Errors
    ///
    /// The system's, where it cannot be opened for that.
    pub fn file(path: &Path) -> io::Result<Sink> {
        let mut files = lock(&FILES);
        if let Some(same) = files.iter().find(|file| file.path == path) {
            return Ok(Sink(Kind::File(same.clone())));
        }
        let file = Arc::new(FileSink {
            path: path.to_path_buf(),
            outboxes: Mutex::default(),
            output: Mutex::new(Output::new(open(path)?)),
            next: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        files.push(file.clone());
        Ok(Sink(Kind::File(file)))
    }

    /// Adds a line, which `write` appends with its end to a text, at this turn's time in microseconds since 1970.
    pub fn add(&self, write: impl FnOnce(u64, &mut String)) {
        // A thread that is ending has no buffer any more; its last lines are lost.
        let _ = THREAD_LOG.try_with(|log| {
            let log = &mut *log.borrow_mut();
            let time = log.time();
            let batch = match &self.0 {
                Kind::Standard => &mut log.lines.batch,
                Kind::File(file) => &mut log.sink(file).lines.batch,
            };
            write(time, batch.begin_line());
            batch.end_line(time);
        });
    }
}

impl super::ThreadLog {
    /// What this thread has for a file.
    fn sink(&mut self, file: &Arc<FileSink>) -> &mut ThreadSink {
        let place = Arc::as_ptr(file) as usize;
        let known = self.sinks.iter().position(|sink| sink.place == place && sink.is_there());
        let number = known.unwrap_or_else(|| {
            self.sinks.retain(ThreadSink::is_there);
            let lines = Lines::default();
            lock(&file.outboxes).push(lines.outbox.clone());
            self.sinks.push(ThreadSink { lines, sink: None, place });
            self.sinks.len() - 1
        });
        let sink = &mut self.sinks[number];
        sink.sink.get_or_insert_with(|| file.clone());
        sink
    }
}

impl ThreadSink {
    /// Whether its sink still is.
    fn is_there(&self) -> bool {
        Arc::strong_count(&self.lines.outbox) > 1
    }

    /// Hands the lines to the writer, if there are any. Returns whether there were.
    pub(super) fn flush(&mut self) -> bool {
        self.lines.flush() | self.sink.take().is_some()
    }
}

impl FileSink {
    /// Writes what has come, if the file takes it. Returns whether there was something, or still is.
    fn write(&self) -> bool {
        let mut output = lock(&self.output);
        if let Some(file) = lock(&self.next).take() {
            output.replace(file);
        }
        // Where the file takes nothing now, lines wait where they are, which has a bound.
        let had = output.is_behind();
        let batches = if output.write_rest(&self.path) { collect(&lock(&self.outboxes)) } else { Vec::new() };
        let wrote = !batches.is_empty();
        if wrote {
            output.write(&batches, &self.path);
        }
        self.lost.store(output.lost(), Relaxed);
        had || wrote
    }

    fn is_due(&self) -> bool {
        lock(&self.next).is_some() || lock(&self.outboxes).iter().any(|outbox| !lock(outbox).is_empty())
    }
}

/// Writes what has come for all files, and closes those that nobody writes to any more. Returns whether there was
/// something, or still is.
pub(super) fn write() -> bool {
    let mut files = lock(&FILES);
    // Nobody but this list can make another holder, and only while it is locked.
    let unused: Vec<usize> =
        files.iter().enumerate().filter(|(_, file)| Arc::strong_count(file) == 1).map(|(number, _)| number).collect();
    let all: Vec<Arc<FileSink>> = files.clone();
    for number in unused.into_iter().rev() {
        files.remove(number);
    }
    drop(files);
    let mut any = false;
    for file in all {
        any |= file.write();
        let is_closed = Arc::strong_count(&file) == 1;
        if is_closed {
            // There will be no other time for what has not been told.
            lock(&file.output).tell_now(&file.path);
            LOST_BEFORE.fetch_add(file.lost.load(Relaxed), Relaxed);
        }
    }
    any
}

/// Has the log say how many lines were lost, where that is due. Returns when it is due again.
pub(super) fn tell() -> Option<Duration> {
    let files = lock(&FILES);
    let wait = |file: &Arc<FileSink>| {
        let mut output = lock(&file.output);
        output.tell(&file.path);
        output.may_be_told_in()
    };
    files.iter().filter_map(wait).min()
}

/// Has the log say how many lines were lost and have not been told, as there will be no other time for that.
pub(super) fn tell_now() {
    for file in lock(&FILES).iter() {
        lock(&file.output).tell_now(&file.path);
    }
}

/// Whether there is something to write.
pub(super) fn is_due() -> bool {
    lock(&FILES).iter().any(|file| file.is_due())
}

/// How many lines were lost.
pub(super) fn lost() -> u64 {
    LOST_BEFORE.load(Relaxed) + lock(&FILES).iter().map(|file| file.lost.load(Relaxed)).sum::<u64>()
}

/// Opens all files again, as they may have been moved away; what comes from now on goes there. Returns how many there
/// are, or what could not be opened, one line for each; such a file stays as it is.
///
/// # Errors
///
/// The files that cannot be opened, each with the system's reason.
pub fn reopen() -> Result<usize, Vec<String>> {
    let files = lock(&FILES).clone();
    let mut errors = Vec::new();
    for file in &files {
        match open(&file.path) {
            Ok(next) => *lock(&file.next) = Some(next),
            Err(error) => errors.push(format!("{}: {}", file.path.display(), error_text(&error))),
        }
    }
    wake_writer();
    if errors.is_empty() { Ok(files.len()) } else { Err(errors) }
}

fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads must not hold the writer up, which has other lines to write.
    OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(libc::O_NONBLOCK).open(path)
}
