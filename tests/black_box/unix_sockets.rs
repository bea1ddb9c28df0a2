//! Unix sockets: what becomes of their files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

#[cfg(target_os = "linux")]
use crate::support::system::{open_descriptors, send_with_descriptor};
use crate::support::{Address, End, Kind, Line, Proxy, Remote, Stream, TempDir, run, until};

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The one message with which a proxy refuses to listen at this address.
fn refusal(address: &str) -> String {
    let finished = run(&["-l", address, "-r", "127.0.0.1:9"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""), "{}", finished.stdout);
    let last = finished.stdout.lines().last().and_then(|line| line.split_once("[main] "));
    last.unwrap_or_else(|| panic!("{}", finished.stdout)).1.to_string()
}

fn serves(proxy: &Proxy, remote: &Remote) {
    let (mut client, mut server) = proxy.session(remote);
    client.send("hello");
    server.expect("hello");
}

#[test]
fn the_file_is_removed_at_the_end() {
    let remote = Remote::new(Kind::UnixPath);
    let proxy = Proxy::between(Kind::UnixPath, &remote).start();
    let path = proxy.listeners[0].path().to_owned();
    assert!(is_socket(&path));
    serves(&proxy, &remote);
    // The directory is the proxy's: keep it until the file was looked for.
    proxy.signal(libc::SIGTERM);
    let mut proxy = proxy;
    proxy.exits();
    assert!(!exists(&path) && path.parent().is_some_and(Path::is_dir));
}

#[test]
fn the_files_of_datagram_sockets_are_removed_at_the_end() {
    for kind in [Kind::Packet, Kind::Datagram, Kind::FramedUnix] {
        let remote = Remote::new(kind);
        let mut proxy = Proxy::between(kind, &remote).start();
        let path = proxy.listeners[0].path().to_owned();
        drop(proxy.datagram_session(&remote, "hello"));
        assert!(is_socket(&path));
        proxy.signal(libc::SIGTERM);
        proxy.exits();
        assert!(!exists(&path) && path.parent().is_some_and(Path::is_dir), "{kind:?}");
    }
}

#[test]
fn the_file_is_removed_when_sessions_are_cut_off() {
    let remote = Remote::new(Kind::UnixPath);
    let mut proxy = Proxy::between(Kind::UnixPath, &remote).args(&["--drain-timeout", "1h"]).start();
    let path = proxy.listeners[0].path().to_owned();
    let (_client, mut server) = proxy.session(&remote);
    proxy.log.line("connect complete ");
    proxy.signal(libc::SIGTERM);
    proxy.log.line("signal 15");
    // The same signal at once would be taken for the first one, and the drain timeout would run its time.
    proxy.signal(libc::SIGINT);
    proxy.log.line("signal 2: sessions are reset");
    assert_eq!(server.end(), End::Eof, "a Unix socket without unread bytes knows no reset");
    proxy.exits();
    assert!(!exists(&path) && path.parent().is_some_and(Path::is_dir));
}

#[test]
fn the_file_is_removed_when_another_listener_fails() {
    let directory = TempDir::new();
    let taken = Remote::new(Kind::V4);
    let path = directory.path().join("socket");
    let listen = format!("unix:{}", path.display());
    let finished = run(&["-l", &listen, "-l", &taken.address.to_string(), "-r", "127.0.0.1:9"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stdout.contains("Address already in use"), "{}", finished.stdout);
    assert!(!exists(&path));
}

#[test]
fn a_stale_file_is_replaced() {
    let directory = TempDir::new();
    let path = directory.path().join("socket");
    // One left by a program that was killed.
    drop(UnixListener::bind(&path).expect("a socket"));
    assert!(is_socket(&path));
    let remote = Remote::new(Kind::UnixPath);
    let setup = || Proxy::on(&[]).listen_on(Address::Path(path.clone())).args(&["-r", &remote.address.to_string()]);
    let mut proxy = setup().start();
    serves(&proxy, &remote);
    proxy.kill();
    assert!(is_socket(&path));
    // And one left by the proxy itself.
    let proxy = setup().start();
    serves(&proxy, &remote);
    proxy.stop();
    assert!(!exists(&path));
}

#[test]
fn a_live_socket_is_an_error_and_stays_alive() {
    let remote = Remote::new(Kind::UnixPath);
    for kind in Kind::all().into_iter().filter(|kind| !kind.is_tcp()) {
        let proxy = Proxy::between(kind, &remote).start();
        let address = proxy.listeners[0].to_string();
        assert_eq!(refusal(&address), format!("bind error on server socket {address}: Address already in use"));
        if kind == Kind::UnixPath {
            // That somebody looked whether it is alive is a session of its own.
            drop(remote.accept());
            assert!(is_socket(proxy.listeners[0].path()));
        }
        serves(&proxy, &remote);
    }
}

/// Also one whose queue is full, so that it cannot be connected to.
#[test]
fn a_live_socket_that_is_busy_is_an_error() {
    let busy = Remote::with_backlog(Kind::UnixPath, 0);
    let _waits = fill(&busy);
    let address = busy.address.to_string();
    assert_eq!(refusal(&address), format!("bind error on server socket {address}: Address already in use"));
    assert!(is_socket(busy.address.path()));
}

/// Connects until the queue of a Unix socket is full.
fn fill(remote: &Remote) -> Vec<socket2::Socket> {
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        socket.connect(&remote.address.socket_address()).map(|()| socket)
    };
    std::iter::from_fn(|| connect().ok()).collect()
}

/// A remote whose queue is full is not a remote that refuses.
#[test]
fn a_busy_remote_is_waited_for() {
    let remote = Remote::with_backlog(Kind::UnixPath, 0);
    let waiting = fill(&remote);
    assert!(!waiting.is_empty());
    let proxy = Proxy::between(Kind::V4, &remote).start();
    let mut client = proxy.connect();
    client.send("hello");
    client.finish();
    proxy.log.line("connect client to proxy ");
    for _ in waiting {
        drop(remote.accept());
    }
    let mut server = remote.accept();
    assert_eq!(server.rest(), (b"hello".to_vec(), End::Eof));
    server.send("at last");
    drop(server);
    assert_eq!(client.rest(), (b"at last".to_vec(), End::Eof));
    assert_eq!(proxy.end().how, "end of stream");
}

#[test]
fn a_remote_that_stays_busy_resets_the_client() {
    let remote = Remote::with_backlog(Kind::UnixPath, 0);
    let _waiting = fill(&remote);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--connect-timeout", "300ms"]).start();
    assert_eq!(proxy.connect().end(), End::Reset);
    assert_eq!(proxy.end().how, "connect timeout");
}

#[test]
fn what_is_no_socket_is_an_error_and_is_left_alone() {
    let directory = TempDir::new();
    let file = directory.file("file", "precious");
    let subdirectory = directory.path().join("directory");
    fs::create_dir(&subdirectory).expect("a directory");
    let link = directory.path().join("link");
    symlink(&file, &link).expect("a link");
    for path in [&file, &subdirectory, &link] {
        let address = format!("unix:{}", path.display());
        let expected = format!("bind error on server socket {address}: the file exists and is not a socket");
        assert_eq!(refusal(&address), expected);
    }
    assert_eq!(fs::read_to_string(&link).expect("the file"), "precious");
    assert!(subdirectory.is_dir());

    let address = format!("unix:{}/missing/socket", directory.path().display());
    assert_eq!(refusal(&address), format!("bind error on server socket {address}: No such file or directory"));
}

#[test]
fn a_file_that_is_not_its_own_any_more_is_left_alone() {
    let directory = TempDir::new();
    let path = directory.path().join("socket");
    let remote = Remote::new(Kind::UnixPath);
    let setup = || Proxy::on(&[]).listen_on(Address::Path(path.clone())).args(&["-r", &remote.address.to_string()]);
    let first = setup().start();
    fs::remove_file(&path).expect("the file");
    let second = setup().start();
    first.stop();
    assert!(is_socket(&path));
    serves(&second, &remote);
    second.stop();
    assert!(!exists(&path));
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn an_abstract_name_is_free_again_at_once() {
    let remote = Remote::new(Kind::UnixAbstract);
    let name = Kind::UnixAbstract.fresh(&TempDir::new());
    for _ in 0..2 {
        let setup = Proxy::on(&[]).listen_on(name.clone()).args(&["-r", &remote.address.to_string()]);
        let mut proxy = setup.start();
        assert!(proxy.listeners.contains(&name));
        serves(&proxy, &remote);
        proxy.kill();
    }
    assert!(Stream::connect(&name).is_err());
}

#[test]
fn a_relative_path_is_relative_to_where_it_was_started() {
    let directory = TempDir::new();
    let path = directory.path().to_owned();
    let remote = Remote::new(Kind::UnixPath);
    let enter = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no NUL");
    let proxy = Proxy::on(&[])
        .args(&["-l", "unix:socket", "-r", &remote.address.to_string()])
        .before(move || {
            // SAFETY: the string ends in NUL and lives in the closure.
            match unsafe { libc::chdir(enter.as_ptr()) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
        .start();
    assert!(proxy.log.line("listening on ").message.starts_with("listening on unix:socket (fd="));
    until("the socket", || is_socket(&path.join("socket")).then_some(()));
    proxy.stop();
    assert!(!exists(&path.join("socket")));
}

/// One of them listens, and whoever says that it does can be reached; the others say that it is in use.
#[test]
fn of_several_that_start_at_once_on_one_path_one_listens() {
    for _ in 0..15 {
        let directory = TempDir::new();
        let path = directory.path().join("socket");
        // A stale file, which each wants to replace.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let listen = format!("unix:{}", path.display());
        let start = || {
            let setup = Proxy::on(&[]).args(&["-l", &listen, "-r", "echo:"]);
            let proxy = setup.start();
            let lines = proxy.log.wait("a listener or a failure", |lines| {
                let told = |line: &Line| line.message.starts_with("listening on ") || line.message.contains("in use");
                lines.iter().any(told).then(|| lines.to_vec())
            });
            (lines.iter().any(|line| line.message.starts_with("listening on ")), proxy)
        };
        let started: Vec<(bool, Proxy)> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..6).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().expect("a start")).collect()
        });
        assert_eq!(started.iter().filter(|(listens, _)| *listens).count(), 1);
        let mut client = Stream::connect(&Address::Path(path)).expect("a proxy that listens");
        client.send("hello");
        client.expect("hello");
    }
}

/// The system ends a read at a message with a descriptor, so that a short read need not be the last.
#[cfg(target_os = "linux")]
#[test]
fn messages_with_descriptors_arrive_all_and_the_descriptors_are_not_kept() {
    const MESSAGES: usize = 200;
    for upstream in [true, false] {
        for framed in [true, false] {
            let unix = if framed { Kind::FramedUnix } else { Kind::UnixPath };
            let other = if framed { Kind::Packet } else { Kind::V4 };
            let kinds = if upstream { [unix, other] } else { [other, unix] };
            let remote = Remote::new(kinds[1]);
            let proxy = Proxy::between(kinds[0], &remote).start();
            let (client, server) = proxy.datagram_session(&remote, "first");
            let (source, mut sink) = if upstream { (client, server) } else { (server, client) };
            let before = open_descriptors(proxy.pid()).len();
            for _ in 0..MESSAGES {
                send_with_descriptor(&source.stream.socket, b"\x00\x04text");
            }
            for _ in 0..MESSAGES {
                match framed {
                    true => sink.expect("text"),
                    false => sink.stream.expect("\0\u{4}text"),
                }
            }
            assert_eq!(open_descriptors(proxy.pid()).len(), before, "{kinds:?}");
        }
    }
}

/// A socket that waits in its own queue is open, whoever has closed it.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_sends_its_own_socket_and_is_gone_keeps_no_session() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::UnixPath, &remote).start();
    let count_open = || open_descriptors(proxy.pid()).len();
    let mut counts = Vec::new();
    for count in 1..=20 {
        let (client, mut server) = proxy.session(&remote);
        send_with_descriptor(&client.socket, b"A");
        send_with_descriptor(&client.socket, b"B");
        drop(client);
        assert_eq!(server.rest(), (b"AB".to_vec(), End::Eof));
        drop(server);
        assert_eq!(proxy.ended(count)[count - 1].how, "end of stream");
        counts.push(count_open());
    }
    until("descriptors that are closed", || (count_open() <= counts[0]).then_some(()));
}

/// Who has closed wholly can read nothing any more; who has only finished writing can.
#[test]
fn a_peer_that_has_closed_wholly_ends_its_session_and_one_that_has_finished_does_not() {
    for unix_client in [true, false] {
        let kinds = if unix_client { [Kind::UnixPath, Kind::V4] } else { [Kind::V4, Kind::UnixPath] };
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let session = || {
            let (client, server) = proxy.session(&remote);
            if unix_client { (client, server) } else { (server, client) }
        };

        let (mut unix, mut other) = session();
        unix.send("last words");
        unix.finish();
        assert_eq!(other.rest(), (b"last words".to_vec(), End::Eof));
        other.send("an answer");
        unix.expect("an answer");
        drop(other);
        assert_eq!(unix.end(), End::Eof);
        assert_eq!(proxy.ended(1)[0].how, "end of stream");

        let (mut unix, mut other) = session();
        unix.send("last words");
        drop(unix);
        // It neither ends nor sends anything.
        assert_eq!(proxy.ended(2)[1].how, "end of stream");
        assert_eq!(other.rest(), (b"last words".to_vec(), End::Eof));
    }
}
