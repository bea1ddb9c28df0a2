//! A TCP proxy: one acceptor thread deals connections to N I/O threads, each with its own event loop.
//!
//! To see where a byte goes, read `io_thread`, `session` and `flow`, in that order.

pub mod accepting;
pub mod acceptor;
pub mod address;
pub mod admission;
pub mod batch;
pub mod buffer_pool;
pub mod cli;
pub mod endpoint;
pub mod flow;
pub mod io_thread;
pub mod limits;
pub mod log;
pub mod mailbox;
pub mod memory;
pub mod notify;
pub mod pipe_pool;
pub mod pools;
pub mod recency;
pub mod run_queue;
pub mod server;
pub mod session;
pub mod settings;
pub mod signals;
pub mod sources;
pub mod splice;
pub mod text;
pub mod timers;
pub mod units;

use ::log::{error, warn};
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use cli::Command;
use settings::{LogSettings, Settings};

/// Runs the program with its arguments (without its own name) and says how it ends.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments) {
        Command::Run(settings, warnings) => serve(&settings, &warnings),
        Command::Print(text) => print(&text, ExitCode::SUCCESS),
        Command::Usage { complaint, usage } => {
            if let Some(complaint) = complaint {
                // Where standard error is closed there is nobody to complain to.
                let _ = writeln!(io::stderr(), "{complaint}");
            }
            print(&usage, ExitCode::FAILURE)
        }
        Command::Invalid(message) => {
            log::start(&LogSettings::Level(::log::LevelFilter::Info));
            error!("{message}");
            log::finish();
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: &Settings, warnings: &[String]) -> ExitCode {
    // Before any thread starts, the log's included.
    memory::use_one_arena();
    let signals = signals::StopSignals::block();
    log::start(&settings.log);
    for warning in warnings {
        warn!("{warning}");
    }
    let result =
        signals.map_err(|error| format!("signals: {error}")).and_then(|signals| server::run(settings, signals));
    if let Err(message) = &result {
        error!("{message}");
    }
    log::finish();
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a text that was asked for; a full disk or a closed pipe is a failure.
fn print(text: &str, status: ExitCode) -> ExitCode {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "cproxy: standard output: {}", log::error_text(&error));
            ExitCode::FAILURE
        }
        _ => status,
    }
}
