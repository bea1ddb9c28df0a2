//! Few descriptors: nothing is stuck for ever, and all room comes back.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::hand::Hand;
use super::{count, near_to, works};
use crate::hours::zone_at;
use crate::support::system::sleeps;
use crate::support::{Kind, Proxy, Relay, Remote, Stream, until};

/// Opens sessions until one of the proxies is full, and the next one is not served; says how many were.
fn fill(full: &Proxy, near: &Proxy, remote: &Remote) -> Vec<(Stream, Stream)> {
    let mut sessions = Vec::new();
    remote.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let pauses = || count(full, "out of descriptors");
    let before = pauses();
    loop {
        let mut client = near.connect();
        // On a busy machine it may only be slow: neither of them is to have anything to do.
        let served = until("a session, or a proxy that is full", || match remote.socket.accept() {
            Ok((server, _)) => Some(Some(server)),
            Err(_) => (pauses() > before && sleeps(full.pid()) && sleeps(near.pid())).then_some(None),
        });
        let Some(server) = served else { break };
        let mut server = Stream::new(server).expect("a socket");
        client.write_all(b"x").expect("a client");
        server.expect("x");
        sessions.push((client, server));
    }
    remote.socket.set_read_timeout(Some(crate::support::DEADLINE)).expect("a socket");
    sessions
}

/// Waits until all sessions have ended, of which some may only just begin.
fn drain(proxy: &Proxy, relay: &Relay, remote: &Remote) {
    until("the end of all sessions", || {
        // What comes is accepted by this, and closed.
        let idle = remote.has_nobody() && relay.open().is_empty();
        (idle && count(proxy, "connect client ") == count(proxy, "disconnect client ")).then_some(())
    });
}

#[test]
fn the_far_end_runs_out_of_descriptors_and_all_room_comes_back() {
    for arguments in [&["-t", "2"][..], &["-t", "2", "--reuse-port"]] {
        let remote = Remote::new(Kind::V4);
        let far = Proxy::between(Kind::Stripe, &remote)
            .args(&["--lane-timeout", "1s"])
            .args(arguments)
            .descriptors(60, 90)
            .start();
        let relay = Relay::to(&far.listeners[0]);
        // With one lane it is known how many sessions fit.
        let counts = ["1", "4", "1"].map(|lanes| {
            let near = near_to(&relay, &["--lanes", lanes]);
            let mut sessions = fill(&far, &near, &remote);
            sessions.iter_mut().for_each(works);
            let count = sessions.len();
            // Some go, and others come in.
            sessions.truncate(1);
            let _ = (near.connect(), remote.accept());
            sessions.iter_mut().for_each(works);
            drop((sessions, near));
            drain(&far, &relay, &remote);
            count
        });
        assert!(counts[0] > 5 && counts[1] > 1, "{counts:?}");
        assert_eq!(counts[0], counts[2], "{arguments:?}");
    }
}

#[test]
fn the_near_end_runs_out_of_descriptors_and_all_room_comes_back() {
    let remote = Remote::new(Kind::V4);
    let far = Proxy::between(Kind::Stripe, &remote).start();
    let relay = Relay::to(&far.listeners[0]);
    let to = format!("stripe:{}", relay.address);
    let near = Proxy::on(&[Kind::V4]).args(&["-r", &to, "-t", "2"]).descriptors(60, 100).start();
    let counts = [(); 2].map(|()| {
        let mut sessions = fill(&near, &near, &remote);
        sessions.iter_mut().for_each(works);
        let count = sessions.len();
        drop(sessions);
        drain(&near, &relay, &remote);
        count
    });
    assert!(counts[0] > 3 && counts[0] == counts[1], "{counts:?}");
}

/// What has begun goes on, and lanes that were lost come back to it; nothing else begins.
#[test]
fn a_lane_joins_a_session_when_the_time_of_new_ones_is_over() {
    let remote = Remote::new(Kind::V4);
    // On a slow machine it may be six before the session is there.
    for seconds_left in [2, 10, 50] {
        let zone = zone_at(18 * 3600 - seconds_left);
        let start = Instant::now();
        let setup = Proxy::between(Kind::Stripe, &remote).env("TZ", &zone);
        let far = setup.args(&["--allow-time", "08:00-18:00"]).start();
        let mut hand = Hand::open(&far.listeners[0], 1, 0);
        let mut first = [0];
        if !matches!(hand.0.read(&mut first), Ok(1)) || first != [3] {
            continue;
        }
        let mut server = remote.accept();
        until("six", || (start.elapsed() > Duration::from_secs(seconds_left as u64)).then_some(()));
        Hand::open(&far.listeners[0], 2, 0).must_end(Some(1));
        far.log.line("clients refused: 1 by allow-time, 1 so far, the last one from 127.0.0.1");
        let mut other = Hand::opened(&far.listeners[0], 1, 1);
        drop(hand);
        other.data(0, b"hello");
        return server.expect("hello");
    }
    panic!("the session is too late each time");
}
