//! Peers that do not read, for long: the proxy waits for them without work, and they find what was kept for them.

#![cfg(target_os = "linux")]

use std::thread;
use std::time::Duration;

use crate::support::system::processor_time;
use crate::support::{Kind, Proxy, Remote};

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
