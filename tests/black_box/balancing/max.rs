//! Remotes that may have only so many sessions at once: clients wait in the backlog while all are full.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::health::{close, reopen};
#[cfg(target_os = "linux")]
use crate::support::system::rests;
use crate::support::{End, Kind, Line, Proxy, Remote, SetOnDrop, Setup, Stream, TempDir};

/// A remote that may have so many sessions, as it is written.
fn limited(remote: &Remote, most: usize) -> String {
    format!("{},max={most}", remote.address)
}

fn between(kinds: &[Kind], remotes: &[(&Remote, usize)]) -> Setup {
    remotes.iter().fold(Proxy::on(kinds), |setup, (remote, most)| setup.args(&["-r", &limited(remote, *most)]))
}

fn count(proxy: &Proxy, start: &str) -> usize {
    proxy.log.so_far().iter().filter(|line| line.message.starts_with(start)).count()
}

#[test]
fn a_client_of_full_remotes_waits_in_the_backlog() {
    for kind in Kind::all() {
        let (one, two) = (Remote::new(kind), Remote::new(kind));
        let proxy = between(&[kind], &[(&one, 2), (&two, 1)]).start();
        let mut clients: Vec<Stream> = (0..3).map(|_| proxy.connect()).collect();
        let mut servers = vec![one.accept(), one.accept(), two.accept()];
        let mut waiting = proxy.connect();
        waiting.send("wait");
        // The sessions go on, and nobody else is let in.
        for (number, server) in servers.iter_mut().enumerate() {
            server.send([number as u8]);
        }
        let numbers: Vec<u8> = clients.iter_mut().map(|client| client.receive(1)[0]).collect();
        proxy.log.lines("connect client to proxy ", 3);
        assert_eq!(count(&proxy, "connect client to proxy "), 3, "{kind:?}");
        assert!(waiting.is_silent() && one.has_nobody() && two.has_nobody(), "{kind:?}");

        // That of the second remote ends, so there it goes.
        let position = numbers.iter().position(|&number| number == 2).expect("its client");
        clients.remove(position).finish();
        servers.remove(2).finish();
        let mut server = two.accept();
        server.expect("wait");
        server.send("served");
        waiting.expect("served");
        assert!(one.has_nobody(), "{kind:?}");
    }
}

/// Who has said all has its place free, although what it said is not delivered yet.
#[test]
fn a_remote_that_has_ended_does_not_count() {
    let remote = Remote::new(Kind::V4);
    let proxy = between(&[Kind::V4], &[(&remote, 1)]).start();
    let (mut client, mut server) = proxy.session(&remote);
    server.send("bye");
    server.finish();
    client.expect("bye");
    assert_eq!(client.end(), End::Eof);
    // The client has not ended, so the session goes on.
    let (mut next, mut of_next) = proxy.session(&remote);
    client.send("still here");
    server.expect("still here");
    next.send("hello");
    of_next.expect("hello");
    assert_eq!(count(&proxy, "disconnect client to proxy "), 0);
}

/// No more sessions than there may be, ever, whichever threads accept; and all clients are served in the end.
#[test]
fn the_limit_is_exact_over_all_threads() {
    const CLIENTS: usize = 300;
    const MOST: [usize; 3] = [1, 3, 4];
    for flags in [&["-t", "4"][..], &["-t", "4", "--reuse-port"], &["-t", "4", "--balance", "least-sessions"]] {
        let remotes: Vec<Remote> = MOST.iter().map(|_| Remote::new(Kind::V4)).collect();
        let limits: Vec<(&Remote, usize)> = remotes.iter().zip(MOST).collect();
        let proxy = between(&[Kind::V4], &limits).args(flags).start();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let over = SetOnDrop(&is_over);
            for &(remote, most) in &limits {
                let open = Arc::new(AtomicUsize::new(0));
                // With one more than there may be sessions, one session too many is seen.
                for _ in 0..=most {
                    let (open, is_over) = (open.clone(), &is_over);
                    scope.spawn(move || serve(remote, most, &open, is_over));
                }
            }
            let clients: Vec<Stream> = (0..CLIENTS).map(|_| proxy.connect()).collect();
            for mut client in clients {
                assert_eq!(client.rest(), (b"served".to_vec(), End::Eof), "{flags:?}");
            }
            drop(over);
            // Those who wait for a client see that it is over.
            for (remote, most) in &limits {
                (0..=*most).for_each(|_| drop(Stream::connect(&remote.address)));
            }
        });
    }
}

/// Serves clients one after the other, and counts those of all who serve this remote.
fn serve(remote: &Remote, most: usize, open: &AtomicUsize, is_over: &AtomicBool) {
    loop {
        let mut server = remote.accept();
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let now = open.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(now <= most, "{now} sessions on a remote that may have {most}");
        thread::sleep(Duration::from_millis(1));
        server.send("served");
        // Only after this can the proxy know that it ends.
        open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Who waits is let in when a session ends, and not by the next look at a clock; meanwhile nothing is done.
#[test]
#[cfg(target_os = "linux")]
fn an_end_lets_the_next_client_in_at_once() {
    const CLIENTS: usize = 200;
    for flags in [&["-t", "1"][..], &["-t", "2", "--reuse-port"]] {
        let remote = Remote::new(Kind::V4);
        let proxy = between(&[Kind::V4], &[(&remote, 1)]).args(flags).start();
        let mut session = proxy.session(&remote);
        let waiting: Vec<Stream> = (0..CLIENTS).map(|_| proxy.connect()).collect();
        rests(proxy.pid(), Duration::from_secs(1), "clients that wait");
        let mut waits = Vec::new();
        for _ in 0..CLIENTS {
            let start = Instant::now();
            drop(session);
            session = (waiting[0].another(), remote.accept());
            waits.push(start.elapsed());
        }
        drop(waiting);
        waits.sort_unstable();
        // A busy machine may delay most of them, and not all.
        let most = waits[CLIENTS / 20];
        assert!(most < Duration::from_millis(40), "the fastest of {CLIENTS} clients came in within {most:?}");
    }
}

/// Who waits while all others are full finds out that a remote which was out works again.
#[test]
fn a_remote_that_was_out_takes_those_who_wait() {
    for flags in [&["-t", "1"][..], &["-t", "2", "--reuse-port"]] {
        let (full, out) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
        let setup = between(&[Kind::V4], &[(&full, 2), (&out, 1)]);
        let proxy = setup.args(&["--max-fails", "1", "--fail-timeout", "100ms"]).args(flags).start();
        let address = close(out);
        // The second one goes to the remote that is closed first.
        let sessions = [(); 2].map(|()| proxy.session(&full));
        proxy.log.line(&format!("remote {address} is out: "));
        let mut waiting = proxy.connect();
        waiting.send("wait");
        let mut server = reopen(&address).accept();
        server.expect("wait");
        server.send("served");
        waiting.expect("served");
        drop(sessions);
    }
}

/// A client whose remote could not be connected to while all others are full has the next place before those behind it.
#[test]
fn who_was_let_in_first_is_served_first() {
    for flags in [&["-t", "1"][..], &["-t", "2", "--reuse-port"]] {
        let (full, out) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
        let setup = between(&[Kind::V4], &[(&full, 1), (&out, 1)]);
        let proxy = setup.args(&["--max-fails", "1", "--fail-timeout", "1h"]).args(flags).start();
        let address = close(out);
        let session = proxy.session(&full);
        let mut first = proxy.connect();
        first.send("first");
        proxy.log.line(&format!("remote {address} is out: "));
        let mut others: Vec<Stream> = (0..3).map(|_| proxy.connect()).collect();
        others.iter_mut().for_each(|other| other.send("other"));
        drop(session);
        let mut server = full.accept();
        server.expect("first");
        drop((first, server));
        full.accept().expect("other");
    }
}

/// A full service does not hold up the listeners of others.
#[test]
fn other_services_go_on() {
    for flags in [&["-t", "1"][..], &["-t", "2", "--reuse-port"]] {
        let (full, free) = (Remote::new(Kind::V4), Remote::new(Kind::V4));
        let directory = TempDir::new();
        let file = directory.path().join("cproxy.toml");
        let [one, two] = [(&full, ",max=1"), (&free, "")]
            .map(|(remote, max)| format!("listen = \"127.0.0.1:0\"\nremote = \"{}{max}\"\n", remote.address));
        fs::write(&file, format!("[service.one]\n{one}[service.two]\n{two}")).expect("a file");
        let mut proxy = Proxy::on(&[]).args(&["--config", file.to_str().expect("text")]).args(flags).start();
        let listener = |service: &str| {
            let end = format!(", service {service}");
            proxy.log.wait("a listener", |lines| {
                let is_it = |line: &&Line| line.message.starts_with("listening on ") && line.message.ends_with(&end);
                lines.iter().find(is_it).map(Line::listener)
            })
        };
        proxy.listeners = vec![listener("one"), listener("two")];
        let (client, server) = proxy.session(&full);
        let mut waiting: Vec<Stream> = (0..5).map(|_| proxy.connect()).collect();
        for _ in 0..20 {
            let (mut other, mut of_other) = (proxy.connect_to(1), free.accept());
            other.send("hello");
            of_other.expect("hello");
        }
        assert!(full.has_nobody() && waiting.iter().all(Stream::is_silent));
        drop((client, server));
        // In any order, as each I/O thread may have a queue of its own.
        (0..waiting.len()).for_each(|_| full.accept().send("served"));
        waiting.iter_mut().for_each(|client| client.expect("served"));
    }
}

/// Sources have no backlog: what they send is dropped while all remotes are full, without a line for each.
#[test]
fn datagrams_of_new_sources_are_dropped_while_all_remotes_are_full() {
    const DATAGRAMS: usize = 50;
    let remote = Remote::new(Kind::Udp);
    let proxy = between(&[Kind::Udp], &[(&remote, 1)]).args(&["--idle-timeout", "1h"]).start();
    let (mut client, mut server) = proxy.datagram_session(&remote, "hello");
    let mut other = proxy.peer();
    for _ in 0..DATAGRAMS {
        other.send("nobody");
    }
    // These were read after all of those.
    for number in 0..10 {
        client.reaches(&mut server, format!("again {number}"));
    }
    let lost = proxy.log.line("datagrams of no session dropped so far: ");
    assert!(lost.message.contains("the last one because: "), "{}", lost.message);
    let lines = count(&proxy, "datagrams of no session");
    assert!(lines < DATAGRAMS / 2, "{lines} lines");
    assert_eq!(count(&proxy, "connect client to proxy "), 1);
}
