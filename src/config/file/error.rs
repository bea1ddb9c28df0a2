//! What is wrong with a configuration file, and where.

use std::fmt;
use std::path::PathBuf;
use unicode_width::UnicodeWidthChar;

/// The longest part of a line that is shown, in characters.
const MOST_SHOWN: usize = 120;

/// The longest message, in characters: it may quote the file.
const MOST_SAID: usize = 500;

/// One error of a configuration file. `Display` is for a terminal: the message, the line, and carets below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: PathBuf,
    /// Where in the file; `None` where it is about the whole of it.
    pub position: Option<Position>,
    /// What is wrong and what was expected, in one line.
    pub message: String,
    /// The line.
    excerpt: Option<Excerpt>,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

/// A line, and what is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    carets: String,
}

impl ConfigError {
    /// One about the whole file.
    pub fn whole(file: PathBuf, message: &str) -> ConfigError {
        ConfigError { file, position: None, message: plain(message, MOST_SAID), excerpt: None }
    }

    /// One about a part of a file: the bytes from `start` to `end`.
    pub fn at(file: PathBuf, text: &str, (start, end): (usize, usize), message: &str) -> ConfigError {
        let start = char_boundary(text, start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = char_boundary(text, end).clamp(start, line_end);
        let position = Position {
            line: text.as_bytes()[..line_start].iter().filter(|byte| **byte == b'\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
        };
        let excerpt = Excerpt::new(&text[line_start..line_end], start - line_start, end - line_start);
        ConfigError { file, position: Some(position), message: plain(message, MOST_SAID), excerpt: Some(excerpt) }
    }

    /// `FILE:LINE:COLUMN: message`, without the line itself.
    pub fn one_line(&self) -> String {
        format!("{}{}", location(&self.file, self.position), self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())?;
        let (Some(Position { line, .. }), Some(excerpt)) = (self.position, &self.excerpt) else { return Ok(()) };
        let margin = line.to_string().len().max(3);
        write!(f, "\n{line:>margin$} | {}\n{:margin$} | {}", excerpt.line, "", excerpt.carets)
    }
}

impl std::error::Error for ConfigError {}

/// `FILE:LINE:COLUMN: `
fn location(file: &std::path::Path, position: Option<Position>) -> String {
    let file = match plain(&file.to_string_lossy(), usize::MAX) {
        empty if empty.is_empty() => "''".to_string(),
        file => file,
    };
    match position {
        Some(Position { line, column }) => format!("{file}:{line}:{column}: "),
        None => format!("{file}: "),
    }
}

impl Excerpt {
    /// Of a line, with carets below the bytes from `start` to `end`.
    fn new(line: &str, start: usize, end: usize) -> Excerpt {
        let before: Vec<char> = line[..start].chars().collect();
        // Of a long line, what is around the place.
        let skipped = if before.len() > MOST_SHOWN / 2 { before.len() - MOST_SHOWN / 2 } else { 0 };
        let mut carets = String::new();
        for c in &before[skipped..] {
            if *c == '\t' { carets.push('\t') } else { carets.extend(std::iter::repeat_n(' ', width(*c))) }
        }
        let marked: usize = line[start..end].chars().take(MOST_SHOWN / 2).map(width).sum();
        carets.extend(std::iter::repeat_n('^', marked.max(1)));
        let shown = line.trim_end_matches('\r').chars().skip(skipped).take(MOST_SHOWN);
        Excerpt { line: shown.map(|c| if is_plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect(), carets }
    }
}

/// How many columns a character takes as it is shown.
fn width(c: char) -> usize {
    if is_plain(c) { c.width().unwrap_or(1) } else { 1 }
}

fn is_plain(c: char) -> bool {
    c == '\t' || !c.is_control()
}

/// The nearest place at or before this one where a character starts.
fn char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// One line without control characters, and cut where it is very long.
fn plain(text: &str, most: usize) -> String {
    let mut line = String::with_capacity(text.len().min(most));
    for (count, c) in text.chars().enumerate() {
        if count == most {
            line.push_str("...");
            break;
        }
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, part: &str) -> String {
        let start = text.find(part).expect(part);
        ConfigError::at("f".into(), text, (start, start + part.len()), "wrong").to_string()
    }

    #[test]
    fn carets_stand_below_the_part() {
        assert_eq!(shown("a = 1\nbcd = 2\n", "bcd"), "f:2:1: wrong\n  2 | bcd = 2\n    | ^^^");
        assert_eq!(shown("a = 1\nbcd = 2", "2"), "f:2:7: wrong\n  2 | bcd = 2\n    |       ^");
        assert_eq!(shown("x\r\nab\r\n", "b"), "f:2:2: wrong\n  2 | ab\n    |  ^");
        let far = format!("{}wrong = 1\n", "\n".repeat(9999));
        assert_eq!(shown(&far, "wrong"), "f:10000:1: wrong\n10000 | wrong = 1\n      | ^^^^^");
    }

    #[test]
    fn carets_stand_below_the_part_behind_any_character() {
        // Two bytes and one column; three bytes and two columns; a tab as far as the terminal takes it; no column.
        assert_eq!(shown("\"é\" = 2", "2"), "f:1:7: wrong\n  1 | \"é\" = 2\n    |       ^");
        assert_eq!(shown("\"猫\" = 2", "2"), "f:1:7: wrong\n  1 | \"猫\" = 2\n    |        ^");
        assert_eq!(shown("\ta\t= 2", "2"), "f:1:6: wrong\n  1 | \ta\t= 2\n    | \t \t  ^");
        assert_eq!(shown("\"e\u{301}\" = 2", "2"), "f:1:8: wrong\n  1 | \"e\u{301}\" = 2\n    |       ^");
        assert_eq!(shown("x = \"猫é\"", "猫é"), "f:1:6: wrong\n  1 | x = \"猫é\"\n    |      ^^^");
    }

    #[test]
    fn what_is_shown_is_plain_and_short() {
        assert_eq!(shown("a\u{1b}[31m = 2", "2"), "f:1:10: wrong\n  1 | a\u{fffd}[31m = 2\n    |          ^");
        let long = format!("{} = 5 # {}", "k".repeat(1000), "é".repeat(1000));
        let text = shown(&long, "5");
        assert!(text.starts_with("f:1:1004: wrong\n  1 | kkk"), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let at = lines[2].find('^').expect("a caret");
        assert_eq!(&lines[1][at..=at], "5");
        assert!(lines[1].chars().count() <= MOST_SHOWN + 6 && lines[2].chars().count() <= MOST_SHOWN + 6);
        let error = ConfigError::whole("a\nb".into(), &"x\n".repeat(1000));
        assert!(!error.one_line().contains('\n') && error.one_line().len() < 1000, "{error}");
        assert!(error.one_line().starts_with("a\\nb: x\\nx"), "{error}");
    }

    #[test]
    fn any_place_of_any_text_is_shown() {
        let text = "aé\n\r\n猫\t\u{7}";
        for start in 0..text.len() + 3 {
            for end in 0..text.len() + 3 {
                let error = ConfigError::at("f".into(), text, (start, end), "wrong");
                assert!(error.to_string().contains('^'), "{error}");
            }
        }
    }
}
