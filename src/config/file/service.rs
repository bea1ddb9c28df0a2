//! One `[service.NAME]` table.

use super::source::{Errors, Place, Source};
use super::syntax::{Entry, in_order, type_name};
use super::value::take;
use super::{is_service_name, similar::similar};
use crate::address::{Endpoints, Lookups};
use crate::config::draft::ServiceDraft;
use crate::config::keys::{self, Key, Scope};
use crate::config::settings::ServiceSettings;
use crate::config::striping::useless_key;
use std::path::Path;
use std::rc::Rc;
use toml::de::{DeTable, DeValue};

/// A service, as far as it could be read.
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its listeners, and where each stands.
    pub listeners: Vec<(Endpoints, Place)>,
    /// Where its remote stands.
    pub remote: Option<Place>,
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

/// The key that is of no use without a stripe.
const STRIPE_KEY: &str = "stripe-key";

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
        let mut places = Vec::new();
        let mut given = Vec::new();
        for option in in_order(table) {
            given.extend(self.option(&option, &mut draft, &mut places));
        }
        self.judge_missing(entry.name, &place, &given);
        let listeners = draft.settings.listeners.iter().cloned().zip(places).collect();
        let place_of = |name: &str| {
            let option = in_order(table).into_iter().find(|option| option.name == name);
            option.map(|option| self.source.place(option.value.span()))
        };
        let remote = place_of(REMOTE);
        let settings = draft.finish().ok();
        if let (Some(message), Some(place)) = (settings.as_ref().and_then(useless_key), place_of(STRIPE_KEY)) {
            self.errors.add(&place, &message);
        }
        Some(Found { name: entry.name.to_string(), listeners, remote, settings })
    }

    /// Takes one option in, and says which one it was, or was meant to be.
    fn option(
        &mut self,
        entry: &Entry<'_>,
        draft: &mut ServiceDraft<'_>,
        places: &mut Vec<Place>,
    ) -> Option<&'static str> {
        let key = keys::of_service().find(|key| key.long == entry.name);
        let Some((key, Scope::Service { set, .. })) = key.map(|key| (key, key.scope)) else {
            return self.unknown(entry);
        };
        if let (true, DeValue::Table(table)) = (key.long == REMOTE, entry.value.get_ref()) {
            self.remote(table, key, entry, draft);
            return Some(key.long);
        }
        take(self.source, self.errors, key, entry, |text, place| {
            let before = draft.settings.listeners.len();
            set(draft, text)?;
            if draft.settings.listeners.len() > before {
                places.push(place);
            }
            Ok(())
        });
        Some(key.long)
    }

    /// A remote that is a table.
    fn remote(&mut self, table: &DeTable<'_>, key: &Key, entry: &Entry<'_>, draft: &mut ServiceDraft<'_>) {
        let Scope::Service { set, .. } = key.scope else { return };
        let mut has_address = false;
        for entry in in_order(table) {
            if entry.name == ADDRESS {
                let address = Key { long: ADDRESS, ..*key };
                take(self.source, self.errors, &address, &entry, |text, _| set(draft, text));
                has_address = true;
            } else {
                let message = unknown(entry.name, [ADDRESS].into_iter(), " of a remote").0;
                has_address |= similar(entry.name, [ADDRESS].into_iter()).is_some();
                self.errors.add(&self.source.place(entry.span), &message);
            }
        }
        if !has_address && self.source.is_whole() {
            self.errors.add(&self.source.place(entry.span.clone()), "the remote has no `address`");
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
    Some(if !key.is_in_file() {
        format!("`{name}` can only be given on the command line")
    } else if key.is_of_service() {
        format!("`{name}` is an option of a service: put it into a table [service.NAME]")
    } else if matches!(key.scope, Scope::Include) {
        "`include` belongs at the top of the file, before the first table".to_string()
    } else {
        format!("`{name}` is an option of the process: put it at the top of the file, before the first table")
    })
}
