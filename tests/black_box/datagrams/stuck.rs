//! Peers that do not read, for long: the proxy waits for them without work, and they find what was kept for them.

#![cfg(target_os = "linux")]

use socket2::Socket;
use std::thread;
use std::time::Duration;

use crate::support::system::{memory, rests, send_trains, udp_queue};
use crate::support::{Kind, Proxy, Remote, descriptors, frame, until};

/// How long is looked whether the proxy works.
const WATCHED: Duration = Duration::from_secs(1);

#[test]
fn a_unix_client_that_reads_nothing_costs_nothing_and_can_go_on() {
    let proxy = Proxy::on(&[Kind::Datagram]).args(&["-r", "echo:"]).start();
    let listener = proxy.listeners[0].socket_address();
    // They are bound and not connected.
    let clients = [(); 3].map(|()| Remote::new(Kind::Datagram));
    let text = |client: usize, number: usize| format!("{client} {number:0>100}");
    for number in 0..40 {
        for (index, client) in clients.iter().enumerate() {
            client.send_to(text(index, number).as_bytes(), &listener);
        }
    }
    rests(proxy.pid(), WATCHED, "clients that do not read");
    // Another one is served meanwhile.
    let mut bystander = proxy.peer();
    for round in 0..100 {
        bystander.send(format!("bystander {round}"));
        bystander.expect(format!("bystander {round}"));
    }
    for (index, client) in clients.iter().enumerate() {
        for number in 0..40 {
            assert_eq!(String::from_utf8_lossy(&client.receive_from().0), text(index, number));
        }
    }
}

/// Sends numbers for as long as they are taken, up to 100,000; how many were.
fn send_until_it_blocks(socket: &Socket, framed: bool) -> usize {
    socket.set_nonblocking(true).expect("a socket");
    let text = |number: usize| format!("{number:0>1000}").into_bytes();
    let (mut count, mut in_vain) = (0, 0);
    // What is in the way has time to be moved on.
    while in_vain < 100 && count < 100_000 {
        let datagram = if framed { frame(&text(count)) } else { text(count) };
        match socket.send(&datagram) {
            Ok(sent) if sent == datagram.len() => (count, in_vain) = (count + 1, 0),
            Ok(_) => break,
            Err(_) => {
                in_vain += 1;
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
    count
}

/// Whoever cannot be sent to waits for an event, of which the failed sends themselves are none.
#[test]
fn peers_that_do_not_read_cost_nothing() {
    let stuck = |kinds: [Kind; 2], upstream: bool| {
        let remote = Remote::new(kinds[1]);
        let proxy = Proxy::between(kinds[0], &remote).start();
        let (client, server) = proxy.datagram_session(&remote, "first");
        let (source, mut sink) = if upstream { (client, server) } else { (server, client) };
        let kind = kinds[usize::from(!upstream)];
        let sent = send_until_it_blocks(&source.stream.socket, kind == Kind::Framed);
        assert!(sent > 0, "{kinds:?}");
        rests(proxy.pid(), WATCHED, &format!("{kinds:?}, upstream {upstream}"));
        for number in 0..10 {
            assert_eq!(String::from_utf8_lossy(&sink.receive()), format!("{number:0>1000}"), "{kinds:?}");
        }
    };
    thread::scope(|scope| {
        for kind in [Kind::Framed, Kind::FramedUnix, Kind::Packet, Kind::Datagram] {
            scope.spawn(move || stuck([Kind::Udp, kind], true));
            scope.spawn(move || stuck([Kind::Packet, kind], true));
        }
        for kind in [Kind::Framed, Kind::FramedUnix, Kind::Packet, Kind::Datagram] {
            scope.spawn(move || stuck([kind, Kind::Packet], false));
            scope.spawn(move || stuck([kind, Kind::Framed], false));
        }
    });
}

/// Whoever sends over UDP can pretend to be many, each of which has a session.
#[test]
fn many_sources_before_a_remote_that_does_not_answer_take_a_bounded_memory() {
    const SOURCES: usize = 600;
    // Less than one session may keep.
    const OF_EACH: usize = 200_000;
    const SEGMENT: usize = 1400;
    descriptors();
    let (remote, _crowd) = Remote::deaf(Kind::Framed);
    let proxy = Proxy::between(Kind::Udp, &remote).args(&["--connect-timeout", "10m"]).start();
    let before = memory(proxy.pid(), "VmHWM");
    let train = vec![7; 44 * SEGMENT];
    let port = proxy.listeners[0].port();
    for _ in 0..SOURCES {
        let client = proxy.peer();
        send_trains(&client.stream.socket, SEGMENT as i32);
        for _ in 0..OF_EACH.div_ceil(train.len()) {
            client.stream.socket.send(&train).expect("a listener");
            // What the kernel drops says nothing.
            until("the proxy to read", || (udp_queue(port) < 1 << 20).then_some(()));
        }
    }
    until("the proxy to read", || (udp_queue(port) == 0).then_some(()));
    let most = memory(proxy.pid(), "VmHWM") - before;
    assert!(most < 80 << 20, "{} MiB of memory", most >> 20);
    // The log has one line a second of what is dropped, so this goes on until it is its turn.
    let client = proxy.peer();
    until("a warning", || {
        client.stream.socket.send(&[7; SEGMENT]).expect("a listener");
        proxy.log.so_far().iter().any(|line| line.message.contains("too much is kept for others")).then_some(())
    });
}
