//! The command line of `compare`.

use std::path::PathBuf;
use std::time::Duration;

use getopts::{Matches, Options};

use crate::load::Load;
use crate::proxy::Commands;
use crate::subcommand::Request;
use crate::template::{Template, split};

/// What `compare` is to do.
#[derive(Debug)]
pub struct Settings {
    /// The loads, in the order they are run.
    pub loads: Vec<Load>,
    /// How often each measurement is made.
    pub rounds: usize,
    /// How long each measurement is.
    pub length: Duration,
    /// Names of the proxies to compare; all if empty.
    pub only: Vec<String>,
    /// Name of the proxy that ratios are to, if one was chosen.
    pub base: Option<String>,
    /// The `cproxy` program, if one was given.
    pub cproxy: Option<PathBuf>,
    /// `cproxy` with more arguments: the name of the variant, and the arguments.
    pub variants: Vec<(String, Vec<String>)>,
    /// Other proxies: their names and commands.
    pub peers: Vec<(String, Commands)>,
    /// Where the JSON report goes.
    pub json: Option<PathBuf>,
    /// The directory where the charts go.
    pub svg: Option<PathBuf>,
}

/// What may follow `compare`.
fn options() -> Options {
    let mut options = Options::new();
    options
        .optopt("", "loads", "loads or groups of loads to run (default: all)", "NAME,...")
        .optopt("", "rounds", "how often to measure each (default: 5)", "N")
        .optopt("", "seconds", "how long each measurement is (default: 2)", "S")
        .optopt("", "base", "the proxy that ratios are to (default: cproxy)", "NAME")
        .optopt("", "only", "compare only these proxies", "NAME,...")
        .optopt("", "cproxy", "the cproxy program (default: built from this workspace)", "PATH")
        .optmulti("", "variant", "cproxy with more arguments", "NAME='ARGUMENTS'")
        .optmulti("", "peer", "another proxy, in the foreground", "NAME='COMMAND {listen} {target}'")
        .optmulti("", "peer-udp", "the same, for loads of UDP", "NAME='COMMAND {listen} {target}'")
        .optopt("", "json", "write every number to this file", "FILE")
        .optopt("", "svg", "write one chart for each group of loads here", "DIR")
        .optflag("h", "help", "print this");
    options
}

/// The text that `--help` prints.
pub fn usage() -> String {
    let loads: Vec<String> = Load::ALL.iter().map(Load::to_string).collect();
    let brief = format!(
        "Usage: cproxy-bench compare [OPTIONS]\n\n\
         Measures cproxy, other proxies that are installed, and no proxy at all (\"direct\"), side by side.\n\
         Loads: {}.\n\
         A peer's command may hold {{listen}}, {{target}} (ADDRESS:PORT), {{port}} and {{target_port}}. One with {{from}} and\n\
         {{to}} takes every load: they are the addresses as cproxy writes them, such as udp:ADDRESS:PORT.",
        loads.join(", ")
    );
    options().usage(&brief)
}

/// Reads the arguments that follow `compare`.
pub fn parse(arguments: &[String]) -> Result<Request<Box<Settings>>, String> {
    let matches = options().parse(arguments).map_err(|error| error.to_string())?;
    if matches.opt_present("help") {
        return Ok(Request::Help);
    }
    if let Some(word) = matches.free.first() {
        return Err(format!("unexpected argument: {word}"));
    }
    let rounds = number(&matches, "rounds", 5.0)?;
    let seconds = number(&matches, "seconds", 2.0)?;
    if rounds < 1.0 || rounds.fract() != 0.0 {
        return Err("--rounds takes a whole number from 1 up".to_owned());
    }
    if !(0.1..=600.0).contains(&seconds) {
        return Err("--seconds takes a number from 0.1 to 600".to_owned());
    }
    Ok(Request::Run(Box::new(Settings {
        loads: select_loads(&list(&matches, "loads"))?,
        rounds: rounds as usize,
        length: Duration::from_secs_f64(seconds),
        only: list(&matches, "only"),
        base: matches.opt_str("base"),
        cproxy: matches.opt_str("cproxy").map(PathBuf::from),
        variants: named(&matches, "variant", split)?,
        peers: peers(&matches)?,
        json: matches.opt_str("json").map(PathBuf::from),
        svg: matches.opt_str("svg").map(PathBuf::from),
    })))
}

fn number(matches: &Matches, option: &str, default: f64) -> Result<f64, String> {
    match matches.opt_str(option) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("--{option}: not a number: {text}")),
    }
}

/// The values of an option that takes several, separated by commas.
fn list(matches: &Matches, option: &str) -> Vec<String> {
    let text = matches.opt_str(option).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The values of an option that takes NAME=VALUE and may be repeated.
fn named<T>(
    matches: &Matches,
    option: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<(String, T)>, String> {
    let pair = |text: String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = read(value).map_err(|reason| format!("--{option} {name}: {reason}"))?;
            Ok((name.to_owned(), value))
        }
        _ => Err(format!("--{option} takes NAME=VALUE, not {text}")),
    };
    matches.opt_strs(option).into_iter().map(pair).collect()
}

/// The peers, each with its commands, in the order they are named.
fn peers(matches: &Matches) -> Result<Vec<(String, Commands)>, String> {
    let tcp = named(matches, "peer", Template::parse)?.into_iter();
    let tcp = tcp.map(|(name, template)| (name, Commands { tcp: Some(template), udp: None }));
    let mut peers: Vec<(String, Commands)> = tcp.collect();
    for (name, template) in named(matches, "peer-udp", Template::parse)? {
        match peers.iter_mut().find(|(other, commands)| *other == name && commands.udp.is_none()) {
            Some((_, commands)) => commands.udp = Some(template),
            None => peers.push((name, Commands { tcp: None, udp: Some(template) })),
        }
    }
    Ok(peers)
}

/// The loads whose own name or group's name is among `names`; all loads if there are none.
fn select_loads(names: &[String]) -> Result<Vec<Load>, String> {
    let means = |name: &String, load: &Load| *name == load.to_string() || name == load.group().name();
    if let Some(unknown) = names.iter().find(|name| !Load::ALL.iter().any(|load| means(name, load))) {
        return Err(format!("no such load: {unknown}"));
    }
    let chosen = |load: &Load| names.is_empty() || names.iter().any(|name| means(name, load));
    Ok(Load::ALL.into_iter().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &[&str]) -> Result<Settings, String> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        match parse(&words)? {
            Request::Run(settings) => Ok(*settings),
            Request::Help => Err("help".to_owned()),
        }
    }

    #[test]
    fn nothing_asked_for_is_everything() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.loads, Load::ALL);
        assert_eq!((settings.rounds, settings.length), (5, Duration::from_secs(2)));
    }

    #[test]
    fn loads_are_chosen_by_name_or_group() {
        let settings = settings(&["--loads", "ping-64,mixed", "--seconds", "0.3"]).unwrap();
        let names: Vec<String> = settings.loads.iter().map(Load::to_string).collect();
        assert_eq!(names, ["ping-64", "mixed-4", "mixed-64"]);
    }

    #[test]
    fn variants_and_peers_keep_their_words() {
        let settings =
            settings(&["--variant", "two=-t 2", "--variant", "plain=", "--peer", "old=p -l {listen} -r {target}"])
                .unwrap();
        assert_eq!(settings.variants[0], ("two".to_owned(), vec!["-t".to_owned(), "2".to_owned()]));
        assert_eq!(settings.variants[1], ("plain".to_owned(), vec![]));
        assert_eq!(settings.peers[0].0, "old");
    }

    #[test]
    fn a_peer_may_have_a_command_for_each_transport() {
        let command = "p {listen} {target}";
        let one = |option: &'static str, name: &str| [option.to_owned(), format!("{name}={command}")];
        let words = [one("--peer", "a"), one("--peer-udp", "b"), one("--peer-udp", "a")].concat();
        let settings = settings(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let template = || Some(Template::parse(command).unwrap());
        let expected =
            [("a", Commands { tcp: template(), udp: template() }), ("b", Commands { tcp: None, udp: template() })];
        assert_eq!(settings.peers, expected.map(|(name, commands)| (name.to_owned(), commands)));
    }

    #[test]
    fn mistakes_are_named() {
        for (words, part) in [
            (vec!["--loads", "bilk"], "bilk"),
            (vec!["--rounds", "0"], "--rounds"),
            (vec!["--seconds", "x"], "--seconds"),
            (vec!["--peer", "p"], "--peer"),
            (vec!["--peer", "p=q {listen}"], "{target}"),
            (vec!["more"], "more"),
        ] {
            let error = settings(&words).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
