//! What a pool promises, whatever the method and the number of threads.

mod balance;
mod health;
mod room;
mod source;

use std::sync::Mutex;
use std::thread;

use super::mix::splitmix64;
use super::*;
use crate::address::EndpointAddress;

const METHODS: [Balance; 4] = [Balance::RoundRobin, Balance::LeastSessions, Balance::Random, Balance::Source];

fn settings(balance: Balance) -> PoolSettings {
    PoolSettings { balance, ..PoolSettings::default() }
}

/// The n-th remote, at an address of its own.
fn remote(number: usize) -> Arc<Remote> {
    let [_, _, high, low] = (number as u32).to_be_bytes();
    let address: EndpointAddress = EndpointAddress::Tcp(([10, 9, high, low], 8080).into());
    Arc::new(Remote::new(address.to_string(), vec![address]).unwrap())
}

/// One with a weight.
fn weighted(number: usize, weight: u16) -> Member {
    Member { weight, ..Member::new(remote(number)) }
}

fn members(weights: &[u16]) -> Vec<Member> {
    weights.iter().enumerate().map(|(number, &weight)| weighted(number, weight)).collect()
}

fn pool(balance: Balance, weights: &[u16]) -> Pool {
    Pool::new(&settings(balance), members(weights), 7, 0)
}

/// Which of the set's members a session got.
fn place(pool: &Pool, lease: &Lease) -> usize {
    pool.set().members().iter().position(|member| member.remote.id == lease.remote().id).unwrap()
}

fn remotes(pool: &Pool) -> Vec<Arc<Remote>> {
    pool.set().members().iter().map(|member| member.remote.clone()).collect()
}

/// A choice for the n-th client.
fn choose(pool: &Pool, client: u32, tried: &[RemoteId], now: u64) -> Choice {
    pool.choose(|| Some(ClientKey::of_ip(client.to_be_bytes().into())), tried, now)
}

/// One that must come to something.
fn lease(pool: &Pool, client: u32, now: u64) -> Lease {
    match choose(pool, client, &[], now) {
        Choice::Remote(lease) => lease,
        other => panic!("{other:?}"),
    }
}

fn counts<'a>(pool: &Pool, leases: impl IntoIterator<Item = &'a Lease>) -> Vec<u32> {
    let mut counts = vec![0; pool.set().members().len()];
    leases.into_iter().for_each(|lease| counts[place(pool, lease)] += 1);
    counts
}

/// So many sessions on each of so many threads, all held.
fn on_threads(pool: &Pool, threads: u32, sessions: u32) -> Vec<Lease> {
    let of = |thread| move || (0..sessions).map(|n| lease(pool, thread * sessions + n, 0)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(of(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Takes a remote out, as three sessions do.
fn take_out(pool: &Pool, remote: &Arc<Remote>, now: u64) {
    (0..3).for_each(|_| pool.failed(remote, &"refused", now));
}

/// Has the set made anew by what is known now, as the keeper does.
fn renew(pool: &Pool, now: u64) {
    pool.replace(pool.set().members().to_vec(), now);
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        splitmix64(self.0.wrapping_mul(0x9e37_79b9)) % limit
    }
}

/// The rules of a choice, for pools, histories and clients that are drawn.
#[test]
fn the_best_tier_with_one_that_is_untried_and_has_room_is_chosen_from() {
    for seed in 0..4000 {
        let mut dice = Dice(seed << 32);
        let member = |number| Member {
            is_backup: dice.below(3) == 0,
            max_sessions: (dice.below(2) == 0).then(|| dice.below(3) as u32),
            ..weighted(number, 1 + dice.below(5) as u16)
        };
        let members: Vec<Member> = (0..2 + seed as usize % 6).map(member).collect();
        let balance = METHODS[dice.below(4) as usize];
        let pool = Pool::new(&settings(balance), members.clone(), seed, 0);
        let mut held = Vec::new();
        for step in 0..30 {
            let one = &members[dice.below(members.len() as u64) as usize].remote;
            match dice.below(8) {
                0 => take_out(&pool, one, step),
                1 => pool.connected(one, step),
                2 => drop(one.set_checked(Checked::Down, &"no answer", step)),
                3 => drop(one.set_checked(Checked::Up, &"answers", step)),
                4 if !held.is_empty() => drop(held.swap_remove(dice.below(held.len() as u64) as usize)),
                _ => (),
            }
            if dice.below(3) > 0 {
                renew(&pool, step);
            }
            let tried: Vec<RemoteId> =
                members.iter().map(|member| member.remote.id).filter(|_| dice.below(4) == 0).collect();
            let set = pool.set();
            let stays_in = |remote: &Remote| set.stays_in().is_some_and(|last| last.id == remote.id);
            // One that came back is not seen before the set is made anew.
            let usable = |Member { remote, .. }: &Member| set.is_usable(remote) && (remote.is_in() || stays_in(remote));
            let untried = |member: &Member| !tried.contains(&member.remote.id);
            let candidates = || members.iter().filter(|&member| untried(member) && !member.is_full());
            let best = candidates().map(|member| (!usable(member), member.is_backup)).min();
            let waits = members.iter().any(|member| usable(member) && untried(member));
            let is_left = members.iter().any(untried);
            // Nobody is out for long enough to be tried.
            match pool.choose(|| Some(ClientKey::of_bytes(&[step as u8])), &tried, step) {
                Choice::Remote(lease) => {
                    let chosen = members.iter().find(|member| member.remote.id == lease.remote().id).unwrap();
                    assert!(untried(chosen), "seed {seed}: one that was tried");
                    let most = chosen.max_sessions.unwrap_or(u32::MAX);
                    assert!(lease.sessions() <= most, "seed {seed}: one that was full");
                    assert_eq!(Some((!usable(chosen), chosen.is_backup)), best, "seed {seed}: there was a better one");
                    assert!(usable(chosen) || !waits, "seed {seed}: it is out, and others had only no room");
                    held.push(lease);
                }
                Choice::Full => assert!(is_left && best.is_none_or(|(is_out, _)| is_out && waits), "seed {seed}"),
                Choice::Exhausted => assert!(!is_left, "seed {seed}"),
                Choice::NoneYet => panic!("there are some"),
            }
        }
    }
}

#[test]
fn a_session_tries_each_remote_once_until_there_is_none() {
    for balance in METHODS {
        for bad in 0..5 {
            let pool = pool(balance, &[1, 2, 3, 4]);
            remotes(&pool)[..bad.min(4)].iter().for_each(|remote| take_out(&pool, remote, 0));
            if bad % 2 == 0 {
                renew(&pool, 0);
            }
            let mut tried = Vec::new();
            while let Choice::Remote(lease) = choose(&pool, 1, &tried, 1) {
                assert!(!tried.contains(&lease.remote().id));
                tried.push(lease.remote().id);
            }
            assert_eq!(tried.len(), 4, "{balance:?} {bad}");
            assert!(matches!(choose(&pool, 1, &tried, 1), Choice::Exhausted));
        }
    }
}

#[test]
fn a_pool_without_a_remote_says_so_and_one_with_one_has_no_choice() {
    for balance in METHODS {
        assert!(matches!(choose(&pool(balance, &[]), 1, &[], 0), Choice::NoneYet));
        let single = pool(balance, &[9]);
        let lease = lease(&single, 1, 0);
        assert!(matches!(choose(&single, 1, &[lease.remote().id], 0), Choice::Exhausted));
        let limited = vec![Member { max_sessions: Some(1), ..weighted(1, 1) }];
        let limited = Pool::new(&settings(balance), limited, 0, 0);
        let first = choose(&limited, 1, &[], 0);
        assert!(matches!(first, Choice::Remote(_)));
        assert!(matches!(choose(&limited, 1, &[], 0), Choice::Full));
        drop(first);
        assert!(matches!(choose(&limited, 1, &[], 0), Choice::Remote(_)));
    }
}

#[test]
fn no_remote_has_more_sessions_than_it_may_on_whichever_threads() {
    for balance in METHODS {
        let limited = |number| Member { max_sessions: Some(5), ..weighted(number, 1 + number as u16) };
        let pool = Pool::new(&settings(balance), (0..4).map(limited).collect(), 1, 0);
        assert_eq!(pool.set().room(), Some(20));
        let got = Mutex::new(Vec::new());
        let client = |thread: u32| {
            for n in 0..200 {
                match choose(&pool, thread * 1000 + n, &[], 0) {
                    Choice::Remote(lease) => got.lock().unwrap().push(lease),
                    Choice::Full => (),
                    other => panic!("{other:?}"),
                }
                if n % 3 == 0 {
                    got.lock().unwrap().pop();
                }
                assert!(remotes(&pool).iter().all(|remote| remote.sessions() <= 5));
            }
        };
        thread::scope(|scope| {
            (0..4).for_each(|thread| {
                drop(scope.spawn({
                    let client = &client;
                    move || client(thread)
                }))
            })
        });
        while let Choice::Remote(lease) = choose(&pool, 0, &[], 0) {
            got.lock().unwrap().push(lease);
        }
        assert_eq!(counts(&pool, &*got.lock().unwrap()), [5; 4], "{balance:?}");
        assert_eq!(pool.set().room(), Some(0));
        got.lock().unwrap().clear();
        assert!(remotes(&pool).iter().all(|remote| remote.sessions() == 0));
    }
}

#[test]
fn a_lease_after_so_many_sessions_is_given_only_if_there_are_so_many_and_there_is_room() {
    let member = Member { max_sessions: Some(2), ..weighted(1, 1) };
    let first = Lease::after(&member, 0).unwrap();
    assert!(Lease::after(&member, 0).is_none());
    let _second = Lease::after(&member, 1).unwrap();
    assert!(Lease::after(&member, 2).is_none() && Lease::new(&member).is_none());
    drop(first);
    assert!(Lease::after(&member, 1).is_some());
    assert_eq!((member.remote.sessions(), member.remote.sessions_ever()), (1, 3));
}

#[test]
fn room_is_what_those_in_use_have() {
    let limit = |max_sessions, is_backup| Member { max_sessions, is_backup, ..weighted(1, 1) };
    let room = |members| Pool::new(&settings(Balance::RoundRobin), members, 0, 0).set().room();
    assert_eq!(room(vec![]), None);
    assert_eq!(room(vec![limit(Some(2), false), limit(Some(3), true)]), Some(5));
    assert_eq!(room(vec![limit(Some(2), false), limit(None, true)]), None);
    let pool = Pool::new(&settings(Balance::RoundRobin), vec![limit(Some(2), false), limit(None, false)], 0, 0);
    take_out(&pool, &remotes(&pool)[1], 0);
    assert_eq!(pool.set().room(), Some(2), "one that is out has no room");
    let _both = [lease(&pool, 1, 0), lease(&pool, 1, 0)];
    assert_eq!(pool.set().room(), Some(0));
    assert!(matches!(choose(&pool, 1, &[], 0), Choice::Full), "it waits rather than try one that is out");
    pool.connected(&remotes(&pool)[1], 0);
    assert_eq!(pool.set().room(), None);
}

#[test]
fn a_session_that_waits_has_the_next_place() {
    let limit = |number| Member { max_sessions: Some(1), ..weighted(number, 1) };
    let pool = Arc::new(Pool::new(&settings(Balance::RoundRobin), vec![limit(0), limit(1)], 0, 0));
    let [one, other] = &remotes(&pool)[..] else { panic!() };
    let is_full = || pool.reserve(|| 0).is_err();
    let session = lease(&pool, 1, 0);
    assert_eq!(session.remote().id, one.id);
    // The other one has room, which is not for a session that has tried it, so others may have it.
    assert!(pool.wait(&[other.id], None).is_none() && !is_full());
    take_out(&pool, other, 0);
    let waiting = pool.wait(&[other.id], None);
    assert!(is_full());
    drop(session);
    assert!(is_full(), "there is room, but for the one that waits");
    let waiters = Arc::new(Waiters::new(1, Arc::default()));
    waiters.add(0);
    assert_eq!(pool.full_until(&waiters, 0), Some(10_000));
    let waiting = pool.wait(&[other.id], waiting);
    assert!(waiters.is_waiting(0), "it waits as before");
    drop(waiting);
    assert!(!waiters.is_waiting(0) && !is_full());
}

#[test]
fn of_those_that_are_out_the_last_one_is_tried_first() {
    for balance in METHODS {
        let pool = pool(balance, &[1, 1, 1]);
        let [one, two, last] = &remotes(&pool)[..] else { panic!() };
        [one, two].into_iter().for_each(|remote| take_out(&pool, remote, 0));
        renew(&pool, 0);
        take_out(&pool, last, 0);
        let all_get_it = || (0..50).all(|client| lease(&pool, client, 0).remote().id == last.id);
        assert!(all_get_it(), "{balance:?}: before the set is made anew");
        renew(&pool, 0);
        assert!(all_get_it(), "{balance:?}");
    }
}

#[test]
fn one_that_is_out_is_tried_although_those_in_use_are_full() {
    for is_backup in [false, true] {
        let limit = |number, is_backup| Member { max_sessions: Some(2), is_backup, ..weighted(number, 1) };
        let members = vec![limit(0, false), limit(1, is_backup)];
        let pool = Arc::new(Pool::new(&settings(Balance::RoundRobin), members, 0, 0));
        let [_, other] = &remotes(&pool)[..] else { panic!() };
        take_out(&pool, other, 0);
        renew(&pool, 0);
        let _both = [lease(&pool, 1, 0), lease(&pool, 1, 0)];
        let waiters = Arc::new(Waiters::new(1, Arc::default()));
        let is_full = |now| pool.reserve(|| now).is_err();
        assert!(is_full(9_999) && matches!(choose(&pool, 1, &[], 9_999), Choice::Full));
        assert_eq!(pool.full_until(&waiters, 9_999), Some(10_000));
        // Then one client is let in, and not two.
        assert_eq!(pool.full_until(&waiters, 10_000), None);
        let place = pool.reserve(|| 10_000).unwrap().unwrap();
        assert!(is_full(10_000));
        assert_eq!(pool.full_until(&waiters, 10_000), Some(u64::MAX), "who is on the way tells");
        let trial = lease(&pool, 1, 10_000);
        assert_eq!(trial.remote().id, other.id);
        drop(place);
        assert!(is_full(10_000) && matches!(choose(&pool, 1, &[], 10_000), Choice::Full));
        assert_eq!(pool.full_until(&waiters, 10_000), Some(20_000));
        pool.failed(other, &"refused", 10_100);
        drop(trial);
        assert_eq!(pool.full_until(&waiters, 20_000), Some(30_100));
    }
}

#[test]
fn backups_have_sessions_only_when_no_other_is_usable_or_has_room() {
    for balance in METHODS {
        let backup = Member { is_backup: true, ..weighted(2, 100) };
        let pool = Pool::new(&settings(balance), [members(&[1, 1]), vec![backup]].concat(), 0, 0);
        let [one, two, backup] = &remotes(&pool)[..] else { panic!() };
        let all_go_to = |remotes: &[&Arc<Remote>]| {
            let leases: Vec<_> = (0..50).map(|client| lease(&pool, client, 0)).collect();
            leases.iter().all(|lease| remotes.iter().any(|remote| remote.id == lease.remote().id))
        };
        assert!(all_go_to(&[one, two]));
        take_out(&pool, one, 0);
        assert!(all_go_to(&[two]));
        take_out(&pool, two, 0);
        assert!(all_go_to(&[backup]), "{balance:?}: before the set is made anew");
        renew(&pool, 0);
        assert!(all_go_to(&[backup]));
        pool.connected(two, 0);
        renew(&pool, 0);
        assert!(all_go_to(&[two]));
    }
}

/// Threads choose, hold and report while remotes come and go and the set is replaced all the time.
#[test]
fn nothing_is_lost_while_the_set_is_replaced() {
    for balance in METHODS {
        let member = |number: usize| Member {
            is_backup: number == 4,
            max_sessions: (number % 2 == 1).then_some(50),
            ..weighted(number, 1 + number as u16)
        };
        let all: Vec<Member> = (0..5).map(member).collect();
        let pool = Pool::new(&settings(balance), all.clone(), 3, 0);
        let time = AtomicU64::new(0);
        let sessions = |seed: u64| {
            let (mut dice, mut held) = (Dice(seed << 32), Vec::new());
            for _ in 0..5000 {
                let now = time.fetch_add(10, Relaxed);
                let mut tried = Vec::new();
                loop {
                    match choose(&pool, dice.below(1000) as u32, &tried, now) {
                        // Each second one cannot be connected to, so that some are always out.
                        Choice::Remote(lease) if dice.below(2) == 0 => {
                            assert!(!tried.contains(&lease.remote().id));
                            pool.failed(lease.remote(), &"refused", now);
                            tried.push(lease.remote().id);
                        }
                        Choice::Remote(lease) => {
                            assert!(!tried.contains(&lease.remote().id));
                            pool.connected(lease.remote(), now);
                            break held.push(lease);
                        }
                        // Three or four are there all the time.
                        Choice::Exhausted => break assert!(tried.len() >= 4),
                        Choice::Full => break,
                        Choice::NoneYet => panic!("there are some all the time"),
                    }
                }
                if held.len() > 20 {
                    held.swap_remove(dice.below(20) as usize);
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|seed| {
                    scope.spawn({
                        let sessions = &sessions;
                        move || sessions(seed)
                    })
                })
                .collect();
            let mut dice = Dice(99);
            while !threads.iter().all(|thread| thread.is_finished()) {
                let mut some = all.clone();
                some.remove(dice.below(5) as usize);
                some.rotate_left(dice.below(4) as usize);
                let members = if dice.below(2) == 0 { some } else { all.clone() };
                pool.replace(members, time.load(Relaxed));
            }
        });
        assert!(all.iter().all(|member| member.remote.sessions() == 0), "{balance:?}");
    }
}
