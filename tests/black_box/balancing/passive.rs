//! `--max-fails` and `--fail-timeout`: what sessions find out about remotes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::METHODS;
use super::servers::{Server, before, client, clients, pause, shares};
use crate::support::{Kind, not_before, until};

#[test]
fn after_so_many_failures_nobody_tries_it() {
    for method in ["round-robin", "least-sessions", "random"] {
        let servers = [Server::closed(Kind::V4, 0), Server::new(Kind::V4, 1), Server::new(Kind::V4, 2)];
        let flags = ["--balance", method, "--max-fails", "4", "--fail-timeout", "1h"];
        let proxy = before(Kind::V4, &servers).args(&["-t", "2"]).args(&flags).start();
        until("the last failure", || {
            assert_ne!(client(&proxy).1, 0);
            (servers[0].attempts(&proxy.log.so_far()) >= 4).then_some(())
        });
        proxy.log.line(&format!("remote {} is out: Connection refused; ", servers[0].address));
        assert_eq!(clients(&proxy, 40).1.len(), 40);
        let lines = proxy.stop();
        assert_eq!(servers[0].attempts(&lines), 4, "{method}");
        assert_eq!(lines.iter().filter(|line| line.thread == "health").count(), 1, "{method}: one line");
    }
}

/// After that time one session tries it, however many there are, and each time the wait is twice as long.
#[test]
fn one_session_tries_it_again_after_a_while() {
    const TIME: Duration = Duration::from_millis(200);
    let mut servers = [Server::closed(Kind::V4, 0), Server::new(Kind::V4, 1)];
    let proxy = before(Kind::V4, &servers).args(&["-t", "2", "--max-fails", "2", "--fail-timeout", "200ms"]).start();
    let attempts = |servers: &[Server]| servers[0].attempts(&proxy.log.so_far());
    let start = Instant::now();
    let out = format!("remote {} is out: ", servers[0].address);
    // On a slow machine two failures may be too far apart to count together.
    let mut clients_so_far = 0;
    until("failures that count together", || {
        assert_eq!(client(&proxy).1, 1);
        clients_so_far += 1;
        proxy.log.so_far().iter().any(|line| line.message.starts_with(&out)).then_some(())
    });
    // Lines of different threads may be out of order: what each client has tried is there when it says where it is.
    proxy.log.lines("connect complete ", clients_so_far);
    let failures = attempts(&servers);
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    assert_eq!(client(&proxy).1, 1);
                    pause();
                }
            });
        }
        let _enough = crate::support::SetOnDrop(&enough);
        // With the wait before the first trial, these are 1, 3 and 7 of those times.
        for trials in 1..=3 {
            let seen = until("a trial", || Some(attempts(&servers)).filter(|&attempts| attempts >= failures + trials));
            not_before(start, TIME * ((1 << (seen - failures)) - 1));
        }
    });
    servers[0].open();
    until("a session on it", || (client(&proxy).1 == 0).then_some(()));
    proxy.log.line(&format!("remote {} is up: a session could connect; ", servers[0].address));
    assert_eq!(shares(&clients(&proxy, 12).1), [6, 6]);
    let lines = proxy.stop();
    assert_eq!(lines.iter().filter(|line| line.thread == "health").count(), 2, "out and up, and no line for trials");
}

/// Failures that lie further apart are not counted together, and one that works in between makes up for them.
#[test]
fn a_success_makes_up_for_failures() {
    for method in METHODS {
        let mut servers = Server::some(Kind::V4, 2);
        let flags = ["--balance", method, "--max-fails", "2", "--fail-timeout", "1h"];
        let setup = before(Kind::V4, &servers[..1]).args(&["-r", &servers[1].with(",backup")]);
        let proxy = setup.args(&flags).start();
        for _ in 0..5 {
            assert_eq!(client(&proxy).1, 0, "{method}");
            servers[0].close();
            assert_eq!(client(&proxy).1, 1, "{method}");
            servers[0].open();
        }
        assert!(!proxy.stop().iter().any(|line| line.thread == "health"), "{method}");
    }
}
