//! Many clients, few descriptors, little memory.

#![cfg(target_os = "linux")]

use std::collections::VecDeque;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::system::{
    accept_queue, descriptor_flags, is_listening, memory, open_descriptors, processor_time, rests, udp_queue,
};
use crate::support::{
    Address, End, Ended, Kind, Output, Peer, Proxy, Remote, Stream, TempDir, descriptors, ended, is_silent, until,
};

/// The numbers in `descriptor limit = 64 (19 sessions)`.
fn limit(proxy: &Proxy) -> (u64, usize) {
    let line = proxy.log.line("descriptor limit = ");
    let numbers: Vec<_> = line.message.split(|c: char| !c.is_ascii_digit()).filter(|text| !text.is_empty()).collect();
    (numbers[0].parse().expect("a number"), numbers[1].parse().expect("a number"))
}

#[test]
fn the_limit_on_descriptors_is_raised_and_named() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).descriptors(60, 200).start();
    let (limit, sessions) = limit(&proxy);
    assert_eq!(limit, 200);
    assert!((60..100).contains(&sessions), "{sessions}");
}

#[test]
fn running_out_of_descriptors_pauses_accepting() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath])
        .args(&["-r", &remote.address.to_string(), "-t", "2"])
        .descriptors(60, 80)
        .start();
    let (_, most) = limit(&proxy);
    let mut sessions: Vec<(Stream, Stream)> = (0..most).map(|_| proxy.session(&remote)).collect();
    proxy.log.lines("connect complete ", most);
    assert!(open_descriptors(proxy.pid()).len() < 80);
    // These are connected, in the queues, and wait.
    let mut waiting: Vec<Stream> = (0..10).map(|number| proxy.connect_to(number % 2)).collect();
    for client in &mut waiting {
        client.send("wait");
        client.finish();
    }
    proxy.log.line("out of descriptors");

    // The sessions go on.
    for (client, server) in &mut sessions {
        client.send("hello");
        server.expect("hello");
        server.send("welcome");
        client.expect("welcome");
    }
    rests(proxy.pid(), Duration::from_secs(1), "a pause");
    assert!(waiting.iter().all(Stream::is_silent));
    let pauses = || count(&proxy, "out of descriptors: ");
    assert_eq!(pauses(), 1);
    let pause = proxy.log.line("out of descriptors");
    assert_eq!(pause.message, format!("out of descriptors: at most {most} sessions fit; accepting pauses"));
    assert_eq!(count(&proxy, "accepting again"), 0);

    // One ends, and all that wait are served, one after the other.
    sessions.truncate(most - 1);
    for _ in 0..waiting.len() {
        let mut server = remote.accept();
        assert_eq!(server.rest(), (b"wait".to_vec(), End::Eof));
        server.send("served");
    }
    for client in &mut waiting {
        assert_eq!(client.rest(), (b"served".to_vec(), End::Eof));
    }
    until("an end of the pause", || (pauses() == count(&proxy, "accepting again")).then_some(()));
    // Each may have begun a pause anew; no pause says more than once that it is one.
    assert!(pauses() <= 1 + waiting.len());
}

/// Those who wait do not wait for the next look at the clock as well.
#[test]
fn a_session_that_ends_lets_the_next_client_in_at_once() {
    const CLIENTS: usize = 300;
    for flag in ["--no-delay", "--reuse-port"] {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&[flag]).descriptors(60, 80).start();
        let (_, most) = limit(&proxy);
        let mut sessions: VecDeque<(Stream, Stream)> = (0..most).map(|_| proxy.session(&remote)).collect();
        let mut waiting: VecDeque<Stream> = (0..CLIENTS).map(|_| proxy.connect()).collect();
        proxy.log.line("out of descriptors");
        let mut waits = Vec::new();
        while let Some(client) = waiting.pop_front() {
            let start = Instant::now();
            sessions.pop_front();
            sessions.push_back((client, remote.accept()));
            waits.push(start.elapsed());
        }
        waits.sort_unstable();
        // Whoever looks every 100 ms only takes about that for each; a busy machine may delay most of them, and not all.
        let most = waits[CLIENTS / 30];
        assert!(most < Duration::from_millis(50), "the fastest of {CLIENTS} clients came in within {most:?}");
    }
}

/// Also where nothing is logged: the system gets back what a burst of sessions took.
#[test]
fn memory_of_a_burst_is_given_back() {
    const SESSIONS: usize = 600;
    for flags in [["-q", "-n"], ["--log-level", "off"]] {
        let remote = Remote::new(Kind::UnixPath);
        let setup = Proxy::between(Kind::UnixPath, &remote).args(&flags).args(&["--zero-copy", "never"]);
        // What is not logged cannot be waited for.
        let proxy = setup.output(Output::Unread).start();
        let mut sessions: Vec<(Stream, Stream)> = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push((proxy.connect_when_up(), remote.accept()));
        }
        let before = memory(proxy.pid(), "VmRSS");
        // Nobody reads at the remote: what it does not take stays in the proxy.
        let full = until("full buffers", || {
            for (client, _) in &sessions {
                client.socket.set_nonblocking(true).expect("a socket");
                while client.socket.send(&[7; 1 << 16]).is_ok() {}
            }
            Some(memory(proxy.pid(), "VmRSS")).filter(|full| *full > before + (4 << 20))
        });
        drop(sessions);
        until("memory given back", || (memory(proxy.pid(), "VmRSS") < before + (full - before) / 2).then_some(()));
    }
}

/// Two proxies that lead to each other: one client takes all sessions of both, and the last waits for one that only its
/// own end would end.
#[test]
fn a_loop_through_another_program_comes_to_an_end() {
    let directory = TempDir::new();
    let [one, other] = ["one", "other"].map(|name| Address::Path(directory.path().join(name)));
    let start = |listen: &Address, remote: &Address| {
        Proxy::on(&[]).listen_on(listen.clone()).to(remote).descriptors(60, 80).start()
    };
    let proxies = [start(&one, &other), start(&other, &one)];
    let mut client = proxies[0].connect();
    proxies[0].log.line("out of descriptors");
    assert_eq!(client.end(), End::Eof);
    for proxy in &proxies {
        let count = |start: &str| count(proxy, start);
        until("the end of all sessions", || (count("connect client ") == count("disconnect client ")).then_some(()));
    }
    let reset = |proxy: &Proxy| count(proxy, "no session has ended for 20s: clients that waited for room are reset: 1");
    assert!(proxies.iter().map(reset).sum::<usize>() >= 1);
}

/// The same where the client leaves: each session that ends makes room for the next one of the same loop.
#[test]
fn a_loop_whose_client_has_left_comes_to_an_end() {
    for (kind, flag) in [(Kind::V4, "--no-delay"), (Kind::V4, "--reuse-port"), (Kind::UnixPath, "--no-delay")] {
        let directory = TempDir::new();
        // Bound without listening, they keep others from having these ports.
        let (_ports, addresses): (Vec<_>, Vec<_>) = (0..2).map(|_| reserved(kind, &directory)).unzip();
        let start = |listen: &Address, remote: &Address| {
            // A line for each session would be millions.
            let setup = Proxy::on(&[]).listen_on(listen.clone()).to(remote).args(&["-q", flag]);
            let proxy = setup.descriptors(60, 80).output(Output::Unread).start();
            until("a proxy that listens", || is_listening(listen).then_some(()));
            proxy
        };
        let proxies = [start(&addresses[1], &addresses[0]), start(&addresses[0], &addresses[1])];
        let all = || proxies.iter().map(|proxy| open_descriptors(proxy.pid()).len()).sum::<usize>();
        let work = || proxies.iter().map(|proxy| processor_time(proxy.pid())).sum::<u64>();
        let rest = || {
            let before = (all(), work());
            thread::sleep(Duration::from_millis(300));
            (before == (all(), work())).then_some(before.0)
        };
        let idle = until("two idle proxies", rest);
        let client = proxies[0].connect();
        until("sessions of a loop", || (all() > idle + 40).then_some(()));
        if kind.is_tcp() {
            client.reset()
        } else {
            drop(client)
        }
        until("the end of the loop", || rest().filter(|open| *open == idle));
    }
}

/// An address that nobody else can get.
fn reserved(kind: Kind, directory: &TempDir) -> (Option<socket2::Socket>, Address) {
    if !kind.is_tcp() {
        return (None, kind.fresh(directory));
    }
    let (socket, address) = Address::reserved();
    (Some(socket), address)
}

/// A datagram that is sent round by another program gets another's room each time: now and then it does not.
#[test]
fn not_every_source_gets_the_room_of_another() {
    const ROOMS: usize = 256;
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Udp, &remote).descriptors(60, 80).start();
    let (_, most) = limit(&proxy);
    let dropped = || count(&proxy, "datagrams of no session dropped so far: 1,");
    let mut arrived = 0;
    // They stay, as the port of one that is gone may be had by the next.
    let mut sources: Vec<Peer> = Vec::new();
    while sources.len() < most + ROOMS {
        // Nobody makes room before it has been idle for 200 ms.
        thread::sleep(Duration::from_millis(300));
        for _ in 0..most.min(most + ROOMS - sources.len()) {
            let mut source = proxy.peer();
            source.send("hello");
            sources.push(source);
        }
        until("all datagrams", || {
            while !is_silent(&remote.socket) {
                remote.receive_from();
                arrived += 1;
            }
            (arrived + dropped() == sources.len()).then_some(())
        });
    }
    assert_eq!((arrived, dropped()), (sources.len() - 1, 1));
    proxy.log.lines("disconnect client ", ROOMS - 1);
}

/// When all sessions are taken, clients that wait at one listener do not keep out those that wait at another.
fn listeners_take_turns(arguments: &[&str]) {
    const ROUNDS: usize = 12;
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::V4, Kind::V4]).to(&remote.address).args(arguments).descriptors(60, 80).start();
    let (_, most) = limit(&proxy);
    assert!(most >= ROUNDS, "{most} sessions");
    let mut sessions: Vec<(Stream, Stream)> = (0..most).map(|_| proxy.session(&remote)).collect();
    proxy.log.lines("connect complete ", most);
    // More of them at the first, and more at each than there will be room for.
    let _waiting: Vec<Stream> = [(0, 3 * ROUNDS), (1, ROUNDS)]
        .into_iter()
        .flat_map(|(listener, count)| (0..count).map(move |_| listener))
        .map(|listener| {
            let mut client = proxy.connect_to(listener);
            client.send([listener as u8]);
            client
        })
        .collect();
    proxy.log.line("out of descriptors");

    // One session after the other ends, and each time there is room for one client.
    let mut servers = Vec::new();
    let served: Vec<u8> = (0..ROUNDS)
        .map(|_| {
            drop(sessions.pop());
            let mut server = remote.accept();
            let listener = server.receive(1)[0];
            servers.push(server);
            listener
        })
        .collect();
    for listener in [0, 1] {
        let count = served.iter().filter(|&&of| of == listener).count();
        assert!(count >= ROUNDS / 3, "{count} clients of listener {listener} were served: {served:?}");
    }
}

#[test]
fn listeners_take_turns_when_it_is_full() {
    listeners_take_turns(&[]);
}

#[test]
fn listeners_of_an_io_thread_take_turns_when_it_is_full() {
    listeners_take_turns(&["--reuse-port"]);
}

/// Sources have their turns as well, though they make room only for each other.
#[test]
fn sources_take_turns_with_listeners_when_it_is_full() {
    for flag in ["--no-delay", "--reuse-port"] {
        const ROUNDS: usize = 8;
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::on(&[Kind::V4, Kind::Udp]).to(&remote.address).args(&[flag]).descriptors(60, 80).start();
        let (_, most) = limit(&proxy);
        let mut sessions: Vec<(Stream, Stream)> = (0..most).map(|_| proxy.session(&remote)).collect();
        proxy.log.lines("connect complete ", most);
        let _waiting: Vec<Stream> = (0..3 * ROUNDS)
            .map(|_| {
                let mut client = proxy.connect();
                client.send("stream");
                client
            })
            .collect();
        proxy.log.line("out of descriptors");
        let mut source = Peer::connect(&proxy.listeners[1]).expect("a socket");
        let mut servers = Vec::new();
        // There are two who wait, and each time there is room for one.
        let served: Vec<Vec<u8>> = (0..ROUNDS)
            .map(|_| {
                let mut ended = sessions.pop();
                let mut server = until("a client that is served", || {
                    source.send("source");
                    until("a datagram that is read", || (udp_queue(proxy.listeners[1].port()) == 0).then_some(()));
                    drop(ended.take());
                    let start = Instant::now();
                    while accept_queue(&remote.socket).0 == 0 && start.elapsed() < Duration::from_millis(100) {
                        thread::sleep(Duration::from_millis(2));
                    }
                    (accept_queue(&remote.socket).0 > 0).then(|| remote.accept())
                });
                let who = server.receive(6);
                servers.push(server);
                who
            })
            .collect();
        let count = served.iter().filter(|&who| who == b"stream").count();
        assert!(served[..ROUNDS / 2].contains(&b"source".to_vec()) && count >= ROUNDS / 2, "{flag}: {served:?}");
    }
}

/// With `--reuse-port` the I/O threads and the acceptor all admit clients; descriptors that were inherited count, too.
#[test]
fn all_that_accept_share_one_limit() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::V4, Kind::UnixPath])
        .args(&["-r", &remote.address.to_string(), "-t", "2", "--reuse-port"])
        .before(|| {
            // SAFETY: the call takes no memory; what it opens is left open on purpose.
            let inherited = (0..20).all(|_| unsafe { libc::dup(0) } >= 0);
            if inherited { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
        .descriptors(60, 120)
        .start();
    let (_, most) = limit(&proxy);
    let open = |number: usize| {
        let mut client = proxy.connect_to(number % 2);
        let mut server = remote.accept();
        client.send("hello");
        server.expect("hello");
        (client, server)
    };
    let mut sessions: Vec<_> = (0..most).map(open).collect();
    let waiting: Vec<Stream> = (0..10).map(|number| proxy.connect_to(number % 2)).collect();
    proxy.log.line("out of descriptors");
    for (client, server) in &mut sessions {
        server.send("welcome");
        client.expect("welcome");
    }
    assert!(waiting.iter().all(Stream::is_silent));
    let lines = proxy.log.so_far();
    assert!(lines.iter().all(|line| !line.message.contains("errno")), "{lines:?}");
    sessions.truncate(most - 1);
    drop(remote.accept());
}

/// New sources do not use up the descriptors: who was silent for the longest time makes room, and nobody else.
#[test]
fn a_flood_of_sources_makes_room_for_itself() {
    for threads in ["1", "2"] {
        let remote = Remote::new(Kind::Udp);
        let proxy = Proxy::on(&[Kind::Udp, Kind::V4])
            .to(&remote.address)
            .args(&["--idle-timeout", "1m", "-t", threads])
            .descriptors(60, 80)
            .start();
        let (_, most) = limit(&proxy);
        // Again until it arrives: it may be that only the next one finds room.
        let arrives = |source: &mut Peer, text: &str| {
            until(text, || {
                source.send(text);
                until("a datagram at the remote or nowhere", || {
                    let read = udp_queue(proxy.listeners[0].port()) == 0;
                    (read || !is_silent(&remote.socket)).then_some(())
                });
                while !is_silent(&remote.socket) {
                    let (datagram, from) = remote.receive_from();
                    if datagram == text.as_bytes() {
                        return Some(from.as_socket());
                    }
                }
                None
            })
        };
        let mut busy = proxy.peer();
        let of_busy = arrives(&mut busy, "busy");
        let mut sources = Vec::new();
        for number in 0..most * 10 {
            sources.push(proxy.peer());
            arrives(sources.last_mut().expect("a source"), &format!("source {number}"));
            assert_eq!(arrives(&mut busy, "still busy"), of_busy, "number {number}");
        }
        assert!(open_descriptors(proxy.pid()).len() < 80);
        let mut client = proxy.connect_to(1);
        client.send("by TCP");
        let from = loop {
            let (datagram, from) = remote.receive_from();
            if datagram == b"by TCP" {
                break from;
            }
        };
        remote.send_to(b"welcome", &from);
        client.expect("welcome");
    }
}

/// The same where each source takes a connection of TCP.
#[test]
fn a_flood_of_sources_takes_no_more_connections_than_there_is_room_for() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::on(&[Kind::Udp, Kind::V4])
        .to(&remote.address)
        .args(&["--idle-timeout", "3s", "-t", "2"])
        .descriptors(60, 80)
        .start();
    let (_, most) = limit(&proxy);
    let mut sources: Vec<Peer> = (0..most * 10).map(|_| proxy.peer()).collect();
    sources.iter_mut().enumerate().for_each(|(number, source)| source.send(format!("source {number}")));
    // Those that were served say no more; some time later they make room for the others.
    let made_room = || proxy.log.so_far().iter().filter(|line| line.message.contains(": made room, ")).count();
    until("room", || {
        sources[most * 5..].iter_mut().for_each(|source| source.send("again"));
        (made_room() >= most / 2).then_some(())
    });
    let mut client = proxy.connect_to(1);
    client.send("by TCP");
    let mut served = Vec::new();
    loop {
        let mut server = remote.accept();
        // (Who has made room may have been cut off already.)
        if matches!(server.read(&mut [0; 100]), Ok(6)) {
            server.send("welcome");
            client.expect("welcome");
            break;
        }
        served.push(server);
    }
    assert!(open_descriptors(proxy.pid()).len() < 80);
}

/// How many lines start like this so far.
fn count(proxy: &Proxy, start: &str) -> usize {
    proxy.log.so_far().iter().filter(|line| line.message.starts_with(start)).count()
}

#[test]
fn a_burst_of_clients_is_served() {
    // Three descriptors here and two in the proxy for each.
    let count = 2000.min(descriptors() as usize / 5);
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["-t", "2"]).start();
    let address = proxy.listeners[0].socket_address();
    let connect = |_| {
        let socket = socket2::Socket::new(address.domain(), socket2::Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a socket");
        let error = socket.connect(&address).err().and_then(|error| error.raw_os_error());
        assert!(matches!(error, None | Some(libc::EINPROGRESS)), "{error:?}");
        socket
    };
    let clients: Vec<socket2::Socket> = (0..count).map(connect).collect();
    // Nobody was served before all had called.
    let servers: Vec<Stream> = (0..count).map(|_| remote.accept()).collect();
    for (number, mut server) in servers.into_iter().enumerate() {
        server.send(format!("{number}"));
    }
    let mut seen = vec![false; count];
    for socket in clients {
        socket.set_nonblocking(false).expect("a socket");
        let mut client = Stream::new(socket).expect("a socket");
        let (bytes, end) = client.rest();
        assert_eq!(end, End::Eof);
        let number: usize = String::from_utf8_lossy(&bytes).parse().expect("a number");
        assert!(!std::mem::replace(&mut seen[number], true));
    }
    assert!(proxy.ended(count).iter().all(|end| end.how == "end of stream" && end.downstream > 0));
}

#[test]
fn descriptors_are_closed_on_exec() {
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath)];
    for remote in &remotes {
        let kinds = Kind::all();
        let proxy = Proxy::on(&kinds).args(&["-r", &remote.address.to_string()]).start();
        let _sessions: Vec<_> = (0..kinds.len()).map(|number| (proxy.connect_to(number), remote.accept())).collect();
        proxy.log.lines("connect complete ", kinds.len());
        // Whoever runs the tests may have left some open for every child to come.
        let open_on_exec = |pid, fd| descriptor_flags(pid, fd).is_some_and(|flags| flags & libc::O_CLOEXEC == 0);
        let inherited = |fd: &u32| *fd <= 2 || open_on_exec(std::process::id(), *fd);
        let open: Vec<u32> = open_descriptors(proxy.pid()).into_iter().filter(|fd| !inherited(fd)).collect();
        assert!(open.len() >= 3 * kinds.len());
        for descriptor in open {
            assert!(!open_on_exec(proxy.pid(), descriptor), "descriptor {descriptor}");
        }
    }
}

#[test]
fn sessions_that_have_ended_leave_no_descriptor() {
    for kind in Kind::all() {
        let remote = Remote::new(kind);
        let proxy = Proxy::between(kind, &remote).args(&["-t", "2"]).start();
        // The poll descriptors of threads that are just starting are there by now.
        drop(proxy.session(&remote));
        drop(proxy.session(&remote));
        proxy.ended(2);
        let before = until("two sessions' descriptors to be closed", || steady(&proxy));
        for number in 0..100 {
            let (client, server) = proxy.session(&remote);
            match number % 4 {
                0 => client.reset(),
                1 => server.reset(),
                2 => drop(client),
                _ => drop(server),
            }
        }
        proxy.ended(102);
        until("as few descriptors as before", || (open_descriptors(proxy.pid()).len() <= before).then_some(()));
    }
}

/// The number of descriptors once no session is open: every session's end was logged, and the closing comes just after.
fn steady(proxy: &Proxy) -> Option<usize> {
    let sockets = |pid: u32| {
        let is_socket = |fd: &u32| {
            std::fs::read_link(format!("/proc/{pid}/fd/{fd}"))
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        open_descriptors(pid).iter().filter(|fd| is_socket(fd)).count()
    };
    (sockets(proxy.pid()) == proxy.listeners.len()).then(|| open_descriptors(proxy.pid()).len())
}

#[test]
fn an_idle_session_holds_no_buffer() {
    const SESSIONS: usize = 500;
    let bytes = vec![9; 16384];
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).start();
    let session = || {
        let (mut client, mut server) = proxy.session(&remote);
        client.send(&bytes);
        server.expect(&bytes);
        server.send(&bytes);
        client.expect(&bytes);
        (client, server)
    };
    let _first: Vec<_> = (0..20).map(|_| session()).collect();
    let before = memory(proxy.pid(), "VmRSS");
    let _sessions: Vec<_> = (0..SESSIONS).map(|_| session()).collect();
    let each = memory(proxy.pid(), "VmRSS").saturating_sub(before) / SESSIONS as u64;
    // One buffer would be 16 KiB.
    assert!(each < 4096, "{each} bytes of memory for each idle session");
}

/// The system is out of descriptors before the proxy's own count is: others of its descriptors are in use.
#[test]
fn descriptors_that_are_not_there_stop_no_session() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote)
        .descriptors(80, 80)
        .before(|| {
            // Below the limit, whatever other tests have open now, which is closed as the program starts.
            // SAFETY: numbers only. These stay open in the program.
            let open = (40..70).all(|number| unsafe { libc::dup2(0, number) } == number);
            if open { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        })
        .start();
    let (_, most) = limit(&proxy);
    let mut sessions: Vec<(Stream, Stream)> = (0..10).map(|_| proxy.session(&remote)).collect();
    let more: Vec<Stream> = (0..most).map(|_| proxy.connect()).collect();
    let trouble = |message: &str| message.contains("accepting pauses") || message.contains("Too many open files");
    proxy.log.wait("trouble", |lines| lines.iter().any(|line| trouble(&line.message)).then_some(()));
    for (client, server) in &mut sessions {
        client.send("hello");
        server.expect("hello");
    }
    // When they are gone it is as good as new.
    drop((more, sessions));
    loop {
        let mut client = proxy.connect();
        client.send("after");
        client.finish();
        let answered = thread::scope(|scope| {
            let answer = scope.spawn(|| client.rest());
            loop {
                // Those that came before have gone without a word.
                let mut server = remote.accept();
                if server.rest() == (b"after".to_vec(), End::Eof) {
                    server.send("served");
                    drop(server);
                    return answer.join().expect("a client");
                }
            }
        });
        if answered == (b"served".to_vec(), End::Eof) {
            break;
        }
    }
    let last = proxy.log.wait("the last session", |lines| {
        lines
            .iter()
            .find(|line| line.message.ends_with(": end of stream, upstream 5 bytes, downstream 6 bytes"))
            .cloned()
    });
    assert_eq!(Ended::parse(&last), ended("end of stream", 5, 6));
}
