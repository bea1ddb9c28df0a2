//! What all subcommands that measure have in common: from the command line to the exit status.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use getopts::{Matches, Options};

use crate::failure::Failure;
use crate::template::split;

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

/// Whether a word of `--only` means a load: its name, or what that begins with.
pub fn means(word: &str, name: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What those are told that measure windows of loads by turns.
#[derive(Clone, Debug)]
pub struct Common {
    /// Loads, or what their names begin with; all if empty.
    pub only: Vec<String>,
    /// How often each load is run.
    pub rounds: usize,
    /// How long each window is in which something is counted.
    pub length: Duration,
    /// The `cproxy` program, if one was given.
    pub cproxy: Option<PathBuf>,
    /// More arguments for `cproxy`.
    pub arguments: Vec<String>,
}

impl Common {
    /// The options, to which others can be added.
    pub fn options() -> Options {
        let mut options = Options::new();
        options
            .optopt("", "only", "run only these loads, or those whose names begin so", "NAME,...")
            .optopt("", "rounds", "how often to run each load (default: 3)", "N")
            .optopt("", "seconds", "how long to count at a time (default: 0.5)", "S")
            .optopt("", "cproxy", "the cproxy program (default: built from this workspace)", "PATH")
            .optopt("", "arguments", "more arguments for cproxy, such as -q", "'ARGUMENTS'")
            .optflag("h", "help", "print this");
        options
    }

    /// Reads what `matches` says of them. Whether there is a load that a word of `--only` means, is known by `is_known`.
    ///
    /// # Errors
    ///
    /// The mistake, for a person.
    pub fn read(matches: &Matches, is_known: impl Fn(&str) -> bool) -> Result<Self, String> {
        if let Some(word) = matches.free.first() {
            return Err(format!("unexpected argument: {word}"));
        }
        let rounds = match matches.opt_str("rounds").map_or(Ok(3), |text| text.parse()) {
            Ok(number) if number > 0 => number,
            _ => return Err("--rounds takes a whole number from 1 up".to_owned()),
        };
        let seconds = match matches.opt_str("seconds").map_or(Ok(0.5), |text| text.parse()) {
            Ok(number) if (0.1..=600.0).contains(&number) => number,
            _ => return Err("--seconds takes a number from 0.1 to 600".to_owned()),
        };
        let only = matches.opt_str("only").unwrap_or_default();
        let only: Vec<String> = only.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if let Some(unknown) = only.iter().find(|name| !is_known(name)) {
            return Err(format!("no such load: {unknown}"));
        }
        Ok(Self {
            only,
            rounds,
            length: Duration::from_secs_f64(seconds),
            cproxy: matches.opt_str("cproxy").map(PathBuf::from),
            arguments: matches.opt_str("arguments").map(|line| split(&line)).transpose()?.unwrap_or_default(),
        })
    }

    /// Whether a load is to be run; `is_meant_by` says whether a word means it.
    pub fn wants(&self, is_meant_by: impl Fn(&str) -> bool) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| is_meant_by(word))
    }
}
