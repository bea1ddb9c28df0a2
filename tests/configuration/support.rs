//! Files in a folder of a test's own, and the ways in which they are read.

use cproxy::cli::{self, Command};
use cproxy::config::file::{self, ConfigError, Overrides};
use cproxy::config::settings::Settings;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that is removed with its files.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cproxy-configuration-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and folders on the way to it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path
    }

    /// Reads this text as the main file, `cproxy.toml`.
    pub fn load(&self, text: impl AsRef<[u8]>) -> Result<Settings, Vec<ConfigError>> {
        file::load(&self.write("cproxy.toml", text), &Overrides::default())
    }

    /// What is said of the errors of this text, without the path of the folder.
    pub fn errors(&self, text: impl AsRef<[u8]>) -> Vec<String> {
        let errors = self.load(text).expect_err("errors");
        assert!(!errors.is_empty());
        let folder = format!("{}/", self.0.display());
        errors.iter().map(|error| error.one_line().replace(&folder, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The settings of a good file.
pub fn load(text: &str) -> Settings {
    Folder::new().load(text).unwrap_or_else(|errors| panic!("{}\n{text}", errors[0]))
}

/// What a command line comes to.
pub fn command(arguments: &[&str]) -> Command {
    cli::parse(arguments.iter().map(OsString::from))
}

/// The settings of a good command line.
pub fn run(arguments: &[&str]) -> Settings {
    match command(arguments) {
        Command::Run(settings, ..) => *settings,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// A sequence of numbers that follows from its seed.
pub struct Random(pub u64);

impl Random {
    /// One below this.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}
