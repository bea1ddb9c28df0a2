//! Options for what is told of the program while it runs.

use super::{Group, Key, Kind, Scope, Shown, Value};
use crate::address::{EndpointAddress, Endpoints};
use crate::config::draft::{Problem, ProcessDraft};

pub(super) const KEYS: &[Key] = &[Key {
    long: "status",
    value: Some(Value { name: "<addr>", kind: Kind::Address, expected: "a string with an address" }),
    scope: Scope::Process {
        set: status,
        show: |process| process.status.as_ref().map(|status| Shown::Text(status.argument.clone())),
    },
    group: Group::Status,
    default: Some("no page"),
    help: "show what the program is doing at this address, to a browser, to Prometheus and to cproxy top",
    details: &[
        "Show what the program is doing, by HTTP, at this address: a TCP address, as `127.0.0.1:8080`, or a Unix socket, \
         as `unix:/run/cproxy/status`. There is a page for browsers at `/`, what Prometheus reads at `/metrics`, the same \
         as the page has for programs at `/status.json`, and at `/healthz` whether the program takes clients: 200, \
         or 503 from the signal on that ends it.",
        "Everything can be read only, and nothing can be changed. But whoever reaches the address can see the addresses of \
         clients and remotes. So the program warns of an address that is neither of this machine alone nor a Unix socket.",
    ],
    example: "\"127.0.0.1:8080\"",
    ..Key::USUAL
}];

/// Takes the address of the page.
fn status(process: &mut ProcessDraft, value: &str) -> Result<(), Problem> {
    let mut status = Endpoints::parse(value).map_err(|error| Problem::explained(format!("status: {error}")))?;
    let is_good = |address: &EndpointAddress| matches!(address, EndpointAddress::Tcp(_) | EndpointAddress::Unix(_));
    if status.addresses.is_empty() || !status.addresses.iter().all(is_good) {
        return Err(Problem::explained(format!(
            "invalid status address {value}: expected a TCP address or a Unix socket (unix:)"
        )));
    }
    // Of a name with several addresses it is the first that is listened at, as elsewhere.
    status.addresses.truncate(1);
    process.settings.status = Some(status);
    Ok(())
}
