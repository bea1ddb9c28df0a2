//! The usage, shown for a bad command line, and `--help`.

use crate::address::FORMS;
use crate::config::keys::{Group, flags, flags_in};
use std::fmt::Write;

/// The width that all text is wrapped to.
const WIDTH: usize = 80;

/// How to call the program, and every flag in one line: the original's first, the rest grouped.
pub fn usage() -> String {
    let mut text = synopsis();
    for group in Group::ALL {
        let _ = writeln!(text, "{}:", group.heading());
        for flag in flags_in(group) {
            entry(&mut text, &flag.spelling(), spelling_width(), &flag.help_and_default());
        }
    }
    text
}

/// The usage, with what the program is before it and what an address is after it.
pub fn help() -> String {
    let mut text = String::new();
    wrap(
        &mut text,
        0,
        "cproxy is a proxy. It accepts clients, connects each of them to a remote, and passes on what either side sends. It carries TCP and Unix streams, and UDP and other datagrams.",
    );
    text.push('\n');
    text.push_str(&usage());
    text.push_str("Addresses:\n");
    let width = FORMS.iter().map(|(form, _)| form.len()).max().unwrap_or(0);
    for (form, meaning) in FORMS {
        entry(&mut text, form, width, meaning);
    }
    text.push('\n');
    wrap(
        &mut text,
        0,
        "After the address of -r there can be its own options, as in -r host:80,weight=3,backup,max=100.",
    );
    text.push('\n');
    wrap(
        &mut text,
        0,
        "A duration is a number with ms, s, m or h, or a number of seconds without a unit. A size is a number of bytes, or a number with k, m or g (powers of 1024). The manual page describes everything: cproxy --man | man -l -",
    );
    text
}

/// The program's name and version, in one line.
pub fn version() -> String {
    format!("cproxy {}\n", env!("CARGO_PKG_VERSION"))
}

/// The original's synopsis, made from its group of flags.
fn synopsis() -> String {
    let indent = " ".repeat("  cproxy ".len());
    let mut text = "Usage:\n".to_string();
    let mut line = "  cproxy".to_string();
    for part in synopsis_parts().into_iter().chain(["[<options>]".to_string()]) {
        if line.len() + 1 + part.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line.clone_from(&indent);
            line.pop();
        }
        let _ = write!(line, " {part}");
    }
    let _ = writeln!(text, "{line}\n  cproxy -c <file> [<options>]\n  cproxy top [--once] <address>");
    text
}

/// `-l <addr>:<port>`, `[-l <addr>:<port>]...`, `[-n]` and so on, for the original's flags.
pub fn synopsis_parts() -> Vec<String> {
    let mut parts = Vec::new();
    for flag in flags_in(Group::Original) {
        let name = flag.short.map_or(format!("--{}", flag.long), |short| format!("-{short}"));
        let part = flag.value.map_or(name.clone(), |value| format!("{name} {}", value.name));
        match (flag.required, flag.repeatable) {
            (true, false) => parts.push(part),
            // As in the original, where only this one could be given again.
            (true, true) if flag.long == "listen" => parts.extend([part.clone(), format!("[{part}]...")]),
            (true, true) => parts.push(part),
            (false, false) => parts.push(format!("[{part}]")),
            (false, true) => parts.push(format!("[{part}]...")),
        }
    }
    parts
}

/// The width of the longest flag.
fn spelling_width() -> usize {
    flags().map(|flag| flag.spelling().len()).max().unwrap_or(0)
}

/// One line of a list in two columns; what does not fit goes on below, in the second.
fn entry(text: &mut String, left: &str, width: usize, right: &str) {
    let _ = write!(text, "  {left:width$}  ");
    wrap(text, width + 4, right);
}

/// Adds words, starting at this column, and goes on at it in the lines below.
fn wrap(text: &mut String, column: usize, words: &str) {
    let mut at = column;
    for word in words.split_whitespace() {
        if at > column && at + 1 + word.len() > WIDTH {
            let _ = write!(text, "\n{:column$}", "");
            at = column;
        }
        if at > column {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += word.len();
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::remote;

    #[test]
    fn the_usage_starts_as_the_originals() {
        let usage = usage();
        let words: Vec<_> = usage.split("Arguments:").next().expect("a synopsis").split_whitespace().collect();
        assert_eq!(
            words.join(" "),
            "Usage: cproxy -l <addr>:<port> [-l <addr>:<port>]... -r <addr>:<port> [-b <bytes>] [-n] [-t <threads>] [<options>] cproxy -c <file> [<options>] cproxy top [--once] <address>"
        );
        assert!(usage.starts_with("Usage:\n  cproxy -l "));
    }

    #[test]
    fn lines_fit_and_have_no_trailing_blanks() {
        for text in [usage(), help(), version()] {
            assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
            for line in text.lines() {
                assert!(line.len() <= WIDTH, "{line}");
                assert_eq!(line.trim_end(), line);
            }
        }
    }

    #[test]
    fn defaults_are_shown() {
        for flag in flags() {
            if let Some(default) = flag.default {
                let words = help().split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains(&format!("(default: {default})")), "{}", flag.long);
            }
        }
    }

    #[test]
    fn help_shows_every_form_of_address() {
        let help = help();
        for key in remote::KEYS {
            assert!(help.contains(&format!(",{}", key.long)), "{}", key.long);
        }
        for (form, _) in FORMS {
            assert!(help.contains(&format!("\n  {form} ")), "{form}");
        }
    }
}
