//! Options that say when clients may come in.

use super::{Group, Key, Kind, Scope, Shown, Value, one_or_several};
use crate::config::draft::Problem;
use crate::config::hours::{ALLOW_TIME, END_OUTSIDE_TIME, TimeRule};

pub(super) const KEYS: &[Key] = &[
    Key {
        long: ALLOW_TIME,
        value: Some(Value { name: "<times>", kind: Kind::Text, expected: "a string such as \"Mon-Fri 08:00-18:00\"" }),
        scope: Scope::Service {
            set: |service, value| {
                let rule = TimeRule::parse(value).map_err(|reason| Problem::invalid("allow time", value, &reason))?;
                service.settings.hours.rules.push(rule);
                Ok(())
            },
            show: |service| {
                one_or_several(service.hours.rules.iter().map(|rule| Shown::Text(rule.to_string())).collect())
            },
        },
        repeatable: true,
        misread_if_empty: true,
        default: Some("always"),
        help: "let clients in at these times only, such as 'Mon-Fri 08:00-18:00'",
        details: &[
            "Let clients in at these times only, by the local clock (`TZ`, or else the zone of the system). \
             The days come first, `Mon`, `Mon-Fri`, `Sat,Sun` or `daily`, which is also what holds without days. Then come \
             ranges of times, such as `08:00-18:00` or `08:00-12:00,13:00-18:00`. A range that ends \
             before it begins, such as `22:00-06:00`, goes over midnight and belongs to the day on which it begins. \
             A day ends at `24:00`.",
            "This option can be given any number of times, and clients are let in whenever one of them says so. At other \
             times they are refused, as by `--deny all`. Sessions that are open go on, unless there is an \
             `--end-outside-time`.",
            "What the clock shows decides. Where it is put forward, a range that begins in the hour which is left out begins \
             when the clock jumps. Where it is put back, a range holds both times that the clock shows it.",
        ],
        example: r#"["Mon-Fri 08:00-18:00", "Sat 09:00-12:30"]"#,
        ..HOURS
    },
    Key {
        long: END_OUTSIDE_TIME,
        scope: Scope::Service {
            set: |service, value| {
                service.settings.hours.end_outside = value == "true";
                Ok(())
            },
            show: |service| service.hours.end_outside.then_some(Shown::On),
        },
        help: "reset the sessions that are open when the --allow-time is over",
        details: &[
            "Reset the sessions that are open when the times of the `--allow-time` are over. A session keeps the \
             times with which it began, also after a reload.",
        ],
        ..HOURS
    },
];

/// What both of these have in common.
const HOURS: Key = Key { group: Group::Access, ..Key::USUAL };
