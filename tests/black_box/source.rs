//! `--source`: connections to remotes have the addresses and ports of ours that were asked for. What takes privileges is in
//! tests/transparent.sh.
//!
//! Each test has addresses of the loopback network of its own, so that their ports are free.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use crate::support::system::accept_queue;
use crate::support::{Address, End, Kind, Peer, Proxy, Remote, Stream, until};

/// An address of the loopback network that only this test of this process has; `number` is below 64.
fn ours(number: u8) -> Ipv4Addr {
    let process = std::process::id();
    Ipv4Addr::new(127, 64 + (process % 128) as u8, (process / 128) as u8, number)
}

fn port_of(stream: &Stream) -> SocketAddr {
    stream.peer().parse().expect("an address of IPv4")
}

fn there_and_back(client: &mut Stream, server: &mut Stream) {
    client.send("there");
    server.expect("there");
    server.send("and back");
    client.expect("and back");
}

#[test]
fn connections_have_the_addresses_in_turn() {
    for (kind, more) in [(Kind::V4, "-t1"), (Kind::Framed, "-t1"), (Kind::V4, "-t2")] {
        let remote = Remote::new(kind);
        let [one, other] = [1, 2].map(|number| ours(number).to_string());
        let listener = if kind == Kind::V4 { Kind::V4 } else { Kind::Packet };
        let proxy = Proxy::between(listener, &remote).args(&["--source", &one, "--source", &other, more]).start();
        let sessions: Vec<_> = (0..4).map(|_| proxy.session(&remote)).collect();
        let from: Vec<String> = sessions.iter().map(|(_, server)| port_of(server).ip().to_string()).collect();
        assert_eq!(from, [&one, &other, &one, &other].map(String::clone), "{kind:?}");
    }
}

/// A session, if the client is not reset.
fn try_session(proxy: &Proxy, remote: &Remote) -> Option<(Stream, Stream)> {
    let client = proxy.connect();
    let is_joined = until("a session or a reset", || match accept_queue(&remote.socket).0 {
        0 if client.is_silent() => None,
        waiting => Some(waiting > 0),
    });
    is_joined.then(|| (client, remote.accept()))
}

/// Sessions until a client is reset.
fn fill(proxy: &Proxy, remote: &Remote, most: usize) -> Vec<(Stream, Stream)> {
    let sessions: Vec<_> = (0..most).map(|_| proxy.session(remote)).collect();
    assert_eq!(proxy.connect().end(), End::Reset, "more than {most} sessions");
    sessions
}

#[test]
fn each_port_of_a_range_is_used_and_then_those_of_the_next_address() {
    // The second range is one that the system would choose from.
    let ranges = [(ours(3), 20_000, 20_002), (ours(4), 40_000, 40_001)];
    let sources: Vec<String> = ranges.iter().map(|(ip, first, last)| format!("--source={ip}:{first}-{last}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let expected: BTreeSet<SocketAddr> =
        ranges.iter().flat_map(|(ip, first, last)| (*first..=*last).map(|port| (*ip, port).into())).collect();
    for more in ["-t1", "-t3"] {
        let remote = Remote::new(Kind::V4);
        let other = Remote::new(Kind::UnixPath);
        // The other one would be used if this one were taken for broken.
        let backup = format!("{},backup", other.address);
        let flags = [&sources[..], &["--max-fails=1", more, "-r", &backup]].concat();
        let proxy = Proxy::on(&[Kind::V4]).to(&remote.address).args(&flags).args(&["--retries=0"]).start();
        let mut sessions = fill(&proxy, &remote, expected.len());
        let used: BTreeSet<SocketAddr> = sessions.iter().map(|(_, server)| port_of(server)).collect();
        assert_eq!(used, expected);
        for _ in 0..3 {
            assert_eq!(proxy.connect().end(), End::Reset);
        }
        proxy.log.line("remote socket connect error errno = 99: ");
        // A port is free again as soon as its session is over.
        let (client, server) = sessions.pop().expect("a session");
        let port = port_of(&server);
        client.reset();
        drop(server);
        let (mut client, mut server) = until("a session", || try_session(&proxy, &remote));
        assert_eq!(port_of(&server), port);
        there_and_back(&mut client, &mut server);
        assert!(other.has_nobody());
        // What ends with a reset leaves no port taken.
        sessions.into_iter().for_each(|(client, _)| client.reset());
        client.reset();
        assert!(proxy.stop().iter().all(|line| !line.message.contains(" is out")));
    }
}

#[test]
fn sources_of_datagrams_have_a_port_each() {
    let remote = Remote::new(Kind::Udp);
    let source = format!("{}:20000-20001", ours(5));
    let proxy = Proxy::between(Kind::Udp, &remote).args(&["--source", &source]).start();
    let clients: Vec<Peer> = (0..2).map(|_| proxy.peer()).collect();
    let mut used = BTreeSet::new();
    for mut client in clients.into_iter() {
        client.send("there");
        let (_, from) = remote.receive_from();
        used.insert(from.as_socket().expect("an address"));
        remote.send_to(b"and back", &from);
        client.expect("and back");
    }
    assert_eq!(used, [20_000, 20_001].map(|port| (ours(5), port).into()).into());
    // It is not told that it would block, which would have it tried again and again.
    proxy.peer().send("too many");
    proxy.log.line("remote socket connect error errno = 99: ");
}

#[test]
fn checks_come_from_where_sessions_come_from() {
    let remote = Remote::new(Kind::V4);
    let source = format!("{}:20000-20000", ours(6));
    let flags = ["--source", &source, "--check-interval=50ms", "--check-send=PING", "--check-expect=PONG"];
    let _proxy = Proxy::between(Kind::V4, &remote).args(&flags).args(&["--check-timeout=30s"]).start();
    for _ in 0..2 {
        let mut check = remote.accept();
        check.expect("PING");
        assert_eq!(port_of(&check), (ours(6), 20_000).into());
        check.reset();
    }
}

#[test]
fn a_client_that_came_to_the_proxy_itself_is_connected_to_nobody() {
    for more in [&["-t1", "--max-fails=1"][..], &["-t2", "--reuse-port"]] {
        let any = Proxy::on(&[Kind::V4, Kind::Framed]).listen_on(Address::parse("0.0.0.0:0"));
        let proxy = any.args(&["-r", "original:"]).args(more).start();
        for listener in &proxy.listeners {
            let address = Address::parse(&format!("127.0.0.1:{}", listener.port()));
            assert_eq!(Stream::connect(&address).expect("a proxy that listens").end(), End::Reset);
        }
        let lines = proxy.stop();
        let said = |part: &str| lines.iter().filter(|line| line.message.contains(part)).count();
        assert_eq!((said("came to the proxy itself"), said("connect starting"), said(" is out")), (3, 0, 0));
    }
}

#[test]
fn nobody_is_connected_to_the_port_that_the_connection_comes_from() {
    let address = format!("{}:20000", ours(7));
    let flags = ["-r", &address, "--source", &format!("{address}-20000")];
    let proxy = Proxy::on(&[Kind::V4]).args(&flags).start();
    assert_eq!(proxy.connect().end(), End::Reset);
    proxy.log.line("nobody listens there: ");
}
