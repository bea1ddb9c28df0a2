//! When clients may come in: outside the allowed times they are refused, and sessions are reset where that is asked for.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Address, End, Kind, Line, Peer, Proxy, Remote, Stream, TempDir, until};

/// A zone in which the clocks show now that it is so many seconds after midnight.
pub fn zone_at(second: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() as i64;
    let ahead = (second - now + 43_200).rem_euclid(86_400) - 43_200;
    // In the form of POSIX, what is ahead has a minus.
    let (sign, by) = if ahead < 0 { ('+', -ahead) } else { ('-', ahead) };
    format!("TST{sign}{}:{:02}:{:02}", by / 3600, by / 60 % 60, by % 60)
}

const NOON: i64 = 12 * 3600;

/// What the log says of the first one that is refused.
const REFUSED: &str = "clients refused: 1 by allow-time, 1 so far, the last one from ";

fn is_answered(client: &mut Stream) {
    client.send("there and back");
    client.expect("there and back");
}

#[test]
fn clients_are_let_in_at_the_allowed_times_only() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for more in [&["-t1"][..], &["-t2", "--reuse-port"]] {
            let remote = Remote::new(Kind::V4);
            let setup = || Proxy::between(kind, &remote).env("TZ", &zone_at(NOON)).args(more);
            let proxy = setup().args(&["--allow-time", "18:00-08:00", "--allow-time=daily 11:00-11:30"]).start();
            let refused = if kind.is_tcp() { End::Reset } else { End::Eof };
            assert_eq!(proxy.connect().end(), refused, "{kind:?}");
            let from = if kind.is_tcp() { "127.0.0.1" } else { "a Unix socket" };
            proxy.log.line(&format!("{REFUSED}{from}"));
            assert!(remote.has_nobody());
            drop(proxy);

            let proxy = setup().args(&["--allow-time=11:00-13:00"]).start();
            let (mut client, mut server) = proxy.session(&remote);
            client.send("let in");
            server.expect("let in");
        }
    }
}

#[test]
fn datagrams_of_new_sources_are_dropped_at_other_times() {
    let (remote, other) = (Remote::new(Kind::Udp), Remote::new(Kind::Udp));
    let directory = TempDir::new();
    let service = |name: &str, remote: &Remote, times: &str| {
        format!(
            "[service.{name}]\nlisten = \"udp:127.0.0.1:0\"\nremote = \"{}\"\nallow-time = \"{times}\"\n",
            remote.address
        )
    };
    let text = service("closed", &remote, "13:00-14:00") + &service("open", &other, "11:00-13:00");
    let path = directory.file("cproxy.toml", &text);
    let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).env("TZ", &zone_at(NOON)).start();
    let peer = |service: &str| Peer::connect(&listener(&proxy, service)).expect("a socket");
    let mut refused = peer("closed");
    refused.send("refused");
    proxy.log.line(&format!("service closed: {REFUSED}127.0.0.1"));
    let mut client = peer("open");
    client.send("let in");
    let mut server = other.peer();
    server.expect("let in");
    server.reaches(&mut client, "an answer");
    assert!(refused.stream.is_silent());
}

/// Where a service of a file listens.
fn listener(proxy: &Proxy, service: &str) -> Address {
    let end = format!(", service {service}");
    let line = proxy.log.wait("a listener", |lines| {
        let is_it = |line: &&Line| line.message.starts_with("listening on ") && line.message.ends_with(&end);
        lines.iter().find(is_it).cloned()
    });
    Address::parse(line.after("listening on ").split(" (fd=").next().expect("an address"))
}

/// Both services are open until six; the sessions of the first one end then.
fn write(directory: &TempDir, times: &str) -> std::path::PathBuf {
    let service = |name: &str, more: &str| {
        format!("[service.{name}]\nlisten = \"127.0.0.1:0\"\nremote = \"echo:\"\nallow-time = \"{times}\"\n{more}\n")
    };
    directory.file("cproxy.toml", &(service("ends", "end-outside-time = true") + &service("goes-on", "")))
}

fn configured(path: &Path, second: i64) -> Proxy {
    let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).env("TZ", &zone_at(second)).start();
    listener(&proxy, "goes-on");
    proxy
}

/// A client of a service that is answered, if it comes in time.
fn session(proxy: &Proxy, service: &str) -> Option<Stream> {
    let mut client = Stream::connect(&listener(proxy, service)).expect("a listener");
    // It may have been reset already.
    let _ = client.write(b"x");
    matches!(client.read(&mut [0]), Ok(1)).then_some(client)
}

#[test]
fn sessions_end_with_their_time_where_that_is_asked_for() {
    let directory = TempDir::new();
    let path = write(&directory, "08:00-18:00");
    // On a slow machine it may be six before both sessions are there.
    for seconds_left in [3, 10, 50] {
        let proxy = configured(&path, 18 * 3600 - seconds_left);
        let sessions = (session(&proxy, "ends"), session(&proxy, "goes-on"));
        let (Some(mut ends), Some(mut goes_on)) = sessions else { continue };
        assert_eq!(ends.end(), End::Reset);
        let end = proxy.end();
        assert_eq!((end.how.as_str(), end.upstream, end.downstream), ("outside the allowed times", 1, 1));
        is_answered(&mut goes_on);
        for service in ["ends", "goes-on"] {
            assert!(session(&proxy, service).is_none(), "{service}");
            proxy.log.line(&format!("service {service}: {REFUSED}127.0.0.1"));
        }
        return is_answered(&mut goes_on);
    }
    panic!("the sessions are too late each time");
}

#[test]
fn times_begin_while_the_program_runs_and_sessions_keep_theirs_after_a_reload() {
    let directory = TempDir::new();
    let path = write(&directory, "18:00-18:30");
    let proxy = configured(&path, 18 * 3600 - 2);
    let [mut one, mut other] = ["ends", "goes-on"].map(|service| until("six", || session(&proxy, service)));
    write(&directory, "20:00-21:00");
    let before = proxy.log.so_far().len();
    proxy.signal(libc::SIGHUP);
    proxy.log.line("reload: services added: 0, changed: 2, removed: 0");
    let said = proxy.log.so_far()[before..].iter().map(|line| line.message.clone()).collect::<Vec<_>>();
    assert!(said.contains(&"reload: service ends changed: allow-time".to_string()), "{said:?}");
    for service in ["ends", "goes-on"] {
        assert!(session(&proxy, service).is_none(), "{service}");
    }
    is_answered(&mut one);
    is_answered(&mut other);
    fs::remove_file(path).expect("the file");
}
