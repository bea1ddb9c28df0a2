//! `cproxy top` without a terminal: what it asks for, what it prints, and how it says what is wrong.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;

use crate::support::{TempDir, run};

const STATUS: &str = r#"{"version": "9.9.9", "pid": 1, "state": "draining", "uptime_ms": 61000, "sessions_all": 1,
    "services": [{"name": "web", "sessions": 1, "bytes": [1234, 5678000],
                  "remotes": [{"name": "192.0.2.7:80", "state": "up", "connected": 1, "sessions": 1}]}],
    "sessions": [{"id": "0-1", "service": "web", "client": "192.0.2.1:5000\u001b[2J", "remote": "192.0.2.7:80",
                  "phase": "open", "age_ms": 5000, "bytes": [1, 2]}]}"#;

/// Answers one request, which must be the one that is expected.
fn answer(mut stream: impl Read + Write, answer: &str) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).expect("text");
    assert!(request.starts_with("GET /status.json HTTP/1.0\r\nHost: localhost\r\n"), "{request}");
    stream.write_all(answer.as_bytes()).expect("an answer");
}

fn good() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{STATUS}", STATUS.len())
}

#[test]
fn it_prints_services_remotes_and_sessions() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = tcp.local_addr().expect("an address").to_string();
    let directory = TempDir::new();
    let path = directory.path().join("status");
    let unix = UnixListener::bind(&path).expect("a listener");
    let server = thread::spawn(move || {
        answer(tcp.accept().expect("a client").0, &good());
        answer(unix.accept().expect("a client").0, &good());
    });
    let expected = "\
cproxy 9.9.9 draining, up 1m01s, 1 sessions

SERVICE   SESSIONS      UP    DOWN  REFUSED
web              1   1.23k   5.68M        0

REMOTE       SERVICE  STATE   SESSIONS   SHARE  FAILED      UP    DOWN WHY
192.0.2.7:80 web      up             1    100%       0       0       0

CLIENT                  SERVICE  REMOTE       PHASE      AGE    IDLE      UP    DOWN
192.0.2.1:5000\\u{1b}[2J web      192.0.2.7:80 open        5s     0ms       1       2
";
    let unix = format!("unix:{}", path.display());
    for arguments in [vec!["top", &address], vec!["top", "--once", &unix]] {
        let finished = run(&arguments);
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), (expected, ""));
        assert_eq!(finished.code, Some(0));
    }
    server.join().expect("a server");
}

#[test]
fn what_is_wrong_is_one_line() {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = tcp.local_addr().expect("an address").to_string();
    let cases = [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "answered '404 Not Found'"),
        ("SSH-2.0-OpenSSH_9.2\r\n", "the answer is not one of a cproxy's status"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "the answer was cut off"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "the JSON is not a cproxy's status"),
    ];
    let server = thread::spawn(move || {
        for (text, _) in cases {
            answer(tcp.accept().expect("a client").0, text);
        }
    });
    let failed = |expected: String| {
        let finished = run(&["top", &address]);
        assert_eq!((finished.stdout.as_str(), finished.stderr), ("", expected));
        assert_eq!(finished.code, Some(1));
    };
    for (_, complaint) in cases {
        failed(format!("cproxy: {address}: {complaint}\n"));
    }
    server.join().expect("a server");
    failed(format!("cproxy: {address}: Connection refused\n"));
}
