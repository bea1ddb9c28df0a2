//! A proxy for streams and datagrams: one acceptor thread deals clients to N I/O threads, each with its own event loop.
//!
//! To see where a byte goes, read `thread`, `session` and `flow`, in that order.

pub mod access_log;
pub mod address;
pub mod base;
pub mod buffers;
pub mod capture;
pub mod cli;
pub mod config;
pub mod control;
pub mod counters;
pub mod endpoint;
pub mod flow;
pub mod inspect;
pub mod log;
pub mod proxy_header;
pub mod service;
pub mod session;
pub mod status;
pub mod stripe;
pub mod thread;
#[cfg(feature = "top")]
pub mod top;

use ::log::{error, warn};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use base::error::error_text;
use cli::Command;
use config::access_log::has_files;
use config::file::{ConfigError, ConfigSource};
use config::settings::Settings;
use control::reload::Load;
use control::signals::Signals;
use log::LogSettings;

/// Runs the program with its arguments (without its own name) and says how it ends.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments) {
        Command::Run(settings, warnings, source) => serve(*settings, source.map(load), &warnings),
        Command::Top { address, is_once } => match top(&address, is_once) {
            Ok(()) => ExitCode::SUCCESS,
            Err(line) => {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "cproxy: {line}");
                ExitCode::FAILURE
            }
        },
        Command::Print(text) => print(&text, ExitCode::SUCCESS),
        Command::Reload(pid) => match control::reloader::ask(pid) {
            Ok(line) => print(&format!("{line}\n"), ExitCode::SUCCESS),
            Err(lines) => {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "{lines}");
                ExitCode::FAILURE
            }
        },
        Command::Usage { complaint, usage } => {
            if let Some(complaint) = complaint {
                // Where standard error is closed there is nobody to complain to.
                let _ = writeln!(io::stderr(), "{complaint}");
            }
            print(&usage, ExitCode::FAILURE)
        }
        Command::Invalid(message) => {
            if let Err(error) = log::start(&LogSettings::Level(::log::LevelFilter::Info)) {
                return cannot_log(&error);
            }
            error!("{message}");
            log::finish();
            ExitCode::FAILURE
        }
        Command::BadFile(errors) => {
            for error in errors {
                // Where standard error is closed there is nobody to tell.
                let _ = writeln!(io::stderr(), "{error}");
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "top")]
use top::run as top;

/// Where the program was built without it.
#[cfg(not(feature = "top"))]
fn top(_: &str, _: bool) -> Result<(), String> {
    Err("this program was built without the command top".to_string())
}

/// What a reload calls: in the log, each error is one line.
fn load(source: ConfigSource) -> Load {
    Arc::new(move || source.load().map_err(|errors| errors.iter().map(ConfigError::one_line).collect()))
}

fn serve(settings: Settings, load: Option<Load>, warnings: &[String]) -> ExitCode {
    // Before any thread starts, the log's included.
    base::memory::use_one_arena();
    control::signals::survive_large_files();
    let signals = Signals::block(load.is_some() || has_files(&settings.services));
    if let Err(error) = log::start(&settings.process.log) {
        return cannot_log(&error);
    }
    for warning in warnings {
        warn!("{warning}");
    }
    let result = match signals {
        Ok(signals) => control::run(settings, load, signals),
        Err(error) => Err(vec![format!("signals: {}", error_text(&error))]),
    };
    for message in result.as_ref().err().into_iter().flatten() {
        error!("{message}");
    }
    log::finish();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without a log, there is standard error to say so.
fn cannot_log(error: &io::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "cproxy: the log's thread cannot be started: {}", error_text(error));
    ExitCode::FAILURE
}

/// Prints a text that was asked for; a full disk or a closed pipe is a failure.
fn print(text: &str, status: ExitCode) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "cproxy: standard output: {}", error_text(&error));
            ExitCode::FAILURE
        }
        _ => status,
    }
}
