//! Replaces in passing what an expression matches, however the bytes come. Only what may become a match is held back.

use regex_automata::{Span, util::interpolate};
use std::sync::Arc;

use super::{Filter, Then, Verdict};
use crate::matcher::{Finder, Groups, Scan};

/// While so few bytes are held, it is found out at each read whether they may still become a match.
const FEW: usize = 4 << 10;

/// What is found, and what stands in its place.
#[derive(Debug)]
pub struct Replacement {
    finder: Finder,
    text: Vec<u8>,
    /// Whether the text has parts of the match in it, or a doubled `$`.
    has_references: bool,
    window: usize,
}

impl Replacement {
    /// Puts this text in place of what the expression matches, in which `$1`, `${1}` and `${name}` are what groups have matched, and
    /// `$$` is `$`. At most `window` bytes are held back.
    ///
    /// # Errors
    ///
    /// In one line, what is wrong with the expression or the text.
    pub fn new(regex: &str, text: Vec<u8>, window: usize) -> Result<Replacement, String> {
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
            None => Ok(Replacement { finder, has_references: text.contains(&b'$'), text, window }),
        }
    }
}

/// Replaces in one direction of a session.
#[derive(Debug)]
pub struct Replacer {
    what: Arc<Replacement>,
    /// Where the search stands in what is left.
    scan: Scan,
    /// The byte before that.
    before: Option<u8>,
    /// How much was left when it was last found out what may become a match.
    judged: usize,
    groups: Groups,
}

/// What has been decided of an input.
struct Progress<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    /// So many bytes.
    passed: usize,
}

impl Replacer {
    /// One for a stream, or for datagrams, of which it has seen nothing.
    pub fn new(what: Arc<Replacement>) -> Replacer {
        let scan = what.finder.matcher().begin(None, 0);
        Replacer { what, scan, before: None, judged: 0, groups: Groups::default() }
    }

    /// The byte before this place.
    fn before(&self, input: &[u8], at: usize) -> Option<u8> {
        if at == 0 { self.before } else { Some(input[at - 1]) }
    }

    /// Begins to search here.
    fn begin(&mut self, input: &[u8], at: usize) {
        self.scan = self.what.finder.matcher().begin(self.before(input, at), at);
    }

    /// Where the leftmost match ends that is found from where the search stands on, if it is known by now.
    fn find(&mut self, input: &[u8], then: Then) -> Option<usize> {
        let finder = &self.what.finder;
        let certain = finder.advance(&mut self.scan, input);
        let matches_at_end = || match then {
            Then::More => false,
            // What comes behind it is not known.
            Then::Pause if finder.matcher().looks_behind_its_end() => false,
            Then::Pause | Then::End => finder.matcher().matches_at_end(&self.scan),
        };
        match certain {
            Some(end) => Some(end),
            None if matches_at_end() => Some(input.len()),
            None if then == Then::More => None,
            None => self.scan.matched,
        }
    }

    /// Replaces all matches that are known by now and begin before `limit`.
    fn replace(&mut self, progress: &mut Progress<'_>, then: Then, limit: usize) {
        let input = progress.input;
        while let Some(end) = self.find(input, then) {
            let before = self.before(input, progress.passed);
            let start = self.what.finder.start_of(input, progress.passed, end, before).unwrap_or(end);
            if start >= limit {
                return;
            }
            progress.pass(start);
            self.write(input, Span { start, end }, progress.output);
            progress.passed = end;
            self.begin(input, end);
        }
    }

    /// Writes what stands in place of a match.
    fn write(&mut self, input: &[u8], matched: Span, output: &mut Vec<u8>) {
        let Replacement { finder, text, has_references, .. } = &*self.what;
        if !has_references {
            return output.extend_from_slice(text);
        }
        // The match with the bytes beside it, by which it may have been chosen.
        let before = if matched.start == 0 { self.before } else { Some(input[matched.start - 1]) };
        let begin = usize::from(before.is_some());
        let behind = input.get(matched.end);
        let around: Vec<u8> =
            before.into_iter().chain(input[matched.range()].iter().copied()).chain(behind.copied()).collect();
        finder.groups(&mut self.groups, &around, Span { start: begin, end: begin + matched.len() });
        let groups = &self.groups;
        let append = |number: usize, output: &mut Vec<u8>| {
            if let Some(span) = groups.get(number) {
                output.extend_from_slice(&around[span.range()]);
            }
        };
        interpolate::bytes(text, append, |name| finder.group_named(name), output);
    }

    /// From where on the input is to be held back, as it may become a match.
    fn held_from(&mut self, input: &[u8], passed: usize) -> usize {
        let left = input.len() - passed;
        // It takes as long as there are bytes, so with many of them it is not done for each few that come.
        if left > FEW && passed == 0 && left < self.judged + self.judged / 8 {
            return passed;
        }
        let before = self.before(input, passed);
        let finder = &self.what.finder;
        let begun = finder.begun_at(&self.scan, input, passed, before);
        let matched = self.scan.matched.and_then(|end| finder.start_of(input, passed, end, before));
        let from = begun.min(matched.unwrap_or(begun));
        self.judged = input.len() - from;
        from
    }
}

impl Progress<'_> {
    /// Passes on what stands before this place.
    fn pass(&mut self, to: usize) {
        self.output.extend_from_slice(&self.input[self.passed..to]);
        self.passed = to;
    }
}

impl Filter for Replacer {
    fn bytes(&mut self, input: &[u8], then: Then, output: &mut Vec<u8>) -> Verdict {
        let mut progress = Progress { input, output, passed: 0 };
        self.replace(&mut progress, then, usize::MAX);
        let mut from = if then == Then::More { self.held_from(input, progress.passed) } else { input.len() };
        if input.len() - from > self.what.window {
            // What began first has become too long. What else there is in the first half is found as if nothing followed.
            let limit = input.len() - self.what.window / 2;
            self.begin(input, progress.passed);
            self.replace(&mut progress, Then::Pause, limit);
            let limit = limit.max(progress.passed);
            progress.pass(limit);
            self.begin(input, limit);
            self.replace(&mut progress, then, usize::MAX);
            from = self.held_from(input, progress.passed);
        }
        progress.pass(from);
        if then != Then::More {
            self.begin(input, from);
        }
        if from > 0 {
            self.before = Some(input[from - 1]);
        }
        self.scan.at -= from;
        self.scan.matched = self.scan.matched.map(|end| end - from);
        Verdict::Taken(from)
    }

    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict {
        self.before = None;
        self.begin(&[], 0);
        self.bytes(datagram, Then::End, output)
    }

    fn window(&self) -> usize {
        self.what.window
    }
}

#[cfg(test)]
mod tests;
