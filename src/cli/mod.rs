//! The command line: from arguments to [`Settings`], or to what is printed instead.

pub mod complete;
pub mod flags;
pub mod help;
pub mod man;

use crate::address::{EndpointAddress, Endpoints};
use crate::config::settings::{BufferSize, IdleTimeout, ProcessSettings, ServiceSettings, Settings, ZeroCopy};
use crate::config::units::{parse_count, parse_duration, parse_size};
use crate::log::LogSettings;
use flags::{FLAGS, Flag, Group, Id};
use getopts::{Fail, Matches, Options};
use log::LevelFilter;
use std::ffi::OsString;
use std::time::Duration;

/// What a command line asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Run the proxy, once these warnings, one line each, are logged.
    Run(Box<Settings>, Vec<String>),
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
}

/// What stops the reading of a command line.
enum Problem {
    /// It has the wrong shape.
    Usage(String),
    /// It has a bad value.
    Invalid(String),
}

impl From<Problem> for Command {
    fn from(problem: Problem) -> Command {
        match problem {
            Problem::Usage(complaint) => {
                Command::Usage { complaint: Some(format!("cproxy: {}", one_line(&complaint))), usage: help::usage() }
            }
            Problem::Invalid(line) => Command::Invalid(one_line(&line)),
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
    let options = flags::options();
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
    if let Some((flag, value)) = given.iter().find(|(flag, _)| flag.group == Group::Information) {
        return information(flag, value);
    }

    let mut draft = Draft::default();
    for (flag, value) in &given {
        if damaged && value.contains(char::REPLACEMENT_CHARACTER) {
            return Problem::Invalid(format!("the value of --{} is not valid UTF-8: '{value}'", flag.long)).into();
        }
        if let Err(problem) = draft.apply(flag.id, value) {
            return problem.into();
        }
    }
    if let Some(problem) = failure {
        return problem.into();
    }
    if arguments.is_empty() {
        return Command::Usage { complaint: None, usage: help::usage() };
    }
    match draft.finish() {
        Ok(settings) => Command::Run(Box::new(settings), stray(&matches)),
        Err(problem) => problem.into(),
    }
}

/// Every flag that was given and its value (empty if it takes none), from left to right.
fn in_order(matches: &Matches) -> Vec<(&'static Flag, String)> {
    let mut given = Vec::new();
    for flag in FLAGS {
        if flag.value.is_some() {
            given.extend(matches.opt_strs_pos(flag.long).into_iter().map(|(at, value)| (at, flag, value)));
        } else {
            given.extend(matches.opt_positions(flag.long).into_iter().map(|at| (at, flag, String::new())));
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
        let is_it = |flag: &&Flag| {
            name.strip_prefix("--") == Some(flag.long)
                || flag.short.is_some_and(|short| argument.strip_prefix('-') == Some(short.to_string().as_str()))
        };
        if let Some(flag) = flags::in_group(Group::Information).find(is_it) {
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
fn information(flag: &Flag, value: &str) -> Command {
    match flag.id {
        Id::Version => Command::Print(help::version()),
        Id::Man => Command::Print(man::page()),
        Id::Completions => match complete::script(value) {
            Some(script) => Command::Print(script),
            None => Problem::Invalid(format!("invalid completions {value}: expected {}", alternatives(flags::SHELLS)))
                .into(),
        },
        _ => Command::Print(help::help()),
    }
}

/// Settings in the making.
#[derive(Default)]
struct Draft {
    listeners: Vec<Endpoints>,
    remote: Option<Endpoints>,
    buffer_size: Option<usize>,
    no_delay: bool,
    io_threads: Option<usize>,
    zero_copy: Option<ZeroCopy>,
    reuse_port: bool,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<IdleTimeout>,
    drain_timeout: Option<Duration>,
    keepalive: Option<Duration>,
    backlog: Option<i32>,
    log_level: Option<LevelFilter>,
    quiet: bool,
    verbose: usize,
}

impl Draft {
    /// Takes one flag in.
    fn apply(&mut self, id: Id, value: &str) -> Result<(), Problem> {
        match id {
            Id::Listen => {
                let listener = endpoints(value)?;
                if !listener.addresses.iter().all(EndpointAddress::can_listen) {
                    return Err(Problem::Invalid(format!(
                        "invalid listen address {value}: it can only be a remote (-r)"
                    )));
                }
                self.listeners.push(listener);
            }
            Id::Remote if self.remote.is_some() => {
                return Err(Problem::Usage("only one remote (-r) can be given".to_string()));
            }
            Id::Remote => self.remote = Some(endpoints(value)?),
            Id::BufferSize => {
                let size = parse_size(value, ProcessSettings::MAX_BUFFER_SIZE as u64);
                self.buffer_size = Some(size.map_err(|e| invalid("buffer size", value, &e))? as usize);
            }
            Id::NoDelay => self.no_delay = true,
            Id::IoThreads => {
                let threads = parse_count(value, ProcessSettings::MAX_IO_THREADS as u64);
                self.io_threads = Some(threads.map_err(|e| invalid("num io threads", value, &e))? as usize);
            }
            Id::ZeroCopy => self.zero_copy = Some(zero_copy(value)?),
            Id::ReusePort => self.reuse_port = true,
            Id::Keepalive => self.keepalive = keepalive(value).map_err(|e| invalid("keepalive", value, &e))?,
            Id::Backlog => {
                let backlog = parse_count(value, i32::MAX as u64).map_err(|e| {
                    let reason = if e.is_empty() { "expected a whole number above 0" } else { &e };
                    invalid("backlog", value, reason)
                })?;
                self.backlog = Some(backlog as i32);
            }
            Id::ConnectTimeout => {
                let timeout = duration("connect timeout", value)?;
                if timeout.is_zero() {
                    return Err(invalid("connect timeout", value, "expected more than 0"));
                }
                self.connect_timeout = Some(timeout);
            }
            Id::IdleTimeout => {
                self.idle_timeout = Some(match duration("idle timeout", value)? {
                    Duration::ZERO => IdleTimeout::Never,
                    time => IdleTimeout::After(time),
                });
            }
            Id::DrainTimeout => self.drain_timeout = Some(duration("drain timeout", value)?),
            Id::LogLevel => {
                let expected = || format!("expected {}", alternatives(flags::LEVELS));
                self.log_level = Some(value.parse().map_err(|_| invalid("log level", value, &expected()))?);
            }
            Id::Quiet => self.quiet = true,
            Id::Verbose => self.verbose += 1,
            // These were dealt with before.
            Id::Help | Id::Version | Id::Man | Id::Completions => {}
        }
        Ok(())
    }

    /// The settings, if everything that is required was given.
    fn finish(self) -> Result<Settings, Problem> {
        let log = self.log();
        if self.listeners.is_empty() {
            return Err(Problem::Usage("a listen address (-l) is required".to_string()));
        }
        let Some(remote) = self.remote else {
            return Err(Problem::Usage("a remote address (-r) is required".to_string()));
        };
        let process = ProcessSettings::default();
        let process = ProcessSettings {
            io_threads: self.io_threads.unwrap_or(process.io_threads),
            buffer_size: self.buffer_size.map_or(process.buffer_size, BufferSize::Fixed),
            zero_copy: self.zero_copy.unwrap_or(process.zero_copy),
            reuse_port: self.reuse_port,
            drain_timeout: self.drain_timeout.unwrap_or(process.drain_timeout),
            log,
        };
        let service = ServiceSettings::new("", self.listeners, remote);
        let service = ServiceSettings {
            no_delay: self.no_delay,
            keepalive: self.keepalive,
            backlog: self.backlog.unwrap_or(service.backlog),
            connect_timeout: self.connect_timeout.unwrap_or(service.connect_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(service.idle_timeout),
            ..service
        };
        Ok(Settings { process, services: vec![service] })
    }

    /// What `--log-level`, or else `-q` and `-v`, ask for.
    fn log(&self) -> LogSettings {
        match (self.log_level, self.quiet, self.verbose) {
            (Some(level), _, _) => LogSettings::Level(level),
            (None, false, 0) => LogSettings::Environment,
            (None, true, 0) => LogSettings::Level(LevelFilter::Warn),
            (None, true, 1) => LogSettings::Level(LevelFilter::Info),
            (None, false, 1) | (None, true, 2) => LogSettings::Level(LevelFilter::Debug),
            (None, _, _) => LogSettings::Level(LevelFilter::Trace),
        }
    }
}

/// Resolves an address.
fn endpoints(value: &str) -> Result<Endpoints, Problem> {
    Endpoints::parse(value).map_err(|e| Problem::Invalid(e.to_string()))
}

/// Reads a duration.
fn duration(what: &str, value: &str) -> Result<Duration, Problem> {
    parse_duration(value).map_err(|e| invalid(what, value, &e))
}

/// Reads the value of `--zero-copy`.
fn zero_copy(value: &str) -> Result<ZeroCopy, Problem> {
    match value {
        "auto" => Ok(ZeroCopy::Auto),
        "always" if cfg!(target_os = "linux") => Ok(ZeroCopy::Always),
        "always" => Err(invalid("zero copy", value, "this system has no splice(2)")),
        "never" => Ok(ZeroCopy::Never),
        _ => Err(invalid("zero copy", value, &format!("expected {}", alternatives(flags::ZERO_COPY)))),
    }
}

/// Reads the value of `--keepalive`; the error is the reason.
fn keepalive(value: &str) -> Result<Option<Duration>, String> {
    let time = parse_duration(value)?;
    if time.subsec_nanos() != 0 {
        Err("expected whole seconds".to_string())
    } else if time > ServiceSettings::MAX_KEEPALIVE {
        Err(format!("more than {}s", ServiceSettings::MAX_KEEPALIVE.as_secs()))
    } else {
        Ok(Some(time).filter(|time| !time.is_zero()))
    }
}

/// The original's text for a bad value, and after it the reason, if there is one.
fn invalid(what: &str, value: &str, reason: &str) -> Problem {
    let colon = if reason.is_empty() { "" } else { ": " };
    Problem::Invalid(format!("invalid {what} {value}{colon}{reason}"))
}

/// `a, b or c`
fn alternatives(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        words => words.concat(),
    }
}

/// The text with control characters escaped, as an argument may hold any.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests;
