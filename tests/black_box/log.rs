//! The log: its lines, whose they are, and what happens when nobody takes them.

use chrono::{Duration, Local, NaiveDateTime, Utc};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::thread;

use crate::support::{Address, End, Kind, Line, Output, Proxy, Remote, Stream, TempDir, ended, until};

/// The thread and message of each line.
fn texts(lines: &[Line]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line.thread.as_str(), line.message.as_str())).collect()
}

/// A session that says a few bytes each way and ends.
fn short_session(mut client: Stream, remote: &Remote) {
    client.send("ping");
    let mut server = remote.accept();
    server.expect("ping");
    server.send("pong!");
    client.expect("pong!");
    client.finish();
    assert_eq!(server.end(), End::Eof);
    drop(server);
    assert_eq!(client.end(), End::Eof);
}

#[test]
fn the_start_is_logged_in_the_originals_words() {
    let backend = if cfg!(mio_unsupported_force_poll_poll) {
        "using poll"
    } else if cfg!(any(target_os = "linux", target_os = "android")) {
        "using epoll"
    } else {
        "using kqueue"
    };
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath])
        .args(&["-r", &remote.address.to_string(), "-n", "-b", "5000", "-t", "2"])
        .start();
    let lines = proxy.log.so_far();
    let listening: Vec<_> = proxy
        .log
        .lines("listening on ", 2)
        .iter()
        .zip(&proxy.listeners)
        .map(|(line, address)| format!("listening on {address} (fd={})", line.descriptor()))
        .collect();
    let expected = [
        &format!("remote address = {}", remote.address),
        "buffer size = 5000",
        "no delay = 1",
        "num io threads = 2",
        backend,
        &lines[5].message,
        &listening[0],
        &listening[1],
    ];
    assert_eq!(texts(&lines), expected.map(|message| ("main", message)));
    let limit = lines[5].after("descriptor limit = ").split_once(" (").expect("two numbers");
    let sessions = limit.1.split_once(" sessions").map(|(number, _)| number.parse::<u64>());
    assert!(matches!((limit.0.parse::<u64>(), sessions), (Ok(d), Some(Ok(s))) if s >= 1 && 2 * s < d), "{lines:?}");
}

/// Lanes are on one line when their session ends, and have lines of their own when something happens to them.
#[test]
fn the_lanes_of_a_session_are_one_line() {
    let remote = Remote::new(Kind::V4);
    let closing = Remote::new(Kind::V4);
    let far = Proxy::on(&[]).args(&["-l", "stripe:127.0.0.1:0", "-r", &remote.address.to_string()]).start();
    let listening = far.log.line("listening on ");
    let (stripe, _) = listening.after("listening on ").split_once(" (fd=").expect("a descriptor");
    let near = Proxy::on(&[Kind::V4]).args(&["-r", &format!("{stripe}+{}", closing.address), "--lanes", "2"]).start();
    let start = near.log.so_far().len();
    let client = near.connect();
    // The second lane is dialled again and again.
    (0..3).for_each(|_| drop(closing.accept()));
    short_session(client, &remote);
    for proxy in [&near, &far] {
        let end = &proxy.log.lines_with(": lanes at the end: ", 1)[0].message;
        assert!(end.contains(": 0 127.0.0.1:") && !end.contains("; 1 "), "{end}");
        assert!(end.contains("sent ") && end.contains(" bytes sent again, round trip "), "{end}");
        assert_eq!(proxy.log.lines_with(", 1 lanes, 0 bytes sent again", 1).len(), 1);
    }
    let lines = near.stop();
    let lanes: Vec<_> = texts(&lines[start..]).into_iter().filter(|(_, message)| message.contains(": lane ")).collect();
    let [(_, lane)] = lanes[..] else { panic!("{lanes:?}") };
    assert!(lane.contains(&format!(": lane 1 to {} failed: ", closing.address)), "{lane}");
    assert!(far.stop().iter().all(|line| !line.message.contains(": lane ")));
}

#[test]
fn a_session_is_logged_in_the_originals_words() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).start();
        let start = proxy.log.so_far().len();
        let client = proxy.connect();
        let mut server = remote.accept();
        let routes = if kind.is_tcp() {
            [(client.local(), client.peer()), (server.peer(), server.local())]
        } else {
            [&proxy.listeners[0], &remote.address].map(|address| ("unix:".to_string(), address.to_string()))
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut client = client;
                client.send("ping");
                client.expect("pong!");
                client.finish();
                assert_eq!(client.end(), End::Eof);
            });
            server.expect("ping");
            server.send("pong!");
            assert_eq!(server.end(), End::Eof);
            server.finish();
        });
        assert_eq!(proxy.end(), ended("end of stream", 4, 5));

        let fd = proxy.log.line("connect client to proxy ").descriptor();
        let remote_fd = proxy.log.line("connect complete proxy to remote ").descriptor();
        assert!(fd > 2 && remote_fd > 2 && fd != remote_fd);
        let client_route = format!("{} -> {} (fd={fd})", routes[0].0, routes[0].1);
        let remote_route = format!("{} -> {} (fd={remote_fd})", routes[1].0, routes[1].1);
        let bytes = "end of stream, upstream 4 bytes, downstream 5 bytes";
        let expected = [
            format!("connect client to proxy {client_route}"),
            format!("connect starting proxy to remote {remote_route}"),
            format!("connect complete proxy to remote {remote_route}"),
            format!("disconnect client to proxy {client_route}: {bytes}"),
            format!("disconnect proxy to remote {remote_route}: {bytes}"),
        ];
        let lines = proxy.stop();
        let of_thread = |thread| {
            let lines = lines[start..].iter().filter(move |line| line.thread == thread);
            lines.map(|line| line.message.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(of_thread("io-0"), expected);
        assert_eq!(of_thread("acceptor"), [format!("accepted fd {fd}")]);
        assert_eq!(of_thread("main").len(), 1, "the signal, and nothing else: {lines:?}");
        assert_eq!(lines.len() - start, 7);
    }
}

#[test]
fn a_client_of_a_wildcard_address_is_logged_with_the_address_it_called() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[]).args(&["-l", "0.0.0.0:0", "-r", &remote.address.to_string()]).start();
    let listening = proxy.log.line("listening on 0.0.0.0:");
    let port: u16 =
        listening.after("listening on 0.0.0.0:").split(" (").next().and_then(|p| p.parse().ok()).expect("a port");
    let client =
        Stream::new(std::net::TcpStream::connect(("127.0.0.1", port)).expect("a proxy").into()).expect("a socket");
    let line = proxy.log.line("connect client to proxy ");
    assert!(line.message.contains(&format!(" {} -> 127.0.0.1:{port} (fd=", client.local())), "{line:?}");
}

#[test]
fn times_are_local_and_never_go_back_within_a_thread() {
    // (In POSIX's form, east of Greenwich is negative.)
    for (zone, minutes) in [("UTC0", 0), ("<+0545>-5:45", 345), ("<-03>3", -180)] {
        let before = Utc::now().naive_utc();
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).env("TZ", zone).start();
        short_session(proxy.connect(), &remote);
        let lines = proxy.stop();
        let after = Utc::now().naive_utc();
        let mut last: HashMap<&str, NaiveDateTime> = HashMap::new();
        for line in &lines {
            let utc = line.time - Duration::minutes(minutes);
            // The log counts whole microseconds.
            assert!(
                before - Duration::microseconds(1) <= utc && utc <= after,
                "{zone}: {line:?}, not {before} to {after}"
            );
            let last = last.entry(&line.thread).or_insert(line.time);
            assert!(*last <= line.time, "{lines:?}");
            *last = line.time;
        }
    }
    // Without a zone of its own it is the machine's.
    let before = Local::now().naive_local();
    let proxy = Proxy::on(&[Kind::V4]).args(&["-r", "127.0.0.1:9"]).start();
    let first = proxy.log.so_far()[0].time;
    assert!(before - Duration::microseconds(1) <= first && first <= Local::now().naive_local());
}

/// Many threads log at once: no line is torn, lost or doubled. (Every line that the harness reads is taken apart.)
#[test]
fn lines_of_different_threads_do_not_mix() {
    const CLIENTS: usize = 4;
    const SESSIONS: usize = 250;
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["-t", "4"]).start();
    let start = proxy.log.so_far().len();
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..SESSIONS {
                    let mut client = proxy.connect();
                    client.send("x");
                    client.finish();
                    assert_eq!(client.rest(), (b"x".to_vec(), End::Eof));
                }
            });
        }
        for _ in 0..CLIENTS * SESSIONS {
            let mut server = remote.accept();
            let (bytes, _) = server.rest();
            server.send(bytes);
        }
    });
    assert!(proxy.ended(CLIENTS * SESSIONS).iter().all(|end| *end == ended("end of stream", 1, 1)));
    let lines = proxy.stop();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for line in lines[start..].iter().filter(|line| line.thread != "main") {
        let event: Vec<_> = line.message.split(' ').take(2).collect();
        *counts
            .entry(format!("{} {}", line.thread.trim_end_matches(char::is_numeric), event.join(" ")))
            .or_default() += 1;
        assert!(line.thread == "acceptor" || line.message.contains("(fd="), "{line:?}");
    }
    let all = CLIENTS * SESSIONS;
    let expected = [
        ("acceptor accepted fd", all),
        ("io- connect client", all),
        ("io- connect starting", all),
        ("io- connect complete", all),
        ("io- disconnect client", all),
        ("io- disconnect proxy", all),
    ];
    assert_eq!(counts, expected.map(|(event, count)| (event.to_string(), count)).into());
    for thread in 0..4 {
        let name = format!("io-{thread}");
        let of_thread = lines.iter().filter(|line| line.thread == name && line.message.starts_with("connect client"));
        assert_eq!(of_thread.count(), all / 4);
    }
}

/// A reader of standard output that stops reading stops nothing but the log; what it then misses is counted.
#[test]
fn an_unread_output_stalls_nothing() {
    let remote = Remote::new(Kind::V4);
    let mut proxy = Proxy::between(Kind::UnixPath, &remote).output(Output::Unread).start();
    let mut early = proxy.connect_when_up();
    let mut early_server = remote.accept();
    // Each session makes over 600 bytes of lines, of which a mebibyte a thread waits for the reader.
    const SESSIONS: usize = 5000;
    for _ in 0..SESSIONS {
        short_session(proxy.connect(), &remote);
    }
    early.send("still there?");
    early_server.expect("still there?");

    proxy.read_output();
    proxy.log.wait("lines lost", |lines| {
        lines.iter().any(|line| line.message.ends_with(" lines lost: standard output did not take them")).then_some(())
    });
    drop((early, early_server));
    let lines = proxy.stop();
    let (lost, rest): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| line.thread == "log");
    let lost: usize = lost.iter().filter_map(|line| line.message.split(' ').next()?.parse::<usize>().ok()).sum();
    // Everything is there, or it is counted: seven lines at the start, one at the end, six for each session.
    assert_eq!(rest.len() + lost, 7 + 1 + 6 * (SESSIONS + 1));
    assert!(lost > 0 && rest.len() > 1000);
}

/// The same with a pipe that is full when the proxy is to end.
#[test]
fn an_unread_output_keeps_nothing_from_ending() {
    let remote = Remote::new(Kind::V4);
    let mut proxy = Proxy::between(Kind::UnixPath, &remote).output(Output::Unread).start();
    short_session(proxy.connect_when_up(), &remote);
    for _ in 0..500 {
        short_session(proxy.connect(), &remote);
    }
    proxy.signal(libc::SIGTERM);
    proxy.exits();
}

/// The proxy works, and ends cleanly, without a standard output that takes anything.
fn works_without_output(output: Output, break_it: impl FnOnce(&mut Proxy)) {
    let remote = Remote::new(Kind::V4);
    let mut proxy = Proxy::between(Kind::UnixPath, &remote).output(output).start();
    short_session(proxy.connect_when_up(), &remote);
    break_it(&mut proxy);
    for _ in 0..50 {
        short_session(proxy.connect(), &remote);
    }
    assert!(proxy.runs());
    proxy.signal(libc::SIGTERM);
    proxy.exits();
}

#[test]
fn a_closed_output_stops_nothing() {
    works_without_output(Output::Closed, |_| {});
}

#[test]
fn an_output_that_nobody_can_read_stops_nothing() {
    works_without_output(Output::Unread, |proxy| drop(proxy.take_output()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_stops_nothing() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    works_without_output(Output::File(full), |_| {});
}

#[test]
fn the_log_can_go_to_a_file() {
    let directory = crate::support::TempDir::new();
    let path = directory.file("log", "");
    let file = File::options().append(true).open(&path).expect("the file");
    works_without_output(Output::File(file), |_| {});
    let text = std::fs::read_to_string(path).expect("the file");
    let lines: Vec<Line> =
        text.lines().map(|line| Line::parse(line).unwrap_or_else(|error| panic!("{error}"))).collect();
    assert_eq!(lines.iter().filter(|line| line.message.starts_with("disconnect client ")).count(), 51);
}

#[test]
fn a_file_that_may_not_grow_stops_nothing() {
    const MOST: u64 = 2000;
    let directory = TempDir::new();
    let path = directory.path().join("log");
    let remote = Remote::new(Kind::V4);
    let limit = || {
        let limit = libc::rlimit { rlim_cur: MOST, rlim_max: MOST };
        // SAFETY: the pointer is to a live rlimit.
        match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    let setup = Proxy::on(&[]).listen_on(Kind::UnixPath.fresh(&directory)).to(&remote.address);
    let mut proxy = setup.before(limit).output(Output::File(File::create(&path).expect("a file"))).start();
    for _ in 0..20 {
        short_session(proxy.connect_when_up(), &remote);
    }
    until("a full file", || (path.metadata().expect("the file").len() == MOST).then_some(()));
    short_session(proxy.connect_when_up(), &remote);
    assert!(proxy.runs());
}

/// A client of a Unix datagram socket is known by the name that it is bound to, which it chose.
#[test]
fn a_name_that_a_peer_chose_cannot_forge_a_line() {
    const FORGED: &str = "x\n2026-Nov-20 20:47:01.123456 [any] forged\r\u{1b}[2J\u{202e}";
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Datagram, &remote).start();
    let directory = TempDir::new();
    let path = directory.path().join(FORGED);
    let client = UnixDatagram::bind(&path).expect("a name that fits");
    client.send_to(b"hello", proxy.listeners[0].path()).expect("a proxy that listens");
    assert_eq!(remote.receive_from().0, b"hello");
    let shown = format!(
        "connect client to proxy unixgram:{}/{} -> {} (fd=",
        directory.path().display(),
        r"x\n2026-Nov-20 20:47:01.123456 [any] forged\r\u{1b}[2J\u{202e}",
        proxy.listeners[0]
    );
    proxy
        .log
        .wait("the client's name", |lines| lines.iter().any(|line| line.message.starts_with(&shown)).then_some(()));
}

#[test]
fn a_service_can_have_a_level_of_its_own() {
    let directory = TempDir::new();
    let remote = Remote::new(Kind::V4);
    let paths = ["loud", "plain", "quiet"].map(|name| directory.path().join(name));
    let service = |number: usize, level: &str| {
        let (path, name) = (paths[number].display(), ["loud", "plain", "quiet"][number]);
        format!("[service.{name}]\nlisten = \"unix:{path}\"\nremote = \"{}\"\n{level}", remote.address)
    };
    let session = |number: usize| {
        let address = Address::Path(paths[number].clone());
        short_session(until("a proxy that listens", || Stream::connect(&address).ok()), &remote);
    };
    let text = format!("log-level = \"warn\"\n{}{}", service(0, "log-level = \"info\"\n"), service(1, ""));
    let config = directory.file("some.toml", &text);
    let proxy = Proxy::on(&[]).args(&["-c", config.to_str().expect("a path")]).start();
    session(1);
    session(0);
    proxy.log.lines("disconnect ", 2);
    let lines = proxy.stop();
    let of_loud = format!("unix: -> unix:{} ", paths[0].display());
    let clients: Vec<_> = lines.iter().filter(|line| line.message.contains(" client ")).collect();
    assert_eq!(clients.len(), 2, "{lines:?}");
    assert!(clients.iter().all(|line| line.message.contains(&of_loud)), "{lines:?}");
    assert!(!lines.iter().any(|line| line.thread == "main"), "{lines:?}");

    let config = directory.file("few.toml", &(service(2, "log-level = \"warn\"\n") + &service(1, "")));
    let proxy = Proxy::on(&[]).args(&["-c", config.to_str().expect("a path")]).start();
    session(2);
    session(1);
    let lines = proxy.stop();
    let clients: Vec<_> = lines.iter().filter(|line| line.message.starts_with("connect client")).collect();
    assert_eq!(clients.len(), 1, "{lines:?}");
    assert!(clients[0].message.contains(&paths[1].display().to_string()), "{lines:?}");
}
