//! What follows a remote's address: its own options, behind commas or in its table.

use super::{Key, Kind, Scope, Shown, Value};
use crate::config::draft::Problem;
use crate::config::settings::RemoteSettings;
use crate::config::units::parse_count;

/// The options of a remote. In the file they are keys of its table, beside `address`.
pub const KEYS: &[Key] = &[
    Key {
        long: "weight",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number from 1 to 256" }),
        scope: Scope::Remote {
            set: |remote, value| {
                let reason = format!("expected a whole number from 1 to {}", RemoteSettings::MAX_WEIGHT);
                let weight = parse_count(value, RemoteSettings::MAX_WEIGHT.into());
                remote.weight = weight.map_err(|_| Problem::invalid("weight", value, &reason))? as u16;
                Ok(())
            },
            show: |remote| (remote.weight != 1).then_some(Shown::Number(remote.weight.into())),
        },
        default: Some("1"),
        help: "how many sessions it gets beside those of others",
        details: &[
            "How many sessions the remote gets beside those of others: one of weight 3 gets three times as many \
             as one of weight 1.",
        ],
        example: "3",
        ..Key::USUAL
    },
    Key {
        long: "backup",
        scope: Scope::Remote {
            set: |remote, value| {
                remote.is_backup = value == "true";
                Ok(())
            },
            show: |remote| remote.is_backup.then_some(Shown::On),
        },
        help: "use it only when no other remote is usable",
        details: &["Use the remote only when no remote without this is usable."],
        ..Key::USUAL
    },
    Key {
        long: "max",
        value: Some(Value { name: "<n>", kind: Kind::Number, expected: "a whole number above 0" }),
        scope: Scope::Remote {
            set: |remote, value| {
                let max = parse_count(value, u32::MAX.into()).map_err(|reason| {
                    let reason = if reason.is_empty() { "expected a whole number above 0" } else { &reason };
                    Problem::invalid("max", value, reason)
                })?;
                remote.max_sessions = Some(max as u32);
                Ok(())
            },
            show: |remote| remote.max_sessions.map(|max| Shown::Number(max.into())),
        },
        default: Some("none"),
        help: "how many sessions it may have at once",
        details: &["How many sessions the remote may have at once, not counting those whose remote has ended \
             already. A full one is passed over. When all are full, clients wait in the backlog until a session ends."],
        example: "100",
        ..Key::USUAL
    },
];

/// The key of a remote's table that the others stand beside.
pub const ADDRESS: Key = Key {
    long: "address",
    value: Some(Value { name: "<addr>:<port>", kind: Kind::Address, expected: "a string with an address" }),
    required: true,
    help: "where the remote is",
    details: &["Where the remote is. A comma in it is a part of the address here."],
    example: r#""127.0.0.1:22""#,
    ..Key::USUAL
};

/// The prefixes of addresses that end in a path, which may have any character in it.
const PATHS: [&str; 4] = ["unix:", "unixpacket:", "unixgram:", "framed:unix:"];

/// The options that can be given, in words that can follow "expected".
const EXPECTED: &str = "weight=<n>, backup or max=<n>";

/// Splits what `-r` takes into the address and its options. Every comma begins an option; but a path may have commas in
/// it, so that behind one only what looks like options to the end is options.
pub fn split(argument: &str) -> (&str, Vec<&str>) {
    let mut address = argument;
    if PATHS.iter().any(|prefix| argument.starts_with(prefix)) {
        while let Some((before, _)) = address.rsplit_once(',').filter(|(_, option)| is_option(option)) {
            address = before;
        }
    } else if let Some((before, _)) = argument.split_once(',') {
        address = before;
    }
    let options = argument[address.len()..].strip_prefix(',').map(|options| options.split(',').collect());
    (address, options.unwrap_or_default())
}

/// Whether this is meant to be an option of a remote.
fn is_option(text: &str) -> bool {
    let (name, has_value) = text.split_once('=').map_or((text, false), |(name, _)| (name, true));
    KEYS.iter().any(|key| key.long == name && key.value.is_some() == has_value)
}

/// Takes the options that follow an address into the remote's settings.
///
/// # Errors
///
/// The first that is wrong.
pub fn apply(argument: &str, options: &[&str], remote: &mut RemoteSettings) -> Result<(), Problem> {
    let refuse = |option: &str, reason: &str| {
        Err(Problem::explained(format!("invalid option '{option}' of remote {argument}: {reason}")))
    };
    let mut given = Vec::new();
    for option in options {
        let (name, value) = option.split_once('=').map_or((*option, None), |(name, value)| (name, Some(value)));
        let Some(key) = KEYS.iter().find(|key| key.long == name) else {
            return refuse(option, &format!("expected {EXPECTED}"));
        };
        match (key.value, value) {
            (Some(_), None) => return refuse(option, "it needs a value"),
            (None, Some(_)) => return refuse(option, "it takes no value"),
            _ if given.contains(&name) => return refuse(option, "it is given twice"),
            _ => given.push(name),
        }
        if let Scope::Remote { set, .. } = key.scope {
            set(remote, value.unwrap_or("true")).map_err(|problem| match problem {
                Problem::Usage(message) | Problem::Invalid { message, .. } => {
                    Problem::explained(format!("remote {argument}: {message}"))
                }
            })?;
        }
    }
    Ok(())
}

/// A remote as a file writes it: one string, or a table where its address has something in it that would be taken for
/// options.
pub fn shown(remote: &RemoteSettings) -> Shown {
    let address = &remote.endpoints.argument;
    let mut text = address.clone();
    let mut table = vec![("address", Shown::Text(address.clone()))];
    for key in KEYS {
        let Scope::Remote { show, .. } = key.scope else { continue };
        let Some(value) = show(remote) else { continue };
        text.push_str(&match &value {
            Shown::Number(number) => format!(",{}={number}", key.long),
            _ => format!(",{}", key.long),
        });
        table.push((key.long, value));
    }
    if split(&text).0 == address { Shown::Text(text) } else { Shown::Table(table) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Endpoints;

    #[test]
    fn commas_begin_options_but_in_paths() {
        for (argument, address, options) in [
            ("db:1", "db:1", &[][..]),
            ("db:1,weight=3", "db:1", &["weight=3"]),
            ("[::1]:1,backup,max=5,weight=2", "[::1]:1", &["backup", "max=5", "weight=2"]),
            ("db:1,", "db:1", &[""]),
            ("db:1,x,backup", "db:1", &["x", "backup"]),
            ("unixes:1,x", "unixes:1", &["x"]),
            ("srv:_a._tcp.b,max=1", "srv:_a._tcp.b", &["max=1"]),
            ("unix:/a,weight=3", "unix:/a", &["weight=3"]),
            ("unix:/a,b,weight=3,backup", "unix:/a,b", &["weight=3", "backup"]),
            ("unix:/a,backup,b", "unix:/a,backup,b", &[]),
            ("unix:/a,weight", "unix:/a,weight", &[]),
            ("unix:/a,backup=1", "unix:/a,backup=1", &[]),
            ("unix:/a,", "unix:/a,", &[]),
            ("unix:,backup", "unix:", &["backup"]),
            ("unixpacket:@a,max=x", "unixpacket:@a", &["max=x"]),
            ("unixgram:/a,b,max=1", "unixgram:/a,b", &["max=1"]),
            ("framed:unix:/a,b,max=1", "framed:unix:/a,b", &["max=1"]),
        ] {
            assert_eq!(split(argument), (address, options.to_vec()), "{argument}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again_or_a_table() {
        for (address, weight, is_backup, max_sessions, expected) in [
            ("127.0.0.1:1", 1, false, None, Some("127.0.0.1:1")),
            ("127.0.0.1:1", 256, true, Some(7), Some("127.0.0.1:1,weight=256,backup,max=7")),
            ("unix:/a,b", 2, false, None, Some("unix:/a,b,weight=2")),
            ("unix:/a,backup", 1, false, None, None),
            ("unix:/a,max=1", 1, true, None, None),
        ] {
            let endpoints = Endpoints::parse(address).unwrap();
            let remote = RemoteSettings { weight, is_backup, max_sessions, ..RemoteSettings::new(endpoints) };
            match (shown(&remote), expected) {
                (Shown::Text(text), Some(expected)) => assert_eq!(text, expected),
                (Shown::Table(table), None) => assert_eq!(table[0], ("address", Shown::Text(address.to_string()))),
                (shown, expected) => panic!("{shown:?} {expected:?}"),
            }
        }
    }
}
