//! What a side sent before it ended, and what comes with a datagram.

use std::thread;

#[cfg(target_os = "linux")]
use crate::support::system::{open_descriptors, send_with_descriptor};
use crate::support::{End, Kind, Proxy, Remote, ended};

/// The remote answers when the client has long ended: were the proxy's socket closed by then, its reset would throw
/// away what the remote has not read.
#[test]
fn an_answer_to_an_end_costs_nothing_of_what_came_before() {
    const FRAMES: usize = 400;
    for kind in [Kind::Framed, Kind::FramedUnix] {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(Kind::Framed, &remote).start();
        let (mut client, mut server) = proxy.session(&remote);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..FRAMES {
                    client.send([[0x13, 0x88].as_slice(), &[5; 5000]].concat());
                }
                client.finish();
            });
            server.send(b"\x00\x06answer");
            for _ in 0..FRAMES {
                server.expect(b"\x13\x88");
                server.expect([5; 5000]);
            }
            assert_eq!(server.end(), End::Eof);
        });
        drop(server);
        client.expect(b"\x00\x06answer");
        assert_eq!(client.end(), End::Eof);
        assert_eq!(proxy.end(), ended("end of stream", 5000 * FRAMES as u64, 6));
    }
}

/// It breaks while its first datagram is sent, before anything else has happened in its session.
#[test]
fn a_remote_that_takes_no_datagrams_ends_sessions_and_nothing_else() {
    for kind in [Kind::Udp, Kind::Datagram] {
        let remote = Remote::new(Kind::Datagram);
        remote.socket.shutdown(std::net::Shutdown::Read).expect("a socket");
        let proxy = Proxy::between(kind, &remote).start();
        let mut client = proxy.peer();
        for round in 1..=3 {
            client.send("to nobody");
            assert_eq!(proxy.ended(round).len(), round);
        }
        proxy.stop();
    }
}

#[test]
fn a_remote_may_answer_a_streams_end_through_frames() {
    let echo = Proxy::on(&[Kind::Framed]).args(&["-r", "echo:"]).start();
    let proxy = Proxy::on(&[Kind::V4]).to(&echo.listeners[0]).start();
    let mut client = proxy.connect();
    client.send("question");
    client.finish();
    client.expect("question");
    assert_eq!(client.end(), End::Eof);
}

/// A Unix socket says that its peer has closed without reading everything before it hands over what the peer had sent.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_leaves_an_answer_unread_loses_nothing_that_it_sent() {
    for _ in 0..5 {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(Kind::Packet, &remote).start();
        let (mut client, mut server) = proxy.datagram_session(&remote, "hello");
        server.send("answer");
        client.stream.wait_for_unread(1);
        for datagram in 0..10 {
            client.send([datagram]);
        }
        drop(client);
        for datagram in 0..10 {
            server.expect([datagram]);
        }
        assert_eq!(proxy.end(), ended("reset by client", 15, 6));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_that_come_with_a_datagram_are_not_kept() {
    for kind in [Kind::Packet, Kind::Datagram] {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(kind, &remote).start();
        let (client, mut server) = proxy.datagram_session(&remote, "hello");
        let before = open_descriptors(proxy.pid()).len();
        for _ in 0..20 {
            send_with_descriptor(&client.stream.socket, b"x");
            server.expect("x");
        }
        assert_eq!(open_descriptors(proxy.pid()).len(), before);
    }
}
