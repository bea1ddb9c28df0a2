//! SIGTERM and SIGINT: no new clients, an end for those that are there, exit status 0.

use libc::{SIGINT, SIGTERM};
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::support::system::{TIME_WAIT, has_socket, is_listening, is_stopped, time_wait_is_full};
use crate::support::{End, Kind, Line, Proxy, Remote, Stream, ended, not_before, until};

fn count(lines: &[Line], start: &str) -> usize {
    lines.iter().filter(|line| line.message.starts_with(start)).count()
}

#[cfg(target_os = "linux")]
fn stops_listening(proxy: &Proxy) {
    let address = &proxy.listeners[0];
    until("a closed listener", || (!is_listening(address)).then_some(()));
    assert!(Stream::connect(address).is_err());
}

#[test]
fn without_sessions_the_proxy_ends_at_once() {
    for signal in [SIGTERM, SIGINT] {
        for threads in ["1", "4"] {
            let proxy =
                Proxy::on(&Kind::all()).args(&["-r", "127.0.0.1:9", "-t", threads, "--drain-timeout", "1h"]).start();
            proxy.signal(signal);
            let lines = proxy.finish();
            assert_eq!(count(&lines, &format!("signal {signal}: no new clients")), 1);
        }
    }
}

#[test]
fn sessions_that_have_ended_do_not_keep_it() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--drain-timeout", "1h"]).start();
    drop(proxy.session(&remote));
    proxy.end();
    proxy.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn sessions_go_on_after_a_signal_and_nobody_else_comes_in() {
    for kind in Kind::all() {
        for signal in [SIGTERM, SIGINT] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).args(&["--drain-timeout", "1h"]).start();
            let (mut client, mut server) = proxy.session(&remote);
            client.send("before");
            server.expect("before");
            proxy.signal(signal);
            stops_listening(&proxy);
            for number in 0..10 {
                client.send(format!("after {number}"));
                server.expect(format!("after {number}"));
            }
            client.finish();
            assert_eq!(server.end(), End::Eof);
            server.send("goodbye");
            drop(server);
            assert_eq!(client.rest(), (b"goodbye".to_vec(), End::Eof));
            drop(client);
            let lines = proxy.finish();
            assert_eq!(count(&lines, &format!("signal {signal}: ")), 1);
            let end = lines.iter().find(|line| line.message.starts_with("disconnect client "));
            assert!(end.is_some_and(|line| line.message.contains(": end of stream, upstream 76 bytes, ")), "{end:?}");
        }
    }
}

#[test]
fn sessions_are_reset_when_the_drain_timeout_is_over() {
    for kind in Kind::all() {
        for (timeout, milliseconds) in [("700ms", 700), ("0", 0)] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).args(&["--drain-timeout", timeout, "-t", "2"]).start();
            let mut sessions: Vec<_> = (0..3).map(|_| proxy.session(&remote)).collect();
            for (client, server) in &mut sessions {
                client.send("hello");
                server.expect("hello");
            }
            let start = Instant::now();
            proxy.signal(SIGTERM);
            let expected = if kind.is_tcp() { End::Reset } else { End::Eof };
            for (client, server) in &mut sessions {
                assert_eq!((client.end(), server.end()), (expected, expected));
                not_before(start, Duration::from_millis(milliseconds));
            }
            assert_eq!(proxy.ended(3), vec![ended("drain", 5, 0); 3]);
            proxy.finish();
        }
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    for kind in Kind::tcp() {
        for signals in [[SIGTERM, SIGTERM], [SIGINT, SIGINT], [SIGTERM, SIGINT], [SIGINT, SIGTERM]] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).args(&["--drain-timeout", "1h", "-t", "2"]).start();
            let mut sessions: Vec<_> = (0..3).map(|_| proxy.session(&remote)).collect();
            proxy.log.lines("connect complete ", 3);
            proxy.signal(signals[0]);
            proxy.log.line(&format!("signal {}: no new clients", signals[0]));
            assert!(sessions.iter().all(|(client, server)| client.is_silent() && server.is_silent()));
            // Sent too soon after the first, the same signal is taken for the same wish.
            let text = format!("signal {}: sessions are reset", signals[1]);
            until("the second signal to be heeded", || {
                proxy.signal(signals[1]);
                proxy.log.so_far().iter().any(|line| line.message == text).then_some(())
            });
            for (client, server) in &mut sessions {
                assert_eq!((client.end(), server.end()), (End::Reset, End::Reset));
            }
            let lines = proxy.finish();
            assert!(count(&lines, &text) >= 1);
            let drained = lines.iter().filter(|line| line.message.contains("): drain, upstream 0 bytes, downstream 0"));
            assert_eq!(drained.count(), 2 * 3);
        }
    }
}

/// Both signals before the first is dealt with; whichever thread sees what when, the end is clean.
#[test]
fn two_signals_in_a_row_end_it() {
    for _ in 0..20 {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&["--drain-timeout", "1h"]).start();
        let (mut client, _server) = proxy.session(&remote);
        proxy.signal(SIGTERM);
        proxy.signal(SIGINT);
        assert_eq!(client.end(), End::Reset);
        proxy.finish();
    }
}

/// A client whose connect(2) had succeeded is served, also if the proxy had not accepted it by then.
#[cfg(target_os = "linux")]
#[test]
fn clients_that_had_connected_are_served() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--drain-timeout", "1h", "-t", "2"]).start();
        proxy.signal(libc::SIGSTOP);
        until("a stopped process", || is_stopped(proxy.pid()).then_some(()));
        let mut clients: Vec<Stream> = (0..30).map(|_| proxy.connect()).collect();
        proxy.signal(SIGTERM);
        proxy.signal(libc::SIGCONT);
        for _ in &clients {
            remote.accept().send("served");
        }
        for client in &mut clients {
            assert_eq!(client.rest(), (b"served".to_vec(), End::Eof), "{kind:?}");
        }
        drop(clients);
        proxy.finish();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_session_that_is_connecting_is_drained_too() {
    let (remote, _waits) = Remote::deaf(Kind::V4);
    let arguments = ["--drain-timeout", "300ms", "--connect-timeout", "1h"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&arguments).start();
    let mut client = proxy.connect();
    proxy.log.line("connect starting ");
    proxy.signal(SIGTERM);
    assert_eq!(client.end(), End::Reset);
    assert_eq!(proxy.end(), ended("drain", 0, 0));
    proxy.finish();
}

#[test]
fn a_session_full_of_data_is_drained_too() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--drain-timeout", "300ms"]).start();
    let (mut client, _server) = proxy.session(&remote);
    let writer = std::thread::spawn(move || client.send_until_cut_off(1 << 30));
    proxy.log.line("connect complete ");
    proxy.signal(SIGTERM);
    writer.join().expect("a writer");
    assert_eq!(proxy.end().how, "drain");
    proxy.finish();
}

/// The old proxy closes its connections first, so that they are in TIME_WAIT, or still has some open.
#[cfg(target_os = "linux")]
#[test]
fn a_restart_listens_at_once() {
    let remote = Remote::new(Kind::V4);
    let start = |address| Proxy::on(&[]).listen_on(address).args(&["-r", &remote.address.to_string()]).start();
    let first = Proxy::between(Kind::V4, &remote).args(&["--drain-timeout", "1h"]).start();
    let address = first.listeners[0].clone();
    // More than once where the system keeps no more of them just now.
    until("a connection in TIME_WAIT", || {
        let (mut client, server) = first.session(&remote);
        drop(server);
        assert_eq!(client.end(), End::Eof);
        drop(client);
        (has_socket(TIME_WAIT, address.port()) || time_wait_is_full()).then_some(())
    });
    let (mut old_client, mut old_server) = first.session(&remote);
    first.signal(SIGTERM);
    stops_listening(&first);

    let second = start(address.clone());
    let (mut client, mut server) = second.session(&remote);
    client.send("new");
    server.expect("new");
    old_client.send("old");
    old_server.expect("old");
    drop((old_client, old_server));
    first.finish();
    drop((client, server));
    second.stop();
    // And once more, with nothing but what the others left.
    start(address).stop();
}

/// As nohup(1) and shells do for what runs in the background.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote)
        .before(|| {
            // SAFETY: no handler is involved.
            unsafe { libc::signal(SIGINT, libc::SIG_IGN) };
            Ok(())
        })
        .start();
    proxy.signal(SIGINT);
    let (mut client, mut server) = proxy.session(&remote);
    client.send("hello");
    server.expect("hello");
    drop((client, server));
    let lines = proxy.stop();
    assert_eq!((count(&lines, "signal 2"), count(&lines, "signal 15")), (0, 1));
}
