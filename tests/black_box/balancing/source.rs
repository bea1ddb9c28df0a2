//! `--balance source`: the client's address decides.

#![cfg(target_os = "linux")]

use super::servers::{Server, before, client_from, clients, shares};
use crate::support::{Address, Kind, Proxy, until};

const COUNT: u8 = 60;

/// The servers of clients with different addresses.
fn of_all(listener: &Address) -> Vec<u8> {
    (0..COUNT).map(|number| client_from([127, 0, 7, number], listener).1).collect()
}

#[test]
fn a_client_finds_its_remote_again_whichever_proxy_it_comes_to() {
    let servers = Server::some(Kind::V4, 4);
    let flags = ["-t", "2", "--balance", "source"];
    let one = before(Kind::V4, &servers[..3]).args(&flags).start();
    let first = of_all(&one.listeners[0]);
    let each: [usize; 3] = shares(&first);
    assert!(each.iter().all(|&share| share >= 5), "{each:?} of {COUNT}");
    assert_eq!(of_all(&one.listeners[0]), first);

    // The order in which remotes are written says nothing, nor how many threads there are.
    let setup = servers[..3].iter().rev().fold(Proxy::on(&[Kind::V4]), |setup, server| setup.to(&server.address));
    let other = setup.args(&["-t", "1", "--balance", "source"]).start();
    assert_eq!(of_all(&other.listeners[0]), first);

    // A new one takes from the others, and they take nothing from each other.
    let more = before(Kind::V4, &servers).args(&flags).start();
    let then = of_all(&more.listeners[0]);
    assert!(then.iter().zip(&first).all(|(then, first)| then == first || *then == 3), "{first:?} {then:?}");
    assert!(then.contains(&3), "{then:?}");
}

#[test]
fn only_the_clients_of_a_remote_that_is_gone_get_another_one() {
    let mut servers = Server::some(Kind::V4, 3);
    let flags = ["--balance", "source", "--max-fails", "1", "--fail-timeout", "200ms"];
    let proxy = before(Kind::V4, &servers).args(&["-t", "2"]).args(&flags).start();
    let listener = &proxy.listeners[0];
    let first = of_all(listener);
    servers[1].close();
    let then = of_all(listener);
    let moved = |(first, then): (&u8, &u8)| if *first == 1 { *then != 1 } else { then == first };
    assert!(first.iter().zip(&then).all(moved), "{first:?} {then:?}");
    assert_eq!(of_all(listener), then, "those have theirs now");

    servers[1].open();
    let its = first.iter().position(|&number| number == 1).expect("one of its clients") as u8;
    until("its remote", || (client_from([127, 0, 7, its], listener).1 == 1).then_some(()));
    proxy.log.line(&format!("remote {} is up: ", servers[1].address));
    assert_eq!(of_all(listener), first);
}

#[test]
fn clients_without_an_address_take_turns() {
    let servers = Server::some(Kind::V4, 3);
    let proxy = before(Kind::UnixPath, &servers).args(&["-t", "2", "--balance", "source"]).start();
    let (_clients, numbers) = clients(&proxy, 12);
    assert_eq!(shares(&numbers), [4, 4, 4]);
}
