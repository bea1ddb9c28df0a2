//! Options for the program itself: its file, its log, and what it prints.

use super::{Group, Key, Kind, Place, Print, Scope, Shown, Value, alternatives};
use crate::config::draft::Problem;
use crate::log::LogSettings;
use log::LevelFilter;
use std::path::PathBuf;

/// The words that `log-level` takes.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];

/// The shells that `completions` takes.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// The option that the process has, and a service in a file as well.
const LOG_LEVEL: &str = "log-level";

/// A level.
const LEVEL: Option<Value> = Some(Value {
    name: "<level>",
    kind: Kind::Words(LEVELS),
    expected: "\"error\", \"warn\", \"info\", \"debug\", \"trace\" or \"off\"",
});

fn level(value: &str) -> Result<LevelFilter, Problem> {
    let expected = || format!("expected {}", alternatives(LEVELS));
    value.parse().map_err(|_| Problem::invalid("log level", value, &expected()))
}

fn shown_level(level: LevelFilter) -> Shown {
    Shown::Text(level.as_str().to_ascii_lowercase())
}

pub(super) const KEYS: &[Key] = &[
    Key {
        short: Some('c'),
        long: "config",
        value: Some(Value { name: "<file>", kind: Kind::File, expected: "the path of a file" }),
        scope: Scope::Program { set: |wishes, value| wishes.config = Some(PathBuf::from(value)) },
        place: Place::CommandLine,
        group: Group::Configuration,
        help: "read services and settings from this file",
        details: &["Read services and settings from this file; cproxy.toml(5) describes it. \
             Beside it, options of the process can be given, and win over the file. Options of a service cannot."],
        ..Key::USUAL
    },
    Key {
        long: "check",
        scope: Scope::Program { set: |wishes, _| wishes.check = true },
        place: Place::CommandLine,
        group: Group::Configuration,
        help: "judge the file or the command line and exit",
        details: &[
            "Read the file or the command line, look up its names, judge it, and exit without listening anywhere. \
             The status is 0 if it is good. Otherwise it is 1, and all errors are printed.",
        ],
        ..Key::USUAL
    },
    Key {
        long: "print-config",
        scope: Scope::Program { set: |wishes, _| wishes.print = true },
        place: Place::CommandLine,
        group: Group::Configuration,
        help: "print the configuration as a file and exit",
        details: &[
            "Judge the file or the command line as `--check` does, print the configuration that results as one \
             file on standard output, and exit. What has its default is left out. So a command line becomes a file.",
        ],
        ..Key::USUAL
    },
    Key {
        long: "reload",
        value: Some(Value { name: "<pid>", kind: Kind::Number, expected: "the number of a process" }),
        scope: Scope::Print(Print::Reload),
        place: Place::CommandLine,
        group: Group::Configuration,
        help: "have the proxy of this process reload, print the result, and exit",
        details: &[
            "Have the proxy of this process, which must have been started with `--config`, read its configuration again, \
             as `SIGHUP` does. Wait until it has done so, and print what has changed, or why nothing has. \
             The status is 0 if the new configuration is in force, but for what needs a restart, and 1 if it is not. \
             Linux only.",
        ],
        ..Key::USUAL
    },
    Key {
        long: "include",
        value: Some(Value { name: "<pattern>", kind: Kind::File, expected: "a string with a path or a pattern" }),
        scope: Scope::Include,
        place: Place::File,
        group: Group::Configuration,
        repeatable: true,
        default: Some("none"),
        help: "more files with services",
        details: &[
            "Files with more services. A path that does not start with `/` is relative to the folder of this file. \
             In a pattern, `*` stands for any number of characters and `?` for one, but not for a `/`, \
             nor for a dot at the start of a name. The files are read in the order of their names. \
             A pattern that matches nothing is no error; a path without `*` and `?` must exist. \
             An included file has services only: neither options of the process nor `include`.",
        ],
        example: "\"conf.d/*.toml\"",
        ..Key::USUAL
    },
    Key {
        long: LOG_LEVEL,
        value: LEVEL,
        scope: Scope::Process {
            set: |process, value| {
                process.log.level = Some(level(value)?);
                Ok(())
            },
            show: |process| match process.log {
                LogSettings::Level(level) => Some(shown_level(level)),
                LogSettings::Environment => None,
            },
        },
        group: Group::Logging,
        default: Some("info"),
        help: "log up to this level: error, warn, info, debug, trace, or off",
        details: &[
            "The least severe level that is logged: `error`, `warn`, `info`, `debug`, `trace`, or `off` for no log. \
             This option takes precedence over `-q` and `-v`, and all three over the variable `RUST_LOG`.",
        ],
        example: "\"info\"",
        ..Key::USUAL
    },
    Key {
        long: LOG_LEVEL,
        value: LEVEL,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.log_level = Some(level(value)?);
                Ok(())
            },
            show: |service| service.log_level.map(shown_level),
        },
        place: Place::File,
        group: Group::Logging,
        default: Some("that of the process"),
        help: "log what concerns this service up to this level: error, warn, info, debug, trace, or off",
        details: &[
            "The least severe level that is logged of this service's clients, sessions and remotes: `error`, `warn`, \
             `info`, `debug`, `trace`, or `off`. Without it, what the process logs holds.",
        ],
        example: "\"warn\"",
        ..Key::USUAL
    },
    Key {
        short: Some('q'),
        long: "quiet",
        scope: Scope::Process {
            set: |process, _| {
                process.log.quiet = true;
                Ok(())
            },
            show: |_| None,
        },
        place: Place::CommandLine,
        group: Group::Logging,
        help: "log warnings and errors only",
        details: &["Log warnings and errors only. Together with one `-v` it has no effect."],
        ..Key::USUAL
    },
    Key {
        short: Some('v'),
        long: "verbose",
        scope: Scope::Process {
            set: |process, _| {
                process.log.verbose += 1;
                Ok(())
            },
            show: |_| None,
        },
        place: Place::CommandLine,
        group: Group::Logging,
        repeatable: true,
        help: "log more: up to debug, or up to trace when given twice",
        details: &["Log up to the level `debug`, or up to `trace` when the option is given twice."],
        ..Key::USUAL
    },
    Key {
        short: Some('h'),
        long: "help",
        scope: Scope::Print(Print::Help),
        help: "print this help and exit",
        details: &["Print help on standard output and exit."],
        ..PRINTING
    },
    Key {
        short: Some('V'),
        long: "version",
        scope: Scope::Print(Print::Version),
        help: "print the version and exit",
        details: &["Print the version on standard output and exit."],
        ..PRINTING
    },
    Key {
        long: "man",
        scope: Scope::Print(Print::Manual),
        help: "print the manual page, as roff, and exit",
        details: &["Print this manual page, as roff, on standard output and exit."],
        ..PRINTING
    },
    Key {
        long: "man-config",
        scope: Scope::Print(Print::FileManual),
        help: "print the manual page of the file and exit",
        details: &[
            "Print the manual page of the configuration file, cproxy.toml(5), as roff, on standard output and exit.",
        ],
        ..PRINTING
    },
    Key {
        long: "completions",
        value: Some(Value { name: "<shell>", kind: Kind::Words(SHELLS), expected: "bash, zsh or fish" }),
        scope: Scope::Print(Print::Completions),
        help: "print a completion script for bash, zsh or fish and exit",
        details: &[
            "Print a script that completes command lines in `bash`, `zsh` or `fish` on standard output and exit.",
        ],
        ..PRINTING
    },
    Key {
        long: "make-key",
        scope: Scope::Print(Print::StripeKey),
        help: "print a new key for --stripe-key and exit",
        details: &[
            "Print a new random key for the file of `--stripe-key` on standard output and exit. \
             `(umask 077; cproxy --make-key >stripe.key)` makes a file that only its owner can read; \
             copy it to the other end by a way that nobody else can read, such as scp(1).",
            "To change a key without a break, add the new one as the second line at the ends that accept lanes. Then \
             make it the only one at the ends that dial, and at last at the ends that accept.",
        ],
        ..PRINTING
    },
];

/// What prints something and exits.
const PRINTING: Key = Key { place: Place::CommandLine, group: Group::Information, ..Key::USUAL };
