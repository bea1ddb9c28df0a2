//! Options of stripes: sessions over several connections.

use super::{DURATION, Group, Key, Kind, Scope, Shown, Value, alternatives, duration, one_or_several, unless};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::striping::{KeyFile, StripeMode, StripeSettings};
use crate::config::units::{parse_count, parse_size};
use crate::stripe::key::read_keys;
use std::path::Path;

/// The words that `stripe-mode` takes.
pub const STRIPE_MODE: &[&str] = &["until-congested", "round-robin", "redundant"];

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "lanes",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number from 1 to 32" }),
        scope: Scope::Service {
            set: lanes,
            show: |service| match service.stripe.lanes {
                StripeSettings::DEFAULT_LANES => None,
                lanes => Some(Shown::Number(lanes.into())),
            },
        },
        default: Some("4"),
        help: "how many connections each session to a stripe: remote has",
        details: &[
            "How many TCP connections, its lanes, each session to a `stripe:` remote has, from 1 to 32. \
             Two cproxy processes carry such a session together: the one near the client has the `stripe:` remote, \
             and the one near the server listens at the `stripe:` address. The bytes of the session are spread over \
             its lanes, and are put together in order at the other end. So a session is not held back by a limit or \
             a congestion of one connection, and it goes on without a byte lost when a lane breaks, as long as \
             another one lives or comes back within the `--lane-timeout`.",
            "The listening end takes as many lanes as the other end opens.",
        ],
        example: "4",
        ..STRIPING
    },
    Key {
        long: "lane-source",
        value: Some(Value { name: "<address>", kind: Kind::Text, expected: "a string with an IPv4 or IPv6 address" }),
        scope: Scope::Service {
            set: lane_source,
            show: |service| {
                let sources = service.stripe.lane_sources.iter();
                one_or_several(sources.map(|source| Shown::Text(source.to_string())).collect())
            },
        },
        repeatable: true,
        default: Some("the system's choice"),
        help: "bind lanes to this address of the host; may be given again",
        details: &[
            "Bind the lanes that are opened to this address of the host, which is given as a number, without a \
             port. Give the option again for each further address, up to 32; the lanes are bound to them in turn. \
             So a host with two uplinks can use both for one session. In a file, several addresses are an array.",
        ],
        example: r#"["192.0.2.1", "198.51.100.1"]"#,
        ..STRIPING
    },
    Key {
        long: "lane-timeout",
        value: DURATION,
        scope: Scope::Service {
            set: lane_timeout,
            show: |service| unless(service.stripe.lane_timeout, StripeSettings::DEFAULT_LANE_TIMEOUT),
        },
        default: Some("30s"),
        help: "reset a session that has had no lane for this long",
        details: &[
            "How long a session over a stripe may go on without any lane. Lanes that break are opened again all \
             the while. After this time each end resets the session.",
        ],
        example: "\"30s\"",
        ..STRIPING
    },
    Key {
        long: "stripe-window",
        value: Some(Value {
            name: "<bytes>",
            kind: Kind::Number,
            expected: "a number of bytes from 65536 to 1073741824, or a string such as \"16m\"",
        }),
        scope: Scope::Service {
            set: stripe_window,
            show: |service| {
                let window = service.stripe.window;
                (window != StripeSettings::DEFAULT_WINDOW).then_some(Shown::Number(window))
            },
        },
        default: Some("16m"),
        help: "how much of each direction of a stripe may be kept, at most",
        details: &[
            "How many bytes of one direction of a session over a stripe may be kept at each end, at most, from `64k` to \
             `1g`. They are kept until the other end has them all in order. The letters `k`, `m` and `g` multiply by \
             powers of 1024. The window grows up to this only as far as the lanes need it, which is the rate of all \
             lanes together, times twice the longest round trip. So an idle session takes little, and whatever the \
             other end does, a session does not take more.",
        ],
        example: "\"16m\"",
        ..STRIPING
    },
    Key {
        long: "stripe-mode",
        value: Some(Value {
            name: "<mode>",
            kind: Kind::Words(STRIPE_MODE),
            expected: "\"until-congested\", \"round-robin\" or \"redundant\"",
        }),
        scope: Scope::Service {
            set: stripe_mode,
            show: |service| match service.stripe.mode {
                StripeMode::UntilCongested => None,
                StripeMode::RoundRobin => Some(Shown::Text("round-robin".to_string())),
                StripeMode::Redundant => Some(Shown::Text("redundant".to_string())),
            },
        },
        default: Some("until-congested"),
        help: "how lanes are chosen: until-congested, round-robin, redundant",
        details: &[
            "Which lane of a stripe the next bytes go on. With `until-congested` it is the lane that is expected to be \
             done with them first; a slow lane gets nothing while a fast one would be done sooner. With `round-robin` \
             each lane gets bytes in turn; this exists for comparison. With `redundant` every lane gets all bytes, so \
             that what is lost or late on one lane costs no time; this takes the capacity of all lanes for the rate of \
             one. Each end chooses for what it sends.",
        ],
        example: "\"until-congested\"",
        ..STRIPING
    },
    Key {
        long: "stripe-key",
        value: Some(Value { name: "<file>", kind: Kind::File, expected: "a string with the path of a file" }),
        scope: Scope::Service {
            set: stripe_key,
            show: |service| {
                let file = service.stripe.keys.as_ref()?;
                Some(Shown::Text(file.path.to_string_lossy().into_owned()))
            },
        },
        default: Some("no key"),
        help: "encrypt stripes with the key in this file, and let nobody else in",
        details: &[
            "A file with the key that both ends of a stripe share: 32 random bytes in base64, on a line of its own; \
             `cproxy --make-key` prints a new one. \
             With it the lanes are encrypted, and only who has the key can open or join a session. \
             Without it, anybody on the way can read and change what the lanes carry and join sessions with lanes of \
             their own, and anybody who reaches the listening end can open sessions. \
             If only one end has a key, no session starts.",
            "The file can have two keys, which are both accepted, so that keys can be changed one end after the other; \
             the first one is used for lanes that are opened. The file should have the mode 0600. \
             It is read when the settings are, and again at each reload. In a file of services, a path that does not \
             start with `/` is relative to the folder of that file. \
             It is an error to give a key to a service without a `stripe:` address, because nothing would be encrypted.",
        ],
        example: "\"stripe.key\"",
        ..STRIPING
    },
];

/// What all of these have in common.
const STRIPING: Key = Key { group: Group::Striping, ..Key::USUAL };

fn lanes(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let lanes = parse_count(value, StripeSettings::MAX_LANES.into()).map_err(|reason| {
        let reason = if reason.is_empty() { "expected a whole number from 1 to 32" } else { &reason };
        Problem::invalid("lanes", value, reason)
    })?;
    service.settings.stripe.lanes = lanes as u8;
    Ok(())
}

fn lane_source(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::invalid("lane source", value, reason);
    let source = value.parse().map_err(|_| invalid("expected an IPv4 or IPv6 address"))?;
    let sources = &mut service.settings.stripe.lane_sources;
    if sources.len() >= StripeSettings::MAX_LANES.into() {
        return Err(invalid(&format!("more than {} of them", StripeSettings::MAX_LANES)));
    }
    sources.push(source);
    Ok(())
}

fn lane_timeout(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let timeout = duration("lane timeout", value)?;
    if timeout.is_zero() {
        return Err(Problem::invalid("lane timeout", value, "expected more than 0"));
    }
    service.settings.stripe.lane_timeout = timeout;
    Ok(())
}

fn stripe_window(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::invalid("stripe window", value, reason);
    let window = parse_size(value, StripeSettings::MAX_WINDOW).map_err(|reason| {
        invalid(if reason.is_empty() { "expected a number of bytes from 64k to 1g" } else { &reason })
    })?;
    if window < StripeSettings::MIN_WINDOW {
        return Err(invalid(&format!("less than {}", StripeSettings::MIN_WINDOW)));
    }
    service.settings.stripe.window = window;
    Ok(())
}

fn stripe_mode(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.stripe.mode = match value {
        "until-congested" => StripeMode::UntilCongested,
        "round-robin" => StripeMode::RoundRobin,
        "redundant" => StripeMode::Redundant,
        _ => return Err(Problem::invalid("stripe mode", value, &format!("expected {}", alternatives(STRIPE_MODE)))),
    };
    Ok(())
}

fn stripe_key(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::invalid("stripe key", value, reason);
    if value.is_empty() {
        return Err(invalid("the path is empty"));
    }
    // It is kept as it can be printed and read again from anywhere.
    let path = std::path::absolute(service.folder.join(Path::new(value)));
    let path = path.map_err(|error| invalid(&crate::base::error::error_text(&error)))?;
    let keys = read_keys(&path).map_err(|reason| invalid(&reason))?;
    service.settings.stripe.keys = Some(KeyFile { path, keys: keys.keys, warning: keys.warning });
    Ok(())
}
