//! What is captured of sessions, as a service asks for it.

use std::path::PathBuf;

use super::settings::ServiceSettings;
use crate::address::Network;

/// How bytes are written in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As text, with what cannot be printed escaped; a line of the log for each line.
    Text,
    /// As hexdump(1) does with `-C`: sixteen a line, with their place in the stream.
    Hex,
}

/// How large a file may become, and what becomes of it then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// The most bytes of a file.
    pub size: u64,
    /// How many files there are at most, the one that is written among them.
    pub files: u32,
}

/// What is captured and dumped of the sessions of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSettings {
    /// The file, by an absolute path; `None`: nothing is captured.
    pub file: Option<PathBuf>,
    /// Whose sessions are captured, and how these networks were written; empty: everybody's.
    pub only: Vec<(Network, String)>,
    /// How many bytes of each session are; `None`: all.
    pub bytes: Option<u64>,
    /// How large the file may become; `None`: as large as it does.
    pub size: Option<u64>,
    /// How many files there are, if they have a size.
    pub files: u32,
    /// How bytes are written to the log, if they are.
    pub dump: Option<Form>,
}

impl Default for CaptureSettings {
    fn default() -> CaptureSettings {
        let files = CaptureSettings::DEFAULT_FILES;
        CaptureSettings { file: None, only: Vec::new(), bytes: None, size: None, files, dump: None }
    }
}

impl CaptureSettings {
    /// The `--capture-files` where none are given.
    pub const DEFAULT_FILES: u32 = 10;
    /// The least that `--capture-size` takes.
    pub const MIN_SIZE: u64 = 1 << 20;

    /// What becomes of the file.
    pub fn rotation(&self) -> Option<Rotation> {
        self.size.map(|size| Rotation { size, files: self.files })
    }
}

/// Options that can have no effect: somebody believes that they have one.
pub fn useless(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let CaptureSettings { file, only, bytes, size, files, .. } = &service.capture;
    let without_file = file.is_none();
    let none = "nothing is captured without a capture";
    let options = [
        ("capture-filter", "capture filter", without_file && !only.is_empty(), none),
        ("capture-bytes", "capture bytes", without_file && bytes.is_some(), none),
        ("capture-size", "capture size", without_file && size.is_some(), none),
        (
            "capture-files",
            "capture files",
            size.is_none() && *files != CaptureSettings::DEFAULT_FILES,
            "there is one file without a capture-size",
        ),
    ];
    let found = options.into_iter().filter(|(_, _, is_useless, _)| *is_useless);
    found.map(|(key, what, _, why)| (key, format!("invalid {what}: {why}"))).collect()
}
