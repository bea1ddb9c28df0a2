use super::*;
use crate::config::limits::Rate;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::thread;

/// Numbers by a seed: splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

fn some(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

fn rate(text: &str) -> Option<Rate> {
    Some(text.parse().unwrap())
}

fn ip(address: &str) -> Option<ClientAddress> {
    Some(ClientAddress::Ip(address.parse().unwrap()))
}

/// Limits with a table of their own.
fn limits(settings: LimitSettings, most_sources: usize) -> Limits {
    let mut limits = Limits::new(&settings, None).unwrap();
    limits.usage = Arc::new(Usage::new(Arc::new(Sources::new(most_sources))));
    limits
}

/// What is refused, or `None`.
fn refusal(limits: &Limits, client: &str, now: u64) -> Option<Reason> {
    limits.admit(None, ip(client), now).err()
}

#[test]
fn there_are_none_where_nothing_is_asked_for() {
    assert!(Limits::new(&LimitSettings::default(), None).is_none());
    let prefix = SourcePrefix { v4: 24, v6: 48 };
    let settings = LimitSettings { when_full: WhenFull::Reset, source_prefix: prefix, ..LimitSettings::default() };
    assert!(Limits::new(&settings, None).is_none());
}

#[test]
fn who_needs_no_place_gets_none() {
    let rates = LimitSettings { session_rate: rate("5/s"), session_rate_per_source: rate("5/s"), ..Default::default() };
    assert!(limits(rates, 10).admit(None, ip("192.0.2.1"), 0).unwrap().is_none());
    let few = LimitSettings { max_sessions_per_source: some(5), ..Default::default() };
    assert!(limits(few.clone(), 10).admit(None, Some(ClientAddress::Unix), 0).unwrap().is_none());
    assert!(limits(few, 10).admit(None, None, 0).unwrap().is_none());
}

#[test]
fn places_are_reserved_where_clients_wait_and_taken_where_they_do_not() {
    let settings = LimitSettings { max_sessions: some(2), ..Default::default() };
    let wait = limits(settings.clone(), 10);
    let place = wait.reserve().unwrap();
    let ticket = wait.admit(place, ip("192.0.2.1"), 0).unwrap();
    assert!(ticket.is_some() && !wait.is_full());
    let datagrams = wait.admit(None, ip("192.0.2.2"), 0).unwrap();
    assert!(wait.is_full() && wait.reserve().is_err());
    assert_eq!(refusal(&wait, "192.0.2.3", 0), Some(Reason::Sessions));
    drop(datagrams);
    let device = wait.reserve().and_then(|place| wait.admit(place, None, 0).map_err(|_| Full)).unwrap();
    assert!(wait.is_full());
    drop((ticket, device));
    assert_eq!(wait.usage.sessions.load(Relaxed), 0);

    let reset = limits(LimitSettings { when_full: WhenFull::Reset, ..settings }, 10);
    assert!(reset.reserve().unwrap().is_none());
    let _both = [reset.admit(None, None, 0).unwrap(), reset.admit(None, ip("::1"), 0).unwrap()];
    assert!(!reset.is_full(), "nobody waits for it");
    assert_eq!(reset.admit(None, None, 0).err(), Some(Reason::Sessions));
}

#[test]
fn a_source_is_a_network_of_its_family() {
    let per_source = |v4, v6| {
        let source_prefix = SourcePrefix { v4, v6 };
        limits(LimitSettings { max_sessions_per_source: some(1), source_prefix, ..Default::default() }, 1000)
    };
    for (v4, v6, one, other, are_one) in [
        (32, 64, "192.0.2.1", "192.0.2.1", true),
        (32, 64, "192.0.2.1", "::ffff:192.0.2.1", true),
        (32, 64, "192.0.2.1", "192.0.2.0", false),
        (32, 64, "192.0.2.1", "::192.0.2.1", false),
        (24, 64, "192.0.2.1", "::ffff:192.0.2.255", true),
        (24, 64, "192.0.2.1", "192.0.3.1", false),
        (1, 64, "192.0.2.1", "255.0.0.0", true),
        (1, 1, "192.0.2.1", "8000::", false),
        (32, 64, "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
        (32, 64, "2001:db8::1", "2001:db8:0:1::1", false),
        (32, 128, "2001:db8::1", "2001:db8::2", false),
        (32, 48, "2001:db8::1", "2001:db8:0:1::1", true),
        (32, 1, "2001:db8::1", "::1", true),
    ] {
        let limits = per_source(v4, v6);
        let ticket = limits.admit(None, ip(one), 0).unwrap();
        let expected = are_one.then_some(Reason::SourceSessions);
        assert_eq!(refusal(&limits, other, 0), expected, "{one} and {other}, {v4},{v6}");
        drop(ticket);
        assert_eq!(refusal(&limits, other, 0), None);
    }
}

#[test]
fn clients_of_unix_sockets_are_no_sources_and_devices_need_a_place_only() {
    let limits = limits(
        LimitSettings {
            max_sessions: some(5),
            session_rate: rate("2/s"),
            max_sessions_per_source: some(1),
            session_rate_per_source: rate("1/s"),
            ..Default::default()
        },
        10,
    );
    let unix = || limits.admit(None, Some(ClientAddress::Unix), 0);
    let _two = [unix().unwrap(), unix().unwrap()];
    assert_eq!(unix().err(), Some(Reason::Rate));
    let _three = [(); 3].map(|()| limits.admit(None, None, 0).unwrap());
    assert_eq!(limits.admit(None, None, 0).err(), Some(Reason::Sessions));
}

#[test]
fn a_client_that_is_refused_counts_for_nothing() {
    let settings = LimitSettings {
        max_sessions: some(3),
        session_rate: rate("3/s"),
        max_sessions_per_source: some(2),
        session_rate_per_source: rate("2/s"),
        ..Default::default()
    };
    let limits = limits(settings, 10);
    let one = [(); 2].map(|()| limits.admit(None, ip("192.0.2.1"), 0).unwrap());
    for _ in 0..10 {
        assert_eq!(refusal(&limits, "192.0.2.1", 0), Some(Reason::SourceSessions));
    }
    drop(one);
    for _ in 0..10 {
        assert_eq!(refusal(&limits, "192.0.2.1", 0), Some(Reason::SourceRate));
    }
    let other = limits.admit(None, ip("192.0.2.2"), 0).unwrap();
    for _ in 0..10 {
        assert_eq!(refusal(&limits, "192.0.2.3", 0), Some(Reason::Rate));
    }
    assert_eq!(limits.usage.sessions.load(Relaxed), 1);
    drop(other);
    // A third of a second later there is one token more, and the third source has all of its own.
    assert_eq!(refusal(&limits, "192.0.2.3", 334), None);
}

#[test]
fn a_client_that_says_later_who_it_is_is_counted_once() {
    let settings = LimitSettings {
        max_sessions: some(2),
        session_rate: rate("1/s"),
        max_sessions_per_source: some(1),
        ..Default::default()
    };
    let limits = limits(settings, 10);
    let open = || limits.usage.sessions.load(Relaxed);
    let unknown = |now| limits.reserve().map_err(|_| Reason::Sessions).and_then(|place| limits.admit(place, None, now));
    let ticket = limits.admit(unknown(0).unwrap(), ip("192.0.2.1"), 0).unwrap();
    assert_eq!(open(), 1);
    let other = unknown(0).unwrap();
    assert_eq!((open(), limits.is_full()), (2, true));
    assert_eq!(limits.admit(other, ip("192.0.2.1"), 5000).err(), Some(Reason::SourceSessions));
    assert_eq!(open(), 1, "its place is free");
    // It says that it is another one.
    let ticket = limits.admit(ticket, ip("192.0.2.2"), 5000).unwrap();
    let _one = limits.admit(None, ip("192.0.2.1"), 9000).unwrap();
    assert_eq!(open(), 2);
    drop(ticket);
    assert!(limits.admit(None, ip("192.0.2.2"), 12_000).is_ok());
}

#[test]
fn what_is_counted_holds_over_a_reload_and_new_numbers_hold_at_once() {
    let settings = LimitSettings {
        max_sessions: some(3),
        max_sessions_per_source: some(2),
        session_rate_per_source: rate("1/m"),
        ..Default::default()
    };
    let before = Limits::new(&settings, None).unwrap();
    let ticket = before.admit(None, ip("192.0.2.1"), 0).unwrap();
    let after = |settings: &LimitSettings| Limits::new(settings, Some(&before)).unwrap();
    assert_eq!(refusal(&after(&settings), "192.0.2.1", 59_999), Some(Reason::SourceRate));
    let one = LimitSettings { max_sessions_per_source: some(1), ..settings.clone() };
    assert_eq!(refusal(&after(&one), "192.0.2.1", 60_000), Some(Reason::SourceSessions));
    let none = LimitSettings { max_sessions: some(1), ..Default::default() };
    let none = after(&none);
    assert!(none.is_full());
    drop(ticket);
    assert!(!none.is_full());
    let other = Limits::new(&settings, None).unwrap();
    assert_eq!(refusal(&other, "192.0.2.1", 0), None, "another service has sources of its own");
}

/// What the limits are said to do, one entry for each source, and for each session that is open.
#[derive(Default)]
struct Model {
    open: Vec<u64>,
    tokens: HashMap<Option<u64>, (u64, u64)>,
}

impl Model {
    /// How many thousandths of a session the bucket of a source, or of all, has at this time. It gets `count` of them a
    /// millisecond, and has room for `count` sessions: the rates are all for a second.
    fn bucket(&mut self, whose: Option<u64>, count: u32, now: u64) -> &mut u64 {
        let full = u64::from(count) * 1000;
        let (tokens, since) = self.tokens.entry(whose).or_insert((full, now));
        *tokens = (*tokens + (now - *since) * u64::from(count)).min(full);
        *since = now;
        tokens
    }

    fn decide(&mut self, settings: &LimitSettings, source: u64, now: u64) -> Option<Reason> {
        let is_full = |most: Option<NonZeroU32>, open: usize| most.is_some_and(|most| open >= most.get() as usize);
        if is_full(settings.max_sessions, self.open.len()) {
            return Some(Reason::Sessions);
        }
        let of_source = self.open.iter().filter(|&&open| open == source).count();
        if is_full(settings.max_sessions_per_source, of_source) {
            return Some(Reason::SourceSessions);
        }
        let rates = [
            (Some(source), settings.session_rate_per_source, Reason::SourceRate),
            (None, settings.session_rate, Reason::Rate),
        ];
        let rates = rates.into_iter().filter_map(|(whose, rate, reason)| Some((whose, rate?.count.get(), reason)));
        for (whose, count, reason) in rates.clone() {
            if *self.bucket(whose, count, now) < 1000 {
                return Some(reason);
            }
        }
        for (whose, count, _) in rates {
            *self.bucket(whose, count, now) -= 1000;
        }
        self.open.push(source);
        None
    }
}

#[test]
fn they_do_what_a_naive_model_does() {
    let mut seen = HashMap::new();
    for seed in 0..300 {
        let mut random = Random(seed << 32);
        // Rates of which a session is a whole number of milliseconds, so that nothing is rounded.
        let rates = ["1/s", "2/s", "4/s", "5/s", "10/s", "20/s", "50/s"];
        let mut rate = || (random.below(2) == 0).then(|| rates[random.below(7) as usize].parse().unwrap());
        let (session_rate, session_rate_per_source) = (rate(), rate());
        let mut most = |limit| some(random.below(limit) as u32);
        let settings = LimitSettings {
            max_sessions: most(20),
            max_sessions_per_source: most(6),
            session_rate,
            session_rate_per_source,
            ..Default::default()
        };
        if settings == LimitSettings::default() {
            continue;
        }
        // As many are remembered as there are.
        let limits = limits(settings.clone(), 64 * 40);
        let (mut model, mut open, mut now) = (Model::default(), Vec::new(), 0);
        for step in 0..1000 {
            now += random.below(4) * random.below(100);
            if random.below(3) == 0 && !open.is_empty() {
                let number = random.below(open.len() as u64) as usize;
                model.open.swap_remove(number);
                let ticket: Option<Ticket> = open.swap_remove(number);
                drop(ticket);
                continue;
            }
            let source = random.below(12);
            let address = IpAddr::V4(Ipv4Addr::from(source as u32));
            let admitted = limits.admit(None, Some(ClientAddress::Ip(address)), now);
            let expected = model.decide(&settings, source, now);
            assert_eq!(admitted.as_ref().err().copied(), expected, "seed {seed}, step {step}: {settings:?}");
            *seen.entry(expected.map(|reason| reason as u8)).or_insert(0) += 1;
            open.extend(admitted);
        }
        drop(open);
        assert_eq!(limits.usage.sessions.load(Relaxed), 0);
    }
    assert!(seen.len() == 5 && seen.values().all(|&count| count > 1000), "{seen:?}");
}

#[test]
fn threads_together_never_have_one_too_many_and_lose_none() {
    const MOST: u32 = 3;
    let settings = LimitSettings { max_sessions: some(MOST), max_sessions_per_source: some(2), ..Default::default() };
    let limits = limits(settings, 10);
    let (open, too_many) = (AtomicU32::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for thread in 0..4 {
            let (limits, open, too_many) = (&limits, &open, &too_many);
            scope.spawn(move || {
                let address = ip(["192.0.2.1", "192.0.2.2"][thread % 2]);
                let mut admitted = 0;
                while admitted < 2000 {
                    let Ok(ticket) = limits.admit(None, address, 0) else { continue };
                    too_many.fetch_or(open.fetch_add(1, SeqCst) >= MOST, Relaxed);
                    open.fetch_sub(1, SeqCst);
                    drop(ticket);
                    admitted += 1;
                }
            });
        }
    });
    assert!(!too_many.load(Relaxed) && limits.usage.sessions.load(Relaxed) == 0);
    let held = [(); 2].map(|()| limits.admit(None, ip("192.0.2.1"), 0).unwrap());
    assert_eq!(refusal(&limits, "192.0.2.1", 0), Some(Reason::SourceSessions));
    drop(held);
}

#[test]
fn whoever_waits_for_a_place_is_woken_when_one_is_given_back() {
    let (waiters, heard) = crate::service::waiters::tests::with_bells(1);
    let waiters = Arc::new(waiters);
    let limits = limits(LimitSettings { max_sessions: some(1), ..Default::default() }, 10);
    assert!(!limits.is_full_for(&waiters));
    let ticket = limits.reserve().unwrap();
    assert!(waiters.add(0) && limits.is_full_for(&waiters));
    drop(ticket);
    assert!(!waiters.is_waiting(0) && !limits.is_full());
    assert_eq!(heard[0].try_iter().count(), 1);
}

#[test]
fn a_flood_of_a_million_sources_takes_less_than_64_mib_and_forgets_nobody_who_has_sessions() {
    const MOST_BYTES: usize = 64 << 20;
    let settings =
        LimitSettings { max_sessions_per_source: some(1), session_rate_per_source: rate("1/h"), ..Default::default() };
    let limits = limits(settings, sources::MOST);
    let address = |number: u64| Some(ClientAddress::Ip(Ipv6Addr::from(u128::from(number) << 64).into()));
    let holders: Vec<_> = (0..1000).map(|number| limits.admit(None, address(number), 0).unwrap()).collect();
    for number in 1000..1_300_000 {
        drop(limits.admit(None, address(number), 0).unwrap());
    }
    let memory = limits.usage.sources.memory();
    assert!(memory < MOST_BYTES, "{memory} bytes");
    for number in 0..1000 {
        assert_eq!(limits.admit(None, address(number), 0).err(), Some(Reason::SourceSessions));
    }
    // The last ones are remembered as well, and the first ones not.
    assert_eq!(limits.admit(None, address(1_299_999), 0).err(), Some(Reason::SourceRate));
    assert_eq!(limits.admit(None, address(300_000), 0).err(), Some(Reason::SourceRate));
    assert!(limits.admit(None, address(1000), 0).is_ok());
    // When they have nothing to be remembered for, a few new ones make them be forgotten.
    drop(holders);
    for number in 2_000_000..3_000_000 {
        drop(limits.admit(None, address(number), 7_200_000 + number).unwrap());
    }
    for number in 3_000_000..3_010_000 {
        drop(limits.admit(None, address(number), 14_400_000 + number).unwrap());
    }
}
