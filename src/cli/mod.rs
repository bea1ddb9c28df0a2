//! The command line: from arguments to [`Settings`], or to what is printed instead.

pub mod complete;
mod configuration;
pub mod help;
pub mod man;
pub mod man_config;
mod roff;
pub mod top;

use crate::address::Lookups;
use crate::base::error::error_text;
use crate::base::random::random;
use crate::base::text::Escaped;
use crate::config::draft::Problem;
use crate::config::file::{ConfigError, ConfigSource};
use crate::config::keys::{self, Group, Key, Print, Scope, alternatives};
use crate::config::settings::Settings;
use crate::config::units::parse_duration;
use crate::stripe::key::make_key;
use configuration::CommandLine;
use getopts::{Fail, HasArg, Matches, Occur, Options};
use std::ffi::OsString;

/// What a command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Run the proxy, once these warnings, one line each, are logged. The source is where the settings come from, if that
    /// is a file.
    Run(Box<Settings>, Vec<String>, Option<ConfigSource>),
    /// Have the proxy of this process reload, and print what comes of it.
    Reload(u32),
    /// Show what the process that tells its status at this address is doing; with `is_once`, print it once.
    Top {
        /// The address, as it was written.
        address: String,
        /// Whether to print it instead of showing it until a key is pressed.
        is_once: bool,
    },
    /// Print this on standard output and exit with status 0.
    Print(String),
    /// The command line has the wrong shape: exit with status 1.
    Usage {
        /// What is wrong, in one line for standard error; `None` where there is no more to say.
        complaint: Option<String>,
        /// What to print on standard output.
        usage: String,
    },
    /// An argument has a bad value: log this line and exit with status 1.
    Invalid(String),
    /// The configuration file has these errors: print them on standard error and exit with status 1.
    BadFile(Vec<ConfigError>),
}

impl From<Problem> for Command {
    fn from(problem: Problem) -> Command {
        match problem {
            Problem::Usage(complaint) => {
                Command::Usage { complaint: Some(format!("cproxy: {}", one_line(&complaint))), usage: help::usage() }
            }
            Problem::Invalid { message, .. } => Command::Invalid(one_line(&message)),
        }
    }
}

/// Reads a command line, without the program's name. Host names in it are looked up, which may take a while.
///
/// As in the original, arguments are judged from left to right, and the first that is wrong is reported. Flags that only
/// print something win over all others, wherever they are.
pub fn parse<I: IntoIterator<Item = OsString>>(args_without_program_name: I) -> Command {
    let mut damaged = false;
    let arguments: Vec<String> = args_without_program_name
        .into_iter()
        .map(|argument| {
            argument.into_string().unwrap_or_else(|argument| {
                damaged = true;
                argument.to_string_lossy().into_owned()
            })
        })
        .collect();
    if let Some((top::NAME, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return top::parse(rest);
    }
    let options = options();
    let (matches, failure) = match options.parse(&arguments) {
        Ok(matches) => (Some(matches), None),
        Err(fail) => {
            let information = without_the_rest(&options, &arguments);
            if information.is_some() {
                (information, None)
            } else {
                (before_failure(&options, &arguments, &fail), Some(Problem::Usage(describe(&fail))))
            }
        }
    };
    let given = matches.as_ref().map(in_order).unwrap_or_default();
    for (key, value) in &given {
        if let Scope::Print(print) = key.scope {
            return information(print, value);
        }
    }
    let mut lookups = Lookups::default();
    let has_file = given.iter().any(|(key, _)| key.long == "config");
    let resolve = given.iter().rev().find(|(key, _)| key.long == "resolve").map(|(_, value)| parse_duration(value));
    let follows_names = resolve.is_some_and(|time| time.is_ok_and(|time| !time.is_zero()));
    let mut line = CommandLine::new(has_file, follows_names, &mut lookups);
    for (key, value) in &given {
        if damaged && value.contains(char::REPLACEMENT_CHARACTER) {
            let message = format!("the value of --{} is not valid UTF-8: '{value}'", key.long);
            return Problem::explained(message).into();
        }
        if let Err(problem) = line.apply(key, value) {
            return problem.into();
        }
    }
    if let Some(problem) = failure {
        return problem.into();
    }
    if arguments.is_empty() {
        return Command::Usage { complaint: None, usage: help::usage() };
    }
    line.finish(stray(&matches))
}

/// The options in the table, as the parser takes them. It lets each be given any number of times, as getopt(3) does.
fn options() -> Options {
    let mut options = Options::new();
    for flag in keys::flags() {
        let short = flag.short.map(String::from).unwrap_or_default();
        let (hint, argument) = flag.value.map_or(("", HasArg::No), |value| (value.name, HasArg::Yes));
        options.opt(&short, flag.long, flag.help, hint, argument, Occur::Multi);
    }
    options
}

/// Every flag that was given and its value (`true` if it takes none), from left to right.
fn in_order(matches: &Matches) -> Vec<(&'static Key, String)> {
    let mut given = Vec::new();
    for flag in keys::flags() {
        if flag.value.is_some() {
            given.extend(matches.opt_strs_pos(flag.long).into_iter().map(|(at, value)| (at, flag, value)));
        } else {
            given.extend(matches.opt_positions(flag.long).into_iter().map(|at| (at, flag, "true".to_string())));
        }
    }
    // Flags of one cluster share a position. Only its last one can have a value, so their order does not matter.
    given.sort_by_key(|(at, ..)| *at);
    given.into_iter().map(|(_, flag, value)| (flag, value)).collect()
}

/// For a command line that cannot be parsed: its flags that only print something, if there are any.
fn without_the_rest(options: &Options, arguments: &[String]) -> Option<Matches> {
    let mut kept: Vec<&String> = Vec::new();
    let mut rest = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = rest.next() {
        let name = argument.split('=').next().unwrap_or_default();
        let is_it = |flag: &&Key| {
            name.strip_prefix("--") == Some(flag.long)
                || flag.short.is_some_and(|short| argument.strip_prefix('-') == Some(short.to_string().as_str()))
        };
        if let Some(flag) = keys::flags_in(Group::Information).find(is_it) {
            kept.push(argument);
            if flag.value.is_some() && name == argument {
                kept.extend(rest.next());
            }
        }
    }
    options.parse(&kept).ok().filter(|_| !kept.is_empty())
}

/// What comes before the argument that cannot be parsed.
fn before_failure(options: &Options, arguments: &[String], fail: &Fail) -> Option<Matches> {
    if let Fail::ArgumentMissing(_) = fail {
        // It can only be the last argument's argument that is missing.
        return options.parse(&arguments[..arguments.len() - 1]).ok();
    }
    // The arguments up to some number of them can be parsed, but for a value that may be missing at their end; with
    // one more they cannot.
    let parses =
        |n: usize| !matches!(options.parse(&arguments[..n]), Err(fail) if !matches!(fail, Fail::ArgumentMissing(_)));
    let (mut good, mut bad) = (0, arguments.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if parses(middle) { good = middle } else { bad = middle }
    }
    options.parse(&arguments[..good]).ok()
}

/// What getopt(3) says, more or less.
fn describe(fail: &Fail) -> String {
    let is_short = |name: &str| name.chars().count() == 1;
    match fail {
        Fail::UnrecognizedOption(name) if is_short(name) => format!("invalid option -- '{name}'"),
        Fail::UnrecognizedOption(name) => format!("unrecognised option '--{name}'"),
        Fail::ArgumentMissing(name) if is_short(name) => {
            format!("option requires an argument -- '{name}'")
        }
        Fail::ArgumentMissing(name) => format!("option '--{name}' requires an argument"),
        Fail::UnexpectedArgument(name) => format!("option '--{name}' does not take an argument"),
        Fail::OptionMissing(name) => format!("option '--{name}' is missing"),
        Fail::OptionDuplicated(name) => format!("option '--{name}' is given more than once"),
    }
}

/// The warning about operands, of which there should be none.
fn stray(matches: &Option<Matches>) -> Vec<String> {
    match matches {
        Some(matches) if !matches.free.is_empty() => {
            let names: Vec<_> = matches.free.iter().map(|name| format!("'{name}'")).collect();
            vec![one_line(&format!("ignoring what is no option: {}", names.join(" ")))]
        }
        _ => Vec::new(),
    }
}

/// What a flag that only prints something prints.
fn information(print: Print, value: &str) -> Command {
    match print {
        Print::Help => Command::Print(help::help()),
        Print::Version => Command::Print(help::version()),
        Print::Manual => Command::Print(man::page()),
        Print::FileManual => Command::Print(man_config::page()),
        Print::Reload => match value.parse() {
            Ok(pid) if pid > 0 => Command::Reload(pid),
            _ => Problem::invalid("process", value, "expected the number of a process").into(),
        },
        Print::StripeKey => match random() {
            Ok(bytes) => Command::Print(make_key(&bytes) + "\n"),
            Err(error) => Problem::explained(format!("making a key: {}", error_text(&error))).into(),
        },
        Print::Completions => match complete::script(value) {
            Some(script) => Command::Print(script),
            None => {
                let expected = format!("expected {}", alternatives(keys::SHELLS));
                Problem::invalid("completions", value, &expected).into()
            }
        },
    }
}

/// The text within one line, as an argument may hold any character.
fn one_line(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
