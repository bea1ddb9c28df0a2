//! Options that show what sessions move.

use std::path::PathBuf;

use super::{Group, Key, Kind, Scope, Shown, Value, counted, one_or_several};
use crate::address::Network;
use crate::base::error::error_text;
use crate::config::capture::{CaptureSettings, Form};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::units::parse_size;

/// The words that `dump` takes.
pub const DUMP: &[&str] = &["text", "hex"];

/// The most bytes that can be asked for, far beyond any disk.
const MOST: u64 = 1 << 50;

/// A value that is a number of bytes.
const BYTES: Option<Value> = Some(Value {
    name: "<bytes>",
    kind: Kind::Number,
    expected: "a whole number of bytes, or a string such as \"500k\" or \"10m\"",
});

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "capture",
        value: Some(Value { name: "<file>", kind: Kind::File, expected: "a string with the path of a file" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.capture.file = Some(path(service, value)?);
                Ok(())
            },
            show: |service| {
                let file = service.capture.file.as_ref();
                file.map(|file| Shown::Text(file.to_string_lossy().into_owned()))
            },
        },
        default: Some("none"),
        help: "write the bytes of sessions to this file (pcapng), for Wireshark",
        details: &[
            "Write what sessions move, both ways, to a file in the format pcapng, which Wireshark and tshark(1) read and \
             can follow. It is written while sessions go on, and a file that was cut off can be read up to there. \
             What is seen is the connection of the client as the proxy sees it: its addresses, ports and times are true, \
             the packets are made up. A remark on the first packet says who the remote is. \
             Bytes are captured as they come, before `--replace` changes them.",
            "Datagrams are UDP packets. Clients without an address of IP, such as those of Unix sockets, have one \
             after the other an address from `127.1.0.0` on. Sessions that find no remote are not captured.",
            "A capture that is there already is replaced; a file that is something else is not. The mode is 0600, as a capture \
             has everything that sessions said. Several services can have the same file. \
             A thread of its own writes it. If that is too slow, sessions go on, and what finds no room in 64 MiB of memory is \
             lost; the log and the file say so. In a file of services, a path that does not start with `/` \
             is relative to the folder of that file.",
            "Sessions that are captured do not go through kernel pipes (`--zero-copy`).",
        ],
        example: "\"/var/tmp/cproxy.pcapng\"",
        ..INSPECTION
    },
    Key {
        long: "capture-filter",
        value: Some(Value {
            name: "<network>",
            kind: Kind::Text,
            expected: "a string with an address or a network such as \"10.0.0.0/8\"",
        }),
        scope: Scope::Service {
            set: |service, value| {
                let network =
                    Network::parse(value).map_err(|reason| Problem::invalid("capture filter", value, &reason))?;
                service.settings.capture.only.push((network, value.to_string()));
                Ok(())
            },
            show: |service| {
                let only = service.capture.only.iter();
                one_or_several(only.map(|(_, text)| Shown::Text(text.clone())).collect())
            },
        },
        repeatable: true,
        default: Some("all sessions"),
        help: "capture only sessions whose client or remote is in this network; may be given again",
        details: &["Capture only the sessions of which the client or the remote has an address in this network, \
             which is written as `10.0.0.0/8`, or as one address. Given several times, one of these networks is enough. \
             The others are not slowed down."],
        example: "\"10.0.0.0/8\"",
        ..INSPECTION
    },
    Key {
        long: "capture-bytes",
        value: BYTES,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.capture.bytes = Some(size("capture bytes", value)?);
                Ok(())
            },
            show: |service| service.capture.bytes.map(Shown::Number),
        },
        default: Some("all"),
        help: "capture at most so many bytes of each session",
        details: &[
            "Capture at most so many bytes of each session, of both directions together. A remark says so at the last \
             packet that has bytes; the end of the session is captured.",
        ],
        example: "\"64k\"",
        ..INSPECTION
    },
    Key {
        long: "capture-size",
        value: BYTES,
        scope: Scope::Service {
            set: |service, value| {
                let bytes = size("capture size", value)?;
                if bytes < CaptureSettings::MIN_SIZE {
                    return Err(Problem::invalid("capture size", value, "less than 1m"));
                }
                service.settings.capture.size = Some(bytes);
                Ok(())
            },
            show: |service| service.capture.size.map(Shown::Number),
        },
        default: Some("no limit"),
        help: "begin another file when this one has so many bytes",
        details: &[
            "When the file would have more bytes than this, which are `1m` at least, it gets the name `FILE.1`, the one that \
             had this name is `FILE.2`, and so on, and another one is begun. So it is with a capture that is there at the \
             start. A session that goes on in the next file begins there without a handshake.",
        ],
        example: "\"100m\"",
        ..INSPECTION
    },
    Key {
        long: "capture-files",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number above 0" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.capture.files = counted("capture files", value, 1)?;
                Ok(())
            },
            show: |service| {
                let files = service.capture.files;
                (files != CaptureSettings::DEFAULT_FILES).then_some(Shown::Number(files.into()))
            },
        },
        default: Some("10"),
        help: "keep so many capture files, the newest among them",
        details: &[
            "How many files there are with `--capture-size`, the one that is written among them; the oldest is removed.",
        ],
        example: "3",
        ..INSPECTION
    },
    Key {
        long: "dump",
        value: Some(Value { name: "<form>", kind: Kind::Words(DUMP), expected: "\"text\" or \"hex\"" }),
        scope: Scope::Service {
            set: |service, value| {
                service.settings.capture.dump = Some(match value {
                    "text" => Form::Text,
                    "hex" => Form::Hex,
                    _ => return Err(Problem::invalid("dump", value, "expected text or hex")),
                });
                Ok(())
            },
            show: |service| {
                let word = |form| match form {
                    Form::Text => "text",
                    Form::Hex => "hex",
                };
                service.capture.dump.map(|form| Shown::Text(word(form).to_string()))
            },
        },
        default: Some("none"),
        help: "write the bytes of sessions to the log: text or hex",
        details: &[
            "Write what sessions move, both ways, to the log, at the level `info`: `hex` as hexdump(1) with `-C` does, \
             with the place of the bytes in the stream, and `text` as text, with what cannot be printed escaped (`\\x1b`). \
             Each line names the session and the direction. As always, lines that the log's reader takes too slowly are \
             lost and counted. It is meant for few bytes: for many there is `--capture`.",
        ],
        example: "\"text\"",
        ..INSPECTION
    },
];

/// What all of these have in common.
const INSPECTION: Key = Key { group: Group::Inspection, ..Key::USUAL };

/// Reads a number of bytes.
fn size(what: &str, value: &str) -> Result<u64, Problem> {
    parse_size(value, MOST).map_err(|reason| {
        let expected = "expected bytes, such as 500k or 10m";
        Problem::invalid(what, value, if reason.is_empty() { expected } else { &reason })
    })
}

/// The path of a file, as it can be printed and read again from anywhere.
fn path(service: &ServiceDraft<'_>, value: &str) -> Result<PathBuf, Problem> {
    let invalid = |reason: &str| Problem::invalid("capture", value, reason);
    if value.is_empty() {
        return Err(invalid("the path is empty"));
    }
    // The log is there, and packets among its lines are nothing that could be read.
    if value == "-" {
        return Err(invalid("a capture is written to a file, not to standard output"));
    }
    std::path::absolute(service.folder.join(value)).map_err(|error| invalid(&error_text(&error)))
}
