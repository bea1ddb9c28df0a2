//! Keys, and connections that never become lanes.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use super::hand::OPENING;
use super::{Chain, make_key, near_to, works};
use crate::support::system::open_descriptors;
use crate::support::{End, Kind, Proxy, Relay, Remote, Stream, TempDir, descriptors, not_before, until};

/// An opening with a key, as long as one is.
fn keyed_opening() -> Vec<u8> {
    [&b"CPST\x01\x01\x00\x00"[..], &[9; 48]].concat()
}

#[test]
fn without_the_same_key_no_session_starts_and_both_logs_say_why() {
    let directory = TempDir::new();
    let [one, other] = ["one", "other"].map(|name| make_key(&directory, name));
    let with = |key| vec!["--stripe-key", key];
    let cases = [
        (
            with(&one),
            with(&other),
            "the peer does not accept the key of --stripe-key",
            "the key of the peer is none of --stripe-key",
        ),
        (
            with(&one),
            vec![],
            "a key is required here (--stripe-key), and the peer has none",
            "the peer requires a key, and --stripe-key is not",
        ),
        (
            vec![],
            with(&one),
            "the peer requires a key, and --stripe-key is not",
            "a key is required here (--stripe-key)",
        ),
    ];
    for (near, far, near_says, far_says) in cases {
        let chain = Chain::new(&near, &far);
        let mut client = chain.near.connect();
        client.send_unless_cut_off("hello");
        assert_eq!(client.end(), End::Reset);
        chain.near.log.lines_with(near_says, 1);
        chain.far.log.lines_with(far_says, 1);
        assert_eq!(chain.near.end().how, "connect failed");
        chain.relay.wait_for(0);
        assert!(chain.remote.has_nobody());
    }
}

/// Of two keys in a file both are accepted.
#[test]
fn keys_can_be_rotated() {
    let directory = TempDir::new();
    let [old, new] = ["old", "new"].map(|name| make_key(&directory, name));
    let both = [&new, &old].map(|key| fs::read_to_string(key).expect("a key")).concat();
    let both = directory.file("both", &both).to_str().expect("UTF-8").to_string();
    let chain = Chain::new(&["--stripe-key", &old], &["--stripe-key", &both]);
    let mut of_old = chain.session();
    works(&mut of_old);
    for key in [&new, &both] {
        let near = near_to(&chain.relay, &["--stripe-key", key]);
        works(&mut near.session(&chain.remote));
    }
    works(&mut of_old);
}

/// Sessions that are open keep the keys they began with, until their lanes are gone.
#[test]
fn a_reload_reads_the_key_again() {
    let directory = TempDir::new();
    let [key, other] = ["key", "other"].map(|name| make_key(&directory, name));
    let remote = Remote::new(Kind::V4);
    let text = format!(
        "[service.s]\nlisten = \"stripe:127.0.0.1:0\"\nremote = \"{}\"\nstripe-key = \"{key}\"\n",
        remote.address
    );
    let file = directory.file("cproxy.toml", &text);
    let far = Proxy::on(&[]).args(&["-c", file.to_str().expect("UTF-8")]).start();
    let address = far.log.line("listening on ").listener();
    let relay = Relay::to(&address);
    let near = near_to(&relay, &["--stripe-key", &key]);
    let mut session = near.session(&remote);
    works(&mut session);
    relay.wait_for(4);

    fs::copy(&other, &key).expect("a file of ours");
    far.signal(libc::SIGHUP);
    far.log.line("reload: services added: 0, changed: 1");
    works(&mut session);
    let near_other = near_to(&relay, &["--stripe-key", &other]);
    works(&mut near_other.session(&remote));
    // The near proxy has not read it again.
    assert_eq!(near.connect().end(), End::Reset);
    near.log.lines_with("the peer does not accept the key of --stripe-key", 1);
    works(&mut session);
}

/// What somebody recorded on the way is of no use, neither while the session is open nor later.
#[test]
fn an_opening_that_is_played_again_does_nothing() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &["--lanes", "1"]);
        chain.relay.record();
        let mut session = chain.session();
        works(&mut session);
        session.0.send("secret");
        session.1.expect("secret");
        let play = || {
            let mut again = Stream::connect(&chain.far.listeners[0]).expect("a proxy that listens");
            again.send(chain.relay.recorded(0));
            let (_, end) = again.rest();
            assert!(matches!(end, End::Eof | End::Reset));
        };
        play();
        works(&mut session);
        drop(session);
        chain.is_empty();
        play();
        assert!(chain.remote.has_nobody());
        let why = if key.is_some() { "old opening" } else { "the challenge of another lane" };
        chain.far.log.lines_with(why, 2);
        works(&mut chain.session());
        chain.far.log.lines("connect client ", 2);
        chain.is_empty();
        assert_eq!(super::count(&chain.far, "connect client "), 2);
    }
}

#[test]
fn garbage_is_closed_and_silence_after_three_seconds() {
    let directory = TempDir::new();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &[]);
        let connect = || Stream::connect(&chain.far.listeners[0]).expect("a proxy that listens");
        let mut session = chain.session();
        let keyed = keyed_opening();
        for garbage in ["GET / HTTP/1.1\r\n\r\n".as_bytes(), &[0; 5000], b"CPSX", b"CPST\x07\x00\x00\x00"] {
            let mut stream = connect();
            stream.send(garbage);
            let (_, end) = stream.rest();
            assert!(matches!(end, End::Eof | End::Reset));
        }
        let silent: [&[u8]; 5] =
            [b"", b"C", &OPENING[..7], if key.is_some() { &keyed[..55] } else { OPENING }, &keyed[..8]];
        let start = Instant::now();
        let patient = if key.is_some() { 5 } else { 4 };
        let mut streams = silent[..patient]
            .iter()
            .map(|bytes| {
                let mut stream = connect();
                stream.send(bytes);
                stream
            })
            .collect::<Vec<_>>();
        for stream in &mut streams {
            let (_, end) = stream.rest();
            assert!(matches!(end, End::Eof | End::Reset));
            not_before(start, Duration::from_secs(3));
        }
        chain.far.log.lines_with("it was not opened in time", patient);
        works(&mut session);
    }
}

/// Whoever has waited for longest, and has not been answered, is told that it may come again.
#[test]
fn no_more_than_256_wait_at_once() {
    const BUSY: &[u8] = b"CPST\x01\x06\x00\x00";
    // After this, silence is ended anyway.
    const OPENING_TIMEOUT: Duration = Duration::from_secs(3);
    until("a machine that is fast enough", || {
        let chain = Chain::both(&["-t", "1"]);
        let connect = |said: &[u8]| {
            let mut stream = Stream::connect(&chain.far.listeners[0]).expect("a proxy that listens");
            stream.send_unless_cut_off(said);
            stream
        };
        let start = Instant::now();
        let mut silent: Vec<Stream> = (0..10).map(|number| connect(&OPENING[..number % 8])).collect();
        // What comes behind an answer would be taken for a frame.
        let mut answered = connect(OPENING);
        let answer = answered.read_exact(&mut [0; 24]);
        let mut others: Vec<Stream> = (0..256).map(|_| connect(b"CP")).collect();
        let told: Vec<_> = silent.iter_mut().map(Stream::rest).collect();
        let nothing = answered.rest();
        let loud = others.iter_mut().filter(|stream| !stream.is_silent()).count();
        if start.elapsed() >= OPENING_TIMEOUT {
            return None;
        }
        assert!(told.iter().all(|told| *told == (BUSY.to_vec(), End::Eof)), "{told:?}");
        assert_eq!((answer.ok(), nothing), (Some(()), (Vec::new(), End::Eof)));
        assert!(loud < 50, "{loud}");
        works(&mut chain.session());
        Some(())
    });
}

/// Few of them wait at once, and sessions begin and go on.
#[test]
fn ten_thousand_that_open_half_a_lane_disturb_nobody() {
    const HALF_OPEN: usize = 10_000;
    let directory = TempDir::new();
    descriptors();
    for key in [None, Some(&directory)] {
        let chain = Chain::with_key(key, &["-t", "2", "--log-level", "info"]);
        let mut session = chain.session();
        works(&mut session);
        let base = open_descriptors(chain.far.pid()).len();
        let mut kept = std::collections::VecDeque::new();
        let opening = if key.is_some() { keyed_opening()[..50].to_vec() } else { OPENING.to_vec() };
        for number in 0..HALF_OPEN {
            let mut stream = Stream::connect(&chain.far.listeners[0]).expect("a proxy that listens");
            let _ = std::io::Write::write(&mut stream, &opening[..number % (opening.len() + 1)]);
            kept.push_back(stream);
            if kept.len() > 1000 {
                kept.pop_front();
            }
            if number % 500 == 0 {
                works(&mut session);
                works(&mut chain.session());
                // Those on their way from the acceptor are not counted among them: a thread that has not had its turn may
                // have many of them to close.
                let is_bounded = |_| {
                    let most = base + 256 + 200;
                    open_descriptors(chain.far.pid()).len() < most || {
                        thread::sleep(Duration::from_millis(50));
                        false
                    }
                };
                assert!((0..20).any(is_bounded), "many more descriptors than the {base} before");
            }
        }
        works(&mut session);
        until("the end of the openings", || (open_descriptors(chain.far.pid()).len() <= base + 8).then_some(()));
        drop(session);
        chain.is_empty();
        drop(kept);
    }
}
