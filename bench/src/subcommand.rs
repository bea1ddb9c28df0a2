//! What all subcommands that measure have in common: from the command line to the exit status.

use std::process::ExitCode;

use crate::failure::Failure;

/// What a command line asks for.
#[derive(Debug)]
pub enum Request<S> {
    /// Measure.
    Run(S),
    /// Print the usage.
    Help,
}

/// Does what a command line asks for; `help` is what prints the usage, for who made a mistake.
pub fn run<S>(
    request: Result<Request<S>, String>,
    help: &str,
    usage: fn() -> String,
    measure: fn(S) -> Result<ExitCode, Failure>,
) -> ExitCode {
    let settings = match request {
        Ok(Request::Run(settings)) => settings,
        Ok(Request::Help) => {
            println!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("cproxy-bench: {mistake} (see {help})");
            return ExitCode::FAILURE;
        }
    };
    measure(settings).unwrap_or_else(|failure| {
        eprintln!("cproxy-bench: {failure}");
        ExitCode::FAILURE
    })
}
