//! The PROXY protocol: headers to remotes of every kind, and from clients of every kind.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::support::{Address, End, Kind, Peer, Proxy, Remote, Stream, drink, frame, not_before, pour};

/// Who the clients of these tests say that they are, and where they had connected to.
const SOURCE: &str = "192.0.2.7:1234";
const DESTINATION: &str = "198.51.100.1:443";

/// A TLV that nobody knows.
const TLV: &[u8] = b"\xe0\x00\x03abc";

/// What a line of the log says of such a client.
const ROUTE: &str = "192.0.2.7:1234 -> 198.51.100.1:443 through ";

const STREAM: u8 = 0x11;
const DATAGRAM: u8 = 0x12;

fn v1(source: &str, destination: &str) -> Vec<u8> {
    let [from, to]: [SocketAddr; 2] = [source, destination].map(|address| address.parse().expect("an address"));
    let name = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {name} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port()).into_bytes()
}

/// A binary header of addresses of IPv4.
fn v2(kind: u8, source: &str, destination: &str, tlvs: &[u8]) -> Vec<u8> {
    let ends: [SocketAddr; 2] = [source, destination].map(|address| address.parse().expect("an address"));
    let mut behind = Vec::new();
    for end in ends {
        let IpAddr::V4(ip) = end.ip() else { panic!("{end} is not of IPv4") };
        behind.extend(ip.octets());
    }
    ends.iter().for_each(|end| behind.extend(end.port().to_be_bytes()));
    behind.extend(tlvs);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.push(kind);
    header.extend((behind.len() as u16).to_be_bytes());
    header.extend(behind);
    header
}

/// That of a client which has come to this listener itself.
fn real(version: &str, client: &Stream, listener: &Address) -> Vec<u8> {
    let (source, destination) = (client.local(), listener.to_string());
    if version == "v1" { v1(&source, &destination) } else { v2(STREAM, &source, &destination, b"") }
}

#[test]
fn a_remote_gets_a_header_before_all_else_though_the_client_says_nothing() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for version in ["v1", "v2"] {
            let remote = Remote::new(kind);
            let proxy = Proxy::between(Kind::V4, &remote).args(&["--send-proxy", version]).start();
            let mut client = proxy.connect();
            let mut server = remote.accept();
            server.expect(real(version, &client, &proxy.listeners[0]));
            server.send("a greeting");
            client.expect("a greeting");
            client.send("an answer");
            server.expect("an answer");
            client.finish();
            assert_eq!(server.end(), End::Eof);
            drop(server);
            assert_eq!(client.end(), End::Eof);
            // It is none of what was moved.
            assert!(proxy.log.line("disconnect client").message.ends_with("upstream 9 bytes, downstream 10 bytes"));
        }
    }
}

#[test]
fn a_client_of_a_unix_socket_has_names_in_a_header() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::UnixPath, &remote).args(&["--send-proxy", "v2"]).start();
    let _client = proxy.connect();
    let mut name = proxy.listeners[0].path().to_str().expect("a path").as_bytes().to_vec();
    name.resize(108, 0);
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8".as_slice(), &[0; 108], &name].concat();
    remote.accept().expect(header);
}

#[test]
fn frames_come_behind_the_header_of_their_stream() {
    let remote = Remote::new(Kind::Framed);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--send-proxy", "v2"]).start();
    let mut client = proxy.connect();
    let mut server = remote.accept();
    server.expect(real("v2", &client, &proxy.listeners[0]));
    client.send("a frame");
    server.expect(frame(b"a frame"));

    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Framed, &remote).args(&["--accept-proxy"]).start();
    let mut client = proxy.connect();
    client.send([v1(SOURCE, DESTINATION), frame(b"one"), frame(b"two")].concat());
    let mut server = remote.peer();
    server.expect("one");
    server.expect("two");
    assert!(proxy.log.line("connect client to proxy ").message.contains(ROUTE));
}

#[test]
fn what_came_glued_behind_a_header_does_not_wait_nor_does_an_end() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for header in [v1(SOURCE, DESTINATION), v2(STREAM, SOURCE, DESTINATION, TLV)] {
            let remote = Remote::new(Kind::V4);
            let proxy = Proxy::between(kind, &remote).args(&["--accept-proxy", "--send-proxy", "v2"]).start();
            let onward = if header[0] == b'P' { v2(STREAM, SOURCE, DESTINATION, b"") } else { header.clone() };
            let mut client = proxy.connect();
            client.send([header.as_slice(), b"glued"].concat());
            client.finish();
            let mut server = remote.accept();
            server.expect([onward.as_slice(), b"glued"].concat());
            assert_eq!(server.end(), End::Eof);
            server.send("heard");
            client.expect("heard");
            drop(server);
            assert_eq!(client.end(), End::Eof);
            for line in ["connect client to proxy ", "disconnect client to proxy "] {
                assert!(proxy.log.line(line).message.contains(ROUTE));
            }
        }
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    for header in [v1(SOURCE, DESTINATION), v2(STREAM, SOURCE, DESTINATION, TLV)] {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&["--accept-proxy"]).start();
        let mut client = proxy.connect();
        client.socket.set_tcp_nodelay(true).expect("a socket of TCP");
        for byte in &header {
            assert!(remote.has_nobody());
            client.send([*byte]);
        }
        let mut server = remote.accept();
        server.send("a greeting");
        client.expect("a greeting");
        client.send("an answer");
        server.expect("an answer");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_header_goes_through_a_stripe() {
    let remote = Remote::new(Kind::V4);
    // Rules are about the client in the header, and not about the far end.
    let near = Proxy::between(Kind::Stripe, &remote)
        .args(&["--accept-proxy", "--send-proxy", "v1", "--allow", "192.0.2.0/24"])
        .start();
    let far = Proxy::on(&[Kind::V4]).to(&near.listeners[0]).args(&["--accept-proxy", "--send-proxy", "v2"]).start();
    let mut client = far.connect();
    client.send([v1(SOURCE, DESTINATION).as_slice(), b"striped"].concat());
    let mut server = remote.accept();
    server.expect([v1(SOURCE, DESTINATION).as_slice(), b"striped"].concat());
    server.send("back");
    client.expect("back");
    assert!(near.log.line("connect client to proxy ").message.contains(ROUTE));
}

#[test]
fn bulk_behind_headers_is_whole() {
    for zero_copy in ["always", "auto", "never"] {
        let remote = Remote::new(Kind::V4);
        let flags = ["--accept-proxy", "--send-proxy", "v2", "--zero-copy", zero_copy];
        let proxy = Proxy::between(Kind::V4, &remote).args(&flags).start();
        let mut client = proxy.connect();
        let header = v2(STREAM, SOURCE, DESTINATION, TLV);
        client.send(&header);
        let mut sender = client.another();
        let pouring = std::thread::spawn(move || pour(&mut sender, 5, 3 << 20));
        let mut server = remote.accept();
        server.expect(&header);
        drink(&mut server, 5, 3 << 20);
        pouring.join().expect("a sender");
        pour(&mut server, 6, 1 << 20);
        drink(&mut client, 6, 1 << 20);
    }
}

#[test]
fn a_client_without_a_header_is_reset_and_the_log_is_not_filled() {
    let remote = Remote::new(Kind::V4);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--accept-proxy"]).start();
    let whole = v2(STREAM, SOURCE, DESTINATION, b"");
    let bad: [Vec<u8>; 4] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(),
        [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 107]].concat(),
        // It says that it is longer than any.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
    ];
    for bytes in &bad {
        let mut client = proxy.connect();
        client.send(bytes);
        assert_eq!(client.end(), End::Reset, "{bytes:?}");
    }
    // An end within a header, and a reset.
    let mut client = proxy.connect();
    client.send(&whole[..20]);
    client.finish();
    assert_eq!(client.end(), End::Reset);
    let mut client = proxy.connect();
    client.send(&whole[..20]);
    client.reset();
    assert!(remote.has_nobody());
    let line = proxy.log.line("clients refused: 1 by a bad PROXY header, 1 so far, the last one from 127.0.0.1: ");
    assert!(line.message.ends_with("the first bytes are not those of a PROXY header"), "{}", line.message);
    // It serves whoever comes now.
    let mut client = proxy.connect();
    client.send(whole);
    drop(remote.accept());
    assert_eq!(client.end(), End::Eof);
    drop(client);
    let lines = proxy.stop();
    for (beginning, count) in [("accepted fd", 1), ("connect client", 1), ("disconnect client", 1)] {
        assert_eq!(lines.iter().filter(|line| line.message.starts_with(beginning)).count(), count, "{beginning}");
    }
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let remote = Remote::new(Kind::V4);
    let flags = ["--accept-proxy", "--connect-timeout", "200ms"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&flags).start();
    for part in [0, 20] {
        let start = Instant::now();
        let mut client = proxy.connect();
        client.send_unless_cut_off(&v2(STREAM, SOURCE, DESTINATION, b"")[..part]);
        assert_eq!(client.end(), End::Reset);
        not_before(start, Duration::from_millis(200));
    }
    let line = proxy.log.line("clients refused: 1 by a bad PROXY header");
    assert!(line.message.ends_with(": the header did not come in time"), "{}", line.message);
    assert!(remote.has_nobody());
}

#[test]
#[cfg(target_os = "linux")]
fn the_header_of_a_sender_that_is_not_believed_is_read_and_not_used() {
    for (from, is_believed) in [("127.0.0.1", true), ("10.0.0.0/8", false), ("unix", false)] {
        let remote = Remote::new(Kind::V4);
        let flags = ["--accept-proxy-from", from, "--send-proxy", "v1"];
        let proxy = Proxy::between(Kind::V4, &remote).args(&flags).start();
        let mut client = proxy.connect();
        client.send([v2(STREAM, SOURCE, DESTINATION, TLV).as_slice(), b"bytes"].concat());
        let header = if is_believed { v1(SOURCE, DESTINATION) } else { real("v1", &client, &proxy.listeners[0]) };
        remote.accept().expect([header.as_slice(), b"bytes"].concat());
        assert_eq!(proxy.log.line("connect client").message.contains(ROUTE), is_believed, "{from}");
    }
}

#[test]
fn local_and_unknown_mean_the_real_addresses() {
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"] {
        let remote = Remote::new(Kind::V4);
        let proxy = Proxy::between(Kind::V4, &remote).args(&["--accept-proxy", "--send-proxy", "v1"]).start();
        let mut client = proxy.connect();
        client.send([header, b"bytes"].concat());
        remote.accept().expect([real("v1", &client, &proxy.listeners[0]).as_slice(), b"bytes"].concat());
    }
}

#[test]
fn rules_and_limits_hold_for_the_client_that_a_header_names() {
    let remote = Remote::new(Kind::V4);
    let flags = ["--accept-proxy", "--deny", "192.0.2.0/24", "--max-sessions-per-source", "1"];
    let proxy = Proxy::between(Kind::V4, &remote).args(&flags).start();
    let connect = |source: &str| {
        let mut client = proxy.connect();
        client.send(v1(source, DESTINATION));
        client
    };
    assert_eq!(connect(SOURCE).end(), End::Reset);
    let (_first, _server) = (connect("203.0.113.1:1"), remote.accept());
    assert_eq!(connect("203.0.113.1:2").end(), End::Reset);
    let (mut second, mut server) = (connect("203.0.113.2:1"), remote.accept());
    second.send("let in");
    server.expect("let in");
    proxy.log.line("clients refused: 1 by the access rules, 1 so far, the last one from 192.0.2.7");
    assert!(remote.has_nobody());
}

#[test]
fn a_remote_that_refuses_is_followed_by_another_which_gets_the_header() {
    let (refusing, remote) = (Remote::refusing(Kind::V4), Remote::new(Kind::V4));
    let proxy = Proxy::on(&[Kind::V4]).to(&refusing.address).to(&remote.address);
    let proxy = proxy.args(&["--accept-proxy", "--send-proxy", "v2"]).start();
    for _ in 0..4 {
        let mut client = proxy.connect();
        let header = v2(STREAM, SOURCE, DESTINATION, TLV);
        client.send([header.as_slice(), b"bytes"].concat());
        remote.accept().expect([header.as_slice(), b"bytes"].concat());
    }
}

#[test]
fn datagrams_have_a_header_each_or_the_first_one() {
    for (which, kind) in [("each", Kind::Udp), ("first", Kind::Udp), ("each", Kind::Packet), ("first", Kind::Datagram)]
    {
        let remote = Remote::new(kind);
        let proxy =
            Proxy::between(Kind::Udp, &remote).args(&["--send-proxy", "v2", "--proxy-datagrams", which]).start();
        let mut client = proxy.peer();
        let listener = proxy.listeners[0].to_string();
        let listener = listener.strip_prefix("udp:").expect("an address of UDP");
        let header = v2(DATAGRAM, &client.stream.local(), listener, b"");
        client.send("one");
        let mut server = remote.peer();
        server.expect([header.as_slice(), b"one"].concat());
        for datagram in ["two", "", "four"] {
            client.send(datagram);
            let header = if which == "each" { header.as_slice() } else { b"" };
            server.expect([header, datagram.as_bytes()].concat());
        }
        server.reaches(&mut client, "an answer has none");
    }
}

#[test]
fn bytes_that_become_datagrams_have_headers_too() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::V4, &remote).args(&["--send-proxy", "v2"]).start();
    let mut client = proxy.connect();
    client.send([7; 1472]);
    let header = real("v2", &client, &proxy.listeners[0]);
    let mut server = remote.peer();
    let first = server.receive();
    assert_eq!(first.len(), 1472, "it crosses an Ethernet unfragmented");
    assert!(first.starts_with(&header));
    server.expect([header.as_slice(), &[7; 28]].concat());
}

#[test]
fn headers_of_datagrams_are_taken_off() {
    for (which, kind) in [("each", Kind::Udp), ("first", Kind::Udp), ("each", Kind::Packet), ("first", Kind::Packet)] {
        let remote = Remote::new(Kind::Udp);
        let flags = ["--accept-proxy", "--send-proxy", "v2", "--proxy-datagrams", which];
        let proxy = Proxy::between(kind, &remote).args(&flags).start();
        let header = v2(DATAGRAM, SOURCE, DESTINATION, TLV);
        let with_header = |text: &str| [header.as_slice(), text.as_bytes()].concat();
        let mut client = proxy.peer();
        client.send(with_header("one"));
        let mut server = remote.peer();
        server.expect(with_header("one"));
        for text in ["two", "", "four"] {
            let sent = if which == "each" { with_header(text) } else { text.as_bytes().to_vec() };
            client.send(&sent);
            server.expect(&sent);
        }
        server.reaches(&mut client, "an answer has none");
        assert!(proxy.log.line("connect client to proxy ").message.contains("192.0.2.7:1234 -> "));
    }
}

#[test]
fn a_datagram_without_its_header_is_dropped_and_counted() {
    let remote = Remote::new(Kind::Udp);
    let proxy = Proxy::between(Kind::Udp, &remote).args(&["--accept-proxy", "--deny", "203.0.113.0/24"]).start();
    let header = v2(DATAGRAM, SOURCE, DESTINATION, b"");
    let with_header = |text: &str| [header.as_slice(), text.as_bytes()].concat();
    let mut stranger = proxy.peer();
    stranger.send("who am I");
    assert!(proxy.log.line("datagrams of no session dropped so far: 1").message.ends_with("bad PROXY header"));
    let mut refused = Peer::connect(&proxy.listeners[0]).expect("a socket");
    refused.send([v2(DATAGRAM, "203.0.113.9:9", DESTINATION, b"").as_slice(), b"refused"].concat());
    proxy.log.line("clients refused: 1 by the access rules");
    let mut client = Peer::connect(&proxy.listeners[0]).expect("a socket");
    client.send(with_header("one"));
    let mut server = remote.peer();
    server.expect("one");
    client.send("lost");
    client.send(with_header("two"));
    server.expect("two");
}
