//! Shares.

use super::*;

#[test]
fn round_robin_is_smooth() {
    let pool = pool(Balance::RoundRobin, &[5, 1, 1]);
    let order: Vec<_> = (0..14).map(|_| place(&pool, &lease(&pool, 0, 0))).collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

#[test]
fn round_robin_is_exact_over_all_threads() {
    let three = pool(Balance::RoundRobin, &[1, 1, 1]);
    assert_eq!(counts(&three, &on_threads(&three, 4, 3)), [4, 4, 4]);
    let weighted = pool(Balance::RoundRobin, &[5, 1, 1]);
    assert_eq!(counts(&weighted, &on_threads(&weighted, 7, 1000)), [5000, 1000, 1000]);
}

#[test]
fn turns_go_on_when_the_set_is_replaced() {
    let pool = pool(Balance::RoundRobin, &[1, 1, 1]);
    let order: Vec<_> = (0..9)
        .map(|_| {
            renew(&pool, 0);
            place(&pool, &lease(&pool, 0, 0))
        })
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
}

#[test]
fn two_backups_have_their_turns_before_the_set_is_made_anew() {
    let backup = |number| Member { is_backup: true, ..weighted(number, 1) };
    let pool = Pool::new(&settings(Balance::RoundRobin), vec![weighted(0, 1), backup(1), backup(2)], 0, 0);
    take_out(&pool, &remotes(&pool)[0], 0);
    let leases: Vec<_> = (0..10).map(|_| lease(&pool, 0, 0)).collect();
    assert_eq!(counts(&pool, &leases), [0, 5, 5]);
}

#[test]
fn one_that_is_out_leaves_its_turns_to_all_others() {
    let pool = pool(Balance::RoundRobin, &[1, 1, 1, 1]);
    take_out(&pool, &remotes(&pool)[1], 0);
    assert_eq!(counts(&pool, &on_threads(&pool, 4, 300)), [400, 0, 400, 400], "before the set is made anew");
    renew(&pool, 0);
    assert_eq!(counts(&pool, &on_threads(&pool, 4, 300)), [400, 0, 400, 400]);
}

#[test]
fn least_sessions_is_exact_over_all_threads() {
    let three = pool(Balance::LeastSessions, &[1, 1, 1]);
    assert_eq!(counts(&three, &on_threads(&three, 4, 3)), [4, 4, 4]);
    let weighted = pool(Balance::LeastSessions, &[5, 1, 1]);
    assert_eq!(counts(&weighted, &on_threads(&weighted, 7, 1000)), [5000, 1000, 1000]);
}

#[test]
fn least_sessions_fills_up_who_has_fewer() {
    let pool = pool(Balance::LeastSessions, &[1, 1, 1]);
    let mut leases: Vec<_> = (0..30).map(|_| lease(&pool, 0, 0)).collect();
    leases.retain(|lease| place(&pool, lease) != 1);
    leases.extend((0..10).map(|_| lease(&pool, 0, 0)));
    assert_eq!(counts(&pool, &leases), [10, 10, 10]);
}

#[test]
fn of_equals_each_has_its_turn() {
    let pool = pool(Balance::LeastSessions, &[1, 1, 1]);
    let _held = lease(&pool, 0, 0);
    // Each of the others ends at once, so both have none whenever one is chosen.
    let order: Vec<_> = (0..6).map(|_| place(&pool, &lease(&pool, 0, 0))).collect();
    assert_eq!(order, [1, 2, 1, 2, 1, 2]);
}

#[test]
fn random_keeps_to_the_weights() {
    let share = |counts: Vec<u32>| {
        let deviation = |(count, expected): (u32, f64)| (f64::from(count) / expected - 1.0).abs();
        counts.into_iter().zip([5000.0, 1000.0, 1000.0]).map(deviation).fold(0.0, f64::max)
    };
    for seed in 0..5 {
        let pool = Pool::new(&settings(Balance::Random), members(&[5, 1, 1]), seed, 0);
        let held = on_threads(&pool, 2, 3500);
        assert!(share(counts(&pool, &held)) < 0.03, "held: {:?}", counts(&pool, &held));
    }
    // If none has any, the weights alone decide.
    let pool = pool(Balance::Random, &[5, 1, 1]);
    let mut counts = vec![0; 3];
    (0..70_000).for_each(|_| counts[place(&pool, &lease(&pool, 0, 0))] += 1);
    let counts = counts.into_iter().map(|count: u32| count / 10).collect();
    assert!(share(counts) < 0.05);
}

#[test]
fn random_is_better_than_one_draw() {
    let (pool, mut dice) = (pool(Balance::Random, &[1; 100]), Dice(1));
    let held: Vec<_> = (0..10_000).map(|_| lease(&pool, 0, 0)).collect();
    let mut drawn = vec![0; 100];
    (0..10_000).for_each(|_| drawn[dice.below(100) as usize] += 1);
    let most = |counts: Vec<u32>| counts.into_iter().max().unwrap();
    assert!(most(counts(&pool, &held)) < 105, "of a mean of 100");
    assert!(most(drawn) > 115);
}

#[test]
fn random_draws_of_those_that_may() {
    let pool = pool(Balance::Random, &[200, 1, 3]);
    let tried = [remotes(&pool)[0].id];
    let mut counts = [0; 3];
    for _ in 0..4000 {
        let Choice::Remote(lease) = choose(&pool, 0, &tried, 0) else { panic!() };
        counts[place(&pool, &lease)] += 1;
    }
    assert!(counts[0] == 0 && (900..1100).contains(&counts[1]), "{counts:?}");
}

#[test]
fn a_client_without_an_address_has_its_turn() {
    let pool = pool(Balance::Source, &[2, 1]);
    let leases: Vec<_> = (0..30).map(|_| pool.choose(|| None, &[], 0)).collect();
    let leases = leases.iter().map(|choice| match choice {
        Choice::Remote(lease) => lease,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts(&pool, leases), [20, 10]);
}

#[test]
fn only_source_asks_who_the_client_is() {
    for balance in [Balance::RoundRobin, Balance::LeastSessions, Balance::Random] {
        let pool = pool(balance, &[1, 1]);
        assert!(matches!(pool.choose(|| panic!("it costs a system call"), &[], 0), Choice::Remote(_)));
    }
}

#[test]
fn one_that_came_back_gets_its_share_slowly() {
    let minute = std::time::Duration::from_secs(60);
    for balance in METHODS {
        let settings = PoolSettings { slow_start: Some(minute), ..settings(balance) };
        let pool = Pool::new(&settings, members(&[2, 2]), 3, 0);
        let one = remotes(&pool)[0].clone();
        assert_eq!(pool.set().next_step(), None, "none grows at the start");
        take_out(&pool, &one, 1000);
        renew(&pool, 1000);
        pool.connected(&one, 5000);
        let (mut now, mut shares, mut steps) = (5000, Vec::new(), 0);
        renew(&pool, now);
        loop {
            let held: Vec<_> = (0..3200).map(|client| lease(&pool, client * 7919, now)).collect();
            shares.push(counts(&pool, &held)[0]);
            let Some(next) = pool.set().next_step() else { break };
            assert!(next > now && next <= 65_000);
            (now, steps) = (next, steps + 1);
            renew(&pool, now);
        }
        assert_eq!((now, steps), (65_000, 16));
        let tolerance = if balance == Balance::Source { 120 } else { 40 };
        for (step, share) in shares.into_iter().enumerate() {
            let weight = (2 * step).max(1) as u32;
            let expected = 3200 * weight / (weight + 32);
            assert!(share.abs_diff(expected) < tolerance, "{balance:?} step {step}: {share} and not {expected}");
        }
    }
}

#[test]
fn one_that_appears_later_grows_and_without_slow_start_none_does() {
    let (early, late) = (weighted(0, 1), weighted(1, 1));
    late.remote.appeared(100);
    let none = Policy::new(&settings(Balance::RoundRobin));
    let slow = Policy { slow_start: Some(160), ..none };
    let both = vec![early, late];
    assert_eq!(Set::new(both.clone(), &none, 100).next_step(), None);
    assert_eq!(Set::new(both.clone(), &slow, 100).next_step(), Some(110));
    assert_eq!(Set::new(both.clone(), &slow, 105).next_step(), Some(110));
    assert_eq!(Set::new(both.clone(), &slow, 110).next_step(), Some(120));
    assert_eq!(Set::new(both, &slow, 260).next_step(), None);
}
