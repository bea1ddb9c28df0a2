//! The client's address decides.

use super::*;

/// The remotes that so many clients have.
fn of_clients(pool: &Pool, clients: u32) -> Vec<usize> {
    (0..clients).map(|client| place(pool, &lease(pool, 0x0a00_0000 + client, 0))).collect()
}

fn shares(of_clients: &[usize], members: usize) -> Vec<f64> {
    let mut counts = vec![0.0; members];
    of_clients.iter().for_each(|&place| counts[place] += members as f64 / of_clients.len() as f64);
    counts
}

fn most(shares: &[f64]) -> f64 {
    shares.iter().copied().fold(0.0, f64::max)
}

#[test]
fn shares_are_even() {
    for (members, limit) in [(3, 1.015), (10, 1.03)] {
        let of_clients = of_clients(&pool(Balance::Source, &vec![1; members]), 40_000);
        assert!(most(&shares(&of_clients, members)) < limit, "{:?}", shares(&of_clients, members));
    }
}

#[test]
fn shares_are_as_the_weights_say() {
    let weights = [1, 2, 3, 10, 100, 256];
    let shares = shares(&of_clients(&pool(Balance::Source, &weights), 100_000), weights.len());
    let total: u16 = weights.iter().sum();
    for (share, weight) in shares.iter().zip(weights) {
        let expected = f64::from(weight) / f64::from(total) * weights.len() as f64;
        assert!((share / expected - 1.0).abs() < 0.15, "{share} and not {expected}");
    }
}

#[test]
fn only_the_clients_of_one_that_is_taken_away_move() {
    for weights in [vec![1; 10], vec![1, 2, 3, 4, 5, 1, 2, 3, 4, 5]] {
        let all = members(&weights);
        let with = Pool::new(&settings(Balance::Source), all.clone(), 0, 0);
        let without = Pool::new(&settings(Balance::Source), [&all[..4], &all[5..]].concat(), 0, 0);
        let (before, after) = (of_clients(&with, 100_000), of_clients(&without, 100_000));
        for (&before, &after) in before.iter().zip(&after) {
            let after = if after >= 4 { after + 1 } else { after };
            assert!(before == 4 || before == after);
        }
        if weights[0] == weights[1] {
            for shares in [shares(&before, 10), shares(&after, 9)] {
                assert!(shares.iter().all(|share| (share - 1.0).abs() < 0.03), "{shares:?}");
            }
        }
    }
}

#[test]
fn one_that_is_out_leaves_its_clients_to_others_and_gets_them_back() {
    let pool = pool(Balance::Source, &[1, 2, 3, 1, 2]);
    let before = of_clients(&pool, 5000);
    let out = remotes(&pool)[2].clone();
    take_out(&pool, &out, 0);
    let at_once = of_clients(&pool, 5000);
    renew(&pool, 0);
    let without = of_clients(&pool, 5000);
    assert!(at_once == without, "before the set is made anew");
    for (&before, &without) in before.iter().zip(&without) {
        assert!(if before == 2 { without != 2 } else { without == before });
    }
    pool.connected(&out, 0);
    renew(&pool, 0);
    assert!(of_clients(&pool, 5000) == before);
}

#[test]
fn the_order_of_the_remotes_and_the_seed_do_not_matter() {
    let all = members(&[1, 2, 3, 1, 2, 7]);
    let mut reversed = all.clone();
    reversed.reverse();
    let one = Pool::new(&settings(Balance::Source), all, 1, 0);
    let other = Pool::new(&settings(Balance::Source), reversed, 2, 0);
    for client in 0..5000 {
        assert_eq!(lease(&one, client, 0).remote().id, lease(&other, client, 0).remote().id);
    }
}

#[test]
fn weights_in_other_numbers_that_say_the_same_change_nothing() {
    let one = of_clients(&pool(Balance::Source, &[1, 2, 3]), 5000);
    assert!(one == of_clients(&pool(Balance::Source, &[50, 100, 150]), 5000));
}

#[test]
fn a_client_has_the_same_remote_each_time_whatever_its_port_or_form() {
    let v4 = ClientKey::of_ip("192.0.2.1".parse().unwrap());
    assert_eq!(v4, ClientKey::of_ip("::ffff:192.0.2.1".parse().unwrap()));
    assert_ne!(v4, ClientKey::of_ip("192.0.2.2".parse().unwrap()));
    let pool = pool(Balance::Source, &[1; 7]);
    let first: Vec<_> = of_clients(&pool, 1000);
    assert!(first == of_clients(&pool, 1000));
}

/// The remotes that other programs come to, by docs/balancing.md. If one of these changes, proxies of different versions
/// no longer agree.
#[test]
fn every_proxy_comes_to_the_same() {
    let member = |(address, weight): (&str, u16)| {
        let at = EndpointAddress::Tcp(address.parse().unwrap());
        Member { weight, ..Member::new(Arc::new(Remote::new(at.to_string(), vec![at]).unwrap())) }
    };
    let weighted = [("10.0.0.1:8080", 1), ("10.0.0.2:8080", 1), ("10.0.0.3:8080", 2), ("[2001:db8::1]:8080", 5)];
    let order = |members: &[(&str, u16)], client: &str| {
        let pool = Pool::new(&settings(Balance::Source), members.iter().copied().map(member).collect(), 0, 0);
        let (mut tried, mut order) = (Vec::new(), Vec::new());
        while let Choice::Remote(lease) = pool.choose(|| Some(ClientKey::of_ip(client.parse().unwrap())), &tried, 0) {
            tried.push(lease.remote().id);
            order.push(place(&pool, &lease) + 1);
        }
        order
    };
    for (client, expected) in [
        ("192.0.2.1", [1, 3, 4, 2]),
        ("192.0.2.2", [4, 1, 2, 3]),
        ("192.0.2.3", [4, 1, 2, 3]),
        ("198.51.100.7", [4, 2, 3, 1]),
        ("2001:db8::7", [2, 4, 3, 1]),
        ("10.0.0.1", [4, 3, 1, 2]),
        ("203.0.113.200", [3, 4, 2, 1]),
    ] {
        assert_eq!(order(&weighted, client), expected, "{client}");
    }
    let equal = weighted[..3].iter().map(|&(address, _)| (address, 1)).collect::<Vec<_>>();
    for (client, expected) in [("192.0.2.1", [1, 3, 2]), ("192.0.2.2", [1, 2, 3]), ("198.51.100.7", [2, 3, 1])] {
        assert_eq!(order(&equal, client), expected, "{client}");
    }
}

/// With so many remotes, what was computed is kept; the same comes out, also for those who try again.
#[test]
fn many_remotes_are_chosen_from_as_few_are() {
    let weights: Vec<u16> = (0..600).map(|n| 1 + n % 3).collect();
    let (all, few) = (pool(Balance::Source, &weights), 100);
    for client in 0..few {
        let first = lease(&all, client, 0);
        assert_eq!(lease(&all, client, 0).remote().id, first.remote().id);
        // Of any 200 that have it among them, it is the best, too.
        let begin = place(&all, &first).saturating_sub(client as usize).min(400);
        let some = all.set().members()[begin..begin + 200].to_vec();
        let some = Pool::new(&settings(Balance::Source), some, 0, 0);
        assert_eq!(lease(&some, client, 0).remote().id, first.remote().id);
        // And the second best is the same with and without it.
        let Choice::Remote(second) = choose(&all, client, &[first.remote().id], 0) else { panic!() };
        let rest = all.set().members().iter().filter(|member| member.remote.id != first.remote().id).cloned().collect();
        let rest = Pool::new(&settings(Balance::Source), rest, 0, 0);
        assert_eq!(lease(&rest, client, 0).remote().id, second.remote().id);
    }
}
