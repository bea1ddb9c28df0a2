//! What is put in place of what an expression matches.

use regex_automata::Span;
use regex_automata::util::interpolate;

use super::{Finder, Groups};

/// What is found, and what stands in its place.
#[derive(Debug)]
pub struct Replacement {
    finder: Finder,
    text: Vec<u8>,
    /// Whether the text has parts of the match in it, or a doubled `$`.
    has_references: bool,
}

impl Replacement {
    /// Puts this text in place of what the expression matches, in which `$1`, `${1}` and `${name}` are what groups have matched, and
    /// `$$` is `$`.
    ///
    /// # Errors
    ///
    /// In one line, what is wrong with the expression or the text.
    pub fn new(regex: &str, text: Vec<u8>) -> Result<Replacement, String> {
        let finder = Finder::new(regex)?;
        let mut unknown = None;
        let mut numbers = Vec::new();
        let named = |name: &str| {
            let number = finder.group_named(name);
            if number.is_none() {
                unknown = Some(format!("${{{name}}}"));
            }
            number
        };
        interpolate::bytes(&text, |number, _| numbers.push(number), named, &mut Vec::new());
        let beyond = numbers.into_iter().find(|&number| number >= finder.groups_count());
        match unknown.or(beyond.map(|number| format!("${number}"))) {
            Some(reference) => Err(format!("it has no group for {reference} in the text")),
            None => Ok(Replacement { finder, has_references: text.contains(&b'$'), text }),
        }
    }

    /// What finds it.
    pub fn finder(&self) -> &Finder {
        &self.finder
    }

    /// Writes what stands in place of this match. `before` is the byte before it.
    pub fn write(&self, groups: &mut Groups, input: &[u8], matched: Span, before: Option<u8>, output: &mut Vec<u8>) {
        if !self.has_references {
            return output.extend_from_slice(&self.text);
        }
        // The match with the bytes beside it, by which it may have been chosen.
        let mut around = Vec::with_capacity(matched.len() + 2);
        around.extend(before);
        let start = around.len();
        around.extend_from_slice(&input[matched.range()]);
        around.extend(input.get(matched.end));
        self.finder.groups(groups, &around, Span { start, end: start + matched.len() });
        let append = |number: usize, output: &mut Vec<u8>| {
            if let Some(span) = groups.get(number) {
                output.extend_from_slice(&around[span.range()]);
            }
        };
        interpolate::bytes(&self.text, append, |name| self.finder.group_named(name), output);
    }
}
