//! Bytes go both ways and end as they do without a stripe.

use std::time::{Duration, Instant};

use super::{Chain, near_to, transfer, works};
use crate::support::{End, Kind, Proxy, Relay, Remote, TempDir, drink, ended, pour, until};

const MIB: usize = 1 << 20;

#[test]
fn all_bytes_go_both_ways_with_a_key_and_without() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &[]);
        let mut session = chain.session();
        works(&mut session);
        transfer(&mut session, 64 * MIB, || {});
        let lanes = chain.relay.wait_for(4);
        assert!(
            lanes.iter().filter(|&&lane| chain.relay.carried(lane).0 > 100_000).count() > 1,
            "one lane has done all"
        );
        let (mut client, mut server) = session;
        client.finish();
        assert_eq!(server.end(), End::Eof);
        server.send("after the end");
        client.expect("after the end");
        server.finish();
        assert_eq!(client.end(), End::Eof);
        chain.is_empty();
        let moved = |more: u64| 64 * MIB as u64 + more;
        assert_eq!(chain.near.end(), ended("end of stream", moved(5), moved(4 + 13)));
        assert_eq!(chain.far.end(), ended("end of stream", moved(5), moved(4 + 13)));
    }
}

#[test]
fn so_many_lanes_as_are_asked_for_carry_a_session() {
    for lanes in [1, 2, 32] {
        let chain = Chain::new(&["--lanes", &lanes.to_string()], &[]);
        let mut session = chain.session();
        chain.relay.wait_for(lanes);
        transfer(&mut session, MIB, || {});
        drop(session);
        chain.is_empty();
        assert_eq!(chain.relay.count(), lanes);
    }
}

#[test]
fn a_server_that_ends_first_still_gets_what_the_client_sends() {
    let chain = Chain::both(&[]);
    let (mut client, mut server) = chain.session();
    pour(&mut server, 1, MIB);
    server.finish();
    drink(&mut client, 1, MIB);
    assert_eq!(client.end(), End::Eof);
    for number in 0..20 {
        let upload = format!("upload {number}");
        client.send(&upload);
        server.expect(&upload);
    }
    assert!(server.is_silent());
    client.finish();
    assert_eq!(server.end(), End::Eof);
    drop((client, server));
    chain.is_empty();
}

#[test]
fn a_server_that_answers_only_after_the_end_is_heard() {
    let chain = Chain::both(&[]);
    let (mut client, mut server) = chain.session();
    pour(&mut client, 1, MIB);
    client.finish();
    drink(&mut server, 1, MIB);
    assert_eq!(server.end(), End::Eof);
    assert!(client.is_silent());
    pour(&mut server, 2, MIB);
    drop(server);
    drink(&mut client, 2, MIB);
    assert_eq!(client.end(), End::Eof);
    chain.is_empty();
}

#[test]
fn a_server_may_speak_first_and_a_session_may_say_nothing() {
    let chain = Chain::both(&[]);
    let (mut client, mut server) = chain.session();
    server.send("SSH-2.0");
    client.expect("SSH-2.0");
    drop((client, server));
    for proxy in [&chain.near, &chain.far] {
        proxy.ended(1);
    }
    chain.is_empty();
    drop(chain.near.connect());
    assert_eq!(chain.remote.accept().end(), End::Eof);
    for proxy in [&chain.near, &chain.far] {
        assert_eq!(proxy.ended(2)[1], ended("end of stream", 0, 0));
    }
}

/// It is heard behind all that was said before it.
#[test]
fn a_reset_goes_through_either_way() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        for by_client in [true, false] {
            let chain = Chain::with_key(key, &[]);
            let (client, server) = chain.session();
            let (mut one, mut other) = if by_client { (client, server) } else { (server, client) };
            one.send("hello");
            other.expect("hello");
            pour(&mut one, 1, 200_000);
            // What a system resets is lost that has not left it.
            let proxy = if by_client { &chain.near } else { &chain.far };
            until("a proxy that has all", || (crate::support::system::untaken(&one.socket) == 0).then_some(proxy));
            other.wait_for_unread(100);
            std::thread::sleep(Duration::from_millis(50));
            one.reset();
            drink(&mut other, 1, 200_000);
            assert_eq!(other.end(), End::Reset, "by the client: {by_client}");
            drop(other);
            chain.is_empty();
            let how = if by_client { ["reset by client"; 2] } else { ["reset by remote"; 2] };
            assert_eq!([chain.near.end().how, chain.far.end().how], how);
        }
    }
}

/// Nobody reads any more by then.
#[test]
fn a_reset_goes_through_behind_the_end_of_the_stream() {
    let chain = Chain::both(&["--lanes", "1"]);
    let mut session = chain.session();
    works(&mut session);
    let (mut client, server) = session;
    server.finish();
    assert_eq!(client.end(), End::Eof);
    server.reset();
    assert_eq!([chain.near.end().how, chain.far.end().how], ["reset by remote"; 2]);
}

#[test]
fn a_server_that_refuses_resets_the_client() {
    let refusing = Remote::refusing(Kind::V4);
    let far = Proxy::between(Kind::Stripe, &refusing).start();
    let relay = Relay::to(&far.listeners[0]);
    let near = near_to(&relay, &[]);
    let mut client = near.connect();
    client.send_unless_cut_off("hello");
    assert_eq!(client.end(), End::Reset);
    assert_eq!(far.end().how, "connect failed");
    assert_eq!(near.end().how, "reset by remote");
    relay.wait_for(0);
}

#[test]
fn a_stripe_that_nobody_takes_resets_the_client() {
    let refusing = Remote::refusing(Kind::V4);
    let start = |remote: &str| Proxy::on(&[Kind::V4]).args(&["-r", remote]).start();
    for remote in [format!("stripe:{0}", refusing.address), format!("stripe:{0}+{0}", refusing.address)] {
        let near = start(&remote);
        let mut client = near.connect();
        let before = Instant::now();
        assert_eq!(client.end(), End::Reset);
        assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
        assert_eq!(near.end().how, "connect failed");
    }
}
