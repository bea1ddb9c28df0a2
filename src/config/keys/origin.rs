//! Options that say where connections to remotes come from.

use super::{Group, Key, Kind, Scope, Shown, Value, one_or_several};
use crate::config::draft::{Problem, ServiceDraft};
use crate::config::origin::ConnectFrom;

pub(super) const KEYS: &[Key] = &[Key {
    long: "source",
    value: Some(Value {
        name: "<address>[:<port>-<port>]",
        kind: Kind::Text,
        expected: "a string with an address, an address and ports such as \"192.0.2.1:1024-65535\", or \"client\"",
    }),
    scope: Scope::Service {
        set: source,
        show: |service| match &service.connect_from {
            ConnectFrom::Any => None,
            ConnectFrom::Client => Some(Shown::Text(CLIENT.to_string())),
            ConnectFrom::Ours(ours) => {
                one_or_several(ours.iter().map(|address| Shown::Text(address.to_string())).collect())
            }
        },
    },
    group: Group::Sockets,
    repeatable: true,
    default: Some("the system's choice"),
    help: "connect to remotes from this address of the host, or the client's; may be given again",
    details: &[
        "Connect to TCP and UDP remotes from this address of the host, which is given as a number. \
         Give the option again for each further address; connections take the addresses of the family of their remote \
         in turn. In a file, several addresses are an array. Health checks come from the same addresses. \
         The lanes of stripes have `--lane-source`.",
        "With ports behind it, as in `192.0.2.1:1024-65535` or `[2001:db8::1]:1024-65535`, connections have these ports, \
         and each remote address can have as many connections as there are ports. \
         Without, the system chooses a port of its own range, which on Linux has 28,232 ports unless it is \
         changed (`net.ipv4.ip_local_port_range`). \
         So a range of ports, or a second address, lets one remote have more sessions. \
         The datagrams of one source port go to one session, so all `udp:` remotes share the ports of an address.",
        "With `client`, the remote sees the address of the client, with another port (Linux). \
         This takes the capability CAP_NET_RAW or CAP_NET_ADMIN, and a route by which the answers of the remote come to \
         this host. A client without an address of IP, or with one of another family than the remote, is connected from \
         the address that the system chooses, and so are health checks. \
         If the client is known by a header of the PROXY protocol, it is that address.",
        "When no address has a free port, the client is reset, and this is not counted as a failure of the remote.",
    ],
    example: r#""192.0.2.1:1024-65535""#,
    ..Key::USUAL
}];

const CLIENT: &str = "client";

/// Why it cannot be given together with addresses.
const BESIDE: &str = "client cannot be given beside an address";

fn source(service: &mut ServiceDraft<'_>, value: &str) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::invalid("source", value, reason);
    if value == CLIENT {
        return match service.settings.connect_from {
            ConnectFrom::Any if cfg!(any(target_os = "linux", target_os = "android")) => {
                service.settings.connect_from = ConnectFrom::Client;
                Ok(())
            }
            ConnectFrom::Any => Err(invalid("only Linux can do this")),
            ConnectFrom::Client => Err(invalid("it is given twice")),
            ConnectFrom::Ours(_) => Err(invalid(BESIDE)),
        };
    }
    let address = value.parse().map_err(|reason: String| invalid(&reason))?;
    match &mut service.settings.connect_from {
        ConnectFrom::Client => return Err(invalid(BESIDE)),
        ConnectFrom::Ours(ours) if ours.contains(&address) => return Err(invalid("it is given twice")),
        ConnectFrom::Ours(ours) if ours.len() >= ConnectFrom::MOST => {
            return Err(invalid(&format!("more than {} of them", ConnectFrom::MOST)));
        }
        ConnectFrom::Ours(ours) => ours.push(address),
        from @ ConnectFrom::Any => *from = ConnectFrom::Ours(vec![address]),
    }
    Ok(())
}
