//! Peers without a key that break the rules behind a good opening.

use super::count;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::hand::{Hand, OPENING, ack, data, number};
use crate::support::system::{memory, rests};
use crate::support::{End, Kind, Proxy, Remote, Stream, ended, until};

/// The far end of stripes, with a small window.
fn far(remote: &Remote) -> Proxy {
    Proxy::between(Kind::Stripe, remote).args(&["--stripe-window", "64k"]).start()
}

#[test]
fn a_session_can_be_held_by_hand() {
    let remote = Remote::new(Kind::V4);
    let far = far(&remote);
    let [mut one, mut other] = [0, 1].map(|lane| Hand::opened(&far.listeners[0], 1, lane));
    let mut server = remote.accept();
    other.data(5, b" you");
    one.data(0, b"hello");
    server.expect("hello you");
    drop(other);
    server.send("welcome");
    assert_eq!(one.next_of(1), data(0, b"welcome"));
    one.0.send(ack(7, 65_536, 7));
    one.data(9, b"!");
    one.end(10);
    assert_eq!(server.rest(), (b"!".to_vec(), End::Eof));
    server.finish();
    assert_eq!(one.next_of(2), number(2, 7));
    one.0.send(ack(8, 65_536, 8));
    one.must_end(Some(0));
    assert_eq!(far.end(), ended("end of stream", 10, 7));
}

#[test]
fn a_lane_that_breaks_the_rules_ends_and_the_others_go_on() {
    let window = 65_536;
    let too_long = [&[1][..], &32_769_u16.to_be_bytes(), &[0; 8]].concat();
    let wrong: [(&str, Vec<u8>); 12] = [
        ("a frame of an unknown type", vec![99; 40]),
        ("a frame of an unknown type", vec![0]),
        ("a DATA frame without bytes", [1, 0, 0].into()),
        ("a DATA frame that is too long", too_long),
        ("an offset that is too large", data(u64::MAX - 1, b"xyz")),
        ("data out of the window", data(window * 4, b"x")),
        ("an ACK of what was not sent", ack(1, window, 0)),
        ("an ACK of what was not sent", ack(0, window, 1)),
        ("a CLOSE frame with an unknown code", vec![6, 77]),
        ("a CLOSE as finished before the end", vec![6, 0]),
        ("a JOIN where none belongs", [&[7, 0][..], &[1; 32]].concat()),
        ("a JOIN frame with an unknown flag", [&[7, 64][..], &[1; 32]].concat()),
    ];
    let remote = Remote::new(Kind::V4);
    let far = far(&remote);
    let mut good = Hand::opened(&far.listeners[0], 1, 0);
    let mut server = remote.accept();
    for (number, (why, bytes)) in wrong.into_iter().enumerate() {
        let mut bad = Hand::opened(&far.listeners[0], 1, 1);
        bad.0.send(bytes);
        bad.must_end(None);
        good.data(number as u64, &[number as u8]);
        assert_eq!(server.receive(1), [number as u8], "{why}");
        let lines = far.log.lines_with("broke the rules: ", number + 1);
        assert!(lines[number].message.ends_with(why), "{why}: {:?}", lines[number]);
    }
    good.end(12);
    assert_eq!(server.end(), End::Eof);
    let mut bad = Hand::opened(&far.listeners[0], 1, 1);
    bad.end(13);
    bad.must_end(None);
    let lines = far.log.lines_with("broke the rules: ", 13);
    assert!(lines[12].message.ends_with("another end of the stream"), "{lines:?}");
    let mut bad = Hand::opened(&far.listeners[0], 1, 1);
    bad.data(12, b"x");
    bad.must_end(None);
    assert!(far.log.lines_with("broke the rules: ", 14)[13].message.ends_with("data beyond the end of the stream"));
    server.send("all the same");
    drop(good);
}

#[test]
fn lanes_of_sessions_that_are_not_known_are_refused() {
    let remote = Remote::new(Kind::V4);
    let far = far(&remote);
    Hand::join(&far.listeners[0], 1, 0).must_end(Some(2));
    // One that has ended is not made again.
    let hand = Hand::opened(&far.listeners[0], 2, 0);
    remote.accept().reset();
    hand.must_end(Some(1));
    far.ended(1);
    Hand::open(&far.listeners[0], 2, 0).must_end(Some(2));
    // One of a number that there is takes its place, so that there are never more than 32.
    let mut lanes: Vec<Hand> = (0..32).map(|lane| Hand::opened(&far.listeners[0], 3, lane)).collect();
    let other = Hand::opened(&far.listeners[0], 3, 31);
    std::mem::replace(&mut lanes[31], other).must_end(None);
    let mut server = remote.accept();
    lanes[31].data(0, b"hello");
    server.expect("hello");
    assert!(remote.has_nobody());
    // What is logged is read later than it happens.
    far.log.lines("connect client ", 2);
    assert_eq!(count(&far, "connect client "), 2);
}

/// It waits for a server that does not read, and is over all the same.
#[test]
fn a_lane_that_comes_after_the_lane_timeout_is_told_so() {
    let remote = Remote::new(Kind::V4);
    let far = Proxy::between(Kind::Stripe, &remote).args(&["--lane-timeout", "200ms"]).start();
    let mut hand = Hand::open(&far.listeners[0], 1, 0);
    let server = remote.accept();
    hand.0.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let (mut frame, mut sent) = ([0; 29], 0);
    while hand.0.read_exact(&mut frame).is_ok() {
        let window = u64::from_be_bytes(frame[9..17].try_into().expect("8 bytes"));
        while sent < window {
            let length = (window - sent).min(30_000);
            hand.data(sent, &vec![7; length as usize]);
            sent += length;
        }
    }
    drop(hand);
    far.log.lines_with("there was no lane for ", 1);
    Hand::join(&far.listeners[0], 1, 0).must_end(Some(2));
    assert_eq!(count(&far, "disconnect client "), 0);
    drop(server);
}

#[test]
fn a_peer_that_ignores_the_window_costs_no_memory() {
    const MIB: u64 = 1 << 20;
    let remote = Remote::new(Kind::V4);
    let far = far(&remote);
    let mut quiet = Hand::opened(&far.listeners[0], 9, 0);
    let mut of_quiet = remote.accept();
    let before = memory(far.pid(), "VmHWM");
    let holes: Vec<u8> = (1..32_768).flat_map(|number| data(2 * number, b"x")).collect();
    let beyond: Vec<u8> = (0..1000).flat_map(|number| data(number * 30_000, &[7; 30_000])).collect();
    let old: Vec<u8> = data(1, &[7; 30_000]);
    let pings = number(4, 5).repeat(1000);
    let mut hands = Vec::new();
    for (id, bytes) in [(11, &holes), (12, &beyond), (13, &old), (14, &pings)] {
        // Nobody reads at the server.
        let mut hand = Hand::opened(&far.listeners[0], id, 0);
        hand.flood(bytes, 20 << 20);
        hands.push(hand);
    }
    let now = memory(far.pid(), "VmHWM");
    assert!(now < before + 8 * MIB, "{now} bytes of memory after {before}");
    quiet.data(0, b"hello");
    of_quiet.expect("hello");
}

/// The near end does not believe all it is told, either.
#[test]
fn a_server_that_is_no_stripe_or_breaks_the_rules_resets_the_client() {
    let answers: [&[u8]; 5] = [
        b"SSH-2.0-OpenSSH\r\n and so on, to be long enough",
        b"CPST\x02\x00\x00\x00",
        b"CPST\x01\x03\x00\x00",
        b"CPST\x01\x63\x00\x00",
        b"CP",
    ];
    for answer in answers {
        let remote = Remote::new(Kind::V4);
        let near = Proxy::on(&[Kind::V4])
            .args(&["-r", &format!("stripe:{}", remote.address), "--lanes", "2", "--lane-timeout", "1s"])
            .start();
        let mut client = near.connect();
        for _ in 0..2 {
            let mut server = remote.accept();
            assert_eq!(server.receive(8), OPENING);
            server.send(answer);
            server.finish();
        }
        assert_eq!(client.end(), End::Reset, "{:?}", String::from_utf8_lossy(answer));
        assert_eq!(near.end().how, "connect failed");
    }
}

/// It is no failure that a peer has too much to do.
#[test]
fn a_peer_that_is_busy_is_asked_again_until_the_connect_timeout() {
    let remote = Remote::new(Kind::V4);
    let to = format!("stripe:{}", remote.address);
    let busy = |remote: &Remote| {
        let mut lane = remote.accept();
        assert_eq!(lane.receive(8), OPENING);
        lane.send(b"CPST\x01\x06\x00\x00");
    };
    let near = Proxy::on(&[Kind::V4]).args(&["-r", &to, "--lanes", "1"]).start();
    let mut client = near.connect();
    (0..3).for_each(|_| busy(&remote));
    let mut lane = accept_lane(&remote);
    lane.send(data(0, b"hello"));
    client.expect("hello");

    let near = Proxy::on(&[Kind::V4]).args(&["-r", &to, "--lanes", "1", "--connect-timeout", "500ms"]).start();
    let mut client = near.connect();
    remote.socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a socket");
    while count(&near, "disconnect client ") == 0 {
        if let Ok((lane, _)) = remote.socket.accept() {
            let mut lane = Stream::new(lane).expect("a socket");
            // Time may be up just now.
            let _ = lane.read(&mut [0; 8]);
            let _ = lane.write(b"CPST\x01\x06\x00\x00");
        }
    }
    assert_eq!(client.end(), End::Reset);
    assert_eq!(near.end().how, "connect timeout");
}

#[test]
fn lanes_that_are_closed_as_soon_as_they_are_open_are_dialled_more_and_more_rarely() {
    let remote = Remote::new(Kind::V4);
    let to = format!("stripe:{}", remote.address);
    let near = Proxy::on(&[Kind::V4]).args(&["-r", &to, "--lanes", "1"]).start();
    let _client = near.connect();
    let before = Instant::now();
    for _ in 0..5 {
        accept_lane(&remote);
    }
    // Pauses of half of 100, 200, 400 and 800 ms at the least.
    assert!(before.elapsed() > Duration::from_millis(750), "{:?}", before.elapsed());
    // One on which something comes is dialled again at once if it is lost, and not after a pause, which would be longer
    // each time. A busy machine may look like that now and then.
    until("a lane that is dialled again at once", || {
        let mut lane = accept_lane(&remote);
        lane.send(number(5, 1));
        lane.send(number(4, 1));
        assert_eq!(Hand(lane).next_of(5), number(5, 1));
        let before = Instant::now();
        accept_lane(&remote);
        (before.elapsed() < Duration::from_secs(1)).then_some(())
    });
}

/// The acceptor's part of an opening, by hand.
fn accept_lane(remote: &Remote) -> Stream {
    let mut lane = remote.accept();
    assert_eq!(lane.receive(8), OPENING);
    lane.send([OPENING, &[5; 16]].concat());
    let join = lane.receive(34);
    assert_eq!((join[0], &join[18..]), (7, &[5; 16][..]));
    lane
}

#[test]
fn an_acceptor_that_breaks_the_rules_loses_its_lanes() {
    let remote = Remote::new(Kind::V4);
    let near =
        Proxy::on(&[Kind::V4]).args(&["-r", &format!("stripe:{}", remote.address), "--lanes", "1", "-t", "1"]).start();
    let mut client = near.connect();
    for bytes in [data(1 << 40, b"x"), vec![99], ack(5, 0, 0)] {
        let mut lane = accept_lane(&remote);
        lane.send(bytes);
        let _ = lane.rest();
    }
    near.log.lines_with("broke the rules: ", 3);
    let mut lane = accept_lane(&remote);
    lane.send(data(0, b"hello"));
    client.expect("hello");
    lane.send([6, 1]);
    assert_eq!(client.end(), End::Reset);
    let mut other = (near.connect(), accept_lane(&remote));
    other.1.send(data(0, b"hello"));
    other.0.expect("hello");
}

/// The reader of the client's bytes has no more of them when there is room again.
#[test]
fn a_window_that_was_filled_to_the_last_byte_keeps_nobody_busy() {
    const WINDOW: usize = 65_536;
    let remote = Remote::new(Kind::V4);
    let near = Proxy::on(&[Kind::V4])
        .args(&["-r", &format!("stripe:{}", remote.address), "--lanes", "1", "-t", "1"])
        .args(&["--stripe-window", "64k", "--zero-copy", "always"])
        .start();
    let mut client = near.connect();
    let mut lane = accept_lane(&remote);
    client.send([7; WINDOW]);
    let mut hand = Hand(lane.another());
    let mut came = 0;
    while came < WINDOW {
        came += hand.next_of(1).len() - 11;
    }
    lane.send(ack(WINDOW as u64, 2 * WINDOW as u64, WINDOW as u64));
    is_idle(&near);
    client.send("more");
    assert_eq!(hand.next_of(1), data(WINDOW as u64, b"more"));
}

/// A peer that does not answer is waited for, and no more.
#[test]
fn a_lane_that_is_not_answered_keeps_nobody_busy() {
    let remote = Remote::new(Kind::V4);
    let near = Proxy::on(&[Kind::V4])
        .args(&["-r", &format!("stripe:{}", remote.address), "--lanes", "1", "-t", "1", "--lane-timeout", "1ms"])
        .start();
    let client = near.connect();
    let lane = remote.accept();
    is_idle(&near);
    drop((client, lane));
}

/// Whether a proxy sleeps, and wakes up but a few times.
fn is_idle(proxy: &Proxy) {
    rests(proxy.pid(), Duration::from_millis(500), "a proxy that has nothing to do");
}
