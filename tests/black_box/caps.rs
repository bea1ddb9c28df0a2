//! Caps: how fast bytes move at the most, and that what is held back arrives, and is not idle.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{End, Kind, Proxy, Remote, ended, not_before};
#[cfg(target_os = "linux")]
use crate::support::{Ended, system::udp_queue, until};

/// Within 64 KiB a second, of which a tenth may come at once, 32 KiB take this long.
const RATE: &str = "64k";
const BYTES: usize = 32 << 10;
const TAKES: Duration = Duration::from_millis(400);

fn bytes() -> Vec<u8> {
    (0..BYTES).map(|number| (number / 3) as u8).collect()
}

#[test]
fn a_session_moves_no_more_than_its_rates_and_loses_nothing() {
    thread::scope(|scope| {
        for (kind, extra) in [(Kind::V4, "auto"), (Kind::V4, "always"), (Kind::UnixPath, "auto")] {
            scope.spawn(move || {
                if extra == "always" && !cfg!(target_os = "linux") {
                    return;
                }
                let remote = Remote::new(kind);
                let rates = ["--upload-rate", RATE, "--download-rate", RATE, "--zero-copy", extra];
                let proxy = Proxy::between(kind, &remote).args(&rates).start();
                let (mut client, mut server) = proxy.session(&remote);
                let start = Instant::now();
                client.send(bytes());
                server.send(bytes());
                client.finish();
                server.finish();
                assert!(server.rest() == (bytes(), End::Eof));
                not_before(start, TAKES);
                assert!(client.rest() == (bytes(), End::Eof));
                not_before(start, TAKES);
                assert_eq!(proxy.end(), ended("end of stream", BYTES as u64, BYTES as u64));
            });
        }
    });
}

#[test]
fn all_sessions_together_move_no_more_than_the_total() {
    let remote = Remote::new(Kind::V4);
    let arguments = ["--total-download-rate", RATE, "-t", "2"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&arguments).start();
    let mut sessions: Vec<_> = (0..4).map(|_| proxy.session(&remote)).collect();
    let start = Instant::now();
    let part = BYTES / 4;
    for (client, server) in &mut sessions {
        // Nothing holds this direction back.
        client.send(bytes());
        server.expect(bytes());
        server.send(&bytes()[..part]);
    }
    for (client, _) in &mut sessions {
        client.expect(&bytes()[..part]);
    }
    not_before(start, TAKES);
}

#[test]
fn a_session_that_its_cap_holds_back_is_not_idle() {
    let remote = Remote::new(Kind::V4);
    // A byte each half second.
    let arguments = ["--upload-rate", "2", "--idle-timeout", "200ms"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&arguments).start();
    let (mut client, mut server) = proxy.session(&remote);
    client.send("abc");
    client.finish();
    assert_eq!(server.rest(), (b"abc".to_vec(), End::Eof));
    drop(server);
    assert_eq!(proxy.end(), ended("end of stream", 3, 0));
}

#[test]
fn datagrams_wait_for_their_time_and_arrive_in_order() {
    // Of these, a tenth of a second's may come at once, and one more.
    const TAKES: Duration = Duration::from_millis(250);
    let numbered = |number: u8| vec![number; 1000];
    for kind in [Kind::Udp, Kind::Framed] {
        let remote = Remote::new(kind);
        let rates = ["--upload-rate", RATE, "--download-rate", RATE];
        let proxy = Proxy::between(Kind::Udp, &remote).args(&rates).start();
        let start = Instant::now();
        let (mut client, mut server) = proxy.datagram_session(&remote, "first");
        (0..24).for_each(|number| client.send(numbered(number)));
        (0..24).for_each(|number| server.expect(numbered(number)));
        not_before(start, TAKES);
        let start = Instant::now();
        (0..24).for_each(|number| server.send(numbered(number)));
        (0..24).for_each(|number| client.expect(numbered(number)));
        not_before(start, TAKES);
    }
}

/// Nobody can be made to wait, so what the cap leaves no room for is dropped, and each one is counted.
#[cfg(target_os = "linux")]
#[test]
fn datagrams_beyond_the_cap_are_dropped_and_counted() {
    const COUNT: usize = 400;
    let remote = Remote::new(Kind::Udp);
    let arguments = ["--upload-rate", "1k", "--drain-timeout", "0"];
    let proxy = Proxy::between(Kind::Udp, &remote).args(&arguments).start();
    let mut client = proxy.peer();
    for number in 0..COUNT {
        client.send(&number.to_string().repeat(1000).as_bytes()[..1000]);
        if number % 20 == 19 {
            // Otherwise the system might drop some.
            until("datagrams that are read", || (udp_queue(proxy.listeners[0].port()) == 0).then_some(()));
        }
    }
    proxy.log.lines_with("upstream, ", 1);
    let lines = proxy.stop();
    let end = lines.iter().find(|line| line.message.starts_with("disconnect client to proxy ")).map(Ended::parse);
    let end = end.expect("a session");
    assert_eq!(end.upstream / 1000 + end.dropped, COUNT as u64, "{end:?}");
    assert!((1..COUNT as u64 / 2).contains(&(end.upstream / 1000)), "{end:?}");
    for number in 0..end.upstream / 1000 {
        assert!(remote.receive_from().0.starts_with(number.to_string().as_bytes()));
    }
    let warned = lines.iter().any(|line| line.message.ends_with("the last one because: upload-rate allows no more"));
    assert!(warned, "{lines:?}");
}
