//! Every method with every kind of remote.

use super::METHODS;
use super::servers::{Server, before, clients, goes_on, shares};
use crate::support::{Kind, Peer};

fn is_exact(method: &str) -> bool {
    matches!(method, "round-robin" | "least-sessions")
}

#[test]
fn streams() {
    for kind in Kind::all() {
        let servers = Server::some(kind, 3);
        for method in METHODS {
            let proxy = before(Kind::V4, &servers).args(&["-t", "2", "--balance", method]).start();
            let (mut clients, numbers) = clients(&proxy, 12);
            clients.iter_mut().for_each(goes_on);
            let each: [usize; 3] = shares(&numbers);
            match method {
                "source" => assert!(each.contains(&12), "{kind:?}: all have one address: {each:?}"),
                _ if is_exact(method) => assert_eq!(each, [4, 4, 4], "{kind:?} {method}"),
                _ => (),
            }
        }
    }
}

#[test]
fn datagrams() {
    for kind in Kind::DATAGRAMS {
        let servers = Server::some(kind, 3);
        for method in METHODS {
            for from in [Kind::Udp, Kind::Packet] {
                let proxy = before(from, &servers).args(&["-t", "2", "--balance", method]).start();
                let mut peers: Vec<Peer> = Vec::new();
                let mut numbers: Vec<u8> = Vec::new();
                for _ in 0..12 {
                    let mut peer = proxy.peer();
                    peer.send("who is it");
                    numbers.extend(peer.receive());
                    peers.push(peer);
                }
                let each: [usize; 3] = shares(&numbers);
                match method {
                    "source" if from == Kind::Udp => assert!(each.contains(&12), "{kind:?}: one address: {each:?}"),
                    // Who has no address has his turn.
                    "random" => assert_eq!(numbers.len(), 12, "{kind:?}"),
                    _ => assert_eq!(each, [4, 4, 4], "{kind:?} {method}"),
                }
            }
        }
    }
}

/// Where there are connections, one that refuses is passed over; the datagram is not lost.
#[test]
fn datagrams_go_to_one_that_can_be_connected_to() {
    for kind in [Kind::Packet, Kind::Framed, Kind::FramedUnix] {
        for method in METHODS {
            let servers = [Server::closed(kind, 0), Server::new(kind, 1)];
            let flags = ["-t", "2", "--balance", method, "--max-fails", "0"];
            let proxy = before(Kind::Udp, &servers).args(&flags).start();
            // All stay, as one who got the port of another would be taken for it.
            let mut peers: Vec<Peer> = (0..6).map(|_| proxy.peer()).collect();
            for peer in &mut peers {
                peer.send("who is it");
                peer.expect([1]);
            }
        }
    }
}

/// The remotes of one service may be of different kinds.
#[test]
fn kinds_can_be_mixed() {
    let kinds = Kind::all();
    let count = kinds.len() as u8;
    let servers: Vec<Server> = (0..count).zip(kinds).map(|(number, kind)| Server::new(kind, number)).collect();
    for method in METHODS {
        let proxy = before(Kind::V4, &servers).args(&["-t", "2", "--balance", method]).start();
        let (mut clients, mut numbers) = clients(&proxy, 3 * servers.len());
        clients.iter_mut().for_each(goes_on);
        if is_exact(method) {
            numbers.sort_unstable();
            let each: Vec<u8> = (0..count).flat_map(|number| [number; 3]).collect();
            assert_eq!(numbers, each, "{method}");
        }
    }
}
