//! All that says who may come in, how much they get and who they are, at once: with several remotes, bulk and a reload.

#![cfg(target_os = "linux")]

use std::fs;
use std::thread;

use crate::support::system::accept_queue;
use crate::support::{End, Kind, Proxy, Remote, Stream, TempDir, drink, pour, until};

/// Bytes of bulk: more than any buffer holds.
const BULK: usize = 3 << 20;

fn text(remotes: &[Remote; 2], per_source: u32, rate: &str) -> String {
    let [one, other] = remotes.each_ref().map(|remote| remote.address.to_string());
    format!(
        r#"zero-copy = "always"
        io-threads = 2
        [service.all]
        listen = "127.0.0.1:0"
        remote = ["{one},max=50", "{other}"]
        balance = "source"
        access = ["deny 192.0.2.66", "allow 192.0.2.0/24"]
        accept-proxy-from = "127.0.0.1"
        send-proxy = "v2"
        allow-time = "00:00-24:00"
        end-outside-time = true
        max-sessions = 100
        max-sessions-per-source = {per_source}
        session-rate-per-source = "1000/s"
        upload-rate = "{rate}"
        total-download-rate = "1g"
        session-timeout = "1h"
        half-close-timeout = "10m"
        source = "127.0.0.1"
        "#
    )
}

/// The header of a client with this address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let (destination, ports) = ([198, 51, 100, 1], [4, 210, 1, 187]);
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &client, &destination, &ports].concat()
}

/// A client that says that it has this address, and what its session came to: the number of its remote, and the server.
fn session(proxy: &Proxy, remotes: &[Remote; 2], client: [u8; 4]) -> (Stream, usize, Stream) {
    let mut stream = proxy.connect();
    stream.send([header(client).as_slice(), b"glued"].concat());
    let number = until("a server", || remotes.iter().position(|remote| accept_queue(&remote.socket).0 > 0));
    let mut server = remotes[number].accept();
    server.expect([header(client).as_slice(), b"glued"].concat());
    (stream, number, server)
}

fn is_refused(proxy: &Proxy, client: [u8; 4]) {
    let mut stream = proxy.connect();
    stream.send(header(client));
    assert_eq!(stream.end(), End::Reset, "{client:?}");
}

#[test]
fn everything_holds_at_once() {
    let remotes = [Remote::new(Kind::V4), Remote::new(Kind::V4)];
    let directory = TempDir::new();
    let path = directory.file("cproxy.toml", &text(&remotes, 2, "1g"));
    let mut proxy = Proxy::on(&[]).args(&["-c", path.to_str().expect("a path")]).start();
    proxy.listeners = vec![proxy.log.line("listening on ").listener()];

    let mut held = Vec::new();
    let mut used = [false; 2];
    for last in 1..=12 {
        let client = [192, 0, 2, last];
        let (one, number, its_server) = session(&proxy, &remotes, client);
        let (other, same, server) = session(&proxy, &remotes, client);
        assert_eq!(number, same, "{client:?}");
        used[number] = true;
        held.push((one, its_server));
        held.push((other, server));
        is_refused(&proxy, client);
    }
    assert_eq!(used, [true; 2], "of twelve, some go to each");
    is_refused(&proxy, [192, 0, 2, 66]);
    is_refused(&proxy, [203, 0, 113, 1]);

    // Bulk both ways, while other numbers come to hold.
    let (mut client, mut server) = held.pop().expect("a session");
    let (mut sender, mut answerer) = (client.another(), server.another());
    thread::scope(|scope| {
        scope.spawn(move || pour(&mut sender, 1, BULK));
        scope.spawn(move || pour(&mut answerer, 2, BULK));
        scope.spawn(|| drink(&mut client, 2, BULK));
        fs::write(&path, text(&remotes, 3, "900m")).expect("the file");
        proxy.signal(libc::SIGHUP);
        proxy.log.line("reload: services added: 0, changed: 1, removed: 0");
        drink(&mut server, 1, BULK);
    });
    let (third, _, its_server) = session(&proxy, &remotes, [192, 0, 2, 12]);
    is_refused(&proxy, [192, 0, 2, 12]);
    held.extend([(client, server), (third, its_server)]);

    // What ends one way goes on the other, and then all is over.
    for (mut client, mut server) in held {
        client.finish();
        assert_eq!(server.end(), End::Eof);
        server.send("the last word");
        drop(server);
        client.expect("the last word");
        assert_eq!(client.end(), End::Eof);
    }
}
