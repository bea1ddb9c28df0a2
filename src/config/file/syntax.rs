//! From a file's text to tables, by the TOML parser, which goes on after an error where it can.

use super::source::{Broken, Errors, Source};
use std::ops::Range;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// The largest text in which errors after the first are looked for: each takes memory before it can be counted.
const MOST_SEARCHED: usize = 1 << 20;

/// What stands in a file, as far as it can be read.
pub fn parse<'a>(source: &'a Rc<Source>, errors: &mut Errors) -> DeTable<'a> {
    match DeTable::parse(&source.text) {
        Ok(table) => return table.into_inner(),
        Err(error) if source.text.len() > MOST_SEARCHED => {
            tell(source, &[error], errors);
            return DeTable::new();
        }
        Err(_) => {}
    }
    let mut wrong = Vec::new();
    let readable = source.set_readable(without_stops(&source.text, &mut wrong));
    let (table, others) = DeTable::parse_recoverable(readable);
    wrong.extend(others);
    wrong.sort_by_key(|error| span(error).start);
    tell(source, &wrong, errors);
    table.into_inner()
}

/// The text with blanks in place of the lines at which the parser would stop, and its errors at them.
fn without_stops(text: &str, wrong: &mut Vec<Error>) -> String {
    let mut text = text.to_string();
    for _ in 0..MOST_STOPS {
        let (_, found) = DeTable::parse_recoverable(&text);
        let Some(stop) = found.into_iter().find(|error| error.message().starts_with(STOPS)) else { break };
        let at = span(&stop).start.min(text.len());
        let (start, end) = (start_of_line(&text, at), find(&text, at, "\n"));
        if text[start..end].trim().is_empty() {
            break;
        }
        text.replace_range(start..end, &" ".repeat(end - start));
        wrong.push(stop);
    }
    text
}

/// What the parser says of a line after which it reads no more.
const STOPS: &str = "key with no value";

/// The most such lines after which reading goes on.
const MOST_STOPS: usize = 20;

/// Tells the errors that are not only consequences of those before them: the first of each line, and none after
/// something that was not closed.
fn tell(source: &Rc<Source>, wrong: &[Error], errors: &mut Errors) {
    let text = &source.text;
    let last_unclosed = wrong.iter().rposition(is_unclosed);
    let mut broken = Broken::default();
    let mut end_of_line = 0;
    let mut end_of_repeated_table = 0;
    for (number, error) in wrong.iter().enumerate() {
        let at = span(error).start.min(text.len());
        if number > 0 && at <= end_of_line || error.message() == DUPLICATE && at < end_of_repeated_table {
            continue;
        }
        let start = start_of_line(text, at);
        end_of_line = find(text, at, "\n");
        if error.message() == DUPLICATE {
            // The keys of a table that is there twice are there twice, too: that would only hide the reason.
            if line(text, at).starts_with('[') {
                end_of_repeated_table = find(text, at, "\n[");
            }
            add(source, errors, span(error), || duplicate(text, &span(error)));
            continue;
        }
        let goes_on = is_unclosed(error) || (is_comma(error) && last_unclosed > Some(number));
        let in_line = || wrong[number..].iter().take_while(|error| span(error).start <= end_of_line);
        if goes_on || in_line().any(is_unclosed) {
            let error = in_line().find(|error| is_unclosed(error)).unwrap_or(error);
            broken.from = Some(start);
            add(source, errors, span(error), || unclosed_message(error, text));
            break;
        }
        broken.lines.push(start..end_of_line);
        add(source, errors, span(error), || message(error, text));
    }
    source.set_broken(broken);
}

/// What the parser says of a key that a table has twice.
const DUPLICATE: &str = "duplicate key";

/// Whether an error is that an array or a table goes on where something else was meant to begin.
fn is_unclosed(error: &Error) -> bool {
    error.message().starts_with("unexpected `=` in ") || error.message().starts_with("unclosed ")
}

/// Whether an error is that the elements of an array follow each other without a comma.
fn is_comma(error: &Error) -> bool {
    error.message().starts_with("missing comma between array elements")
}

fn unclosed_message(error: &Error, text: &str) -> String {
    if is_comma(error) {
        "expected `,` or `]`: is an array before this not closed?".to_string()
    } else if error.message().starts_with("unexpected `=` in array") {
        "unexpected `=` in an array: is a `]` missing before it?".to_string()
    } else {
        message(error, text)
    }
}

/// What to say of something that is no value: the parser names the kind that begins with the same letter.
fn message(error: &Error, text: &str) -> String {
    let no_value = ["string values must be quoted", "invalid float, expected `inf`", "invalid float, expected `nan`"];
    if !no_value.iter().any(|start| error.message().starts_with(start)) {
        return error.message().to_string();
    }
    let missing = text.get(span(error)).is_none_or(|value| value.trim().is_empty());
    if missing { "the value is missing" } else { "unknown value: a string must be in quotes" }.to_string()
}

fn start_of_line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Where this comes next, or the text ends.
fn find(text: &str, at: usize, what: &str) -> usize {
    text.get(at..).and_then(|rest| rest.find(what)).map_or(text.len(), |found| at + found)
}

fn span(error: &Error) -> Range<usize> {
    error.span().unwrap_or_default()
}

/// Adds an error; what it says, for which the text is searched, is made only if it will be told.
fn add(source: &Rc<Source>, errors: &mut Errors, span: Range<usize>, message: impl FnOnce() -> String) {
    let message = if errors.is_full() { String::new() } else { message() };
    errors.add_certain(&source.place(span), &message);
}

/// The line that a byte is in, without blanks at its start.
fn line(text: &str, at: usize) -> &str {
    let start = start_of_line(text, at);
    text[start..].lines().next().unwrap_or_default().trim_start()
}

/// What to say of a key that is there twice.
fn duplicate(text: &str, span: &Range<usize>) -> String {
    let name = text.get(span.clone()).unwrap_or_default();
    let header = line(text, span.start).split_inclusive(']').next().unwrap_or_default();
    if !header.starts_with('[') {
        return format!("duplicate key `{name}`");
    }
    let what = if header.starts_with("[service.") { "service" } else { "table" };
    match text.lines().position(|line| line.trim_start().starts_with(header)) {
        Some(first) if first < text[..span.start].matches('\n').count() => {
            format!("duplicate {what} `{name}`; the first one is in line {}", first + 1)
        }
        _ => format!("duplicate {what} `{name}`"),
    }
}

/// One entry of a table.
pub struct Entry<'t> {
    /// Its key.
    pub name: &'t str,
    /// Where the key stands.
    pub span: Range<usize>,
    /// Its value.
    pub value: &'t Spanned<DeValue<'t>>,
}

/// The entries of a table as they follow each other in the file.
pub fn in_order<'t>(table: &'t DeTable<'t>) -> Vec<Entry<'t>> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| Entry { name: key.get_ref(), span: key.span(), value }).collect();
    entries.sort_by_key(|entry| entry.span.start);
    entries
}

/// What kind of value it is, with its article.
pub fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processor time of this thread, in seconds: on a busy machine, others have most of the time that passes.
    fn processor_time() -> libc::time_t {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a live timespec.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
        time.tv_sec
    }

    /// What each error says takes a search through the text.
    #[test]
    fn what_is_wrong_hundreds_of_thousands_of_times_is_found_soon() {
        let path = std::env::temp_dir().join(format!("cproxy-errors-{}", std::process::id()));
        std::fs::write(&path, "[a]\n".repeat(MOST_SEARCHED / 4)).unwrap();
        let source = Source::read(&path, 0).unwrap();
        std::fs::remove_file(&path).unwrap();
        let (start, mut errors) = (processor_time(), Errors::default());
        parse(&source, &mut errors);
        assert!(errors.is_full());
        let spent = processor_time() - start;
        assert!(spent < 20, "{spent} s");
    }
}
