//! Options of the PROXY protocol.

use super::{Group, Key, Kind, Scope, Shown, Value, alternatives};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::proxy::{HeaderOf, senders};
use crate::proxy_header::Version;

/// The words that `send-proxy` takes.
pub const SEND_PROXY: &[&str] = &["v1", "v2"];

/// The words that `proxy-datagrams` takes.
pub const PROXY_DATAGRAMS: &[&str] = &["each", "first"];

pub(super) const KEYS: &[Key] = &[
    Key {
        long: "send-proxy",
        value: Some(Value { name: "<version>", kind: Kind::Words(SEND_PROXY), expected: "\"v1\" or \"v2\"" }),
        scope: Scope::Service {
            set: send,
            show: |service| service.proxy.send.map(|version| Shown::Text(version.word().to_string())),
        },
        default: Some("no header"),
        help: "tell the remote who the client is, with a PROXY header: v1, v2",
        details: &[
            "Send a header of the PROXY protocol to the remote before all else, which says the client's address and the \
             one that it had connected to. `v1` is a line of text, for clients of TCP; `v2` is binary, and also speaks \
             of datagrams and Unix sockets. The remote must expect the header, as HAProxy does with `accept-proxy`, and \
             nginx with `listen ... proxy_protocol`.",
            "If the client itself began with a header (`--accept-proxy`), what that says is sent on. To a remote that \
             takes datagrams, a header stands at the beginning of each of them (`--proxy-datagrams`); this needs `v2`. \
             A check that sends or expects something begins with a header of its own.",
        ],
        example: "\"v2\"",
        ..PROXY
    },
    Key {
        long: "accept-proxy",
        scope: Scope::Service {
            set: |service, value| {
                let proxy = &mut service.settings.proxy;
                proxy.accept = value == "true" || !proxy.accept_from.is_empty();
                Ok(())
            },
            show: |service| (service.proxy.accept && service.proxy.accept_from.is_empty()).then_some(Shown::On),
        },
        help: "clients begin with a PROXY header, which says who they are",
        details: &[
            "Clients begin with a header of the PROXY protocol, of either version, as another proxy sends it. The \
             client's address that stands there counts in place of the connection's for everything: rules and limits, \
             balancing, the log, and the header that is sent on. A header that says nothing (`LOCAL`, `UNKNOWN`) leaves \
             the connection's address.",
            "A client that does not begin with a header is reset, and so is one whose header is malformed, longer than \
             4 KiB, or not there within the `--connect-timeout`. Datagrams without one are dropped. \
             Whoever can connect can say to be anybody, so name the proxies that are believed with \
             `--accept-proxy-from`, or let no others in.",
        ],
        example: "true",
        ..PROXY
    },
    Key {
        long: "accept-proxy-from",
        value: Some(Value {
            name: "<sender>",
            kind: Kind::Text,
            expected: "an address, a network such as 10.0.0.0/8, a host name, all, unix, or @ and the path of a file",
        }),
        scope: Scope::Service {
            set: accept_from,
            show: |service| {
                let mut shown: Vec<_> =
                    service.proxy.accept_from.iter().map(|sender| Shown::Text(sender.to_string())).collect();
                // A name is there once for each of its addresses.
                shown.dedup();
                super::one_or_several(shown)
            },
        },
        repeatable: true,
        misread_if_empty: true,
        default: Some("everybody"),
        help: "as --accept-proxy, and believe the headers of these senders only",
        details: &[
            "Clients begin with a header, as with `--accept-proxy`, which need not be given beside this. It is believed \
             if its sender is at this address, in this network (`10.0.0.0/8`), at an address of this name, at a Unix \
             socket (`unix`), or in a file of networks (`@` and its path, as for `--allow`). `all` is everybody. \
             The headers of others are read, and what they say is not used. \
             This can be given any number of times.",
            "Names are looked up when the settings are read, and again at a reload. A sender that is not believed counts \
             as the client itself, with its own address: `--allow` and `--deny` say whether it may come in.",
        ],
        example: "[\"10.0.0.0/8\", \"unix\"]",
        ..PROXY
    },
    Key {
        long: "proxy-datagrams",
        value: Some(Value { name: "<which>", kind: Kind::Words(PROXY_DATAGRAMS), expected: "\"each\" or \"first\"" }),
        scope: Scope::Service {
            set: datagrams,
            show: |service| match service.proxy.datagrams {
                HeaderOf::Each => None,
                HeaderOf::First => Some(Shown::Text("first".to_string())),
            },
        },
        default: Some("each"),
        help: "which datagrams have a PROXY header: each, or a session's first",
        details: &[
            "Which datagrams begin with a header, where remotes or clients with datagrams have headers. With `each`, all \
             of them, as the specification says. With `first`, only the first one of a session, as nginx sends them. It \
             is for what is sent and for what comes, and answers have none.",
        ],
        example: "\"each\"",
        ..PROXY
    },
];

/// What all of these have in common.
const PROXY: Key = Key { group: Group::Proxy, ..Key::USUAL };

fn send(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.proxy.send = match value {
        "v1" => Some(Version::V1),
        "v2" => Some(Version::V2),
        _ => return Err(Problem::invalid("send proxy", value, &format!("expected {}", alternatives(SEND_PROXY)))),
    };
    Ok(())
}

fn accept_from(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let found = senders(value, &service.folder, service.lookups);
    let found = found.map_err(|reason| Problem::invalid("accept proxy from", value, &reason))?;
    let proxy = &mut service.settings.proxy;
    proxy.accept_from.extend(found);
    proxy.accept = true;
    Ok(())
}

fn datagrams(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    service.settings.proxy.datagrams = match value {
        "each" => HeaderOf::Each,
        "first" => HeaderOf::First,
        _ => {
            let expected = format!("expected {}", alternatives(PROXY_DATAGRAMS));
            return Err(Problem::invalid("proxy datagrams", value, &expected));
        }
    };
    Ok(())
}
