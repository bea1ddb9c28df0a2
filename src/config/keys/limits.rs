//! Options that say how many sessions there may be, and how many may begin.

use std::num::NonZeroU32;

use super::{Group, Key, Kind, Scope, Shown, Value, alternatives};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::limits::{Rate, SourcePrefix, WhenFull};
use crate::config::units::parse_count;

/// The words that `when-full` takes.
pub const WHEN_FULL: &[&str] = &["wait", "reset"];

/// A number of sessions.
const SESSIONS: Option<Value> =
    Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number from 1 to 4294967295" });

/// A number of sessions in a time.
const RATE: Option<Value> =
    Some(Value { name: "<rate>", kind: Kind::Text, expected: "a string such as \"10/s\", \"100/m\" or \"1000/h\"" });

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "max-sessions",
        value: SESSIONS,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.max_sessions = Some(sessions("max sessions", value)?);
                Ok(())
            },
            show: |service| service.limits.max_sessions.map(shown),
        },
        default: Some("any number"),
        help: "have at most so many sessions at once",
        details: &[
            "How many sessions there may be at once. What becomes of more clients is said by `--when-full`. \
             All I/O threads count together, and the limit is exact. Without this option there are as many sessions as \
             descriptors allow.",
            "Sessions that a reload leaves to a former version of the service count as well, if they began when there was \
             such a limit. A lower limit ends no session. \
             A stripe counts once, however many lanes it has.",
        ],
        example: "1000",
        ..LIMITS
    },
    Key {
        long: "when-full",
        value: Some(Value { name: "<what>", kind: Kind::Words(WHEN_FULL), expected: "\"wait\" or \"reset\"" }),
        scope: Scope::Service {
            set: when_full,
            show: |service| (service.limits.when_full == WhenFull::Reset).then(|| Shown::Text("reset".to_string())),
        },
        default: Some("wait"),
        help: "what clients beyond --max-sessions do: wait, reset",
        details: &["What becomes of a client that comes when there are as many sessions as `--max-sessions` allows. \
             With `wait` it waits in the backlog of the listener, and is accepted when a session has ended; \
             with `reset` it is reset. Whoever sends datagrams, or opens a stripe, does not wait: \
             its datagrams are dropped, and its stripe is reset."],
        example: "\"wait\"",
        ..LIMITS
    },
    Key {
        long: "max-sessions-per-source",
        value: SESSIONS,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.max_sessions_per_source = Some(sessions("max sessions per source", value)?);
                Ok(())
            },
            show: |service| service.limits.max_sessions_per_source.map(shown),
        },
        default: Some("any number"),
        help: "let one source have at most so many sessions at once",
        details: &[
            "How many sessions one source may have at once. A source is an address of a client, or its network: \
             see `--source-prefix`. One more client of it is reset, and if it sends datagrams, these are dropped. \
             The log says how many were refused, at most once a second.",
            "Clients of Unix sockets and devices are no sources.",
        ],
        example: "20",
        ..LIMITS
    },
    Key {
        long: "session-rate",
        value: RATE,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.session_rate = Some(rate("session rate", value)?);
                Ok(())
            },
            show: |service| service.limits.session_rate.map(|rate| Shown::Text(rate.to_string())),
        },
        default: Some("any number"),
        help: "let at most so many sessions begin in a second, minute or hour",
        details: &[
            "How many sessions may begin in a time: a whole number up to 1000000, and `/s` for a second, `/m` for \
             a minute or `/h` for an hour. At once, as many may begin as would in a second, and one at least: \
             with `100/s` that is 100 sessions, and then one each 10 ms. \
             A client that comes too soon is reset, and counts for nothing.",
        ],
        example: "\"1000/s\"",
        ..LIMITS
    },
    Key {
        long: "session-rate-per-source",
        value: RATE,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.session_rate_per_source = Some(rate("session rate per source", value)?);
                Ok(())
            },
            show: |service| service.limits.session_rate_per_source.map(|rate| Shown::Text(rate.to_string())),
        },
        default: Some("any number"),
        help: "let at most so many sessions of one source begin in a time",
        details: &["How many sessions of one source may begin in a time, written as for `--session-rate`. \
             For the sources that were seen last, up to a million, the program remembers how many have begun."],
        example: "\"10/s\"",
        ..LIMITS
    },
    Key {
        long: "source-prefix",
        value: Some(Value {
            name: "<v4,v6>",
            kind: Kind::Text,
            expected: "a string such as \"32,64\": bits of an address of IPv4, and of one of IPv6",
        }),
        scope: Scope::Service {
            set: source_prefix,
            show: |service| {
                let prefix = service.limits.source_prefix;
                (prefix != SourcePrefix::default()).then(|| Shown::Text(prefix.to_string()))
            },
        },
        default: Some("32,64"),
        help: "how many bits of an address of IPv4 and of IPv6 are a source",
        details: &[
            "How many of the first bits of a client's address say which source it is: for IPv4, from 1 to 32, and \
             for IPv6, from 1 to 128. With the default, each address of IPv4 is a source, and each \
             network of IPv6 with 64 bits, as whoever has one address there has all of them. \
             An address of IPv4 that is written as one of IPv6 is one of IPv4.",
        ],
        example: "\"32,64\"",
        ..LIMITS
    },
    Key {
        long: "requests",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.requests = NonZeroU32::new(datagrams("requests", value)?);
                Ok(())
            },
            show: |service| service.limits.requests.map(shown),
        },
        default: Some("any number"),
        help: "let a session take so many datagrams of a client without a connection",
        details: &[
            "How many datagrams of a client without a connection (`udp:`, `unixgram:`) belong to one session: the \
             next one begins another session, with a connection of its own to the remote. The former session goes on for \
             its answers, until all have come that `--responses` says, or until it is idle for long enough. \
             `0` means any number.",
        ],
        example: "1",
        ..LIMITS
    },
    Key {
        long: "responses",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.limits.responses = Some(datagrams("responses", value)?);
                Ok(())
            },
            show: |service| service.limits.responses.map(|count| Shown::Number(count.into())),
        },
        default: Some("any number"),
        help: "end such a session when each of its datagrams has had so many answers",
        details: &[
            "How many datagrams of the remote answer one of a client without a connection (`udp:`, `unixgram:`). \
             The session ends when so many have come for each datagram that the client has sent, and not before the client \
             has sent as many as `--requests` says. Use `1` for DNS. With `0` no answer is waited for, and the session ends when its \
             datagrams have been sent.",
            "What is kept is sent before a session ends so. An answer that never comes leaves the session to the \
             `--idle-timeout`. Without this option nobody knows how many answers there are, and only that timeout ends it.",
        ],
        example: "1",
        ..LIMITS
    },
];

/// What all of these have in common.
const LIMITS: Key = Key { group: Group::Limits, ..Key::USUAL };

fn sessions(what: &str, value: &str) -> Result<NonZeroU32, Problem> {
    let problem = |reason: &str| {
        let expected = "expected a whole number from 1";
        Problem::invalid(what, value, if reason.is_empty() { expected } else { reason })
    };
    let count = parse_count(value, u32::MAX.into()).map_err(|reason| problem(&reason))?;
    NonZeroU32::new(count as u32).ok_or_else(|| problem(""))
}

fn datagrams(what: &str, value: &str) -> Result<u32, Problem> {
    if value.trim() == "0" {
        return Ok(0);
    }
    let count = parse_count(value, u32::MAX.into()).map_err(|reason| {
        Problem::invalid(what, value, if reason.is_empty() { "expected a whole number" } else { &reason })
    })?;
    Ok(count as u32)
}

fn shown(count: NonZeroU32) -> Shown {
    Shown::Number(count.get().into())
}

fn when_full(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.limits.when_full = match value {
        "wait" => WhenFull::Wait,
        "reset" => WhenFull::Reset,
        _ => return Err(Problem::invalid("when full", value, &format!("expected {}", alternatives(WHEN_FULL)))),
    };
    Ok(())
}

fn rate(what: &str, value: &str) -> Result<Rate, Problem> {
    value.parse().map_err(|reason: String| Problem::invalid(what, value, &reason))
}

fn source_prefix(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let prefix = value.parse().map_err(|reason: String| Problem::invalid("source prefix", value, &reason))?;
    service.settings.limits.source_prefix = prefix;
    Ok(())
}
