//! A reload that changes the remotes of a service while it has sessions.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::servers::{Server, client_of, clients, goes_on, pause, shares};
use crate::support::{End, Kind, Line, Proxy, SetOnDrop, TempDir};

struct Service {
    proxy: Proxy,
    path: PathBuf,
    _directory: TempDir,
}

impl Service {
    fn start(remotes: &[String], more: &str) -> Service {
        let directory = TempDir::new();
        let path = directory.file("cproxy.toml", &text(remotes, more));
        let mut proxy = Proxy::on(&[]).args(&["-t", "2", "-c", path.to_str().expect("a path")]).start();
        proxy.listeners = vec![proxy.log.line("listening on ").listener()];
        Service { proxy, path, _directory: directory }
    }

    fn reload(&self, remotes: &[String], more: &str) {
        let before = results(&self.proxy.log.so_far());
        fs::write(&self.path, text(remotes, more)).expect("the file");
        self.proxy.signal(libc::SIGHUP);
        self.proxy.log.wait("a reload", |lines| (results(lines) > before).then_some(()));
    }
}

fn text(remotes: &[String], more: &str) -> String {
    format!("[service.web]\nlisten = \"127.0.0.1:0\"\nremote = {remotes:?}\n{more}\n")
}

fn results(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.message == "reload: services added: 0, changed: 1, removed: 0").count()
}

fn weighted(servers: &[Server], weights: &[u16]) -> Vec<String> {
    servers.iter().zip(weights).map(|(server, weight)| server.with(&format!(",weight={weight}"))).collect()
}

#[test]
fn weights_change_and_sessions_go_on() {
    let servers = Server::some(Kind::V4, 3);
    let service = Service::start(&weighted(&servers, &[1, 1, 1]), "");
    let (mut held, numbers) = clients(&service.proxy, 6);
    assert_eq!(shares(&numbers), [2, 2, 2]);
    for (weights, expected) in [([5, 1, 1], [10, 2, 2]), ([1, 1, 5], [2, 2, 10]), ([3, 2, 2], [6, 4, 4])] {
        service.reload(&weighted(&servers, &weights), "");
        let (more, numbers) = clients(&service.proxy, 14);
        assert_eq!(shares(&numbers), expected, "{weights:?}");
        held.extend(more);
        held.iter_mut().for_each(goes_on);
    }
}

#[test]
fn remotes_come_and_go_and_sessions_go_on() {
    let servers = Server::some(Kind::V4, 4);
    let service = Service::start(&weighted(&servers[..2], &[1, 1]), "");
    let (mut held, numbers) = clients(&service.proxy, 4);
    assert_eq!(shares(&numbers), [2, 2, 0, 0]);
    // Two new ones, one of which has taken the first place; and those that are gone get nobody.
    for (from, expected) in [(0..4, [3, 3, 3, 3]), (2..4, [0, 0, 6, 6]), (1..2, [0, 12, 0, 0])] {
        let mut remotes = weighted(&servers[from.clone()], &[1, 1, 1, 1]);
        remotes.reverse();
        service.reload(&remotes, "");
        let (more, numbers) = clients(&service.proxy, 12);
        assert_eq!(shares(&numbers), expected, "{from:?}");
        held.extend(more);
        held.iter_mut().for_each(goes_on);
    }
}

/// A remote that stays is the same one: its sessions are counted on.
#[test]
fn sessions_from_before_are_counted() {
    let servers = Server::some(Kind::V4, 3);
    let balance = "balance = \"least-sessions\"";
    let service = Service::start(&weighted(&servers[..2], &[2, 1]), balance);
    let (mut held, numbers) = clients(&service.proxy, 9);
    assert_eq!(shares(&numbers), [6, 3, 0]);
    // With one weight for all, there is something to make up for.
    service.reload(&weighted(&servers, &[1, 1, 1]), balance);
    let (more, numbers) = clients(&service.proxy, 9);
    assert_eq!(shares(&numbers), [0, 3, 6]);
    held.extend(more);
    held.iter_mut().for_each(goes_on);
}

/// What sessions have found out is known afterwards, too.
#[test]
fn one_that_is_out_stays_out() {
    let servers = [Server::closed(Kind::V4, 0), Server::new(Kind::V4, 1), Server::new(Kind::V4, 2)];
    let rules = "max-fails = 1\nfail-timeout = \"1h\"";
    let service = Service::start(&weighted(&servers[..2], &[1, 1]), rules);
    drop(clients(&service.proxy, 4));
    service.proxy.log.line(&format!("service web: remote {} is out: ", servers[0].address));
    // Lines of different threads may be out of order: what each client has tried is there when it says where it is.
    service.proxy.log.lines("connect complete ", 4);
    let before = servers[0].attempts(&service.proxy.log.so_far());
    service.reload(&weighted(&servers, &[5, 1, 1]), rules);
    let (more, numbers) = clients(&service.proxy, 12);
    assert_eq!(shares(&numbers), [0, 6, 6]);
    drop(more);
    assert_eq!(servers[0].attempts(&service.proxy.stop()), before);
}

/// Clients come all the time, while weights and remotes change: none fails.
#[test]
fn no_client_notices() {
    let servers = Server::some(Kind::V4, 4);
    let remotes = |number: usize| {
        let weights = [1 + number % 7, 1 + number % 3, 5, 2].map(|weight| weight as u16);
        weighted(&servers[number % 3..2 + number % 3], &weights)
    };
    let service = Service::start(&remotes(0), "");
    let listener = &service.proxy.listeners[0];
    let (mut held, _) = clients(&service.proxy, 6);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let (mut client, _) = client_of(listener);
                    goes_on(&mut client);
                    client.finish();
                    assert_eq!(client.end(), End::Eof);
                    pause();
                }
            });
        }
        let _enough = SetOnDrop(&enough);
        for number in 1..=20 {
            service.reload(&remotes(number), ["", "balance = \"random\""][number % 2]);
        }
    });
    held.iter_mut().for_each(goes_on);
    drop(held);
    let lines = service.proxy.stop();
    assert!(lines.iter().all(|line| !line.message.contains("connect failed") && !line.message.contains("reset by")));
}
