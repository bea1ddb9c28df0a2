//! Looks one name up: by the system's resolver, or by SRV records.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::Found;
use super::message::{Reply, Service};
use super::query::ask;
use super::resolv_conf::ResolvConf;
use super::shares::{self, Target};
use crate::address::{EndpointAddress, Endpoints, Lookups, Transport};

/// What a remote begins with that is looked up by SRV records.
const SRV: &str = "srv:";

/// How long an answer may be used at least, and at most.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The same of one with hosts that the system's resolver looked up, which does not say how long these hold.
const LIFE_OF_HOSTS: Duration = Duration::from_secs(60);

/// The same of one with a host that could not be looked up.
const LIFE_WITHOUT_A_HOST: Duration = Duration::from_secs(5);

/// How long all hosts of a name together may take to be looked up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A failure that took no longer was an answer.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The most aliases of aliases that are followed.
const MOST_ALIASES: usize = 8;

/// The most remotes that one name may be.
const MOST_FOUND: usize = 4096;

/// What one look-up leaves for the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// What hosts of SRV records stood for when they could be looked up.
    hosts: HashMap<String, Vec<IpAddr>>,
    /// How often servers were asked.
    turn: usize,
}

/// What a look-up came to.
#[derive(Debug)]
pub struct Outcome {
    /// As in [`super::Answer`].
    pub found: Result<Vec<Found>, String>,
    /// How long it may be used; `None`: nothing is said of that.
    pub life: Option<Duration>,
}

/// Looks up a remote as it was written. It takes no new step when `is_over` says that nobody waits for it any longer.
/// `conf` says which servers are asked for SRV records.
pub fn look_up(
    argument: &str,
    conf: &dyn Fn() -> ResolvConf,
    memory: &mut Memory,
    is_over: &dyn Fn() -> bool,
) -> Outcome {
    let found = match argument.strip_prefix(SRV) {
        Some(name) => by_services(name, &conf(), memory, is_over)
            .map(|(found, life)| (found, Some(life)))
            .map_err(|reason| format!("error resolving address {argument} {reason}")),
        None => by_system(argument).map(|found| (found, None)),
    };
    match found {
        Ok((mut found, life)) => {
            found.sort_by_cached_key(|found| (found.is_backup, found.address.to_string()));
            Outcome { found: Ok(found), life }
        }
        Err(reason) => Outcome { found: Err(reason), life: None },
    }
}

fn by_system(argument: &str) -> Result<Vec<Found>, String> {
    let endpoints = Endpoints::parse(argument).map_err(|error| error.to_string())?;
    let found = |address| Found { address, weight: None, is_backup: false };
    Ok(endpoints.addresses.into_iter().map(found).collect())
}

fn by_services(
    name: &str,
    conf: &ResolvConf,
    memory: &mut Memory,
    is_over: &dyn Fn() -> bool,
) -> Result<(Vec<Found>, Duration), String> {
    let first = memory.turn;
    memory.turn = memory.turn.wrapping_add(1);
    let (services, seconds) = services(name, conf, first, is_over)?;
    if services.is_empty() {
        return Err("the service is not offered".to_string());
    }
    let is_udp = name.split('.').any(|label| label.eq_ignore_ascii_case("_udp"));
    let transport = if is_udp { Transport::Udp } else { Transport::Tcp };
    let kind = if is_udp { EndpointAddress::Udp } else { EndpointAddress::Tcp };
    let (targets, longest) = resolved(services, transport, memory, is_over);
    if targets.iter().map(|target| target.addresses.len()).sum::<usize>() > MOST_FOUND {
        return Err(format!("it has more than {MOST_FOUND} addresses"));
    }
    let found = shares::found(&targets, kind);
    if found.is_empty() {
        return Err("none of its hosts has an address".to_string());
    }
    let life = Duration::from_secs(seconds.into()).clamp(SHORTEST_LIFE, LONGEST_LIFE);
    Ok((found, life.min(longest)))
}

/// The SRV records of a name, or of the first of those it may be short for that has some, and the seconds they may be used.
fn services(
    name: &str,
    conf: &ResolvConf,
    first: usize,
    is_over: &dyn Fn() -> bool,
) -> Result<(Vec<Service>, u32), String> {
    let mut failure = "there is no such name";
    for candidate in conf.candidates(name) {
        let (mut name, mut longest) = (candidate, u32::MAX);
        for _ in 0..MOST_ALIASES {
            // Where nobody can say whether there is such a name, it must not be taken for another.
            match ask(conf, &name, first, is_over)? {
                Reply::Services(services, seconds) => return Ok((services, seconds.min(longest))),
                Reply::Alias(other, seconds) => (name, longest) = (other, longest.min(seconds)),
                Reply::NoRecords => {
                    failure = "it has no SRV records";
                    break;
                }
                _ => break,
            }
        }
    }
    Err(failure.to_string())
}

/// The records with the addresses of their hosts, and how long these may be used. A host that cannot be looked up now has
/// the addresses that it had.
fn resolved(
    services: Vec<Service>,
    transport: Transport,
    memory: &mut Memory,
    is_over: &dyn Fn() -> bool,
) -> (Vec<Target>, Duration) {
    let start = Instant::now();
    let mut lookups = Lookups::default();
    let mut longest = LONGEST_LIFE;
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for Service { target, addresses, .. } in &services {
        if hosts.contains_key(target) {
            continue;
        }
        let found = if !addresses.is_empty() {
            Some(routed(addresses))
        } else if start.elapsed() > PATIENCE || is_over() {
            None
        } else {
            longest = longest.min(LIFE_OF_HOSTS);
            host(target, transport, &mut lookups)
        };
        let found = found.or_else(|| {
            longest = longest.min(LIFE_WITHOUT_A_HOST);
            memory.hosts.remove(target)
        });
        hosts.insert(target.clone(), found.unwrap_or_default());
    }
    let target = |Service { priority, weight, port, target, .. }: Service| {
        let ips = hosts.get(&target).into_iter().flatten();
        Target { priority, weight, addresses: ips.map(|&ip| SocketAddr::new(ip, port)).collect() }
    };
    let targets = services.into_iter().map(target).collect();
    memory.hosts = hosts;
    (targets, longest)
}

/// What the system's resolver says of a host.
fn host(host: &str, transport: Transport, lookups: &mut Lookups) -> Option<Vec<IpAddr>> {
    let start = Instant::now();
    // With the dot it is short for nothing. Tables of hosts have names without one.
    let mut found = lookups.resolve(&format!("{host}."), "0", transport);
    if found.is_err() && start.elapsed() < AT_ONCE {
        found = lookups.resolve(host, "0", transport);
    }
    let mut ips: Vec<IpAddr> = Vec::new();
    for address in found.ok()? {
        if !ips.contains(&address.ip()) {
            ips.push(address.ip());
        }
    }
    Some(ips).filter(|ips| !ips.is_empty())
}

/// Of addresses of both families, those of a family that this machine can send to: what the system's resolver does too
/// (`AI_ADDRCONFIG`), or a machine without IPv6 would try in vain to connect to half of the addresses.
fn routed(ips: &[IpAddr]) -> Vec<IpAddr> {
    let mut known: Vec<IpAddr> = Vec::new();
    for ip in ips {
        if !known.contains(ip) {
            known.push(*ip);
        }
    }
    let family = |v4: bool| known.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect::<Vec<_>>();
    let (v4, v6) = (family(true), family(false));
    match (v4.first(), v6.first()) {
        (Some(&four), Some(&six)) => match (is_routed(four), is_routed(six)) {
            (true, false) => v4,
            (false, true) => v6,
            _ => known,
        },
        _ => known,
    }
}

/// Whether there is a way to an address: nothing is sent to find that out.
fn is_routed(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, 53))).is_ok()
}
