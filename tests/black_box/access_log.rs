//! The access log: a line for each session, in a file that may be moved away, be full, or not be there.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::support::{Address, End, Kind, Output, Peer, Proxy, Remote, Setup, Stream, TempDir, run, until};

/// The lines of a file, as soon as there are so many whole ones.
fn lines(path: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in {}", path.display()), || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    })
}

/// The fields of a flat object of JSON, strings without their quotes.
fn fields(line: &str) -> HashMap<String, String> {
    let inside = line.strip_prefix("{\"").and_then(|line| line.strip_suffix('}')).expect("an object");
    let field = |field: &str| {
        let (name, value) = field.split_once("\":").expect("a field");
        (name.to_string(), value.trim_matches('"').to_string())
    };
    inside.split(",\"").map(field).collect()
}

/// What a line says of these fields.
fn said(line: &str, names: &str) -> String {
    let fields = fields(line);
    names.split(' ').map(|name| fields[name].as_str()).collect::<Vec<_>>().join(" ")
}

fn logging(setup: Setup, path: &Path) -> Setup {
    setup.args(&["--access-log", path.to_str().expect("a path")])
}

/// A session that says a few bytes each way and ends.
fn short_session(proxy: &Proxy, remote: &Remote) -> (String, String) {
    let (mut client, mut server) = proxy.session(remote);
    client.send("ping");
    server.expect("ping");
    server.send("pong!");
    client.expect("pong!");
    let names = (client.local(), server.peer());
    client.finish();
    assert_eq!(server.end(), End::Eof);
    drop(server);
    assert_eq!(client.end(), End::Eof);
    names
}

const COUNTS: &str = "upstream_bytes downstream_bytes upstream_datagrams downstream_datagrams tries ending side state";

#[test]
fn each_session_has_a_line_that_says_who_it_joined_and_how_it_ended() {
    let directory = TempDir::new();
    let path = directory.path().join("access.log");
    let remote = Remote::new(Kind::V4);
    // Addresses are known also where no line of the log has them.
    let setup = Proxy::on(&[Kind::V4]).to(&remote.address).args(&["-t", "2"]);
    let proxy = logging(setup, &path).start();
    let (client, source) = short_session(&proxy, &remote);
    let line = lines(&path, 1).remove(0);
    let (at, listener) = (&remote.address, &proxy.listeners[0]);
    let expected = format!("end  {client} {client} {listener} {at} {at} {source}");
    assert_eq!(said(&line, "event service client peer listener remote remote_name source"), expected);
    assert_eq!(said(&line, COUNTS), "4 5 0 0 1 end_of_stream null --");
    let time = |name: &str| {
        let text = fields(&line)[name].clone();
        chrono::DateTime::parse_from_rfc3339(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    let seconds = |name: &str| fields(&line)[name].parse::<f64>().expect("a number");
    assert!(seconds("connect_time") >= 0.0 && seconds("connect_time") <= seconds("duration"), "{line}");
    let between = (time("time") - time("start")).num_microseconds().expect("a short time") as f64 / 1e6;
    assert!((between - seconds("duration")).abs() < 1e-9, "{line}");

    // The client resets, and then the remote.
    let (mut client, mut server) = proxy.session(&remote);
    client.send("x");
    server.expect("x");
    client.reset();
    assert_eq!(said(&lines(&path, 2)[1], COUNTS), "1 0 0 0 1 reset client CD");
    let (client, server) = proxy.session(&remote);
    server.reset();
    assert_eq!(said(&lines(&path, 3)[2], COUNTS), "0 0 0 0 1 reset remote SD");
    drop(client);
    let ids: std::collections::HashSet<_> = lines(&path, 3).iter().map(|line| said(line, "session")).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    proxy.stop();
    assert_eq!(lines(&path, 3).len(), 3);

    // Nobody listens there.
    let (_held, address) = Address::reserved();
    let proxy = logging(Proxy::on(&[Kind::UnixPath]).to(&address), &path).start();
    let refused = proxy.connect();
    let line = lines(&path, 4).remove(3);
    assert_eq!(said(&line, COUNTS), "0 0 0 0 1 connect_failed remote SC");
    let expected = format!("unix: {} {address} null", proxy.listeners[0]);
    assert_eq!(said(&line, "client listener remote connect_time"), expected);
    drop(refused);
}

#[test]
fn datagrams_are_counted_and_a_header_says_who_the_client_is() {
    let directory = TempDir::new();
    let path = directory.path().join("access.log");
    let remote = Remote::new(Kind::Udp);
    let proxy = logging(Proxy::between(Kind::Udp, &remote), &path).args(&["--idle-timeout", "2500ms"]).start();
    let (mut client, mut server): (Peer, Peer) = proxy.datagram_session(&remote, "one");
    client.send("three");
    server.expect("three");
    server.send("!");
    client.expect("!");
    let line = lines(&path, 1).remove(0);
    assert_eq!(said(&line, COUNTS), "8 1 2 1 1 idle_timeout proxy cD");
    assert!(said(&line, "client").starts_with("udp:127.0.0.1:"), "{line}");

    let remote = Remote::new(Kind::V4);
    let setup = Proxy::between(Kind::V4, &remote).args(&["--accept-proxy"]);
    let path = directory.path().join("headers.log");
    let proxy = logging(setup, &path).start();
    // One that says nothing has no session, as far as anybody can see.
    drop(proxy.connect());
    let mut client = proxy.connect();
    client.send("PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\n");
    let server = remote.accept();
    let peer = client.local();
    client.finish();
    drop(server);
    let expected = format!("192.0.2.7:1234 {peer} {}", proxy.listeners[0]);
    assert_eq!(said(&lines(&path, 1)[0], "client peer listener"), expected);
}

#[test]
fn a_file_that_is_moved_away_is_made_again_at_a_signal() {
    let directory = TempDir::new();
    let path = directory.path().join("access.log");
    let remote = Remote::new(Kind::V4);
    // Without --config: SIGHUP has nothing else to do.
    let proxy = logging(Proxy::between(Kind::V4, &remote), &path).start();
    for (number, signal) in [libc::SIGUSR1, libc::SIGHUP].into_iter().enumerate() {
        short_session(&proxy, &remote);
        assert_eq!(lines(&path, 1).len(), 1);
        let moved = directory.path().join(format!("access.log.{number}"));
        fs::rename(&path, &moved).expect("a file");
        proxy.signal(signal);
        proxy.log.line(&format!("signal {signal}: access logs are opened again"));
        assert_eq!(fs::metadata(&path).expect("a file").len(), 0);
        assert_eq!(lines(&moved, 1).len(), 1);
    }
    // One that cannot be made again is gone on with.
    let moved = directory.path().join("access.log.2");
    fs::rename(&path, &moved).expect("a file");
    fs::create_dir(&path).expect("a folder");
    proxy.signal(libc::SIGUSR1);
    proxy.log.line(&format!("signal {}: access log {}: Is a directory", libc::SIGUSR1, path.display()));
    short_session(&proxy, &remote);
    assert_eq!(lines(&moved, 1).len(), 1);
    proxy.stop();
}

#[test]
fn without_a_file_sighup_ends_the_program_as_ever() {
    use std::os::unix::process::ExitStatusExt;
    let proxy = Proxy::on(&[Kind::V4]).args(&["-r", "127.0.0.1:9", "--access-log", "-"]).start();
    // Nor does the other signal do any harm.
    proxy.signal(libc::SIGUSR1);
    proxy.log.line(&format!("signal {}: there is no access log in a file", libc::SIGUSR1));
    proxy.signal(libc::SIGHUP);
    let status = proxy.ends();
    assert_eq!(status.signal(), Some(libc::SIGHUP));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_costs_lines_and_nothing_else() {
    let remote = Remote::new(Kind::V4);
    let proxy = logging(Proxy::between(Kind::V4, &remote), Path::new("/dev/full")).start();
    for _ in 0..3 {
        short_session(&proxy, &remote);
    }
    let told = &proxy.log.line("access log /dev/full: ").message;
    assert!(told.ends_with(" lines lost: No space left on device"), "{told}");
    // What has not been told by then is told at the end.
    let told = proxy.stop().into_iter().filter_map(|line| {
        let (count, _) = line.message.strip_prefix("access log /dev/full: ")?.split_once(" lines lost: ")?;
        count.parse::<u32>().ok()
    });
    assert_eq!(told.sum::<u32>(), 3);
}

#[test]
fn standard_output_has_the_lines_in_any_format_and_long_sessions_have_two() {
    let directory = TempDir::new();
    let path = directory.path().join("output");
    let remote = Remote::new(Kind::V4);
    let (_held, address) = Address::reserved();
    let format = "%{event} <%{service}> %{upstream_bytes}%% %{state} %{ending}";
    let setup = Proxy::on(&[]).args(&["-l", &address.to_string()]).to(&remote.address);
    let setup = setup.args(&["--access-log", "-", "--access-log-format", format, "--access-log-start", "0"]);
    let output = Output::File(fs::File::create(&path).expect("a file"));
    let mut proxy = setup.args(&["--log-level", "off"]).output(output).start();
    let mut client = until("a proxy that listens", || Stream::connect(&address).ok());
    let mut server = remote.accept();
    assert_eq!(lines(&path, 1), ["start <> 0% - -"]);
    client.send("12345");
    server.expect("12345");
    drop((client, server));
    let expected = ["start <> 0% - -", "end <> 5% -- end_of_stream"];
    assert_eq!(lines(&path, 2), expected);
    proxy.signal(libc::SIGTERM);
    proxy.exits();
    assert_eq!(lines(&path, 2), expected);
}

#[test]
fn services_share_a_file_and_one_that_cannot_be_opened_is_an_error() {
    let directory = TempDir::new();
    let remote = Remote::new(Kind::V4);
    let at = &remote.address;
    let service = |name: &str, file: &str| {
        format!("[service.{name}]\nlisten = \"127.0.0.1:0\"\nremote = \"{at}\"\naccess-log = \"{file}\"\n")
    };
    let config = directory.file("cproxy.toml", &(service("a", "all.log") + &service("b", "all.log")));
    let config = config.to_str().expect("a path");
    // They are bound in the order of the file.
    let proxy = Proxy::on(&[]).args(&["-c", config]).start();
    let listeners: Vec<Address> =
        proxy.log.lines("listening on ", 2).iter().map(crate::support::Line::listener).collect();
    let path = directory.path().join("all.log");
    for (number, listener) in listeners.iter().enumerate() {
        let client = Stream::connect(listener).expect("a proxy that listens");
        let server = remote.accept();
        drop((client, server));
        assert_eq!(said(&lines(&path, number + 1)[number], "service"), ["a", "b"][number]);
    }
    // A reload that cannot open a file changes nothing; one that can, does.
    let (bad, good) = (directory.path().join("none/a.log"), directory.path().join("new.log"));
    fs::write(config, service("a", "none/a.log") + &service("b", "all.log")).expect("a file");
    proxy.signal(libc::SIGHUP);
    let error = "No such file or directory";
    proxy.log.line(&format!("reload failed: service a: access log {}: {error}", bad.display()));
    fs::write(config, service("a", "new.log") + &service("b", "all.log")).expect("a file");
    proxy.signal(libc::SIGHUP);
    proxy.log.line("reload: services added: 0, changed: 1");
    drop((Stream::connect(&listeners[0]), remote.accept()));
    assert_eq!(said(&lines(&good, 1)[0], "service"), "a");
    assert_eq!(lines(&path, 2).len(), 2);
    proxy.stop();

    let finished = run(&["-l", "127.0.0.1:0", "-r", "127.0.0.1:9", "--access-log", bad.to_str().expect("a path")]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stdout.ends_with(&format!("access log {}: {error}\n", bad.display())), "{finished:?}");
}
