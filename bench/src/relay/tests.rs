//! The relay on real sockets. Its precision is measured by the loads `relay-*`: here nothing depends on the machine's
//! speed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::{Relay, Rule, Traffic};

/// Both ends of the next connection through the relay.
fn connection(relay: &Relay, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(relay.address).unwrap();
    let (server, _) = listener.accept().unwrap();
    for end in [&client, &server] {
        end.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
    (client, server)
}

fn relay(rules: &[Rule]) -> (Relay, TcpListener) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    (Relay::start(listener.local_addr().unwrap(), rules.to_vec()).unwrap(), listener)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 251) as u8).collect()
}

/// Sends on one end, closes that direction, and returns what comes out of the other and how long that took.
fn carry(mut from: TcpStream, mut to: TcpStream, data: &[u8]) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            from.write_all(data).unwrap();
            from.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        to.read_to_end(&mut received).unwrap();
        (received, start.elapsed())
    })
}

/// Waits until the relay says this of its connections: it does so after it has moved what the test sees.
fn until(relay: &Relay, is_so: impl Fn(&[Traffic]) -> bool) {
    let start = Instant::now();
    while !is_so(&relay.traffic()) {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", relay.traffic());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn bytes_and_ends_pass_both_ways() {
    let (relay, listener) = relay(&[Rule::default()]);
    let data = bytes(3_000_000);
    let (client, server) = connection(&relay, &listener);
    let (again, server_again) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    assert!(carry(client, server, &data).0 == data);
    assert!(carry(server_again, again, &data).0 == data);
    until(&relay, |traffic| traffic[0].carried == [data.len() as u64; 2]);
}

#[test]
fn a_capped_connection_is_not_faster_and_another_is_not_capped() {
    let (relay, listener) = relay(&[Rule::link(8.0, Duration::ZERO), Rule::default()]);
    let data = bytes(400_000);
    let (client, server) = connection(&relay, &listener);
    let (received, capped) = carry(client, server, &data);
    assert!(received == data);
    // A burst may go at once: 5 ms of 1,000,000 bytes a second.
    assert!(capped >= Duration::from_millis(390), "{capped:?}");
    let (client, server) = connection(&relay, &listener);
    let (received, _) = carry(server, client, &bytes(20_000_000));
    assert_eq!(received.len(), 20_000_000);
    until(&relay, |traffic| traffic[0].carried == [400_000, 0] && traffic[1].carried == [0, 20_000_000]);
}

#[test]
fn a_delayed_byte_is_not_early_and_neither_is_the_end() {
    let (relay, listener) = relay(&[Rule { rate: None, delay: Duration::from_millis(50) }]);
    let (mut client, mut server) = connection(&relay, &listener);
    let start = Instant::now();
    client.write_all(&[1]).unwrap();
    server.read_exact(&mut [0]).unwrap();
    server.write_all(&[2]).unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100), "{:?}", start.elapsed());
    let start = Instant::now();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
}

#[test]
fn a_frozen_connection_stops_and_goes_on_without_loss() {
    let (relay, listener) = relay(&[Rule::default()]);
    let data = bytes(8_000_000);
    let (mut client, mut server) = connection(&relay, &listener);
    client.write_all(&[1]).unwrap();
    server.read_exact(&mut [0]).unwrap();
    relay.freeze(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            client.write_all(&data).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(relay.traffic()[0].carried, [1, 0]);
        assert!(!sender.is_finished());
        relay.thaw(0);
        server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert!(received == data);
    });
}

#[test]
fn a_reset_reaches_both_ends_and_the_next_connection_gets_the_next_rule() {
    let (relay, listener) = relay(&[Rule::default(), Rule { rate: None, delay: Duration::from_millis(50) }]);
    let (mut client, mut server) = connection(&relay, &listener);
    client.write_all(&[1]).unwrap();
    server.read_exact(&mut [0]).unwrap();
    relay.reset(0);
    for end in [&mut client, &mut server] {
        assert_eq!(end.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    until(&relay, |traffic| !traffic[0].alive);
    let (mut client, mut server) = connection(&relay, &listener);
    let start = Instant::now();
    client.write_all(&[1]).unwrap();
    server.read_exact(&mut [0]).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50), "{:?}", start.elapsed());
}

#[test]
fn one_that_nobody_takes_is_not_left_open() {
    let (relay, listener) = relay(&[Rule::default()]);
    drop(listener);
    let mut client = TcpStream::connect(relay.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(client.read(&mut [0]).map_or(true, |read| read == 0));
}

#[test]
fn random_resets_hit_those_that_live() {
    let (relay, listener) = relay(&[Rule::default()]);
    let mut ends: Vec<_> = (0..3).map(|_| connection(&relay, &listener)).collect();
    let resets = relay.reset_at_random(Duration::from_millis(1), 7, || relay.traffic().iter().all(|one| !one.alive));
    assert!(resets >= 3);
    for (client, server) in &mut ends {
        assert!(client.read(&mut [0]).is_err() && server.read(&mut [0]).is_err());
    }
}
