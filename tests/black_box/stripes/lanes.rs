//! Lanes freeze, break and come back, and nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Chain, near_to, transfer, works};
use crate::support::{End, Kind, New, Proxy, Random, Relay, TempDir, at_once, drink, not_before, pour, until};

const MIB: usize = 1 << 20;

/// Waits until so much is under way or has come.
fn when_carried(relay: &Relay, bytes: u64) {
    until("bytes under way", || (relay.carried_by_all() > bytes).then_some(()));
}

#[test]
fn a_lane_that_breaks_in_a_transfer_costs_no_byte() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        for resets in [true, false] {
            let chain = Chain::with_key(key, &[]);
            let mut session = chain.session();
            let lanes = chain.relay.wait_for(4);
            transfer(&mut session, 8 * MIB, || {
                for (number, lane) in lanes.into_iter().enumerate() {
                    when_carried(&chain.relay, (2 + 2 * number as u64) * MIB as u64);
                    if resets { chain.relay.reset(lane) } else { chain.relay.close(lane) }
                }
            });
            chain.relay.wait_for(4);
            assert_eq!(chain.relay.count(), 8);
            works(&mut session);
            drop(session);
            chain.is_empty();
        }
    }
}

#[test]
fn lanes_that_break_all_the_time_cost_no_byte() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &[]);
        let mut session = chain.session();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random(3);
                while !over.load(Ordering::Relaxed) {
                    let open = chain.relay.open();
                    if !open.is_empty() {
                        chain.relay.reset(open[random.below(open.len())]);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            });
            let _over = crate::support::SetOnDrop(&over);
            for _ in 0..10 {
                transfer(&mut session, 2 * MIB, || {});
                thread::sleep(Duration::from_millis(50));
            }
        });
        chain.relay.wait_for(4);
        works(&mut session);
        drop(session);
        chain.is_empty();
    }
}

#[test]
fn a_frozen_lane_holds_nothing_up_and_is_used_again() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        // However long it is frozen, it is not given up.
        let chain = Chain::with_key(key, &["--lane-timeout", "10m"]);
        let mut session = chain.session();
        let frozen = chain.relay.wait_for(4)[1];
        transfer(&mut session, 8 * MIB, || {
            when_carried(&chain.relay, 2 * MIB as u64);
            chain.relay.freeze(frozen);
        });
        let before = chain.relay.carried(frozen);
        transfer(&mut session, 4 * MIB, || {});
        assert_eq!(chain.relay.carried(frozen), before);
        chain.relay.thaw(frozen);
        until("a lane that is used again", || {
            // Less than this may be no more than what the other lanes can have under way.
            transfer(&mut session, 8 * MIB, || {});
            let now = chain.relay.carried(frozen);
            (now.0 > before.0 + MIB as u64 / 4 && now.1 > before.1 + MIB as u64 / 4).then_some(())
        });
        assert_eq!(chain.relay.count(), 4);
        drop(session);
        chain.is_empty();
    }
}

#[test]
fn all_lanes_break_at_once_and_the_session_goes_on() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &[]);
        let mut session = chain.session();
        for round in 0..5 {
            chain.relay.wait_for(4);
            transfer(&mut session, 4 * MIB, || {
                when_carried(&chain.relay, (round * 8 + 2) * MIB as u64);
                chain.relay.reset_all();
            });
        }
        chain.relay.wait_for(4);
        // Also when nothing is under way.
        chain.relay.reset_all();
        works(&mut session);
        drop(session);
        chain.is_empty();
    }
}

#[test]
fn without_lanes_for_too_long_both_ends_are_reset() {
    let are_reset = |dead: New| {
        let chain = Chain::both(&["--lane-timeout", "2500ms"]);
        let mut sessions = [chain.session(), chain.session()];
        sessions.iter_mut().for_each(works);
        chain.relay.wait_for(8);
        let start = Instant::now();
        chain.relay.new_ones(dead);
        chain.relay.reset_all();
        let [(mut client, mut server), (mut busy_client, mut busy_server)] = sessions;
        busy_client.send("this does not come");
        assert_eq!([client.end(), server.end()], [End::Reset; 2], "{dead:?}");
        not_before(start, Duration::from_millis(2500));
        assert_eq!([busy_client.end(), busy_server.end()], [End::Reset; 2], "{dead:?}");
        chain.is_empty();
        let ends = chain.near.ended(2).into_iter().chain(chain.far.ended(2));
        let hows: Vec<_> = ends.map(|ended| ended.how).collect();
        assert_eq!(hows, ["error on remote", "error on remote", "error on client", "error on client"], "{dead:?}");

        chain.relay.new_ones(New::Passed);
        works(&mut chain.session());
    };
    at_once([New::Refused, New::Held], are_reset);
}

#[test]
fn lanes_that_come_back_in_time_go_on_with_the_session() {
    let chain = Chain::both(&["--lane-timeout", "60s"]);
    let mut session = chain.session();
    works(&mut session);
    chain.relay.wait_for(4);
    chain.relay.new_ones(New::Refused);
    chain.relay.reset_all();
    transfer(&mut session, 4 * MIB, || {
        thread::sleep(Duration::from_secs(1));
        chain.relay.new_ones(New::Passed);
    });
    drop(session);
    chain.is_empty();
}

/// The end is sent again as bytes are.
#[test]
fn the_end_of_a_stream_on_a_lane_that_dies_arrives() {
    for by_client in [true, false] {
        let chain = Chain::both(&[]);
        let (client, server) = chain.session();
        let (mut one, mut other) = if by_client { (client, server) } else { (server, client) };
        one.send("hello");
        other.expect("hello");
        // Whatever the lane, it says so to nobody.
        let lanes = chain.relay.wait_for(4);
        lanes.iter().for_each(|&lane| chain.relay.freeze(lane));
        pour(&mut one, 1, 20_000);
        one.finish();
        let proxy = if by_client { &chain.near } else { &chain.far };
        until("a proxy that has read it", || {
            (crate::support::system::untaken(&one.socket) == 0).then_some(proxy.pid())
        });
        thread::sleep(Duration::from_millis(50));
        assert!(other.is_silent());
        chain.relay.reset_all();
        drink(&mut other, 1, 20_000);
        assert_eq!(other.end(), End::Eof);
        other.send("bye");
        other.finish();
        one.expect("bye");
        assert_eq!(one.end(), End::Eof);
        drop((one, other));
        chain.is_empty();
    }
}

#[test]
fn a_far_proxy_that_is_killed_and_started_again_serves_new_sessions() {
    let Chain { near, relay, mut far, remote } = Chain::both(&[]);
    let mut session = near.session(&remote);
    works(&mut session);
    let address = far.listeners[0].clone();
    far.kill();
    let far = Proxy::on(&[]).listen_on(address).to(&remote.address).start();
    let (mut client, mut server) = session;
    // The killed one's system says so to the server, and the new one to the lanes that it does not know them.
    assert!(matches!(server.end(), End::Eof | End::Reset));
    assert_eq!(client.end(), End::Reset);
    assert_eq!(near.end().how, "reset by remote");
    let mut session = near.session(&remote);
    relay.wait_for(4);
    works(&mut session);
    drop((session, far));
}

#[test]
fn the_server_is_reset_when_the_near_proxy_is_killed() {
    let Chain { mut near, relay, far, remote } = Chain::both(&["--lane-timeout", "2500ms"]);
    let mut session = near.session(&remote);
    works(&mut session);
    near.kill();
    assert_eq!(session.1.end(), End::Reset);
    relay.wait_for(0);
    assert_eq!(far.end().how, "error on client");
    let near = near_to(&relay, &[]);
    works(&mut near.session(&remote));
}

/// Nobody listens there any more: the relay stands for a host that is gone.
#[test]
fn lanes_that_all_freeze_end_within_the_lane_timeout() {
    let chain = Chain::both(&["--lane-timeout", "2500ms"]);
    let (mut client, mut server) = chain.session();
    works_once(&mut client, &mut server);
    let lanes = chain.relay.wait_for(4);
    chain.relay.new_ones(New::Held);
    lanes.iter().for_each(|&lane| chain.relay.freeze(lane));
    client.send("this does not come");
    server.send("nor does this");
    assert_eq!([client.end(), server.end()], [End::Reset; 2]);
    for proxy in [&chain.near, &chain.far] {
        proxy.end();
    }
}

fn works_once(client: &mut crate::support::Stream, server: &mut crate::support::Stream) {
    client.send("hello");
    server.expect("hello");
}

#[test]
fn a_dead_target_among_several_leaves_its_lanes_out() {
    let refusing = crate::support::Remote::refusing(Kind::V4);
    let remote = crate::support::Remote::new(Kind::V4);
    let far = Proxy::between(Kind::Stripe, &remote).start();
    let relay = Relay::to(&far.listeners[0]);
    let target = format!("stripe:{}+{}", refusing.address, relay.address);
    let near = Proxy::on(&[Kind::V4]).args(&["-r", &target]).start();
    let mut session = near.session(&remote);
    relay.wait_for(2);
    transfer(&mut session, MIB, || {});
}

#[test]
fn every_mode_carries_all_bytes_over_lanes_that_break() {
    for mode in ["round-robin", "redundant"] {
        let chain = Chain::both(&["--stripe-mode", mode]);
        let mut session = chain.session();
        let lanes = chain.relay.wait_for(4);
        transfer(&mut session, 4 * MIB, || {
            when_carried(&chain.relay, MIB as u64);
            chain.relay.freeze(lanes[0]);
            when_carried(&chain.relay, 2 * MIB as u64);
            chain.relay.reset(lanes[1]);
            chain.relay.close(lanes[2]);
        });
        chain.relay.thaw(lanes[0]);
        works(&mut session);
        drop(session);
        chain.is_empty();
    }
}

/// Lanes break at any moment of a session: also when it has just begun, and when it is just over. (Where no lane comes to be
/// open at all, a session fails, as it should.)
#[test]
fn short_sessions_over_lanes_that_break_are_complete() {
    const CLIENTS: usize = 200;
    // On a slow machine no lane may live for long, and still there must be one now and then.
    let chain = Chain::both(&["--lanes", "2", "-t", "2", "--lane-timeout", "20s"]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(6);
            while !over.load(Ordering::Relaxed) {
                // Something has come behind the answer to the opening, so that the lane is open at both ends.
                let mut open = chain.relay.open();
                open.retain(|&lane| chain.relay.carried(lane).1 > 24);
                if !open.is_empty() {
                    chain.relay.reset(open[random.below(open.len())]);
                }
                thread::sleep(Duration::from_millis(7));
            }
        });
        scope.spawn(|| {
            for _ in 0..CLIENTS {
                let mut server = chain.remote.accept();
                let (request, end) = server.rest();
                assert_eq!(end, End::Eof);
                server.send(request);
            }
        });
        let _over = crate::support::SetOnDrop(&over);
        let mut random = Random(7);
        for number in 0..CLIENTS {
            let mut client = chain.near.connect();
            let request = random.bytes([1, 1000, 100_000][number % 3]);
            client.send(&request);
            client.finish();
            let (answer, end) = client.rest();
            assert!(
                answer == request && end == End::Eof,
                "{number}: {} bytes of {}, {end:?}",
                answer.len(),
                request.len()
            );
        }
    });
    chain.is_empty();
}
