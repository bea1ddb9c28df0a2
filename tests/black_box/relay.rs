//! Bytes go both ways, all of them, whatever the kinds of the ends and however they are closed.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::{Digest, End, Kind, Line, Proxy, Random, Remote, SetOnDrop, Stream, ended, until};

#[test]
fn every_kind_of_listener_joins_every_kind_of_remote() {
    let kinds = Kind::all();
    let mut random = Random(1);
    for kind in &kinds {
        let remote = Remote::new(*kind);
        let proxy = Proxy::on(&kinds).args(&["-r", &remote.address.to_string()]).start();
        for listener in 0..kinds.len() {
            let mut client = proxy.connect_to(listener);
            let (request, answer) = (random.bytes(100_000), random.bytes(50_000));
            client.send("hello");
            let mut server = remote.accept();
            server.expect("hello");
            server.send("welcome");
            client.expect("welcome");
            thread::scope(|scope| {
                scope.spawn(|| {
                    client.send(&request);
                    client.finish();
                });
                assert!(server.rest() == (request.clone(), End::Eof));
            });
            thread::scope(|scope| {
                scope.spawn(|| {
                    server.send(&answer);
                    server.finish();
                });
                assert!(client.rest() == (answer.clone(), End::Eof));
            });
            assert_eq!(proxy.ended(listener + 1)[listener], ended("end of stream", 100_005, 50_007));
        }
    }
}

#[test]
fn the_remote_may_speak_first() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).start();
    let (mut client, mut server) = proxy.session(&remote);
    server.send("SSH-2.0");
    client.expect("SSH-2.0");
}

#[test]
fn a_session_that_says_nothing_ends_as_it_should() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        drop(proxy.connect());
        let mut server = remote.accept();
        assert_eq!(server.end(), End::Eof);
        drop(server);
        assert_eq!(proxy.end(), ended("end of stream", 0, 0), "{kind:?}");
    }
}

/// The client sends all and shuts down at once, as `nc -N` does: it still gets its answer, however late that is.
#[test]
fn a_client_that_has_finished_gets_its_answer() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        client.send("question");
        client.finish();
        assert_eq!(server.rest(), (b"question".to_vec(), End::Eof));
        for number in 0..20 {
            let answer = format!("answer {number}");
            server.send(&answer);
            client.expect(&answer);
        }
        assert!(client.is_silent());
        server.finish();
        assert_eq!(client.end(), End::Eof);
        assert_eq!(proxy.end().how, "end of stream");
    }
}

#[test]
fn a_remote_that_has_finished_still_gets_what_the_client_sends() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        server.send("welcome, and goodbye");
        server.finish();
        assert_eq!(client.rest(), (b"welcome, and goodbye".to_vec(), End::Eof));
        for number in 0..20 {
            let upload = format!("upload {number}");
            client.send(&upload);
            server.expect(&upload);
        }
        assert!(server.is_silent());
        client.finish();
        assert_eq!(server.end(), End::Eof);
        assert_eq!(proxy.end().how, "end of stream");
    }
}

/// The end of the stream comes behind bytes that the other side has not read yet.
#[test]
fn the_end_of_a_stream_overtakes_nothing() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        let bytes = Random(2).bytes(20_000_000);
        let sender = thread::spawn({
            let bytes = bytes.clone();
            move || {
                client.send(&bytes);
                client.finish();
                client
            }
        });
        server.expect(&bytes[..1]);
        assert!(server.rest() == (bytes[1..].to_vec(), End::Eof), "{kind:?}");
        server.finish();
        assert_eq!(sender.join().expect("a sender").end(), End::Eof);
        assert_eq!(proxy.end(), ended("end of stream", 20_000_000, 0));
    }
}

#[test]
fn every_size_of_buffer_works() {
    for (size, bytes) in [("1", 30_000), ("2", 30_000), ("4095", 3_000_000), ("1m", 9_000_000)] {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&["-b", size]).start();
        let (client, server) = proxy.session(&remote);
        let (up, down) = (Random(3).bytes(bytes), Random(4).bytes(bytes));
        thread::scope(|scope| {
            for (stream, out, expected) in [(&client, &up, &down), (&server, &down, &up)] {
                let mut writer = stream.another();
                scope.spawn(move || {
                    writer.send(out);
                    writer.finish();
                });
                scope.spawn(move || assert!(stream.another().rest() == (expected.clone(), End::Eof), "-b {size}"));
            }
        });
        assert_eq!(proxy.end(), ended("end of stream", bytes as u64, bytes as u64));
    }
}

#[test]
fn every_thread_gets_its_turn() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath]).args(&["-t", "3", "-r", &remote.address.to_string()]).start();
    let sessions: Vec<_> = (0..12).map(|number| (proxy.connect_to(number % 2), remote.accept())).collect();
    let taken = proxy.log.lines("connect client to proxy ", sessions.len());
    let thread_of = |accepted: &Line| {
        let descriptor: i32 = accepted.after("accepted fd ").parse().expect("a number");
        let line = taken.iter().find(|line| line.descriptor() == descriptor);
        line.unwrap_or_else(|| panic!("nobody took {accepted:?}")).thread.clone()
    };
    let threads: Vec<_> = proxy.log.lines("accepted fd ", sessions.len()).iter().map(thread_of).collect();
    assert_eq!(threads, ["io-0", "io-1", "io-2"].repeat(4));
}

/// A session between two programs that both send random bytes with random pauses, and close when they have sent all.
mod at_random {
    use super::*;

    const SESSIONS: usize = 200;

    /// Sends the bytes that this seed makes, then nothing more.
    fn send(mut stream: Stream, seed: u64) -> (u64, u64) {
        let mut random = Random(seed);
        let mut digest = Digest::default();
        let mut left = random.below(150_000);
        if random.below(10) == 0 {
            left *= 10;
        }
        while left > 0 {
            let bytes = random.below(20_000).min(left);
            let bytes = random.bytes(bytes);
            stream.send(&bytes);
            digest.add(&bytes);
            left -= bytes.len();
            pause(&mut random);
        }
        stream.finish();
        digest.value()
    }

    /// Receives until the end.
    fn receive(mut stream: Stream, seed: u64) -> (u64, u64) {
        let mut random = Random(seed);
        let mut digest = Digest::default();
        let mut buffer = vec![0; 20_000];
        loop {
            let room = 1 + random.below(buffer.len());
            match stream.read(&mut buffer[..room]).expect("no reset") {
                0 => return digest.value(),
                n => digest.add(&buffer[..n]),
            }
            pause(&mut random);
        }
    }

    /// Part of the load, not of what the test waits for.
    fn pause(random: &mut Random) {
        match random.below(20) {
            0 => thread::sleep(Duration::from_millis(random.below(20) as u64)),
            1..5 => thread::yield_now(),
            _ => {}
        }
    }

    /// Both directions of one end; what was sent and what was received.
    fn talk(stream: Stream, seed: u64) -> [(u64, u64); 2] {
        let writer = stream.another();
        let writer = thread::Builder::new().stack_size(256 << 10).spawn(move || send(writer, seed)).expect("a thread");
        let received = receive(stream, !seed);
        [writer.join().expect("a writer"), received]
    }

    type Totals = [(u64, u64); 2];

    fn start(body: impl FnOnce() -> (u64, Totals) + Send + 'static) -> thread::JoinHandle<(u64, Totals)> {
        thread::Builder::new().stack_size(256 << 10).spawn(body).expect("a thread")
    }

    fn sessions_at_once(remote_kind: Kind, seed: u64) {
        let kinds = Kind::all();
        let remote = Remote::new(remote_kind);
        let proxy = Proxy::on(&kinds).args(&["-t", "2", "-r", &remote.address.to_string()]).start();
        let clients: Vec<_> = (0..SESSIONS)
            .map(|number| {
                let mut stream = proxy.connect_to(number % kinds.len());
                start(move || {
                    // So that the other end knows which session it is.
                    stream.send((number as u64).to_le_bytes());
                    (number as u64, talk(stream, seed.wrapping_mul(1 + 2 * number as u64)))
                })
            })
            .collect();
        let servers: Vec<_> = (0..SESSIONS)
            .map(|_| {
                let mut stream = remote.accept();
                start(move || {
                    let number = stream.receive(8).try_into().map(u64::from_le_bytes).expect("eight bytes");
                    (number, talk(stream, seed.wrapping_mul(2 + 2 * number)))
                })
            })
            .collect();
        let join = |ends: Vec<thread::JoinHandle<(u64, Totals)>>| -> HashMap<u64, Totals> {
            ends.into_iter().map(|end| end.join().unwrap_or_else(|_| panic!("an end failed, seed {seed}"))).collect()
        };
        let (clients, servers) = (join(clients), join(servers));
        assert_eq!((clients.len(), servers.len()), (SESSIONS, SESSIONS));
        for (number, [sent, received]) in &clients {
            assert_eq!(servers[number], [*received, *sent], "session {number}, seed {seed}");
        }

        let mut expected: Vec<_> =
            clients.values().map(|[up, down]| ended("end of stream", up.0 + 8, down.0)).collect();
        let mut logged = proxy.ended(SESSIONS);
        for list in [&mut expected, &mut logged] {
            list.sort_by_key(|end| (end.upstream, end.downstream));
        }
        assert_eq!(logged, expected);
    }

    #[test]
    fn two_hundred_sessions_to_tcp() {
        sessions_at_once(Kind::V4, 0x1234_5678_9abc_def1);
    }

    #[test]
    fn two_hundred_sessions_to_a_unix_socket() {
        sessions_at_once(Kind::UnixPath, 0x0fed_cba9_8765_4321);
    }
}

/// A session that says little is served though others move all they can through the same thread.
#[test]
fn a_ping_pong_goes_on_beside_bulk_transfers() {
    ping_pong_beside_bulk(&[], 4 << 20);
}

/// Also if the others never block, because the proxy is slower than they are.
#[test]
fn a_ping_pong_goes_on_beside_bulk_transfers_that_never_rest() {
    // Fewer bytes, as each 64 of them take two system calls.
    ping_pong_beside_bulk(&["-b", "64", "--zero-copy", "never"], 1 << 20);
}

/// Each transfer moves so many bytes before the messages, and as many after them.
fn ping_pong_beside_bulk(arguments: &[&str], bulk: u64) {
    let sink = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &sink).args(arguments).start();
    let over = AtomicBool::new(false);
    let moved: Vec<AtomicU64> = (0..6).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        // Also when the test fails, or the threads would never end.
        let _over = SetOnDrop(&over);
        for (number, moved) in moved.iter().enumerate() {
            let (client, server) = proxy.session(&sink);
            // Three load up and three load down.
            let (mut source, mut sink) = if number % 2 == 0 { (client, server) } else { (server, client) };
            let over = &over;
            scope.spawn(move || {
                let bytes = vec![7; 1 << 20];
                while !over.load(Ordering::Relaxed) {
                    source.send(&bytes);
                }
            });
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 18];
                while let Ok(n @ 1..) = sink.read(&mut buffer) {
                    moved.fetch_add(n as u64, Ordering::Relaxed);
                }
            });
        }
        let all_moved = || {
            let before: Vec<u64> = moved.iter().map(|moved| moved.load(Ordering::Relaxed)).collect();
            until("all bulk transfers", || {
                moved
                    .iter()
                    .zip(&before)
                    .all(|(moved, before)| moved.load(Ordering::Relaxed) >= before + bulk)
                    .then_some(())
            });
        };
        all_moved();
        let (mut client, mut server) = proxy.session(&sink);
        for number in 0..200 {
            let ping = format!("ping {number}");
            client.send(&ping);
            server.expect(&ping);
            server.send(&ping);
            client.expect(&ping);
        }
        all_moved();
    });
}

/// Options of sockets, seen through duplicates of the proxy's own descriptors.
#[cfg(target_os = "linux")]
mod options {
    use super::*;
    use crate::support::skip;
    use crate::support::system::{accept_queue, duplicate, tcp_option};
    use socket2::Socket;

    /// Both sockets of a session of a proxy with these arguments, and what holds the session.
    fn sockets(kind: Kind, arguments: &[&str], check: impl Fn(&Socket)) {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(arguments).start();
        let _session = proxy.session(&remote);
        for prefix in ["connect client to proxy ", "connect complete proxy to remote "] {
            let descriptor = proxy.log.line(prefix).descriptor();
            match duplicate(proxy.pid(), descriptor) {
                Ok(socket) => check(&Socket::from(socket)),
                Err(error) => skip(&format!("pidfd_getfd: {error}")),
            }
        }
    }

    #[test]
    fn no_delay_is_set_on_both_sides_when_asked_for() {
        for kind in Kind::tcp() {
            sockets(kind, &["-n"], |socket| assert!(socket.tcp_nodelay().expect("an option")));
            sockets(kind, &[], |socket| assert!(!socket.tcp_nodelay().expect("an option")));
        }
    }

    /// A datagram that waited for the answer to the one before would come too late for what uses datagrams.
    #[test]
    fn framed_streams_send_at_once() {
        sockets(Kind::Framed, &[], |socket| assert!(socket.tcp_nodelay().expect("an option")));
    }

    #[test]
    fn keepalive_is_set_on_both_sides_when_asked_for() {
        for kind in Kind::tcp() {
            sockets(kind, &["--keepalive", "77s"], |socket| {
                assert!(socket.keepalive().expect("an option"));
                assert_eq!(tcp_option(socket, libc::TCP_KEEPIDLE), 77);
                assert_eq!(tcp_option(socket, libc::TCP_KEEPINTVL), 75);
            });
            sockets(kind, &[], |socket| assert!(!socket.keepalive().expect("an option")));
            sockets(kind, &["--keepalive", "0"], |socket| assert!(!socket.keepalive().expect("an option")));
        }
        sockets(Kind::UnixPath, &["-n", "--keepalive", "77s"], |_| {});
    }

    #[test]
    fn the_backlog_is_the_systems_maximum_or_what_was_asked_for() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
        let most: u32 = most.trim().parse().expect("a number");
        for (arguments, expected) in
            [(&["--backlog", "7"][..], 7.min(most)), (&[], most), (&["--backlog", "2147483647"], most)]
        {
            let remote = Remote::new(Kind::V4);
            let proxy = Proxy::between(Kind::V4, &remote).args(arguments).start();
            match duplicate(proxy.pid(), proxy.log.line("listening on ").descriptor()) {
                Ok(socket) => assert_eq!(accept_queue(&socket).1, expected),
                Err(error) => skip(&format!("pidfd_getfd: {error}")),
            }
        }
    }
}
