//! What is found out about remotes without a session, and what follows from it.

use std::fs;
use std::io::{Read, Write};
use std::thread;

use crate::support::{Address, End, Kind, Line, Proxy, Remote, Setup, Stream, TempDir, until};

/// Checks that come soon after each other, so that tests do not wait long, and that a slow machine does not fail.
const CHECKS: [&str; 8] = ["--check-interval", "100ms", "--check-timeout", "30s", "--rise", "2", "--fall", "2"];

/// At the end no session is waited for.
fn without_drain(setup: Setup) -> Setup {
    setup.args(&["--drain-timeout", "0s"])
}

fn between(remotes: &[&Remote]) -> Setup {
    remotes.iter().fold(without_drain(Proxy::on(&[Kind::V4])), |setup, remote| setup.to(&remote.address))
}

/// Where the first sessions were connected to.
fn chosen(proxy: &Proxy, count: usize) -> Vec<String> {
    let to = |line: &Line| line.message.split(" -> ").nth(1)?.split(" (fd=").next().map(str::to_owned);
    proxy.log.lines("connect complete proxy to remote ", count).iter().filter_map(to).collect()
}

/// Has so many more clients come, and says where they were connected to; not in their order, as connections that are under
/// way at the same time may be complete in any order.
fn clients(proxy: &Proxy, count: usize) -> Vec<String> {
    let before = proxy.log.so_far().iter().filter(|line| is_complete(line)).count();
    let _clients: Vec<Stream> = (0..count).map(|_| proxy.connect()).collect();
    let mut chosen = chosen(proxy, before + count).split_off(before);
    chosen.sort();
    chosen
}

fn is_complete(line: &Line) -> bool {
    line.message.starts_with("connect complete proxy to remote ")
}

/// Whether a session has tried this remote.
fn is_attempt_at(line: &Line, remote: &Remote) -> bool {
    line.message.starts_with("connect starting proxy to remote ")
        && line.message.contains(&format!(" -> {} (fd=", remote.address))
}

/// The lines that the keeper has logged.
fn told(lines: &[Line]) -> Vec<&str> {
    lines.iter().filter(|line| line.thread == "health").map(|line| line.message.as_str()).collect()
}

/// Ends listening, and says where it can be taken up again.
pub fn close(remote: Remote) -> Address {
    // A program that another test starts has this socket, too, until it runs.
    let _ = remote.socket.shutdown(std::net::Shutdown::Both);
    remote.address.clone()
}

pub fn reopen(address: &Address) -> Remote {
    // A connection to the port that an earlier one had may linger.
    until("the port", || {
        let socket = address.socket().ok()?;
        socket.set_reuse_address(true).ok()?;
        socket.bind(&address.socket_address()).ok()?;
        drop(socket);
        Some(Remote::at(address.clone(), 4096, None))
    })
}

#[test]
fn a_remote_that_checks_find_down_gets_no_sessions_until_it_is_up() {
    let (one, other) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
    let proxy = between(&[&one, &other]).args(&CHECKS).start();
    let both = [one.address.to_string(), other.address.to_string()];
    let mut twice = [&both[..], &both[..]].concat();
    twice.sort();
    assert_eq!(clients(&proxy, 4), twice, "nothing is held against any at the start");

    let address = close(one);
    let down = format!("remote {address} is down: check failed: Connection refused; ");
    proxy.log.line(&down);
    let seen = proxy.log.so_far().len();
    assert_eq!(clients(&proxy, 4), [(); 4].map(|()| other.address.to_string()));

    let one = reopen(&address);
    let up = format!("remote {address} is up: checks pass; ");
    proxy.log.line(&up);
    until("a session", || clients(&proxy, 2).contains(&both[0]).then_some(()));
    let lines = proxy.stop();
    let up_at = lines.iter().position(|line| line.message.starts_with(&up)).expect("a line");
    let before = &lines[seen..up_at];
    assert_eq!(before.iter().filter(|line| is_attempt_at(line, &one)).count(), 0, "none has even tried it");
    let told = told(&lines);
    assert_eq!(told.len(), 2, "one line each: {told:?}");
}

/// All kinds of remotes: beside one that works, one that refuses, or is not even there.
#[cfg(target_os = "linux")]
#[test]
fn remotes_of_every_kind_are_checked() {
    let works = Remote::new(Kind::V4);
    let directory = TempDir::new();
    let gone = |kind: Kind| {
        let address = kind.fresh(&directory);
        let socket = address.socket().expect("a socket");
        socket.bind(&address.socket_address()).expect("a free address");
        let address = address.bound(&socket);
        // Who has a port keeps it, so that nobody else gets it: it refuses streams, and datagrams that come from others.
        let has_port = matches!(kind, Kind::Udp | Kind::Framed | Kind::Stripe);
        if kind == Kind::Udp {
            socket.connect(&address.socket_address()).expect("itself");
        }
        (has_port.then_some(socket), address)
    };
    for (kind, reason) in [
        (Kind::UnixPath, "Connection refused"),
        (Kind::UnixAbstract, "Connection refused"),
        (Kind::Packet, "Connection refused"),
        (Kind::Udp, "Connection refused"),
        (Kind::Datagram, "Connection refused"),
        (Kind::Framed, "Connection refused"),
        (Kind::FramedUnix, "Connection refused"),
        (Kind::Stripe, "Connection refused"),
    ] {
        let (_held, bad) = gone(kind);
        let proxy = without_drain(Proxy::between(Kind::V4, &works)).to(&bad).args(&CHECKS).start();
        proxy.log.line(&format!("remote {bad} is down: check failed: {reason}; no session"));
        assert_eq!(clients(&proxy, 3), [(); 3].map(|()| works.address.to_string()));
        drop(proxy);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn who_waits_for_a_remote_that_drops_everything_goes_on_when_it_is_found_down() {
    let ((deaf, _waits), works) = (Remote::deaf(Kind::V4), Remote::new(Kind::V4));
    // It is longer than the interval, and holds even so.
    let checks = ["--check-interval", "500ms", "--check-timeout", "1s", "--fall", "2"];
    let setup = between(&[&deaf, &works]).args(&checks);
    let proxy = setup.args(&["--connect-timeout", "1h"]).start();
    let mut clients = [proxy.connect(), proxy.connect()];
    // One of them is to be connected to the one that does not answer.
    let mut servers = [works.accept(), works.accept()];
    proxy.log.line(&format!("remote {} is down: check failed: no connection within 1s; ", deaf.address));
    servers.iter_mut().for_each(|server| server.send("hello"));
    clients.iter_mut().for_each(|client| client.expect("hello"));
    let attempts = proxy.stop().iter().filter(|line| is_attempt_at(line, &deaf)).count();
    assert_eq!(attempts, 1);
}

#[test]
fn the_last_one_that_works_stays_in_use_until_another_one_works() {
    let (one, other) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
    let proxy = between(&[&one, &other]).args(&CHECKS).args(&["--on-down", "reset"]).start();
    let address = close(other);
    proxy.log.line(&format!("remote {address} is down: "));
    let (mut client, mut server) = proxy.session(&one);
    server.send("hello");
    client.expect("hello");
    let last = close(one);
    proxy.log.line(&format!(
        "remote {last} stays in use, as no other one works: check failed: Connection refused; 1 session"
    ));
    // Its sessions have nowhere else to go.
    server.send("still");
    client.expect("still");

    let _other = reopen(&address);
    proxy.log.line(&format!("remote {address} is up: "));
    proxy.log.line(&format!("remote {last} is down: check failed: Connection refused; 1 session"));
    assert_eq!(server.end(), End::Reset);
    assert_eq!(clients(&proxy, 2), [address.to_string(), address.to_string()]);
}

#[test]
fn sessions_on_a_remote_that_is_down_go_on_or_are_reset() {
    for on_down in ["keep", "reset"] {
        let (one, other) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
        let proxy = between(&[&one, &other]).args(&CHECKS).args(&["--on-down", on_down]).start();
        let (mut client, mut server) = proxy.session(&one);
        let (mut unconcerned, mut its_server) = proxy.session(&other);
        server.send("hello");
        client.expect("hello");
        let address = close(one);
        proxy.log.line(&format!("remote {address} is down: check failed: Connection refused; 1 session"));
        if on_down == "reset" {
            assert_eq!((client.end(), server.end()), (End::Reset, End::Reset));
            assert_eq!(proxy.end().how, "remote down");
        }
        its_server.send("on");
        unconcerned.expect("on");
        if on_down == "keep" {
            server.send("on");
            client.expect("on");
        }
    }
}

/// A server that accepts connections, and answers whatever it is asked with what stands in a file.
fn answering(remote: &Remote, answers: &std::path::Path) {
    let (socket, answers) = (remote.socket.try_clone().expect("a socket"), answers.to_owned());
    thread::spawn(move || {
        while let Ok((mut client, _)) = socket.accept() {
            let mut question = [0; 6];
            if client.read_exact(&mut question).is_ok() && question == *b"PING\r\n" {
                let _ = client.write_all(&fs::read(&answers).unwrap_or_default());
            }
        }
    });
}

#[test]
fn a_remote_must_answer_as_is_expected() {
    let directory = TempDir::new();
    let answers = directory.file("answer", "-LOADING\r\n");
    let (one, other) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
    answering(&one, &answers);
    let good = directory.file("good", "+PONG\r\n");
    answering(&other, &good);
    let asks = ["--check-send", "PING\\r\\n", "--check-expect", "+PONG\\r"];
    let proxy = between(&[&one, &other]).args(&CHECKS).args(&asks).start();
    proxy.log.line(&format!(
        "remote {} is down: check failed: the connection ended without the expected answer; no session",
        one.address
    ));
    directory.file("answer", "+PONG\r\n");
    proxy.log.line(&format!("remote {} is up: checks pass; no session", one.address));
    assert_eq!(told(&proxy.stop()).len(), 2);
}

#[test]
fn what_sessions_see_is_logged_and_needs_no_checks() {
    let (refuses, works) = (Remote::refusing(Kind::V4), Remote::new(Kind::V4));
    let setup = between(&[&refuses, &works]).args(&["--max-fails", "2", "--fail-timeout", "200ms"]);
    let proxy = setup.start();
    let bad = refuses.address.clone();
    let out = format!("remote {bad} is out: Connection refused; ");
    // On a slow machine two failures may be too far apart to count together.
    until("it to be out", || {
        clients(&proxy, 4);
        proxy.log.so_far().iter().any(|line| line.message.starts_with(&out)).then_some(())
    });
    drop(refuses);
    let _now = reopen(&bad);
    // After a while one session tries it.
    until("a session on it", || clients(&proxy, 1).contains(&bad.to_string()).then_some(()));
    proxy.log.line(&format!("remote {bad} is up: a session could connect; "));
    let lines = proxy.stop();
    assert_eq!(told(&lines).len(), 2, "{:?}", told(&lines));
}

#[test]
fn a_remote_that_comes_back_gets_its_share_slowly() {
    for (slow_start, soon) in [("1h", false), ("400ms", true)] {
        let (one, other) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
        let proxy = between(&[&one, &other]).args(&CHECKS).args(&["--slow-start", slow_start]).start();
        let its =
            |chosen: Vec<String>, address: &Address| chosen.iter().filter(|to| **to == address.to_string()).count();
        assert_eq!(its(clients(&proxy, 20), &one.address), 10, "not at the start");
        let address = close(one);
        proxy.log.line(&format!("remote {address} is down: "));
        let one = reopen(&address);
        proxy.log.line(&format!("remote {address} is up: "));
        if soon {
            until("its whole share", || (its(clients(&proxy, 20), &one.address) == 10).then_some(()));
        } else {
            let its = its(clients(&proxy, 34), &one.address);
            assert!((1..=4).contains(&its), "{its} of 34");
        }
    }
}

/// A proxy with a file, whose only service is this.
fn with_file(directory: &TempDir, remotes: &[&Address], more: &str) -> Proxy {
    let path = write_file(directory, remotes, more);
    let mut proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
    proxy.listeners = vec![proxy.log.line("listening on ").listener()];
    proxy
}

fn write_file(directory: &TempDir, remotes: &[&Address], more: &str) -> std::path::PathBuf {
    let remotes: Vec<String> = remotes.iter().map(|remote| format!("\"{remote}\"")).collect();
    let remotes = remotes.join(", ");
    directory.file(
        "cproxy.toml",
        &format!("drain-timeout = \"0s\"\n[service.web]\nlisten = \"127.0.0.1:0\"\nremote = [{remotes}]\nfall = 1\nrise = 1\n{more}\n"),
    )
}

fn reload(proxy: &Proxy) {
    let results =
        |lines: &[Line]| lines.iter().filter(|line| line.message.starts_with("reload: services added: ")).count();
    let before = results(&proxy.log.so_far());
    proxy.signal(libc::SIGHUP);
    proxy.log.wait("a reload", |lines| (results(lines) > before).then_some(()));
}

#[test]
fn what_is_known_of_remotes_outlives_a_reload_unless_they_are_not_checked_any_more() {
    let (one, other, new) = (Remote::new(Kind::V4), Remote::new(Kind::V4), Remote::new(Kind::V4));
    let directory = TempDir::new();
    let checks = "check-interval = \"100ms\"\ncheck-timeout = \"30s\"";
    let proxy = with_file(&directory, &[&one.address, &other.address], checks);
    let bad = close(one);
    proxy.log.line(&format!("service web: remote {bad} is down: check failed: Connection refused; no session"));

    // The service is another one, and its remotes are the same.
    write_file(&directory, &[&bad, &other.address, &new.address], &format!("{checks}\nmax-fails = 7"));
    reload(&proxy);
    let chosen = clients(&proxy, 4);
    let mut expected = [(); 2].map(|()| [other.address.to_string(), new.address.to_string()]).concat();
    expected.sort();
    assert_eq!(chosen, expected);

    write_file(&directory, &[&bad, &other.address], "");
    reload(&proxy);
    proxy.log.line(&format!("service web: remote {bad} is up: it is no longer checked; no session"));
    let lines = proxy.stop();
    assert_eq!(told(&lines).len(), 2, "{:?}", told(&lines));
}

#[test]
fn a_reload_begins_checks_where_there_were_none() {
    let (one, other) = (Remote::new(Kind::V4), Remote::refusing(Kind::V4));
    let directory = TempDir::new();
    let proxy = with_file(&directory, &[&one.address], "");
    assert_eq!(clients(&proxy, 1), [one.address.to_string()]);
    let checks = "check-interval = \"100ms\"\ncheck-timeout = \"30s\"";
    write_file(&directory, &[&one.address, &other.address], checks);
    reload(&proxy);
    proxy.log.line(&format!("service web: remote {} is down: check failed: Connection refused; ", other.address));
    assert_eq!(clients(&proxy, 2), [one.address.to_string(), one.address.to_string()]);
}

/// The names of a proxy with a file of hosts that is ours.
#[cfg(target_os = "linux")]
mod names {
    use super::*;
    use crate::support::skip;
    use crate::support::system::replacing;
    use std::path::{Path, PathBuf};

    /// The addresses of `web`. All at once, and in the same file, so that no look-up finds half of it.
    fn set_hosts(file: &Path, hosts: &[&str]) {
        let lines: String = hosts.iter().map(|host| format!("{host} web\n")).collect();
        let text = format!("{lines}{}", "#\n".repeat(100 - lines.len() / 2));
        let mut file = fs::OpenOptions::new().write(true).open(file).expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
    }

    fn start(setup: Setup, hosts: &[&str]) -> Option<(Proxy, PathBuf, TempDir)> {
        let directory = TempDir::new();
        let file = directory.file("hosts", "");
        set_hosts(&file, hosts);
        let nsswitch = directory.file("nsswitch.conf", "hosts: files\n");
        let replace = replacing(&[("/etc/hosts", &file), ("/etc/nsswitch.conf", &nsswitch)]);
        match setup.before(replace).try_start() {
            Ok(proxy) => Some((proxy, file, directory)),
            Err(_) => {
                skip("no mount namespaces");
                None
            }
        }
    }

    #[test]
    fn a_name_is_followed() {
        let held = Remote::refusing(Kind::V4);
        let port = held.address.port();
        let [first, second] = ["127.0.0.2", "127.0.0.3"].map(|host| Remote::at_v4(host, port));
        let own = format!("127.0.0.4:{port}");
        let web = format!("web:{port}");
        let setup = without_drain(Proxy::on(&[Kind::V4])).listen_on(Address::parse(&own)).args(&[
            "-r",
            &web,
            "--resolve",
            "100ms",
        ]);
        let Some((proxy, hosts, _directory)) = start(setup, &["127.0.0.2"]) else { return };
        let (mut client, mut server) = proxy.session(&first);

        set_hosts(&hosts, &["127.0.0.3"]);
        proxy.log.line(&format!("remote {web}: 127.0.0.3:{port} added; 127.0.0.2:{port} removed, with 1 session"));
        assert_eq!(clients(&proxy, 3), [(); 3].map(|()| second.address.to_string()));
        server.send("goes on");
        client.expect("goes on");

        set_hosts(&hosts, &[]);
        proxy.log.line(&format!("remote {web} is left as it is: "));
        assert_eq!(clients(&proxy, 2), [(); 2].map(|()| second.address.to_string()));

        set_hosts(&hosts, &["127.0.0.4", "127.0.0.3"]);
        proxy.log.line(&format!("remote {web} can be looked up again"));
        proxy.log.line(&format!("remote {web}: {own} is left out, as it is the proxy's own listener {own}"));
        assert_eq!(clients(&proxy, 2), [(); 2].map(|()| second.address.to_string()));
        let lines = proxy.stop();
        assert_eq!(told(&lines).len(), 4, "{:?}", told(&lines));
    }

    #[test]
    fn a_client_waits_for_the_first_address() {
        let remote = Remote::new(Kind::V4);
        let web = format!("web:{}", remote.address.port());
        let setup =
            without_drain(Proxy::on(&[Kind::V4])).args(&["-r", &web, "--resolve", "100ms", "--connect-timeout", "1h"]);
        let Some((proxy, hosts, _directory)) = start(setup, &[]) else { return };
        let mut client = proxy.connect();
        client.send("hello");
        proxy.log.line("connect client to proxy ");
        set_hosts(&hosts, &["127.0.0.1"]);
        remote.accept().expect("hello");
    }
}
