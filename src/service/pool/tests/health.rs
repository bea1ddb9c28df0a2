//! Who is out, and how it comes back.

use super::*;

/// A pool that writes down what the keeper is told.
fn observed(weights: &[u16]) -> (Pool, Arc<Mutex<Vec<String>>>) {
    let (pool, told) = (pool(Balance::RoundRobin, weights), Arc::new(Mutex::new(Vec::new())));
    let tell = told.clone();
    let ids: Vec<_> = remotes(&pool).iter().map(|remote| remote.id).collect();
    let number = move |remote: &Arc<Remote>| ids.iter().position(|&id| id == remote.id).unwrap();
    pool.set_keeper(Box::new(move |event| {
        tell.lock().unwrap().push(match event {
            Event::Out(remote, reason) => format!("{} out: {reason}", number(&remote)),
            Event::In(remote) => format!("{} in", number(&remote)),
        });
    }));
    (pool, told)
}

fn chosen(pool: &Pool, now: u64) -> usize {
    place(pool, &lease(pool, 0, now))
}

#[test]
fn three_failures_take_a_remote_out_and_one_session_brings_it_back() {
    let (pool, told) = observed(&[1, 1]);
    let one = remotes(&pool)[0].clone();
    (0..2).for_each(|_| pool.failed(&one, &"refused", 100));
    assert_eq!((one.state(), one.since()), (State::Up, 0));
    pool.failed(&one, &"timeout", 200);
    assert_eq!((one.state(), one.since(), one.failures_ever()), (State::Out, 200, 3));
    assert_eq!(one.why().unwrap().as_str(), "timeout");
    for is_renewed in [false, true] {
        if is_renewed {
            renew(&pool, 300);
        }
        assert!((0..20).all(|_| chosen(&pool, 10_199) == 1));
    }
    // One session tries it.
    assert_eq!((0..20).filter(|_| chosen(&pool, 10_200) == 0).count(), 1);
    assert_eq!(one.state(), State::Trying);
    pool.connected(&one, 10_300);
    assert_eq!((one.state(), one.since(), one.up_since()), (State::Up, 10_300, Some(10_300)));
    renew(&pool, 10_300);
    assert_eq!((0..20).filter(|_| chosen(&pool, 10_300) == 0).count(), 10);
    assert_eq!(*told.lock().unwrap(), ["0 out: timeout", "0 in"]);
}

#[test]
fn a_connection_in_between_makes_failures_forgotten() {
    let (pool, told) = observed(&[1, 1]);
    let one = remotes(&pool)[0].clone();
    for now in 0..20 {
        pool.failed(&one, &"refused", now);
        pool.failed(&one, &"refused", now);
        pool.connected(&one, now);
    }
    assert_eq!((one.state(), one.failures_ever(), one.since()), (State::Up, 40, 0));
    assert!(told.lock().unwrap().is_empty());
}

#[test]
fn each_change_is_told_once_from_whichever_thread() {
    let (pool, told) = observed(&[1, 1, 1]);
    let one = remotes(&pool)[0].clone();
    for round in 0..20 {
        let now = round * 1_000_000;
        let all = |each: fn(&Pool, &Arc<Remote>, u64)| {
            thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| each(&pool, &one, now)))));
        };
        all(|pool, one, now| (0..10).for_each(|_| pool.failed(one, &"refused", now)));
        assert_eq!(one.state(), State::Out);
        all(|pool, one, now| pool.connected(one, now));
        assert_eq!(one.state(), State::Up);
    }
    assert_eq!(*told.lock().unwrap(), ["0 out: refused", "0 in"].repeat(20));
    assert_eq!(one.failures_ever(), 800);
}

#[test]
fn one_session_of_all_threads_tries_a_remote() {
    let (pool, _) = observed(&[1, 1, 1]);
    for round in 0..50 {
        let now = round * 1_000_000;
        take_out(&pool, &remotes(&pool)[1], now);
        let tried: usize = thread::scope(|scope| {
            let tries = || (0..50).filter(|_| chosen(&pool, now + 10_000) == 1).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(tries)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(tried, 1);
        pool.connected(&remotes(&pool)[1], now + 10_001);
    }
}

#[test]
fn who_tries_in_vain_is_followed_later_and_who_says_nothing_is_followed_too() {
    let (pool, told) = observed(&[1, 1]);
    let one = remotes(&pool)[0].clone();
    take_out(&pool, &one, 0);
    let tries = |now| (0..10).filter(|_| chosen(&pool, now) == 0).count();
    assert_eq!((tries(9_999), tries(10_000)), (0, 1));
    pool.failed(&one, &"refused", 10_001);
    // Twice as long.
    assert_eq!((tries(30_000), tries(30_001)), (0, 1));
    // Nothing is heard of that one.
    assert_eq!((tries(50_000), tries(50_001)), (0, 1));
    assert_eq!((one.state(), one.since()), (State::Trying, 0));
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[test]
fn a_session_that_has_tried_it_or_finds_it_full_leaves_the_trial_to_another() {
    let limited = Member { max_sessions: Some(1), ..weighted(0, 1) };
    let pool = Pool::new(&settings(Balance::RoundRobin), vec![limited, weighted(1, 1)], 0, 0);
    let one = remotes(&pool)[0].clone();
    let held = lease(&pool, 0, 0);
    assert_eq!(place(&pool, &held), 0);
    take_out(&pool, &one, 0);
    assert_eq!(chosen(&pool, 10_000), 1);
    drop(held);
    assert!(matches!(choose(&pool, 0, &[one.id], 10_000), Choice::Remote(lease) if place(&pool, &lease) == 1));
    assert_eq!(chosen(&pool, 10_000), 0);
}

#[test]
fn the_last_one_that_is_usable_stays_in() {
    for is_backup in [false, true] {
        let last = Member { is_backup, ..weighted(1, 1) };
        let pool = Pool::new(&settings(Balance::RoundRobin), vec![weighted(0, 1), last, weighted(2, 1)], 0, 0);
        let [one, last, two] = &remotes(&pool)[..] else { panic!() };
        take_out(&pool, one, 100);
        two.set_checked(Checked::Down, &"no answer", 200);
        renew(&pool, 200);
        assert!(pool.set().stays_in().is_none());
        take_out(&pool, last, 300);
        renew(&pool, 300);
        assert_eq!(pool.set().stays_in().map(|remote| remote.id), Some(last.id));
        assert_eq!(last.state(), State::Out, "what is known of it is said");
        assert!((0..10).all(|_| chosen(&pool, 300) == 1));
        // What is found out later of others, which were gone before, does not make one of them the last.
        one.set_checked(Checked::Down, &"no answer", 350);
        renew(&pool, 350);
        assert_eq!(pool.set().stays_in().map(|remote| remote.id), Some(last.id));
        // A session that could not connect to it tries the others.
        let Choice::Remote(other) = choose(&pool, 0, &[last.id], 300) else { panic!() };
        assert_ne!(other.remote().id, last.id);
        // As soon as there is another, it is out.
        two.set_checked(Checked::Up, &"answers", 400);
        renew(&pool, 400);
        assert!(pool.set().stays_in().is_none());
        assert!((0..10).all(|_| chosen(&pool, 400) == 2));
    }
}

#[test]
fn if_all_are_out_at_once_all_are_in() {
    let pool = pool(Balance::RoundRobin, &[1, 1, 1]);
    remotes(&pool).iter().for_each(|remote| take_out(&pool, remote, 0));
    let leases: Vec<_> = (0..9).map(|_| lease(&pool, 0, 0)).collect();
    assert_eq!(counts(&pool, &leases), [3, 3, 3], "until the keeper says which was the last");
}

#[test]
fn of_a_remote_without_another_only_failures_are_counted() {
    let (pool, told) = observed(&[1]);
    let one = remotes(&pool)[0].clone();
    (0..100).for_each(|_| pool.failed(&one, &"refused", 5));
    assert_eq!((one.state(), one.failures_ever()), (State::Up, 100));
    assert!(told.lock().unwrap().is_empty());
    // The same of one that is no longer in the set.
    let two = super::pool(Balance::RoundRobin, &[1, 1]);
    (0..100).for_each(|_| two.failed(&one, &"refused", 5));
    assert_eq!((one.state(), one.failures_ever()), (State::Up, 200));
}

#[test]
fn without_max_fails_none_is_ever_out() {
    let settings = PoolSettings { max_fails: 0, ..settings(Balance::RoundRobin) };
    let pool = Pool::new(&settings, members(&[1, 1]), 0, 0);
    (0..100).for_each(|_| pool.failed(&remotes(&pool)[0], &"refused", 5));
    assert_eq!(remotes(&pool)[0].state(), State::Up);
}

#[test]
fn what_checks_have_found_only_checks_change() {
    let (pool, told) = observed(&[1, 1]);
    let one = remotes(&pool)[0].clone();
    assert!(!one.set_checked(Checked::Up, &"answers", 10), "that is nothing new");
    assert!(one.set_checked(Checked::Down, &"no answer", 20));
    assert!(!one.set_checked(Checked::Down, &"no answer", 30));
    assert_eq!((one.state(), one.since(), one.why().unwrap().as_str()), (State::Down, 20, "no answer"));
    take_out(&pool, &one, 40);
    pool.connected(&one, 50);
    assert_eq!((one.state(), one.since()), (State::Down, 20));
    assert!((0..10).all(|_| chosen(&pool, 10_000_000) == 1), "no session tries it");
    assert!(one.set_checked(Checked::Up, &"answers", 60));
    assert_eq!((one.state(), one.up_since()), (State::Up, Some(60)));
    assert!(told.lock().unwrap().is_empty(), "the keeper knows what it has found");
    // They end an outage that sessions have found, and forget no failures of one that is in.
    take_out(&pool, &one, 70);
    assert!(one.set_checked(Checked::Up, &"answers", 80));
    assert_eq!(one.state(), State::Up);
    (0..3).for_each(|_| {
        one.set_checked(Checked::Up, &"answers", 90);
        pool.failed(&one, &"refused", 90);
    });
    assert_eq!(one.state(), State::Out);
}

#[test]
fn a_backup_is_tried_only_if_there_is_need_of_it() {
    let backup = Member { is_backup: true, ..weighted(1, 1) };
    let pool = Pool::new(&settings(Balance::RoundRobin), vec![weighted(0, 1), backup], 0, 0);
    let [primary, backup] = &remotes(&pool)[..] else { panic!() };
    take_out(&pool, backup, 0);
    renew(&pool, 0);
    assert!((0..10).all(|_| chosen(&pool, 100_000) == 0));
    take_out(&pool, primary, 100_000);
    assert_eq!(chosen(&pool, 100_000), 1);
    assert_eq!(backup.state(), State::Trying);
}

#[test]
fn a_remote_that_is_out_stays_so_in_the_pool_of_the_next_service() {
    let pool = pool(Balance::RoundRobin, &[1, 1]);
    let members = pool.set().members().to_vec();
    take_out(&pool, &members[0].remote, 100);
    let next = Pool::new(&settings(Balance::RoundRobin), members, 0, 500);
    assert!((0..10).all(|_| chosen(&next, 10_099) == 1));
    assert_eq!((0..10).filter(|_| chosen(&next, 10_100) == 0).count(), 1);
}

/// A remote that comes and goes: few sessions are sent to it in vain, and it is used again soon.
#[test]
fn one_that_flaps_is_tried_as_the_rules_say() {
    for seed in 0..60 {
        let mut dice = Dice(seed << 32);
        let pool = Pool::new(&settings(METHODS[seed as usize % 4]), members(&[1, 1, 1]), seed, 0);
        let flapping = remotes(&pool)[1].clone();
        let (mut works, mut changed, mut failed) = (true, 0, 0);
        for now in (0..600_000).step_by(50) {
            if dice.below(200) == 0 {
                (works, changed, failed) = (!works, now, 0);
            }
            if dice.below(4) == 0 {
                renew(&pool, now);
            }
            let first = lease(&pool, dice.below(1000) as u32, now);
            if first.remote().id != flapping.id {
                pool.connected(first.remote(), now);
            } else if works {
                pool.connected(&flapping, now);
                assert_eq!(flapping.state(), State::Up);
            } else {
                pool.failed(&flapping, &"refused", now);
                failed += 1;
                // Three until it is out, and then one after 10 s, 30 s, 70 s and so on.
                assert!(failed <= 3 + ((now - changed) / 10_000 + 1).ilog2(), "seed {seed}");
                let Choice::Remote(second) = choose(&pool, 1, &[flapping.id], now) else { panic!() };
                assert_ne!(second.remote().id, flapping.id);
            }
            // There is a session every 50 ms, so there is one that tries it as soon as that is allowed.
            assert!(flapping.retry_at().is_none_or(|retry_at| retry_at >= now), "seed {seed}");
        }
    }
}
