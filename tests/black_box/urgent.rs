//! TCP urgent data: the urgent byte is not forwarded, as with the original, and nothing else is lost or held up by it.

use libc::{SIGCONT, SIGSTOP};

use crate::support::system::is_stopped;
use crate::support::{End, Kind, Proxy, Remote, until};

/// Sends this while the proxy is stopped, so that it finds the urgent byte amid the rest: `abc`, urgent `d`, `efg`.
fn send_around_urgent_byte(proxy: &Proxy, client: &crate::support::Stream, finish: bool) {
    client.socket.set_tcp_nodelay(true).expect("TCP");
    proxy.signal(SIGSTOP);
    until("the proxy to stop", || is_stopped(proxy.pid()).then_some(()));
    client.socket.send(b"abc").expect("room");
    client.socket.send_out_of_band(b"d").expect("room");
    client.socket.send(b"efg").expect("room");
    if finish {
        client.finish();
    }
    proxy.signal(SIGCONT);
}

fn check(arguments: &[&str], bulk: usize) {
    for finish in [false, true] {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(arguments).start();
        let (mut client, mut server) = proxy.session(&remote);
        let bytes = vec![7; 1 << 16];
        for _ in 0..bulk {
            client.send(&bytes);
            server.expect(&bytes);
        }
        client.send("hello");
        server.expect("hello");
        send_around_urgent_byte(&proxy, &client, finish);
        server.expect("abcefg");
        if finish {
            assert_eq!(server.end(), End::Eof);
        } else {
            client.send("more");
            server.expect("more");
        }
    }
}

#[test]
fn messages_go_on_around_an_urgent_byte() {
    check(&[], 0);
    check(&["--zero-copy", "never"], 16);
}

#[test]
fn bulk_goes_on_around_an_urgent_byte() {
    check(&[], 64);
    check(&["--zero-copy", "always"], 16);
}
