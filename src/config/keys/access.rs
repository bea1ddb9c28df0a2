//! Options that say who may come in.

use super::{Group, Key, Kind, Place, Scope, Shown, Value};
use crate::config::access::{AccessRule, Clients, Decision};
use crate::config::draft::{Problem, ServiceDraft};

/// The flags that are each one rule of `access`, as their order counts.
pub const RULES: &[&str] = &["allow", "deny"];

/// What a rule of the command line takes.
const CLIENTS: Option<Value> = Some(Value {
    name: "<network>",
    kind: Kind::Text,
    expected: "an address, a network such as 10.0.0.0/8, all, unix, or @ and the path of a file",
});

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "allow",
        value: CLIENTS,
        scope: Scope::Service { set: |service, value| rule(service, Decision::Allow, value), show: |_| None },
        place: Place::CommandLine,
        help: "let clients of this network in: CIDR, address, all, unix, @file",
        details: &[
            "Let in the clients of this network, which is an address such as `192.0.2.1`, a network such as `10.0.0.0/8` \
             or `2001:db8::/32`, `all` for every client, `unix` for the clients of Unix sockets, or `@` and the path of \
             a file that has one address or network a line; what follows a `#` is a comment.",
            "This option and `--deny` can be given any number of times. Of all of them, in the order given, \
             the first one that matches a client decides. A client that none matches is let in only if \
             there is no `--allow`.",
            "A client that is refused is reset as soon as it has been accepted, and is not connected to a remote. \
             Datagrams of one that is refused are dropped, and are not answered. \
             The refused are counted, and the log says how many they are, at most once a second. \
             A client of IPv4 at a listener at `[::]` is one of IPv4. What comes from a device is always let in.",
        ],
        ..ACCESS
    },
    Key {
        long: "deny",
        value: CLIENTS,
        scope: Scope::Service { set: |service, value| rule(service, Decision::Deny, value), show: |_| None },
        place: Place::CommandLine,
        help: "refuse clients of this network, written as for --allow",
        details: &["Refuse the clients of this network, which is written as for `--allow`. The order of both options \
             counts: the first one that matches a client decides."],
        ..ACCESS
    },
    Key {
        long: "access",
        value: Some(Value {
            name: "<rule>",
            kind: Kind::Text,
            expected: "a string such as \"allow 10.0.0.0/8\" or \"deny all\"",
        }),
        scope: Scope::Service {
            set: |service, value| {
                let (word, clients) = value.trim().split_once([' ', '\t']).unwrap_or((value.trim(), ""));
                let decision = [Decision::Allow, Decision::Deny].into_iter().find(|decision| decision.word() == word);
                let expected = || Problem::invalid("access", value, "expected `allow` or `deny`, and a network");
                rule(service, decision.filter(|_| !clients.is_empty()).ok_or_else(expected)?, clients.trim_start())
            },
            show: |service| {
                let rules = service.access.iter().map(|rule| Shown::Text(rule.to_string()));
                Some(Shown::Several(rules.collect())).filter(|_| !service.access.is_empty())
            },
        },
        place: Place::File,
        default: Some("everybody"),
        help: "who may come in: rules, of which the first that matches decides",
        details: &[
            "The rules for the clients of the service, in an array. Each is `allow` or `deny`, a space, and what \
             `--allow` takes: an address, a network, `all`, `unix`, or `@` and the path of a file. \
             The first rule that matches a client decides. A client that none matches is let in only if no rule \
             is an `allow`.",
            "A file of networks is read when the settings are, and again at each reload; it may have a million lines. \
             A path that does not start with `/` is relative to the folder of the file that names it. \
             New rules are for the clients that come after the reload; `on-reload` says what becomes of the sessions \
             that are open.",
        ],
        example: r#"["deny @networks.txt", "allow 10.0.0.0/8"]"#,
        ..ACCESS
    },
];

/// What all of these have in common.
const ACCESS: Key = Key { group: Group::Access, repeatable: true, ..Key::USUAL };

fn rule(service: &mut ServiceDraft<'_>, decision: Decision, value: &str) -> Result<(), Problem> {
    let clients = Clients::parse(value, &service.folder);
    let clients = clients.map_err(|reason| Problem::invalid(decision.word(), value, &reason))?;
    service.settings.access.push(AccessRule { decision, clients });
    Ok(())
}
