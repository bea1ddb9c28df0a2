//! What sessions move is rejected and replaced in passing.

use std::thread;

use crate::support::{End, Kind, Proxy, Remote, ended};

/// No pause of a loaded machine is as long, so it takes nothing apart.
const PATIENT: [&str; 2] = ["--match-wait", "1h"];

#[test]
fn what_matches_is_replaced_in_its_direction_and_all_else_goes_on() {
    for (kind, zero_copy) in [(Kind::V4, "auto"), (Kind::V4, "always"), (Kind::UnixPath, "never")] {
        let remote = Remote::new(kind);
        let rules = ["--replace", "up:colou?r(s)?=hue$1", "--replace", "down:hue=[$0]", "--replace", r"\n=\r\n"];
        let arguments = ["--zero-copy", zero_copy];
        let proxy = Proxy::between(kind, &remote).args(&rules).args(&PATIENT).args(&arguments).start();
        let (mut client, mut server) = proxy.session(&remote);
        client.send("a color");
        // What is complete goes on at once.
        server.expect("a ");
        client.send("s and colou");
        server.expect("hues and ");
        client.send("rless\n");
        server.expect("hueless\r\n");
        server.send("color hu");
        client.expect("color ");
        server.send("e\n");
        client.expect("[hue]\r\n");
        // What it held back is delivered when the stream ends, which the other one does not.
        client.send("colo");
        client.finish();
        assert_eq!(server.rest(), (b"colo".to_vec(), End::Eof));
        server.send("hu");
        server.finish();
        assert_eq!(client.rest(), (b"hu".to_vec(), End::Eof));
        assert_eq!(proxy.end(), ended("end of stream", 24, 15));
    }
}

#[test]
fn much_of_it_is_replaced_wherever_reads_end() {
    const TIMES: usize = 40_000;
    let remote = Remote::new(Kind::V4);
    let rules = ["--replace", "needle(s?)=pin$1", "--replace", "pins=nails"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&rules).args(&PATIENT).start();
    let (mut client, mut server) = proxy.session(&remote);
    thread::scope(|scope| {
        scope.spawn(|| {
            client.send("needles in needle-hay; need ".repeat(TIMES));
            client.finish();
        });
        let (came, end) = server.rest();
        assert_eq!(end, End::Eof);
        assert!(came == "nails in pin-hay; need ".repeat(TIMES).into_bytes(), "{} bytes", came.len());
    });
}

#[test]
fn whoever_types_what_looks_like_the_beginning_of_a_match_does_not_wait_for_more() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--replace", "secret=...", "--match-wait", "20ms"]).start();
    let (mut client, mut server) = proxy.session(&remote);
    client.send("sec");
    server.expect("sec");
    server.send("se");
    client.expect("se");
    client.send("a secret");
    server.expect("a ...");
}

#[test]
fn a_session_is_reset_before_the_end_of_what_is_rejected_has_gone_on() {
    for (kind, way) in [(Kind::V4, "up:"), (Kind::V4, "downstream:"), (Kind::UnixPath, ""), (Kind::V6, "")] {
        let remote = Remote::new(kind);
        let rule = format!("{way}(?i)drop +table");
        let proxy = Proxy::between(kind, &remote).args(&["--reject", &rule]).start();
        let (mut client, mut server) = proxy.session(&remote);
        let is_up = way != "downstream:";
        let (from, to) = if is_up { (&mut client, &mut server) } else { (&mut server, &mut client) };
        if !way.is_empty() {
            // It is not looked for in the other direction.
            to.send("drop table");
            from.expect("drop table");
        }
        from.send("first Drop ");
        to.expect("first Drop ");
        from.send(" TABL");
        to.expect(" TABL");
        from.send("E users");
        let is_unix = kind == Kind::UnixPath;
        let cut_off = if is_unix { End::Eof } else { End::Reset };
        assert_eq!(to.rest(), (Vec::new(), cut_off), "{kind:?} {way}");
        assert_eq!(from.rest().1, cut_off, "{kind:?} {way}");
        let line = proxy.log.line("reject ");
        let whose = if is_up { "client to proxy " } else { "proxy to remote " };
        assert!(line.after("reject ").starts_with(whose), "{line:?}");
        let reason = format!("from the {} has a match of `reject {rule}`", if is_up { "client" } else { "remote" });
        assert!(line.message.ends_with(&reason), "{line:?}");
        assert_eq!(proxy.end().how, "rejected");
    }
}

#[test]
fn datagrams_are_looked_at_one_by_one() {
    let remote = Remote::new(Kind::Udp);
    let rules = ["--replace", "^cat=dog", "--reject", "up:evil", "--replace", "down:dog=wolf"];
    let proxy = Proxy::between(Kind::Udp, &remote).args(&rules).start();
    let mut client = proxy.peer();
    client.send("cat, cat");
    let mut server = remote.peer();
    server.expect("dog, cat");
    server.send("cat");
    client.expect("wolf");
    client.send("ev");
    server.expect("ev");
    client.send("il");
    server.expect("il");
    client.send("an evil one");
    assert_eq!(proxy.end().how, "rejected");
}

#[test]
fn what_one_side_said_before_it_broke_is_delivered_with_what_was_held() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--replace", "secret=..."]).args(&PATIENT).start();
    let (mut client, mut server) = proxy.session(&remote);
    client.send("a secret sec");
    server.expect("a ... ");
    client.reset();
    assert_eq!(server.rest(), (b"sec".to_vec(), End::Reset));
    assert_eq!(proxy.end().how, "reset by client");
}

#[test]
fn bad_rules_are_refused_at_the_start() {
    for (option, value, reason) in [
        ("--reject", "(", "unclosed group"),
        ("--replace", "a", "expected REGEX=TEXT"),
        ("--reject", "a.{30}b", "its automaton would need more than 4 MiB"),
        ("--match-window", "0", "expected a number of bytes from 1 to 16m"),
    ] {
        let finished = crate::support::run(&["-l", "127.0.0.1:0", "-r", "127.0.0.1:1", option, value]);
        let text = format!("{finished:?}");
        assert!(text.contains(reason), "{option} {value}: {text}");
    }
}
