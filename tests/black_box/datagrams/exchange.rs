//! Sessions of clients without a connection that end after so many datagrams.

use std::net::SocketAddr;

use crate::support::{End, Kind, Proxy, Remote, ended, frame};

#[test]
fn a_session_ends_when_each_datagram_has_had_its_answers() {
    for kind in [Kind::Udp, Kind::Datagram] {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["--responses", "2", "--idle-timeout", "1h"]).start();
        let mut client = proxy.peer();
        for round in 0..2 {
            ["one", "two"].into_iter().for_each(|question| client.send(question));
            let from = ["one", "two"].map(|question| {
                let (datagram, from) = remote.receive_from();
                assert_eq!(String::from_utf8_lossy(&datagram), question);
                from
            });
            for answer in ["1a", "1b", "2a", "2b"] {
                // It would be lost if the session had ended before.
                remote.send_to(answer.as_bytes(), &from[1]);
                client.expect(answer);
            }
            assert_eq!(proxy.ended(round + 1)[round], ended("exchange complete", 6, 8));
        }
    }
}

/// It is told the end, and gets all that was sent before.
#[test]
fn a_remote_with_a_connection_is_told_that_no_more_will_be_asked() {
    let remote = Remote::new(Kind::Framed);
    let proxy = Proxy::between(Kind::Udp, &remote).args(&["--responses", "1"]).start();
    let mut client = proxy.peer();
    client.send("question");
    let mut server = remote.accept();
    server.expect(frame(b"question"));
    server.send(frame(b"answer"));
    client.expect("answer");
    assert_eq!(server.end(), End::Eof);
    drop(server);
    assert_eq!(proxy.end(), ended("exchange complete", 8, 6));
}

#[test]
fn what_expects_no_answer_ends_its_session_when_it_has_been_sent() {
    for kind in [Kind::Udp, Kind::Framed] {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(Kind::Udp, &remote).args(&["--responses", "0", "--idle-timeout", "1h"]).start();
        let mut client = proxy.peer();
        for round in 0..3 {
            client.send("message");
            match kind {
                Kind::Udp => assert_eq!(remote.receive_from().0, b"message"),
                _ => assert_eq!(remote.accept().rest(), (frame(b"message"), End::Eof)),
            }
            assert_eq!(proxy.ended(round + 1)[round], ended("exchange complete", 7, 0));
        }
    }
}

/// They come in one read or in several: each session has as many as it may have, and each client its answers.
#[test]
fn a_session_takes_so_many_datagrams_and_the_next_one_begins_another() {
    const DATAGRAMS: usize = 9;
    for (expected, extra) in [("exchange complete", &["--responses", "1"][..]), ("idle timeout", &[])] {
        let remote = Remote::new(Kind::Udp);
        // Within this the answers must be there, also on a slow machine.
        let arguments = [&["--requests", "2", "--idle-timeout", "2500ms"], extra].concat();
        let proxy = Proxy::between(Kind::Udp, &remote).args(&arguments).start();
        let mut client = proxy.peer();
        (0..DATAGRAMS).for_each(|number| client.send(number.to_string()));
        let mut sessions: Vec<Option<SocketAddr>> = Vec::new();
        for number in 0..DATAGRAMS {
            let (datagram, from) = remote.receive_from();
            assert_eq!(datagram, number.to_string().as_bytes());
            sessions.push(from.as_socket());
        }
        for pair in sessions.chunks(2) {
            assert!(pair.iter().all(|session| *session == pair[0]), "{sessions:?}");
            assert_eq!(sessions.iter().filter(|session| **session == pair[0]).count(), pair.len(), "{sessions:?}");
        }
        // The last ones first: former sessions still have their answers.
        for (number, session) in sessions.iter().enumerate().rev() {
            remote.send_to(format!("answer {number}").as_bytes(), &session.expect("an address").into());
            client.expect(format!("answer {number}"));
        }
        let ends = proxy.ended(DATAGRAMS.div_ceil(2));
        let whole: Vec<_> = ends.iter().filter(|end| end.upstream == 2).collect();
        assert_eq!(whole.len(), DATAGRAMS / 2);
        assert!(whole.iter().all(|end| **end == ended(expected, 2, 16)), "{ends:?}");
        // The last one could have had one more.
        assert!(ends.contains(&ended("idle timeout", 1, 8)), "{ends:?}");
    }
}
