//! From a value of a file to what the flag of the same name takes.

use super::source::{Errors, Place, Source};
use super::syntax::{Entry, type_name};
use crate::config::draft::Problem;
use crate::config::keys::{Key, Kind};
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

/// Gives each text that stands for a value of this key to `set`, with its place.
pub fn take(
    source: &Rc<Source>,
    errors: &mut Errors,
    key: &Key,
    entry: &Entry<'_>,
    mut set: impl FnMut(&str, Place) -> Result<(), Problem>,
) {
    for found in texts(key, entry) {
        take_one(source, errors, key, found, &mut set);
    }
}

/// The same for one element of an array.
pub fn take_element(
    source: &Rc<Source>,
    errors: &mut Errors,
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    mut set: impl FnMut(&str, Place) -> Result<(), Problem>,
) {
    take_one(source, errors, key, element(key, value), &mut set);
}

/// A text that stands for a value, or what is wrong with it, and where it stands.
type Found = (Result<String, String>, Range<usize>);

fn take_one(
    source: &Rc<Source>,
    errors: &mut Errors,
    key: &Key,
    (text, span): Found,
    set: &mut impl FnMut(&str, Place) -> Result<(), Problem>,
) {
    let place = source.place(span);
    if !place.is_certain() {
        return;
    }
    let outcome = text.and_then(|text| set(&text, place.clone()).map_err(|problem| message(key, problem)));
    if let Err(message) = outcome {
        errors.add(&place, &message);
    }
}

/// A value's texts.
fn texts(key: &Key, entry: &Entry<'_>) -> Vec<Found> {
    match entry.value.get_ref() {
        DeValue::Array(values) if key.repeatable && values.is_empty() && (key.required || key.misread_if_empty) => {
            vec![(Err(format!("`{}` is empty; expected {}", key.long, key.expected())), entry.value.span())]
        }
        DeValue::Array(values) if key.repeatable => values.iter().map(|value| element(key, value)).collect(),
        value => {
            let wrong = || format!("`{}` is {}; expected {}", key.long, type_name(value), key.expected());
            vec![(text(key, entry.value).ok_or_else(wrong), entry.value.span())]
        }
    }
}

/// The text of an element of an array.
fn element(key: &Key, value: &Spanned<DeValue<'_>>) -> Found {
    let wrong = || {
        let expected = key.value.map_or("", |value| value.expected);
        format!("{} in the array of `{}`; expected {expected}", type_name(value.get_ref()), key.long)
    };
    (text(key, value).ok_or_else(wrong), value.span())
}

/// The flag's form of one value, if it is of a type that the key takes.
fn text(key: &Key, value: &Spanned<DeValue<'_>>) -> Option<String> {
    match (key.value.map(|value| value.kind), value.get_ref()) {
        (None, DeValue::Boolean(on)) => Some(on.to_string()),
        (Some(_), DeValue::String(text)) => Some(text.to_string()),
        (Some(Kind::Number), DeValue::Integer(number)) => Some(decimal(number)),
        _ => None,
    }
}

/// A number as the command line writes it; one that is too large stays as it is, and is refused as such.
fn decimal(number: &DeInteger<'_>) -> String {
    match i128::from_str_radix(number.as_str(), number.radix()) {
        Ok(value) => value.to_string(),
        Err(_) if number.radix() == 10 => number.as_str().to_string(),
        Err(_) => i128::MAX.to_string(),
    }
}

/// What the flag says, and what was expected where it does not say that.
fn message(key: &Key, problem: Problem) -> String {
    match problem {
        Problem::Usage(message) | Problem::Invalid { message, explained: true } => message,
        Problem::Invalid { message, explained: false } => format!("{message}: expected {}", key.expected()),
    }
}
