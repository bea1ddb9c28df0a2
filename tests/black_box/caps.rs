//! Caps: how fast bytes move at the most, and that what is held back arrives, and is not idle.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{End, Kind, Proxy, Remote, ended, not_before};

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
