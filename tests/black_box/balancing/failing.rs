//! Remotes that refuse, end at once, or say nothing: no client fails while another one works.

#[cfg(target_os = "linux")]
use socket2::Socket;
use std::io::Read;
use std::thread;
use std::time::Duration;

use super::METHODS;
use super::servers::{Server, before, client, clients, goes_on, shares};
use crate::support::{End, Kind, Proxy, Remote};

#[test]
fn who_gets_one_that_refuses_gets_another() {
    for kind in Kind::all() {
        for method in METHODS {
            let (refuses, works) = (Server::closed(kind, 0), Server::new(kind, 1));
            let remotes = [refuses, works];
            for flags in [&["--max-fails", "0"][..], &["--max-fails", "2", "--fail-timeout", "1h"]] {
                let proxy = before(Kind::V4, &remotes).args(&["-t", "2", "--balance", method]).args(flags).start();
                let (_clients, numbers) = clients(&proxy, 20);
                assert_eq!(shares(&numbers), [0, 20], "{kind:?} {method}");
                let lines = proxy.log.so_far();
                assert!(!lines.iter().any(|line| line.message.starts_with("disconnect client")), "{kind:?} {method}");
            }
        }
    }
}

/// What the client has said goes to the one that it gets in the end, all of it and once.
#[test]
fn what_the_client_has_said_is_not_lost() {
    let (refuses, works) = (Remote::refusing(Kind::V4), Remote::new(Kind::V4));
    let setup = Proxy::on(&[Kind::V4]).to(&refuses.address).to(&works.address);
    let proxy = setup.args(&["--max-fails", "0"]).start();
    for number in 0..10_u8 {
        let mut client = proxy.connect();
        client.send([number; 1000]);
        client.finish();
        let mut server = works.accept();
        assert_eq!(server.rest(), (vec![number; 1000], End::Eof));
    }
}

/// It could be connected to, so that its clients see what it does; the others are served, and it is not taken out.
#[test]
fn one_that_ends_at_once_has_its_clients_end() {
    for reset in [false, true] {
        let ends = Remote::new(Kind::V4);
        let socket = ends.socket.try_clone().expect("a socket");
        thread::spawn(move || {
            while let Ok((client, _)) = socket.accept() {
                if reset {
                    let _ = client.set_linger(Some(Duration::ZERO));
                }
            }
        });
        let works = Server::new(Kind::V4, 1);
        let setup = Proxy::on(&[Kind::V4]).to(&ends.address).to(&works.address);
        let proxy = setup.args(&["-t", "2", "--max-fails", "1", "--fail-timeout", "1h"]).start();
        let mut served = 0;
        for _ in 0..20 {
            served += usize::from(matches!(proxy.connect().read(&mut [0]), Ok(1)));
        }
        assert_eq!(served, 10, "reset {reset}");
        let lines = proxy.stop();
        assert!(!lines.iter().any(|line| line.thread == "health"), "reset {reset}");
    }
}

/// A check that asks for more than a connection finds it out, and then nobody comes to it.
#[test]
fn one_that_ends_at_once_is_found_out_by_what_it_does_not_say() {
    let ends = Remote::new(Kind::V4);
    let socket = ends.socket.try_clone().expect("a socket");
    thread::spawn(move || while socket.accept().is_ok() {});
    let works = Server::new(Kind::V4, 1);
    for method in METHODS {
        let setup = Proxy::on(&[Kind::V4]).to(&ends.address).to(&works.address);
        let checks = ["--check-interval", "50ms", "--check-timeout", "30s", "--fall", "2"];
        let asks = ["-t", "2", "--balance", method, "--check-expect", "\\x01"];
        let proxy = setup.args(&asks).args(&checks).start();
        proxy.log.line(&format!("remote {} is down: ", ends.address));
        assert_eq!(shares(&clients(&proxy, 12).1), [0, 12], "{method}");
    }
}

/// Its queue is full, so that the system drops what comes.
#[cfg(target_os = "linux")]
#[test]
fn one_that_says_nothing_is_waited_for_once() {
    let ((deaf, _waits), works) = (Remote::deaf(Kind::V4), Server::new(Kind::V4, 1));
    for method in METHODS {
        let setup = Proxy::on(&[Kind::V4]).to(&deaf.address).to(&works.address);
        let flags = ["--connect-timeout", "200ms", "--max-fails", "1", "--fail-timeout", "1h"];
        let proxy = setup.args(&["-t", "2", "--balance", method]).args(&flags).start();
        for _ in 0..10 {
            assert_eq!(client(&proxy).1, 1, "{method}");
        }
        let lines = proxy.stop();
        let attempts = lines.iter().filter(|line| line.message.starts_with("connect starting ")).count();
        assert!(attempts <= 11, "{method}: {attempts} attempts for 10 clients");
    }
}

/// A Unix socket whose queue is full says so at once.
#[cfg(target_os = "linux")]
#[test]
fn one_with_a_full_queue_is_not_waited_for() {
    let busy = Remote::with_backlog(Kind::UnixPath, 0);
    let mut waits: Vec<Socket> = Vec::new();
    loop {
        let socket = busy.address.socket().expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        if socket.connect(&busy.address.socket_address()).is_err() {
            break;
        }
        waits.push(socket);
    }
    let works = Server::new(Kind::UnixPath, 1);
    for method in METHODS {
        let setup = Proxy::on(&[Kind::V4]).to(&busy.address).to(&works.address);
        let proxy = setup.args(&["-t", "2", "--balance", method, "--connect-timeout", "1h"]).start();
        assert_eq!(shares(&clients(&proxy, 12).1), [0, 12], "{method}");
    }
}

/// Remotes that close and open again while sessions are on them, all but one at a time.
#[test]
fn remotes_come_and_go_and_no_client_fails() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for method in METHODS {
            let mut servers = Server::some(kind, 3);
            let flags = ["--balance", method, "--max-fails", "2", "--fail-timeout", "20ms"];
            let proxy = before(Kind::V4, &servers).args(&["-t", "2"]).args(&flags).start();
            let mut held = Vec::new();
            for turn in 0..9 {
                let works = turn % 3;
                // Only this one is open.
                servers[works].open_again();
                (0..3).filter(|other| *other != works).for_each(|other| servers[other].close());
                let (mut clients, numbers) = clients(&proxy, 12);
                let mut expected = [0; 3];
                expected[works] = 12;
                assert_eq!(shares(&numbers), expected, "{kind:?} {method}, turn {turn}");
                held.push(clients.swap_remove(0));
            }
            held.iter_mut().for_each(goes_on);
        }
    }
}
