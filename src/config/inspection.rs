//! What is rejected and replaced in the bytes of sessions, as a service asks for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::escapes::unescape;
use super::settings::ServiceSettings;
use crate::matcher::Matcher;
use crate::matcher::replacement::Replacement;

/// What is rejected and replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSettings {
    /// The rules, in the order given: each sees what those before it have made.
    pub rules: Vec<Rule>,
    /// How many bytes that may become a match a rule may hold back.
    pub window: usize,
    /// How long it may while nothing more comes.
    pub wait: Duration,
}

impl Default for RuleSettings {
    fn default() -> RuleSettings {
        RuleSettings { rules: Vec::new(), window: Self::DEFAULT_WINDOW, wait: Self::DEFAULT_WAIT }
    }
}

impl RuleSettings {
    /// The `--match-window` where none is given, in bytes.
    pub const DEFAULT_WINDOW: usize = 64 << 10;
    /// The `--match-wait` where none is given.
    pub const DEFAULT_WAIT: Duration = Duration::from_millis(100);
    /// The most that `--match-window` takes.
    pub const MAX_WINDOW: u64 = 16 << 20;
}

/// Options that can have no effect: somebody believes that they have one.
pub fn useless(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let RuleSettings { ref rules, window, wait } = service.rules;
    let replaces = rules.iter().any(|rule| matches!(rule.action, Action::Replace(_)));
    let window = !replaces && window != RuleSettings::DEFAULT_WINDOW;
    let wait = rules.is_empty() && wait != RuleSettings::DEFAULT_WAIT;
    let window = window.then_some(("match-window", "invalid match window: nothing is held back without a replace"));
    let wait = wait.then_some(("match-wait", "invalid match wait: nothing is held back without a reject or a replace"));
    window.into_iter().chain(wait).map(|(key, message)| (key, message.to_string())).collect()
}

/// One rule. Two of these are equal if they are written the same.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Which directions it is for.
    pub ways: Ways,
    /// What it does with what matches.
    pub action: Action,
    /// What follows the option's name.
    text: String,
}

/// Directions of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// From client to remote.
    Upstream,
    /// From remote to client.
    Downstream,
    /// Both.
    Both,
}

/// What becomes of what matches.
#[derive(Debug, Clone)]
pub enum Action {
    /// The session ends.
    Reject(Arc<Matcher>),
    /// Something else goes on in its place.
    Replace(Arc<Replacement>),
}

/// What directions are called in front of an expression.
const WAYS: [(&str, Ways); 4] = [
    ("upstream:", Ways::Upstream),
    ("up:", Ways::Upstream),
    ("downstream:", Ways::Downstream),
    ("down:", Ways::Downstream),
];

impl Rule {
    /// `[upstream:|downstream:]REGEX`
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn reject(text: &str) -> Result<Rule, String> {
        let (ways, regex) = split_ways(text);
        let action = Action::Reject(Arc::new(Matcher::new(regex)?));
        Ok(Rule { ways, action, text: text.to_string() })
    }

    /// `[upstream:|downstream:]REGEX=TEXT`
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn replace(text: &str) -> Result<Rule, String> {
        let (ways, rest) = split_ways(text);
        let (regex, replacement) = split_text(rest).ok_or("expected REGEX=TEXT")?;
        let replacement = unescape(replacement).map_err(|reason| format!("the text: {reason}"))?;
        let action = Action::Replace(Arc::new(Replacement::new(regex, replacement)?));
        Ok(Rule { ways, action, text: text.to_string() })
    }

    /// `reject REGEX` or `replace REGEX=TEXT`, as a file has it.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn parse(text: &str) -> Result<Rule, String> {
        match text.split_once(' ') {
            Some(("reject", rule)) => Rule::reject(rule),
            Some(("replace", rule)) => Rule::replace(rule),
            _ => Err("expected `reject` and a regular expression, or `replace` and REGEX=TEXT".to_string()),
        }
    }
}

/// `reject upstream:REGEX`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.action {
            Action::Reject(_) => "reject",
            Action::Replace(_) => "replace",
        };
        write!(f, "{word} {}", self.text)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        let kind = |rule: &Rule| std::mem::discriminant(&rule.action);
        kind(self) == kind(other) && self.text == other.text
    }
}

impl Eq for Rule {}

/// The directions that a rule names, and what follows.
fn split_ways(text: &str) -> (Ways, &str) {
    let named = WAYS.iter().find_map(|&(name, ways)| Some((ways, text.strip_prefix(name)?)));
    named.unwrap_or((Ways::Both, text))
}

/// What stands before and behind the first `=` without a backslash.
fn split_text(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let at = text.bytes().position(|byte| {
        let ends = byte == b'=' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_and_texts_are_told_from_expressions() {
        for (text, ways, rest) in [
            ("up:a", Ways::Upstream, "a"),
            ("upstream:down:", Ways::Upstream, "down:"),
            ("downstream:a", Ways::Downstream, "a"),
            ("down:", Ways::Downstream, ""),
            ("[u]p:a", Ways::Both, "[u]p:a"),
        ] {
            assert_eq!(split_ways(text), (ways, rest), "{text}");
        }
        for (text, parts) in [
            ("a=b", Some(("a", "b"))),
            ("a=b=c", Some(("a", "b=c"))),
            (r"a\=b=c", Some((r"a\=b", "c"))),
            (r"a\\=b=c", Some((r"a\\", "b=c"))),
            ("=", Some(("", ""))),
            ("ab", None),
            (r"a\=", None),
        ] {
            assert_eq!(split_text(text), parts, "{text}");
        }
    }

    #[test]
    fn a_rule_is_written_as_it_is_read() {
        for text in ["reject up:a b", r"replace down:a\=(b)=$1\r\n\x00 c", "replace a=", "reject replace "] {
            let rule = Rule::parse(text).unwrap();
            assert_eq!(rule.to_string(), text);
            assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
        }
        assert_ne!(Rule::parse("reject a=b"), Rule::parse("replace a=b"));
        for (text, error) in [
            ("replace a", "expected REGEX=TEXT"),
            (r"replace a=\q", "the text: expected \\r, \\n, \\t, \\0, \\\\ or \\xHH behind a backslash"),
            ("replace a=$1", "it has no group for $1 in the text"),
            ("reject ", "it matches nothing at all, which is everywhere"),
            ("drop a", "expected `reject` and a regular expression, or `replace` and REGEX=TEXT"),
        ] {
            assert_eq!(Rule::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
