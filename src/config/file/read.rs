//! A file and those it includes, as one set of settings.

use super::error::ConfigError;
use super::service::{Found, ServiceReader, misplaced, unknown};
use super::source::{Errors, Place, Source};
use super::syntax::{Entry, in_order, parse, type_name};
use super::value::take;
use super::{Overrides, include, taken_twice};
use crate::address::Lookups;
use crate::config::draft::{Problem, ProcessDraft};
use crate::config::keys::{self, Scope};
use crate::config::loops::loops;
use crate::config::settings::Settings;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use toml::de::DeValue;

/// The key of the tables of services.
const SERVICE: &str = "service";

/// What was read so far.
#[derive(Default)]
struct Reader {
    process: ProcessDraft,
    services: Vec<Found>,
    /// Where each service stands.
    names: HashMap<String, Place>,
    /// What is to be included, and where that is said.
    includes: Vec<(String, Place)>,
    lookups: Lookups,
    errors: Errors,
}

/// Reads all there is, and judges it.
pub fn read(path: &Path, overrides: &Overrides) -> Result<Settings, Vec<ConfigError>> {
    let main = Source::read(path, 0).map_err(|error| vec![error])?;
    let mut reader = Reader::default();
    reader.file(&main, true);
    reader.included(path);
    reader.judge_listeners();
    reader.judge_loops();
    reader.finish(path, overrides)
}

impl Reader {
    /// Reads one file.
    fn file(&mut self, source: &Rc<Source>, is_main: bool) {
        let table = parse(source, &mut self.errors);
        for entry in in_order(&table) {
            match entry.name {
                SERVICE => self.services(source, &entry),
                _ if is_main => self.option(source, &entry),
                _ => self.option_of_included(source, &entry),
            }
        }
    }

    /// Reads all tables of services.
    fn services(&mut self, source: &Rc<Source>, entry: &Entry<'_>) {
        let DeValue::Table(table) = entry.value.get_ref() else {
            let message = format!("`service` is {}; expected tables [service.NAME]", type_name(entry.value.get_ref()));
            self.errors.add(&source.place(entry.span.clone()), &message);
            return;
        };
        for entry in in_order(table) {
            let place = source.place(entry.span.clone());
            if let Some(other) = self.names.get(entry.name) {
                let message = format!("duplicate service `{}`; the other one is at {other}", entry.name);
                self.errors.add(&place, &message);
            }
            let found = ServiceReader { source, errors: &mut self.errors }.read(&entry, &mut self.lookups);
            self.services.extend(found);
            self.names.entry(entry.name.to_string()).or_insert(place);
        }
    }

    /// Takes in one option at the top of the main file.
    fn option(&mut self, source: &Rc<Source>, entry: &Entry<'_>) {
        let Reader { errors, process, includes, .. } = self;
        match keys::at_top().find(|key| key.long == entry.name).map(|key| (key, key.scope)) {
            Some((key, Scope::Process { set, .. })) => {
                take(source, errors, key, entry, |text, _| set(process, text));
            }
            Some((key, Scope::Include)) => {
                take(source, errors, key, entry, |text, place| {
                    if text.is_empty() {
                        return Err(Problem::explained("the path is empty".to_string()));
                    }
                    includes.push((text.to_string(), place));
                    Ok(())
                });
            }
            _ => {
                let known = keys::at_top().chain(keys::of_service()).map(|key| key.long).chain([SERVICE]);
                let message = misplaced(entry.name).unwrap_or_else(|| unknown(entry.name, known, "").0);
                errors.add(&source.place(entry.span.clone()), &message);
            }
        }
    }

    /// What to say of an option at the top of an included file.
    fn option_of_included(&mut self, source: &Rc<Source>, entry: &Entry<'_>) {
        let message = match keys::at_top().find(|key| key.long == entry.name).map(|key| key.scope) {
            Some(Scope::Include) => "an included file cannot include others".to_string(),
            Some(_) => format!("`{}` is an option of the process: an included file has services only", entry.name),
            None => misplaced(entry.name).unwrap_or_else(|| unknown(entry.name, [SERVICE].into_iter(), "").0),
        };
        self.errors.add(&source.place(entry.span.clone()), &message);
    }

    /// Reads the files that the main one includes, each once.
    fn included(&mut self, main: &Path) {
        let folder = main.parent().unwrap_or(Path::new(""));
        let mut known = HashSet::from([same(main)]);
        for (pattern, place) in std::mem::take(&mut self.includes) {
            match include::files(folder, &pattern) {
                Ok(files) if !include::is_pattern(&pattern) && files.iter().any(|file| same(file) == same(main)) => {
                    self.errors.add(&place, "the file includes itself");
                }
                Ok(files) => {
                    for file in files {
                        if known.insert(same(&file)) {
                            self.included_file(&file, known.len(), &place);
                        }
                    }
                }
                Err(reason) => self.errors.add(&place, &reason),
            }
        }
    }

    fn included_file(&mut self, file: &Path, number: usize, place: &Place) {
        // A pipe, say, would keep the program waiting.
        if file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            self.errors.add(place, &format!("{}: not a regular file", file.display()));
            return;
        }
        match Source::read(file, number) {
            Ok(source) => self.file(&source, false),
            Err(error) if error.position.is_some() => self.errors.add_whole(number, error),
            Err(error) => self.errors.add(place, &error.one_line()),
        }
    }

    /// No address can be listened at twice.
    fn judge_listeners(&mut self) {
        let all: Vec<_> = self
            .services
            .iter()
            .flat_map(|found| found.listeners.iter().map(|(listener, place)| (listener, place, &found.name)))
            .collect();
        // A name that has several addresses is listened on at its first.
        for (first, second) in taken_twice(all.iter().filter_map(|(listener, ..)| listener.addresses.first())) {
            let ((_, other, service), (listener, place, _)) = (all[first], all[second]);
            let message = format!(
                "duplicate listener {}; the other one is at {other}, in service `{service}`",
                listener.argument
            );
            self.errors.add(place, &message);
        }
    }

    /// No remote can be one of the listeners.
    fn judge_loops(&mut self) {
        let (places, services): (Vec<_>, Vec<_>) = self
            .services
            .iter()
            .filter_map(|found| found.settings.clone().map(|settings| (found.remotes.clone(), settings)))
            .unzip();
        for ((service, remote), message) in loops(&services) {
            if let Some(place) = places[service].get(remote) {
                self.errors.add(place, &message);
            }
        }
    }

    fn finish(mut self, path: &Path, overrides: &Overrides) -> Result<Settings, Vec<ConfigError>> {
        let from_file = std::mem::take(&mut self.process.log);
        if let Err(Problem::Usage(message) | Problem::Invalid { message, .. }) = overrides.apply(&mut self.process) {
            self.errors.add_whole(0, ConfigError::whole(path.to_path_buf(), &message));
        }
        if self.services.is_empty() && self.errors.is_empty() {
            let error = ConfigError::whole(path.to_path_buf(), "no service: add a table [service.NAME]");
            self.errors.add_whole(0, error);
        }
        if !self.errors.is_empty() {
            return Err(self.errors.finish(path));
        }
        let services = self.services.into_iter().filter_map(|found| found.settings).collect();
        Ok(Settings { process: self.process.finish(Some(&from_file)), services })
    }
}

/// A file's one name, if it has one.
fn same(file: &Path) -> PathBuf {
    file.canonicalize().unwrap_or_else(|_| file.to_path_buf())
}
