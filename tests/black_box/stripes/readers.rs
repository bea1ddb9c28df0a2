//! Readers that stop: what is kept for them is bounded, and comes when they go on.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use super::{Chain, transfer, works};
use crate::support::system::memory;
use crate::support::{End, Random, Stream, drink, until};

const MIB: u64 = 1 << 20;

/// Sends what a seed repeats until nothing is taken any more, and says how much that was: no less than is asked for.
fn send_until_full(stream: &mut Stream, seed: u64, least: usize) -> usize {
    let (mut random, mut sent) = (Random(seed), 0);
    stream.socket.set_nonblocking(true).expect("a socket");
    let mut refused = 0;
    // On a busy machine this may be too early, which does no harm.
    while refused < 100 || sent < least {
        let (piece, mut taken) = (random.bytes(1 << 16), 0);
        while taken < piece.len() && (refused < 100 || sent + taken < least) {
            assert!(refused < 10_000, "no more than {sent} bytes");
            match stream.socket.send(&piece[taken..]) {
                Ok(count) => (taken, refused) = (taken + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
        sent += taken;
    }
    stream.socket.set_nonblocking(false).expect("a socket");
    sent
}

#[test]
fn a_reader_that_stops_costs_no_more_than_the_window() {
    for by_client in [true, false] {
        let chain = Chain::both(&["--stripe-window", "1m"]);
        let mut session = chain.session();
        transfer(&mut session, 16 << 20, || {});
        let before = [&chain.near, &chain.far].map(|proxy| memory(proxy.pid(), "VmHWM"));
        let (client, server) = session;
        let (mut writer, mut reader) = if by_client { (client, server) } else { (server, client) };
        let sent = send_until_full(&mut writer, 5, 1 << 20);
        for (proxy, before) in [&chain.near, &chain.far].into_iter().zip(before) {
            let now = memory(proxy.pid(), "VmHWM");
            assert!(now < before + 4 * MIB, "{now} bytes of memory after {before}");
        }
        drink(&mut reader, 5, sent);
        works(&mut (writer.another(), reader.another()));
        writer.finish();
        assert_eq!(reader.end(), End::Eof);
        drop((reader, writer));
        chain.is_empty();
    }
}

#[test]
fn the_smallest_window_is_enough() {
    let chain = Chain::both(&["--stripe-window", "64k"]);
    let mut session = chain.session();
    transfer(&mut session, 4 << 20, || {});
    drop(session);
    chain.is_empty();
}

#[test]
fn many_readers_that_are_stuck_hold_nobody_up() {
    const SESSIONS: usize = 50;
    let chain = Chain::both(&["--stripe-window", "64k", "-t", "2"]);
    let mut stuck: Vec<_> = (0..SESSIONS).map(|_| chain.session()).collect();
    stuck.iter_mut().for_each(works);
    let before = [&chain.near, &chain.far].map(|proxy| memory(proxy.pid(), "VmHWM"));
    let sent: Vec<usize> = thread::scope(|scope| {
        let fill = |(number, (client, _)): (usize, &mut (Stream, Stream))| send_until_full(client, number as u64, 1);
        let fillers: Vec<_> = stuck.iter_mut().enumerate().map(|one| scope.spawn(move || fill(one))).collect();
        fillers.into_iter().map(|filler| filler.join().expect("a filler")).collect()
    });
    for (proxy, before) in [&chain.near, &chain.far].into_iter().zip(before) {
        let now = memory(proxy.pid(), "VmHWM");
        // The window, as much again for what comes out of order, and a buffer each.
        assert!(now < before + (SESSIONS as u64) * MIB / 2, "{now} bytes of memory after {before}");
    }
    let mut lively = chain.session();
    transfer(&mut lively, 1 << 20, || {});
    thread::scope(|scope| {
        for (number, ((_, server), sent)) in stuck.iter_mut().zip(sent).enumerate() {
            scope.spawn(move || drink(server, number as u64, sent));
        }
    });
    stuck.iter_mut().for_each(works);
    drop((stuck, lively));
    until("the end of the lanes", || chain.relay.open().is_empty().then_some(()));
    chain.is_empty();
}
