//! The command line of `stripe`.

use std::path::PathBuf;

use getopts::Options;

use super::cases;
use crate::subcommand::Request;
use crate::template::split;

/// What `stripe` is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Loads, or what their names begin with; all if empty.
    pub only: Vec<String>,
    /// How often each load is run.
    pub rounds: usize,
    /// How many of the slow loads are run at a time.
    pub at_once: usize,
    /// The `cproxy` program, if one was given.
    pub cproxy: Option<PathBuf>,
    /// The command of the striped proxy near the client, if one was given.
    pub near: Option<Vec<String>>,
    /// The command of the striped proxy near the server, if one was given.
    pub far: Option<Vec<String>>,
    /// More arguments for both striped proxies.
    pub arguments: Vec<String>,
    /// Whether a plain chain stands in for each striped one.
    pub plain: bool,
    /// The directory where the proxies' logs are kept.
    pub logs: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("", "only", "run only these loads, or those whose names begin so", "NAME,...")
        .optopt("", "rounds", "how often to run each load (default: 3)", "N")
        .optopt("", "at-once", "how many loads of a low rate to run at a time (default: 4)", "N")
        .optopt("", "cproxy", "the cproxy program (default: built from this workspace)", "PATH")
        .optopt("", "near", "the striped proxy near the client", "'COMMAND {listen} {target} {lanes} {key}'")
        .optopt("", "far", "the striped proxy near the server", "'COMMAND {listen} {target} {key}'")
        .optopt("", "arguments", "more arguments for both striped proxies", "'ARGUMENTS'")
        .optflag("", "plain", "put a plain chain in the place of each striped one, to try the loads themselves")
        .optopt("", "logs", "keep the proxies' logs here", "DIR")
        .optflag("h", "help", "print this");
    options
}

/// The text that `stripe --help` prints.
pub fn usage() -> String {
    let names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let brief = format!(
        "Usage: cproxy-bench stripe [OPTIONS]\n\n\
         Measures striped sessions through a relay that caps, delays, freezes and resets lanes.\n\
         Loads: {}.\n\
         In a command, {{key}} becomes the words `--stripe-key FILE` in loads with a key, and nothing in others.",
        names.join(", ")
    );
    options().usage(&brief)
}

/// Reads the arguments that follow `stripe`.
pub fn parse(arguments: &[String]) -> Result<Request<Settings>, String> {
    let matches = options().parse(arguments).map_err(|error| error.to_string())?;
    if matches.opt_present("help") {
        return Ok(Request::Help);
    }
    if let Some(word) = matches.free.first() {
        return Err(format!("unexpected argument: {word}"));
    }
    let count = |option: &str, default: usize| match matches.opt_str(option) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("--{option} takes a whole number from 1 up")),
        },
    };
    let words = |option: &str| matches.opt_str(option).map(|line| split(&line)).transpose();
    let only: Vec<String> = matches.opt_str("only").unwrap_or_default().split(',').map(str::to_owned).collect();
    let settings = Settings {
        only: only.into_iter().filter(|name| !name.is_empty()).collect(),
        rounds: count("rounds", 3)?,
        at_once: count("at-once", 4)?,
        cproxy: matches.opt_str("cproxy").map(PathBuf::from),
        near: words("near")?,
        far: words("far")?,
        arguments: words("arguments")?.unwrap_or_default(),
        plain: matches.opt_present("plain"),
        logs: matches.opt_str("logs").map(PathBuf::from),
    };
    if let Some(unknown) = settings.only.iter().find(|name| !cases::all().iter().any(|case| case.is_meant_by(name))) {
        return Err(format!("no such load: {unknown}"));
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
    fn commands_are_split_into_words() {
        let settings = settings(&["--near", "a 'b c' {listen}", "--arguments", "--stripe-mode redundant"]).unwrap();
        assert_eq!(settings.near.unwrap(), ["a", "b c", "{listen}"]);
        assert_eq!(settings.arguments, ["--stripe-mode", "redundant"]);
        assert_eq!((settings.rounds, settings.at_once, settings.plain), (3, 4, false));
    }

    #[test]
    fn mistakes_are_named() {
        for (words, part) in [
            (vec!["--only", "ping,bilk"], "bilk"),
            (vec!["--rounds", "0"], "--rounds"),
            (vec!["--near", "'a"], "quote"),
            (vec!["more"], "more"),
        ] {
            let error = settings(&words).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
