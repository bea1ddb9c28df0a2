//! Options that say how it is found out which remotes work, and what follows.

use super::{DURATION, Group, Key, Kind, Scope, Shown, Value, alternatives, counted, duration, shown_duration, unless};
use crate::config::balancing::{CheckSettings, OnDown, PoolSettings};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::escapes::{escape, unescape};
use std::time::Duration;

/// The words that `on-down` takes.
pub const ON_DOWN: &[&str] = &["keep", "reset"];

/// What counts of checks and of failed sessions take.
const COUNT: &str = "a whole number from 1 to 65535";

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "max-fails",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number up to 65535" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.max_fails = counted("max fails", value, 0)?;
                Ok(())
            },
            show: |service| {
                let default = PoolSettings::default().max_fails;
                (service.pool.max_fails != default).then_some(Shown::Number(service.pool.max_fails.into()))
            },
        },
        default: Some("3"),
        help: "how many failed connects within the --fail-timeout take a remote out",
        details: &[
            "After so many failed connects within the `--fail-timeout`, a remote is out: it gets no session for that \
             long. Then one session tries it. If that fails, it is out for twice as long as before, up to 5 minutes; \
             if it succeeds, the remote is in again. If all are out, all are tried. The last usable remote \
             is never taken out, and a service with one remote takes nothing out. `0` turns this off.",
        ],
        example: "3",
        ..HEALTH
    },
    Key {
        long: "fail-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.fail_timeout = above_zero("fail timeout", value)?;
                Ok(())
            },
            show: |service| unless(service.pool.fail_timeout, PoolSettings::default().fail_timeout),
        },
        default: Some("10s"),
        help: "how long failed connects count, and a remote is out at first",
        details: &["Within which time failed connects count together for the `--max-fails`, and how long a remote is \
             out at first."],
        example: "\"10s\"",
        ..HEALTH
    },
    Key {
        long: "check-interval",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                let interval = duration("check interval", value)?;
                if !interval.is_zero() && interval < CheckSettings::MIN_INTERVAL {
                    let least = CheckSettings::MIN_INTERVAL.as_millis();
                    return Err(Problem::invalid("check interval", value, &format!("less than {least}ms")));
                }
                service.settings.pool.check.interval = Some(interval).filter(|interval| !interval.is_zero());
                Ok(())
            },
            show: |service| service.pool.check.interval.map(shown_duration),
        },
        default: Some("off"),
        help: "check each remote this often by connecting to it",
        details: &[
            "Check each remote by connecting to it, with this time in between, and never all at the same instant. \
             A remote whose checks fail is down: it gets no session as long as another one is usable. \
             `0` turns checks off.",
        ],
        example: "\"2s\"",
        ..HEALTH
    },
    Key {
        long: "check-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.check.timeout = Some(above_zero("check timeout", value)?);
                Ok(())
            },
            show: |service| service.pool.check.timeout.map(shown_duration),
        },
        default: Some("2s, or three quarters of the check interval if they are less"),
        help: "how long a check may take",
        details: &[
            "How long one check may take, with the answer that is expected. Then it has failed. The default is cut to \
             three quarters of the `--check-interval`. A time that is given is not cut: a check that takes longer than \
             the interval has the next one begin when it is over.",
        ],
        example: "\"2s\"",
        ..HEALTH
    },
    Key {
        long: "rise",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: COUNT }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.check.rise = counted("rise", value, 1)?;
                Ok(())
            },
            show: |service| {
                let rise = service.pool.check.rise;
                (rise != CheckSettings::default().rise).then_some(Shown::Number(rise.into()))
            },
        },
        default: Some("2"),
        help: "after how many good checks a remote that is down is up",
        details: &["How many checks in a row must succeed until a remote that is down is up again."],
        example: "2",
        ..HEALTH
    },
    Key {
        long: "fall",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: COUNT }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.check.fall = counted("fall", value, 1)?;
                Ok(())
            },
            show: |service| {
                let fall = service.pool.check.fall;
                (fall != CheckSettings::default().fall).then_some(Shown::Number(fall.into()))
            },
        },
        default: Some("3"),
        help: "after how many failed checks a remote is down",
        details: &["How many checks in a row must fail until a remote is down."],
        example: "3",
        ..HEALTH
    },
    Key {
        long: "check-send",
        value: Some(Value { name: "<text>", kind: Kind::Text, expected: "a string with what is sent" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.check.send = bytes("check send", value)?;
                Ok(())
            },
            show: |service| shown_bytes(&service.pool.check.send),
        },
        default: Some("nothing"),
        help: "what a check sends when it is connected",
        details: &[
            "What a check sends once it is connected: text in which `\\r`, `\\n`, `\\t`, `\\0`, `\\\\` and `\\xHH`, with two \
             hexadecimal digits, stand for a byte each; up to 16 KiB. To a remote that takes datagrams it is one \
             datagram. In a file, write it in single quotes, so that the backslashes stay as they are. \
             This needs a `--check-interval`.",
        ],
        example: r"'PING\r\n'",
        ..HEALTH
    },
    Key {
        long: "check-expect",
        value: Some(Value { name: "<text>", kind: Kind::Text, expected: "a string with what must be answered" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.pool.check.expect = bytes("check expect", value)?;
                Ok(())
            },
            show: |service| shown_bytes(&service.pool.check.expect),
        },
        default: Some("nothing"),
        help: "what the answer to a check must have in it",
        details: &["What must be somewhere in what the remote answers within the `--check-timeout`, written like \
             `--check-send`. A server that speaks first needs no `--check-send`. This needs a `--check-interval`."],
        example: "'+PONG'",
        ..HEALTH
    },
    Key {
        long: "slow-start",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                let time = duration("slow start", value)?;
                service.settings.pool.slow_start = Some(time).filter(|time| !time.is_zero());
                Ok(())
            },
            show: |service| service.pool.slow_start.map(shown_duration),
        },
        default: Some("off"),
        help: "give a remote that comes back its share slowly, over this time",
        details: &[
            "Over which time the share of a remote that comes back, or that a name has newly got, grows from little to \
             the whole. It is not for the start of the program. `0` gives it the whole share at once.",
        ],
        example: "\"30s\"",
        ..HEALTH
    },
    Key {
        long: "on-down",
        value: Some(Value { name: "<what>", kind: Kind::Words(ON_DOWN), expected: "\"keep\" or \"reset\"" }),
        scope: Scope::Service {
            set: on_down,
            show: |service| match service.pool.on_down {
                OnDown::Keep => None,
                OnDown::Reset => Some(Shown::Text("reset".to_string())),
            },
        },
        default: Some("keep"),
        help: "what becomes of the sessions of a remote that is down: keep, reset",
        details: &[
            "What becomes of the sessions of a remote that checks find down. With `keep` they go on. With `reset` they \
             are reset, so that the clients come again and get another remote. `reset` needs a `--check-interval`.",
        ],
        example: "\"keep\"",
        ..HEALTH
    },
];

/// What all of these have in common.
const HEALTH: Key = Key { group: Group::Health, ..Key::USUAL };

fn above_zero(what: &str, value: &str) -> Result<Duration, Problem> {
    match duration(what, value)? {
        Duration::ZERO => Err(Problem::invalid(what, value, "expected more than 0")),
        time => Ok(time),
    }
}

fn bytes(what: &str, value: &str) -> Result<Vec<u8>, Problem> {
    let bytes = unescape(value).map_err(|reason| Problem::invalid(what, value, &reason))?;
    if bytes.len() > CheckSettings::MAX_TEXT {
        // It is too long to be said again.
        return Err(Problem::explained(format!("invalid {what}: longer than {} bytes", CheckSettings::MAX_TEXT)));
    }
    Ok(bytes)
}

fn shown_bytes(bytes: &[u8]) -> Option<Shown> {
    (!bytes.is_empty()).then(|| Shown::Text(escape(bytes)))
}

fn on_down(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.pool.on_down = match value {
        "keep" => OnDown::Keep,
        "reset" => OnDown::Reset,
        _ => return Err(Problem::invalid("on down", value, &format!("expected {}", alternatives(ON_DOWN)))),
    };
    Ok(())
}
