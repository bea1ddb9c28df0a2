//! Who may come in: refused clients are reset at once, and neither the remote nor the log hears of each of them.

use socket2::SockAddr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use crate::support::{Address, End, Kind, Line, Peer, Proxy, Remote, Stream, TempDir, until};

/// What the log says of the refused.
const REFUSED: &str = "clients refused: ";

/// What it says of the first one.
const FIRST: &str = "clients refused: 1 by the access rules, 1 so far, the last one from ";

/// A socket at this address of the loopback network, which another system than Linux may not have.
fn bound(host: [u8; 4], to: &Address) -> socket2::Socket {
    let socket = to.socket().expect("a socket");
    let host = Ipv4Addr::from(host);
    socket.bind(&SockAddr::from(SocketAddr::from((host, 0)))).expect("an address of the loopback network");
    socket
}

fn stream(host: [u8; 4], to: &Address) -> Stream {
    Stream::connect_from(bound(host, to), to).expect("a proxy that listens")
}

fn peer(host: [u8; 4], to: &Address) -> Peer {
    let socket = bound(host, to);
    socket.connect(&to.socket_address()).expect("a proxy that listens");
    Peer::new(socket, to).expect("a socket")
}

fn is_answered(mut client: Stream) {
    client.send("there and back");
    client.expect("there and back");
}

/// How many were refused, by the last line that says so.
fn count(lines: &[Line]) -> u64 {
    let told = lines.iter().rev().find_map(|line| line.message.split_once(REFUSED));
    let so_far = |rest: &str| rest.split(", ").find_map(|part| part.strip_suffix(" so far")?.parse().ok());
    told.map_or(0, |(_, rest)| so_far(rest).expect("a number"))
}

#[test]
fn a_refused_client_is_reset_and_the_remote_hears_nothing_of_it() {
    let kinds = Kind::all().into_iter().chain([Kind::Packet, Kind::Framed, Kind::FramedUnix, Kind::Stripe]);
    for kind in kinds {
        for more in [&["-t1"][..], &["-t2", "--reuse-port"]] {
            let remote = Remote::new(Kind::V4);
            let proxy = Proxy::between(kind, &remote).args(&["--deny", "all"]).args(more).start();
            for _ in 0..3 {
                let end = Stream::connect(&proxy.listeners[0]).expect("a proxy that listens").end();
                // Unix sockets know no reset.
                let is_unix = matches!(kind, Kind::UnixPath | Kind::UnixAbstract | Kind::Packet | Kind::FramedUnix);
                assert_eq!(end, if is_unix { End::Eof } else { End::Reset }, "{kind:?}");
            }
            let line = proxy.log.line(REFUSED);
            let from = if proxy.listeners[0].to_string().contains("unix") { "a Unix socket" } else { "" };
            assert!(line.message.contains(&format!("{FIRST}{from}")), "{}", line.message);
            assert!(remote.has_nobody());
            let lines = proxy.stop();
            let heard = |line: &&Line| ["accepted fd", "connect starting"].iter().any(|s| line.message.starts_with(s));
            assert_eq!(lines.iter().filter(heard).count(), 0, "{kind:?}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_first_rule_that_matches_decides() {
    let proxy =
        Proxy::on(&[Kind::V4, Kind::UnixPath]).args(&["-r", "echo:", "--deny=127.0.0.2", "--allow=127.0.0.0/30"]);
    let proxy = proxy.start();
    for (last, is_let_in) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut client = stream([127, 0, 0, last], &proxy.listeners[0]);
        match is_let_in {
            true => is_answered(client),
            false => assert_eq!(client.end(), End::Reset, "127.0.0.{last}"),
        }
    }
    // No rule matches it, and there is an `--allow`.
    assert_eq!(proxy.connect_to(1).end(), End::Eof);
    assert_eq!(proxy.log.line(REFUSED).message, format!("{FIRST}127.0.0.2"));
}

#[test]
fn a_client_of_a_unix_socket_has_a_rule_of_its_own() {
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath]).args(&["-r", "echo:", "--allow", "unix"]).start();
    is_answered(proxy.connect_to(1));
    assert_eq!(proxy.connect_to(0).end(), End::Reset);
}

#[test]
#[cfg(target_os = "linux")]
fn a_client_of_ipv4_is_one_wherever_the_proxy_listens() {
    if Kind::tcp().len() < 2 {
        return;
    }
    let proxy = Proxy::on(&[]).listen_on(Address::parse(":::0")).args(&["-r", "echo:", "--allow=127.0.0.2"]).start();
    let address = Address::parse(&format!("127.0.0.1:{}", proxy.listeners[0].port()));
    is_answered(stream([127, 0, 0, 2], &address));
    assert_eq!(stream([127, 0, 0, 1], &address).end(), End::Reset);
}

#[test]
#[cfg(target_os = "linux")]
fn datagrams_of_a_refused_source_are_dropped_and_counted() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Udp, &remote).args(&["--deny", "127.0.0.2/32", "-v"]).start();
    let [mut refused, mut client] = [2, 1].map(|last| peer([127, 0, 0, last], &proxy.listeners[0]));
    for _ in 0..5 {
        refused.send("refused");
    }
    // They would come first.
    client.send("let in");
    let mut server = remote.peer();
    server.expect("let in");
    server.reaches(&mut client, "an answer");
    assert!(refused.stream.is_silent());
    until("all of them to be counted", || {
        refused.send("once more");
        (count(&proxy.log.so_far()) > 5).then_some(())
    });
    client.reaches(&mut server, "again");
    let lines = proxy.stop();
    assert_eq!(lines.iter().filter(|line| line.message.starts_with("connect starting")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.message.contains("dropped")).count(), 0);
}

#[test]
fn datagrams_to_a_unix_socket_are_refused_as_its_clients_are() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::on(&[Kind::Datagram, Kind::Udp]).to(&remote.address).args(&["--deny", "unix"]).start();
    let mut refused = proxy.peer();
    refused.send("refused");
    proxy.log.line(&format!("{FIRST}a Unix socket"));
    let mut client = Peer::connect(&proxy.listeners[1]).expect("a socket");
    client.send("let in");
    remote.peer().expect("let in");
    assert!(refused.stream.is_silent());
}

/// A proxy with a file, and what it says of a reload.
struct Configured {
    proxy: Proxy,
    directory: TempDir,
}

impl Configured {
    fn start(listen: &str, access: &str, networks: &str) -> Configured {
        let directory = TempDir::new();
        directory.file("networks", networks);
        let path = directory.file("cproxy.toml", &Configured::text(listen, access));
        let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
        Configured { proxy, directory }
    }

    fn text(listen: &str, access: &str) -> String {
        format!("[service.a]\nlisten = \"{listen}\"\nremote = \"echo:\"\naccess = {access}\n")
    }

    fn listener(&self) -> Address {
        let line = self.proxy.log.line("listening on ");
        Address::parse(line.after("listening on ").split(" (fd=").next().expect("an address"))
    }

    fn reload(&self) -> Vec<String> {
        let results = |lines: &[Line]| {
            let is_result = |line: &&Line| {
                let text = line.message.as_str();
                ["reload: nothing", "reload: services added", "reload failed: everything"]
                    .iter()
                    .any(|s| text.starts_with(s))
            };
            lines.iter().filter(is_result).count()
        };
        let before = self.proxy.log.so_far();
        self.proxy.signal(libc::SIGHUP);
        self.proxy.log.wait("the result of a reload", |lines| {
            (results(lines) > results(&before))
                .then(|| lines[before.len()..].iter().map(|line| line.message.clone()).collect())
        })
    }
}

#[test]
fn a_file_of_networks_is_read_again_at_a_reload() {
    let configured = Configured::start("127.0.0.1:0", "\"deny @networks\"", "192.0.2.0/24\n");
    let address = configured.listener();
    let connect = || Stream::connect(&address).expect("a listener");
    let mut open = connect();
    open.send("open");
    open.expect("open");
    let write = |text: &str| fs::write(configured.directory.path().join("networks"), text).expect("the file");

    write("192.0.2.0/24\n127.0.0.0/8 # here\n");
    let said = configured.reload();
    assert!(said.contains(&"reload: service a changed: access".to_string()), "{said:?}");
    assert_eq!(connect().end(), End::Reset);
    // New rules are for new clients.
    is_answered(open);
    assert_eq!(configured.reload().last().map(String::as_str), Some("reload: nothing has changed"));

    write("127.0.0.0/8\n\n192.0.2.0/240\n");
    let said = configured.reload();
    let wrong = "networks: line 3: 192.0.2.0/240: expected a whole number from 0 to 32 after the /";
    assert!(said.iter().any(|line| line.starts_with("reload failed: ") && line.ends_with(wrong)), "{said:?}");
    assert_eq!(connect().end(), End::Reset);

    write("# nobody\n");
    configured.reload();
    is_answered(connect());
    // The count goes on.
    write("127.0.0.1");
    configured.reload();
    until("a line that counts all", || {
        assert_eq!(connect().end(), End::Reset);
        (count(&configured.proxy.log.so_far()) > 2).then_some(())
    });
}

#[test]
fn a_source_that_has_a_session_keeps_it_when_the_rules_change() {
    let configured = Configured::start("udp:127.0.0.1:0", "\"allow all\"", "");
    let address = configured.listener();
    let connect = || Peer::connect(&address).expect("a socket");
    let mut open = connect();
    open.send("open");
    open.expect("open");
    let text = Configured::text("udp:127.0.0.1:0", "[\"deny all\"]");
    fs::write(configured.directory.path().join("cproxy.toml"), text).expect("the file");
    configured.reload();
    let mut refused = connect();
    refused.send("refused");
    configured.proxy.log.line(&format!("service a: {FIRST}"));
    open.send("again");
    open.expect("again");
    assert!(refused.stream.is_silent());
}

#[test]
fn a_flood_of_refused_clients_is_one_line_a_second() {
    let start = Instant::now();
    let proxy = Proxy::on(&[Kind::V4]).args(&["-r", "echo:", "--deny", "all"]).start();
    for _ in 0..2000 {
        drop(Stream::connect(&proxy.listeners[0]).expect("a listener"));
    }
    until("a line that counts all of them", || {
        drop(Stream::connect(&proxy.listeners[0]).expect("a listener"));
        (count(&proxy.log.so_far()) > 2000).then_some(())
    });
    let lines = proxy.stop();
    let told = lines.iter().filter(|line| line.message.starts_with(REFUSED)).count() as u64;
    assert!(told <= 2 + start.elapsed().as_secs(), "{told} lines in {:?}", start.elapsed());
    assert!((lines.len() as u64) < 100 + told, "{} lines", lines.len());
}
