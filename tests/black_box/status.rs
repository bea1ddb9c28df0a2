//! The status page: what it says, and that those who look do not disturb those who are served.

use std::fs;
use std::io::{Read, Write};

use crate::support::{Address, End, Kind, Proxy, Remote, Setup, Stream, TempDir, run, until};

/// What was answered: the line with the status, the headers, and the body.
struct Answer {
    status: String,
    header: String,
    body: String,
}

/// A client of the page, whose connection goes on.
struct Reader {
    stream: Stream,
}

impl Reader {
    fn new(address: &Address) -> Reader {
        Reader { stream: Stream::connect(address).expect("a status page") }
    }

    fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    fn ask(&mut self, request: &str) -> Answer {
        self.stream.send(request);
        self.answer(!request.starts_with("HEAD"))
    }

    fn answer(&mut self, has_body: bool) -> Answer {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            header.extend(self.stream.receive(1));
        }
        let header = String::from_utf8(header).expect("text");
        let (status, header) = header.split_once("\r\n").expect("a line");
        let length = header.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let length = if has_body { length.parse().expect("a number") } else { 0 };
        let body = String::from_utf8(self.stream.receive(length)).expect("text");
        Answer { status: status.to_string(), header: header.to_string(), body }
    }
}

/// Where the page is, by the log.
fn page(proxy: &Proxy) -> Address {
    let line = proxy.log.line("status page at ");
    let address = line.after("status page at ");
    Address::parse(address.trim_start_matches("http://").trim_end_matches('/'))
}

fn with_page(setup: Setup) -> (Proxy, Address) {
    let proxy = setup.args(&["--status", "127.0.0.1:0"]).start();
    let page = page(&proxy);
    (proxy, page)
}

/// The value of the first field of this name in a JSON text, as it is written.
fn field<'a>(json: &'a str, name: &str) -> &'a str {
    let (_, rest) = json.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} is not in {json}"));
    let end = if rest.starts_with('[') { rest.find(']').map(|at| at + 1) } else { rest.find([',', '}']) };
    &rest[..end.expect("an end")]
}

#[test]
fn a_session_appears_with_its_bytes_and_goes() {
    for threads in ["-t1", "-t2"] {
        let remote = Remote::new(Kind::V4);
        let (proxy, page) = with_page(Proxy::between(Kind::V4, &remote).args(&[threads]));
        let mut reader = Reader::new(&page);
        let json = reader.get("/status.json");
        assert_eq!((json.status.as_str(), field(&json.body, "sessions_all")), ("HTTP/1.1 200 OK", "0"));
        assert!(json.header.contains("Content-Type: application/json\r\n"), "{}", json.header);

        let (mut client, mut server) = proxy.session(&remote);
        client.send("ping");
        server.expect("ping");
        server.send("a longer answer");
        client.expect("a longer answer");
        // A snapshot may be a little old, and is never torn.
        let body = until("the session's bytes", || {
            let body = reader.get("/status.json").body;
            let sessions = body.split_once("\"sessions\":[{").map(|(_, sessions)| sessions.to_string());
            sessions.filter(|sessions| field(sessions, "bytes") == "[4,15]")
        });
        assert_eq!(field(&body, "client"), format!("\"{}\"", client.local()));
        assert_eq!(field(&body, "listener"), format!("\"{}\"", client.peer()));
        assert_eq!(field(&body, "remote"), format!("\"{}\"", remote.address));
        let metrics = reader.get("/metrics");
        assert!(
            metrics.header.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{}",
            metrics.header
        );
        assert!(metrics.body.contains("\ncproxy_service_sessions{service=\"\"} 1\n"), "{}", metrics.body);
        let accept = "Accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5\r\n";
        let metrics = reader.ask(&format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n"));
        assert!(metrics.header.contains("Content-Type: application/openmetrics-text; "), "{}", metrics.header);
        assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
        let html = reader.get("/?sort=client").body;
        assert!(html.contains(&format!("<td>{}</td>", client.local())), "{html}");
        assert!(html.contains("data-sort=\"client\" aria-sort=\"ascending\""), "{html}");

        drop((client, server));
        let body = until("the session's end", || {
            Some(reader.get("/status.json").body).filter(|body| field(body, "sessions_all") == "0")
        });
        assert_eq!((field(&body, "begun"), field(&body, "bytes"), field(&body, "end_of_stream")), ("1", "[4,15]", "1"));
    }
}

#[test]
fn what_is_asked_for_is_read_only_and_for_this_machine() {
    let (proxy, page) = with_page(Proxy::on(&[Kind::V4]).args(&["-r", "echo:"]));
    let mut reader = Reader::new(&page);
    for (path, kind, part) in [
        ("/", "text/html; charset=utf-8", "<h1>cproxy</h1>"),
        ("/app.js", "text/javascript; charset=utf-8", "'use strict';"),
        ("/style.css", "text/css; charset=utf-8", "prefers-color-scheme: dark"),
        ("/icon.svg", "image/svg+xml", "<svg"),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
    ] {
        let answer = reader.get(path);
        assert_eq!(answer.status, "HTTP/1.1 200 OK", "{path}");
        assert!(answer.header.contains(&format!("\r\nContent-Type: {kind}\r\n")), "{}", answer.header);
        assert!(answer.header.contains("\r\nContent-Security-Policy: default-src 'none'; "), "{}", answer.header);
        assert!(answer.body.contains(part), "{}", answer.body);
        // Nothing is left behind a header alone, or the next answer would begin with it.
        let head = reader.ask(&format!("HEAD {path} HTTP/1.1\r\n\r\n"));
        assert_eq!((head.status.as_str(), head.body.as_str()), ("HTTP/1.1 200 OK", ""));
    }
    assert_eq!(reader.get("/nothing").status, "HTTP/1.1 404 Not Found");
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
    for (request, status) in [
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 Method Not Allowed"),
        ("GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", "HTTP/1.1 421 Misdirected Request"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (&long, "HTTP/1.1 431 Request Header Fields Too Large"),
    ] {
        let mut reader = Reader::new(&page);
        let answer = reader.ask(request);
        assert_eq!(answer.status, status);
        reader.stream.finish();
        assert_eq!(reader.stream.end(), End::Eof, "the answer must not be lost to a reset");
    }
    assert_eq!(reader.get("/healthz").body, "ok\n");
    drop(proxy);
}

#[test]
fn a_page_at_a_unix_socket_goes_with_the_program_after_all_else() {
    let directory = TempDir::new();
    let path = directory.path().join("status <b>");
    let remote = Remote::new(Kind::V4);
    let address = format!("unix:{}", path.display());
    let mut proxy = Proxy::between(Kind::V4, &remote).args(&["--status", &address]).start();
    proxy.log.line(&format!("status page at {address}"));
    let page = Address::Path(path.clone());
    let mut reader = Reader::new(&page);
    // No site on the web leads a browser to a file, so that any name is as good.
    assert_eq!(reader.ask("GET /healthz HTTP/1.1\r\nHost: any.example\r\n\r\n").body, "ok\n");
    let (client, mut server) = proxy.session(&remote);

    // A program that drains is found by who asks whether it takes clients, and can still be looked at.
    proxy.signal(libc::SIGTERM);
    proxy.log.line("signal 15");
    let answer = until("that it drains", || {
        Some(reader.get("/healthz")).filter(|answer| answer.status == "HTTP/1.1 503 Service Unavailable")
    });
    assert_eq!(answer.body, "draining\n");
    let json = Reader::new(&page).get("/status.json").body;
    assert_eq!((field(&json, "state"), field(&json, "sessions_all")), ("\"draining\"", "1"));
    client.finish();
    server.finish();
    assert_eq!(server.end(), End::Eof);
    drop(client);
    proxy.exits();
    assert_eq!(reader.stream.end(), End::Eof);
    assert!(!fs::exists(&path).expect("a folder"));
}

#[test]
fn who_reads_badly_disturbs_nobody() {
    let remote = Remote::new(Kind::V4);
    let (proxy, page) = with_page(Proxy::between(Kind::V4, &remote));
    let (mut client, mut server) = proxy.session(&remote);
    // As many as there may be: none of them has to go.
    let mut readers: Vec<Reader> = (0..64).map(|_| Reader::new(&page)).collect();
    for _ in 0..2 {
        readers.iter_mut().for_each(|reader| assert_eq!(reader.get("/healthz").body, "ok\n"));
    }
    drop(readers);
    // More than there may be: those who ask for nothing make room, and those who do not read keep what they have.
    let mut bad: Vec<Stream> = Vec::new();
    for number in 0..150 {
        let mut stream = Stream::connect(&page).expect("a status page");
        if number % 5 == 0 {
            // They may have been made room of already.
            let _ = stream.write_all("GET / HTTP/1.1\r\n\r\n".repeat(400).as_bytes());
        } else if number % 2 == 0 {
            let _ = stream.write_all(b"GET / HT");
        }
        bad.push(stream);
    }
    let mut reader = Reader::new(&page);
    assert_eq!(reader.get("/healthz").body, "ok\n");
    assert_eq!(field(&reader.get("/status.json").body, "sessions_all"), "1");
    client.send("still there");
    server.expect("still there");
    // The first of those who asked for nothing has been closed.
    let mut rest = Vec::new();
    let _ = bad[1].read_to_end(&mut rest);
    assert!(rest.is_empty());
    drop(bad);
    let (mut client, mut server) = proxy.session(&remote);
    client.send("and another");
    server.expect("and another");
}

#[test]
fn a_page_that_others_can_reach_is_warned_of_and_a_place_that_is_taken_is_an_error() {
    let (proxy, page) = with_page(Proxy::on(&[Kind::V4]).args(&["-r", "echo:"]));
    let message = format!("status page: bind error on server socket 127.0.0.1:{}: Address already in use", page.port());
    let arguments = ["-l", "127.0.0.1:0", "-r", "echo:", "--status", &page.to_string()];
    let finished = run(&arguments);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stdout.contains(&message), "{}", finished.stdout);
    assert!(!proxy.log.text().contains("whoever reaches"), "{}", proxy.log.text());

    let open = Proxy::on(&[Kind::V4]).args(&["-r", "echo:", "--status", "0.0.0.0:0"]).start();
    open.log.lines_with("whoever reaches this address sees who is connected to whom", 1);
    // Others may have any name for it.
    let port = open.log.line("status page at http://0.0.0.0:").message;
    let port: u16 = port.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect(&port);
    let mut reader = Reader::new(&Address::Tcp(([127, 0, 0, 1], port).into()));
    assert_eq!(reader.ask("GET /healthz HTTP/1.1\r\nHost: proxy.example\r\n\r\n").body, "ok\n");
}

#[test]
fn a_reload_changes_what_is_shown_and_what_goes_on_is_still_counted() {
    let directory = TempDir::new();
    let service =
        |name: &str, more: &str| format!("[service.{name}]\nlisten = \"127.0.0.1:0\"\nremote = \"echo:\"\n{more}\n");
    let head = "status = \"127.0.0.1:0\"\n";
    let path = directory.file("cproxy.toml", &(head.to_string() + &service("stays", "") + &service("goes", "")));
    let proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
    let page = page(&proxy);
    let line = proxy.log.lines_with(", service stays", 1).remove(0);
    let listener = Address::parse(line.after("listening on ").split(" (fd=").next().expect("an address"));
    let mut client = Stream::connect(&listener).expect("a listener");
    client.send("x");
    client.expect("x");

    fs::write(&path, head.to_string() + &service("stays", "idle-timeout = \"1h\"") + &service("comes", ""))
        .expect("a file");
    proxy.signal(libc::SIGHUP);
    proxy.log.line("reload: services added: 1, changed: 1, removed: 1");
    client.send("y");
    client.expect("y");
    let mut reader = Reader::new(&page);
    let body = until("the services after the reload", || {
        let body = reader.get("/status.json").body;
        let of_service = |name: &str| body.contains(&format!("{{\"name\":\"{name}\",\"listeners\":"));
        (of_service("comes") && !of_service("goes")).then_some(body.clone())
    });
    assert!(body.contains(&format!("{{\"name\":\"stays\",\"listeners\":[\"{listener}\"],\"sessions\":1,")), "{body}");
    let bytes = until("the bytes", || {
        let body = reader.get("/status.json").body;
        Some(field(&body, "bytes").to_string()).filter(|bytes| bytes == "[2,2]")
    });
    assert_eq!(bytes, "[2,2]");
}
