//! Ends a session in whose bytes an expression matches, before the match's last byte has gone on.

use std::sync::Arc;
use std::time::Duration;

use super::{Filter, Then, Verdict};
use crate::matcher::{Matcher, Scan};

/// Rejects what an expression matches.
#[derive(Debug)]
pub struct Rejecter {
    matcher: Arc<Matcher>,
    scan: Scan,
    /// What the log calls it.
    name: Arc<str>,
    /// How long a byte is held by which a match would end.
    wait: Duration,
}

impl Rejecter {
    /// One for a stream, or for datagrams, of which it has seen nothing. The log calls it so. A byte that may end a match is held for
    /// this long.
    pub fn new(matcher: Arc<Matcher>, name: Arc<str>, wait: Duration) -> Rejecter {
        Rejecter { scan: matcher.begin(None, 0), matcher, name, wait }
    }
}

impl Filter for Rejecter {
    fn bytes(&mut self, input: &[u8], then: Then, output: &mut Vec<u8>) -> Verdict {
        if self.matcher.advance(&mut self.scan, input, true).is_some() {
            return Verdict::End;
        }
        let mut taken = input.len();
        match (self.matcher.matches_whatever_comes(&self.scan), then) {
            (Some(true), _) => return Verdict::End,
            (None, Then::End) if self.matcher.matches_at_end(&self.scan) => return Verdict::End,
            // Only what comes behind the last byte says whether this is a match.
            (None, Then::More) => taken = taken.saturating_sub(1),
            (Some(false), _) | (None, Then::Pause | Then::End) => {}
        }
        output.extend_from_slice(&input[..taken]);
        self.scan.at -= taken;
        Verdict::Taken(taken)
    }

    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict {
        self.scan = self.matcher.begin(None, 0);
        self.bytes(datagram, Then::End, output)
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.wait)
    }

    fn reason(&self) -> String {
        self.name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::PATIENCE;
    use super::*;

    /// What goes on of these reads, and whether the session ends.
    fn run(regex: &str, reads: &[&str], then: Then) -> (Vec<String>, bool) {
        let matcher = Arc::new(Matcher::new(regex).unwrap());
        let mut rejecter = Rejecter::new(matcher, "it".into(), PATIENCE);
        let (mut left, mut passed) = (Vec::new(), Vec::new());
        for read in reads {
            left.extend_from_slice(read.as_bytes());
            let mut output = Vec::new();
            match rejecter.bytes(&left, Then::More, &mut output) {
                Verdict::End => return (passed, true),
                Verdict::Taken(taken) => drop(left.drain(..taken)),
            }
            passed.push(String::from_utf8(output).unwrap());
        }
        let mut output = Vec::new();
        let ends = rejecter.bytes(&left, then, &mut output) == Verdict::End;
        passed.push(String::from_utf8(output).unwrap());
        (passed, ends)
    }

    #[test]
    fn the_last_byte_of_a_match_does_not_go_on_however_the_bytes_come() {
        assert_eq!(run("evil", &["an evil word"], Then::More), (vec![], true));
        assert_eq!(
            run("evil", &["an e", "v", "i", "l word"], Then::More),
            (vec!["an e".into(), "v".into(), "i".into()], true)
        );
        assert_eq!(run("evil", &["an e", "v", "i", "l"], Then::More).0, ["an e", "v", "i"]);
        assert_eq!(
            run("evil", &["an evi", " l"], Then::End),
            (vec!["an evi".into(), " l".into(), String::new()], false)
        );
        assert_eq!(run("(?i)e[uv]il{2,}", &["xxEUi", "L"], Then::More).0, ["xxEUi", "L", ""]);
        assert_eq!(run("(?i)e[uv]il{2,}", &["xxEUi", "L", "l"], Then::More), (vec!["xxEUi".into(), "L".into()], true));
        assert!(!run("^ab", &["xab", "ab"], Then::End).1);
        assert!(run("^ab", &["a", "b"], Then::More).1);
    }

    #[test]
    fn a_byte_is_held_only_if_the_next_one_decides() {
        let end = run(r"\bend\b", &["the en", "d"], Then::More);
        assert_eq!(end, (vec!["the en".into(), String::new(), String::new()], false));
        assert_eq!(run(r"\bend\b", &["the end", "."], Then::More), (vec!["the en".into()], true));
        assert_eq!(run(r"\bend\b", &["the end", "s"], Then::More).0, ["the en", "ds", ""]);
        assert_eq!(run(r"\bend\b", &["the end"], Then::End), (vec!["the en".into(), String::new()], true));
        assert_eq!(run(r"\bend\b", &["the end"], Then::Pause), (vec!["the en".into(), "d".into()], false));
        // Also where more of the expression stands behind the condition, and where it is that something follows.
        assert_eq!(
            run(r"end\b\s*", &["the end", "s"], Then::End),
            (vec!["the en".into(), "ds".into(), String::new()], false)
        );
        assert_eq!(run(r"end\b\s*", &["the end", "."], Then::End), (vec!["the en".into()], true));
        assert_eq!(run(r"end\B", &["the end", "s"], Then::End), (vec!["the en".into()], true));
        assert!(!run(r"end\B", &["the end", "."], Then::End).1);
    }

    #[test]
    fn each_datagram_is_one_by_itself() {
        let mut rejecter = Rejecter::new(Arc::new(Matcher::new("^ab|cd$").unwrap()), "it".into(), PATIENCE);
        let mut see = |datagram: &str| rejecter.datagram(datagram.as_bytes(), &mut Vec::new()) == Verdict::End;
        assert_eq!(["a", "b", "c", "d", "xab", "cdx", ""].map(&mut see), [false; 7]);
        assert_eq!(["abx", "xcd", "cd"].map(&mut see), [true; 3]);
    }
}
