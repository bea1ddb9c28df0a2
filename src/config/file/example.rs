//! What is written about the file from the table of options: the example of the packages, and the table of keys of the
//! documentation.

use crate::config::keys::{self, Key, remote};
use std::fmt::Write;

/// A file that does nothing: every key is there as a comment, with its default and what it is for.
pub fn example() -> String {
    let mut file = EXAMPLE_START.to_string();
    for key in keys::at_top() {
        entry(&mut file, key);
    }
    file.push_str(EXAMPLE_SERVICE);
    for key in keys::of_service() {
        entry(&mut file, key);
    }
    file
}

const EXAMPLE_START: &str = "\
# The configuration of cproxy. It is used by `cproxy --config FILE`, and described in cproxy.toml(5).
#
# All lines are comments, so that nothing runs by this file as it is. Remove the `#` before a line to make it hold,
# starting with [service.NAME], `listen` and `remote`. `cproxy --config FILE --check` says whether the file is good.

# Options of the process come first, before all tables.
";

const EXAMPLE_SERVICE: &str = "
# Each service has a table. Its name is made of letters, digits, `-`, `_` and `.`.
#[service.NAME]

# Several remotes are an array, or a table each, [[service.NAME.remote]], with the keys `address`, `weight`, `backup` and
# `max`.
";

fn entry(file: &mut String, key: &Key) {
    let default = match key.default {
        Some(default) => format!(" (default: {default})"),
        None if key.required => " (required)".to_string(),
        None => " (default: false)".to_string(),
    };
    let _ = writeln!(file, "\n# {}{default}\n#{} = {}", sentence(key.help), key.long, key.example);
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut text = text.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// The tables of keys of the documentation, in Markdown.
pub fn reference() -> String {
    let mut text =
        "### Options of the process\n\nThey stand at the top of the file, before the first table.\n\n".to_string();
    rows(&mut text, keys::at_top());
    text.push_str("\n### Options of a service\n\nThey stand in the table `[service.NAME]`.\n\n");
    rows(&mut text, keys::of_service());
    text.push_str(
        "\n### Options of a remote\n\nThey stand in a table of the remote, or behind its address, with commas before them.\n\n",
    );
    rows(&mut text, [&remote::ADDRESS].into_iter().chain(remote::KEYS));
    text
}

fn rows(text: &mut String, keys: impl Iterator<Item = &'static Key>) {
    text.push_str("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = match key.default {
            Some(default) => default,
            None if key.required => "required",
            None => "false",
        };
        let meaning = key.details.join(" ").replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {} | {default} | {meaning} |", key.long, key.expected());
    }
}
