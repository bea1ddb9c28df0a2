//! Options of what is logged of each session.

use std::path::Path;
use std::sync::Arc;

use super::{DURATION, Group, Key, Kind, Scope, Shown, Value, duration, shown_duration};
use crate::access_log::Format;
use crate::base::error::error_text;
use crate::config::access_log::{Destination, STANDARD_OUTPUT};
use crate::config::draft::{Problem, ServiceDraft};

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "access-log",
        value: Some(Value { name: "<file>", kind: Kind::File, expected: "a string with the path of a file, or \"-\"" }),
        scope: Scope::Service {
            set: access_log,
            show: |service| {
                Some(Shown::Text(match service.access_log.to.as_ref()? {
                    Destination::StandardOutput => STANDARD_OUTPUT.to_string(),
                    Destination::File(path) => path.to_string_lossy().into_owned(),
                }))
            },
        },
        default: Some("no access log"),
        help: "write a line for each session to this file when it ends; - is standard output",
        details: &[
            "Write a line for each session when it ends: who had come, where it was connected to, how much went each \
             way, how long it took, and why it ended. Each line is an object of JSON, or what `--access-log-format` says. \
             `-` is standard output, where the lines stand among those of the log; `--log-level off` leaves them alone there.",
            "Lines are added at the end of the file, which is made with the mode 0640 if there is none. \
             Several services can have the same file. At `SIGUSR1` and `SIGHUP` it is opened again, so that logrotate(8) \
             can move it away. Where it takes no more, as the disk is full or too slow, lines are lost, the log says how many, \
             once a minute at most, and sessions go on.",
            "A client that is refused has no session, and so no line. In a file of services, a path that does not start \
             with `/` is relative to the folder of that file.",
        ],
        example: "\"/var/log/cproxy/access.log\"",
        ..LOGGING
    },
    Key {
        long: "access-log-format",
        value: Some(Value {
            name: "<format>",
            kind: Kind::Text,
            expected: "\"json\", or a string such as \"%{client} %{remote} %{duration}\"",
        }),
        scope: Scope::Service {
            set: |service, value| {
                let format =
                    Format::parse(value).map_err(|reason| Problem::invalid("access log format", value, &reason))?;
                service.settings.access_log.format = Arc::new(format);
                Ok(())
            },
            show: |service| {
                let format = &service.access_log.format;
                (**format != Format::default()).then(|| Shown::Text(format.written().to_string()))
            },
        },
        default: Some("json"),
        help: "what stands in such a line: json, or text with fields such as %{client}",
        details: &[
            "What stands in a line of the `--access-log`: `json` for an object with all fields, or text in which \
             `%{name}` stands for a field, and `%%` for a `%`. What is not there, such as the remote of a \
             session that found none, is `null` in JSON, and `-` in text. In both, `\"` and `\\` have a backslash before \
             them, and characters that would end the line are written as in JSON.",
            "The fields are `event`, `time`, `service`, `session`, `client`, `peer`, `listener`, `remote`, `remote_name`, \
             `source`, `start`, `connect_time`, `duration`, `upstream_bytes`, `downstream_bytes`, `upstream_datagrams`, \
             `downstream_datagrams`, `upstream_dropped`, `downstream_dropped`, `ending`, `side`, `tries` and `state`. \
             Times are in UTC, and how long something took is in seconds.",
        ],
        example: "\"%{time} %{client} %{remote} %{upstream_bytes} %{downstream_bytes} %{ending}\"",
        ..LOGGING
    },
    Key {
        long: "access-log-start",
        value: DURATION,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.access_log.start = Some(duration("access log start", value)?);
                Ok(())
            },
            show: |service| service.access_log.start.map(shown_duration),
        },
        default: Some("no such line"),
        help: "write a line also when a session has lasted for this long",
        details: &["Write a line to the `--access-log` also when a session has lasted for this long, so that a long \
             one does not show only when it ends. The field `event` is `start` then, and `session` is the same in both lines. \
             With `0` each session gets a line when it begins."],
        example: "\"1m\"",
        ..LOGGING
    },
];

/// What all of these have in common.
const LOGGING: Key = Key { group: Group::Logging, ..Key::USUAL };

fn access_log(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::invalid("access log", value, reason);
    service.settings.access_log.to = Some(match value {
        "" => return Err(invalid("the path is empty")),
        STANDARD_OUTPUT => Destination::StandardOutput,
        // It is kept as it can be printed and read again from anywhere.
        path => Destination::File(
            std::path::absolute(service.folder.join(Path::new(path))).map_err(|error| invalid(&error_text(&error)))?,
        ),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Field;

    #[test]
    fn the_manual_names_all_fields() {
        let format = KEYS.iter().find(|key| key.long == "access-log-format").unwrap();
        for (_, name, _) in Field::ALL {
            assert!(format.details[1].contains(&format!("`{name}`")), "{name}");
        }
    }
}
