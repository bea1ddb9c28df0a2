//! What the command line takes, refuses and prints, and with which exit status.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Address, End, Kind, Line, Peer, Proxy, Remote, TempDir, ended, run, skip, until};

const LISTEN: &str = "127.0.0.1:0";
const REMOTE: &str = "127.0.0.1:9";

/// The messages of a run that failed to start.
fn failed(arguments: &[&str]) -> Vec<String> {
    let finished = run(arguments);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""), "{arguments:?}");
    finished.stdout.lines().map(|line| Line::parse(line).unwrap_or_else(|e| panic!("{e}")).message).collect()
}

/// What a proxy logged of its settings at its start.
fn settings(arguments: &[&str]) -> Vec<String> {
    let directory = TempDir::new();
    let proxy = Proxy::on(&[]).listen_on(Kind::V4.fresh(&directory)).args(arguments).start();
    proxy.stop().into_iter().map(|line| line.message).collect()
}

#[test]
fn a_bad_value_is_named_in_the_originals_words() {
    for (arguments, message) in [
        (["-b", "abc"], "invalid buffer size abc"),
        (["-b", "0"], "invalid buffer size 0"),
        (["-b", "-1"], "invalid buffer size -1"),
        (["-b", "2g"], "invalid buffer size 2g: more than 1073741824"),
        (["-t", "0"], "invalid num io threads 0"),
        (["-t", "two"], "invalid num io threads two"),
        (["-t", "1025"], "invalid num io threads 1025: more than 1024"),
        (["-l", "nocolon"], "invalid address:port argument: 'nocolon'"),
        (["-r", "nocolon"], "invalid address:port argument: 'nocolon'"),
        (["-l", ":5000"], "invalid address:port argument: ':5000'"),
        (["-r", "127.0.0.1:"], "invalid address:port argument: '127.0.0.1:'"),
        (["-l", "[::1:5000"], "invalid address:port argument: '[::1:5000'"),
        (["-r", "127.0.0.1:65536"], "error resolving address 127.0.0.1:65536 port number out of range"),
        (["-l", "unix:"], "invalid address:port argument: 'unix:': the path is empty"),
        (["--backlog", "0"], "invalid backlog 0: expected a whole number above 0"),
        (["--connect-timeout", "0"], "invalid connect timeout 0: expected more than 0"),
        (["--keepalive", "1500ms"], "invalid keepalive 1500ms: expected whole seconds"),
        (
            ["-r", "127.0.0.1:9,weight=0"],
            "remote 127.0.0.1:9,weight=0: invalid weight 0: expected a whole number from 1 to 256",
        ),
        (
            ["-r", "srv:web.internal"],
            "invalid address:port argument: 'srv:web.internal': srv: takes a name that begins with a service and _tcp or _udp, as _http._tcp.example.com",
        ),
        (["--rise", "0"], "invalid rise 0: expected a whole number from 1 to 65535"),
        (["--log-level", "loud"], "invalid log level loud: expected error, warn, info, debug, trace or off"),
        (["--completions", "tcsh"], "invalid completions tcsh: expected bash, zsh or fish"),
    ] {
        assert_eq!(failed(&arguments), [message]);
        // Where everything else is good, too.
        if arguments[0] != "-r" {
            assert_eq!(failed(&[&["-l", LISTEN, "-r", REMOTE], &arguments[..]].concat()), [message]);
        }
    }
    for option in ["--connect-timeout", "--idle-timeout", "--drain-timeout", "--keepalive"] {
        let what = option.trim_start_matches('-').replace('-', " ");
        let form = "expected a number with ms, s, m or h, such as 500ms, 30s, 5m or 1h";
        assert_eq!(failed(&["-l", LISTEN, "-r", REMOTE, option, "soon"]), [format!("invalid {what} soon: {form}")]);
    }
}

#[test]
fn a_bad_address_of_datagrams_is_named() {
    for (flag, address, reason) in [
        ("-l", "udp:", ""),
        ("-r", "udp:127.0.0.1:", ""),
        ("-l", "unixpacket:", "the path is empty"),
        ("-r", "unixgram:@", "the abstract name is empty"),
        ("-l", "framed:udp:127.0.0.1:5000", "framed: takes a TCP, stripe or Unix stream address"),
        ("-r", "framed:framed:127.0.0.1:5000", "framed: takes a TCP, stripe or Unix stream address"),
        ("-r", "framed:unixpacket:/socket", "framed: takes a TCP, stripe or Unix stream address"),
        ("-r", "framed:echo:", "framed: takes a TCP, stripe or Unix stream address"),
        ("-r", "stripe:unix:/socket", "stripe: takes TCP addresses only, and none of unix:"),
        ("-r", "framed:stripe:127.0.0.1:5000+udp:[::1]:1", "stripe: takes TCP addresses only, and none of udp:"),
        ("-l", "tun:", "the device name is empty"),
        ("-l", "tun:name-of-16-bytes", "the device name is longer than 15 bytes"),
        ("-r", "tap:a/b", "not a device name"),
    ] {
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let message = format!("invalid address:port argument: '{address}'{reason}");
        assert_eq!(failed(&["-l", LISTEN, flag, address, "-r", REMOTE][..if flag == "-r" { 4 } else { 6 }]), [message]);
    }
    assert_eq!(failed(&["-l", "echo:", "-r", REMOTE]), ["invalid listen address echo:: it can only be a remote (-r)"]);
    for address in ["stripe:127.0.0.1:0+127.0.0.1:0", "framed:stripe:127.0.0.1:0+[::1]:0"] {
        let reason = "several addresses with + between them can only be a remote (-r); give each its own -l";
        assert_eq!(failed(&["-l", address, "-r", REMOTE]), [format!("invalid listen address {address}: {reason}")]);
    }
}

#[test]
fn the_first_bad_argument_is_reported() {
    assert_eq!(failed(&["-t", "0", "-b", "abc", "-l", "nocolon"]), ["invalid num io threads 0"]);
    assert_eq!(failed(&["-l", "nocolon", "-t", "0"]), ["invalid address:port argument: 'nocolon'"]);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn an_address_that_cannot_be_resolved_is_an_error() {
    assert_eq!(
        failed(&["-l", LISTEN, "-r", "127.0.0.1:no-such-service"]),
        ["error resolving address 127.0.0.1:no-such-service Servname not supported for ai_socktype"]
    );
    // Which reason it is depends on whether there is a network.
    let messages = failed(&["-l", LISTEN, "-r", "no.such.host:5"]);
    let reason = messages[0].strip_prefix("error resolving address no.such.host:5 ");
    assert!(messages.len() == 1 && reason.is_some_and(|reason| !reason.is_empty()), "{messages:?}");
}

#[test]
fn what_cannot_be_is_said_of_several_remotes() {
    let of = |arguments: &[&str]| failed(&[&["-l", LISTEN, "-r", REMOTE], arguments].concat());
    assert_eq!(of(&["-r", REMOTE]), [format!("duplicate remote {REMOTE}")]);
    let unchecked = "invalid check send: nothing is checked without a check-interval";
    assert_eq!(of(&["--check-send", "PING"]), [unchecked]);
    let unknown = "invalid option 'weigth=2' of remote 127.0.0.1:10,weigth=2: expected weight=<n>, backup or max=<n>";
    assert_eq!(of(&["-r", "127.0.0.1:10,weigth=2"]), [unknown]);
}

#[test]
fn several_remotes_each_get_sessions() {
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath)];
    let mut proxy = Proxy::on(&[Kind::V4]);
    for remote in &remotes {
        proxy = proxy.args(&["-r", &format!("{},weight=2,max=100", remote.address)]);
    }
    let proxy = proxy.start();
    let lines: Vec<_> = proxy.log.lines("remote address = ", 2).into_iter().map(|line| line.message).collect();
    assert_eq!(lines, remotes.each_ref().map(|remote| format!("remote address = {}", remote.address)));
    let mut clients = [proxy.connect(), proxy.connect()];
    // Which gets which client is not said.
    for remote in &remotes {
        remote.accept().send("answer");
    }
    clients.iter_mut().for_each(|client| client.expect("answer"));
    proxy.stop();
}

#[test]
fn a_name_without_an_address_is_a_warning_where_it_is_looked_up_again() {
    let remote = Remote::new(Kind::V4);
    let name = ["-r", "no.such.host:5,backup", "-r", "srv:_none._tcp.no.such.host,backup", "--resolve", "1h"];
    let proxy = Proxy::on(&[Kind::V4]).to(&remote.address).args(&name).start();
    let (mut client, mut server) = proxy.session(&remote);
    server.send("answer");
    client.expect("answer");
    let lines: Vec<_> = proxy.stop().into_iter().map(|line| line.message).collect();
    let reason = lines[0].strip_prefix("error resolving address no.such.host:5 ");
    assert!(reason.is_some_and(|reason| reason.ends_with("; it is looked up again every 1h")), "{lines:?}");
    let addresses = [remote.address.to_string(), "no.such.host:5".into(), "srv:_none._tcp.no.such.host".into()];
    assert_eq!(lines[1..4], addresses.map(|address| format!("remote address = {address}")));
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_name_that_nobody_knows_is_an_error_in_the_originals_words() {
    use crate::support::system::replacing;
    let directory = TempDir::new();
    let files = directory.file("nsswitch.conf", "hosts: files\n");
    let setup = Proxy::on(&[]).args(&["-l", LISTEN, "-r", "no.such.host:5"]);
    let Ok(proxy) = setup.before(replacing(&[("/etc/nsswitch.conf", &files)])).try_start() else {
        return skip("no mount namespaces");
    };
    let lines = proxy.log.complete();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].message, "error resolving address no.such.host:5 Name or service not known");
}

/// Starts a proxy of a user that nobody else is, who may have so many threads, and returns how it ended and what it said.
#[cfg(target_os = "linux")]
fn with_threads(most: u64, arguments: &[&str]) -> Option<(Option<i32>, String)> {
    use std::os::unix::process::CommandExt;
    // SAFETY: the call takes no memory.
    if unsafe { libc::geteuid() } != 0 {
        return None;
    }
    let user = 100_000 + std::process::id() % 100_000 + most as u32;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cproxy"));
    // SAFETY: the closure makes system calls only.
    unsafe {
        command.args(arguments).env_remove("RUST_LOG").pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            match libc::setrlimit(libc::RLIMIT_NPROC, &limit) == 0 && libc::setuid(user) == 0 {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Some((output.status.code(), said))
}

#[cfg(target_os = "linux")]
#[test]
fn too_few_threads_are_an_error_that_is_said_and_leave_nothing() {
    let directory = TempDir::new();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).expect("permissions");
    let path = directory.path().join("socket");
    let listen = format!("unixgram:{}", path.display());
    // Of the threads of the log, of input and output, and of the acceptor the first, the second or the third is missing.
    for threads in 1..=3 {
        let Some((code, said)) = with_threads(threads, &["-l", &listen, "-r", "echo:"]) else {
            return skip("not root, or another user may not run the program here");
        };
        assert_eq!(code, Some(1), "{said}");
        let last = said.lines().last().expect("a line");
        assert!(last.ends_with("Resource temporarily unavailable"), "{threads}: {said}");
        assert!(!path.exists(), "{threads}: the file is left: {said}");
    }
}

/// Not even one for the log.
#[test]
fn too_few_descriptors_are_an_error_that_is_said() {
    // The listener is bound, and there is none for the first thread.
    let setup = Proxy::on(&[]).args(&["-l", LISTEN, "-r", REMOTE]).descriptors(4, 4);
    let lines = setup.start().log.complete();
    let last = lines.last().expect("a line");
    assert!(last.message.ends_with("Too many open files"), "{last:?}");
}

/// A listener at `[::]` takes the clients of IPv4 as well, unless they have a listener of their own.
#[test]
fn both_wildcards_can_be_listened_at() {
    if !Kind::tcp().contains(&Kind::V6) {
        return;
    }
    for kind in ["", "udp:", "framed:"] {
        for flags in [&[][..], &["-t", "2", "--reuse-port"]] {
            // In either order.
            for hosts in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
                // Somebody else may have the port by then, and so it is another one each time.
                let (_proxy, port) = until("a port that is free", || {
                    let port = Remote::new(Kind::V4).address.port();
                    let listeners = hosts.map(|host| format!("{kind}{host}:{port}"));
                    let arguments = ["-l", &listeners[0], "-l", &listeners[1], "-r", "echo:"];
                    let mut proxy = Proxy::on(&[]).args(&arguments).args(flags).start();
                    let listens = until("a proxy that listens or has ended", || {
                        let lines = proxy.log.so_far();
                        let count = lines.iter().filter(|line| line.message.starts_with("listening on ")).count();
                        if count >= 2 { Some(true) } else { (!proxy.runs()).then_some(false) }
                    });
                    listens.then_some((proxy, port))
                });
                for host in ["127.0.0.1", "::1"] {
                    let mut peer = Peer::connect(&Address::parse(&format!("{kind}{host}:{port}"))).expect("a listener");
                    if kind.is_empty() {
                        peer.stream.send("hello");
                        peer.stream.expect("hello");
                    } else {
                        peer.send("hello");
                        peer.expect("hello");
                    }
                }
            }
        }
    }
}

#[test]
fn a_remote_that_is_a_listener_is_an_error() {
    for (listener, remote) in [("0.0.0.0:20022", "127.0.0.1:20022"), ("udp:[::]:20021", "udp:localhost:20021")] {
        let messages = failed(&["-l", listener, "-r", remote]);
        let last = messages.last().expect("a line");
        assert!(last.starts_with(&format!("remote {remote}: it is the proxy's own listener {listener}, ")), "{last}");
        assert!(!messages.iter().any(|line| line.starts_with("listening on ")), "{messages:?}");
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_an_error() {
    let taken = Remote::new(Kind::V4).address;
    let held = Remote::new(Kind::V4);
    for (address, reason) in [
        (held.address.to_string(), "Address already in use"),
        ("192.0.2.1:5000".to_string(), "Cannot assign requested address"),
    ] {
        let messages = failed(&["-l", LISTEN, "-l", &address, "-r", REMOTE]);
        // Nothing is listened on unless everything is.
        assert!(!messages.iter().any(|line| line.starts_with("listening on ")), "{messages:?}");
        assert_eq!(*messages.last().expect("a line"), format!("bind error on server socket {address}: {reason}"));
    }
    // One that was in use a moment ago is not.
    let proxy = Proxy::on(&[]).listen_on(taken.clone()).args(&["-r", REMOTE]).start();
    assert_eq!(proxy.listeners, [taken]);
}

#[test]
fn a_command_line_of_the_wrong_shape_prints_the_usage() {
    let help = run(&["--help"]).stdout;
    for (arguments, complaint) in [
        (&[][..], ""),
        (&["-x"], "cproxy: invalid option -- 'x'\n"),
        (&["-l", LISTEN, "-nx", "-r", REMOTE], "cproxy: invalid option -- 'x'\n"),
        (&["-l"], "cproxy: option requires an argument -- 'l'\n"),
        (&["-l", LISTEN, "-r", REMOTE, "-b"], "cproxy: option requires an argument -- 'b'\n"),
        (&["--frobnicate"], "cproxy: unrecognised option '--frobnicate'\n"),
        (&["--idle-timeout"], "cproxy: option '--idle-timeout' requires an argument\n"),
        (&["--no-delay=1"], "cproxy: option '--no-delay' does not take an argument\n"),
        (&["-r", REMOTE], "cproxy: a listen address (-l) is required\n"),
        (&["-n"], "cproxy: a listen address (-l) is required\n"),
        (&["-l", LISTEN], "cproxy: a remote address (-r) is required\n"),
        (&["operand"], "cproxy: a listen address (-l) is required\n"),
    ] {
        let finished = run(arguments);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), complaint), "{arguments:?}");
        assert!(finished.stdout.starts_with("Usage:\n  cproxy -l <addr>:<port>"), "{}", finished.stdout);
        assert!(help.contains(&finished.stdout));
    }
}

#[test]
fn flags_can_be_clustered_attached_and_spelled_out() {
    let expected = |threads: u32, bytes: u32, no_delay: u32| {
        vec![
            format!("remote address = {REMOTE}"),
            format!("buffer size = {bytes}"),
            format!("no delay = {no_delay}"),
            format!("num io threads = {threads}"),
        ]
    };
    for (arguments, threads, bytes, no_delay) in [
        (&["-r", REMOTE][..], 1, 16384, 0),
        (&["-r127.0.0.1:9", "-nt2", "-b4096"], 2, 4096, 1),
        (&["-nr", REMOTE, "-b", "64k", "-t3"], 3, 65536, 1),
        (&["-r", REMOTE, "-b1m"], 1, 1 << 20, 0),
        (&["--remote", REMOTE, "--buffer-size", "1", "--no-delay", "--io-threads", "2"], 2, 1, 1),
        (&["--remote=127.0.0.1:9", "--buffer-size=2K", "--io-threads=4"], 4, 2048, 0),
        (&["-r", REMOTE, "-t", "2", "-t", "3"], 3, 16384, 0),
        (&["-r", "tcp:127.0.0.1:9"], 1, 16384, 0),
        // What is accepted without showing in these lines.
        (&["-r", REMOTE, "--connect-timeout", "500ms", "--idle-timeout", "1.5h", "--drain-timeout", "2"], 1, 16384, 0),
        (&["-r", REMOTE, "--idle-timeout", "0", "--keepalive", "30s", "--backlog", "5"], 1, 16384, 0),
    ] {
        assert_eq!(settings(arguments)[..4], expected(threads, bytes, no_delay), "{arguments:?}");
    }
    let listening = run(&["-l", "nocolon", "--listen", LISTEN]);
    assert_eq!(listening.code, Some(1));
    let proxy = Proxy::on(&[]).args(&["-l127.0.0.1:0", "--listen=127.0.0.1:0", "-r", REMOTE]).start();
    assert_eq!(proxy.log.lines("listening on 127.0.0.1:", 2).len(), 2);
}

#[test]
fn stray_operands_are_ignored_with_one_warning() {
    let messages = settings(&["this", "-r", REMOTE, "that", "--", "-x"]);
    assert_eq!(messages[0], "ignoring what is no option: 'this' 'that' '-x'");
    assert_eq!(messages[1], format!("remote address = {REMOTE}"));
}

#[test]
fn a_stripe_that_leaves_this_machine_without_a_key_is_warned_of() {
    let warning = "remote stripe:192.0.2.1:7000: without a key (--stripe-key) anybody on the way can read and change \
                   what its lanes carry, and add lanes";
    assert_eq!(settings(&["-r", "stripe:192.0.2.1:7000"])[..2], [warning, "remote address = stripe:192.0.2.1:7000"]);
    assert_eq!(settings(&["-r", "stripe:127.0.0.1:7000"])[0], "remote address = stripe:127.0.0.1:7000");
    let directory = TempDir::new();
    let file = directory.file("key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let key = file.to_str().expect("a path");
    for (mode, expected) in [
        (0o600, "remote address = stripe:192.0.2.1:7000".to_string()),
        (0o640, format!("stripe key {key}: others than its owner can use the file; it should have the mode 0600")),
    ] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("the mode");
        assert_eq!(settings(&["-r", "stripe:192.0.2.1:7000", "--stripe-key", key])[0], expected);
    }
}

#[test]
fn ipv6_addresses_go_with_and_without_brackets() {
    if !Kind::tcp().contains(&Kind::V6) {
        return;
    }
    for argument in ["[::1]:0", "::1:0", "tcp:[::1]:0", "tcp:::1:0"] {
        let proxy = Proxy::on(&[]).args(&["-l", argument, "-r", "[::1]:9"]).start();
        assert_eq!(proxy.log.line("remote address").message, "remote address = ::1:9");
        let line = proxy.log.line("listening on ");
        let Some((address, _)) = line.after("listening on ").split_once(" (fd=") else { panic!("{line:?}") };
        assert!(address.starts_with("::1:") && Address::parse(address).port() != 0, "{address}");
    }
}

#[test]
fn names_and_services_are_resolved() {
    let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
    if !services.lines().any(|line| line.starts_with("ssh") && line.contains("22/tcp")) {
        return skip("/etc/services does not have ssh");
    }
    let messages = settings(&["-l", "localhost:0", "-r", "127.0.0.1:ssh"]);
    assert_eq!(messages[0], "remote address = 127.0.0.1:22");
    assert!(messages.iter().any(|m| m.starts_with("listening on 127.0.0.1:") || m.starts_with("listening on ::1:")));
}

/// The addresses of a remote are tried in their order, whichever of them works.
#[cfg(target_os = "linux")]
#[test]
fn a_remote_name_with_several_addresses_is_tried_until_one_connects() {
    use crate::support::system::replacing;
    let directory = TempDir::new();
    let hosts = directory.file("hosts", "127.0.0.2 several\n127.0.0.3 several\n127.0.0.4 several\n");
    let nsswitch = directory.file("nsswitch.conf", "hosts: files\n");
    let mut tried = 0;
    for works in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "none"] {
        let free = Remote::refusing(Kind::V4);
        let port = free.address.port();
        let remote = (works != "none").then(|| Remote::at_v4(works, port));
        let setup = Proxy::on(&[Kind::V4]).args(&["-r", &format!("several:{port}")]);
        let replace = replacing(&[("/etc/hosts", &hosts), ("/etc/nsswitch.conf", &nsswitch)]);
        let Ok(proxy) = setup.before(replace).try_start() else { return skip("no mount namespaces") };
        let addresses: Vec<String> =
            proxy.log.lines("remote address = ", 3).iter().map(|line| line.after("remote address = ").into()).collect();
        let refused = addresses.iter().take_while(|address| !address.starts_with(works)).count();

        let mut client = proxy.connect();
        if let Some(remote) = remote {
            client.send("hello");
            let mut server = remote.accept();
            server.expect("hello");
            drop((client, server));
            assert_eq!(proxy.end().how, "end of stream");
        } else {
            assert_eq!(client.end(), End::Reset);
            assert_eq!(proxy.end(), ended("connect failed", 0, 0));
        }
        let lines = proxy.stop();
        let starting: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.message.strip_prefix("connect starting proxy to remote ")?.split(" -> ").nth(1))
            .filter_map(|to| to.split(" (fd=").next())
            .collect();
        assert_eq!(starting, addresses[..(refused + 1).min(3)]);
        let errors = lines.iter().filter(|line| line.message.ends_with(" errno 111: Connection refused")).count();
        assert_eq!(errors, refused);
        tried += refused;
    }
    assert_eq!(tried, 1 + 2 + 3, "each of the addresses was once the one that works");
}

#[test]
fn what_only_prints_something_exits_with_0() {
    for (flag, start) in [
        ("--help", "cproxy is a proxy"),
        ("-h", "cproxy is a proxy"),
        ("--version", concat!("cproxy ", env!("CARGO_PKG_VERSION"), "\n")),
        ("-V", concat!("cproxy ", env!("CARGO_PKG_VERSION"), "\n")),
        ("--man", ".TH "),
        ("--man-config", ".TH "),
    ] {
        // Wherever it is, and whatever is wrong with the rest.
        for arguments in [&[flag][..], &["-l", "nocolon", flag], &["-x", flag, "-t0"]] {
            let finished = run(arguments);
            assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{arguments:?}");
            let text = finished.stdout.lines().find(|line| !line.starts_with(".\\\"")).map(|line| format!("{line}\n"));
            assert!(text.is_some_and(|text| text.starts_with(start)), "{arguments:?}: {}", finished.stdout);
        }
    }
    assert_eq!(run(&["-V"]).stdout.lines().count(), 1);
    assert!(run(&["--help"]).stdout.contains("Usage:\n  cproxy -l <addr>:<port> [-l <addr>:<port>]... -r"));
}

#[test]
fn a_new_key_is_one_line_of_base64_and_new() {
    let keys: Vec<_> = (0..3)
        .map(|_| {
            let finished = run(&["--make-key"]);
            assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
            finished.stdout
        })
        .collect();
    for (n, key) in keys.iter().enumerate() {
        let digits = key.strip_suffix("=\n").expect("padding and the end of a line");
        assert_eq!(digits.len(), 43, "{key}");
        assert!(digits.bytes().all(|digit| digit.is_ascii_alphanumeric() || b"+/".contains(&digit)), "{key}");
        assert!(!keys[..n].contains(key), "{key}");
    }
}

#[test]
fn completions_are_scripts_of_their_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = run(&["--completions", shell]);
        assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
        assert!(finished.stdout.contains("idle-timeout"), "{}", finished.stdout);
        let directory = TempDir::new();
        let script = directory.file("script", &finished.stdout);
        match std::process::Command::new(shell).arg("-n").arg(script).output() {
            Ok(checked) => assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}"),
            Err(error) => skip(&format!("{shell}: {error}")),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cproxy")).arg("--help").stdout(full).output();
    let output = output.expect("the program");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "cproxy: standard output: No space left on device\n");
}

/// Runs one refused session (a warning, and lines of level info) at a log level, and returns what was logged.
fn messages_at(arguments: &[&str], environment: &str) -> Vec<String> {
    let directory = TempDir::new();
    let remote = Remote::new(Kind::UnixPath);
    let address = directory.path().join("nobody-is-here").display().to_string();
    let proxy = Proxy::on(&[])
        .args(&["-l", &format!("unix:{}", remote.address.path().with_extension("listener").display())])
        .args(&["-r", &format!("unix:{address}"), "stray"])
        .args(arguments)
        .env("RUST_LOG", environment)
        .start();
    let listener = Address::Path(remote.address.path().with_extension("listener"));
    let mut client = crate::support::until("a proxy that listens", || crate::support::Stream::connect(&listener).ok());
    assert_eq!(client.rest().0, b"");
    proxy.stop().into_iter().map(|line| line.message).collect()
}

#[test]
fn the_level_of_the_log_is_what_was_asked_for() {
    let warnings =
        ["ignoring what is no option: 'stray'", "remote socket connect error errno = 2: No such file or directory"];
    for (arguments, environment) in [
        (&["-q"][..], ""),
        (&["--quiet"], "trace"),
        (&["--log-level", "warn"], ""),
        (&["-q", "-vv", "--log-level", "WARN"], ""),
        (&[], "warn"),
        (&[], "cproxy=warn"),
    ] {
        assert_eq!(messages_at(arguments, environment), warnings, "{arguments:?} {environment}");
    }
    for (arguments, environment) in [
        (&[][..], ""),
        (&["-v"], "off"),
        (&["-vv"], ""),
        (&["-qv"], "off"),
        (&["--log-level=debug"], "off"),
        (&[], "info"),
    ] {
        let messages = messages_at(arguments, environment);
        for start in ["buffer size = ", "accepted fd ", "disconnect client to proxy ", warnings[0], warnings[1]] {
            assert!(messages.iter().any(|message| message.starts_with(start)), "{arguments:?} {environment}: {start}");
        }
    }
    for (arguments, environment) in
        [(&[][..], "off"), (&["--log-level", "off"], "info"), (&["--log-level", "error"], "")]
    {
        assert!(messages_at(arguments, environment).is_empty(), "{arguments:?} {environment}");
    }
}
