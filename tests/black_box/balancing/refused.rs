//! Datagram remotes at whose address nobody is.

use socket2::SockAddr;
use std::mem::MaybeUninit;

use crate::support::{Kind, Proxy, Remote, until};

/// The system says so only when something has been sent: the session ends, and what the client sends next goes elsewhere.
#[test]
fn a_remote_that_refuses_datagrams_is_left_alone() {
    for kind in [Kind::Udp, Kind::Datagram] {
        let (refusing, works) = (Remote::new(kind), Remote::new(kind));
        let gone = refusing.address.clone();
        // Who has a port keeps it, so that nobody else gets it: it refuses datagrams that come from others.
        let _held = match kind {
            Kind::Udp => {
                refusing.socket.connect(&gone.socket_address()).expect("itself");
                Some(refusing)
            }
            _ => {
                drop(refusing);
                None
            }
        };
        let setup = Proxy::on(&[kind]).to(&gone).to(&works.address);
        let proxy = setup.args(&["--max-fails", "2", "--fail-timeout", "1h"]).start();
        // Each second one comes to the one that refuses, until it is out; whoever tries again is served.
        for number in 0..20 {
            let mut client = proxy.peer();
            let server = until("a server", || {
                client.send([number]);
                reached(&works, number)
            });
            works.send_to(&[number], &server);
            client.expect([number]);
        }
        let lines = proxy.log.so_far();
        let failed = |text: &str| lines.iter().filter(|line| line.message.contains(text)).count();
        let failed = failed("client to proxy") - failed("connect client to proxy");
        assert!(failed <= 4, "{kind:?}: {failed} sessions ended at a remote that is out");
        let tried = lines.iter().filter(|line| line.message.starts_with("connect starting ")).count();
        assert!(tried <= 24, "{kind:?}: {tried} attempts for 20 clients");
    }
}

/// Whom this is from, if it came.
fn reached(works: &Remote, number: u8) -> Option<SockAddr> {
    works.socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [MaybeUninit::uninit(); 16];
    let mut from = None;
    while let Ok((1, peer)) = works.socket.recv_from(&mut buffer) {
        // SAFETY: the system has written this byte.
        if unsafe { buffer[0].assume_init() } == number {
            from = Some(peer);
        }
    }
    works.socket.set_nonblocking(false).expect("a socket");
    from
}
