use super::super::PATIENCE;
use super::*;
use regex::bytes::RegexBuilder;

fn replacer(regex: &str, text: &str, window: usize) -> Replacer {
    Replacer::new(Arc::new(Replacement::new(regex, text.as_bytes().to_vec()).unwrap()), window, PATIENCE)
}

/// A flow's part: it shows what is left again, with more behind it.
struct Flow {
    replacer: Replacer,
    left: Vec<u8>,
    output: Vec<u8>,
}

impl Flow {
    fn new(replacer: Replacer) -> Flow {
        Flow { replacer, left: Vec::new(), output: Vec::new() }
    }

    fn show(&mut self, bytes: &[u8], then: Then) {
        self.left.extend_from_slice(bytes);
        let Verdict::Taken(taken) = self.replacer.bytes(&self.left, then, &mut self.output) else { panic!("it ends") };
        self.left.drain(..taken);
        assert!(self.left.len() <= self.replacer.window());
        assert!(then == Then::More || self.left.is_empty());
    }

    /// What goes on after each of these reads.
    fn after_each(regex: &str, text: &str, reads: &[&str]) -> Vec<String> {
        let mut flow = Flow::new(replacer(regex, text, 1000));
        let mut after_each = Vec::new();
        for read in reads {
            match *read {
                "(pause)" => flow.show(b"", Then::Pause),
                "(end)" => flow.show(b"", Then::End),
                read => flow.show(read.as_bytes(), Then::More),
            }
            after_each.push(String::from_utf8(std::mem::take(&mut flow.output)).unwrap());
        }
        after_each
    }
}

#[test]
fn only_what_may_become_a_match_is_held() {
    let after_each = Flow::after_each;
    assert_eq!(
        after_each("secret", "S", &["a sec", "ret", " s", "s", "e", "e", "(end)"]),
        ["a ", "S", " ", "s", "", "see", ""]
    );
    assert_eq!(after_each("hue", "X", &["hu", "e\n", "hue "]), ["", "X\n", "X "]);
    // Nothing that comes could make another match of this.
    assert_eq!(after_each("foo|foobar", "X", &["foo", "bar"]), ["X", "bar"]);
    assert_eq!(after_each("foobar|foo", "X", &["foo", "b", "ar", "foo", "d"]), ["", "", "X", "", "Xd"]);
    // What began first and has failed does not hold back what began later.
    assert_eq!(after_each("ab+c|bbbd", "X", &["abbb", "e", "abbb", "d"]), ["", "abbbe", "", "aX"]);
    assert_eq!(after_each("aaab", "X", &["aaaaaa", "b", "aaaac"]), ["aaa", "X", "aaaac"]);
    assert_eq!(after_each("[0-9]+", "#", &["a1", "2", "3b45", "(end)"]), ["a", "", "#b", "#"]);
    assert_eq!(after_each(r"\bcat\b", "dog", &["cat", "s cat", ".", "cat", "(end)"]), ["", "cats ", "dog.", "", "dog"]);
    assert_eq!(after_each("^a", "X", &["aa", "a"]), ["Xa", "a"]);
    assert_eq!(after_each("(?m)^a$", "X", &["a\n", "a", "a\na\n"]), ["X\n", "", "aa\nX\n"]);
    assert_eq!(after_each("a$", "X", &["a", "a", "(end)"]), ["", "a", "X"]);
}

#[test]
fn a_pause_decides() {
    let after_each = Flow::after_each;
    assert_eq!(after_each("secret", "S", &["sec", "(pause)", "ret secret"]), ["", "sec", "ret S"]);
    assert_eq!(after_each("[0-9]+", "#", &["12", "(pause)", "34", "(pause)"]), ["", "#", "", "#"]);
    assert_eq!(after_each("foobar|foo|ba", "X", &["foob", "(pause)", "ar"]), ["", "Xb", "ar"]);
    // Where it ends nobody knows.
    assert_eq!(after_each("end$", "X", &["end", "(pause)", "(end)"]), ["", "end", ""]);
    // What stands before counts, also behind a pause.
    assert_eq!(after_each(r"\bcat", "X", &["con", "(pause)", "cat cat"]), ["con", "", "cat X"]);
}

#[test]
fn groups_are_known_in_the_text() {
    let after_each = Flow::after_each;
    assert_eq!(
        after_each("(a+)(b+)?(?<c>c)", "<$2|${1}|$c|$$>", &["aab", "bc", "ac"]),
        ["", "<bb|aa|c|$>", "<|a|c|$>"]
    );
    assert_eq!(after_each(r"\b(cat)(s?)\b", "${1}e$2", &["a cats", " cat", "(end)"]), ["a ", "cates ", "cate"]);
    for (regex, text, error) in [
        ("(a)", "$2", "it has no group for $2 in the text"),
        ("(a)", "$name", "it has no group for ${name} in the text"),
        ("a*", "b", "it matches nothing at all, which is everywhere"),
        ("^|$", "b", "it matches nothing at all, which is everywhere"),
        ("[^\\x00-\\xff]", "b", "it can match nothing"),
        ("(", "b", "unclosed group"),
        ("a.{20}b", "b", "its automaton would need more than 4 MiB"),
    ] {
        assert_eq!(Replacement::new(regex, text.into()).unwrap_err(), error, "{regex}");
    }
    assert_eq!(after_each("é|\\xff", "e", &["caf\u{e9}"]), ["cafe"]);
}

#[test]
fn each_datagram_is_one_by_itself() {
    let mut replacer = replacer("^a+|b$", "X", 10);
    let mut see = |datagram: &str| {
        let mut output = Vec::new();
        assert_eq!(replacer.datagram(datagram.as_bytes(), &mut output), Verdict::Taken(datagram.len()));
        String::from_utf8(output).unwrap()
    };
    assert_eq!(["a", "a", "b", "cab", "", "aaabb"].map(&mut see), ["X", "X", "X", "caX", "", "XbX"]);
}

/// What no schedule of the simulation has: any bytes, whatever stands in the expressions.
#[test]
fn however_the_bytes_come_it_is_what_one_replacement_of_all_would_be() {
    let mut random = 1_u64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % most as u64) as usize
    };
    for regex in [
        "abc",
        "ab|abc|bcab",
        "abc|ab",
        "a+b",
        "(a|b)+c",
        "a(ba)*c?",
        r"\ba",
        r"a\b",
        r"\bab?\b",
        "(?m)^a+",
        "(?m)b+$",
        "^a",
        "c$",
        "(a)(b)?c",
        "[ab]{2,5}c",
        "a.*?c",
        "a.*b",
        "(?s)a.{3}c",
        "a|b",
        "c(a|bb)*c",
        "aaab|ab",
        "b+|ab+c",
        "(?i)AB|bC",
        r"[^a]b",
        r"(?m)a$\nb",
        r"\Ba",
        r"a\Bb",
    ] {
        let whole = RegexBuilder::new(regex).unicode(false).build().unwrap();
        let what = Arc::new(Replacement::new(regex, b"<$0>".to_vec()).unwrap());
        for _ in 0..100 {
            let length = below(40);
            let text: Vec<u8> = (0..length).map(|_| b"aaabbbcc \n"[below(10)]).collect();
            let mut flow = Flow::new(Replacer::new(what.clone(), 100_000, PATIENCE));
            let mut at = 0;
            while at < text.len() {
                let to = text.len().min(at + 1 + below(8));
                flow.show(&text[at..to], Then::More);
                at = to;
            }
            flow.show(b"", Then::End);
            let expected = whole.replace_all(&text, &b"<$0>"[..]);
            let (is, expected) = (flow.output.escape_ascii().to_string(), expected.escape_ascii().to_string());
            assert_eq!(is, expected, "{regex} in {}", text.escape_ascii());
        }
    }
}

#[test]
fn no_more_is_held_than_the_window_and_other_matches_are_still_found() {
    let mut flow = Flow::new(replacer("<[^>]*>|foo|bar", "X", 100));
    // As long as half of the window, a match is found whatever stands before it.
    for _ in 0..50 {
        flow.show(b"< and foo", Then::More);
        flow.show(&[b'-'; 30], Then::More);
    }
    let so_far = String::from_utf8(flow.output.clone()).unwrap();
    assert!(so_far.starts_with("< and X---"), "{so_far}");
    assert_eq!((so_far.matches("foo").count(), so_far.matches('X').count() > 45), (0, true), "{so_far}");
    flow.show(b"> bar", Then::More);
    flow.show(b"", Then::End);
    assert!(flow.output.ends_with(b"X X"), "{}", flow.output.escape_ascii());
    // A match that goes on and on is as long as the window.
    let mut flow = Flow::new(replacer("a+", "X", 100));
    (0..1000).for_each(|_| flow.show(b"a", Then::More));
    flow.show(b"", Then::End);
    assert!((10..=21).contains(&flow.output.len()), "{}", flow.output.escape_ascii());
}

#[test]
fn what_may_become_a_match_for_long_is_not_looked_at_again_for_each_byte() {
    // Byte by byte, each of 200,000 would have 100,000 looked at: that takes minutes.
    let mut flow = Flow::new(replacer("x[^y]*y", "X", 300_000));
    flow.show(b"x", Then::More);
    for _ in 0..50_000 {
        flow.show(b"-", Then::More);
    }
    assert!(flow.output.is_empty());
    flow.show(b"y", Then::More);
    assert_eq!(flow.output, b"X");
}

#[test]
fn what_began_later_and_fits_into_the_window_is_not_given_up() {
    // The first read may become two matches; then the one that began first has failed, and the other fits just so.
    let digits = "1".repeat(4995);
    let mut flow = Flow::new(replacer("A[0-9B]*Z|B[0-9a]*Y", "X", 5150));
    flow.show(format!("A123B{digits}").as_bytes(), Then::More);
    flow.show(format!("a{}", "2".repeat(150)).as_bytes(), Then::More);
    assert_eq!(flow.output, b"A123");
    flow.show(b"Y", Then::More);
    assert_eq!(flow.output, b"A123X");
}
