//! How many sessions a service may have, and how many may begin: who waits, who is reset, and what the log says.

#[cfg(target_os = "linux")]
use socket2::SockAddr;
use std::io::{Read, Write};
#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

#[cfg(target_os = "linux")]
use crate::support::Relay;
use crate::support::{Address, End, Kind, Line, Peer, Proxy, Remote, SetOnDrop, Stream, TempDir, at_once, until};

/// The first refusal for this reason, as the log has it.
fn first(reason: &str) -> String {
    format!("clients refused: 1 by {reason}, 1 so far")
}

/// A client at this address of the loopback network, which another system than Linux may not have.
#[cfg(target_os = "linux")]
fn at(last: u8, to: &Address) -> Stream {
    let socket = to.socket().expect("a socket");
    let host = Ipv4Addr::new(127, 0, 0, last);
    socket.bind(&SockAddr::from(SocketAddr::from((host, 0)))).expect("an address of the loopback network");
    Stream::connect_from(socket, to).expect("a proxy that listens")
}

/// A client of an echo service that is let in.
fn let_in(mut client: Stream) -> Stream {
    client.send("hello");
    client.expect("hello");
    client
}

/// Clients come until one is let in: the session that has just ended may still be counted.
fn let_in_soon(mut connect: impl FnMut() -> Stream) -> Stream {
    until("a client that is let in", || {
        let mut client = connect();
        (client.write_all(b"x").is_ok() && client.read_exact(&mut [0]).is_ok()).then_some(client)
    })
}

#[test]
fn clients_wait_until_there_are_fewer_sessions() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for flags in [&["-t1"][..], &["-t2", "--reuse-port"]] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(kind, &remote).args(&["--max-sessions", "2"]).args(flags).start();
            let mut sessions: Vec<(Stream, Stream)> = (0..2).map(|_| proxy.session(&remote)).collect();
            let mut waiting: Vec<Option<Stream>> = (0..5).map(|_| Some(proxy.connect())).collect();
            for (number, client) in waiting.iter_mut().flatten().enumerate() {
                client.send([number as u8]);
            }
            proxy.log.line("there are 2 sessions, as many as max-sessions allows: further clients wait");
            for (client, server) in &mut sessions {
                client.send("go on");
                server.expect("go on");
            }
            assert!(remote.has_nobody() && waiting.iter().flatten().all(Stream::is_silent), "{kind:?} {flags:?}");
            // Each one that ends lets one in.
            for _ in 0..5 {
                drop(sessions.remove(0));
                let mut server = remote.accept();
                let number = server.receive(1)[0];
                sessions.push((waiting[usize::from(number)].take().expect("a client that waits"), server));
            }
        }
    }
}

/// Never one too many, whichever threads accept, and nobody waits for ever; also where remotes have limits as well.
#[test]
fn the_limit_is_exact_over_all_threads() {
    const CLIENTS: usize = 200;
    const MOST: usize = 3;
    for flags in [&["-t2"][..], &["-t2", "--reuse-port"], &["-t2", "--reuse-port", "max=4"]] {
        let remote = Remote::new(Kind::V4);
        let (of_remote, flags) = match flags {
            [flags @ .., most @ "max=4"] => (format!("{},{most}", remote.address), flags),
            flags => (remote.address.to_string(), flags),
        };
        let proxy = Proxy::on(&[Kind::V4]).args(&["-r", &of_remote, "--max-sessions", "3"]).args(flags).start();
        let (open, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let over = SetOnDrop(&is_over);
            for _ in 0..=MOST {
                let (remote, open, is_over) = (&remote, &open, &is_over);
                scope.spawn(move || {
                    loop {
                        let mut server = remote.accept();
                        if is_over.load(Ordering::Relaxed) {
                            return;
                        }
                        let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= MOST, "{now} sessions");
                        server.send("served");
                        // Only after this can the proxy know that it ends.
                        open.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
            // A session counts until its client has closed, too.
            let clients = (0..8).map(|_| {
                let proxy = &proxy;
                scope.spawn(move || {
                    for _ in 0..CLIENTS / 8 {
                        assert_eq!(proxy.connect().rest(), (b"served".to_vec(), End::Eof), "{flags:?}");
                    }
                })
            });
            let clients: Vec<_> = clients.collect();
            clients.into_iter().for_each(|client| client.join().expect("a client that is served"));
            drop(over);
            (0..=MOST).for_each(|_| drop(Stream::connect(&remote.address)));
        });
    }
}

#[test]
fn clients_beyond_are_reset_where_they_are_not_to_wait() {
    for kind in [Kind::V4, Kind::UnixPath] {
        let proxy = Proxy::on(&[kind]).args(&["-r", "echo:", "--max-sessions=1", "--when-full=reset"]).start();
        let mut client = let_in(proxy.connect());
        let (end, from) = match kind {
            Kind::V4 => (End::Reset, "127.0.0.1"),
            // Unix sockets know no reset.
            _ => (End::Eof, "a Unix socket"),
        };
        for _ in 0..3 {
            assert_eq!(proxy.connect().end(), end);
        }
        let told = proxy.log.line("clients refused");
        assert_eq!(told.after(&first("max-sessions")), format!(", the last one from {from}"));
        client.send("go on");
        client.expect("go on");
        drop(client);
        let_in_soon(|| proxy.connect());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn each_source_has_sessions_of_its_own() {
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath]).args(&["-r", "echo:", "--max-sessions-per-source", "2"]);
    let proxy = proxy.args(&["-t2", "--source-prefix", "31,64"]).start();
    let connect = |last| at(last, &proxy.listeners[0]);
    let mut sessions: Vec<Stream> = [2, 3].map(|last| let_in(connect(last))).into();
    for last in [2, 3] {
        assert_eq!(connect(last).end(), End::Reset, "127.0.0.{last}");
    }
    let told = proxy.log.line("clients refused");
    assert_eq!(told.after(&first("max-sessions-per-source")), ", the last one from 127.0.0.2");
    // Others do not notice; clients of Unix sockets are no source.
    let _others = [4, 5].map(|last| let_in(connect(last)));
    let _unix = [(); 3].map(|()| let_in(proxy.connect_to(1)));
    sessions.pop();
    let_in_soon(|| connect(2));
}

#[test]
#[cfg(target_os = "linux")]
fn each_source_begins_so_many_sessions_in_a_time() {
    for (option, reason) in
        [("--session-rate-per-source=1/h", "session-rate-per-source"), ("--session-rate=1/h", "session-rate")]
    {
        let proxy = Proxy::on(&[Kind::V4]).args(&["-r", "echo:", option]).start();
        let connect = |last| at(last, &proxy.listeners[0]);
        drop(let_in(connect(2)));
        for _ in 0..3 {
            assert_eq!(connect(2).end(), End::Reset);
        }
        assert_eq!(proxy.log.line("clients refused").after(&first(reason)), ", the last one from 127.0.0.2");
        match reason {
            "session-rate" => assert_eq!(connect(3).end(), End::Reset),
            _ => drop(let_in(connect(3))),
        }
    }
}

#[test]
fn a_datagram_for_which_there_is_no_room_is_dropped_and_counted() {
    let is_dropped = |limit: &str| {
        let proxy = Proxy::on(&[Kind::Udp]).args(&["-r", "echo:", limit, "--idle-timeout=2500ms", "-v"]).start();
        let connect = || Peer::connect(&proxy.listeners[0]).expect("a socket");
        let mut one = connect();
        one.send("one");
        one.expect("one");
        let mut other = connect();
        other.send("other");
        // It sends until the first one has been idle for long enough; only what came after that is answered.
        until("an answer", || {
            other.send("again");
            (!other.stream.is_silent()).then_some(())
        });
        other.expect("again");
        let lines = proxy.stop();
        let find = |start: &str| lines.iter().position(|line| line.message.starts_with(start)).expect("a line");
        assert!(find(&first(limit[2..].split('=').next().expect("a name"))) < find("disconnect client to proxy "));
        assert_eq!(lines.iter().filter(|line| line.message.contains("dropped")).count(), 0);
    };
    at_once(["--max-sessions=1", "--max-sessions-per-source=1"], is_dropped);
}

#[test]
#[cfg(target_os = "linux")]
fn a_stripe_is_one_session_of_where_its_first_lane_comes_from() {
    for limit in ["--max-sessions=1", "--max-sessions-per-source=1", "--session-rate-per-source=1/h"] {
        let far = Proxy::on(&[Kind::Stripe]).args(&["-r", "echo:", limit]).start();
        let relay = Relay::to(&far.listeners[0]);
        let near = Proxy::on(&[Kind::V4]).args(&["-r", &format!("stripe:{}", relay.address)]).start();
        let mut client = let_in(near.connect());
        // All of its lanes are let in.
        relay.wait_for(4);
        assert_eq!(near.connect().end(), End::Reset, "{limit}");
        far.log.line(&first(limit[2..].split('=').next().expect("a name")));
        client.send("go on");
        client.expect("go on");
        drop(client);
        if !limit.contains("rate") {
            let_in_soon(|| near.connect());
        }
    }
}

#[test]
fn a_limit_holds_over_a_reload_and_a_new_number_holds_at_once() {
    let directory = TempDir::new();
    let remote = Remote::new(Kind::V4);
    let write = |most: usize, idle: &str| {
        let text = format!(
            "[service.a]\nlisten = \"127.0.0.1:0\"\nremote = \"{}\"\nmax-sessions = {most}\nidle-timeout = \"{idle}\"\n",
            remote.address
        );
        directory.file("cproxy.toml", &text)
    };
    let path = write(1, "1h");
    let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
    let line = proxy.log.line("listening on ");
    let address = Address::parse(line.after("listening on ").split(" (fd=").next().expect("an address"));
    let reload = |most, idle| {
        write(most, idle);
        let count = |lines: &[Line]| lines.iter().filter(|line| line.message.starts_with("reload: services ")).count();
        let before = count(&proxy.log.so_far());
        proxy.signal(libc::SIGHUP);
        proxy.log.wait("the end of a reload", |lines| (count(lines) > before).then_some(()));
    };
    let connect = || Stream::connect(&address).expect("a proxy that listens");
    let first = (connect(), remote.accept());
    let mut waiting = connect();
    waiting.send("wait");
    // The session goes on with the former service, and counts.
    reload(1, "2h");
    proxy.log.line("reload: service a: 1 session goes on");
    assert!(remote.has_nobody() && waiting.is_silent());
    reload(2, "2h");
    let mut second = remote.accept();
    second.expect("wait");
    reload(1, "2h");
    drop((waiting, second));
    proxy.ended(1);
    let mut third = connect();
    third.send("third");
    assert!(remote.has_nobody());
    drop(first);
    remote.accept().expect("third");
}
