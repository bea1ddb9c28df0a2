//! SIGHUP with `--config`: everything that can change does, and no client notices.

#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::system::{is_listening, open_descriptors};
use crate::support::{
    Address, End, Kind, Line, Peer, Proxy, Remote, Setup, Stream, TempDir, is_silent, not_before, run, skip, until,
};

/// A proxy with a file, and what the file is made of.
struct Configured {
    proxy: Proxy,
    path: PathBuf,
    directory: TempDir,
}

impl Configured {
    fn start(text: &str) -> Configured {
        Configured::start_with(text, |setup| setup)
    }

    fn start_with(text: &str, set_up: impl FnOnce(Setup) -> Setup) -> Configured {
        Configured::try_start_with(text, set_up).expect("the program")
    }

    fn try_start_with(text: &str, set_up: impl FnOnce(Setup) -> Setup) -> Option<Configured> {
        let directory = TempDir::new();
        let path = directory.file("cproxy.toml", text);
        let proxy = set_up(Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")])).try_start().ok()?;
        let services = text.matches("[service.").count();
        if services > 0 {
            // Whatever a service listens at first.
            until("listeners", || (proxy.log.so_far().iter().any(is_listening_line)).then_some(()));
        }
        Some(Configured { proxy, path, directory })
    }

    /// Writes the file, has it read, and returns what the log says of that.
    fn reload(&self, text: &str) -> Vec<String> {
        fs::write(&self.path, text).expect("the file");
        self.reload_as_it_is()
    }

    fn reload_as_it_is(&self) -> Vec<String> {
        let before = self.results();
        let seen = self.proxy.log.so_far().len();
        self.proxy.signal(libc::SIGHUP);
        self.proxy.log.wait("the result of a reload", |lines| {
            (lines.iter().filter(|line| is_result(line)).count() > before)
                .then(|| lines[seen..].iter().filter(|line| is_about_listening(line)).map(|line| line.message.clone()))
                .map(Iterator::collect)
        })
    }

    fn results(&self) -> usize {
        self.proxy.log.so_far().iter().filter(|line| is_result(line)).count()
    }

    /// Where the service listens now, by the last line that says so.
    fn listener(&self, service: &str) -> Address {
        let end = format!(", service {service}");
        self.proxy.log.wait("the service's listener", |lines| {
            let line = lines.iter().rev().find(|line| is_listening_line(line) && line.message.ends_with(&end))?;
            Some(address_of(line))
        })
    }

    fn connect(&self, service: &str) -> Stream {
        Stream::connect(&self.listener(service)).expect("a listener")
    }

    /// A session of a service whose remote this is.
    fn session(&self, service: &str, remote: &Remote) -> (Stream, Stream) {
        (self.connect(service), remote.accept())
    }
}

/// Whether it tells of a reload, and not of sessions.
fn is_about_listening(line: &Line) -> bool {
    ["reload", "listening on ", "no longer listening on "].iter().any(|start| line.message.starts_with(start))
}

fn is_listening_line(line: &Line) -> bool {
    line.message.starts_with("listening on ")
}

fn address_of(line: &Line) -> Address {
    Address::parse(line.after("listening on ").split(" (fd=").next().expect("an address"))
}

fn is_result(line: &Line) -> bool {
    let text = line.message.as_str();
    text.starts_with("reload: nothing has changed")
        || text.starts_with("reload: services added: ")
        || text == "reload failed: everything stays as it was"
}

fn service(name: &str, listen: &str, remote: &str, more: &str) -> String {
    format!("[service.{name}]\nlisten = \"{listen}\"\nremote = \"{remote}\"\n{more}\n")
}

fn works((client, server): &mut (Stream, Stream)) {
    client.send("there");
    server.expect("there");
    server.send("back");
    client.expect("back");
}

#[test]
fn a_file_that_is_the_same_changes_nothing() {
    let remote = Remote::new(Kind::V4);
    let text = service("a", "127.0.0.1:0", &remote.address.to_string(), "")
        + &service("b", "udp:127.0.0.1:0", "echo:", "")
        + &service("c", "framed:127.0.0.1:0", "echo:", "");
    let configured = Configured::start(&text);
    let mut session = configured.session("a", &remote);
    works(&mut session);
    let before = open_descriptors(configured.proxy.pid());
    for _ in 0..3 {
        let said = configured.reload_as_it_is();
        assert_eq!(said, ["reload: reading the configuration", "reload: nothing has changed"]);
    }
    assert_eq!(open_descriptors(configured.proxy.pid()), before);
    works(&mut session);
    works(&mut configured.session("a", &remote));
}

#[test]
fn what_a_name_stands_for_is_a_change_unless_it_is_followed() {
    use crate::support::system::replacing;
    let files = TempDir::new();
    let hosts = files.file("hosts", "");
    let nsswitch = files.file("nsswitch.conf", "hosts: files\n");
    let text = |followed: &str| {
        service("a", "127.0.0.1:0", "changing:9", "") + &service("b", "127.0.0.1:0", "changing:9,weight=2", followed)
    };
    fs::write(&hosts, "127.0.0.2 changing\n").expect("the file");
    let replace = replacing(&[("/etc/hosts", &hosts), ("/etc/nsswitch.conf", &nsswitch)]);
    let configured = Configured::try_start_with(&text("resolve = \"1h\""), |setup| setup.before(replace));
    let Some(configured) = configured else { return skip("no mount namespaces") };
    assert_eq!(configured.reload_as_it_is()[1..], ["reload: nothing has changed"]);
    fs::write(&hosts, "127.0.0.3 changing\n").expect("the file");
    let said = configured.reload_as_it_is();
    assert_eq!(
        said[1..],
        ["reload: service a changed: addresses of names", "reload: services added: 0, changed: 1, removed: 0",]
    );
    // Without an address at all, one is an error, and the other is not.
    fs::write(&hosts, "127.0.0.3 other\n").expect("the file");
    let said = configured.reload_as_it_is();
    assert!(said[1].contains("cproxy.toml:3:10: error resolving address changing:9 "), "{said:?}");
    assert_eq!(said.len(), 3, "{said:?}");
    fs::write(&hosts, "127.0.0.3 changing\n").expect("the file");
    let said = configured.reload(&text("resolve = \"2h\"\nbalance = \"random\""));
    assert_eq!(
        said[1..],
        ["reload: service b changed: balance, resolve", "reload: services added: 0, changed: 1, removed: 0",]
    );
}

#[test]
fn a_session_keeps_the_settings_with_which_it_began() {
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath)];
    let text = |remote: usize, more| service("a", "127.0.0.1:0", &remotes[remote].address.to_string(), more);
    let configured = Configured::start(&text(0, "idle-timeout = \"1h\""));
    let listener = configured.listener("a");
    let mut old = configured.session("a", &remotes[0]);
    works(&mut old);
    let said = configured.reload(&text(1, "idle-timeout = \"2500ms\""));
    assert_eq!(
        said[1..],
        [
            "reload: service a changed: remote, idle-timeout",
            "reload: service a: 1 session goes on with the former configuration",
            "reload: services added: 0, changed: 1, removed: 0",
        ]
    );
    let start = Instant::now();
    let mut client = Stream::connect(&listener).expect("the same listener");
    let mut new = (client.another(), remotes[1].accept());
    works(&mut new);
    assert_eq!(client.end(), End::Reset);
    not_before(start, Duration::from_millis(2500));
    // What ended the new one has not ended the old one.
    works(&mut old);
}

#[test]
fn listeners_are_added_removed_and_moved() {
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::V4)];
    let to = |number: usize| remotes[number].address.to_string();
    let directory = TempDir::new();
    let path = directory.path().join("socket");
    let unix = format!("unix:{}", path.display());
    let text = service("a", &unix, &to(0), "") + &service("b", "127.0.0.1:0", &to(1), "");
    let configured = Configured::start(&text);
    works(&mut configured.session("a", &remotes[0]));
    let inode = |path: &PathBuf| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).expect("a socket file"));
    let before = inode(&path);

    // From one service to the other, without being bound anew.
    let both = format!("[service.b]\nlisten = [\"127.0.0.1:0\", \"{unix}\"]\nremote = \"{}\"\n", to(1));
    let said = configured.reload(&both);
    assert!(said.contains(&"reload: service a removed".to_string()), "{said:?}");
    assert_eq!(inode(&path), before);
    let mut moved = Stream::connect(&Address::Path(path.clone())).expect("a listener");
    let mut server = remotes[1].accept();
    moved.send("moved");
    server.expect("moved");

    // One that is gone is closed, and its file with it.
    let listener = configured.listener("b");
    let said = configured.reload(&service("c", "127.0.0.1:0", &to(0), ""));
    assert!(said.contains(&format!("no longer listening on {unix}")), "{said:?}");
    assert!(!path.exists());
    // A port that the system picks is kept, too: it is the same line of the file.
    let mut client = Stream::connect(&listener).expect("the listener that c has now");
    let mut server = remotes[0].accept();
    client.send("kept");
    server.expect("kept");
    // The session of a listener that is gone goes on.
    moved.send("still");
    server = {
        let mut server_of_moved = server;
        server_of_moved.send("x");
        server_of_moved
    };
    client.expect("x");
    drop(server);
}

#[test]
fn a_reload_that_fails_leaves_everything_as_it_was_and_can_be_repeated() {
    let remote = Remote::new(Kind::V4);
    let to = remote.address.to_string();
    let taken = Remote::new(Kind::V4);
    let good = service("a", "127.0.0.1:0", &to, "");
    let configured = Configured::start(&good);
    let mut session = configured.session("a", &remote);
    let fails = |text: &str, expected: &[&str]| {
        let said = configured.reload(text);
        let errors: Vec<&String> = said.iter().filter(|line| line.starts_with("reload failed: ")).collect();
        assert_eq!(errors.len(), expected.len() + 1, "{said:?}");
        for (line, part) in errors.iter().zip(expected) {
            assert!(line.contains(part), "{line} without {part}");
        }
        assert!(!said.iter().any(|line| line.starts_with("listening on ")), "{said:?}");
    };
    fails(&format!("{good}idel-timeout = 1\nbacklog = 0\n"), &["cproxy.toml:5:1: unknown key", "cproxy.toml:6:11: "]);
    fails("not toml at all", &["cproxy.toml:1:"]);
    fails("", &["no service"]);
    // All that cannot be bound is named, and what could be bound is not kept.
    let (_held, free) = Address::reserved();
    let free = free.to_string();
    let bad = service("b", &taken.address.to_string(), &to, "")
        + &service("c", "192.0.2.1:5", &to, "")
        + &service("d", &free, &to, "");
    fails(
        &(good.clone() + &bad),
        &["service b: bind error on server socket ", "service c: bind error on server socket 192.0.2.1:5"],
    );
    assert!(!is_listening(&Address::parse(&free)));
    fails(
        &(good.clone() + &service("e", "127.0.0.1:25", "127.0.0.1:25", "")),
        &["remote 127.0.0.1:25 of service e: it is the proxy's own listener 127.0.0.1:25 of service e"],
    );
    // Also at a port that the system picked.
    let own = configured.listener("a").to_string();
    fails(
        &(good.clone() + &service("e", "127.0.0.1:0", &own, "")),
        &[&format!("remote {own} of service e: it is the proxy's own listener 127.0.0.1:0 of service a")],
    );
    fails(&service("a", "127.0.0.1:0", &own, ""), &[&format!("remote {own} of service a: it is the proxy's own ")]);
    fs::remove_file(&configured.path).expect("the file");
    let said = configured.reload_as_it_is();
    assert!(said[1].contains("cproxy.toml: No such file or directory"), "{said:?}");
    works(&mut session);
    works(&mut configured.session("a", &remote));
    assert_eq!(configured.reload(&good)[1], "reload: nothing has changed");
    drop(taken);
    let said = configured.reload(&(good + &service("d", &free, &to, "")));
    assert!(said.contains(&"reload: service d added".to_string()), "{said:?}");
    works(&mut configured.session("d", &remote));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    // Root may read everything, so the proxy is somebody else's.
    let nobody = || {
        // SAFETY: the calls take numbers only.
        let changed = unsafe { libc::geteuid() != 0 || libc::setuid(65534) == 0 };
        if changed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let Some(configured) = Configured::try_start_with(&text, |setup| setup.before(nobody)) else {
        return skip("another user may not run the program here");
    };
    fs::set_permissions(&configured.path, fs::Permissions::from_mode(0o0)).expect("permissions");
    let said = configured.reload_as_it_is();
    assert!(said[1].contains("cproxy.toml: Permission denied"), "{said:?}");
    fs::set_permissions(&configured.path, fs::Permissions::from_mode(0o644)).expect("permissions");
    assert_eq!(configured.reload(&text)[1], "reload: nothing has changed");
}

#[test]
fn a_service_says_what_becomes_of_its_sessions() {
    let remote = Remote::new(Kind::V4);
    let text = |timeout: &str| {
        let more = |on_reload| format!("idle-timeout = \"{timeout}\"\non-reload = \"{on_reload}\"");
        let service = |name| service(name, "127.0.0.1:0", &remote.address.to_string(), &more(name));
        format!("drain-timeout = \"500ms\"\n{}{}{}", service("keep"), service("drain"), service("reset"))
    };
    let configured = Configured::start(&text("1h"));
    let mut sessions = ["keep", "drain", "reset"].map(|name| configured.session(name, &remote));
    sessions.iter_mut().for_each(works);
    let start = Instant::now();
    let said = configured.reload(&text("2h"));
    for line in [
        "reload: service keep: 1 session goes on with the former configuration",
        "reload: service drain: 1 session with the former configuration may go on for 500ms",
        "reload: service reset: 1 session with the former configuration reset",
    ] {
        assert!(said.iter().any(|said| said == line), "{said:?}");
    }
    let [keep, drain, reset] = &mut sessions;
    assert_eq!((reset.0.end(), reset.1.end()), (End::Reset, End::Reset));
    assert_eq!((drain.0.end(), drain.1.end()), (End::Reset, End::Reset));
    not_before(start, Duration::from_millis(500));
    works(keep);
    // One more listener is no reason to end anybody.
    let mut session = configured.session("reset", &remote);
    works(&mut session);
    let more = text("2h").replace(
        "[service.reset]\nlisten = \"127.0.0.1:0\"",
        "[service.reset]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]",
    );
    let said = configured.reload(&more);
    assert!(said.contains(&"reload: service reset changed: listen".to_string()), "{said:?}");
    works(&mut session);
    // Those that came after are nobody's former ones.
    for name in ["keep", "drain", "reset"] {
        let mut session = configured.session(name, &remote);
        works(&mut session);
        assert_eq!(configured.reload_as_it_is()[1], "reload: nothing has changed");
        works(&mut session);
    }
}

#[test]
fn sources_keep_their_sessions() {
    for threads in ["1", "2"] {
        let remotes = [Remote::new(Kind::Udp), Remote::new(Kind::Udp)];
        let text = |remote: usize| {
            format!("io-threads = {threads}\n")
                + &service("dns", "udp:127.0.0.1:0", &remotes[remote].address.to_string(), "")
        };
        let configured = Configured::start(&text(0));
        let listener = configured.listener("dns");
        let mut old = Peer::connect(&listener).expect("a socket");
        old.send("one");
        let mut server = remotes[0].peer();
        server.expect("one");
        configured.reload(&text(1));
        old.reaches(&mut server, "two");
        server.reaches(&mut old, "three");
        let mut new = Peer::connect(&listener).expect("a socket");
        new.send("four");
        remotes[1].peer().expect("four");
        // Without the listener nobody reads what sources send; their sessions end soon, and then the socket is closed.
        let said = configured.reload(&service("other", "127.0.0.1:0", "echo:", ""));
        let goes_on = "reload: service dns: 1 session goes on with the former configuration".to_string();
        assert!(said.contains(&goes_on), "{said:?}");
        let ended = |line: &&Line| line.message.starts_with("disconnect client to proxy udp:");
        until("the ends of the sources' sessions", || {
            (configured.proxy.log.so_far().iter().filter(ended).count() == 2).then_some(())
        });
        until("a port that is free", || listener.socket().ok()?.bind(&listener.socket_address()).ok());
        assert!(is_silent(&remotes[0].socket));
    }
}

/// Also while a source goes on sending, so that its session does not end by itself.
#[test]
fn a_socket_of_sources_that_was_removed_can_be_had_back() {
    for threads in ["1", "2"] {
        let remote = Remote::new(Kind::Udp);
        // A port that is free, and that the file can name, at an address that no other test takes a port at.
        let address = Remote::at(Address::parse("udp:127.80.0.8:0"), 0, None).address;
        let other = format!("io-threads = {threads}\n") + &service("a", "127.0.0.1:0", "echo:", "");
        let text = other.clone() + &service("dns", &address.to_string(), &remote.address.to_string(), "");
        let configured = Configured::start(&text);
        let mut source = Peer::connect(&address).expect("a socket");
        source.send("before");
        assert_eq!(remote.receive_from().0, b"before");
        for _ in 0..5 {
            assert_eq!(
                configured.reload(&other).last().map(String::as_str),
                Some("reload: services added: 0, changed: 0, removed: 1")
            );
            // It is refused where the socket is closed already.
            let _ = source.stream.socket.send(b"meanwhile");
            assert_eq!(
                configured.reload(&text).last().map(String::as_str),
                Some("reload: services added: 1, changed: 0, removed: 0")
            );
        }
        let mut new = Peer::connect(&address).expect("a socket");
        new.send("after");
        until("the datagram of the new source", || (remote.receive_from().0 == b"after").then_some(()));
    }
}

/// A device that was closed would lose its addresses, and its number.
#[test]
fn a_device_stays_open() {
    let name = format!("cpx{}", std::process::id() % 1_000_000);
    let text = |remote: &Remote, more| {
        service("link", &format!("tun:{name}"), &remote.address.to_string(), more)
            + &service("a", "127.0.0.1:0", "echo:", "")
    };
    // SAFETY: the call takes no memory.
    let root = unsafe { libc::geteuid() } == 0;
    if !root || fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        return skip("no right to make devices, or no /dev/net/tun");
    }
    let number = || fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).expect("the device");
    let remotes = [Remote::new(Kind::Udp), Remote::new(Kind::Udp)];
    let configured = Configured::start(&text(&remotes[0], "on-reload = \"reset\""));
    configured.proxy.log.line("connect complete proxy to remote ");
    let before = number();
    // The session of the former configuration is reset, and the device is the client of the next one.
    configured.reload(&text(&remotes[1], ""));
    let to = format!("udp:{}", remotes[1].address.to_string().trim_start_matches("udp:"));
    until("the next session", || {
        let lines = configured.proxy.log.so_far();
        lines
            .iter()
            .any(|line| line.message.starts_with("connect complete ") && line.message.contains(&to))
            .then_some(())
    });
    assert_eq!(number(), before);
}

#[test]
fn what_needs_a_restart_is_named() {
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured = Configured::start_with(&text, |setup| setup.args(&["--drain-timeout", "1h"]));
    let said = configured.reload(&format!("io-threads = 3\nbuffer-size = 4096\nreuse-port = true\n{text}"));
    for key in ["io-threads", "buffer-size", "reuse-port"] {
        assert!(said.contains(&format!("reload: {key} is not changed before a restart")), "{said:?}");
    }
    let last = "reload: nothing has changed; not before a restart: io-threads, buffer-size, reuse-port";
    assert_eq!(said.last().map(String::as_str), Some(last));
    // Half a minute is what a drain has otherwise.
    let mut client = configured.connect("a");
    client.send("hello");
    client.expect("hello");
    configured.proxy.signal(libc::SIGTERM);
    configured.proxy.log.line("signal 15: no new clients, sessions may go on for 3600s");
}

/// A name server that does not answer would do the same.
#[test]
fn who_stops_the_program_need_not_wait_for_a_reload() {
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured = Configured::start(&text);
    let mut client = configured.connect("a");
    fs::remove_file(&configured.path).expect("the file");
    let path = std::ffi::CString::new(configured.path.to_str().expect("a path")).expect("no NUL");
    // Reading it waits for somebody who writes.
    // SAFETY: the path ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    configured.proxy.signal(libc::SIGHUP);
    configured.proxy.log.line("reload: reading the configuration");
    client.send("hello");
    client.expect("hello");
    drop(client);
    configured.proxy.stop();
}

/// What the file says is the same, but not what stands in the file that it names.
#[test]
fn a_file_of_keys_that_has_changed_or_is_bad_is_noticed() {
    let directory = TempDir::new();
    let write = |text: &str| {
        let path = directory.file("key", text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the mode");
        path
    };
    let path = write("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let key = path.to_str().expect("a path");
    let text = service("a", "127.0.0.1:0", "stripe:192.0.2.1:7000", &format!("stripe-key = \"{key}\"\n"));
    let configured = Configured::start(&text);
    assert_eq!(configured.reload_as_it_is()[1], "reload: nothing has changed");
    write("//////////////////////////////////////////8=\n");
    let said = configured.reload_as_it_is();
    assert_eq!(
        said[1..],
        ["reload: service a changed: stripe-key", "reload: services added: 0, changed: 1, removed: 0"]
    );
    write("no key\n");
    let said = configured.reload_as_it_is();
    let file = configured.path.display();
    let reason = format!("invalid stripe key {key}: line 1 is not a key: 32 bytes in base64");
    assert_eq!(said[1], format!("reload failed: {file}:4:14: {reason}"));
    // Without the key, the reload warns as the start would have done.
    let said = configured.reload(&service("a", "127.0.0.1:0", "stripe:192.0.2.1:7000", ""));
    let warning = "reload: service a: remote stripe:192.0.2.1:7000: without a key (--stripe-key) anybody on the way can \
                   read and change what its lanes carry, and add lanes";
    assert_eq!(said[1..3], ["reload: service a changed: stripe-key", warning]);
    configured.proxy.stop();
}

#[test]
fn a_change_of_the_process_is_said() {
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured = Configured::start(&text);
    let said = configured.reload(&format!("drain-timeout = 7\nio-threads = 2\n{text}"));
    let last = "reload: services added: 0, changed: 0, removed: 0; of the process: drain-timeout; \
                not before a restart: io-threads";
    assert_eq!(said.last().map(String::as_str), Some(last));
    configured.proxy.signal(libc::SIGTERM);
    configured.proxy.log.line("signal 15: no new clients, sessions may go on for 7s");
}

#[test]
fn without_a_file_the_signal_ends_the_program() {
    let remote = Remote::new(Kind::V4);
    let mut proxy = Proxy::between(Kind::V4, &remote).start();
    proxy.signal(libc::SIGHUP);
    until("the end of the process", || (!proxy.runs()).then_some(()));
}

#[test]
fn who_asks_for_a_reload_is_told_what_came_of_it() {
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured = Configured::start(&text);
    let pid = configured.proxy.pid().to_string();
    let ask = || run(&["--reload", &pid]);
    let finished = ask();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "nothing has changed\n"), "{}", finished.stderr);
    fs::write(&configured.path, format!("{text}no-delay = true\n")).expect("the file");
    let finished = ask();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "services added: 0, changed: 1, removed: 0\n"));
    fs::write(&configured.path, format!("{text}no-delya = true\n")).expect("the file");
    let finished = ask();
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""));
    assert!(finished.stderr.contains("cproxy.toml:5:1: unknown key `no-delya`; did you mean `no-delay`?"));

    // A process that the signal would end is not sent it.
    let remote = Remote::new(Kind::V4);
    let mut other = Proxy::between(Kind::V4, &remote).start();
    let finished = run(&["--reload", &other.pid().to_string()]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("no cproxy that was started with --config"), "{}", finished.stderr);
    assert!(other.runs());
    assert_eq!(run(&["--reload", "0"]).code, Some(1));
    assert_eq!(run(&["--reload", "4194305"]).code, Some(1));
}

/// A file that keeps its reader waiting, as names that have to be looked up do.
fn pipe_in_place_of(path: &Path) {
    fs::remove_file(path).expect("the file");
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path ends in NUL.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[test]
fn who_asks_for_a_reload_is_not_told_of_one_that_had_begun_before() {
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured = Configured::start(&text);
    let pid = configured.proxy.pid().to_string();
    pipe_in_place_of(&configured.path);
    configured.proxy.signal(libc::SIGHUP);
    // Opening a pipe waits for who reads it.
    let mut before = fs::OpenOptions::new().write(true).open(&configured.path).expect("the reload that began before");
    let asking = thread::spawn(move || run(&["--reload", &pid]));
    let name = format!("@cproxy-reload-{}", configured.proxy.pid());
    until("somebody who asks", || fs::read_to_string("/proc/net/unix").ok()?.contains(&name).then_some(()));
    before.write_all(b"nonsense").expect("a reader");
    drop(before);
    configured.proxy.log.wait("the result of a reload", |lines| lines.iter().any(is_result).then_some(()));
    // The first reader may still be there, and must not have this, too.
    let again = "reload: reading the configuration";
    configured.proxy.log.wait("the next reload", |lines| {
        (lines.iter().filter(|line| line.message == again).count() == 2).then_some(())
    });
    fs::write(&configured.path, &text).expect("the reload that was asked for");
    let finished = asking.join().expect("an answer");
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "nothing has changed\n"), "{}", finished.stderr);
}

#[test]
fn who_listens_for_an_answer_and_does_not_accept_it_keeps_nobody_waiting() {
    let configured = Configured::start(&service("a", "127.0.0.1:0", "echo:", ""));
    let name = format!("cproxy-reload-{}", configured.proxy.pid());
    let address = socket2::SockAddr::unix(format!("\0{name}")).expect("a name");
    let socket = || socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    let listener = socket();
    listener.bind(&address).expect("a name that is free");
    listener.listen(0).expect("a listener");
    let mut queue = Vec::new();
    loop {
        let client = socket();
        client.set_nonblocking(true).expect("a socket");
        if client.connect(&address).is_err() {
            break;
        }
        queue.push(client);
    }
    assert_eq!(configured.reload_as_it_is()[1], "reload: nothing has changed");
    configured.proxy.stop();
}

#[test]
fn a_socket_of_sources_is_closed_when_a_reload_resets_their_sessions() {
    for threads in ["1", "2"] {
        let text = |more: &str| format!("io-threads = {threads}\n{}", service("a", "127.0.0.1:0", "echo:", "")) + more;
        let configured = Configured::start(&text(&service("dns", "udp:127.0.0.1:0", "echo:", "on-reload = \"reset\"")));
        let listener = configured.listener("dns");
        let mut client = Peer::connect(&listener).expect("a socket");
        client.send("there");
        client.expect("there");
        configured.reload(&text(""));
        until("a port that is free", || listener.socket().ok()?.bind(&listener.socket_address()).ok());
    }
}

/// Both wait until the reload is done; by then they look as if they had come at once.
#[test]
fn signals_that_come_during_a_reload_are_two_if_they_came_as_two() {
    let configured = Configured::start(&service("a", "127.0.0.1:0", "echo:", ""));
    let mut client = configured.connect("a");
    client.send("hello");
    client.expect("hello");
    pipe_in_place_of(&configured.path);
    configured.proxy.signal(libc::SIGHUP);
    let file = fs::OpenOptions::new().write(true).open(&configured.path).expect("the reload");
    for _ in 0..2 {
        configured.proxy.signal(libc::SIGTERM);
        let status = format!("/proc/{}/status", configured.proxy.pid());
        until("a signal that was taken", || {
            let taken = fs::read_to_string(&status).ok()?.contains("ShdPnd:\t0000000000000000\n");
            taken.then_some(())
        });
        // (Nearer ones are the same wish.)
        thread::sleep(Duration::from_millis(300));
    }
    drop(file);
    configured.proxy.log.line("signal 15: sessions are reset");
    assert_eq!(client.end(), End::Reset);
}

#[test]
fn the_service_manager_is_told() {
    let directory = TempDir::new();
    let manager = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&manager).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let received = || {
        let mut bytes = [0; 1000];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let text = service("a", "127.0.0.1:0", "echo:", "");
    let configured =
        Configured::start_with(&text, |setup| setup.env("NOTIFY_SOCKET", manager.to_str().expect("a path")));
    assert_eq!(received(), "READY=1\nSTATUS=serving 1 service");
    configured.reload(&(text + &service("b", "127.0.0.1:0", "echo:", "")));
    let reloading = received();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|text| text.parse::<u64>().ok());
    assert!(since.is_some_and(|since| since > 0), "{reloading}");
    assert_eq!(received(), "READY=1\nSTATUS=serving 2 services; services added: 1, changed: 0, removed: 0");
    configured.reload("nonsense");
    received();
    assert!(received().starts_with("READY=1\nSTATUS=serving 2 services as before; the last reload failed: "));
    drop(configured.directory);
}

/// A thousand come and go at once, and the table of what is listened on stays true.
#[test]
fn a_thousand_listeners_come_and_go() {
    let remote = Remote::new(Kind::V4);
    let to = remote.address.to_string();
    let directory = TempDir::new();
    let one = service("one", "127.0.0.1:0", &to, "");
    let many: String = (0..1000)
        .map(|number| service(&format!("s{number}"), &format!("unix:{}/{number}", directory.path().display()), &to, ""))
        .collect();
    let configured = Configured::start(&one);
    let mut session = configured.session("one", &remote);
    let before = open_descriptors(configured.proxy.pid()).len();
    for _ in 0..2 {
        let said = configured.reload(&(one.clone() + &many));
        assert_eq!(said.last().map(String::as_str), Some("reload: services added: 1000, changed: 0, removed: 0"));
        for number in [0, 500, 999] {
            let mut client =
                Stream::connect(&Address::Path(directory.path().join(number.to_string()))).expect("a listener");
            client.send("hello");
            remote.accept().expect("hello");
        }
        let said = configured.reload(&one);
        assert_eq!(said.last().map(String::as_str), Some("reload: services added: 0, changed: 0, removed: 1000"));
        assert_eq!(fs::read_dir(directory.path()).expect("a folder").count(), 0);
    }
    until("closed sockets", || (open_descriptors(configured.proxy.pid()).len() <= before).then_some(()));
    works(&mut session);
}

/// Clients that come all the time, while the file changes fifty times a second, broken now and then: each is served.
#[test]
fn reloads_under_load_fail_no_client() {
    let seconds = std::env::var("CPROXY_RELOAD_SECONDS").map_or(4, |text| text.parse().expect("a number"));
    for threads in ["1", "2"] {
        let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath)];
        let directory = TempDir::new();
        let text = |number: usize| {
            let to = |remote: usize| remotes[(number + remote) % 2].address.to_string();
            // The steady one changes its remote, its options and the service that it belongs to.
            let steady =
                service(["x", "y"][number / 3 % 2], "127.0.0.1:0", &to(0), &format!("idle-timeout = {}", 100 + number));
            let extra = service("z", &format!("unix:{}/{}", directory.path().display(), number % 5), &to(1), "");
            let broken = if number % 7 == 6 { "broken" } else { "" };
            format!("io-threads = {threads}\n{steady}{extra}{broken}")
        };
        let configured = Configured::start(&text(0));
        let listener = configured.listener("x");
        let (stop, enough, served) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for remote in &remotes {
                scope.spawn(|| {
                    remote.socket.set_nonblocking(true).expect("a socket");
                    while !stop.load(Ordering::Relaxed) {
                        let Ok((socket, _)) = remote.socket.accept() else {
                            thread::sleep(Duration::from_micros(200));
                            continue;
                        };
                        socket.set_nonblocking(false).expect("a socket");
                        let mut server = Stream::new(socket).expect("a socket");
                        let asked = server.receive(8);
                        server.send(asked);
                    }
                });
            }
            let clients: Vec<_> = (0..4_u32)
                .map(|client| {
                    let (listener, enough, served) = (&listener, &enough, &served);
                    scope.spawn(move || {
                        let mut number = 0_u32;
                        while !enough.load(Ordering::Relaxed) {
                            let question = [client.to_be_bytes(), number.to_be_bytes()].concat();
                            let mut stream = Stream::connect(listener).expect("a listener that stays");
                            stream.send(&question);
                            assert_eq!(stream.rest(), (question, End::Eof), "client {number}");
                            number += 1;
                            served.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            let mut number = 0;
            let has_failed =
                || configured.proxy.log.so_far().iter().any(|line| line.message.starts_with("reload failed: "));
            // Ended by whichever comes last, so that a slow machine reloads as well.
            while start.elapsed() < Duration::from_secs(seconds) || configured.results() < 20 || !has_failed() {
                number += 1;
                fs::write(&configured.path, text(number)).expect("the file");
                configured.proxy.signal(libc::SIGHUP);
                thread::sleep(Duration::from_millis(20));
            }
            // The servers go on until the clients have their answers.
            enough.store(true, Ordering::Relaxed);
            let outcomes: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(outcomes.iter().all(Result::is_ok), "a client was not served");
        });
        assert!(served.load(Ordering::Relaxed) > 0);
        let lines = configured.proxy.log.so_far();
        assert!(
            !lines.iter().any(|line| line.message.contains(": reset by ") || line.message.contains("connect failed"))
        );
    }
}
