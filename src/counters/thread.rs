//! What one thread has counted, and what it says when somebody looks.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::{RemoteCounters, ServiceCounters};
use crate::service::Service;
use crate::service::pool::{Remote, RemoteId};
use crate::service::refusals::Refusals;
use crate::session::{End, Ending, Summary};

/// So many services, or remotes of one, are counted before it is looked for the first time which of them are gone.
const FIRST_LOOK: usize = 64;

/// What one thread has counted of the sessions that have ended. Those that go on count for themselves until somebody looks,
/// so that nothing is counted while bytes move.
#[derive(Debug)]
pub struct ThreadCounters {
    /// By the number of the service.
    services: HashMap<u32, Counted>,
    /// When there are more, it is looked which of them are gone.
    most: usize,
}

/// What has been counted of a service.
#[derive(Debug)]
struct Counted {
    counters: ServiceCounters,
    /// Lives as long as any version of the service.
    service: Weak<Refusals>,
    /// The remotes that have counters.
    remotes: HashMap<RemoteId, Weak<Remote>>,
    /// When there are more, it is looked which of them are gone.
    most: usize,
}

/// What is known of a service's sessions.
#[derive(Debug, Clone, Default)]
pub struct ServiceSeen {
    /// Sessions that it has.
    pub sessions: u64,
    /// What its sessions have come to, those that go on among them.
    pub counters: ServiceCounters,
}

/// What is known of services' sessions, by the number of the service.
pub type ServicesSeen = HashMap<u32, ServiceSeen>;

impl Default for ThreadCounters {
    fn default() -> ThreadCounters {
        ThreadCounters { services: HashMap::new(), most: FIRST_LOOK }
    }
}

impl ThreadCounters {
    /// Counts a session that has ended so, at this time, in microseconds since the origin.
    pub fn ended(&mut self, session: &Summary<'_>, end: End, now: u64) {
        let counted = self.services.entry(session.service.number).or_insert_with(|| Counted::new(session.service));
        counted.counters.add_session(session);
        counted.counters.add_end(session, end, now);
        if counted.remotes.len() < counted.counters.remotes.len() {
            counted.know(session.remote);
        }
        if self.services.len() > self.most {
            self.services.retain(|_, counted| counted.service.strong_count() > 0);
            self.most = FIRST_LOOK.max(2 * self.services.len());
        }
    }

    /// What has been counted of the sessions that have ended.
    pub fn seen(&self) -> ServicesSeen {
        let seen = |(&number, counted): (&u32, &Counted)| {
            (number, ServiceSeen { sessions: 0, counters: counted.counters.clone() })
        };
        self.services.iter().map(seen).collect()
    }
}

/// Adds what a session that goes on has come to until now.
pub fn add_going_on(seen: &mut ServicesSeen, session: &Summary<'_>) {
    let service = seen.entry(session.service.number).or_default();
    service.sessions += 1;
    service.counters.add_session(session);
}

impl Counted {
    fn new(service: &Arc<Service>) -> Counted {
        let service = Arc::downgrade(&service.refusals);
        Counted { counters: ServiceCounters::default(), service, remotes: HashMap::new(), most: FIRST_LOOK }
    }

    /// Notes that a remote has counters. Remotes come and go with the answers of name servers, so that it has to be looked
    /// now and then which of them are gone.
    #[cold]
    fn know(&mut self, remote: Option<&Arc<Remote>>) {
        self.remotes.extend(remote.map(|remote| (remote.id, Arc::downgrade(remote))));
        if self.remotes.len() > self.most {
            self.remotes.retain(|_, remote| remote.strong_count() > 0);
            self.counters.remotes.retain(|id, _| self.remotes.contains_key(id));
            self.most = FIRST_LOOK.max(2 * self.remotes.len());
        }
    }
}

impl ServiceCounters {
    /// Counts a session with what it has done until now.
    fn add_session(&mut self, session: &Summary<'_>) {
        self.begun += 1;
        for flow in 0..2 {
            self.bytes[flow] += session.bytes[flow];
            self.datagrams[flow] += session.datagrams[flow];
            self.dropped[flow] += session.dropped[flow];
        }
        let Some(connected_after) = session.connected_after.map(u64::from) else { return };
        self.connect_time.record(connected_after);
        if let Some(remote) = session.remote {
            let remote = self.remotes.entry(remote.id).or_default();
            remote.connected += 1;
            remote.connect_time.record(connected_after);
            for flow in 0..2 {
                remote.bytes[flow] += session.bytes[flow];
            }
        }
    }

    /// Counts the end of a session.
    fn add_end(&mut self, session: &Summary<'_>, end: End, now: u64) {
        self.ended[Ending::from(end).number()] += 1;
        self.session_time.record(now.saturating_sub(session.begun));
        self.session_bytes.record(session.bytes[0] + session.bytes[1]);
    }

    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &ServiceCounters) {
        self.begun += other.begun;
        self.ended.iter_mut().zip(other.ended).for_each(|(ended, other)| *ended += other);
        for flow in 0..2 {
            self.bytes[flow] += other.bytes[flow];
            self.datagrams[flow] += other.datagrams[flow];
            self.dropped[flow] += other.dropped[flow];
        }
        self.connect_time.add(&other.connect_time);
        self.session_time.add(&other.session_time);
        self.session_bytes.add(&other.session_bytes);
        for (id, other) in &other.remotes {
            self.remotes.entry(*id).or_default().add(other);
        }
    }
}

impl RemoteCounters {
    /// Adds what another thread has counted.
    pub fn add(&mut self, other: &RemoteCounters) {
        self.connected += other.connected;
        for flow in 0..2 {
            self.bytes[flow] += other.bytes[flow];
        }
        self.connect_time.add(&other.connect_time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{EndpointAddress, Endpoints};
    use crate::config::settings::ServiceSettings;
    use crate::endpoint::SideName;

    fn service(former: Option<&Service>) -> Arc<Service> {
        let echo = Endpoints { argument: "echo:".into(), addresses: vec![EndpointAddress::Echo] };
        Arc::new(Service::new(&ServiceSettings::new("a", Vec::new(), echo), former, 0).expect("a service"))
    }

    fn remote() -> Arc<Remote> {
        Arc::new(Remote::new("echo:".into(), vec![EndpointAddress::Echo]).expect("a remote"))
    }

    fn session<'a>(service: &'a Arc<Service>, remote: &'a Arc<Remote>) -> Summary<'a> {
        Summary {
            service,
            remote: Some(remote),
            begun: 1000,
            connected_after: Some(30),
            tries: 1,
            bytes: [5, 70],
            datagrams: [1, 2],
            dropped: [0, 3],
        }
    }

    #[test]
    fn a_session_counts_the_same_before_and_after_its_end() {
        let (mut counters, service, remote) = (ThreadCounters::default(), service(None), remote());
        let session = session(&service, &remote);
        let mut seen = counters.seen();
        add_going_on(&mut seen, &session);
        let before = &seen[&service.number];
        assert_eq!((before.sessions, before.counters.begun, before.counters.bytes), (1, 1, [5, 70]));
        counters.ended(&session, End::Reset(SideName::Client), 51_000);
        let seen = counters.seen();
        let after = &seen[&service.number];
        assert_eq!((after.sessions, after.counters.begun, after.counters.bytes), (0, 1, [5, 70]));
        assert_eq!((after.counters.datagrams, after.counters.dropped), ([1, 2], [0, 3]));
        assert_eq!(after.counters.connect_time, before.counters.connect_time);
        assert_eq!((after.counters.session_time.sum, after.counters.session_bytes.sum), (50_000, 75));
        assert_eq!(after.counters.ended[Ending::from(End::Reset(SideName::Remote)).number()], 1);
        let of_remote = &after.counters.remotes[&remote.id];
        assert_eq!((of_remote.connected, of_remote.bytes, of_remote.connect_time.sum), (1, [5, 70], 30));
    }

    #[test]
    fn versions_of_a_service_count_together_and_services_that_are_gone_are_forgotten() {
        let (mut counters, first, remote) = (ThreadCounters::default(), service(None), remote());
        counters.ended(&session(&first, &remote), End::EndOfStream, 1000);
        let second = service(Some(&first));
        drop(first);
        counters.ended(&session(&second, &remote), End::EndOfStream, 1000);
        for _ in 0..10 * FIRST_LOOK {
            counters.ended(&session(&service(None), &remote), End::EndOfStream, 1000);
            assert!(counters.services.len() <= FIRST_LOOK + 1);
        }
        assert_eq!(counters.seen()[&second.number].counters.begun, 2);
    }

    #[test]
    fn remotes_that_are_gone_are_forgotten_and_what_their_sessions_came_to_is_not() {
        let (mut counters, service, stays) = (ThreadCounters::default(), service(None), remote());
        let sessions = 10 * FIRST_LOOK as u64;
        counters.ended(&session(&service, &stays), End::EndOfStream, 1000);
        for _ in 0..sessions {
            counters.ended(&session(&service, &remote()), End::EndOfStream, 1000);
            let counted = &counters.services[&service.number];
            assert!(counted.counters.remotes.len() <= FIRST_LOOK + 1);
            assert_eq!(counted.counters.remotes.len(), counted.remotes.len());
        }
        let seen = counters.seen().remove(&service.number).expect("the service");
        assert_eq!(seen.counters.begun, sessions + 1);
        assert_eq!(seen.counters.remotes[&stays.id].connected, 1);
    }
}
