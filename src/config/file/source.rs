//! A configuration file that was read, places in it, and what was found wrong at them.

use super::error::ConfigError;
use crate::base::error::error_text;
use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The largest file that is read.
pub const MAX_FILE: u64 = 16 << 20;

/// The most errors that are told; more are counted.
pub const MOST_ERRORS: usize = 100;

/// A file's text.
#[derive(Debug)]
pub struct Source {
    /// The file, as it was named.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
    /// How many files were read before it.
    number: usize,
    /// The text without what the parser cannot pass.
    readable: OnceCell<String>,
    /// What of it could not be read, once the parser has tried.
    broken: OnceCell<Broken>,
}

/// What of a text is not to be trusted, as it could not be read.
#[derive(Debug, Default)]
pub struct Broken {
    /// Lines, by their bytes, from top to bottom.
    pub lines: Vec<Range<usize>>,
    /// And all from here on.
    pub from: Option<usize>,
}

/// A part of a file.
#[derive(Debug, Clone)]
pub struct Place {
    source: Rc<Source>,
    span: Range<usize>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It cannot be read, is larger than [`MAX_FILE`], or is no UTF-8.
    pub fn read(path: &Path, number: usize) -> Result<Rc<Source>, ConfigError> {
        let refuse = |message: &str| ConfigError::whole(path.to_path_buf(), message);
        let bytes = read_bytes(path).map_err(|error| refuse(&error_text(&error)))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(refuse(&format!("the file is larger than {} MiB", MAX_FILE >> 20)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Rc::new(Source {
                path: path.to_path_buf(),
                text,
                number,
                readable: OnceCell::new(),
                broken: OnceCell::new(),
            })),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(error.as_bytes());
                let place = (good, good + char::REPLACEMENT_CHARACTER.len_utf8());
                Err(ConfigError::at(path.to_path_buf(), &text, place, "this is not valid UTF-8"))
            }
        }
    }

    /// Keeps the text without what the parser cannot pass, in which every place is the same; to be called once.
    pub fn set_readable(&self, text: String) -> &str {
        self.readable.get_or_init(|| text)
    }

    /// Says what of it could not be read; to be called once.
    pub fn set_broken(&self, broken: Broken) {
        let _ = self.broken.set(broken);
    }

    /// Whether all of it could be read: otherwise nobody knows what is missing.
    pub fn is_whole(&self) -> bool {
        self.broken.get().is_none_or(|broken| broken.lines.is_empty() && broken.from.is_none())
    }

    /// A part of it.
    pub fn place(self: &Rc<Source>, span: Range<usize>) -> Place {
        Place { source: self.clone(), span }
    }
}

/// What stands in the file, and at least a byte too much if it is too large.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Place {
    /// Whether what stands here is what is meant, as far as anybody can know.
    pub fn is_certain(&self) -> bool {
        let Some(broken) = self.source.broken.get() else { return true };
        let at = self.span.start;
        let line = broken.lines.partition_point(|line| line.end < at);
        broken.from.is_none_or(|from| at < from) && broken.lines.get(line).is_none_or(|line| at < line.start)
    }

    /// An error here.
    fn error(&self, message: &str) -> ConfigError {
        let Source { path, text, .. } = &*self.source;
        ConfigError::at(path.clone(), text, (self.span.start, self.span.end), message)
    }
}

/// `FILE:LINE:COLUMN`
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.error("").one_line().trim_end_matches(": "))
    }
}

/// The errors of a file and of all that it includes.
#[derive(Debug, Default)]
pub struct Errors {
    /// With the file's number and the place, by which they are put in order.
    found: Vec<((usize, usize), ConfigError)>,
    untold: usize,
}

impl Errors {
    /// Adds one, unless what stands at its place is not what is meant anyway.
    pub fn add(&mut self, place: &Place, message: &str) {
        if place.is_certain() {
            self.add_certain(place, message);
        }
    }

    /// Adds one.
    pub fn add_certain(&mut self, place: &Place, message: &str) {
        if !self.is_full() {
            self.found.push(((place.source.number, place.span.start), place.error(message)));
        } else {
            self.untold += 1;
        }
    }

    /// Adds one that a file as a whole has.
    pub fn add_whole(&mut self, number: usize, error: ConfigError) {
        if !self.is_full() {
            self.found.push(((number, 0), error));
        } else {
            self.untold += 1;
        }
    }

    /// Whether further ones are only counted.
    pub fn is_full(&self) -> bool {
        self.found.len() >= MOST_ERRORS
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.found.len() + self.untold
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, file by file and from the top, and how many there are beyond what is told.
    pub fn finish(mut self, path: &Path) -> Vec<ConfigError> {
        self.found.sort_by_key(|(place, _)| *place);
        let mut errors: Vec<_> = self.found.into_iter().map(|(_, error)| error).collect();
        if self.untold > 0 {
            errors.push(ConfigError::whole(path.to_path_buf(), &format!("and {} more errors", self.untold)));
        }
        errors
    }
}
