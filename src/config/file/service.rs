//! One `[service.NAME]` table.

use super::is_service_name;
use super::source::{Errors, Place, Source};
use super::syntax::{Entry, in_order, type_name};
use super::value::{take, take_element};
use crate::address::{Endpoints, Lookups};
use crate::base::similar::similar;
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::judge::{Culprit, problems};
use crate::config::keys::{self, Scope, remote};
use crate::config::settings::{RemoteSettings, ServiceSettings};
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use toml::de::{DeTable, DeValue};

/// A service, as far as it could be read.
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its listeners, and where each stands.
    pub listeners: Vec<(Endpoints, Place)>,
    /// Where each of its remotes stands.
    pub remotes: Vec<Place>,
    /// What it is, if nothing is missing.
    pub settings: Option<ServiceSettings>,
}

/// Reads the table of a service.
pub struct ServiceReader<'a> {
    /// The file.
    pub source: &'a Rc<Source>,
    /// What is wrong.
    pub errors: &'a mut Errors,
}

/// The key that may have a table.
const REMOTE: &str = "remote";

/// The key that says that names are looked up again.
const RESOLVE: &str = "resolve";

/// The key of the table of a remote.
const ADDRESS: &str = "address";

impl ServiceReader<'_> {
    /// The service, if it is a table.
    pub fn read(&mut self, entry: &Entry<'_>, lookups: &mut Lookups) -> Option<Found> {
        let place = self.source.place(entry.span.clone());
        if !is_service_name(entry.name) {
            let message =
                format!("invalid name `{}` of a service: expected letters, digits, `-`, `_` and `.`", entry.name);
            self.errors.add(&place, &message);
        }
        let DeValue::Table(table) = entry.value.get_ref() else {
            let message = format!(
                "`service.{0}` is {1}; expected a table [service.{0}]",
                entry.name,
                type_name(entry.value.get_ref())
            );
            self.errors.add(&place, &message);
            return None;
        };
        let folder = self.source.path.parent().unwrap_or(Path::new(""));
        let mut draft = ServiceDraft::new(entry.name, folder, lookups);
        let mut places = Places::default();
        let mut given = Vec::new();
        let before = self.errors.count();
        let mut options = in_order(table);
        // It decides what becomes of a remote without an address.
        options.sort_by_key(|option| option.name != RESOLVE);
        for option in &options {
            given.extend(self.option(option, &mut draft, &mut places));
            draft.follows_names = draft.settings.pool.resolve.is_some();
        }
        self.judge_missing(entry.name, &place, &given);
        let listeners = draft.settings.listeners.iter().cloned().zip(places.listeners).collect();
        let is_whole = self.errors.count() == before;
        let settings = draft.finish().ok();
        for (culprit, message) in settings.iter().flat_map(problems) {
            let place = match culprit {
                Culprit::Remote(number) => places.remotes.get(number).cloned(),
                // That an option has no effect may follow from what is wrong with another.
                Culprit::Option(_) if !is_whole => continue,
                Culprit::Option(name) => {
                    let option = options.iter().find(|option| option.name == name);
                    option.map(|option| self.source.place(option.value.span()))
                }
            };
            self.errors.add(&place.unwrap_or_else(|| self.source.place(entry.span.clone())), &message);
        }
        Some(Found { name: entry.name.to_string(), listeners, remotes: places.remotes, settings })
    }

    /// Takes one option in, and says which one it was, or was meant to be.
    fn option(&mut self, entry: &Entry<'_>, draft: &mut ServiceDraft<'_>, places: &mut Places) -> Option<&'static str> {
        let key = keys::of_service().find(|key| key.long == entry.name);
        let Some((key, Scope::Service { set, .. })) = key.map(|key| (key, key.scope)) else {
            return self.unknown(entry);
        };
        let set = |draft: &mut ServiceDraft<'_>, places: &mut Places, text: &str, place: Place| {
            set(draft, text)?;
            // At most one of both has become longer.
            places.listeners.resize(draft.settings.listeners.len(), place.clone());
            places.remotes.resize(draft.settings.remotes.len(), place);
            Ok(())
        };
        match entry.value.get_ref() {
            DeValue::Table(table) if key.long == REMOTE => self.remote(table, entry.span.clone(), draft, places),
            DeValue::Array(values) if key.long == REMOTE && !values.is_empty() => {
                for value in values.iter() {
                    match value.get_ref() {
                        DeValue::Table(table) => self.remote(table, value.span(), draft, places),
                        _ => take_element(self.source, self.errors, key, value, |text, place| {
                            set(draft, places, text, place)
                        }),
                    }
                }
            }
            _ => take(self.source, self.errors, key, entry, |text, place| set(draft, places, text, place)),
        }
        Some(key.long)
    }

    /// A remote that is a table, which stands here.
    fn remote(&mut self, table: &DeTable<'_>, span: Range<usize>, draft: &mut ServiceDraft<'_>, places: &mut Places) {
        let known = || [ADDRESS].into_iter().chain(remote::KEYS.iter().map(|key| key.long));
        let mut has_address = false;
        let mut found = None;
        let nowhere = Endpoints { argument: String::new(), addresses: Vec::new() };
        let mut options = RemoteSettings::new(nowhere);
        for entry in in_order(table) {
            if entry.name == ADDRESS {
                take(self.source, self.errors, &remote::ADDRESS, &entry, |text, place| {
                    found = Some((remote_at(draft, text)?, place));
                    Ok(())
                });
                has_address = true;
            } else if let Some((key, Scope::Remote { set, .. })) =
                remote::KEYS.iter().find(|key| key.long == entry.name).map(|key| (key, key.scope))
            {
                take(self.source, self.errors, key, &entry, |text, _| set(&mut options, text));
            } else {
                let (message, meant) = unknown(entry.name, known(), " of a remote");
                has_address |= meant == Some(ADDRESS);
                self.errors.add(&self.source.place(entry.span), &message);
            }
        }
        if !has_address && self.source.is_whole() {
            self.errors.add(&self.source.place(span), "the remote has no `address`");
        }
        if let Some((RemoteSettings { endpoints, unresolved, .. }, place)) = found {
            draft.settings.remotes.push(RemoteSettings { endpoints, unresolved, ..options });
            places.remotes.push(place);
        }
    }

    /// An option that services do not have.
    fn unknown(&mut self, entry: &Entry<'_>) -> Option<&'static str> {
        let place = self.source.place(entry.span.clone());
        if let Some(message) = misplaced(entry.name) {
            self.errors.add(&place, &message);
            return None;
        }
        let known = keys::of_service().chain(keys::at_top()).map(|key| key.long);
        let (mut message, meant) = unknown(entry.name, known, " of a service");
        if meant.is_none() && matches!(entry.value.get_ref(), DeValue::Table(_)) {
            message.push_str("; a name with a dot in it is written in quotes: [service.\"a.b\"]");
        }
        self.errors.add(&place, &message);
        meant
    }

    fn judge_missing(&mut self, name: &str, place: &Place, given: &[&str]) {
        let missing = keys::of_service().filter(|key| key.required && !given.contains(&key.long));
        if self.source.is_whole() {
            for key in missing {
                self.errors.add(place, &format!("service `{name}` has no `{}`", key.long));
            }
        }
    }
}

/// Where what a service has several of stands.
#[derive(Default)]
struct Places {
    listeners: Vec<Place>,
    remotes: Vec<Place>,
}

/// The remote of a table at this address, in which a comma begins nothing.
fn remote_at(draft: &mut ServiceDraft<'_>, address: &str) -> Result<RemoteSettings, Problem> {
    match draft.remote(address) {
        Err(problem) if remote::split(address).1.is_empty() => Err(problem),
        Err(_) => {
            let message = format!("invalid address {address}: in a table, options are keys beside `address`");
            Err(Problem::explained(message))
        }
        remote => remote,
    }
}

/// What to say of a key that nobody knows, and which one may have been meant.
pub fn unknown<'k>(name: &str, known: impl Iterator<Item = &'k str>, whose: &str) -> (String, Option<&'k str>) {
    match similar(name, known) {
        Some(meant) => (format!("unknown key `{name}`; did you mean `{meant}`?"), Some(meant)),
        None => (format!("unknown key `{name}`{whose}"), None),
    }
}

/// What to say of an option that exists, but not at this level of a file.
pub fn misplaced(name: &str) -> Option<String> {
    let key = keys::named(name)?;
    Some(if keys::RULES.contains(&name) {
        format!("`{name}` is one of the rules of `access`, as their order counts: access = [\"{name} 10.0.0.0/8\"]")
    } else if keys::FILTERS.contains(&name) {
        format!("`{name}` is one of the rules of `inspect`, as their order counts: inspect = [\"{name} ...\"]")
    } else if !key.is_in_file() {
        format!("`{name}` can only be given on the command line")
    } else if key.is_of_service() {
        format!("`{name}` is an option of a service: put it into a table [service.NAME]")
    } else if matches!(key.scope, Scope::Include) {
        "`include` belongs at the top of the file, before the first table".to_string()
    } else {
        format!("`{name}` is an option of the process: put it at the top of the file, before the first table")
    })
}
