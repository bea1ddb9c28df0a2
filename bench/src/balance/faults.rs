//! What clients notice when a remote fails, and what it costs to find out.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::crowd::{self, Client, Plan};
use super::remote::Remote;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::kit::{Kit, PeerKind, Server, written};
use crate::proxy::Running;

/// How long after the first client something happens to a remote.
const FAULT: Duration = Duration::from_millis(1500);

/// Clients that stay, stay so long.
const STAY: Duration = Duration::from_secs(1);

/// How long clients come.
const KILLED_LENGTH: Duration = Duration::from_secs(4);

/// What HAProxy is told besides, so that it tries another remote at once. nginx does so by itself.
const REDISPATCH: &str = "    option redispatch 1\n";

/// One of three remotes is killed, and its kernel says so to whoever comes. Nothing is checked.
pub fn killed(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let mut numbers = kill_beside(|targets| kit.cproxy(&written(targets), &[]))?.to_vec();
    for peer in &kit.peers {
        let more = if peer.kind == PeerKind::Haproxy { REDISPATCH } else { "" };
        let [failed, ..] = kill_beside(|targets| kit.peer(peer, targets, more))?;
        numbers.push(failed);
    }
    Ok(numbers)
}

/// The first numbers of [`killed`], for a proxy that is started with these remotes.
fn kill_beside(start: impl FnOnce(&[SocketAddr]) -> Result<Running, Failure>) -> Result<[f64; 5], Failure> {
    let mut servers = (0..3).map(|_| Server::start(1)).collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<_> = servers.iter().map(|server| server.addresses[0]).collect();
    let proxy = start(&addresses)?;
    let start = Moment::now();
    let every = Duration::from_millis(2);
    let plan = Plan {
        target: proxy.entry,
        start,
        every,
        clients: clients_in(KILLED_LENGTH, every),
        one_stays_of: 4,
        stay: STAY,
        patience: Duration::from_secs(15),
    };
    let victim = servers.remove(1);
    let victim_port = victim.addresses[0].port();
    let (clients, killed_at) = beside(plan, || {
        interrupt::sleep_until(start.after(FAULT))?;
        drop(victim);
        // Its process has been waited for, so its sockets are closed.
        Ok(Moment::now())
    })?;

    // One that was answered by another remote has no session on this one, and neither has one that began afterwards.
    // Of one that began before and was not answered it cannot be said.
    let failed = || clients.iter().filter(|client| client.failed.is_some());
    let had_a_session = failed().filter(|client| client.remote == Some(victim_port)).count();
    let cannot_be_said = failed().filter(|client| client.remote.is_none() && client.begun < killed_at).count();
    let others = failed().count() - had_a_session - cannot_be_said;
    let after = clients.iter().filter(|client| client.begun >= killed_at);
    Ok([
        (others + clients.iter().filter(|client| client.is_unanswered()).count()) as f64,
        had_a_session as f64,
        cannot_be_said as f64,
        clients.len() as f64,
        longest(after),
    ])
}

/// How long after a remote has vanished nobody is to wait for it any more.
const NOTICED: Duration = Duration::from_millis(1500);

/// How long clients come.
const BLACKHOLED_LENGTH: Duration = Duration::from_secs(6);

/// A wait longer than this is one for a remote that does not answer.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// What finds out that a remote drops packets; a client that is sent there waits for ten seconds.
const CHECKS: [&str; 6] = ["--check-interval", "500ms", "--fall", "2", "--connect-timeout", "10s"];

/// The same for HAProxy, whose connect timeout is ten seconds, too.
const HAPROXY_CHECKS: &str = "    option redispatch 1\n    default-server check inter 500ms fall 2\n";

/// One of three remotes drops all packets for new connections.
pub fn blackholed(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let mut numbers = vanish_beside(|targets| kit.cproxy(&written(targets), &CHECKS))?.to_vec();
    if let Some(haproxy) = kit.haproxy() {
        let [longest, _, end, ..] = vanish_beside(|targets| kit.peer(haproxy, targets, HAPROXY_CHECKS))?;
        numbers.extend([longest, end]);
    }
    Ok(numbers)
}

/// The first numbers of [`blackholed`], for a proxy that is started with these remotes.
fn vanish_beside(start: impl FnOnce(&[SocketAddr]) -> Result<Running, Failure>) -> Result<[f64; 6], Failure> {
    let server = Server::start(2)?;
    let remote = Remote::start()?;
    let proxy = start(&[server.addresses[0], remote.address, server.addresses[1]])?;
    let start = Moment::now();
    let every = Duration::from_millis(5);
    let plan = Plan {
        target: proxy.entry,
        start,
        every,
        clients: clients_in(BLACKHOLED_LENGTH, every),
        one_stays_of: usize::MAX,
        stay: Duration::ZERO,
        patience: Duration::from_secs(12),
    };
    let (clients, blackhole) = beside(plan, || {
        interrupt::sleep_until(start.after(FAULT))?;
        remote.vanish()
    })?;

    let noticed = blackhole.since.after(NOTICED);
    let late = || clients.iter().filter(|client| client.begun >= noticed);
    let waited = || clients.iter().filter(|client| client.remote.is_some() && client.wait > LONG_WAIT);
    let last = waited().map(|client| client.begun.after(client.wait)).max();
    Ok([
        longest(late()),
        late().count() as f64,
        last.map_or(0.0, |last| last.since(blackhole.since).as_secs_f64()),
        waited().count() as f64,
        clients.iter().filter(|client| client.is_unanswered()).count() as f64,
        clients.iter().filter(|client| client.failed.is_some()).count() as f64,
    ])
}

/// How many remotes are checked.
const CHECKED: usize = 1000;

/// What HAProxy is told so that it does the same.
const HAPROXY_CHECKED: &str = "    default-server check inter 1s\n";

/// How long checks go on before they are measured, and for how long at least they are.
const SETTLE: Duration = Duration::from_secs(3);
const LEAST_LENGTH: Duration = Duration::from_secs(20);

/// Many remotes are checked every second, and nobody else is there.
pub fn checks(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let arguments = ["--check-interval", "1s"];
    let start = |targets: &[SocketAddr]| kit.cproxy(&written(targets), &arguments);
    let mut numbers = check_beside(kit, start)?.to_vec();
    if let Some(haproxy) = kit.haproxy() {
        numbers.extend(check_beside(kit, |targets| kit.peer(haproxy, targets, HAPROXY_CHECKED))?);
    }
    Ok(numbers)
}

/// The share of a core and the checks a second of a proxy that is started with these remotes.
fn check_beside(kit: &Kit, start: impl FnOnce(&[SocketAddr]) -> Result<Running, Failure>) -> Result<[f64; 2], Failure> {
    let server = Server::start(CHECKED)?;
    let mut proxy = start(&server.addresses)?;
    interrupt::sleep_until(Moment::now().after(SETTLE))?;
    let (usage, connects) = (proxy.usage(), connects()?);
    interrupt::sleep_until(Moment::now().after(LEAST_LENGTH.max(kit.length)))?;
    let (usage_after, connects_after) = (proxy.usage(), self::connects()?);
    proxy.check()?;
    let seconds = usage_after.at.since(usage.at).as_secs_f64();
    let cpu = usage_after.cpu.saturating_sub(usage.cpu).as_secs_f64();
    Ok([cpu / seconds, connects_after.saturating_sub(connects) as f64 / seconds])
}

/// How many TCP connections this network namespace has begun.
///
/// The server cannot count the checks: a check that ends with a reset before it has acknowledged the server's SYN is never
/// a connection there. So other programs are counted, too; there should be none.
fn connects() -> Result<u64, Failure> {
    let file = "/proc/self/net/snmp";
    let text = fs::read_to_string(file).map_err(|error| Failure::of(file, error))?;
    active_opens(&text).ok_or_else(|| Failure::of(file, "has no ActiveOpens"))
}

/// Reads the text of `/proc/net/snmp`: of each protocol, a line of names and one of numbers.
fn active_opens(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, numbers) = (lines.next()?.split(' '), lines.next()?.split(' '));
    names.zip(numbers).find(|(name, _)| *name == "ActiveOpens")?.1.parse().ok()
}

/// Runs the clients of a plan while something else is done.
fn beside<T>(plan: Plan, act: impl FnOnce() -> Result<T, Failure>) -> Result<(Vec<Client>, T), Failure> {
    thread::scope(|scope| {
        let crowd = scope.spawn(|| crowd::run(plan));
        let done = act();
        let clients = crowd.join().map_err(|_| Failure::Broken("the clients panicked".to_owned()))?;
        Ok((clients?, done?))
    })
}

fn clients_in(length: Duration, every: Duration) -> usize {
    (length.as_micros() / every.as_micros()) as usize
}

/// The longest wait, in seconds.
fn longest<'a>(clients: impl Iterator<Item = &'a Client>) -> f64 {
    clients.map(|client| client.wait).max().unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connects_are_found_by_their_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: RtoMax ActiveOpens PassiveOpens\nTcp: -1 42 7\nUdp: A\nUdp: 1\n";
        assert_eq!(active_opens(text), Some(42));
        assert_eq!(active_opens("Tcp: ActiveOpens\n"), None);
    }
}
