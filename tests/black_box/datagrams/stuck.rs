//! Peers that do not read, for long: the proxy waits for them without work, and they find what was kept for them.

#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use crate::support::system::{memory, processor_time, send_trains, udp_queue};
use crate::support::{Kind, Proxy, Remote, descriptors, until};

/// How long is looked whether the proxy works.
const WATCHED: Duration = Duration::from_secs(1);

/// The processor time it may use in that time, in hundredths of a second.
const IDLE: u64 = 15;

/// Checks that the proxy has nothing to do.
fn rests(proxy: &Proxy, what: &str) {
    // What led to this may still be under way.
    thread::sleep(Duration::from_millis(200));
    let before = processor_time(proxy.pid());
    thread::sleep(WATCHED);
    let used = processor_time(proxy.pid()) - before;
    assert!(used <= IDLE, "{what}: {used} hundredths of a second in {WATCHED:?}");
}

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
    rests(&proxy, "clients that do not read");
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
    proxy.log.wait("a warning", |lines| {
        let text = "too much is kept for others";
        lines.iter().any(|line| line.message.contains(text)).then_some(())
    });
}
