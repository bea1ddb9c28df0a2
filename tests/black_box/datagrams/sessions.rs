//! Sessions of clients that have no connection: when they begin and end, and whose they are.

use socket2::SockAddr;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::support::{Address, Kind, Peer, Proxy, Remote, at_once, ended, is_silent, not_before, until};
#[cfg(target_os = "linux")]
use crate::support::{Ended, system::udp_queue};

/// Checks that so many sessions have begun.
fn begun(proxy: &Proxy, count: usize) {
    let last = proxy.log.lines("connect client to proxy ", count).pop();
    let lines = proxy.log.so_far();
    assert_eq!(lines.iter().rfind(|line| line.message.starts_with("connect client to proxy ")), last.as_ref());
}

/// The client's datagram arrives at a remote without connections, which answers it; where it came from.
fn answered(client: &mut Peer, remote: &Remote, text: &str) -> SockAddr {
    client.send(text);
    let (datagram, from) = remote.receive_from();
    assert_eq!(String::from_utf8_lossy(&datagram), text);
    remote.send_to(format!("answer to {text}").as_bytes(), &from);
    client.expect(format!("answer to {text}"));
    from
}

const CONNECTIONLESS: [Kind; 2] = [Kind::Udp, Kind::Datagram];

#[test]
fn a_session_without_datagrams_ends_and_the_next_one_begins_anew() {
    // Within this the answer must be there, also on a slow machine.
    const IDLE: Duration = Duration::from_millis(2500);
    let begins_anew = |kind: Kind| {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--idle-timeout", "2500ms"]).start();
        let mut client = proxy.peer();
        for round in 0..2 {
            let start = Instant::now();
            answered(&mut client, &remote, &format!("round {round}"));
            let end = proxy.ended(round + 1).remove(round);
            not_before(start, IDLE);
            assert_eq!((end.how.as_str(), end.upstream, end.downstream, end.dropped), ("idle timeout", 7, 17, 0));
            begun(&proxy, round + 1);
        }
    };
    std::thread::scope(|scope| {
        for kind in CONNECTIONLESS {
            scope.spawn(move || begins_anew(kind));
        }
    });
}

/// Datagrams in either direction keep it, also empty ones.
#[test]
fn a_session_with_datagrams_goes_on() {
    // No pause of a slow machine is as long.
    const IDLE: Duration = Duration::from_millis(2500);
    let goes_on = |kind: Kind, upstream: bool, datagram: &str| {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--idle-timeout", "2500ms"]).start();
        let (client, server) = proxy.datagram_session(&remote, "first");
        let (mut from, mut to) = if upstream { (client, server) } else { (server, client) };
        let start = Instant::now();
        let mut last = start;
        // (The pauses are the load.)
        while start.elapsed() < IDLE.mul_f32(1.25) {
            last = Instant::now();
            from.reaches(&mut to, datagram);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(proxy.end().how, "idle timeout");
        not_before(last, IDLE);
        begun(&proxy, 1);
    };
    std::thread::scope(|scope| {
        for kind in CONNECTIONLESS {
            for (upstream, datagram) in [(true, "on and on"), (false, "on and on"), (true, ""), (false, "")] {
                scope.spawn(move || goes_on(kind, upstream, datagram));
            }
        }
    });
}

#[test]
fn a_remote_that_ends_a_session_gets_the_next_one() {
    for kind in CONNECTIONLESS {
        for remote_kind in [Kind::V4, Kind::Framed, Kind::Packet] {
            let remote = Remote::new(remote_kind);
            let proxy = Proxy::between(kind, &remote).start();
            let mut client = proxy.peer();
            for round in 0..3 {
                client.send("question");
                let mut server = remote.peer();
                server.expect("question");
                server.reaches(&mut client, "answer");
                drop(server);
                assert_eq!(proxy.ended(round + 1)[round], ended("end of stream", 8, 6));
            }
        }
    }
}

#[test]
fn every_source_has_its_own_session() {
    const SOURCES: usize = 200;
    for kind in CONNECTIONLESS {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(kind, &remote).args(&["-t", "3"]).start();
        let mut clients: Vec<Peer> = (0..SOURCES).map(|_| proxy.peer()).collect();
        let mut sessions: HashMap<String, String> = HashMap::new();
        for round in 0..5 {
            // A Unix socket's queue has room for ten.
            for (group, clients) in clients.chunks_mut(if kind == Kind::Udp { SOURCES } else { 8 }).enumerate() {
                for (number, client) in clients.iter_mut().enumerate() {
                    client.send(format!("{round} of {group} {number}"));
                }
                for _ in 0..clients.len() {
                    let (datagram, from) = remote.receive_from();
                    let text = String::from_utf8(datagram).expect("text");
                    let (of_round, client) = text.split_once(" of ").expect("two parts");
                    assert_eq!(of_round, round.to_string());
                    let from_text = format!("{:?}", from.as_socket());
                    let known = sessions.entry(from_text).or_insert_with(|| client.to_string());
                    assert_eq!(known, client);
                    remote.send_to(format!("answer to {text}").as_bytes(), &from);
                }
                for (number, client) in clients.iter_mut().enumerate() {
                    client.expect(format!("answer to {round} of {group} {number}"));
                }
            }
        }
        assert!(is_silent(&remote.socket) && clients.iter().all(|client| client.stream.is_silent()));
        assert_eq!(sessions.len(), SOURCES);
        begun(&proxy, SOURCES);
        let connected = proxy.log.lines("connect client to proxy ", SOURCES);
        let threads: HashSet<&str> = connected.iter().map(|line| line.thread.as_str()).collect();
        assert!(kind != Kind::Udp || threads.len() == 3, "{threads:?}");
    }
}

/// Who has no name cannot be answered, or told from others that have none.
#[test]
fn senders_without_a_name_share_a_session() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Datagram, &remote).start();
    let address = proxy.listeners[0].clone();
    let unnamed = || {
        let socket = address.socket().expect("a socket");
        socket.connect(&address.socket_address()).expect("a proxy that listens");
        Peer::new(socket, &address).expect("a socket")
    };
    let (mut peers, mut named) = ([unnamed(), unnamed()], proxy.peer());
    let mut sources = Vec::new();
    for (number, text) in ["first", "second", "third"].into_iter().enumerate() {
        peers[number % 2].send(text);
        let (datagram, from) = remote.receive_from();
        assert_eq!(String::from_utf8_lossy(&datagram), text);
        remote.send_to(b"nobody gets this", &from);
        sources.push(from.as_socket());
    }
    assert!(sources.iter().all(|source| *source == sources[0]));
    assert_ne!(answered(&mut named, &remote, "named").as_socket(), sources[0]);
    assert!(peers.iter().all(|peer| peer.stream.is_silent()));
    begun(&proxy, 2);
}

/// Its answers have nobody to go to; those of others do.
#[test]
fn a_client_that_is_gone_costs_no_more_than_its_session() {
    for kind in CONNECTIONLESS {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut stays, mut goes) = (proxy.peer(), proxy.peer());
        let of_stays = answered(&mut stays, &remote, "stays");
        let of_goes = answered(&mut goes, &remote, "goes");
        drop(goes);
        for _ in 0..5 {
            // (Once its session has ended, the system says that nobody is there.)
            let _ = remote.socket.send_to(b"too late", &of_goes);
        }
        assert_eq!(answered(&mut stays, &remote, "still there").as_socket(), of_stays.as_socket());
        begun(&proxy, 2);
    }
}

fn udp(host: &str, port: u16) -> Address {
    Address::parse(&format!("udp:{host}:{port}"))
}

/// The address that the client sent to is the one that answers, or its connected socket would not take the answer.
#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_used() {
    let mut cases = vec![("0.0.0.0", &["127.0.0.1", "127.0.0.2"][..])];
    if Kind::tcp().contains(&Kind::V6) {
        cases.push(("::", &["::1", "127.0.0.1", "127.0.0.2", "::ffff:127.0.0.3"]));
    }
    for (wildcard, hosts) in cases {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::on(&[]).listen_on(udp(wildcard, 0)).to(&remote.address).args(&["-t", "2"]).start();
        let port = proxy.listeners[0].port();
        let connect = |host: &&str| Peer::connect(&udp(host, port)).expect("a proxy that listens");
        let mut clients: Vec<Peer> = hosts.iter().chain(hosts).map(connect).collect();
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                answered(client, &remote, &format!("{round} of {number} to {wildcard}"));
            }
        }
        begun(&proxy, clients.len());
    }
}

/// The same socket talks to two addresses of the proxy's: each is answered from where it was sent to.
#[test]
fn a_wildcard_listener_may_be_used_at_several_addresses_by_one_source() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::on(&[]).listen_on(udp("0.0.0.0", 0)).to(&remote.address).start();
    let client = Remote::new(Kind::Udp);
    for host in ["127.0.0.1", "127.0.0.2", "127.0.0.1"] {
        let to = udp(host, proxy.listeners[0].port()).socket_address();
        client.send_to(b"question", &to);
        let (datagram, from) = remote.receive_from();
        assert_eq!(datagram, b"question");
        remote.send_to(b"answer", &from);
        let (datagram, from) = client.receive_from();
        assert_eq!((&datagram[..], from.as_socket()), (&b"answer"[..], to.as_socket()));
    }
}

/// What is sent to a port that nobody has is lost, and so it is with a proxy in between; no more than that.
#[cfg(target_os = "linux")]
#[test]
fn a_remote_that_refuses_does_not_end_the_session() {
    // An address that no other test takes a port at.
    let address = Remote::at(udp("127.80.0.7", 0), 0, None).address;
    let proxy = Proxy::on(&[Kind::Udp]).to(&address).start();
    let mut client = proxy.peer();
    for number in 0..5 {
        client.send(format!("lost {number}"));
        until("a datagram that is read", || (udp_queue(proxy.listeners[0].port()) == 0).then_some(()));
    }
    proxy.log.line("connect client to proxy ");
    assert!(client.stream.is_silent());
    let remote = Remote::at(address, 0, None);
    // Which may get the last of those.
    let (datagram, from) = until("a datagram at the remote", || {
        client.send("there");
        (!is_silent(&remote.socket)).then(|| remote.receive_from())
    });
    assert!([&b"there"[..], b"lost 4"].contains(&&datagram[..]), "{datagram:?}");
    remote.send_to(b"back", &from);
    client.expect("back");
    begun(&proxy, 1);
    let lines = proxy.stop();
    let end = lines.iter().find(|line| line.message.starts_with("disconnect client to proxy ")).map(Ended::parse);
    assert!(end.as_ref().is_some_and(|end| end.dropped >= 1 && end.upstream >= 35), "{end:?}");
}

#[test]
fn sessions_without_connections_end_soon_after_a_signal() {
    // Less than what ends a session by then: one that was silent for longer, on a slow machine, shows nothing.
    const PAUSE: Duration = Duration::from_millis(1500);
    let is_used = |kind: Kind, remote_kind: Kind| {
        let remote = Remote::new(remote_kind);
        let proxy = Proxy::between(kind, &remote).args(&["--drain-timeout", "1h", "-t", "2"]).start();
        let (mut client, mut server) = proxy.datagram_session(&remote, "first");
        proxy.signal(libc::SIGTERM);
        proxy.log.line("signal 15: no new clients");
        // For as long as it is used, which is longer than it would live without. (The pauses are the load.)
        let start = Instant::now();
        let mut last = start;
        while start.elapsed() < Duration::from_secs(3) {
            if last.elapsed() > PAUSE {
                return None;
            }
            client.reaches(&mut server, "question");
            server.reaches(&mut client, "answer");
            last = Instant::now();
            std::thread::sleep(Duration::from_millis(100));
        }
        let last = Instant::now();
        let end = proxy.end();
        assert!(last.elapsed() < Duration::from_secs(20), "{:?}", last.elapsed());
        not_before(last, Duration::from_millis(1000));
        assert_eq!((end.how.as_str(), end.dropped), ("idle timeout", 0));
        proxy.finish();
        Some(())
    };
    let cases = CONNECTIONLESS.into_iter().flat_map(|kind| [(kind, kind), (kind, Kind::Framed)]);
    at_once(cases, |(kind, remote_kind)| until("a session without pauses", || is_used(kind, remote_kind)));
}
