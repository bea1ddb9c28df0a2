//! A stream joined to datagrams.

use std::thread;

use crate::support::{End, Kind, Peer, Proxy, Random, Remote, ended};

/// The longest datagram that a stream is cut into for a side of this kind.
fn longest(kind: Kind) -> usize {
    if kind == Kind::Udp { 1472 } else { 16 << 10 }
}

/// How many bytes may be under way to a side of this kind: where nothing stops the sender, no more than buffers hold.
fn window(kind: Kind) -> usize {
    if kind == Kind::Udp { 40_000 } else { 2_000_000 }
}

/// What was sent into a stream comes out as datagrams, in order and whole.
fn cut_into_datagrams(stream: &mut Peer, datagrams: &mut Peer, kind: Kind) -> u64 {
    let bytes = Random(1).bytes(2_000_000);
    for bytes in bytes.chunks(window(kind)) {
        thread::scope(|scope| {
            let mut writer = stream.stream.another();
            scope.spawn(move || writer.send(bytes));
            let mut received = Vec::new();
            while received.len() < bytes.len() {
                let datagram = datagrams.receive();
                assert!((1..=longest(kind)).contains(&datagram.len()), "{} bytes", datagram.len());
                received.extend(datagram);
            }
            assert!(received == bytes, "{kind:?}");
        });
    }
    bytes.len() as u64
}

/// What was sent as datagrams comes out of a stream, in order and whole.
fn joined_to_a_stream(datagrams: &mut Peer, stream: &mut Peer, kind: Kind) -> u64 {
    let (mut random, mut total) = (Random(2), 0);
    for _ in 0..40 {
        let sizes = [0, 1, 1472, window(kind).min(60_000)].map(|most| random.below(most + 1));
        let batch: Vec<Vec<u8>> = sizes.into_iter().map(|size| random.bytes(size)).collect();
        batch.iter().for_each(|datagram| datagrams.send(datagram));
        let bytes = batch.concat();
        assert!(stream.stream.receive(bytes.len()) == bytes, "{kind:?}");
        total += bytes.len() as u64;
    }
    total
}

/// A stream of this kind joined to every kind of datagrams.
fn joined_in_order(stream_kind: Kind, stream_is_client: bool) {
    for kind in Kind::DATAGRAMS {
        let kinds = if stream_is_client { [stream_kind, kind] } else { [kind, stream_kind] };
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let (mut client, mut server) = proxy.datagram_session(&remote, "first");
        let (stream, datagrams) =
            if stream_is_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        stream.reaches(datagrams, "what one read returns");
        let from_stream = 21 + cut_into_datagrams(stream, datagrams, kind);
        let from_datagrams = joined_to_a_stream(datagrams, stream, kind);
        // No half-close: the end of the stream ends all of it.
        stream.stream.finish();
        assert_eq!(stream.stream.end(), End::Eof);
        if kind.has_connections() {
            assert_eq!(datagrams.stream.end(), End::Eof);
        }
        let (up, down) =
            if stream_is_client { (5 + from_stream, from_datagrams) } else { (5 + from_datagrams, from_stream) };
        assert_eq!(proxy.end(), ended("end of stream", up, down), "{kinds:?}");
    }
}

#[test]
fn tcp_clients_and_datagrams_are_joined_in_order() {
    joined_in_order(Kind::V4, true);
}

#[test]
fn datagrams_and_tcp_remotes_are_joined_in_order() {
    joined_in_order(Kind::V4, false);
}

#[test]
fn unix_clients_and_datagrams_are_joined_in_order() {
    joined_in_order(Kind::UnixPath, true);
}

#[test]
fn datagrams_and_unix_remotes_are_joined_in_order() {
    joined_in_order(Kind::UnixPath, false);
}

/// As programs that know nothing of datagrams are joined through a framed stream.
#[test]
fn a_stream_goes_through_a_framed_hop() {
    for hop in [Kind::Framed, Kind::FramedUnix] {
        let remote = Remote::new(Kind::V4);
        let second = Proxy::between(hop, &remote).start();
        let first = Proxy::on(&[Kind::V4]).to(&second.listeners[0]).start();
        let mut client = first.connect();
        let mut server = remote.accept();
        let bytes = [Random(3).bytes(10_000_000), Random(4).bytes(10_000_000)];
        thread::scope(|scope| {
            for (from, to, bytes) in [(&client, &server, &bytes[0]), (&server, &client, &bytes[1])] {
                scope.spawn(move || from.another().send(bytes));
                scope.spawn(move || assert!(to.another().receive(bytes.len()) == *bytes));
            }
        });
        server.send("goodbye");
        client.expect("goodbye");
        client.finish();
        assert_eq!((server.end(), client.end()), (End::Eof, End::Eof));
        let expected = ended("end of stream", 10_000_000, 10_000_007);
        assert_eq!((first.end(), second.end()), (expected.clone(), expected));
    }
}

/// The end of either side's stream, beyond such a hop.
fn end_overtakes_no_datagram(hop: Kind) {
    for client_ends in [true, false] {
        let remote = Remote::new(Kind::V4);
        let second = Proxy::between(hop, &remote).start();
        let first = Proxy::on(&[Kind::V4]).to(&second.listeners[0]).start();
        let (client, server) = (first.connect(), remote.accept());
        let (mut from, mut to) = if client_ends { (client, server) } else { (server, client) };
        let bytes = Random(5).bytes(20_000_000);
        thread::scope(|scope| {
            scope.spawn(|| {
                from.send(&bytes);
                from.finish();
            });
            to.expect(&bytes[..1]);
            assert!(to.rest() == (bytes[1..].to_vec(), End::Eof), "{hop:?}");
        });
        assert_eq!(from.end(), End::Eof);
    }
}

#[test]
fn the_end_of_a_stream_overtakes_no_frame() {
    end_overtakes_no_datagram(Kind::Framed);
}

#[test]
fn the_end_of_a_stream_overtakes_no_frame_over_a_unix_socket() {
    end_overtakes_no_datagram(Kind::FramedUnix);
}

#[test]
fn the_end_of_a_stream_overtakes_no_packet() {
    end_overtakes_no_datagram(Kind::Packet);
}

#[test]
fn a_framed_stream_that_was_reset_resets_the_other() {
    for hop in [Kind::Framed, Kind::V4] {
        let remote = Remote::new(Kind::Framed);
        let proxy = Proxy::between(hop, &remote).start();
        for client_resets in [true, false] {
            let (client, server) = proxy.datagram_session(&remote, "first");
            let (resets, mut other) = if client_resets { (client, server) } else { (server, client) };
            resets.stream.reset();
            assert_eq!(other.stream.end(), End::Reset);
        }
        assert_eq!(proxy.ended(2), [ended("reset by client", 5, 0), ended("reset by remote", 5, 0)]);
    }
}
