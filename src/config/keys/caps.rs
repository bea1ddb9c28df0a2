//! Options of how fast bytes may move.

use std::num::NonZeroU64;

use super::{Group, Key, Kind, Scope, Shown, Value};
use crate::config::draft::Problem;
use crate::config::units::parse_size;

/// The highest rate that can be asked for, in bytes a second: far beyond what any machine moves.
const MOST: u64 = 1 << 40;

/// A value that is a rate.
const RATE: Option<Value> = Some(Value {
    name: "<bytes>",
    kind: Kind::Number,
    expected: "a whole number of bytes a second, or a string such as \"500k\" or \"10m\"",
});

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "upload-rate",
        scope: Scope::Service {
            set: |service, value| {
                service.settings.caps.upload = rate("upload rate", value)?;
                Ok(())
            },
            show: |service| shown(service.caps.upload),
        },
        help: "the most that each session may move to the remote, a second",
        details: &[
            "How many bytes each session may move from the client to the remote in a second. `k`, `m` and `g` are 1024, \
             1024 times 1024, and so on: `128k` is a little more than 1 Mbit a second. `0` means that there is no limit.",
            "A session that has used up its rate is not read from for a while, so the sender notices that its connection is \
             slow, and nothing is lost. After a pause at most what a tenth of a second allows moves at once. \
             A session that waits for its rate is not idle. Bytes still go through kernel pipes.",
            "A client without a connection (`udp:`, `unixgram:`) cannot be made to wait. \
             Up to 256 KiB of what it sends beyond the rate is kept for later, and the rest is dropped and counted.",
        ],
        ..RATES
    },
    Key {
        long: "download-rate",
        scope: Scope::Service {
            set: |service, value| {
                service.settings.caps.download = rate("download rate", value)?;
                Ok(())
            },
            show: |service| shown(service.caps.download),
        },
        help: "the most that each session may move to the client, a second",
        details: &["How many bytes each session may move from the remote to the client in a second; \
             as for `upload-rate`."],
        ..RATES
    },
    Key {
        long: "total-upload-rate",
        scope: Scope::Service {
            set: |service, value| {
                service.settings.caps.total_upload = rate("total upload rate", value)?;
                Ok(())
            },
            show: |service| shown(service.caps.total_upload),
        },
        help: "the most that all sessions together may move to remotes, a second",
        details: &[
            "How many bytes all sessions of the service together may move from clients to remotes in a second. \
             Those that always have something to move get equal shares, and what one does not use the others have. \
             A session may have a rate of its own beside this one: then it gets the lesser of both.",
            "The total holds over a reload: sessions that go on with a former configuration count. \
             A new rate holds for them at once, too, unless there was none when they began.",
        ],
        ..RATES
    },
    Key {
        long: "total-download-rate",
        scope: Scope::Service {
            set: |service, value| {
                service.settings.caps.total_download = rate("total download rate", value)?;
                Ok(())
            },
            show: |service| shown(service.caps.total_download),
        },
        help: "the most that all sessions together may move to clients, a second",
        details: &[
            "How many bytes all sessions of the service together may move from remotes to clients in a second; \
             as for `total-upload-rate`.",
        ],
        ..RATES
    },
];

/// What all of these have in common.
const RATES: Key = Key { value: RATE, group: Group::Rates, default: Some("none"), example: "\"10m\"", ..Key::USUAL };

/// Reads a rate; 0 is none.
fn rate(what: &str, value: &str) -> Result<Option<NonZeroU64>, Problem> {
    if value.trim() == "0" {
        return Ok(None);
    }
    let rate = parse_size(value, MOST).map_err(|reason| {
        let expected = "expected bytes a second, such as 500k or 10m";
        Problem::invalid(what, value, if reason.is_empty() { expected } else { &reason })
    })?;
    Ok(NonZeroU64::new(rate))
}

fn shown(rate: Option<NonZeroU64>) -> Option<Shown> {
    rate.map(|rate| Shown::Number(rate.get()))
}
