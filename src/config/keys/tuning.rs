//! Options for performance, sockets and time.

use super::{DURATION, Group, Key, Kind, Place, Scope, Shown, Value, alternatives, duration, shown_duration, unless};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::settings::{IdleTimeout, OnReload, ProcessSettings, ServiceSettings, ZeroCopy};
use crate::config::units::{parse_count, parse_duration};
use std::time::Duration;

/// The words that `zero-copy` takes.
pub const ZERO_COPY: &[&str] = &["auto", "always", "never"];

/// The words that `on-reload` takes.
pub const ON_RELOAD: &[&str] = &["keep", "drain", "reset"];

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "zero-copy",
        value: Some(Value {
            name: "<when>",
            kind: Kind::Words(ZERO_COPY),
            expected: "\"auto\", \"always\" or \"never\"",
        }),
        scope: Scope::Process {
            set: |process, value| {
                process.settings.zero_copy = zero_copy(value)?;
                Ok(())
            },
            show: |process| match process.zero_copy {
                ZeroCopy::Auto => None,
                ZeroCopy::Always => Some(Shown::Text("always".to_string())),
                ZeroCopy::Never => Some(Shown::Text("never".to_string())),
            },
        },
        group: Group::Performance,
        default: Some("auto"),
        help: "when to move bytes through kernel pipes: auto, always, never",
        details: &[
            "When bytes go from one side to the other through a kernel pipe, with splice(2), so that the program does \
             not copy them. With `auto`, a direction starts by copying, which is best for messages, and uses a pipe \
             while it carries bulk. With `always` it uses a pipe from the start; with `never` it only copies. \
             The number of pipes is limited by the number of descriptors and by `fs.pipe-user-pages-soft`; \
             a direction that gets no pipe copies. \
             Pipes are used on Linux only: on other systems `auto` copies and `always` is an error.",
        ],
        example: "\"auto\"",
        ..Key::USUAL
    },
    Key {
        long: "reuse-port",
        scope: Scope::Process {
            set: |process, value| {
                process.settings.reuse_port = value == "true";
                Ok(())
            },
            show: |process| process.reuse_port.then_some(Shown::On),
        },
        group: Group::Performance,
        help: "let each I/O thread accept TCP clients by itself",
        details: &["Give each I/O thread a listening socket of its own for each TCP address, with SO_REUSEPORT. \
             The kernel then chooses the thread of each connection (on Linux and FreeBSD by a hash of its addresses, \
             which spreads them evenly). This costs less for each connection than an acceptor thread that gives \
             them to the I/O threads in turn. The acceptor thread still accepts the clients of Unix sockets. \
             Another process of the same user can then listen at the same address, so it is no error to start \
             the program twice."],
        ..Key::USUAL
    },
    Key {
        long: "keepalive",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.keepalive =
                    keepalive(value).map_err(|reason| Problem::invalid("keepalive", value, &reason))?;
                Ok(())
            },
            show: |service| service.keepalive.map(shown_duration),
        },
        group: Group::Sockets,
        default: Some("off"),
        help: "send TCP keepalive probes when a peer is silent for this long",
        details: &[
            "Send TCP keepalive probes on both sides of a session when a connection has been idle for this long. \
             While no probe is answered, they are repeated after the same time, or every 75 seconds if that is \
             shorter. The time is in whole seconds, up to `32767s`; `0` turns probes off.",
        ],
        example: "\"2m\"",
        ..Key::USUAL
    },
    Key {
        long: "backlog",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number above 0" }),
        scope: Scope::Service {
            set: backlog,
            show: |service| (service.backlog != i32::MAX).then_some(Shown::Number(service.backlog.max(0) as u64)),
        },
        group: Group::Sockets,
        default: Some("the system's maximum"),
        help: "how many connections may wait to be accepted",
        details: &["How many connections may wait to be accepted at each listen address. \
             The system reduces a number that is above its own maximum."],
        example: "1024",
        ..Key::USUAL
    },
    Key {
        long: "connect-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                let timeout = duration("connect timeout", value)?;
                if timeout.is_zero() {
                    return Err(Problem::invalid("connect timeout", value, "expected more than 0"));
                }
                service.settings.connect_timeout = timeout;
                Ok(())
            },
            show: |service| unless(service.connect_timeout, ServiceSettings::DEFAULT_CONNECT_TIMEOUT),
        },
        group: Group::Timeouts,
        default: Some("10s"),
        help: "give up an attempt to connect to the remote after this time",
        details: &["How long one attempt to connect to an address of the remote may take. \
             Then the next address is tried; if there is none, the client is reset."],
        example: "\"10s\"",
        ..Key::USUAL
    },
    Key {
        long: "idle-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.idle_timeout = match duration("idle timeout", value)? {
                    Duration::ZERO => IdleTimeout::Never,
                    time => IdleTimeout::After(time),
                };
                Ok(())
            },
            show: |service| match service.idle_timeout {
                IdleTimeout::ByClient => None,
                IdleTimeout::Never => Some(shown_duration(Duration::ZERO)),
                IdleTimeout::After(time) => Some(shown_duration(time)),
            },
        },
        group: Group::Timeouts,
        default: Some("none, or 60s for clients without a connection"),
        help: "end a session in which nothing has moved for this long",
        details: &[
            "End a session when no byte and no datagram has moved in either direction for this long. \
             `0` means that there is no limit.",
            "A `udp:` or `unixgram:` client has no connection that could end, so its session ends by this timeout \
             only. That is why such a session ends after 60 seconds without this option.",
        ],
        example: "\"1h\"",
        ..Key::USUAL
    },
    Key {
        long: "session-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.session_timeout = timeout("session timeout", value)?;
                Ok(())
            },
            show: |service| service.session_timeout.map(shown_duration),
        },
        group: Group::Timeouts,
        default: Some("none"),
        help: "end each session after this time, whatever it is doing",
        details: &[
            "How long a session may last. Then it is reset, whatever moves in it. The time begins when the client has \
             been accepted. `0` means that there is no limit.",
        ],
        example: "\"24h\"",
        ..Key::USUAL
    },
    Key {
        long: "half-close-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.half_close_timeout = timeout("half-close timeout", value)?;
                Ok(())
            },
            show: |service| service.half_close_timeout.map(shown_duration),
        },
        group: Group::Timeouts,
        default: Some("none"),
        help: "end a session of which one direction has ended after this silence",
        details: &[
            "When one direction of a session has ended, end the session if no byte has moved in the other direction for \
             this long. It is for peers that go away without a word, or clients that never close. `0` means that only \
             the `idle-timeout` holds, which is in force beside this one.",
        ],
        example: "\"1m\"",
        ..Key::USUAL
    },
    Key {
        long: "drain-timeout",
        value: DURATION,
        scope: Scope::Process {
            set: |process, value| {
                process.settings.drain_timeout = duration("drain timeout", value)?;
                Ok(())
            },
            show: |process| unless(process.drain_timeout, ProcessSettings::DEFAULT_DRAIN_TIMEOUT),
        },
        group: Group::Timeouts,
        default: Some("30s"),
        help: "how long sessions may go on after SIGTERM or SIGINT",
        details: &[
            "How long sessions may go on after SIGTERM or SIGINT before they are reset. `0` resets them at once.",
        ],
        example: "\"30s\"",
        ..Key::USUAL
    },
    Key {
        long: "on-reload",
        value: Some(Value {
            name: "<what>",
            kind: Kind::Words(ON_RELOAD),
            expected: "\"keep\", \"drain\" or \"reset\"",
        }),
        scope: Scope::Service {
            set: on_reload,
            show: |service| match service.on_reload {
                OnReload::Keep => None,
                OnReload::Drain => Some(Shown::Text("drain".to_string())),
                OnReload::Reset => Some(Shown::Text("reset".to_string())),
            },
        },
        // Without a file there is no reload.
        place: Place::File,
        group: Group::Timeouts,
        default: Some("keep"),
        help: "what a reload does to sessions: keep, drain, reset",
        details: &["What becomes of the open sessions of the service when a reload changes or removes it. \
             With `keep` they go on, with the settings they began with, until they end by themselves. \
             With `drain` they may go on for the `drain-timeout` and are reset then. With `reset` they are reset at once."],
        example: "\"keep\"",
        ..Key::USUAL
    },
];

fn zero_copy(value: &str) -> Result<ZeroCopy, Problem> {
    match value {
        "auto" => Ok(ZeroCopy::Auto),
        "always" if cfg!(target_os = "linux") => Ok(ZeroCopy::Always),
        "always" => Err(Problem::invalid("zero copy", value, "this system has no splice(2)")),
        "never" => Ok(ZeroCopy::Never),
        _ => Err(Problem::invalid("zero copy", value, &format!("expected {}", alternatives(ZERO_COPY)))),
    }
}

/// Reads a time that is none where it is 0.
fn timeout(what: &str, value: &str) -> Result<Option<Duration>, Problem> {
    Ok(Some(duration(what, value)?).filter(|time| !time.is_zero()))
}

/// Reads the value of `keepalive`; the error is the reason.
fn keepalive(value: &str) -> Result<Option<Duration>, String> {
    let time = parse_duration(value)?;
    if time.subsec_nanos() != 0 {
        Err("expected whole seconds".to_string())
    } else if time > ServiceSettings::MAX_KEEPALIVE {
        Err(format!("more than {}s", ServiceSettings::MAX_KEEPALIVE.as_secs()))
    } else {
        Ok(Some(time).filter(|time| !time.is_zero()))
    }
}

fn backlog(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let backlog = parse_count(value, i32::MAX as u64).map_err(|reason| {
        let reason = if reason.is_empty() { "expected a whole number above 0" } else { &reason };
        Problem::invalid("backlog", value, reason)
    })?;
    service.settings.backlog = backlog as i32;
    Ok(())
}

fn on_reload(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.on_reload = match value {
        "keep" => OnReload::Keep,
        "drain" => OnReload::Drain,
        "reset" => OnReload::Reset,
        _ => return Err(Problem::invalid("on reload", value, &format!("expected {}", alternatives(ON_RELOAD)))),
    };
    Ok(())
}
