//! Options that say what of the bytes of sessions is rejected and replaced.

use super::{DURATION, Group, Key, Kind, Place, Scope, Shown, Value, duration, unless};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::inspection::{Rule, RuleSettings};
use crate::config::units::parse_size;

/// The flags that are each one rule of `inspect`, as their order counts.
pub const FILTERS: &[&str] = &["reject", "replace"];

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "reject",
        value: Some(Value { name: "<regex>", kind: Kind::Text, expected: "a regular expression" }),
        scope: Scope::Service { set: |service, value| add(service, "reject", value, Rule::reject), show: |_| None },
        place: Place::CommandLine,
        repeatable: true,
        help: "reset sessions in whose bytes this matches: [upstream:]regex",
        details: &[
            "Reset a session as soon as this regular expression matches in what it moves. With `upstream:` (or `up:`) before it, \
             it is looked for in what clients send, with `downstream:` (or `down:`) in what remotes send, and otherwise in both, \
             each for itself. It does not matter in how many pieces the bytes come. The last byte of the match does not go on, and \
             neither does what has come together with it. The log has a line about it.",
            "The syntax is that of the crate `regex` of Rust. Letters, classes, `.` and `\\b` are about bytes and ASCII, and `\\xff` is \
             a byte; `(?i)` makes no difference between upper and lower case. Each byte takes the same time, whatever the \
             expression is. An expression whose automaton would need more than 4 MiB is refused, and so is one that can match \
             without a byte. In a stream, `^` is its beginning and `$` its end, and with `(?m)` those of lines.",
            "This option and `--replace` can be given any number of times. They are applied in the order given: each sees what \
             those before it have made. Datagrams are looked at one by one. \
             What is looked at is copied, and does not go through kernel pipes (`--zero-copy`).",
        ],
        example: "'up:(?i)drop table'",
        ..INSPECTION
    },
    Key {
        long: "replace",
        value: Some(Value { name: "<regex=text>", kind: Kind::Text, expected: "a regular expression, = and a text" }),
        scope: Scope::Service { set: |service, value| add(service, "replace", value, Rule::replace), show: |_| None },
        place: Place::CommandLine,
        repeatable: true,
        help: "replace what this matches in passing: [upstream:]regex=text",
        details: &[
            "Put a text in place of all that a regular expression matches in what sessions move. The expression is written as \
             for `--reject`, with a direction before it if it is for one of them only. The first `=` without a backslash ends it, so \
             one that belongs to it is written `\\=`. In the text, `$1` or `${1}` is what the first group has matched, `${name}` what \
             a group with a name has, `$$` is `$`, and `\\r`, `\\n`, `\\t`, `\\0`, `\\\\` and `\\xHH` are bytes.",
            "It does not matter in how many pieces the bytes come: what may be the beginning of a match is held back, at most as \
             much as `--match-window` says, and everything else goes on at once. When nothing more has come for as long as `--match-wait` says, \
             what is held goes on as well, replaced if it is a match by then. So whoever types waits at most so long, and a \
             match in the middle of which the sender pauses for longer is not found.",
            "Bytes that are encrypted or compressed do not have what is looked for, and a text of another length contradicts \
             lengths that are sent beside it, such as the Content-Length of HTTP.",
        ],
        example: "'down:Server: [^\\r]*=Server: none'",
        ..INSPECTION
    },
    Key {
        long: "inspect",
        value: Some(Value {
            name: "<rule>",
            kind: Kind::Text,
            expected: "a string such as \"reject up:evil\" or \"replace colour=color\"",
        }),
        scope: Scope::Service {
            set: |service, value| add(service, "inspect", value, Rule::parse),
            show: |service| {
                let rules = service.rules.rules.iter().map(|rule| Shown::Text(rule.to_string()));
                Some(Shown::Several(rules.collect())).filter(|_| !service.rules.rules.is_empty())
            },
        },
        place: Place::File,
        repeatable: true,
        default: Some("nothing"),
        help: "what is rejected and replaced in sessions' bytes: rules, one after the other",
        details: &[
            "The rules for the bytes of sessions, in an array. Each is `reject` or `replace`, a space, and what \
             `--reject` or `--replace` takes. They are applied in this order: each sees what those before it have made. \
             A string of TOML in single quotes has backslashes as they are.",
        ],
        example: "['reject up:(?i)drop table', 'replace colour=color']",
        ..INSPECTION
    },
    Key {
        long: "match-window",
        value: Some(Value {
            name: "<bytes>",
            kind: Kind::Number,
            expected: "a whole number of bytes, or a string such as \"64k\"",
        }),
        scope: Scope::Service {
            set: |service, value| {
                let invalid = |reason: String| Problem::invalid("match window", value, &reason);
                let expected = |reason: String| match reason.is_empty() {
                    true => "expected a number of bytes from 1 to 16m".to_string(),
                    false => reason,
                };
                let window = parse_size(value, RuleSettings::MAX_WINDOW).map_err(|reason| invalid(expected(reason)))?;
                service.settings.rules.window = usize::try_from(window).unwrap_or(usize::MAX);
                Ok(())
            },
            show: |service| {
                let window = service.rules.window;
                (window != RuleSettings::DEFAULT_WINDOW).then_some(Shown::Number(window as u64))
            },
        },
        default: Some("64k"),
        help: "hold back at most so many bytes that may become a match",
        details: &[
            "How many bytes `--replace` holds back in one direction of a session because they may be the beginning of a match. \
             When more have come, those of the first half are decided about with what is there, and go on. So a match of up to \
             half as many bytes is always found, and a longer one in most cases. It is at most `16m`. `k`, `m` and `g` stand for powers of 1024.",
        ],
        example: "\"1m\"",
        ..INSPECTION
    },
    Key {
        long: "match-wait",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.rules.wait = duration("match wait", value)?;
                Ok(())
            },
            show: |service| unless(service.rules.wait, RuleSettings::DEFAULT_WAIT),
        },
        default: Some("100ms"),
        help: "hold back what may become a match for at most so long",
        details: &["How long `--replace` holds back what may be the beginning of a match while nothing more comes. \
             With a longer time, a match is also found where its sender pauses in the middle of it, but whoever waits for an \
             answer to something that looks like the beginning of one waits longer."],
        example: "\"1s\"",
        ..INSPECTION
    },
];

/// What all of these have in common.
const INSPECTION: Key = Key { group: Group::Inspection, ..Key::USUAL };

fn add(
    service: &mut ServiceDraft<'_>,
    what: &str,
    value: &str,
    parse: fn(&str) -> Result<Rule, String>,
) -> Result<(), Problem> {
    let rule = parse(value).map_err(|reason| Problem::invalid(what, value, &reason))?;
    service.settings.rules.rules.push(rule);
    Ok(())
}
