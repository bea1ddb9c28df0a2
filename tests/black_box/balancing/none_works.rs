//! What is tried, and for how long, before a client is reset.

use std::time::{Duration, Instant};

use super::METHODS;
use super::servers::{Server, attempt, before};
use crate::support::{End, Kind, Line, Proxy, Remote, ended, not_before};

/// The addresses that the only session has tried so far, each with its number of times, when the client has been reset.
fn tried(lines: &[Line]) -> Vec<String> {
    let mut tried: Vec<String> = lines.iter().filter_map(attempt).map(str::to_owned).collect();
    tried.sort();
    tried
}

/// How often the program is asked to try, and how often it does.
#[test]
fn as_many_as_are_asked_for_are_tried_and_none_twice() {
    let servers: Vec<Server> = (0..5).map(|number| Server::closed(Kind::V4, number)).collect();
    for method in METHODS {
        for (flags, attempts) in
            [(&[][..], 5), (&["--retries", "0"], 1), (&["--retries", "2"], 3), (&["--retries", "100"], 5)]
        {
            let proxy = before(Kind::V4, &servers).args(&["--balance", method]).args(flags).start();
            assert_eq!(proxy.connect().end(), End::Reset);
            assert_eq!(proxy.end(), ended("connect failed", 0, 0));
            let mut tried = tried(&proxy.stop());
            assert_eq!(tried.len(), attempts, "{method} {flags:?}");
            tried.dedup();
            assert_eq!(tried.len(), attempts, "{method} {flags:?}: one was tried twice");
        }
    }
}

/// Those that are out, and backups too: refusing everybody would be worse.
#[test]
fn all_are_tried_when_all_are_out() {
    for method in METHODS {
        let mut servers: Vec<Server> = (0..4).map(|number| Server::closed(Kind::V4, number)).collect();
        let setup = before(Kind::V4, &servers[..3]).args(&["-r", &servers[3].with(",backup")]);
        let flags = ["--balance", method, "--max-fails", "1", "--fail-timeout", "1h"];
        let proxy = setup.args(&["-t", "2"]).args(&flags).start();
        for number in 1..=5 {
            assert_eq!(proxy.connect().end(), End::Reset);
            proxy.ended(number);
            let lines = proxy.log.so_far();
            let each: Vec<usize> = servers.iter().map(|server| server.attempts(&lines)).collect();
            assert_eq!(each, [number; 4], "{method}");
        }
        // Whichever works again is found at once, although it is to be left alone for an hour.
        for place in [3, 1] {
            servers[place].open();
            let (_, number) = super::servers::client(&proxy);
            assert_eq!(usize::from(number), place, "{method}");
            servers[place].close();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn all_attempts_together_have_a_time() {
    const TIME: Duration = Duration::from_millis(300);
    let (deaf, _waits): (Vec<Remote>, Vec<_>) = (0..3).map(|_| Remote::deaf(Kind::V4)).unzip();
    let all = || deaf.iter().fold(Proxy::on(&[Kind::V4]), |setup, remote| setup.to(&remote.address));
    for (connect_timeout, attempts) in [("1h", 1..=1), ("50ms", 1..=3)] {
        let flags = ["--retry-timeout", "300ms", "--connect-timeout", connect_timeout];
        let proxy = all().args(&flags).start();
        let start = Instant::now();
        let mut client = proxy.connect();
        assert_eq!(client.end(), End::Reset);
        if connect_timeout == "1h" {
            not_before(start, TIME);
        }
        assert_eq!(proxy.end(), ended("connect timeout", 0, 0));
        let tried = tried(&proxy.stop());
        assert!(attempts.contains(&tried.len()), "{connect_timeout}: {tried:?}");
    }
    // Within the time, one after the other has its own.
    let works = Server::new(Kind::V4, 9);
    let flags = ["--retry-timeout", "1h", "--connect-timeout", "50ms"];
    let proxy = all().to(&works.address).args(&flags).start();
    assert_eq!(super::servers::client(&proxy).1, 9);
}
