//! How many connections a second, and pings, with rules, limits, headers and an access log, to those without.

use super::cases::Family;
use super::networks;
use crate::contest::{CONNECT, Contestant, in_turns};
use crate::failure::Failure;
use crate::kit::{Kit, Server, written};
use crate::load::Load;
use crate::proxy::NGINX_FORMAT_NAME;
use crate::server::Manner;

/// Rules and limits that all clients of the loads keep to: ten networks, the last of which has the clients.
const ALL_RULES: [&str; 26] = [
    "--deny",
    "10.0.0.0/8",
    "--deny",
    "172.16.0.0/12",
    "--deny",
    "192.0.2.0/24",
    "--deny",
    "192.168.7.0/24",
    "--deny",
    "198.51.100.0/24",
    "--deny",
    "203.0.113.0/24",
    "--deny",
    "2001:db8::/32",
    "--allow",
    "192.168.0.0/16",
    "--allow",
    "fe80::/10",
    "--allow",
    "127.0.0.0/8",
    "--max-sessions-per-source",
    "100000",
    "--session-rate",
    "1000000/s",
    "--session-rate-per-source",
    "1000000/s",
];

/// What tells remotes who a client is.
const SEND_PROXY: [&str; 2] = ["--send-proxy", "v2"];

/// The same for HAProxy.
const HAPROXY_SEND_PROXY: &str = "    default-server send-proxy-v2\n";

/// Connections through a proxy with rules and limits, against one without.
pub fn all_rules(kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(3)?;
    let start = |index: usize, arguments: &[&str]| {
        kit.cproxy(&written(&server.addresses[index..=index]), arguments).map(Contestant::new)
    };
    let listed = networks::write(kit, Family::V4)?;
    let mut proxies = [start(0, &[])?, start(1, &ALL_RULES)?, start(2, &["--deny", &listed])?];
    in_turns(&mut proxies, CONNECT, kit, &server, round)?;
    let [none, all, million] = &proxies;
    Ok(vec![
        all.rate_to(none),
        all.cost_to(none),
        million.rate_to(none),
        million.cost_to(none),
        none.rate(),
        all.rate(),
        million.rate(),
    ])
}

/// Connections that begin with a header, against those without, and against HAProxy's.
pub fn send_proxy(kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    let plain = Server::start(2)?;
    let server = Server::start_as(Manner::Introduced, 3)?;
    let one = |addresses: &[std::net::SocketAddr], index: usize| written(&addresses[index..=index]);
    let reuse_port = [&SEND_PROXY[..], &["--reuse-port"]].concat();
    let mut proxies = vec![
        Contestant::new(kit.cproxy(&one(&plain.addresses, 0), &[])?),
        Contestant::new(kit.cproxy(&one(&server.addresses, 0), &SEND_PROXY)?),
        Contestant::new(kit.cproxy(&one(&server.addresses, 1), &reuse_port)?),
    ];
    if let Some(haproxy) = kit.haproxy() {
        proxies.push(Contestant::new(kit.peer(haproxy, &server.addresses[2..], HAPROXY_SEND_PROXY)?));
        proxies.push(Contestant::new(kit.peer(haproxy, &plain.addresses[1..], "")?));
    }
    in_turns(&mut proxies, CONNECT, kit, &server, round)?;
    let (plain, ours, reuse_port) = (&proxies[0], &proxies[1], &proxies[2]);
    let mut numbers = Vec::new();
    if let [haproxy, plain_haproxy] = &proxies[3..] {
        numbers.extend([ours.rate_to(haproxy), reuse_port.rate_to(haproxy), plain_haproxy.rate_to(plain)]);
    }
    numbers.extend([ours.rate_to(plain), ours.cost_to(plain), ours.wait_to(plain)]);
    numbers.extend([plain.rate(), ours.rate(), reuse_port.rate(), ours.wait()]);
    if let [haproxy, _] = &proxies[3..] {
        numbers.extend([haproxy.rate(), haproxy.wait()]);
    }
    Ok(numbers)
}

/// Connections each of which has a line in a file, against those without, and against nginx's with its own.
pub fn access_log(kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(3)?;
    let one = |index: usize| written(&server.addresses[index..=index]);
    let file = kit.file("access.log");
    let mut proxies = vec![
        Contestant::new(kit.cproxy(&one(0), &[])?),
        Contestant::new(kit.cproxy(&one(1), &["--access-log", &file.to_string_lossy()])?),
    ];
    if let Some(nginx) = kit.nginx() {
        let line = format!("access_log {} {NGINX_FORMAT_NAME}; ", kit.file("access.log").display());
        proxies.push(Contestant::new(kit.peer(nginx, &server.addresses[2..], &line)?));
    }
    in_turns(&mut proxies, CONNECT, kit, &server, round)?;
    let (without, with) = (&proxies[0], &proxies[1]);
    let mut numbers = vec![with.rate_to(without), with.cost_to(without), without.rate(), with.rate()];
    if let Some(nginx) = proxies.get(2) {
        numbers.extend([with.rate_to(nginx), nginx.rate()]);
    }
    Ok(numbers)
}

/// Pings over sessions that began with a header, against those that did not.
pub fn send_proxy_ping(kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    let plain = Server::start(1)?;
    let server = Server::start_as(Manner::Introduced, 1)?;
    let mut proxies = [
        Contestant::new(kit.cproxy(&written(&plain.addresses), &[])?),
        Contestant::new(kit.cproxy(&written(&server.addresses), &SEND_PROXY)?),
    ];
    in_turns(&mut proxies, Load::PING_64, kit, &server, round)?;
    let [plain, ours] = &proxies;
    Ok(vec![ours.rate_to(plain), ours.cost_to(plain), ours.wait_to(plain), ours.wait()])
}
