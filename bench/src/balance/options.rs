//! The command line of `balance`.

use std::path::PathBuf;
use std::time::Duration;

use getopts::Options;

use super::cases;
use crate::subcommand::Request;
use crate::template::split;

/// What `balance` is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loads, or what their names begin with; all if empty.
    pub only: Vec<String>,
    /// How often each load is run.
    pub rounds: usize,
    /// How long each window is in which connections are counted.
    pub length: Duration,
    /// The `cproxy` program, if one was given.
    pub cproxy: Option<PathBuf>,
    /// An earlier `cproxy`, if one was given.
    pub earlier: Option<PathBuf>,
    /// More arguments for `cproxy`.
    pub arguments: Vec<String>,
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("", "only", "run only these loads, or those whose names begin so", "NAME,...")
        .optopt("", "rounds", "how often to run each load (default: 3)", "N")
        .optopt("", "seconds", "how long to count connections at a time (default: 0.5)", "S")
        .optopt("", "cproxy", "the cproxy program (default: built from this workspace)", "PATH")
        .optopt("", "earlier", "an earlier cproxy program, for the load one-remote", "PATH")
        .optopt("", "arguments", "more arguments for cproxy, such as -q", "'ARGUMENTS'")
        .optflag("h", "help", "print this");
    options
}

/// The text that `balance --help` prints.
pub fn usage() -> String {
    let names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let brief = format!(
        "Usage: cproxy-bench balance [OPTIONS]\n\n\
         Measures a proxy with several remotes: rates, shares, and what clients notice when a remote fails.\n\
         HAProxy and nginx are measured beside it where they are installed.\n\
         Loads: {}.",
        names.join(", ")
    );
    options().usage(&brief)
}

/// Reads the arguments that follow `balance`.
pub fn parse(arguments: &[String]) -> Result<Request<Settings>, String> {
    let matches = options().parse(arguments).map_err(|error| error.to_string())?;
    if matches.opt_present("help") {
        return Ok(Request::Help);
    }
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
    let only: Vec<String> = matches.opt_str("only").unwrap_or_default().split(',').map(str::to_owned).collect();
    let settings = Settings {
        only: only.into_iter().filter(|name| !name.is_empty()).collect(),
        rounds,
        length: Duration::from_secs_f64(seconds),
        cproxy: matches.opt_str("cproxy").map(PathBuf::from),
        earlier: matches.opt_str("earlier").map(PathBuf::from),
        arguments: matches.opt_str("arguments").map(|line| split(&line)).transpose()?.unwrap_or_default(),
    };
    if let Some(unknown) = settings.only.iter().find(|name| !cases::all().iter().any(|case| case.is_meant_by(name))) {
        return Err(format!("no such load: {unknown}"));
    }
    if settings.only.iter().any(|name| name == "one-remote") && settings.earlier.is_none() {
        return Err("the load one-remote needs an --earlier program".to_owned());
    }
    Ok(Request::Run(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> Result<Settings, String> {
        match parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())? {
            Request::Run(settings) => Ok(settings),
            Request::Help => Err("help".to_owned()),
        }
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let settings = settings(&["--arguments", "-q --reuse-port"]).unwrap();
        assert_eq!((settings.rounds, settings.length), (3, Duration::from_millis(500)));
        assert_eq!(settings.arguments, ["-q", "--reuse-port"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (words, part) in [
            (vec!["--only", "rate,bilk"], "bilk"),
            (vec!["--only", "one-remote"], "--earlier"),
            (vec!["--rounds", "0"], "--rounds"),
            (vec!["--seconds", "x"], "--seconds"),
            (vec!["--arguments", "'a"], "quote"),
            (vec!["more"], "more"),
        ] {
            let error = settings(&words).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
