//! Settings in the making: what the keys of the table write to, one value after the other.

use crate::address::{Endpoints, Lookups};
use crate::config::settings::{ProcessSettings, RemoteSettings, ServiceSettings, Unresolved};
use crate::log::LogSettings;
use log::LevelFilter;
use std::path::{Path, PathBuf};

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It must not be given here.
    Usage(String),
    /// It is bad.
    Invalid {
        /// One line that names it and, mostly, says why.
        message: String,
        /// Whether it says why; the original's lines do not.
        explained: bool,
    },
}

impl Problem {
    /// The original's text for a bad value, and after it the reason, if there is one.
    pub fn invalid(what: &str, value: &str, reason: &str) -> Problem {
        let colon = if reason.is_empty() { "" } else { ": " };
        let message = format!("invalid {what} {value}{colon}{reason}");
        Problem::Invalid { message, explained: !reason.is_empty() }
    }

    /// A bad value with its reason in the one line.
    pub fn explained(message: String) -> Problem {
        Problem::Invalid { message, explained: true }
    }
}

/// The process's settings in the making.
#[derive(Debug, Clone, Default)]
pub struct ProcessDraft {
    /// All but the log, which several options decide together.
    pub settings: ProcessSettings,
    /// What is to be logged.
    pub log: LogDraft,
}

impl ProcessDraft {
    /// The settings; what the command line says of the log stands before what a file says.
    pub fn finish(self, file: Option<&LogDraft>) -> ProcessSettings {
        let log = self.log.asked().or(file.and_then(LogDraft::asked)).unwrap_or(LogSettings::Environment);
        ProcessSettings { log, ..self.settings }
    }
}

/// What is to be logged, as several options say it.
#[derive(Debug, Clone, Default)]
pub struct LogDraft {
    /// `--log-level`
    pub level: Option<LevelFilter>,
    /// `-q`
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: usize,
}

impl LogDraft {
    /// What `--log-level`, or else `-q` and `-v`, ask for, if any was given.
    fn asked(&self) -> Option<LogSettings> {
        let level = match (self.level, self.quiet, self.verbose) {
            (Some(level), _, _) => level,
            (None, false, 0) => return None,
            (None, true, 0) => LevelFilter::Warn,
            (None, true, 1) => LevelFilter::Info,
            (None, false, 1) | (None, true, 2) => LevelFilter::Debug,
            (None, _, _) => LevelFilter::Trace,
        };
        Some(LogSettings::Level(level))
    }
}

/// A service's settings in the making.
#[derive(Debug)]
pub struct ServiceDraft<'a> {
    /// What was given so far.
    pub settings: ServiceSettings,
    /// The folder that relative paths of files are relative to; empty: the current one.
    pub folder: PathBuf,
    /// Whether names of remotes are looked up again, so that one without an address is no error. Whoever has all options
    /// before it sets this, as they come in any order.
    pub follows_names: bool,
    /// The names that were looked up for this service and those before it.
    pub lookups: &'a mut Lookups,
}

/// Something without which there is no service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It listens nowhere.
    Listener,
    /// It has no remote.
    Remote,
}

impl<'a> ServiceDraft<'a> {
    /// A service with the defaults; relative paths of files are relative to this folder.
    pub fn new(name: &str, folder: &Path, lookups: &'a mut Lookups) -> ServiceDraft<'a> {
        let no_remote_yet = Endpoints { argument: String::new(), addresses: Vec::new() };
        let settings = ServiceSettings { remotes: Vec::new(), ..ServiceSettings::new(name, Vec::new(), no_remote_yet) };
        ServiceDraft { settings, folder: folder.to_path_buf(), follows_names: false, lookups }
    }

    /// A remote at this address, without options.
    ///
    /// # Errors
    ///
    /// The address is bad, or it is a name that has no address and is not looked up again.
    pub fn remote(&mut self, address: &str) -> Result<RemoteSettings, Problem> {
        match Endpoints::parse_with(address, self.lookups) {
            Ok(endpoints) => Ok(RemoteSettings::new(endpoints)),
            Err(error) => match error.why_unresolved().filter(|_| self.follows_names) {
                Some(reason) => {
                    let endpoints = Endpoints { argument: address.to_string(), addresses: Vec::new() };
                    let unresolved = Some(Unresolved(reason.to_string()));
                    Ok(RemoteSettings { unresolved, ..RemoteSettings::new(endpoints) })
                }
                None => Err(Problem::explained(error.to_string())),
            },
        }
    }

    /// The settings, if everything that is required was given.
    ///
    /// # Errors
    ///
    /// What is missing first.
    pub fn finish(self) -> Result<ServiceSettings, Missing> {
        if self.settings.listeners.is_empty() {
            return Err(Missing::Listener);
        }
        if self.settings.remotes.is_empty() {
            return Err(Missing::Remote);
        }
        Ok(self.settings)
    }
}

/// What the command line asks for beside settings.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Whether the configuration is only to be judged.
    pub check: bool,
    /// Whether the configuration is only to be printed.
    pub print: bool,
}
