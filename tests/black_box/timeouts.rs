//! Timeouts: never early, and at all.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::support::Stream;
use crate::support::{End, Kind, Proxy, Remote, at_once, ended, not_before};

#[cfg(target_os = "linux")]
#[test]
fn a_remote_that_does_not_answer_resets_the_client_after_the_connect_timeout() {
    for kind in Kind::tcp() {
        let (remote, _waits) = Remote::deaf(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--connect-timeout", "300ms"]).start();
        let start = Instant::now();
        let mut client = proxy.connect();
        assert_eq!(client.end(), End::Reset);
        not_before(start, Duration::from_millis(300));
        assert_eq!(proxy.end(), ended("connect timeout", 0, 0));
        let starting = proxy.log.line("connect starting proxy to remote ");
        let timeout = proxy.log.line("connect timeout proxy to remote ");
        assert_eq!(timeout.after("connect timeout "), starting.after("connect starting "));
    }
}

/// Also a Unix client: that it sent something which nobody read is its reset.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_client_of_a_remote_that_does_not_answer_is_cut_off() {
    let (remote, _waits) = Remote::deaf(Kind::V4);
    let proxy = Proxy::between(Kind::UnixPath, &remote).args(&["--connect-timeout", "300ms"]).start();
    let mut client = proxy.connect();
    client.send_unless_cut_off("hello");
    assert_eq!(client.end(), End::Reset);
    assert_eq!(proxy.end().how, "connect timeout");
}

#[cfg(target_os = "linux")]
#[test]
fn the_next_address_is_tried_after_the_connect_timeout() {
    use crate::support::{TempDir, skip, system::replacing};
    let directory = TempDir::new();
    let nsswitch = directory.file("nsswitch.conf", "hosts: files\n");
    let mut timeouts = 0;
    for names in ["127.0.0.1 two\n127.0.0.2 two\n", "127.0.0.2 two\n127.0.0.1 two\n"] {
        let (deaf, _waits) = Remote::deaf(Kind::V4);
        let port = deaf.address.port();
        let works = Remote::at_v4("127.0.0.2", port);
        let hosts = directory.file("hosts", names);
        let replace = replacing(&[("/etc/hosts", &hosts), ("/etc/nsswitch.conf", &nsswitch)]);
        let setup = Proxy::on(&[Kind::V4]).args(&["-r", &format!("two:{port}"), "--connect-timeout", "200ms"]);
        let Ok(proxy) = setup.before(replace).try_start() else { return skip("no mount namespaces") };
        let deaf_first = proxy.log.line("remote address = ").after("remote address = ").starts_with("127.0.0.1:");

        drop(proxy.connect());
        drop(works.accept());
        assert_eq!(proxy.end().how, "end of stream");
        let lines = proxy.stop();
        let timed_out = lines.iter().filter(|line| line.message.starts_with("connect timeout ")).count();
        assert_eq!(timed_out, usize::from(deaf_first));
        timeouts += timed_out;
    }
    if timeouts == 0 {
        skip("the resolver puts the address that works first, whatever the order in /etc/hosts");
    }
}

#[test]
fn an_idle_session_is_reset_and_one_that_trickles_is_not() {
    // No pause of a slow machine is as long.
    const IDLE: Duration = Duration::from_secs(3);
    let trickles = |kind: Kind| {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--idle-timeout", "3s"]).start();
        let (mut client, mut server) = proxy.session(&remote);
        // A byte now and then, in one direction only, for longer than the timeout. (The pauses are the load.)
        let start = Instant::now();
        let mut last = start;
        let mut count = 0;
        while start.elapsed() < IDLE.mul_f32(1.25) {
            last = Instant::now();
            client.send("x");
            server.expect("x");
            count += 1;
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(client.end(), End::Reset);
        not_before(last, IDLE);
        assert_eq!(server.end(), End::Reset);
        assert_eq!(proxy.end(), ended("idle timeout", count, 0));
    };
    at_once(Kind::tcp(), trickles);
}

#[test]
fn the_idle_timeout_is_for_sessions_that_are_half_closed_too() {
    // Within this the first end must have come through, also on a slow machine.
    const IDLE: Duration = Duration::from_millis(2500);
    let times_out = |kind: Kind, client_finishes: bool| {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--idle-timeout", "2500ms"]).start();
        let start = Instant::now();
        let (client, server) = proxy.session(&remote);
        let (mut finisher, mut other) = if client_finishes { (client, server) } else { (server, client) };
        finisher.finish();
        assert_eq!(other.end(), End::Eof);
        let end = if kind.is_tcp() { End::Reset } else { End::Eof };
        assert_eq!(finisher.end(), end, "{kind:?}");
        not_before(start, IDLE);
        assert_eq!(proxy.end(), ended("idle timeout", 0, 0));
    };
    thread::scope(|scope| {
        for kind in Kind::all() {
            for client_finishes in [true, false] {
                scope.spawn(move || times_out(kind, client_finishes));
            }
        }
    });
}

#[test]
fn many_idle_sessions_time_out_each_for_itself() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--idle-timeout", "500ms", "-t", "2"]).start();
    let mut sessions: Vec<_> = (0..100).map(|_| (Instant::now(), proxy.session(&remote))).collect();
    for (start, (client, server)) in &mut sessions {
        assert_eq!((client.end(), server.end()), (End::Reset, End::Reset));
        not_before(*start, Duration::from_millis(500));
    }
    assert!(proxy.ended(100).iter().all(|end| *end == ended("idle timeout", 0, 0)));
}

/// A reader that never reads stops its writer, and the proxy does not hold what is on the way.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_never_reads_stops_its_writer_until_the_idle_timeout() {
    use crate::support::system::memory;
    let stops = |kind: Kind, upstream: bool| {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--idle-timeout", "2500ms"]).start();
        let (client, server) = proxy.session(&remote);
        let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
        source.send("x");
        sink.wait_for_unread(1);
        let before = memory(proxy.pid(), "VmHWM");
        // That it comes to an end means that it was stopped: a gigabyte would fit into no buffer but the proxy's.
        let sent = source.send_until_cut_off(1 << 30) + 1;
        // Free memory may have been given back meanwhile, and the system's counts are not exact.
        let most = memory(proxy.pid(), "VmHWM").saturating_sub(before);
        assert!(most < 2 << 20, "{most} bytes of memory for two buffers");
        let end = proxy.end();
        let moved = if upstream { end.upstream } else { end.downstream };
        assert_eq!((end.how.as_str(), end.upstream + end.downstream), ("idle timeout", moved));
        assert!(moved >= 1 && moved <= sent as u64);
        let (received, end) = sink.rest();
        assert!(received.len() as u64 <= moved);
        assert!(!kind.is_tcp() || end == End::Reset);
    };
    let cases = [(Kind::V4, true), (Kind::V4, false), (Kind::UnixPath, true), (Kind::UnixPath, false)];
    at_once(cases, |(kind, upstream)| stops(kind, upstream));
}

/// What came while a process was stopped comes before the time that passed.
#[cfg(target_os = "linux")]
#[test]
fn a_proxy_that_was_stopped_sees_first_what_came_meanwhile() {
    use crate::support::{system::is_stopped, until};
    let goes_on = |option: &str| {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&[option, "2500ms"]).start();
        let (mut client, mut server) = proxy.session(&remote);
        client.send("before");
        server.expect("before");
        proxy.signal(libc::SIGSTOP);
        until("a stopped process", || is_stopped(proxy.pid()).then_some(()));
        let stopped = Instant::now();
        client.send("meanwhile");
        // In the queue, so that it is to be accepted and connected afterwards.
        let mut late = proxy.connect();
        late.send("late");
        until("the timeout", || (stopped.elapsed() > Duration::from_secs(3)).then_some(()));
        proxy.signal(libc::SIGCONT);
        server.expect("meanwhile");
        server.send("after");
        client.expect("after");
        remote.accept().expect("late");
    };
    at_once(["--idle-timeout", "--connect-timeout"], goes_on);
}

/// What was sent to a client may wait in the system, where nothing says that it gets less.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_reads_slowly_is_not_idle() {
    const BYTES: usize = 64_000;
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--idle-timeout", "4s"]).start();
    let socket = proxy.listeners[0].socket().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket");
    socket.connect(&proxy.listeners[0].socket_address()).expect("a proxy that listens");
    let mut client = Stream::new(socket).expect("a socket");
    let mut server = remote.accept();
    server.send(vec![7; BYTES]);
    for _ in 0..BYTES / 1000 {
        thread::sleep(Duration::from_millis(90));
        client.expect([7; 1000]);
    }
    assert_eq!(proxy.log.so_far().iter().filter(|line| line.message.starts_with("disconnect ")).count(), 0);
    drop(client);
    drop(server);
    assert_eq!(proxy.end().downstream, BYTES as u64);
}

#[test]
fn a_session_lasts_no_longer_than_it_may_whatever_moves() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--session-timeout", "300ms"]).start();
    let start = Instant::now();
    let (mut client, mut server) = proxy.session(&remote);
    // It is never idle.
    while client.write_all(b"x").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
    not_before(start, Duration::from_millis(300));
    assert_eq!(server.rest().1, End::Reset);
    assert_eq!(proxy.end().how, "session timeout");
}

#[test]
fn a_half_closed_session_may_be_silent_only_so_long() {
    const SILENCE: Duration = Duration::from_millis(2500);
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--half-close-timeout", "2500ms"]).start();
    // One that is not half-closed goes on.
    let (mut other, mut whole) = proxy.session(&remote);
    let (mut client, mut server) = proxy.session(&remote);
    server.finish();
    assert_eq!(client.end(), End::Eof);
    let start = Instant::now();
    client.send("still here");
    server.expect("still here");
    assert_eq!(server.end(), End::Reset);
    not_before(start, SILENCE);
    assert_eq!(proxy.end(), ended("half-close timeout", 10, 0));
    other.send("so am I");
    whole.expect("so am I");
}
