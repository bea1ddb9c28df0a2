//! From the options of a command line, and the file that they may name, to what is to be done.

use super::Command;
use crate::address::Lookups;
use crate::config::draft::{Missing, Problem, ProcessDraft, ServiceDraft, Wishes};
use crate::config::file::{self, ConfigSource, Overrides};
use crate::config::judge::{problems, warnings};
use crate::config::keys::{FILTERS, Key, Scope};
use crate::config::loops::loops;
use crate::config::settings::Settings;
use std::fmt::Write;
use std::path::Path;

/// What the options so far ask for.
pub struct CommandLine<'a> {
    process: ProcessDraft,
    service: ServiceDraft<'a>,
    wishes: Wishes,
    /// Whether services come from a file.
    has_file: bool,
    overrides: Overrides,
}

impl<'a> CommandLine<'a> {
    /// Nothing as yet, of a command line that names a file or not, and that has names followed or not.
    pub fn new(has_file: bool, follows_names: bool, lookups: &'a mut Lookups) -> CommandLine<'a> {
        CommandLine {
            process: ProcessDraft::default(),
            service: ServiceDraft { follows_names, ..ServiceDraft::new("", Path::new(""), lookups) },
            wishes: Wishes::default(),
            has_file,
            overrides: Overrides::default(),
        }
    }

    /// Takes one option in.
    pub fn apply(&mut self, key: &'static Key, value: &str) -> Result<(), Problem> {
        match key.scope {
            Scope::Process { set, .. } => {
                self.overrides.add(key, value);
                set(&mut self.process, value)
            }
            Scope::Service { .. } if self.has_file && !key.is_in_file() => Err(Problem::Usage(format!(
                "{} is a rule of a service: with --config (-c), it belongs in the file, as one of `{}`",
                spelling(key),
                if FILTERS.contains(&key.long) { "inspect" } else { "access" }
            ))),
            Scope::Service { .. } if self.has_file => Err(Problem::Usage(format!(
                "{} is an option of a service: with --config (-c), it belongs in the file",
                spelling(key)
            ))),
            Scope::Service { set, .. } => set(&mut self.service, value),
            Scope::Program { set } => {
                set(&mut self.wishes, value);
                Ok(())
            }
            // These are none of the command line's, and what is printed was dealt with before.
            Scope::Remote { .. } | Scope::Include | Scope::Print(_) => Ok(()),
        }
    }

    /// What is to be done, with these warnings about the command line and those about the settings.
    pub fn finish(self, warnings: Vec<String>) -> Command {
        let CommandLine { process, service, wishes, overrides, .. } = self;
        let Some(path) = wishes.config.clone() else {
            let settings = match settings(process, service) {
                Ok(settings) if wishes.check || wishes.print => judge(settings),
                settings => settings,
            };
            return match settings {
                Ok(settings) => done(settings, warnings, &wishes, None),
                Err(problem) => problem.into(),
            };
        };
        let source = ConfigSource { path, overrides };
        match source.load() {
            Ok(settings) => done(settings, warnings, &wishes, Some(source)),
            Err(errors) => Command::BadFile(errors),
        }
    }
}

/// `--listen (-l)`
fn spelling(key: &Key) -> String {
    let short = key.short.map(|short| format!(" (-{short})")).unwrap_or_default();
    format!("--{}{short}", key.long)
}

/// The settings of a command line without a file.
fn settings(process: ProcessDraft, service: ServiceDraft<'_>) -> Result<Settings, Problem> {
    let service = service.finish().map_err(|missing| {
        Problem::Usage(match missing {
            Missing::Listener => "a listen address (-l) is required".to_string(),
            Missing::Remote => "a remote address (-r) is required".to_string(),
        })
    })?;
    match problems(&service).into_iter().next() {
        Some((_, message)) => Err(Problem::explained(message)),
        None => Ok(Settings { process: process.finish(None), services: vec![service] }),
    }
}

/// What a file is judged for and a command line is not, as binding tells.
fn judge(settings: Settings) -> Result<Settings, Problem> {
    let twice = file::taken_twice(file::listening(&settings.services)).first().map(|(_, second)| *second);
    match twice.and_then(|number| settings.services[0].listeners.get(number)) {
        Some(listener) => Err(Problem::explained(format!("duplicate listener {}", listener.argument))),
        None => match loops(&settings.services).into_iter().next() {
            Some((_, message)) => Err(Problem::explained(message)),
            None => Ok(settings),
        },
    }
}

/// What becomes of good settings.
fn done(settings: Settings, mut said: Vec<String>, wishes: &Wishes, source: Option<ConfigSource>) -> Command {
    said.extend(settings.services.iter().flat_map(warnings));
    if wishes.print {
        let comments: String = said.iter().map(|warning| format!("# {warning}\n")).collect();
        return Command::Print(comments + &file::print(&settings));
    }
    if wishes.check {
        let mut text: String = said.iter().map(|warning| format!("{warning}\n")).collect();
        let what = source.map_or("the command line".to_string(), |source| source.path.display().to_string());
        let listeners = counted(file::listening(&settings.services).count(), "listener");
        let _ = writeln!(text, "{what} is good: {}, {listeners}", counted(settings.services.len(), "service"));
        return Command::Print(text);
    }
    Command::Run(Box::new(settings), said, source)
}

/// `1 service`, `2 services`
fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
