//! Many sessions, whose lanes are dealt to different threads.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{count, works};
use crate::support::{End, Kind, Proxy, Remote, Stream, TempDir, descriptors};

/// Two proxies with nothing between them.
struct Pair {
    near: Proxy,
    far: Proxy,
    remote: Remote,
}

impl Pair {
    fn new(near: &[&str], far: &[&str]) -> Pair {
        descriptors();
        let remote = Remote::new(Kind::V4);
        let far = Proxy::between(Kind::Stripe, &remote).args(far).start();
        let near = Proxy::on(&[Kind::V4]).to(&far.listeners[0]).args(near).start();
        Pair { near, far, remote }
    }

    /// Waits until so many sessions have ended at both ends.
    fn have_ended(&self, sessions: usize) {
        for proxy in [&self.near, &self.far] {
            proxy.ended(sessions);
            assert_eq!(count(proxy, "connect client "), sessions);
        }
    }
}

/// Each has all its lanes on one thread, wherever they came.
#[test]
fn lanes_that_come_to_different_threads_find_their_session() {
    let directory = TempDir::new();
    let key = super::make_key(&directory, "key");
    for far in [&["-v", "-t", "4"][..], &["-v", "-t", "4", "--reuse-port"], &["-v", "-t", "4", "--stripe-key", &key]] {
        let near = if far.contains(&"--stripe-key") { &far[3..] } else { &["--lanes", "4"] };
        let pair = Pair::new(near, far);
        let mut sessions: Vec<_> = (0..50).map(|_| (pair.near.connect(), pair.remote.accept())).collect();
        // The n-th client is the n-th at the server only by and large.
        let mut servers = Vec::new();
        for (number, (client, _)) in sessions.iter_mut().enumerate() {
            client.send([number as u8]);
        }
        let mut clients = Vec::new();
        for (client, mut server) in sessions {
            servers.push((server.receive(1)[0], server));
            clients.push(client);
        }
        servers.sort_by_key(|(number, _)| *number);
        let mut sessions: Vec<_> = clients.into_iter().zip(servers.into_iter().map(|(_, server)| server)).collect();
        pair.far.log.wait("all lanes", |lines| {
            let open =
                |line: &&crate::support::Line| line.message.contains(": lane ") && line.message.contains(" open ");
            (lines.iter().filter(open).count() >= 200).then_some(())
        });
        for _ in 0..10 {
            sessions.iter_mut().for_each(works);
        }
        drop(sessions);
        pair.have_ended(50);
    }
}

#[test]
fn five_hundred_stripes_at_once() {
    const SESSIONS: usize = 500;
    if descriptors() < 6000 {
        return crate::support::skip("fewer than 6000 descriptors");
    }
    let pair = Pair::new(&["-t", "2"], &["-t", "4"]);
    let mut clients: Vec<Stream> = (0..SESSIONS).map(|_| pair.near.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send((number as u32).to_be_bytes());
    }
    let mut servers: Vec<(u32, Stream)> = (0..SESSIONS)
        .map(|_| {
            let mut server = pair.remote.accept();
            let number = server.receive(4).try_into().expect("four bytes");
            (u32::from_be_bytes(number), server)
        })
        .collect();
    servers.sort_by_key(|(number, _)| *number);
    let mut sessions: Vec<_> = clients.into_iter().zip(servers.into_iter().map(|(_, server)| server)).collect();
    for (client, server) in &mut sessions {
        client.send(vec![1; 20_000]);
        assert!(server.receive(20_000) == [1; 20_000]);
    }
    sessions.iter_mut().for_each(works);
    drop(sessions);
    pair.have_ended(SESSIONS);
}

/// A session that has ended is not made again by lanes of its own that come late.
#[test]
fn short_sessions_make_no_ghosts() {
    const CLIENTS: usize = 1000;
    let pair = Pair::new(&["-t", "2"], &["-t", "4"]);
    let (left, served) = (AtomicUsize::new(CLIENTS), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while served.load(Ordering::Relaxed) < CLIENTS {
                let mut server = pair.remote.accept();
                let mut request = Vec::new();
                server.read_to_end(&mut request).expect("a client that ends");
                server.write_all(&request).expect("a client that reads");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..4 {
            scope.spawn(|| {
                while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
                    let mut client = pair.near.connect();
                    let request = number.to_string();
                    client.send(&request);
                    client.finish();
                    assert_eq!(client.rest(), (request.into_bytes(), End::Eof));
                }
            });
        }
    });
    pair.have_ended(CLIENTS);
    // Whatever is still on its way comes before this.
    let mut last = (pair.near.connect(), pair.remote.accept());
    works(&mut last);
    drop(last);
    pair.have_ended(CLIENTS + 1);
    assert!(pair.remote.has_nobody());
}
