//! A directory for configuration files and error output, gone when the run is.

use std::io;
use std::path::{Path, PathBuf};

/// A temporary directory, removed with all that is in it when dropped.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes the directory, named after this process.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("cproxy-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
