//! How sessions are spread over remotes by each method, over all I/O threads together.

use std::thread;

use super::METHODS;
use super::servers::{Server, before, client, clients, shares};
use crate::support::{Kind, Proxy, Setup, Stream, until};

/// The ways in which clients come to two I/O threads.
const THREADS: [&[&str]; 2] = [&["-t", "2"], &["-t", "2", "--reuse-port"]];

fn weighted(servers: &[Server], weights: [u16; 3]) -> Setup {
    let with = |(server, weight): (&Server, u16)| server.with(&format!(",weight={weight}"));
    servers.iter().zip(weights).map(with).fold(Proxy::on(&[Kind::V4]), |setup, remote| setup.args(&["-r", &remote]))
}

#[test]
fn twelve_sessions_on_three_remotes_are_four_on_each() {
    let servers = Server::some(Kind::V4, 3);
    for flags in THREADS {
        for method in ["round-robin", "least-sessions"] {
            let proxy = before(Kind::V4, &servers).args(flags).args(&["--balance", method]).start();
            let (_clients, numbers) = clients(&proxy, 12);
            assert_eq!(shares(&numbers), [4, 4, 4], "{method} {flags:?}");
        }
    }
}

#[test]
fn weights_are_kept_to_exactly_where_they_can_be() {
    let servers = Server::some(Kind::V4, 3);
    for flags in THREADS {
        for method in ["round-robin", "least-sessions"] {
            let proxy = weighted(&servers, [5, 1, 1]).args(flags).args(&["--balance", method]).start();
            let (_clients, numbers) = clients(&proxy, 70);
            assert_eq!(shares(&numbers), [50, 10, 10], "{method} {flags:?}");
        }
    }
}

/// Clients of several threads, which come and go: none of them is counted twice or left out.
#[test]
fn round_robin_is_exact_for_clients_at_the_same_time() {
    let servers = Server::some(Kind::V4, 3);
    for flags in THREADS {
        let proxy = weighted(&servers, [5, 1, 1]).args(flags).start();
        let numbers: Vec<u8> = thread::scope(|scope| {
            let come = || (0..70).map(|_| client(&proxy).1).collect::<Vec<u8>>();
            let threads: Vec<_> = (0..5).map(|_| scope.spawn(come)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("clients")).collect()
        });
        assert_eq!(shares(&numbers), [250, 50, 50], "{flags:?}");
    }
}

#[test]
fn round_robin_takes_turns_smoothly() {
    let servers = Server::some(Kind::V4, 3);
    let proxy = weighted(&servers, [5, 1, 1]).start();
    let numbers: Vec<u8> = (0..14).map(|_| client(&proxy).1).collect();
    assert_eq!(numbers, [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0]);
}

/// The draws are others each time, so the bounds are wide.
#[test]
fn random_keeps_to_weights_nearly() {
    let servers = Server::some(Kind::V4, 3);
    for (weights, expected) in [([1, 1, 1], [70, 70, 70]), ([5, 1, 1], [150, 30, 30])] {
        let proxy = weighted(&servers, weights).args(&["-t", "2", "--balance", "random"]).start();
        let (_clients, numbers) = clients(&proxy, 210);
        let found: [usize; 3] = shares(&numbers);
        let is_near = |(found, expected): (usize, usize)| found.abs_diff(expected) <= 15;
        assert!(found.into_iter().zip(expected).all(is_near), "{weights:?}: {found:?}");
    }
}

/// Where sessions have ended, the next ones go.
#[test]
fn least_sessions_counts_those_that_are_there() {
    let servers = Server::some(Kind::V4, 3);
    let proxy = before(Kind::V4, &servers).args(&["-t", "2", "--balance", "least-sessions"]).start();
    let (held, numbers) = clients(&proxy, 30);
    let (leave, _stay): (Vec<_>, Vec<_>) = held.into_iter().zip(numbers).partition(|(_, number)| *number == 1);
    drop(leave.into_iter().map(|(client, _)| client).collect::<Vec<Stream>>());
    proxy.log.lines("disconnect client to proxy ", 10);
    let (_others, numbers) = clients(&proxy, 10);
    assert_eq!(shares(&numbers), [0, 10, 0]);
}

#[test]
fn a_backup_is_used_only_where_there_is_no_other() {
    for method in METHODS {
        let mut servers = Server::some(Kind::V4, 4);
        let remotes = servers.iter().map(|server| server.with(if server.number < 2 { "" } else { ",backup" }));
        let setup = remotes.fold(Proxy::on(&[Kind::V4]), |setup, remote| setup.args(&["-r", &remote]));
        let flags = ["--balance", method, "--max-fails", "1", "--fail-timeout", "200ms"];
        let proxy = setup.args(&["-t", "2"]).args(&flags).start();
        let is_backup = |number: &u8| *number >= 2;
        assert!(!clients(&proxy, 12).1.iter().any(is_backup), "{method}");
        servers[0].close();
        assert_eq!(shares(&clients(&proxy, 12).1), [0, 12, 0, 0], "{method}");
        servers[1].close();
        assert!(clients(&proxy, 12).1.iter().all(is_backup), "{method}");
        // It is tried again after a while, and then they have had their time.
        servers[0].open();
        until("another one", || (client(&proxy).1 == 0).then_some(()));
        proxy.log.line(&format!("remote {} is up: ", servers[0].address));
        assert_eq!(shares(&clients(&proxy, 12).1), [12, 0, 0, 0], "{method}");
    }
}
