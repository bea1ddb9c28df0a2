//! A side that does not read stops the other, or has it dropped; the proxy holds little of what is on the way.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::system::memory;
use crate::support::{Kind, Peer, Proxy, Random, Remote, SetOnDrop, until};

/// How much more memory than after its first datagram the proxy may ever have.
const MEMORY: u64 = 4 << 20;

/// A datagram that tells its number and whether all of it is there.
fn numbered(number: usize) -> Vec<u8> {
    let mut random = Random(number as u64);
    let size = 1000 + random.below(400);
    let mut bytes = random.bytes(size);
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

/// The number of a [`numbered`] datagram.
fn number_of(datagram: &[u8]) -> usize {
    let number = datagram[..8].try_into().map(u64::from_be_bytes).expect("eight bytes") as usize;
    assert!(numbered(number) == datagram, "{} bytes that are not number {number}", datagram.len());
    number
}

/// Sends so many, and counts them.
fn send_numbered(peer: &mut Peer, count: usize, sent: &AtomicUsize) {
    for number in 0..count {
        peer.send(numbered(number));
        sent.store(number + 1, Ordering::Relaxed);
    }
}

/// Waits until a count has not grown for a while: all buffers on the way are full then.
fn stalls(count: &AtomicUsize) -> usize {
    let (mut last, mut in_vain) = (0, 0);
    until("a sender that is stopped", || {
        thread::sleep(Duration::from_millis(10));
        let now = count.load(Ordering::Relaxed);
        in_vain = if now == last && now > 0 { in_vain + 1 } else { 0 };
        last = now;
        (in_vain == 30).then_some(now)
    })
}

/// A side of this kind and one of frames, in both directions.
fn reader_stops_the_sender(kind: Kind) {
    // More than all sockets' buffers on the way have room for.
    const COUNT: usize = 60_000;
    for upstream in [true, false] {
        let kinds = if upstream { [kind, Kind::Framed] } else { [Kind::Framed, kind] };
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let (client, server) = proxy.datagram_session(&remote, "first");
        let before = memory(proxy.pid(), "VmHWM");
        let (mut source, mut sink) = if upstream { (client, server) } else { (server, client) };
        let sent = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| send_numbered(&mut source, COUNT, &sent));
            assert!(stalls(&sent) < COUNT, "{kinds:?}: all was taken");
            let most = memory(proxy.pid(), "VmHWM") - before;
            assert!(most < MEMORY, "{kinds:?}: {most} bytes of memory");
            if kind == Kind::V4 {
                // It is cut anew.
                let all: Vec<u8> = (0..COUNT).flat_map(numbered).collect();
                let mut received = Vec::new();
                while received.len() < all.len() {
                    received.extend(sink.receive());
                }
                assert!(received == all, "{kinds:?}");
            } else {
                (0..COUNT).for_each(|number| assert_eq!(number_of(&sink.receive()), number, "{kinds:?}"));
            }
        });
        source.reaches(&mut sink, "there");
        sink.reaches(&mut source, "back");
    }
}

#[test]
fn a_reader_of_packets_that_does_not_read_stops_the_sender() {
    reader_stops_the_sender(Kind::Packet);
}

#[test]
fn a_reader_of_frames_that_does_not_read_stops_the_sender() {
    reader_stops_the_sender(Kind::Framed);
}

#[test]
fn a_reader_of_frames_over_a_unix_socket_that_does_not_read_stops_the_sender() {
    reader_stops_the_sender(Kind::FramedUnix);
}

#[test]
fn a_reader_of_a_stream_that_does_not_read_stops_the_sender() {
    reader_stops_the_sender(Kind::V4);
}

/// Sends the same again until it has arrived, in a thread of its own, as programs do over UDP.
fn until_it_arrives(client: &mut Peer, receive: impl FnOnce() + Send) {
    let arrived = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            receive();
            arrived.store(true, Ordering::Relaxed);
        });
        until("the last to arrive", || {
            client.send("last");
            arrived.load(Ordering::Relaxed).then_some(())
        });
    });
}

/// What comes over UDP and is not taken is dropped, whole datagrams of it, and no other session suffers.
fn datagrams_are_dropped(kind: Kind) {
    const COUNT: usize = 100_000;
    let remote = Remote::new(kind);
    let proxy = Proxy::between(Kind::Udp, &remote).start();
    let (mut client, mut server) = proxy.datagram_session(&remote, "first");
    let (mut bystander, mut its_server) = proxy.datagram_session(&remote, "bystander");
    let before = memory(proxy.pid(), "VmHWM");
    // Of a proxy that gets no processor the system drops what comes, so this goes on until the proxy has dropped some.
    let is_warned = || proxy.log.so_far().iter().any(|line| line.message.contains("the next endpoint takes no more"));
    let mut numbers = 0..;
    until("datagrams that the proxy drops", || {
        numbers.by_ref().take(COUNT).for_each(|number| client.send(numbered(number)));
        is_warned().then_some(())
    });
    until_it_arrives(&mut bystander, || its_server.expect("last"));
    its_server.reaches(&mut bystander, "back");
    let most = memory(proxy.pid(), "VmHWM") - before;
    assert!(most < MEMORY, "{kind:?}: {most} bytes of memory");

    let mut next = 0;
    until_it_arrives(&mut client, || {
        loop {
            let datagram = server.receive();
            if datagram == b"last" {
                return;
            }
            let number = number_of(&datagram);
            assert!(number >= next, "number {number} after {next}");
            next = number + 1;
        }
    });
    server.reaches(&mut client, "back");
    drop(server);
    let end = proxy.end();
    assert!(end.dropped > 0 && next > 0, "{end:?}, {next}");
}

#[test]
fn a_remote_of_frames_that_does_not_read_has_datagrams_dropped() {
    datagrams_are_dropped(Kind::Framed);
}

#[test]
fn a_remote_of_frames_over_a_unix_socket_that_does_not_read_has_datagrams_dropped() {
    datagrams_are_dropped(Kind::FramedUnix);
}

#[test]
fn a_remote_of_packets_that_does_not_read_has_datagrams_dropped() {
    datagrams_are_dropped(Kind::Packet);
}

/// Clients that share a socket do not wait for each other; and what its sender can be kept from sending is not dropped.
/// (They are not connected: the system lets one that is use up the buffer of the socket that all are answered from.)
#[test]
fn a_client_that_does_not_read_stops_only_its_own_remote() {
    const COUNT: usize = 20_000;
    let remote = Remote::new(Kind::Framed);
    let proxy = Proxy::between(Kind::Datagram, &remote).start();
    let session = || {
        let client = Remote::new(Kind::Datagram);
        client.send_to(b"hello", &proxy.listeners[0].socket_address());
        let mut server = remote.peer();
        server.expect("hello");
        (client, server)
    };
    let ((client, mut server), (bystander, mut its_server)) = (session(), session());
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| send_numbered(&mut server, COUNT, &sent));
        assert!(stalls(&sent) < COUNT, "all was taken");
        its_server.send("there");
        assert_eq!(bystander.receive_from().0, b"there");
        (0..COUNT).for_each(|number| assert_eq!(number_of(&client.receive_from().0), number));
    });
}

/// As long as a remote reads at all, what has been delivered takes no memory any more.
fn slow_reader_costs_no_more_memory(kind: Kind) {
    let remote = Remote::new(kind);
    let proxy = Proxy::between(Kind::Udp, &remote).start();
    let (mut client, mut server) = proxy.datagram_session(&remote, "first");
    let before = memory(proxy.pid(), "VmHWM");
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                client.send(numbered(number));
                number += 1;
            }
        });
        let _over = SetOnDrop(&over);
        for count in 0..20_000 {
            number_of(&server.receive());
            if count % 10 == 0 {
                // Part of the load: the client is faster.
                thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let most = memory(proxy.pid(), "VmHWM") - before;
    assert!(most < MEMORY, "{kind:?}: {most} bytes of memory");
}

#[test]
fn a_remote_of_frames_that_reads_slowly_costs_no_more_memory_than_one_that_does_not() {
    slow_reader_costs_no_more_memory(Kind::Framed);
}

#[test]
fn a_remote_of_frames_over_a_unix_socket_that_reads_slowly_costs_no_more_memory_than_one_that_does_not() {
    slow_reader_costs_no_more_memory(Kind::FramedUnix);
}

#[test]
fn a_remote_of_packets_that_reads_slowly_costs_no_more_memory_than_one_that_does_not() {
    slow_reader_costs_no_more_memory(Kind::Packet);
}
