//! Services from a file, and what is judged and printed without running any.

use crate::support::{Address, Kind, Proxy, Remote, Stream, TempDir, run};

/// The address that a service listens at, as the log says it.
fn listener(proxy: &Proxy, service: &str) -> Address {
    let lines = proxy.log.wait("the service's listener", |lines| {
        let line = lines.iter().find(|line| {
            line.message.starts_with("listening on ") && line.message.ends_with(&format!("service {service}"))
        })?;
        Some(line.after("listening on ").to_string())
    });
    Address::parse(lines.split(" (fd=").next().expect("an address"))
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn a_file_serves_two_services() {
    let directory = TempDir::new();
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath)];
    let second =
        format!("[service.two]\nlisten = \"127.0.0.1:0\"\nremote = {{ address = \"{}\" }}\n", remotes[1].address);
    let second = directory.file("two.part", &second);
    let main = format!(
        "include = \"{}\"\nio-threads = 2\n[service.one]\nlisten = [\"127.0.0.1:0\"]\nremote = \"{}\"\nno-delay = true\n",
        text(&second).replace("two.part", "*.part"),
        remotes[0].address
    );
    let main = directory.file("cproxy.toml", &main);
    let proxy = Proxy::on(&[]).args(&["--config", text(&main), "-t", "1"]).start();
    for (service, remote) in ["one", "two"].into_iter().zip(&remotes) {
        let mut client = Stream::connect(&listener(&proxy, service)).expect("a listener");
        let mut server = remote.accept();
        client.send(service);
        server.expect(service);
        server.send("answer");
        client.expect("answer");
    }
    assert_eq!(proxy.log.line("num io threads").message, "num io threads = 1");
    proxy.stop();
}

#[test]
fn a_check_exits_with_0_or_1_and_listens_nowhere() {
    let directory = TempDir::new();
    // What is listened at by another.
    let taken = Remote::new(Kind::V4);
    let good = format!("[service.a]\nlisten = \"{}\"\nremote = \"127.0.0.1:9\"\n", taken.address);
    let good = directory.file("good.toml", &good);
    let finished = run(&["--config", text(&good), "--check"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(finished.stdout, format!("{} is good: 1 service, 1 listener\n", good.display()));
    let finished = run(&["--check", "-l", "127.0.0.1:0", "-r", "127.0.0.1:9"]);
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (Some(0), "the command line is good: 1 service, 1 listener\n")
    );

    let bad = directory.file("bad.toml", "[service.a]\nlisten = \"127.0.0.1:0\"\nremote = 5\nidel-timeout = \"1h\"\n");
    // It is as bad where it is not only to be checked.
    for arguments in [&["-c", text(&bad), "--check"][..], &["-c", text(&bad)], &["-c", text(&bad), "--print-config"]] {
        let finished = run(arguments);
        assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        let name = bad.display();
        assert_eq!(
            finished.stderr,
            format!(
                "{name}:3:10: `remote` is a whole number; expected a string with an address, or an array of such strings\n\
                 \x20 3 | remote = 5\n    |          ^\n\
                 {name}:4:1: unknown key `idel-timeout`; did you mean `idle-timeout`?\n\
                 \x20 4 | idel-timeout = \"1h\"\n    | ^^^^^^^^^^^^\n"
            )
        );
    }
    let finished = run(&["--check", "-l", "nocolon"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    assert!(finished.stdout.ends_with("invalid address:port argument: 'nocolon'\n"), "{}", finished.stdout);
}

#[test]
fn the_remotes_of_a_file_each_get_sessions() {
    let directory = TempDir::new();
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::UnixPath), Remote::new(Kind::V4)];
    let text_of = format!(
        "[service.one]\nlisten = \"127.0.0.1:0\"\n\
         [[service.one.remote]]\naddress = \"{}\"\nmax = 100\n[[service.one.remote]]\naddress = \"{}\"\n\
         [service.two]\nlisten = \"127.0.0.1:0\"\nremote = [\"{},weight=2\"]\n",
        remotes[0].address, remotes[1].address, remotes[2].address
    );
    let file = directory.file("cproxy.toml", &text_of);
    let proxy = Proxy::on(&[]).args(&["-c", text(&file)]).start();
    for (remote, service) in remotes.iter().zip(["one", "one", "two"]) {
        let line = format!("service {service}: remote address = {}", remote.address);
        proxy.log.line(&line);
    }
    let client = |service| Stream::connect(&listener(&proxy, service)).expect("a listener");
    let mut clients = [client("one"), client("one"), client("two")];
    // Which of the two gets which client is not said.
    for remote in &remotes {
        remote.accept().send("answer");
    }
    clients.iter_mut().for_each(|client| client.expect("answer"));
    proxy.stop();
}

#[test]
fn what_a_file_says_of_remotes_is_judged() {
    let directory = TempDir::new();
    let file = directory.file(
        "cproxy.toml",
        "[service.a]\nlisten = \"127.0.0.1:0\"\n\
         remote = [\n  \"127.0.0.1:9\",\n  { address = \"127.0.0.1:9\", weight = 300 },\n]\n",
    );
    let finished = run(&["-c", text(&file), "--check"]);
    let line = "  5 |   { address = \"127.0.0.1:9\", weight = 300 },";
    let error = |column: usize, message: &str, carets: usize| {
        let at = " ".repeat(column - 1);
        format!("{}:5:{column}: {message}\n{line}\n    | {at}{}\n", file.display(), "^".repeat(carets))
    };
    let expected = error(15, "duplicate remote 127.0.0.1:9", 13)
        + &error(39, "invalid weight 300: expected a whole number from 1 to 256", 3);
    assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr), (Some(1), "", expected));
}

#[test]
fn options_of_a_service_are_refused_beside_a_file() {
    let finished = run(&["--config", "/absent", "--idle-timeout", "5s"]);
    assert_eq!(finished.code, Some(1));
    assert_eq!(
        finished.stderr,
        "cproxy: --idle-timeout is an option of a service: with --config (-c), it belongs in the file\n"
    );
    assert!(finished.stdout.starts_with("Usage:\n"), "{}", finished.stdout);
}

#[test]
fn what_is_printed_runs() {
    let directory = TempDir::new();
    let remote = Remote::new(Kind::V4);
    let printed = run(&["-l", "127.0.0.1:0", "-r", &remote.address.to_string(), "-nb64k", "--print-config"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    let file = directory.file("cproxy.toml", &printed.stdout);
    let proxy = Proxy::on(&[]).args(&["-c", text(&file)]).start();
    let mut client = Stream::connect(&listener(&proxy, "default")).expect("a listener");
    client.send("hello");
    remote.accept().expect("hello");
    assert_eq!(proxy.log.line("buffer size").message, "buffer size = 65536");
    proxy.stop();
}

/// The threads are as many as the cores that the process may use.
#[cfg(target_os = "linux")]
#[test]
fn auto_heeds_the_affinity() {
    let on_one_core = || {
        // SAFETY: the sets are plain memory that lives through the calls.
        unsafe {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let first = (0..libc::CPU_SETSIZE as usize).find(|core| libc::CPU_ISSET(*core, &allowed));
            libc::CPU_SET(first.unwrap_or(0), &mut one);
            match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &one) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    };
    let arguments = ["-l", "127.0.0.1:0", "-r", "127.0.0.1:9", "-t", "auto"];
    let proxy = Proxy::on(&[]).args(&arguments).before(on_one_core).start();
    assert_eq!(proxy.log.line("num io threads").message, "num io threads = 1");
    proxy.stop();
    let cores = std::thread::available_parallelism().expect("a number of cores");
    let proxy = Proxy::on(&[]).args(&arguments).start();
    assert_eq!(proxy.log.line("num io threads").message, format!("num io threads = {cores}"));
    proxy.stop();
}
