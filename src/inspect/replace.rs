//! Replaces in passing what an expression matches, however the bytes come. Only what may become a match is held back.

use regex_automata::Span;
use std::sync::Arc;
use std::time::Duration;

use super::{Filter, Then, Verdict};
use crate::matcher::replacement::Replacement;
use crate::matcher::{Groups, Scan};

/// While so few bytes are held, it is found out at each read whether they may still become a match.
const FEW: usize = 4 << 10;

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
    /// So many bytes are held at most.
    window: usize,
    /// For so long.
    wait: Duration,
}

/// What has been decided of an input.
struct Progress<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
    /// So many bytes.
    passed: usize,
}

impl Replacer {
    /// One for a stream, or for datagrams, of which it has seen nothing. At most `window` bytes are held back,
    /// and for at most this long while nothing more comes.
    pub fn new(what: Arc<Replacement>, window: usize, wait: Duration) -> Replacer {
        let scan = what.finder().matcher().begin(None, 0);
        Replacer { what, scan, before: None, judged: 0, groups: Groups::default(), window, wait }
    }

    /// The byte before this place.
    fn before(&self, input: &[u8], at: usize) -> Option<u8> {
        if at == 0 { self.before } else { Some(input[at - 1]) }
    }

    /// Begins to search here.
    fn begin(&mut self, input: &[u8], at: usize) {
        self.scan = self.what.finder().matcher().begin(self.before(input, at), at);
    }

    /// Where the leftmost match ends that is found from where the search stands on, if it is known by now.
    fn find(&mut self, input: &[u8], then: Then) -> Option<usize> {
        let finder = self.what.finder();
        let certain = finder.advance(&mut self.scan, input);
        let matches_at_end = || match then {
            Then::More => false,
            // What comes behind it is not known.
            Then::Pause => finder.matcher().matches_whatever_comes(&self.scan) == Some(true),
            Then::End => finder.matcher().matches_at_end(&self.scan),
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
            let start = self.what.finder().start_of(input, progress.passed, end, before).unwrap_or(end);
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
        let before = self.before(input, matched.start);
        self.what.write(&mut self.groups, input, matched, before, output);
    }

    /// From where on the input is to be held back, as it may become a match.
    fn held_from(&mut self, input: &[u8], passed: usize) -> usize {
        let left = input.len() - passed;
        // It takes as long as there are bytes, so with many of them it is not done for each few that come.
        if left > FEW && passed == 0 && left < self.judged + self.judged / 8 && left <= self.window {
            return passed;
        }
        let before = self.before(input, passed);
        let finder = self.what.finder();
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
        if input.len() - from > self.window {
            // What began first has become too long. What else there is in the first half is found as if nothing followed.
            let limit = input.len() - self.window / 2;
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

    fn patience(&self) -> Option<Duration> {
        Some(self.wait)
    }

    fn window(&self) -> usize {
        self.window
    }
}

#[cfg(test)]
mod tests;
