//! The one table of options: the command line, the configuration file and what is printed about both are made from it.
//!
//! An option is one [`Key`] in one of the files beside this one. Its name is the long flag and the key in the file, and
//! its own function takes its value from either. So a new option is a field of the settings and an entry here.

mod access;
mod access_log;
mod arguments;
mod balancing;
mod caps;
mod capture;
mod health;
mod hours;
mod inspection;
mod limits;
mod origin;
mod program;
mod proxy;
pub mod remote;
mod striping;
mod tuning;

use crate::config::draft::{Problem, ProcessDraft, ServiceDraft, Wishes};
use crate::config::settings::{ProcessSettings, RemoteSettings, ServiceSettings};
use crate::config::units::{format_duration, parse_count, parse_duration};
use std::time::Duration;

pub use access::RULES;
pub use balancing::BALANCE;
pub use capture::DUMP;
pub use health::ON_DOWN;
pub use inspection::FILTERS;
pub use limits::WHEN_FULL;
pub use program::{LEVELS, SHELLS};
pub use proxy::{PROXY_DATAGRAMS, SEND_PROXY};
pub use striping::STRIPE_MODE;
pub use tuning::{ON_RELOAD, ZERO_COPY};

/// What an option is for: the heading it stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The options of the original.
    Original,
    /// The configuration file.
    Configuration,
    /// How bytes and connections are handled fastest.
    Performance,
    /// Options of sockets.
    Sockets,
    /// Limits in time.
    Timeouts,
    /// Who may come in.
    Access,
    /// How many may come in.
    Limits,
    /// Who says who a client is.
    Proxy,
    /// How fast bytes may move.
    Rates,
    /// Which remote a session gets.
    Balancing,
    /// Which remotes work.
    Health,
    /// Sessions over several connections.
    Striping,
    /// What looks at bytes and changes them.
    Inspection,
    /// What is logged.
    Logging,
    /// What prints something and exits; such a flag wins over all others.
    Information,
}

impl Group {
    /// All groups, in the order in which they are shown.
    pub const ALL: [Group; 15] = [
        Group::Original,
        Group::Configuration,
        Group::Performance,
        Group::Sockets,
        Group::Timeouts,
        Group::Access,
        Group::Limits,
        Group::Proxy,
        Group::Rates,
        Group::Balancing,
        Group::Health,
        Group::Striping,
        Group::Inspection,
        Group::Logging,
        Group::Information,
    ];

    /// The heading in the usage.
    pub fn heading(self) -> &'static str {
        match self {
            Group::Original => "Arguments",
            Group::Configuration => "Configuration",
            Group::Performance => "Performance",
            Group::Sockets => "Sockets",
            Group::Timeouts => "Timeouts",
            Group::Access => "Access",
            Group::Limits => "Limits",
            Group::Proxy => "PROXY protocol",
            Group::Rates => "Rates",
            Group::Balancing => "Balancing",
            Group::Health => "Health",
            Group::Striping => "Striping",
            Group::Inspection => "Inspection",
            Group::Logging => "Logging",
            Group::Information => "Information",
        }
    }
}

/// What an option's value is: what a completion can help with, and how a file may write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address; see [`crate::address::FORMS`].
    Address,
    /// The path of a file.
    File,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Digits, perhaps with letters behind them: a file may write it as a number, too.
    Number,
    /// Any other text.
    Text,
}

/// An option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// How help names it, with each part that stands for something else in angle brackets.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it must be, in words that can follow "expected".
    pub expected: &'static str,
}

/// Where an option can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the command line and in the file.
    Both,
    /// On the command line.
    CommandLine,
    /// In the file.
    File,
}

/// How a value is written in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// As a string.
    Text(String),
    /// As a number.
    Number(u64),
    /// As `true`.
    On,
    /// As an array.
    Several(Vec<Shown>),
    /// As a table in the line.
    Table(Vec<(&'static str, Shown)>),
}

/// What an option belongs to, how its value is taken (an option without one takes `true` and `false`), and how it is
/// shown again, unless it has its default.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    /// The process.
    Process {
        /// Takes a value.
        set: fn(&mut ProcessDraft, &str) -> Result<(), Problem>,
        /// Shows it.
        show: fn(&ProcessSettings) -> Option<Shown>,
    },
    /// A service.
    Service {
        /// Takes a value.
        set: fn(&mut ServiceDraft<'_>, &str) -> Result<(), Problem>,
        /// Shows it.
        show: fn(&ServiceSettings) -> Option<Shown>,
    },
    /// A remote.
    Remote {
        /// Takes a value.
        set: fn(&mut RemoteSettings, &str) -> Result<(), Problem>,
        /// Shows it.
        show: fn(&RemoteSettings) -> Option<Shown>,
    },
    /// The run of the program.
    Program {
        /// Takes a value.
        set: fn(&mut Wishes, &str),
    },
    /// The file itself: more files with services.
    Include,
    /// Nothing; what it asks for is printed.
    Print(Print),
}

/// What can be printed without settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Print {
    /// The help.
    Help,
    /// The program's name and version.
    Version,
    /// The manual page of the program.
    Manual,
    /// The manual page of the configuration file.
    FileManual,
    /// The completions for a shell.
    Completions,
    /// A new key for stripes.
    StripeKey,
    /// What a running proxy says of the reload that it is asked for.
    Reload,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The letter after one hyphen.
    pub short: Option<char>,
    /// The name: after two hyphens, and in the file.
    pub long: &'static str,
    /// The value it takes.
    pub value: Option<Value>,
    /// What it belongs to.
    pub scope: Scope,
    /// Where it can be given.
    pub place: Place,
    /// What it is for.
    pub group: Group,
    /// Whether nothing runs without it.
    pub required: bool,
    /// Whether giving it again adds something.
    pub repeatable: bool,
    /// Whether an empty array would look like nobody or never, though without the option it is everybody or always.
    pub misread_if_empty: bool,
    /// What holds without it.
    pub default: Option<&'static str>,
    /// One line for usage and completions.
    pub help: &'static str,
    /// The manual page's text, a paragraph each; backquotes enclose what is typed as it stands.
    pub details: &'static [&'static str],
    /// A value for the example of a file, as the file writes it.
    pub example: &'static str,
}

impl Key {
    /// What most options are like.
    const USUAL: Key = Key {
        short: None,
        long: "",
        value: None,
        scope: Scope::Include,
        place: Place::Both,
        group: Group::Original,
        required: false,
        repeatable: false,
        misread_if_empty: false,
        default: None,
        help: "",
        details: &[],
        example: "true",
    };

    /// `-b, --buffer-size <bytes>`, with the long names of all flags below one another.
    pub fn spelling(&self) -> String {
        let short = self.short.map_or("    ".to_string(), |short| format!("-{short}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {}", value.name));
        format!("{short}--{}{value}", self.long)
    }

    /// The one line of help, and the default.
    pub fn help_and_default(&self) -> String {
        match self.default {
            Some(default) => format!("{} (default: {default})", self.help),
            None => self.help.to_string(),
        }
    }

    /// What it must be in a file, in words that can follow "expected".
    pub fn expected(&self) -> String {
        let one = self.value.map_or("true or false", |value| value.expected);
        if self.repeatable { format!("{one}, or an array of such strings") } else { one.to_string() }
    }

    /// Whether it can be given on the command line.
    pub fn is_flag(&self) -> bool {
        self.place != Place::File
    }

    /// Whether it can be given in a file.
    pub fn is_in_file(&self) -> bool {
        self.place != Place::CommandLine
    }

    /// Whether it is one of a service.
    pub fn is_of_service(&self) -> bool {
        matches!(self.scope, Scope::Service { .. })
    }
}

/// The options by what they are about, each in the order in which it is shown.
const TABLES: [&[Key]; 15] = [
    arguments::KEYS,
    tuning::KEYS,
    origin::KEYS,
    access::KEYS,
    hours::KEYS,
    limits::KEYS,
    proxy::KEYS,
    caps::KEYS,
    balancing::KEYS,
    health::KEYS,
    striping::KEYS,
    access_log::KEYS,
    capture::KEYS,
    inspection::KEYS,
    program::KEYS,
];

/// Every option, in the order in which they are shown.
pub fn all() -> impl Iterator<Item = &'static Key> {
    Group::ALL.into_iter().flat_map(|group| TABLES.into_iter().flatten().filter(move |key| key.group == group))
}

/// Those of the command line.
pub fn flags() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.is_flag())
}

/// Those of the command line in a group.
pub fn flags_in(group: Group) -> impl Iterator<Item = &'static Key> {
    flags().filter(move |key| key.group == group)
}

/// Those of a file that stand at its top.
pub fn at_top() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.is_in_file() && !key.is_of_service())
}

/// Those of a file that stand in the table of a service.
pub fn of_service() -> impl Iterator<Item = &'static Key> {
    all().filter(|key| key.is_in_file() && key.is_of_service())
}

/// The one of this name.
pub fn named(name: &str) -> Option<&'static Key> {
    TABLES.into_iter().flatten().find(|key| key.long == name)
}

/// One value alone, or several as an array; `None` without any.
fn one_or_several(mut shown: Vec<Shown>) -> Option<Shown> {
    match shown.len() {
        0 | 1 => shown.pop(),
        _ => Some(Shown::Several(shown)),
    }
}

/// A value that is a duration.
const DURATION: Option<Value> = Some(Value {
    name: "<duration>",
    kind: Kind::Number,
    expected: "a string such as \"30s\", or a whole number of seconds",
});

/// Reads a duration.
fn duration(what: &str, value: &str) -> Result<Duration, Problem> {
    parse_duration(value).map_err(|reason| Problem::invalid(what, value, &reason))
}

fn shown_duration(duration: Duration) -> Shown {
    Shown::Text(format_duration(duration))
}

/// A duration that is not the default.
fn unless(duration: Duration, default: Duration) -> Option<Shown> {
    (duration != default).then(|| shown_duration(duration))
}

/// The most that [`counted`] takes.
const MOST: u32 = 65535;

/// Reads a whole number from `least`, which is 0 or 1, to [`MOST`].
fn counted(what: &str, value: &str, least: u32) -> Result<u32, Problem> {
    if least == 0 && value.trim() == "0" {
        return Ok(0);
    }
    let count = parse_count(value, MOST.into()).map_err(|reason| {
        let expected = format!("expected a whole number from {least} to {MOST}");
        Problem::invalid(what, value, if reason.is_empty() { &expected } else { &reason })
    })?;
    Ok(count as u32)
}

/// `a, b or c`
pub fn alternatives(words: &[&str]) -> String {
    match words {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        words => words.concat(),
    }
}

#[cfg(test)]
mod tests;
