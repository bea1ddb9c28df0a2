//! A file of lines, as the writer sees it.

use log::warn;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::lines::{Batch, merge};
use crate::base::error::error_text;

/// How often a loss is told, at most.
const TOLD_EACH: Duration = Duration::from_secs(60);

/// A file that lines are added to.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// What the file has still to take, from `written` on.
    text: String,
    written: usize,
    /// Whether the last write ended inside a line.
    inside_line: bool,
    /// Lines that were lost.
    lost: u64,
    /// How many of them the log has told, and when.
    told: u64,
    told_at: Option<Instant>,
    /// Why the last ones were lost.
    why: String,
}

impl Output {
    /// One that begins with a line.
    pub(super) fn new(file: File) -> Output {
        Output {
            file,
            text: String::new(),
            written: 0,
            inside_line: false,
            lost: 0,
            told: 0,
            told_at: None,
            why: String::new(),
        }
    }

    /// Goes on with another file, which begins with a line.
    pub(super) fn replace(&mut self, file: File) {
        self.file = file;
        if self.inside_line && self.is_behind() {
            // The line that was begun stands in the other file.
            let is_of_former = self.written == 0;
            let rest = &self.text[self.written..];
            self.written += rest.find('\n').map_or(rest.len(), |end| end + 1);
            if !is_of_former {
                self.lose(1, "it was cut off when the file was opened again");
            }
        }
        self.inside_line = false;
    }

    /// Whether the file has not taken everything.
    pub(super) fn is_behind(&self) -> bool {
        self.written < self.text.len()
    }

    /// How many lines were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Writes these lines, as far as the file takes them.
    pub(super) fn write(&mut self, batches: &[Batch], path: &Path) {
        let dropped = batches.iter().map(|batch| batch.dropped).sum::<u64>();
        if dropped > 0 {
            self.lose(dropped, "the file did not take them in time");
        }
        self.text.clear();
        self.written = 0;
        if self.inside_line {
            // Of a line that was lost, some stands there.
            self.text.push('\n');
        }
        merge(batches, &mut self.text);
        self.write_rest(path);
    }

    /// Writes what is left of the last lines. Returns whether nothing is left; what cannot be written is lost.
    pub(super) fn write_rest(&mut self, path: &Path) -> bool {
        while self.is_behind() {
            let result = match self.file.write(&self.text.as_bytes()[self.written..]) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                result => result,
            };
            match result {
                Ok(count) => {
                    self.written += count;
                    self.inside_line = self.text.as_bytes()[self.written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tell(path);
                    return false;
                }
                Err(error) => {
                    let rest = &self.text.as_bytes()[self.written..];
                    // One of these only ends the line that was lost before.
                    let lines = rest.iter().filter(|&&byte| byte == b'\n').count();
                    let of_former = usize::from(self.written == 0 && self.inside_line);
                    self.lose((lines - of_former) as u64, &error_text(&error));
                    self.written = self.text.len();
                }
            }
        }
        self.text.clear();
        self.text.shrink_to(0);
        self.written = 0;
        self.tell(path);
        true
    }

    fn lose(&mut self, lines: u64, why: &str) {
        self.lost += lines;
        self.why = why.to_string();
    }

    /// How long what was lost may still go untold; `None`: all of it has been told.
    pub(super) fn may_be_told_in(&self) -> Option<Duration> {
        let wait = self.told_at.map_or(Duration::ZERO, |at| TOLD_EACH.saturating_sub(at.elapsed()));
        (self.lost > self.told).then_some(wait)
    }

    /// Has the log say how many lines were lost, if it has not said so lately.
    pub(super) fn tell(&mut self, path: &Path) {
        if self.may_be_told_in() == Some(Duration::ZERO) {
            self.tell_now(path);
        }
    }

    /// Has the log say how many lines were lost since it last said so.
    pub(super) fn tell_now(&mut self, path: &Path) {
        if self.lost == self.told {
            return;
        }
        warn!("access log {}: {} lines lost: {}", path.display(), self.lost - self.told, self.why);
        (self.told, self.told_at) = (self.lost, Some(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::PathBuf;

    fn batch(lines: &[&str], dropped: u64) -> Batch {
        let mut batch = Batch { dropped, ..Batch::default() };
        for line in lines {
            batch.begin_line().push_str(line);
            batch.end_line(0);
        }
        batch
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("cproxy-log-file-{name}-{}", std::process::id()))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_a_full_disk_does_not_take_is_counted() {
        let full = Path::new("/dev/full");
        let mut output = Output::new(fs::OpenOptions::new().append(true).open(full).unwrap());
        output.write(&[batch(&["a\n", "b\n"], 3)], full);
        assert!(!output.is_behind());
        assert_eq!((output.lost(), output.told), (5, 5));
        output.write(&[batch(&["c\n"], 0)], full);
        // It was told a moment ago.
        assert_eq!((output.lost(), output.told), (6, 5));
        // Part of a line stands there, so the next one begins with an end of line, which is none of its own.
        output.inside_line = true;
        output.write(&[batch(&["d\n"], 0)], full);
        assert_eq!(output.lost(), 7);

        let path = path("resumes");
        output.replace(fs::File::create(&path).unwrap());
        output.write(&[batch(&["e\n"], 0)], &path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "e\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_ends_before_the_next() {
        let path = path("cut");
        let mut output = Output::new(fs::File::create(&path).unwrap());
        output.write(&[batch(&["a\n"], 0)], &path);
        output.inside_line = true;
        output.write(&[batch(&["b\n"], 0)], &path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\n\nb\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_pipe_that_nobody_reads_gets_the_rest_later() {
        let path = path("pipe");
        let _ = fs::remove_file(&path);
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends with a NUL.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        let options = || fs::OpenOptions::new().custom_flags(libc::O_NONBLOCK).clone();
        let mut reader = options().read(true).open(&path).unwrap();
        let mut output = Output::new(options().append(true).open(&path).unwrap());
        let line = "x".repeat(999) + "\n";
        let lines = vec![line.as_str(); 2000];
        output.write(&[batch(&lines, 0)], &path);
        assert!(output.is_behind());
        let mut read = Vec::new();
        while output.is_behind() {
            let mut buffer = vec![0; 100_000];
            let count = io::Read::read(&mut reader, &mut buffer).unwrap();
            read.extend_from_slice(&buffer[..count]);
            output.write_rest(&path);
        }
        let mut rest = vec![0; 2_000_000 - read.len()];
        io::Read::read_exact(&mut reader, &mut rest).unwrap();
        read.extend(rest);
        assert_eq!((read == lines.concat().as_bytes(), output.lost()), (true, 0));
        fs::remove_file(&path).unwrap();
    }
}
