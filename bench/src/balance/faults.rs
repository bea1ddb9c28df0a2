//! What clients notice when a remote fails, and what it costs to find out.

use std::thread;
use std::time::Duration;

use super::cases::Method;
use super::crowd::{self, Client, Plan};
use super::kit::{Kit, Server, written};
use super::remote::Remote;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;

/// How long after the first client something happens to a remote.
const FAULT: Duration = Duration::from_millis(1500);

/// Clients that stay, stay so long.
const STAY: Duration = Duration::from_secs(1);

/// How long clients come.
const KILLED_LENGTH: Duration = Duration::from_secs(4);

/// One of three remotes is killed, and its kernel says so to whoever comes. Nothing is checked.
pub fn killed(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let mut servers = (0..3).map(|_| Server::start(1)).collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<_> = servers.iter().map(|server| server.addresses[0]).collect();
    let proxy = kit.cproxy(&written(&addresses), Method::RoundRobin, &[])?;
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
    let waiting = clients.iter().filter(|client| client.remote.is_none() && client.failed.is_none()).count();
    let after = clients.iter().filter(|client| client.begun >= killed_at);
    Ok(vec![
        (others + waiting) as f64,
        had_a_session as f64,
        cannot_be_said as f64,
        clients.len() as f64,
        longest(after),
    ])
}

/// How long after a remote has vanished nobody is to wait for it any more.
const NOTICED: Duration = Duration::from_millis(1500);

/// How long clients come.
const BLACKHOLED_LENGTH: Duration = Duration::from_millis(6000);

/// A wait longer than this is one for a remote that does not answer.
const LONG_WAIT: Duration = Duration::from_millis(500);

/// What finds out that a remote drops packets; a client that is sent there waits for ten seconds.
const CHECKS: [&str; 6] = ["--check-interval", "500ms", "--fall", "2", "--connect-timeout", "10s"];

/// One of three remotes drops all packets for new connections.
pub fn blackholed(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let remote = Remote::start()?;
    let addresses = [server.addresses[0], remote.address, server.addresses[1]];
    let proxy = kit.cproxy(&written(&addresses), Method::RoundRobin, &CHECKS)?;
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
    let early = clients.iter().filter(|client| client.begun < noticed && client.remote.is_some());
    let number = |is_meant: fn(&Client) -> bool| clients.iter().filter(|client| is_meant(client)).count() as f64;
    Ok(vec![
        longest(late()),
        late().count() as f64,
        longest(early),
        number(|client| client.remote.is_some() && client.wait > LONG_WAIT),
        number(|client| client.remote.is_none() && client.failed.is_none()),
        number(|client| client.failed.is_some()),
    ])
}

/// How many remotes are checked.
const CHECKED: usize = 1000;

/// How long checks go on before they are measured, and for how long at least they are.
const SETTLE: Duration = Duration::from_secs(3);
const LEAST_LENGTH: Duration = Duration::from_secs(20);

/// Many remotes are checked every second, and nobody else is there.
pub fn checks(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let mut server = Server::start(CHECKED)?;
    let mut proxy = kit.cproxy(&written(&server.addresses), Method::RoundRobin, &["--check-interval", "1s"])?;
    interrupt::sleep_until(Moment::now().after(SETTLE))?;
    let (usage, received) = (proxy.usage(), server.received()?);
    interrupt::sleep_until(Moment::now().after(LEAST_LENGTH.max(kit.settings.length)))?;
    let (usage_after, received_after) = (proxy.usage(), server.received()?);
    proxy.check()?;
    let cpu = usage_after.cpu.saturating_sub(usage.cpu).as_secs_f64();
    let checks = (received_after.accepted - received.accepted) as f64;
    Ok(vec![
        cpu / usage_after.at.since(usage.at).as_secs_f64(),
        checks / received_after.at.since(received.at).as_secs_f64(),
    ])
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
