//! Captures and dumps. What Wireshark makes of a capture is in `tests/capture.sh`.

use std::fs;
use std::path::Path;

use crate::support::{End, Kind, Proxy, Remote, TempDir, run, until};

/// What every capture begins with.
const BEGINNING: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];

fn has(path: &Path, part: &str) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.windows(part.len()).any(|window| window == part.as_bytes()))
}

/// What a dump says of a session, without the number of the session.
fn dumped(form: &str) -> Vec<String> {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--dump", form]).start();
    let (mut client, mut server) = proxy.session(&remote);
    client.send("GET /\r\n\x1b");
    server.expect("GET /\r\n\x1b");
    server.send("an answer of 22 bytes\n");
    client.expect("an answer of 22 bytes\n");
    drop(client);
    assert_eq!(server.rest().1, End::Eof);
    drop(server);
    proxy.end();
    let lines = proxy.log.so_far().into_iter().map(|line| line.message);
    let mut lines = lines
        .filter_map(|line| line.strip_prefix("session ")?.split_once([' ', ':']).map(|(_, rest)| rest.to_string()));
    let first = lines.next().expect("who it is");
    assert!(first.contains(&remote.address.to_string()), "{first}");
    lines.collect()
}

#[test]
fn a_dump_says_what_went_which_way() {
    assert_eq!(
        dumped("text"),
        [
            "upstream: GET /\\r\\n",
            "upstream: \\x1b",
            "downstream: an answer of 22 bytes\\n",
            "upstream: end after 8 bytes",
            "downstream: end after 22 bytes"
        ]
    );
    assert_eq!(
        dumped("hex"),
        [
            "upstream: 00000000  47 45 54 20 2f 0d 0a 1b                           |GET /...|",
            "downstream: 00000000  61 6e 20 61 6e 73 77 65  72 20 6f 66 20 32 32 20  |an answer of 22 |",
            "downstream: 00000010  62 79 74 65 73 0a                                 |bytes.|",
            "upstream: end after 8 bytes",
            "downstream: end after 22 bytes"
        ]
    );
}

#[test]
fn what_cannot_be_a_capture_is_said_at_the_start_and_left_alone() {
    let directory = TempDir::new();
    let precious = directory.file("precious", "not a capture");
    let missing = directory.path().join("missing/x.pcapng");
    for (path, reason) in [
        (precious.as_path(), "there is a file that is no capture"),
        (missing.as_path(), "No such file or directory"),
        (directory.path(), "not a regular file"),
    ] {
        let path = path.to_str().expect("a path");
        let finished = run(&["-l", "127.0.0.1:0", "-r", "echo:", "--capture", path]);
        let text = finished.stdout;
        assert!(text.contains(&format!("capture {path}: {reason}")), "{text}");
        assert_eq!(finished.code, Some(1));
    }
    assert_eq!(fs::read(precious).expect("the file"), b"not a capture");
    // Nothing is replaced by a program that does not start for another reason.
    let capture = directory.file("x.pcapng", "");
    fs::write(&capture, [&BEGINNING[..], b"of another time"].concat()).expect("the file");
    let taken = Remote::new(Kind::V4);
    let arguments = ["-l", &taken.address.to_string(), "-r", "echo:", "--capture", capture.to_str().expect("a path")];
    assert_eq!(run(&arguments).code, Some(1));
    assert!(has(&capture, "of another time"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_reload_begins_and_ends_a_capture() {
    let directory = TempDir::new();
    let capture = directory.path().join("x.pcapng");
    let remote = Remote::new(Kind::V4);
    let text = |more: &str| format!("[service.a]\nlisten = \"127.0.0.1:0\"\nremote = \"{}\"\n{more}\n", remote.address);
    let file = directory.file("cproxy.toml", &text(""));
    let mut proxy = Proxy::on(&[]).args(&["-c", file.to_str().expect("a path")]).start();
    proxy.listeners = vec![proxy.log.line("listening on ").listener()];
    let reload = |more: &str, count: usize| {
        fs::write(&file, text(more)).expect("the file");
        proxy.signal(libc::SIGHUP);
        proxy.log.lines("reload: services added: 0, changed: 1", count);
    };
    let says = |what: &str| {
        let (mut client, mut server) = proxy.session(&remote);
        client.send(what);
        server.expect(what);
        (client, server)
    };
    let before = says("before it");
    assert!(!capture.exists());
    reload("capture = \"x.pcapng\"", 1);
    let mut during = says("while it lasts");
    until("what is captured", || has(&capture, "while it lasts").then_some(()));
    assert!(fs::read(&capture).expect("the file").starts_with(&BEGINNING));
    reload("", 2);
    let after = says("after it");
    // Who began with it keeps it.
    during.0.send("to the end");
    during.1.expect("to the end");
    until("the rest", || has(&capture, "to the end").then_some(()));
    drop((before, during, after));
    proxy.stop();
    assert!(!has(&capture, "before it") && !has(&capture, "after it"));
}
