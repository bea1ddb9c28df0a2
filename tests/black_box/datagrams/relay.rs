//! Datagram to datagram: one to one, in order, whatever is in between.

use std::ops::RangeInclusive;

use crate::support::{Kind, Peer, Proxy, Random, Remote};

/// Bytes that may be under way at once, in one direction, or one datagram.
const WINDOW: usize = 64 << 10;

/// How many datagrams may be: the queue of a Unix socket has room for ten.
pub fn most_under_way(kinds: &[Kind]) -> usize {
    if kinds.iter().any(|kind| matches!(kind, Kind::Datagram | Kind::DatagramAbstract)) { 8 } else { 64 }
}

/// Random datagrams that may be under way together.
pub fn batch(random: &mut Random, sizes: RangeInclusive<usize>, most: usize) -> Vec<Vec<u8>> {
    let (mut batch, mut room) = (Vec::new(), WINDOW);
    let mut size = 0;
    for _ in 0..1 + random.below(most) {
        // Often as long as the one before, which is how they come to travel together. Otherwise as many short ones as
        // long ones, and the extremes.
        size = match (random.below(6), [0, 100, 1472, 16 << 10, *sizes.end()][random.below(5)]) {
            (0..4, _) => size,
            (4, most) => most,
            (_, most) => random.below(most + 1),
        };
        size = size.clamp(*sizes.start(), *sizes.end());
        room = room.saturating_sub(size);
        batch.push(random.bytes(size));
        if room == 0 {
            break;
        }
    }
    batch
}

/// Sends random datagrams both ways at once.
fn exchange(client: &mut Peer, server: &mut Peer, kinds: [Kind; 2], what: &str) {
    let mut random = Random(what.bytes().fold(7, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte)));
    for _ in 0..40 {
        let batches = [(); 2].map(|()| batch(&mut random, sizes(kinds), most_under_way(&kinds)));
        let send = |peer: &mut Peer, batch: &[Vec<u8>]| batch.iter().for_each(|datagram| peer.send(datagram));
        send(client, &batches[0]);
        send(server, &batches[1]);
        for (peer, batch) in [(&mut *server, &batches[0]), (&mut *client, &batches[1])] {
            for datagram in batch {
                let received = peer.receive();
                assert!(received == *datagram, "{what}: {} bytes for {}", received.len(), datagram.len());
            }
        }
    }
    assert!(client.stream.is_silent() && server.stream.is_silent(), "{what}: more than was sent");
}

/// The sizes that datagrams between these kinds can have.
fn sizes(kinds: [Kind; 2]) -> RangeInclusive<usize> {
    0..=if kinds.contains(&Kind::Udp) || kinds.contains(&Kind::UdpV6) { 65_507 } else { 65_535 }
}

fn through_one_proxy(listener: Kind, kind: Kind) {
    let remote = Remote::new(kind);
    let proxy = Proxy::between(listener, &remote).start();
    let (mut client, mut server) = proxy.datagram_session(&remote, "first");
    exchange(&mut client, &mut server, [listener, kind], &format!("{listener:?} to {kind:?}"));
}

#[test]
fn every_kind_of_datagrams_goes_to_every_other() {
    for listener in Kind::DATAGRAMS {
        for kind in Kind::DATAGRAMS {
            through_one_proxy(listener, kind);
        }
    }
}

#[test]
fn abstract_names_and_ipv6_carry_datagrams_too() {
    let mut kinds = Vec::new();
    if cfg!(target_os = "linux") {
        kinds.extend([Kind::PacketAbstract, Kind::DatagramAbstract]);
    }
    if Kind::tcp().contains(&Kind::V6) {
        kinds.push(Kind::UdpV6);
    }
    for kind in kinds {
        through_one_proxy(kind, kind);
    }
}

#[test]
fn every_kind_of_datagrams_goes_through_framed_hops() {
    for (number, listener) in Kind::DATAGRAMS.into_iter().enumerate() {
        for kind in Kind::DATAGRAMS {
            let remote = Remote::new(kind);
            let last = Proxy::between([Kind::Framed, Kind::FramedUnix][number % 2], &remote).start();
            let middle = Proxy::on(&[Kind::Framed]).to(&last.listeners[0]).start();
            let hop = if number % 2 == 0 { &last } else { &middle };
            let first = Proxy::on(&[listener]).to(&hop.listeners[0]).start();
            let (mut client, mut server) = first.datagram_session(&remote, "first");
            let what = format!("{listener:?} through frames to {kind:?}");
            exchange(&mut client, &mut server, [listener, kind], &what);
        }
    }
}

/// The kernel may hand over several datagrams as one.
#[cfg(target_os = "linux")]
#[test]
fn a_train_of_the_kernels_is_taken_apart() {
    for kind in Kind::DATAGRAMS {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(Kind::Udp, &remote).start();
        let (mut client, mut server) = proxy.datagram_session(&remote, "first");
        for (size, bytes) in [(1000, 7300), (1, 8), (1400, 2800), (8000, 64_000), (500, 501)] {
            let bytes = Random(bytes).bytes(bytes as usize);
            crate::support::system::send_trains(&client.stream.socket, size);
            client.send(&bytes);
            bytes.chunks(size as usize).for_each(|datagram| server.expect(datagram));
            server.reaches(&mut client, "and back");
        }
    }
}
