//! Regular expressions as automata that are run over a stream, piece by piece: where a match ends, where it begins, and from
//! where on what has come may be the beginning of one.
//!
//! All of them are deterministic, so a byte costs one step, and the state of a search is a number.

mod begun;
pub mod replacement;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::{prefilter::Prefilter, start, syntax};
use regex_automata::{Anchored, Input, MatchKind, Span};
use regex_syntax::hir::Hir;

type Automata = dense::DFA<Vec<u32>>;

/// Memory that an automaton of an expression may take, in bytes.
pub const MOST_MEMORY: usize = 4 << 20;

/// Memory that may be used to make one.
const MOST_TO_MAKE: usize = 32 << 20;

/// Finds where matches end.
#[derive(Debug)]
pub struct Matcher {
    text: String,
    forward: Automata,
    /// Finds where a match may begin sooner than the automaton does.
    prefilter: Option<Prefilter>,
    /// Whether what stands beside a byte may decide what matches.
    has_conditions: bool,
    hir: Hir,
}

/// Where a search stands in what it is run over.
#[derive(Debug, Clone, Copy)]
pub struct Scan {
    state: StateID,
    /// So many bytes have been looked at.
    pub at: usize,
    /// Where the best match ends that is known so far; a longer one may come.
    pub matched: Option<usize>,
}

impl Matcher {
    /// The matcher of an expression, in which `.` and classes are of bytes.
    ///
    /// # Errors
    ///
    /// In one line, why it is none that can be used.
    pub fn new(text: &str) -> Result<Matcher, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(text, &syntax).map_err(|error| one_line(&error.to_string()))?;
        match hir.properties().minimum_len() {
            Some(0) => return Err("it matches nothing at all, which is everywhere".to_string()),
            None => return Err("it can match nothing".to_string()),
            Some(_) => {}
        }
        let prefilter = Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &hir).filter(Prefilter::is_fast);
        let prefilter = prefilter.filter(|_| hir.properties().look_set_prefix_any().is_empty());
        let config = dense::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .start_kind(StartKind::Unanchored)
            .specialize_start_states(prefilter.is_some());
        let forward = determinize(&nfa(&hir, false, WhichCaptures::None)?, config)?;
        let prefilter = prefilter.filter(|_| forward.universal_start_state(Anchored::No).is_some());
        let has_conditions = !hir.properties().look_set().is_empty();
        Ok(Matcher { text: text.to_string(), forward, prefilter, has_conditions, hir })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A search that begins behind this byte, if there is any, at this place of what it is to be run over.
    pub fn begin(&self, before: Option<u8>, at: usize) -> Scan {
        let config = start::Config::new().anchored(Anchored::No).look_behind(before);
        // It has such states for all bytes; the one of this number finds nothing.
        Scan { state: self.forward.start_state(&config).unwrap_or(StateID::ZERO), at, matched: None }
    }

    /// Goes on to the end of the input, or until the end of the leftmost match is certain, which it returns. With `earliest` that of
    /// any match will do.
    pub fn advance(&self, scan: &mut Scan, input: &[u8], earliest: bool) -> Option<usize> {
        let forward = &self.forward;
        let Scan { mut state, mut at, mut matched } = *scan;
        if forward.is_start_state(state) && matched.is_none() {
            at = self.skip(input, at);
        }
        while at < input.len() {
            state = forward.next_state(state, input[at]);
            at += 1;
            if forward.is_special_state(state) {
                if forward.is_match_state(state) {
                    // It is entered one byte behind the match.
                    matched = Some(at - 1);
                    if earliest {
                        break;
                    }
                } else if forward.is_dead_state(state) {
                    break;
                } else if matched.is_none() {
                    at = self.skip(input, at);
                }
            }
        }
        let is_certain = matched.is_some() && (earliest || forward.is_dead_state(state));
        if matched.is_none() && forward.is_dead_state(state) {
            at = input.len();
        }
        *scan = Scan { state, at, matched };
        matched.filter(|_| is_certain)
    }

    /// From where on, at the earliest, a match may begin that has not begun yet.
    #[inline]
    fn skip(&self, input: &[u8], at: usize) -> usize {
        let Some(prefilter) = &self.prefilter else { return at };
        match prefilter.find(input, Span { start: at, end: input.len() }) {
            Some(candidate) => candidate.start,
            // The beginning of what it looks for may stand at the end.
            None => at.max((input.len() + 1).saturating_sub(prefilter.max_needle_len())),
        }
    }

    /// Whether a match ends where the search stands, if the stream does.
    pub fn matches_at_end(&self, scan: &Scan) -> bool {
        self.forward.is_match_state(self.forward.next_eoi_state(scan.state))
    }

    /// The same whatever comes behind it; `None`: what comes decides.
    pub fn matches_whatever_comes(&self, scan: &Scan) -> Option<bool> {
        let (forward, at_end) = (&self.forward, self.matches_at_end(scan));
        let same = |byte| forward.is_match_state(forward.next_state(scan.state, byte)) == at_end;
        let mut bytes = forward.byte_classes().representatives(0..=255).filter_map(|unit| unit.as_u8());
        (!self.has_conditions || bytes.all(same)).then_some(at_end)
    }

    /// Whether nothing has begun that may become a match.
    fn is_idle(&self, scan: &Scan) -> bool {
        self.forward.is_dead_state(scan.state) || (self.prefilter.is_some() && self.forward.is_start_state(scan.state))
    }

    /// Whether the leftmost match ends where the search stands, whatever comes.
    fn is_certain(&self, scan: &Scan) -> bool {
        let forward = &self.forward;
        if !self.matches_at_end(scan) {
            return false;
        }
        let mut last = None;
        forward.byte_classes().representatives(0..=255).filter_map(|unit| unit.as_u8()).all(|byte| {
            let next = forward.next_state(scan.state, byte);
            // Mostly they all lead to one state.
            if last.replace(next) == Some(next) {
                return true;
            }
            forward.is_match_state(next) && self.is_last(next)
        })
    }

    /// Whether a match that ends one byte before this state is followed by no longer one.
    fn is_last(&self, state: StateID) -> bool {
        let forward = &self.forward;
        let mut bytes = forward.byte_classes().representatives(0..=255).filter_map(|unit| unit.as_u8());
        !forward.is_match_state(forward.next_eoi_state(state))
            && bytes.all(|byte| forward.is_dead_state(forward.next_state(state, byte)))
    }
}

/// Finds where matches begin and end, what groups in them have matched, and where one may have begun.
#[derive(Debug)]
pub struct Finder {
    matcher: Matcher,
    backward: Automata,
    begun: Automata,
    groups: PikeVM,
}

impl Finder {
    /// The finder of an expression.
    ///
    /// # Errors
    ///
    /// As of [`Matcher::new`].
    pub fn new(text: &str) -> Result<Finder, String> {
        let matcher = Matcher::new(text)?;
        let config = || dense::Config::new().match_kind(MatchKind::All).start_kind(StartKind::Anchored);
        let backward = determinize(&nfa(&matcher.hir, true, WhichCaptures::None)?, config())?;
        let beginnings = begun::beginnings(&nfa(&matcher.hir, false, WhichCaptures::None)?);
        let begun = determinize(&beginnings.map_err(|error| too_large(&error))?, config())?;
        let groups = PikeVM::new_from_nfa(nfa(&matcher.hir, false, WhichCaptures::All)?);
        let groups = groups.map_err(|error| too_large(&error))?;
        Ok(Finder { matcher, backward, begun, groups })
    }

    /// What finds the ends of matches.
    pub fn matcher(&self) -> &Matcher {
        &self.matcher
    }

    /// The end of the leftmost match, if it is certain without another byte.
    pub fn advance(&self, scan: &mut Scan, input: &[u8]) -> Option<usize> {
        let found = self.matcher.advance(scan, input, false);
        let found = found.or_else(|| scan.matched.filter(|_| self.matcher.is_last(scan.state)));
        found.or_else(|| self.matcher.is_certain(scan).then_some(input.len()))
    }

    /// Where a match begins that ends here, at or behind `from`. `before` is the byte before the input.
    pub fn start_of(&self, input: &[u8], from: usize, end: usize, before: Option<u8>) -> Option<usize> {
        earliest(&self.backward, input, from, end, before)
    }

    /// From where on, at or behind `from`, the input may be the beginning of a match.
    pub fn begun_at(&self, scan: &Scan, input: &[u8], from: usize, before: Option<u8>) -> usize {
        if scan.matched.is_none() && self.matcher.is_idle(scan) {
            return input.len();
        }
        earliest(&self.begun, input, from, input.len(), before).unwrap_or(input.len())
    }

    /// What the groups of a match have matched, in the match with what stands around it.
    pub fn groups(&self, memory: &mut Groups, around: &[u8], matched: Span) {
        let (cache, captures) = &mut **memory
            .0
            .get_or_insert_with(|| Box::new((self.groups.create_cache(), self.groups.create_captures())));
        let input = Input::new(around).span(matched).anchored(Anchored::Yes);
        self.groups.captures(cache, input, captures);
    }

    /// How many groups there are, the whole match among them.
    pub fn groups_count(&self) -> usize {
        self.groups.get_nfa().group_info().group_len(regex_automata::PatternID::ZERO)
    }

    /// The number of a group with this name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.groups.get_nfa().group_info().to_index(regex_automata::PatternID::ZERO, name)
    }
}

/// Memory for what groups have matched; of a finder, always the same one.
#[derive(Debug, Default)]
pub struct Groups(Option<Box<(pikevm::Cache, regex_automata::util::captures::Captures)>>);

impl Groups {
    /// Where the group of this number is, if it is a part of the match.
    pub fn get(&self, number: usize) -> Option<Span> {
        self.0.as_ref()?.1.get_group(number)
    }
}

/// The earliest place, from `from` on, from which what this automaton looks for leads to `end`.
fn earliest(dfa: &Automata, input: &[u8], from: usize, end: usize, before: Option<u8>) -> Option<usize> {
    let config = start::Config::new().anchored(Anchored::Yes).look_behind(input.get(end).copied());
    let mut state = dfa.start_state(&config).ok()?;
    let mut found = None;
    for at in (from..end).rev() {
        state = dfa.next_state(state, input[at]);
        if dfa.is_match_state(state) {
            found = Some(at + 1);
        } else if dfa.is_dead_state(state) {
            return found;
        }
    }
    let state = match if from > 0 { Some(input[from - 1]) } else { before } {
        Some(byte) => dfa.next_state(state, byte),
        None => dfa.next_eoi_state(state),
    };
    if dfa.is_match_state(state) { Some(from) } else { found }
}

fn nfa(hir: &Hir, reverse: bool, captures: WhichCaptures) -> Result<NFA, String> {
    let config = thompson::Config::new()
        .utf8(false)
        .reverse(reverse)
        .which_captures(captures)
        .nfa_size_limit(Some(MOST_TO_MAKE));
    thompson::Compiler::new().configure(config).build_from_hir(hir).map_err(|error| too_large(&error))
}

fn determinize(nfa: &NFA, config: dense::Config) -> Result<Automata, String> {
    let config = config.accelerate(false).dfa_size_limit(Some(MOST_MEMORY)).determinize_size_limit(Some(MOST_TO_MAKE));
    let unicode = "it has a word boundary of Unicode, which needs (?-u:\\b)";
    dense::Builder::new().configure(config).build_from_nfa(nfa).map_err(|error| match error.is_size_limit_exceeded() {
        true => format!("its automaton would need more than {} MiB", MOST_MEMORY >> 20),
        false => unicode.to_string(),
    })
}

/// What is wrong where an automaton cannot be made, which is its size.
fn too_large(error: &dyn std::fmt::Display) -> String {
    one_line(&error.to_string())
}

/// The reason at the end of an error of several lines, or the only line.
fn one_line(error: &str) -> String {
    let line = error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it is none");
    line.trim().trim_start_matches("error: ").to_string()
}

#[cfg(test)]
mod tests;
