//! The built-in echo service.

use std::thread;

use super::relay::{batch, most_under_way};
use crate::support::{End, Kind, Proxy, Random, ended};

#[test]
fn a_stream_comes_back_whole() {
    let kinds = Kind::all();
    let proxy = Proxy::on(&kinds).args(&["-r", "echo:"]).start();
    let bytes = Random(1).bytes(10_000_000);
    for (number, kind) in kinds.iter().enumerate() {
        let mut client = proxy.connect_to(number);
        client.send("hello");
        client.expect("hello");
        thread::scope(|scope| {
            let mut writer = client.another();
            let bytes = &bytes;
            scope.spawn(move || {
                writer.send(bytes);
                writer.finish();
            });
            assert!(client.rest() == (bytes.clone(), End::Eof), "{kind:?}");
        });
        assert_eq!(proxy.ended(number + 1)[number], ended("end of stream", 10_000_005, 10_000_005));
    }
}

#[test]
fn datagrams_come_back_one_by_one() {
    let mut random = Random(2);
    for kind in Kind::DATAGRAMS {
        let proxy = Proxy::on(&[kind]).args(&["-r", "echo:"]).start();
        let mut client = proxy.peer();
        for _ in 0..100 {
            let batch = batch(&mut random, 0..=65_507, most_under_way(&[kind]));
            batch.iter().for_each(|datagram| client.send(datagram));
            for datagram in &batch {
                assert!(client.receive() == *datagram, "{kind:?}");
            }
        }
        assert!(client.stream.is_silent());
    }
}

#[test]
fn frames_that_come_with_the_end_come_back_before_it() {
    for kind in [Kind::Framed, Kind::FramedUnix] {
        let proxy = Proxy::on(&[kind]).args(&["-r", "echo:"]).start();
        let mut client = proxy.connect();
        let frames = b"\x00\x05hello\x00\x00\x00\x02ok";
        client.send(frames);
        client.finish();
        assert_eq!(client.rest(), (frames.to_vec(), End::Eof));
        assert_eq!(proxy.end(), ended("end of stream", 7, 7));
    }
}

#[test]
fn every_client_gets_its_own_back() {
    for kind in [Kind::V4, Kind::Udp, Kind::Framed, Kind::Packet, Kind::Datagram] {
        let proxy = Proxy::on(&[kind]).args(&["-r", "echo:", "-t", "2"]).start();
        let mut clients: Vec<_> = (0..50).map(|_| proxy.peer()).collect();
        for round in 0..5 {
            let text = |number: usize| format!("{round} of {number}");
            clients.iter_mut().enumerate().for_each(|(number, client)| client.send(text(number)));
            clients.iter_mut().enumerate().for_each(|(number, client)| client.expect(text(number)));
        }
    }
}
