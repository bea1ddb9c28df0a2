use super::*;

/// Where a match may have begun, found by trying each place from the front, with the automaton of a match that begins there.
fn begun_at_by_trial(regex: &str, input: &[u8]) -> usize {
    let hir = syntax::parse_with(regex, &syntax::Config::new().unicode(false).utf8(false)).unwrap();
    let config = dense::Config::new().match_kind(MatchKind::All).start_kind(StartKind::Anchored);
    let dfa = determinize(&nfa(&hir, false, WhichCaptures::None).unwrap(), config).unwrap();
    let lives = |&from: &usize| {
        let before = from.checked_sub(1).map(|at| input[at]);
        let config = start::Config::new().anchored(Anchored::Yes).look_behind(before);
        let state = dfa.start_state(&config).unwrap();
        let state = input[from..].iter().fold(state, |state, &byte| dfa.next_state(state, byte));
        // A match that ends just here shows with the next byte.
        (0..=255).any(|byte| !dfa.is_dead_state(dfa.next_state(state, byte)))
    };
    (0..input.len()).find(lives).unwrap_or(input.len())
}

#[test]
fn where_a_match_may_have_begun_is_known_from_behind() {
    for regex in
        ["abc", "ab+c|bbbd", "(a|b)+c", "a(ba)*c", "[ab]{2,5}c", "a.*b", "aaab", "ca|aca|bb", "(?m)^ab", r"\bab"]
    {
        let finder = Finder::new(regex).unwrap();
        for number in 0..3_usize.pow(7) {
            let input: Vec<u8> = (0..7).map(|place| b"abc"[number / 3_usize.pow(place) % 3]).collect();
            let begun = earliest(&finder.begun, &input, 0, input.len(), None).unwrap_or(input.len());
            assert_eq!(begun, begun_at_by_trial(regex, &input), "{regex} in {}", input.escape_ascii());
        }
    }
}

#[test]
fn a_literal_is_looked_for_by_itself_and_found_across_pieces() {
    let matcher = Matcher::new("needle[0-9]").unwrap();
    assert!(matcher.prefilter.is_some());
    let text = b"nee needl needle needle7 n";
    for cut in 0..text.len() {
        let mut scan = matcher.begin(None, 0);
        let found = matcher.advance(&mut scan, &text[..cut], false);
        let found = found.or_else(|| matcher.advance(&mut scan, text, false));
        assert_eq!(found, Some(24), "cut at {cut}");
    }
    assert!(Matcher::new(r"\bneedle").unwrap().prefilter.is_none());
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    for (regex, error) in [
        ("a{2,1}", "invalid repetition count range, the start must be <= the end"),
        (r"\pL", "Unicode not allowed here"),
        (r"(?u)\bcat", "it has a word boundary of Unicode, which needs (?-u:\\b)"),
    ] {
        assert_eq!(Matcher::new(regex).unwrap_err(), error, "{regex}");
    }
}
