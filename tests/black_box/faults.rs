//! What goes wrong at one side is told to the other: a session that failed never looks like one that is complete.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Address, End, Ended, Kind, Proxy, Random, Remote, Stream, ended, not_before};
#[cfg(target_os = "linux")]
use crate::support::{system::untaken, until};

/// The proxy's log of an error on the descriptor of this line.
fn expect_error_line(proxy: &Proxy, connect_line: &str, error: &str) {
    let descriptor = proxy.log.line(connect_line).descriptor();
    assert_eq!(proxy.log.line("fd ").message, format!("fd {descriptor} errno {error}"));
}

#[test]
fn a_reset_by_the_client_resets_the_remote() {
    for kind in Kind::tcp() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        client.send("hello");
        server.expect("hello");
        client.reset();
        assert_eq!(server.end(), End::Reset);
        assert_eq!(proxy.end(), ended("reset by client", 5, 0));
        expect_error_line(&proxy, "connect client to proxy ", "104: Connection reset by peer");
    }
}

#[test]
fn a_reset_by_the_remote_resets_the_client() {
    for kind in Kind::tcp() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        server.send("welcome");
        client.expect("welcome");
        server.reset();
        assert_eq!(client.end(), End::Reset);
        assert_eq!(proxy.end(), ended("reset by remote", 0, 7));
        expect_error_line(&proxy, "connect complete proxy to remote ", "104: Connection reset by peer");
    }
}

#[test]
fn a_reset_after_a_half_close_is_forwarded() {
    for kind in Kind::tcp() {
        for client_finishes in [true, false] {
            for finisher_resets in [true, false] {
                let remote = Remote::new(kind);
                let proxy = Proxy::between(kind, &remote).start();
                let (client, server) = proxy.session(&remote);
                let (finisher, mut other) = if client_finishes { (client, server) } else { (server, client) };
                finisher.finish();
                assert_eq!(other.end(), End::Eof);
                let by = if client_finishes == finisher_resets { "reset by client" } else { "reset by remote" };
                if finisher_resets {
                    // The proxy reads from it no more, and sees it all the same. The other, which has read its end,
                    // learns of it when it writes.
                    finisher.reset();
                    assert_eq!(proxy.end().how, by, "{kind:?} {client_finishes} {finisher_resets}");
                    other.send_until_cut_off(100_000_000);
                } else {
                    let mut finisher = finisher;
                    other.reset();
                    assert_eq!(finisher.end(), End::Reset);
                    assert_eq!(proxy.end().how, by, "{kind:?} {client_finishes} {finisher_resets}");
                }
            }
        }
    }
}

/// The proxy does not read from a side that it cannot write for, and still notices its reset.
#[test]
fn a_reset_is_noticed_behind_bytes_that_nobody_takes() {
    for kind in Kind::tcp() {
        for upstream in [true, false] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).start();
            let (client, server) = proxy.session(&remote);
            let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
            source.send("x");
            sink.wait_for_unread(1);
            let sent = 1 + fill(&proxy, &mut source);
            source.reset();
            assert!(proxy.log.line("fd ").message.ends_with(" errno 104: Connection reset by peer"));
            let (received, end) = sink.rest();
            assert_eq!(end, End::Reset);
            assert!(received.len() <= sent);
            let by = if upstream { "reset by client" } else { "reset by remote" };
            assert_eq!(proxy.end().how, by, "{kind:?}");
        }
    }
}

/// Sends until nothing more is taken, for a while, though the proxy is not kept from working: all buffers on the way are full
/// then.
fn fill(proxy: &Proxy, source: &mut Stream) -> usize {
    const WHILE: usize = 50;
    source.socket.set_nonblocking(true).expect("a socket");
    let bytes = vec![1; 1 << 20];
    let (mut sent, mut in_vain) = (0, 0);
    while in_vain < WHILE || !waits(proxy) {
        assert!(sent < 1 << 30, "the proxy holds all this");
        match source.write(&bytes) {
            Ok(n) => (sent, in_vain) = (sent + n, 0),
            Err(_) => in_vain += 1,
        }
        if in_vain > 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    sent
}

/// Whether the proxy has nothing to do.
fn waits(proxy: &Proxy) -> bool {
    #[cfg(target_os = "linux")]
    return crate::support::system::sleeps(proxy.pid());
    #[cfg(not(target_os = "linux"))]
    return proxy.pid() != 0;
}

/// What a side had said when it was reset is delivered to who reads, and then the reset.
#[cfg(target_os = "linux")]
#[test]
fn what_came_before_a_reset_is_delivered() {
    for upstream in [true, false] {
        for other in [Kind::V4, Kind::UnixPath] {
            // A Unix socket's queue is short: what does not fit must fit into the proxy's and its system's.
            let count = if other == Kind::V4 { 500_000 } else { 230_000 };
            let kinds = if upstream { [Kind::V4, other] } else { [other, Kind::V4] };
            let remote = Remote::new(kinds[1]);
            let proxy = Proxy::between(kinds[0], &remote).start();
            let (client, server) = proxy.session(&remote);
            let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
            let bytes = Random(9).bytes(count);
            source.send(&bytes);
            until("bytes that the proxy's system has", || (untaken(&source.socket) == 0).then_some(()));
            source.reset();
            assert!(proxy.log.line("fd ").message.ends_with(" errno 104: Connection reset by peer"));
            let (received, end) = sink.rest();
            assert!(received == bytes, "{} bytes of {count}", received.len());
            assert_eq!(end, if other == Kind::V4 { End::Reset } else { End::Eof });
            let (by, [up, down]) =
                if upstream { ("reset by client", [count, 0]) } else { ("reset by remote", [0, count]) };
            assert_eq!(proxy.end(), ended(by, up as u64, down as u64));
        }
    }
}

/// Who reads nothing does not keep such a session.
#[test]
fn what_came_before_a_reset_is_kept_no_longer_than_the_idle_timeout() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--idle-timeout", "2500ms"]).start();
    let (mut client, mut server) = proxy.session(&remote);
    fill(&proxy, &mut server);
    let start = Instant::now();
    server.reset();
    proxy.log.line("fd ");
    assert_eq!(proxy.end().how, "reset by remote");
    not_before(start, Duration::from_millis(2500));
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn an_answer_that_is_cut_off_never_looks_whole() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).start();
    for round in 0..60 {
        let (mut client, mut server) = proxy.session(&remote);
        server.send(vec![1; round * 1000]);
        server.reset();
        assert_eq!(client.rest().1, End::Reset);
        let (client, mut server) = proxy.session(&remote);
        let mut client = client;
        client.send(vec![1; round * 1000]);
        client.reset();
        assert_eq!(server.rest().1, End::Reset);
    }
    // (A remote may have gone before the proxy knew that it was there.)
    let failed = |end: &Ended| ["reset by client", "reset by remote", "connect failed"].contains(&end.how.as_str());
    let ends = proxy.ended(120);
    assert!(ends.iter().all(failed), "{ends:?}");
}

#[test]
fn a_reset_in_the_middle_of_a_transfer_reaches_the_other_side() {
    for kind in Kind::tcp() {
        for upstream in [true, false] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).start();
            let (client, server) = proxy.session(&remote);
            let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
            // The reader goes away.
            let sender = thread::spawn(move || source.send_until_cut_off(1 << 30));
            sink.expect(vec![7; 3_000_000]);
            sink.reset();
            assert!(sender.join().expect("a sender") >= 3_000_000);
            let by = if upstream { "reset by remote" } else { "reset by client" };
            assert_eq!(proxy.end().how, by);

            // The writer goes away.
            let (client, server) = proxy.session(&remote);
            let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
            let bytes = Random(5).bytes(3_000_000);
            let sender = thread::spawn({
                let bytes = bytes.clone();
                move || {
                    source.send(bytes);
                    source.reset();
                }
            });
            let (received, end) = sink.rest();
            assert!(bytes.starts_with(&received) && end == End::Reset, "{} bytes, {end:?}", received.len());
            sender.join().expect("a sender");
        }
    }
}

#[test]
fn a_remote_that_is_gone_stops_a_client_that_goes_on_sending() {
    for kind in Kind::tcp() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, server) = proxy.session(&remote);
        drop(server);
        assert_eq!(client.end(), End::Eof);
        client.send_until_cut_off(1 << 30);
        assert_eq!(proxy.end().how, "reset by remote");
    }
}

#[test]
fn a_client_that_is_gone_stops_a_remote_that_goes_on_sending() {
    for kind in Kind::tcp() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (client, mut server) = proxy.session(&remote);
        drop(client);
        assert_eq!(server.end(), End::Eof);
        server.send_until_cut_off(1 << 30);
        assert_eq!(proxy.end().how, "reset by client");
    }
}

#[test]
fn a_remote_that_refuses_resets_the_client() {
    for kind in Kind::tcp() {
        let remote = Remote::refusing(kind);
        let proxy = Proxy::between(kind, &remote).start();
        assert_eq!(proxy.connect().end(), End::Reset);
        assert_eq!(proxy.end(), ended("connect failed", 0, 0));
        expect_error_line(&proxy, "connect starting proxy to remote ", "111: Connection refused");
        // The next client is not worse off.
        assert_eq!(proxy.connect().end(), End::Reset);
        assert_eq!(proxy.ended(2)[1].how, "connect failed");
    }
}

#[test]
fn a_unix_remote_that_refuses_resets_the_client() {
    let mut missing = Remote::new(Kind::UnixPath);
    missing.address = Address::Path("/nonexistent/socket".into());
    for (remote, error) in [
        (Remote::refusing(Kind::UnixPath), "errno = 111: Connection refused"),
        (missing, "errno = 2: No such file or directory"),
    ] {
        let proxy = Proxy::between(Kind::V4, &remote).start();
        assert_eq!(proxy.connect().end(), End::Reset);
        assert_eq!(proxy.end(), ended("connect failed", 0, 0));
        assert_eq!(
            proxy.log.line("remote socket connect error ").message,
            format!("remote socket connect error {error}")
        );
    }
}

/// Unix sockets know a reset only as bytes that were not read.
#[test]
fn unread_bytes_at_a_unix_socket_are_a_reset() {
    let remote = Remote::new(Kind::UnixPath);
    let proxy = Proxy::between(Kind::V4, &remote).start();
    let (mut client, server) = proxy.session(&remote);
    client.send("hello");
    server.wait_for_unread(5);
    drop(server);
    assert_eq!(client.end(), End::Reset);
    assert_eq!(proxy.end(), ended("reset by remote", 5, 0));

    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::UnixPath, &remote).start();
    let (client, mut server) = proxy.session(&remote);
    server.send("welcome");
    client.wait_for_unread(7);
    drop(client);
    assert_eq!(server.end(), End::Reset);
    assert_eq!(proxy.end(), ended("reset by client", 0, 7));
}

/// The client is a process of its own (another proxy, as it happens) and is killed.
#[test]
fn a_client_that_is_killed_ends_its_session() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let mut front = Proxy::on(&[Kind::V4]).args(&["-r", &proxy.listeners[0].to_string()]).start();
        let mut client = front.connect();
        let mut server = remote.accept();
        client.send("hello");
        server.expect("hello");
        front.kill();
        assert_eq!(server.end(), End::Eof);
        server.send_until_cut_off(1 << 30);
        let Ended { how, upstream, .. } = proxy.end();
        // That a Unix client has closed wholly is known at once.
        let expected = if kind.is_tcp() { "reset by client" } else { "end of stream" };
        assert_eq!((how.as_str(), upstream), (expected, 5));

        // And the proxy serves the next one.
        let (mut client, mut server) = proxy.session(&remote);
        client.send("hello");
        server.expect("hello");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_resets_while_the_remote_is_slow_to_connect_ends_its_session() {
    let (remote, _waits) = Remote::deaf(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--connect-timeout", "1h"]).start();
    let client = proxy.connect();
    proxy.log.line("connect starting ");
    client.reset();
    assert_eq!(proxy.end(), ended("reset by client", 0, 0));
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_client_said_before_the_remote_connected_is_delivered() {
    for kind in Kind::tcp() {
        let (remote, _waits) = Remote::deaf(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--connect-timeout", "1h"]).start();
        let mut client = proxy.connect();
        client.send("hello");
        client.finish();
        proxy.log.line("connect starting ");
        drop(remote.accept());
        let mut server = remote.accept();
        assert_eq!(server.rest(), (b"hello".to_vec(), End::Eof));
        server.send("you waited");
        drop(server);
        assert_eq!(client.rest(), (b"you waited".to_vec(), End::Eof));
        assert_eq!(proxy.end(), ended("end of stream", 5, 10));
    }
}

/// Clients that come and go at once, in every order, leave a proxy that works.
#[test]
fn hasty_clients_do_no_harm() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["-t", "2"]).start();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..300 {
                let client = proxy.connect();
                match number % 3 {
                    0 => client.reset(),
                    1 => drop(client),
                    _ => client.finish(),
                }
            }
            // The last of them is served.
            let mut client = proxy.connect();
            client.send("last");
            client.finish();
            assert_eq!(client.rest(), (b"served".to_vec(), End::Eof));
        });
        for _ in 0..301 {
            let mut server = remote.accept();
            if server.rest().0 == b"last" {
                server.send("served");
            }
        }
    });
    let ends = proxy.ended(301);
    assert!(ends.iter().all(|end| ["end of stream", "reset by client"].contains(&end.how.as_str())), "{ends:?}");
}
