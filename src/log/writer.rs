//! The thread that writes the lines of all threads: to standard output, and to files.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::lines::{Batch, merge};
use super::stamp::{Stamp, microseconds_now};
use super::{Logger, flush, sink};
use crate::base::memory;

/// How long the writer lets lines collect after it wrote some.
const WRITE_INTERVAL: Duration = Duration::from_millis(10);

/// After so long without a line, memory is given back.
const QUIET: Duration = Duration::from_millis(200);

/// Writes what the threads flush until the logger is told to finish.
pub(super) fn run_writer(logger: &Logger) {
    let mut output = Output::standard();
    // Whether lines were written since memory was given back.
    let mut wrote = false;
    loop {
        // Read before the lines: those that were flushed before it was set are the last.
        let finish = logger.finish.load(Ordering::SeqCst);
        let batches = logger.collect();
        let has_lines = !batches.is_empty();
        if has_lines {
            output.write(batches, &logger.lost);
        }
        let has_files = sink::write();
        // What was lost has been logged.
        flush();
        if has_lines || has_files {
            wrote = true;
            thread::park_timeout(WRITE_INTERVAL);
            continue;
        }
        if finish {
            sink::tell_now();
            flush();
            if logger.has_lines() {
                continue;
            }
            logger.finished.store(true, Ordering::SeqCst);
            return;
        }
        logger.writer_awake.store(false, Ordering::SeqCst);
        // Lines may have come before the writer was seen to sleep.
        if logger.collect_is_due() {
            logger.writer_awake.store(true, Ordering::SeqCst);
        } else {
            if std::mem::take(&mut wrote) {
                thread::park_timeout(QUIET);
                if !logger.writer_awake.load(Ordering::SeqCst) {
                    // What the lines took. For what sessions took, the main thread sees to it.
                    memory::give_back();
                }
            }
            while !logger.writer_awake.load(Ordering::SeqCst) {
                // What is told wakes this thread.
                let next = sink::tell();
                flush();
                match next {
                    _ if logger.writer_awake.load(Ordering::SeqCst) => {}
                    Some(wait) => thread::park_timeout(wait),
                    None => thread::park(),
                }
            }
        }
    }
}

/// Standard output, as the writer sees it.
struct Output {
    /// `None` once nobody can read it any more.
    file: Option<ManuallyDrop<File>>,
    stamp: Stamp,
    dropped: u64,
    /// Whether the last write ended inside a line.
    inside_line: bool,
}

impl Output {
    fn standard() -> Output {
        // Not a copy, as the process may have no descriptor left for one, and this is what says so. Nor std's standard
        // output, which would keep lines back.
        // SAFETY: the descriptor is never closed, as the file is never dropped; where it was closed when the process
        // began, std has opened another in its place.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDOUT_FILENO) });
        Output { file: Some(file), stamp: Stamp::default(), dropped: 0, inside_line: false }
    }

    fn write(&mut self, batches: Vec<Batch>, lost: &AtomicU64) {
        let lines: usize = batches.iter().map(|batch| batch.lines.len()).sum();
        let dropped = batches.iter().map(|batch| batch.dropped).sum::<u64>();
        self.dropped += dropped;
        lost.fetch_add(dropped, Ordering::Relaxed);
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
            Err(_) => {
                self.dropped += lines as u64;
                lost.fetch_add(lines as u64, Ordering::Relaxed);
            }
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
