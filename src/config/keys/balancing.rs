//! Options that say which remote a session gets.

use super::{DURATION, Group, Key, Kind, Scope, Shown, Value, alternatives, counted, duration, shown_duration};
use crate::config::balancing::{Balance, PoolSettings};
use crate::config::draft::{Problem, ServiceDraft};
use std::time::Duration;

/// The words that `balance` takes.
pub const BALANCE: &[&str] = &["round-robin", "least-sessions", "random", "source"];

/// What stands for all other remotes.
const ALL: &str = "all";

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "balance",
        value: Some(Value {
            name: "<method>",
            kind: Kind::Words(BALANCE),
            expected: "\"round-robin\", \"least-sessions\", \"random\" or \"source\"",
        }),
        scope: Scope::Service {
            set: balance,
            show: |service| match service.pool.balance {
                Balance::RoundRobin => None,
                Balance::LeastSessions => Some(Shown::Text("least-sessions".to_string())),
                Balance::Random => Some(Shown::Text("random".to_string())),
                Balance::Source => Some(Shown::Text("source".to_string())),
            },
        },
        default: Some("round-robin"),
        help: "choose remotes by: round-robin, least-sessions, random, source",
        details: &[
            "How the remote of a session is chosen where there are several. With `round-robin` they take turns, each as \
             often as its weight says and as evenly as can be. With `least-sessions` it is the one that has the fewest \
             sessions for its weight. With `random` two are drawn by their weights, and the one with fewer sessions for \
             its weight is taken. With `source` the address of the client decides, without its port: while \
             the remotes stay the same, a client gets the same one each time, from each cproxy that has the same remotes, \
             and when one is taken away, only its clients move.",
            "All I/O threads choose together, so that the shares are right over all of them.",
        ],
        example: "\"round-robin\"",
        ..BALANCING
    },
    Key {
        long: "retries",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number up to 65535, or \"all\"" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.retries = if value == ALL { None } else { Some(counted("retries", value, 0)?) };
                Ok(())
            },
            show: |service| service.pool.retries.map(|retries| Shown::Number(retries.into())),
        },
        default: Some(ALL),
        help: "how many more remotes a session tries until one connects",
        details: &[
            "How many other remotes a session tries when the first one cannot be connected to. It tries none twice. \
             With `all` it goes on until it has tried each of them; with `0` it tries no other. \
             No byte of the client is read before a remote is connected, so nothing is lost. \
             When none has connected, the client is reset.",
        ],
        example: "\"all\"",
        ..BALANCING
    },
    Key {
        long: "retry-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.retry_timeout =
                    Some(duration("retry timeout", value)?).filter(|time| !time.is_zero());
                Ok(())
            },
            show: |service| service.pool.retry_timeout.map(shown_duration),
        },
        default: Some("none"),
        help: "give up connecting a session to any remote after this time",
        details: &["How long all attempts to connect a session may take together. Then the client is reset. \
             `0` means that there is no limit, other than the `--connect-timeout` of each attempt."],
        example: "\"30s\"",
        ..BALANCING
    },
    Key {
        long: "resolve",
        value: DURATION,
        scope: Scope::Service { set: resolve, show: |service| service.pool.resolve.map(shown_duration) },
        default: Some("off"),
        help: "look names of remotes up again this often",
        details: &[
            "Look the names of remotes up again and again, with this time in between, by the system's resolver. \
             Each address of a name is then a remote of its own, with the weight and the other options of the name. \
             A new address becomes a remote; one that is gone gets no new sessions, and its sessions go on. \
             An answer that fails or is empty changes nothing, and the log says so once. \
             `0` turns this off: names are then looked up at the start and at each reload only.",
            "A name that cannot be looked up when the program starts is an error without this option, and a warning \
             with it: sessions then wait for the first address, for up to the `--connect-timeout`. \
             A remote `srv:`<name> is looked up again in any case, when the time to live of its records is over, or \
             after this time if that is sooner.",
        ],
        example: "\"30s\"",
        ..BALANCING
    },
];

/// What all of these have in common.
const BALANCING: Key = Key { group: Group::Balancing, ..Key::USUAL };

fn balance(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.pool.balance = match value {
        "round-robin" => Balance::RoundRobin,
        "least-sessions" => Balance::LeastSessions,
        "random" => Balance::Random,
        "source" => Balance::Source,
        _ => return Err(Problem::invalid("balance", value, &format!("expected {}", alternatives(BALANCE)))),
    };
    Ok(())
}

fn resolve(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let time = duration("resolve", value)?;
    if !time.is_zero() && time < PoolSettings::MIN_RESOLVE {
        let least = PoolSettings::MIN_RESOLVE.as_millis();
        return Err(Problem::invalid("resolve", value, &format!("less than {least}ms")));
    }
    service.settings.pool.resolve = Some(time).filter(|time| *time > Duration::ZERO);
    Ok(())
}
