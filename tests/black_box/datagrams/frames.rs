//! Framed streams, byte for byte; what is cut off; what is too large.

use std::thread;
use std::time::Instant;

use crate::support::{End, Kind, Proxy, Random, Remote, ended, frame, is_silent};
#[cfg(target_os = "linux")]
use crate::support::{system::untaken, until};

const FRAMED: [Kind; 2] = [Kind::Framed, Kind::FramedUnix];

#[test]
fn frames_of_a_client_become_datagrams_and_back() {
    for kind in FRAMED {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(kind, &remote).start();
        let mut client = proxy.connect();
        client.send(b"\x00\x05hello\x00\x00\x00\x01x\x01\x00");
        client.send([7; 256]);
        let mut server = remote.peer();
        for datagram in [&b"hello"[..], b"", b"x", &[7; 256]] {
            server.expect(datagram);
        }
        server.send("welcome");
        server.send("");
        server.send([9; 300]);
        client.expect(b"\x00\x07welcome\x00\x00\x01\x2c");
        client.expect([9; 300]);
        client.finish();
        assert_eq!(client.end(), End::Eof);
        assert_eq!(proxy.end(), ended("end of stream", 5 + 1 + 256, 7 + 300));
    }
}

#[test]
fn datagrams_of_a_client_become_frames_and_back() {
    for kind in FRAMED {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(Kind::Udp, &remote).start();
        let mut client = proxy.peer();
        for datagram in [&b"hello"[..], b"", b"x", &[7; 256]] {
            client.send(datagram);
        }
        let mut server = remote.accept();
        server.expect(b"\x00\x05hello\x00\x00\x00\x01x\x01\x00");
        server.expect([7; 256]);
        server.send(b"\x00\x07welcome\x00\x00\x01\x2c");
        server.send([9; 300]);
        for datagram in [&b"welcome"[..], b"", &[9; 300]] {
            client.expect(datagram);
        }
        server.finish();
        assert_eq!(server.end(), End::Eof);
        assert_eq!(proxy.end(), ended("end of stream", 5 + 1 + 256, 7 + 300));
    }
}

#[test]
fn the_longest_frame_passes_between_framed_streams() {
    for kinds in [[Kind::Framed, Kind::FramedUnix], [Kind::FramedUnix, Kind::Framed]] {
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let (client, server) = proxy.session(&remote);
        let longest = Random(1).bytes(65_535);
        for (mut from, mut to) in [(client.another(), server.another()), (server, client)] {
            for _ in 0..20 {
                from.send(b"\xff\xff");
                from.send(&longest);
                from.send(b"\x00\x00");
                to.expect(b"\xff\xff");
                assert!(to.receive(65_535) == longest);
                to.expect(b"\x00\x00");
            }
        }
    }
}

/// Through a Unix socket, the proxy has read each part before the next one comes.
#[cfg(target_os = "linux")]
#[test]
fn a_frame_may_come_in_any_number_of_parts() {
    for kind in FRAMED {
        let remote = Remote::new(Kind::Packet);
        let proxy = Proxy::between(kind, &remote).start();
        let (mut client, mut server) = proxy.datagram_session(&remote, "first");
        if kind == Kind::Framed {
            client.stream.socket.set_tcp_nodelay(true).expect("a socket");
        }
        let mut send_part = |part: &[u8]| {
            client.stream.send(part);
            if kind == Kind::FramedUnix {
                until("a part that is read", || (untaken(&client.stream.socket) == 0).then_some(()));
            }
        };
        for part in [&b"\x00"[..], b"\x05", b"hello", b"\x00", b"\x05he", b"l", b"lo\x00", b"\x02", b"ok"] {
            send_part(part);
        }
        for datagram in ["hello", "hello", "ok"] {
            server.expect(datagram);
        }
        let datagram = Random(2).bytes(300);
        frame(&datagram).chunks(1).for_each(&mut send_part);
        server.expect(&datagram);
        // Cut inside the length of the second.
        let datagrams = [Random(3).bytes(40_000), Random(4).bytes(40_000)];
        let both = datagrams.each_ref().map(|datagram| frame(datagram)).concat();
        both.chunks(40_003).for_each(&mut send_part);
        datagrams.iter().for_each(|datagram| server.expect(datagram));
    }
}

#[test]
fn many_frames_may_come_at_once() {
    for kind in FRAMED {
        // (What a socket of UDP has room for is counted in whole buffers of the kernel's.)
        for (remote_kind, count) in [(Kind::Packet, 5000), (Kind::Framed, 5000), (Kind::Udp, 100)] {
            let remote = Remote::new(remote_kind);
            let proxy = Proxy::between(kind, &remote).start();
            let (mut client, mut server) = proxy.datagram_session(&remote, "first");
            let datagrams: Vec<String> = (0..count).map(|number| format!("number {number}")).collect();
            let frames = |datagrams: &[String]| -> Vec<u8> {
                datagrams.iter().flat_map(|datagram| frame(datagram.as_bytes())).collect()
            };
            thread::scope(|scope| {
                scope.spawn(|| client.stream.send(frames(&datagrams)));
                datagrams.iter().for_each(|datagram| server.expect(datagram));
            });
        }
    }
}

/// The beginnings of frames.
const CUT_OFF: [&[u8]; 4] = [b"\x00", b"\x00\x05", b"\x00\x05hell", b"\xff\xff\x00\x00\x00"];

#[test]
fn a_stream_that_ends_inside_a_frame_is_an_error() {
    for kind in FRAMED {
        for other_kind in [Kind::Framed, Kind::FramedUnix, Kind::Packet, Kind::V4] {
            for client_cuts in [true, false] {
                let kinds = if client_cuts { [kind, other_kind] } else { [other_kind, kind] };
                let remote = Remote::new(kinds[1]);
                let proxy = Proxy::between(kinds[0], &remote).start();
                let (mut bystander, mut its_server) = proxy.datagram_session(&remote, "bystander");
                for (count, bytes) in CUT_OFF.into_iter().enumerate() {
                    let (client, server) = proxy.datagram_session(&remote, "before");
                    let (mut cut, mut other) = if client_cuts { (client, server) } else { (server, client) };
                    cut.stream.send(bytes);
                    cut.stream.finish();
                    let is_tcp = matches!(other_kind, Kind::Framed | Kind::V4);
                    assert_eq!(other.stream.end(), if is_tcp { End::Reset } else { End::Eof });
                    // Its sender is told as well, as it cannot know.
                    assert_eq!(cut.stream.end(), if kind == Kind::Framed { End::Reset } else { End::Eof });
                    let on = if client_cuts { "error on client" } else { "error on remote" };
                    assert_eq!(proxy.ended(count + 1)[count], ended(on, 6, 0));
                    let line = proxy.log.lines_with("inside a frame", count + 1).remove(count);
                    assert!(line.message.ends_with(": the stream ended inside a frame"), "{line:?}");
                    assert!(!line.message.contains("errno"), "{line:?}");
                }
                bystander.reaches(&mut its_server, "there");
                its_server.reaches(&mut bystander, "back");
            }
        }
    }
}

#[test]
fn nothing_of_a_frame_that_is_cut_off_is_delivered() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Framed, &remote).start();
    for (count, bytes) in CUT_OFF.into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(b"\x00\x06before");
        client.send(bytes);
        assert_eq!(remote.receive_from().0, b"before");
        client.reset();
        proxy.ended(count + 1);
    }
    assert!(is_silent(&remote.socket));
}

/// Whatever comes is frames; what it says costs nobody else anything.
#[test]
fn noise_costs_no_more_than_its_session() {
    for kind in FRAMED {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::between(kind, &remote).start();
        let mut random = Random(6);
        for _ in 0..50 {
            let mut client = proxy.connect();
            let size = random.below(300_000);
            client.send(random.bytes(size));
            client.finish();
            assert!(client.rest().0.is_empty());
        }
        assert_eq!(proxy.ended(50).len(), 50);
        let mut client = proxy.peer();
        client.send("what is no noise");
        while remote.receive_from().0 != b"what is no noise" {}
    }
}

#[test]
fn a_datagram_too_large_for_the_other_side_is_dropped_and_counted() {
    let most = Random(5).bytes(65_507);
    for framed_is_client in [true, false] {
        let kinds = if framed_is_client { [Kind::Framed, Kind::Udp] } else { [Kind::Udp, Kind::Framed] };
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let (client, server) = proxy.datagram_session(&remote, "first");
        let (mut framed, mut udp) = if framed_is_client { (client, server) } else { (server, client) };
        for too_long in [65_508, 65_520, 65_535] {
            framed.send(vec![0; too_long]);
            framed.reaches(&mut udp, format!("the next of {too_long}"));
            udp.reaches(&mut framed, "and back");
            framed.reaches(&mut udp, &most);
        }
        framed.stream.finish();
        let end = proxy.end();
        assert_eq!((end.how.as_str(), end.dropped), ("end of stream", 3));
    }
}

/// What is said of datagrams that are dropped.
fn lines_about_drops(proxy: &Proxy) -> usize {
    let lines = proxy.log.so_far();
    lines.iter().filter(|line| line.message.contains("drop") && !line.message.starts_with("disconnect ")).count()
}

#[test]
fn dropped_datagrams_do_not_flood_the_log() {
    const COUNT: usize = 500;
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Framed, &remote).start();
    let (mut client, mut server) = proxy.datagram_session(&remote, "first");
    let start = Instant::now();
    for _ in 0..COUNT {
        client.send(vec![0; 65_535]);
    }
    client.reaches(&mut server, "last");
    client.stream.finish();
    assert_eq!(proxy.end().dropped, COUNT as u64);
    let lines = lines_about_drops(&proxy);
    let seconds = start.elapsed().as_secs() as usize + 1;
    assert!((1..=10 * seconds).contains(&lines), "{lines} lines in {seconds} s");
}
