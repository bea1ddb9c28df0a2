//! Settings as a file.

use super::DEFAULT_NAME;
use crate::config::keys::{self, Scope, Shown};
use crate::config::settings::Settings;
use std::fmt::Write;

/// The file that these settings are read from, without what has its default.
pub fn print(settings: &Settings) -> String {
    let mut file = String::new();
    for key in keys::at_top() {
        if let Scope::Process { show, .. } = key.scope {
            line(&mut file, key.long, show(&settings.process));
        }
    }
    for service in &settings.services {
        let name = if service.name.is_empty() { DEFAULT_NAME } else { &service.name };
        let name = if name.contains('.') { quoted(name) } else { name.to_string() };
        let blank = if file.is_empty() { "" } else { "\n" };
        let _ = writeln!(file, "{blank}[service.{name}]");
        for key in keys::of_service() {
            if let Scope::Service { show, .. } = key.scope {
                line(&mut file, key.long, show(service));
            }
        }
    }
    file
}

fn line(file: &mut String, name: &str, value: Option<Shown>) {
    if let Some(value) = value {
        let _ = writeln!(file, "{name} = {}", written(&value));
    }
}

/// A value as TOML writes it.
fn written(value: &Shown) -> String {
    match value {
        Shown::Text(text) => quoted(text),
        Shown::Number(number) => number.to_string(),
        Shown::On => "true".to_string(),
        Shown::Several(values) => format!("[{}]", values.iter().map(written).collect::<Vec<_>>().join(", ")),
        Shown::Table(entries) => {
            let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name} = {}", written(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A string as TOML writes it; one with backslashes as it is, where that can be.
fn quoted(text: &str) -> String {
    if text.contains('\\') && !text.contains(|c: char| c == '\'' || c.is_control()) {
        return format!("'{text}'");
    }
    let mut quoted = "\"".to_string();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
