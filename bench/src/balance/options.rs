//! The command line of `balance`.

use std::path::PathBuf;

use getopts::Options;

use super::cases;
use crate::subcommand::{Common, Request};

/// What `balance` is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    pub common: Common,
    /// An earlier `cproxy`, if one was given.
    pub earlier: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Common::options();
    options.optopt("", "earlier", "an earlier cproxy program, for the load one-remote", "PATH");
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
    let common = Common::read(&matches, |word| cases::all().iter().any(|case| case.is_meant_by(word)))?;
    let settings = Settings { common, earlier: matches.opt_str("earlier").map(PathBuf::from) };
    if settings.common.only.iter().any(|name| name == "one-remote") && settings.earlier.is_none() {
        return Err("the load one-remote needs an --earlier program".to_owned());
    }
    Ok(Request::Run(settings))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(words: &[&str]) -> Result<Common, String> {
        match parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())? {
            Request::Run(settings) => Ok(settings.common),
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
