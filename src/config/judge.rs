//! What is wrong with a service as a whole though each of its options is good, and what is to be warned of.

use std::collections::HashMap;

use super::access;
use super::access_log;
use super::balancing::OnDown;
use super::capture;
use super::hours;
use super::inspection;
use super::limits;
use super::origin;
use super::proxy;
use super::settings::{RemoteSettings, ServiceSettings};
use super::striping;
use super::units::format_duration;
use crate::address::{EndpointAddress, Endpoints};
use crate::base::text::Escaped;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// The remote of this number.
    Remote(usize),
    /// The option of this name.
    Option(&'static str),
}

/// All that is wrong, one line each.
pub fn problems(service: &ServiceSettings) -> Vec<(Culprit, String)> {
    let option = |(name, message)| (Culprit::Option(name), message);
    let key = striping::useless_key(service).map(|message| ("stripe-key", message));
    let access = access::useless_rules(service).map(|message| ("access", message));
    let source = origin::useless(service).map(|message| ("source", message));
    let of_options = key
        .into_iter()
        .chain(access)
        .chain(hours::useless_hours(service))
        .chain(limits::useless(service))
        .chain(source)
        .chain(proxy::problems(service))
        .chain(capture::useless(service))
        .chain(inspection::useless(service))
        .chain(useless_options(service))
        .chain(access_log::useless(service))
        .map(option);
    let too_many = service.remotes.len() > RemoteSettings::MOST;
    let too_many = too_many.then(|| {
        let message = format!("a service takes at most {} remotes", RemoteSettings::MOST);
        (Culprit::Remote(RemoteSettings::MOST), message)
    });
    let original = origin::misplaced_original(service).map(|(number, message)| (Culprit::Remote(number), message));
    too_many.into_iter().chain(duplicates(service)).chain(original).chain(of_options).collect()
}

/// Remotes that are there already.
fn duplicates(service: &ServiceSettings) -> impl Iterator<Item = (Culprit, String)> {
    let mut first = HashMap::new();
    service.remotes.iter().enumerate().filter_map(move |(number, RemoteSettings { endpoints, .. })| {
        let other = *first.entry(identity(service, endpoints)).or_insert(number);
        let argument = &endpoints.argument;
        let message = match &service.remotes[other].endpoints.argument {
            _ if other == number => return None,
            same if same == argument => format!("duplicate remote {argument}"),
            other => format!("duplicate remote {argument}: the service has it already as {other}"),
        };
        Some((Culprit::Remote(number), message))
    })
}

/// What no two remotes of a service may have in common. Names that are followed may well have the same addresses for a
/// while.
fn identity<'s>(service: &ServiceSettings, Endpoints { argument, addresses }: &'s Endpoints) -> Identity<'s> {
    if addresses.is_empty() || service.pool.resolve.is_some() {
        Identity::Written(argument)
    } else {
        Identity::Addresses(addresses)
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Identity<'s> {
    Written(&'s str),
    Addresses(&'s [EndpointAddress]),
}

/// Options that can have no effect: somebody believes that they have one.
fn useless_options(service: &ServiceSettings) -> Vec<(&'static str, String)> {
    let pool = &service.pool;
    let mut useless = Vec::new();
    let follows_names =
        || pool.resolve.is_some() || service.remotes.iter().any(|remote| remote.endpoints.service_records().is_some());
    if pool.check.interval.is_none() {
        for (key, what, bytes) in
            [("check-send", "check send", &pool.check.send), ("check-expect", "check expect", &pool.check.expect)]
        {
            if !bytes.is_empty() {
                useless.push((key, format!("invalid {what}: nothing is checked without a check-interval")));
            }
        }
        if pool.on_down == OnDown::Reset {
            let message = "invalid on down reset: no remote is found down without a check-interval";
            useless.push(("on-down", message.to_string()));
        }
        if pool.slow_start.is_some() && pool.max_fails == 0 && !follows_names() {
            let message = "invalid slow start: no remote can come back, without a check-interval, with max-fails 0 and \
                           without a name that is looked up again";
            useless.push(("slow-start", message.to_string()));
        }
    }
    useless
}

/// What is to be warned of when the service begins, one line each.
pub fn warnings(service: &ServiceSettings) -> Vec<String> {
    let of = if service.name.is_empty() { String::new() } else { format!("service {}: ", service.name) };
    let mut warnings = striping::warnings(service);
    for RemoteSettings { endpoints, unresolved, .. } in &service.remotes {
        if let (Some(reason), Some(every)) = (unresolved, service.pool.resolve) {
            let (name, reason) = (Escaped(endpoints.argument.as_bytes()), Escaped(reason.0.as_bytes()));
            let every = format_duration(every);
            warnings.push(format!("{of}error resolving address {name} {reason}; it is looked up again every {every}"));
        }
    }
    warnings.extend(origin::warnings(service).into_iter().map(|warning| format!("{of}{warning}")));
    warnings.extend(access::warning(service).map(|warning| format!("{of}{warning}")));
    warnings.extend(proxy::warning(service).map(|warning| format!("{of}{warning}")));
    if service.remotes.iter().all(|remote| remote.is_backup) {
        warnings.push(format!("{of}all remotes are backups, so they are used as if none of them was"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Unresolved;
    use std::time::Duration;

    fn service(remotes: &[&str]) -> ServiceSettings {
        let endpoints = |argument: &&str| Endpoints::parse(argument).unwrap();
        let mut service = ServiceSettings::new("", vec![endpoints(&"127.0.0.1:0")], endpoints(&remotes[0]));
        service.remotes = remotes.iter().map(|remote| RemoteSettings::new(endpoints(remote))).collect();
        service
    }

    #[test]
    fn no_remote_is_there_twice() {
        let expected = [
            (Culprit::Remote(2), "duplicate remote 127.0.0.1:1".to_string()),
            (Culprit::Remote(3), "duplicate remote tcp:127.0.0.1:1: the service has it already as 127.0.0.1:1".into()),
            (Culprit::Remote(6), "duplicate remote srv:_a._tcp.b".into()),
        ];
        let remotes = [
            "127.0.0.1:1",
            "127.0.0.1:2",
            "127.0.0.1:1",
            "tcp:127.0.0.1:1",
            "udp:127.0.0.1:1",
            "srv:_a._tcp.b",
            "srv:_a._tcp.b",
            "srv:_a._udp.b",
        ];
        let mut twice = service(&remotes);
        assert_eq!(problems(&twice), expected);
        // What names stand for then may be the same for a while.
        twice.pool.resolve = Some(Duration::from_secs(1));
        let written: Vec<_> = problems(&twice).into_iter().map(|(culprit, _)| culprit).collect();
        assert_eq!(written, [Culprit::Remote(2), Culprit::Remote(6)]);
    }

    #[test]
    fn there_are_not_more_remotes_than_numbers_for_them() {
        let mut many = service(&["127.0.0.1:1"]);
        let at = |port: usize| EndpointAddress::Udp(([127, 0, 0, 1], port as u16).into());
        let remote = |port| Endpoints { argument: format!("udp:127.0.0.1:{port}"), addresses: vec![at(port)] };
        many.remotes.extend((1..RemoteSettings::MOST).map(|port| RemoteSettings::new(remote(port))));
        assert_eq!(problems(&many), []);
        many.remotes.push(RemoteSettings::new(remote(RemoteSettings::MOST)));
        let expected = "a service takes at most 65534 remotes".to_string();
        assert_eq!(problems(&many), [(Culprit::Remote(RemoteSettings::MOST), expected)]);
    }

    #[test]
    fn an_option_without_an_effect_is_a_problem() {
        let names = |service: &ServiceSettings| -> Vec<_> {
            problems(service).into_iter().map(|(culprit, message)| (culprit, message.starts_with("invalid "))).collect()
        };
        let useless = |name| (Culprit::Option(name), true);
        let mut service = service(&["127.0.0.1:1", "127.0.0.1:2"]);
        service.pool.check.send = b"x".to_vec();
        service.pool.check.expect = b"x".to_vec();
        service.pool.on_down = OnDown::Reset;
        service.pool.slow_start = Some(Duration::from_secs(1));
        assert_eq!(names(&service), ["check-send", "check-expect", "on-down"].map(useless));
        service.pool.max_fails = 0;
        assert_eq!(names(&service), ["check-send", "check-expect", "on-down", "slow-start"].map(useless));
        let with_checks = |mut service: ServiceSettings| {
            service.pool.check.interval = Some(Duration::from_secs(1));
            service
        };
        assert_eq!(names(&with_checks(service.clone())), []);
        // A new address of a name begins slowly, too.
        service.remotes[1].endpoints = Endpoints::parse("srv:_a._tcp.b").unwrap();
        assert_eq!(names(&service).len(), 3);
    }

    #[test]
    fn what_works_otherwise_than_it_looks_is_warned_of() {
        let mut service = ServiceSettings { name: "a".into(), ..service(&["127.0.0.1:1", "127.0.0.1:2"]) };
        service.remotes[0].is_backup = true;
        assert_eq!(warnings(&service), Vec::<String>::new());
        service.remotes[1].is_backup = true;
        service.remotes[1].unresolved = Some(Unresolved("no\n".into()));
        service.pool.resolve = Some(Duration::from_secs(5));
        assert_eq!(
            warnings(&service),
            [
                "service a: error resolving address 127.0.0.1:2 no\\n; it is looked up again every 5s",
                "service a: all remotes are backups, so they are used as if none of them was",
            ]
        );
    }
}
