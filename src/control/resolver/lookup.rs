//! Looks one name up: by the system's resolver, or by SRV records.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::Found;
use super::message::{Reply, Service};
use super::query::ask;
use super::resolv_conf::ResolvConf;
use super::shares::{self, Target};
use crate::address::{EndpointAddress, Endpoints, Lookups, ServiceKind, Transport};

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
    let remote = Endpoints { argument: argument.to_string(), addresses: Vec::new() };
    let found = match remote.service_records() {
        Some((name, kind)) => by_services(name, kind, &conf(), memory, is_over)
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
    kind: ServiceKind,
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
    let (transport, kind): (_, fn(SocketAddr) -> EndpointAddress) = match kind {
        ServiceKind::Tcp => (Transport::Tcp, EndpointAddress::Tcp),
        ServiceKind::Udp => (Transport::Udp, EndpointAddress::Udp),
    };
    let longest = look_up_hosts(&services, transport, memory, is_over);
    let addresses = |service: &Service| memory.hosts.get(&service.target).map_or(0, Vec::len);
    if services.iter().map(addresses).sum::<usize>() > MOST_FOUND {
        return Err(format!("it has more than {MOST_FOUND} addresses"));
    }
    let targets: Vec<Target> = services.into_iter().map(|service| target(service, &memory.hosts)).collect();
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
                // They may know those in another domain.
                Reply::Refused => {
                    failure = "the DNS servers refuse to answer";
                    break;
                }
                _ => break,
            }
        }
    }
    Err(failure.to_string())
}

/// Looks up what the hosts of records stand for, which is in the memory then, and says how long that may be used. A host
/// that cannot be looked up now has the addresses that it had.
fn look_up_hosts(
    services: &[Service],
    transport: Transport,
    memory: &mut Memory,
    is_over: &dyn Fn() -> bool,
) -> Duration {
    let start = Instant::now();
    let mut lookups = Lookups::default();
    let mut longest = LONGEST_LIFE;
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for Service { target, addresses, .. } in services {
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
    memory.hosts = hosts;
    longest
}

/// A record with the addresses of its host.
fn target(service: Service, hosts: &HashMap<String, Vec<IpAddr>>) -> Target {
    let Service { priority, weight, port, target, .. } = service;
    let ips = hosts.get(&target).into_iter().flatten();
    Target { priority, weight, addresses: ips.map(|&ip| SocketAddr::new(ip, port)).collect() }
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

#[cfg(test)]
mod tests {
    use super::super::fake::{Asked, Data, Says, Server, conf};
    use super::*;

    const SERVICE: &str = "srv:_http._tcp.web.internal";

    fn outcome(argument: &str, conf: &ResolvConf, memory: &mut Memory) -> Outcome {
        look_up(argument, &|| conf.clone(), memory, &|| false)
    }

    /// What is found, in short, or the error; and how many seconds it may be used.
    fn shown(argument: &str, conf: &ResolvConf, memory: &mut Memory) -> (String, Option<u64>) {
        let outcome = outcome(argument, conf, memory);
        let one = |found: &Found| {
            let weight = found.weight.map_or(String::new(), |weight| format!("*{weight}"));
            format!("{}{weight}{}", found.address, if found.is_backup { " backup" } else { "" })
        };
        let text = match &outcome.found {
            Ok(found) => found.iter().map(one).collect::<Vec<_>>().join(", "),
            Err(reason) => reason.clone(),
        };
        (text, outcome.life.map(|life| life.as_secs()))
    }

    fn look(server: &Server, argument: &str) -> (String, Option<u64>) {
        shown(argument, &conf(&[server]), &mut Memory::default())
    }

    fn error(server: &Server) -> String {
        let (text, life) = look(server, SERVICE);
        assert_eq!(life, None);
        text.strip_prefix(&format!("error resolving address {SERVICE} "))
            .unwrap_or_else(|| panic!("{text}"))
            .to_string()
    }

    #[test]
    fn services_are_remotes() {
        let server = Server::saying(|asked| {
            Says::services(
                asked,
                30,
                &[
                    (10, 1, 8002, "b.internal.", "192.0.2.2"),
                    (20, 9, 8003, "c.internal.", "192.0.2.3"),
                    (10, 5, 8001, "a.internal.", "192.0.2.1"),
                ],
            )
        });
        let found = "192.0.2.1:8001*5, 192.0.2.2:8002*1, 192.0.2.3:8003*9 backup";
        assert_eq!(look(&server, SERVICE), (found.into(), Some(30)));
        let udp = "udp:192.0.2.1:8001*5, udp:192.0.2.2:8002*1, udp:192.0.2.3:8003*9 backup";
        assert_eq!(look(&server, "srv:_dns._UDP.web.internal"), (udp.into(), Some(30)));
    }

    #[test]
    fn an_answer_lives_as_long_as_it_says_but_for_a_second_at_least() {
        for (ttl, seconds) in [(0, 1), (1, 1), (300, 300), (1 << 30, 86_400)] {
            let server = Server::saying(move |asked| Says::services(asked, ttl, &[(0, 0, 1, "a.b.", "192.0.2.1")]));
            assert_eq!(look(&server, SERVICE), ("192.0.2.1:1*1".into(), Some(seconds)));
        }
    }

    #[test]
    fn hosts_without_an_address_in_the_answer_are_looked_up() {
        let server = Server::saying(|asked| {
            let hosts = [(0, 1, 81, "localhost.", ""), (0, 1, 82, "localhost.", ""), (0, 2, 83, "a.b.", "192.0.2.1")];
            Says::services(asked, 300, &hosts)
        });
        let (found, life) = look(&server, SERVICE);
        assert!(found.contains(":81*") && found.contains(":82*") && found.contains("192.0.2.1:83*"), "{found}");
        assert_eq!(life, Some(60));
    }

    /// No server is asked for what ends in `.invalid` (RFC 6761), or it has no answer; either takes no other address away.
    #[test]
    fn a_host_that_cannot_be_looked_up_keeps_its_addresses() {
        let mut count = 0;
        let server = Server::saying(move |asked| {
            count += 1;
            let ip = if count == 1 { "192.0.2.9" } else { "" };
            Says::services(asked, 300, &[(0, 1, 80, "host.invalid.", ip), (0, 1, 80, "a.b.", "192.0.2.1")])
        });
        let (conf, mut memory) = (conf(&[&server]), Memory::default());
        let both = "192.0.2.1:80*1, 192.0.2.9:80*1";
        assert_eq!(shown(SERVICE, &conf, &mut memory), (both.into(), Some(300)));
        assert_eq!(shown(SERVICE, &conf, &mut memory), (both.into(), Some(5)));
        assert_eq!(shown(SERVICE, &conf, &mut memory), (both.into(), Some(5)));
        // Nothing is known of it.
        assert_eq!(shown(SERVICE, &conf, &mut Memory::default()), ("192.0.2.1:80*1".into(), Some(5)));
        let server = Server::saying(|asked| Says::services(asked, 9, &[(0, 1, 80, "host.invalid.", "")]));
        assert_eq!(error(&server), "none of its hosts has an address");
    }

    #[test]
    fn an_alias_is_asked_for_if_the_answer_stops_there() {
        let server = Server::saying(|asked| match asked.name.as_str() {
            "_http._tcp.web.internal." => {
                let alias = Data::Cname("_http._tcp.other.internal.".into());
                Says { answer: vec![(asked.name.clone(), 10, alias)], ..Says::default() }
            }
            "_http._tcp.other.internal." => Says::services(asked, 60, &[(0, 1, 80, "a.b.", "192.0.2.1")]),
            _ => Says::code(3),
        });
        assert_eq!(look(&server, SERVICE), ("192.0.2.1:80*1".into(), Some(10)));
        let endless = Server::saying(|asked| {
            let alias = Data::Cname(format!("a{}.b.", asked.id));
            Says { answer: vec![(asked.name.clone(), 10, alias)], ..Says::default() }
        });
        assert_eq!(error(&endless), "there is no such name");
    }

    #[test]
    fn short_names_are_looked_for_but_not_where_nobody_can_say() {
        let says = |asked: &Asked| match asked.name.as_str() {
            "_http._tcp.web.internal." | "_x._tcp.broken.internal." => {
                Says::services(asked, 60, &[(0, 1, 80, "a.b.", "192.0.2.1")])
            }
            name if name.ends_with(".broken.") => Says::code(2),
            name if name.ends_with(".web.") => Says::code(5),
            _ => Says::code(3),
        };
        let server = Server::saying(says);
        let with = |search: &str| ResolvConf { search: vec![search.into()], ..conf(&[&server]) };
        let look = |argument: &str, search: &str| shown(argument, &with(search), &mut Memory::default()).0;
        assert_eq!(look("srv:_http._tcp.web", "internal"), "192.0.2.1:80*1");
        assert_eq!(look("srv:_http._tcp.web.internal", "internal"), "192.0.2.1:80*1");
        let failed = |argument: &str, search: &str| look(argument, search).starts_with("error resolving address");
        assert!(failed("srv:_http._tcp.web.", "internal"));
        assert!(look("srv:_http._tcp.web", "example").ends_with(" the DNS servers refuse to answer"));
        assert!(failed("srv:_x._tcp.broken", "internal"));
    }

    #[test]
    fn empty_answers_say_why() {
        assert_eq!(error(&Server::saying(|_| Says::code(3))), "there is no such name");
        assert_eq!(error(&Server::saying(|_| Says::default())), "it has no SRV records");
        let not_offered = Server::saying(|asked| Says::services(asked, 9, &[(0, 0, 0, ".", "")]));
        assert_eq!(error(&not_offered), "the service is not offered");
        let server = Server::saying(|_| Says::code(2));
        let reason = format!("DNS server {}: the answer is SERVFAIL", server.address);
        assert_eq!(error(&server), reason);
        let many = Server::saying(|asked| {
            let mut says = Says::services(asked, 9, &vec![(0, 0, 80, "a.", ""); 90]);
            for n in 0..50 {
                says.additional.push(("a.".into(), 9, Data::Ip(IpAddr::from([192, 0, 2, n]))));
            }
            says
        });
        assert_eq!(error(&many), "it has more than 4096 addresses");
    }

    #[test]
    fn other_remotes_are_looked_up_by_the_system() {
        let server = Server::saying(|_| panic!("nobody asks"));
        assert_eq!(look(&server, "192.0.2.1:80"), ("192.0.2.1:80".into(), None));
        assert_eq!(look(&server, "udp:192.0.2.1:53"), ("udp:192.0.2.1:53".into(), None));
        let (found, _) = look(&server, "localhost:80");
        assert!(found.contains("127.0.0.1:80") || found.contains("::1:80"), "{found}");
        let (error, life) = look(&server, "localhost:no-such-service");
        assert!(error.starts_with("error resolving address localhost:no-such-service "), "{error}");
        assert_eq!(life, None);
    }

    #[test]
    fn addresses_that_nothing_can_be_sent_to_are_left_out() {
        let ips = |text: &[&str]| text.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(routed(&ips(&["127.0.0.1", "127.0.0.1", "127.0.0.2"])), ips(&["127.0.0.1", "127.0.0.2"]));
        // Nothing else is there to be used.
        assert_eq!(routed(&ips(&["ff02::1"])), ips(&["ff02::1"]));
        let both = ips(&["127.0.0.1", "::1"]);
        let expected = if is_routed(both[1]) { &both[..] } else { &both[..1] };
        assert_eq!(routed(&both), expected);
    }
}
