//! Stripes joined to endpoints of other kinds, in a file, reloaded, drained and timed out.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Chain, near_to, transfer, works};
use crate::support::{End, Kind, Proxy, Random, Relay, Remote, TempDir, at_once, not_before};

const MIB: usize = 1 << 20;

#[test]
fn a_framed_stripe_keeps_the_boundaries_of_datagrams() {
    let directory = TempDir::new();
    let key = super::make_key(&directory, "key");
    for arguments in [&["--lanes", "4"][..], &["--stripe-key", &key]] {
        let remote = Remote::new(Kind::Udp);
        let far = Proxy::between(Kind::FramedStripe, &remote).args(arguments).start();
        let near = Proxy::on(&[Kind::Udp]).to(&far.listeners[0]).args(arguments).start();
        let (mut client, mut server) = near.datagram_session(&remote, "first");
        let mut random = Random(4);
        for length in [0, 1, 2, 100, 1472, 1473, 16_384, 32_768, 60_000, 65_507].into_iter().chain(1..200) {
            let datagram = random.bytes(length);
            client.reaches(&mut server, &datagram);
            server.reaches(&mut client, &datagram);
        }
        // Several under way at once.
        for _ in 0..20 {
            let datagrams: Vec<_> = (0..16)
                .map(|_| {
                    let length = random.below(2000);
                    random.bytes(length)
                })
                .collect();
            datagrams.iter().for_each(|datagram| client.send(datagram));
            datagrams.iter().for_each(|datagram| server.expect(datagram));
            datagrams.iter().for_each(|datagram| server.send(datagram));
            datagrams.iter().for_each(|datagram| client.expect(datagram));
        }
    }
}

#[test]
fn unix_sockets_at_either_end() {
    let remote = Remote::new(Kind::UnixPath);
    let far = Proxy::between(Kind::Stripe, &remote).start();
    let near = Proxy::on(&[Kind::UnixPath]).to(&far.listeners[0]).start();
    let mut session = near.session(&remote);
    transfer(&mut session, 4 * MIB, || {});
    session.0.finish();
    assert_eq!(session.1.end(), End::Eof);
    session.1.send("bye");
    session.1.finish();
    session.0.expect("bye");
    assert_eq!(session.0.end(), End::Eof);
    assert_eq!((near.end().how, far.end().how), ("end of stream".into(), "end of stream".into()));
}

/// A far end with a file.
struct Configured {
    far: Proxy,
    relay: Relay,
    file: PathBuf,
    _directory: TempDir,
}

impl Configured {
    fn start(text: &str) -> Configured {
        let directory = TempDir::new();
        let file = directory.file("cproxy.toml", text);
        let far = Proxy::on(&[]).args(&["-c", file.to_str().expect("UTF-8")]).start();
        let address = far.log.line("listening on stripe:").listener();
        let relay = Relay::to(&address);
        Configured { far, relay, file, _directory: directory }
    }

    fn reload(&self, text: &str, said: &str) {
        fs::write(&self.file, text).expect("a file of ours");
        self.far.signal(libc::SIGHUP);
        self.far.log.line(said);
    }
}

#[test]
fn a_reload_leaves_striped_sessions_alone() {
    let remotes = [(); 2].map(|()| Remote::new(Kind::V4));
    let service = |remote: &Remote, more: &str| {
        format!("[service.s]\nlisten = \"stripe:127.0.0.1:0\"\nremote = \"{}\"\n{more}\n", remote.address)
    };
    let configured = Configured::start(&service(&remotes[0], "stripe-window = \"1m\""));
    let near = near_to(&configured.relay, &[]);
    let mut session = near.session(&remotes[0]);
    works(&mut session);
    let lanes = configured.relay.wait_for(4);

    configured.reload(&service(&remotes[1], ""), "reload: services added: 0, changed: 1, removed: 0");
    works(&mut session);
    // Lanes that come now come to the service as it is now, and to the session as it was.
    configured.relay.reset(lanes[0]);
    configured.relay.reset(lanes[1]);
    transfer(&mut session, 4 * MIB, || {});
    configured.relay.wait_for(4);
    configured.relay.reset_all();
    works(&mut session);
    configured.relay.wait_for(4);
    let mut newer = near.session(&remotes[1]);
    works(&mut newer);
    configured.relay.wait_for(8);

    let other = "[service.other]\nlisten = \"127.0.0.1:0\"\nremote = \"echo:\"\n";
    configured.reload(other, "reload: services added: 1, changed: 0, removed: 1");
    let mut sessions = [session, newer];
    for session in &mut sessions {
        transfer(session, MIB, || {});
    }
    // With the lanes that are left.
    configured.relay.reset(configured.relay.open()[0]);
    sessions.iter_mut().for_each(works);
    drop(sessions);
    configured.relay.wait_for(0);
    configured.far.ended(2);
}

#[test]
fn a_reload_can_end_striped_sessions() {
    let remote = Remote::new(Kind::V4);
    let service = |more: &str| {
        let address = &remote.address;
        format!("[service.s]\nlisten = \"stripe:127.0.0.1:0\"\nremote = \"{address}\"\non-reload = \"reset\"\n{more}\n")
    };
    let configured = Configured::start(&service(""));
    let near = near_to(&configured.relay, &[]);
    let (mut client, mut server) = near.session(&remote);
    client.send("hello");
    server.expect("hello");
    configured.reload(&service("stripe-window = \"1m\""), "reload: services added: 0, changed: 1, removed: 0");
    assert_eq!([client.end(), server.end()], [End::Reset; 2]);
    works(&mut near.session(&remote));
}

#[test]
fn sigterm_lets_striped_sessions_end() {
    for near_stops in [true, false] {
        let Chain { near, relay, far, remote } = Chain::both(&["-t", "2"]);
        let mut session = near.session(&remote);
        works(&mut session);
        relay.wait_for(4);
        let stopped = if near_stops { &near } else { &far };
        stopped.signal(libc::SIGTERM);
        stopped.log.line("signal 15: no new clients");
        transfer(&mut session, 4 * MIB, || {});
        let (mut client, mut server) = session;
        client.finish();
        assert_eq!(server.end(), End::Eof);
        server.send("bye");
        server.finish();
        client.expect("bye");
        assert_eq!(client.end(), End::Eof);
        let lines = if near_stops { near.finish() } else { far.finish() };
        assert!(lines.iter().any(|line| line.message.contains("): end of stream, ")), "{lines:?}");
    }
}

#[test]
fn striped_sessions_that_do_not_end_are_reset_when_they_have_drained() {
    for near_stops in [true, false] {
        let Chain { near, relay, far, remote } = Chain::both(&["--drain-timeout", "300ms"]);
        let mut session = near.session(&remote);
        works(&mut session);
        relay.wait_for(4);
        if near_stops {
            near.signal(libc::SIGTERM)
        } else {
            far.signal(libc::SIGTERM)
        }
        assert_eq!([session.0.end(), session.1.end()], [End::Reset; 2], "near: {near_stops}");
        if near_stops {
            near.finish()
        } else {
            far.finish()
        };
    }
}

#[test]
fn an_idle_striped_session_is_ended_by_either_end() {
    let ends = |near_counts: bool| {
        let idle = ["--idle-timeout", "2500ms"];
        let chain = if near_counts { Chain::new(&idle, &[]) } else { Chain::new(&[], &idle) };
        let mut session = chain.session();
        // It is idle from some moment in this on.
        let start = Instant::now();
        works(&mut session);
        assert_eq!([session.0.end(), session.1.end()], [End::Reset; 2], "near: {near_counts}");
        not_before(start, Duration::from_millis(2500));
        drop(session);
        chain.is_empty();
        let counts = if near_counts { &chain.near } else { &chain.far };
        assert_eq!(counts.end().how, "idle timeout");
    };
    at_once([true, false], ends);
}
