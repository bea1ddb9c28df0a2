use mio::{Events, Poll};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::address::Endpoints;
use crate::base::clock::Clock;
use crate::config::balancing::CheckSettings;
use crate::proxy_header::Version;

/// How long anything may take. Only a broken program fails it.
const DEADLINE: Duration = Duration::from_secs(30);

/// Checks every 80 ms, of which one decides. They take as long as a slow machine needs.
fn plan(send: &str, expect: &str) -> Plan {
    let settings = CheckSettings {
        interval: Some(Duration::from_millis(80)),
        timeout: Some(DEADLINE),
        rise: 1,
        fall: 1,
        send: send.into(),
        expect: expect.into(),
    };
    Plan::new(&settings, None).unwrap()
}

/// The same with a time that is soon over, where that is what is tested.
fn short(send: &str, expect: &str) -> Plan {
    Plan { timeout: 60, ..plan(send, expect) }
}

/// The checks of one remote, or more.
struct Keeper {
    poll: Poll,
    clock: Clock,
    checks: Checks,
    found: Vec<Found>,
}

impl Keeper {
    fn new(remotes: &[&Arc<Remote>], plan: Plan) -> Keeper {
        let (clock, plan) = (Clock::start(), Arc::new(plan));
        let mut checks = Checks::new(7);
        checks.set_most(100);
        checks.follow(remotes.iter().map(|&remote| (remote, &plan)), clock.now());
        Keeper { poll: Poll::new().unwrap(), clock, checks, found: Vec::new() }
    }

    fn turn(&mut self) {
        let mut events = Events::with_capacity(64);
        let wait = self.checks.wait(self.clock.now()).unwrap_or(DEADLINE).min(DEADLINE);
        self.poll.poll(&mut events, Some(wait)).unwrap();
        events.iter().for_each(|event| self.checks.note(event));
        self.checks.run(self.clock.now(), self.poll.registry(), &mut self.found);
    }

    /// Waits until a check has this result, and says why.
    fn until(&mut self, finding: Finding) -> String {
        let found = self.wait_for(&|found| found.finding == finding);
        found.reason.unwrap_or_default()
    }

    /// Waits until a check fails for this reason. Where its time is short, one may fail for another reason before.
    fn until_down(&mut self, reason: &str) {
        self.wait_for(&|found| found.finding == Finding::Down && found.reason.as_deref() == Some(reason));
    }

    fn wait_for(&mut self, is_it: &dyn Fn(&Found) -> bool) -> Found {
        let start = Instant::now();
        loop {
            self.turn();
            assert!(start.elapsed() < DEADLINE, "only {:?}", self.found);
            if let Some(found) = self.found.drain(..).find(is_it) {
                return found;
            }
        }
    }
}

fn remote(address: &str) -> Arc<Remote> {
    Arc::new(Remote::new(address.into(), Endpoints::parse(address).unwrap().addresses).unwrap())
}

/// What a check of an address finds first.
fn first(address: &str, send: &str, expect: &str) -> Result<(), String> {
    let mut keeper = Keeper::new(&[&remote(address)], plan(send, expect));
    let found = keeper.wait_for(&|_| true);
    match found.finding {
        Finding::Up => Ok(()),
        Finding::Down => Err(found.reason.unwrap()),
    }
}

fn path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("cproxy-checks-{}-{number}", std::process::id()))
}

/// An address of TCP that nobody listens at, held so that nobody else can.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Answers each connection's first message.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut message = [0; 100];
            let count = stream.read(&mut message).unwrap_or(0);
            let question = String::from_utf8_lossy(&message[..count]).into_owned();
            let _ = stream.write_all(format!("{answer}{question}").as_bytes());
        }
    });
    address
}

#[test]
fn a_tcp_remote_is_up_if_it_can_be_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(first(&listener.local_addr().unwrap().to_string(), "", ""), Ok(()));
    let (_held, address) = refusing();
    assert_eq!(first(&address.to_string(), "", ""), Err("Connection refused".into()));
    assert_eq!(first(&format!("framed:{address}"), "", ""), Err("Connection refused".into()));
    assert_eq!(first(&format!("stripe:{address}"), "", ""), Err("Connection refused".into()));
}

#[test]
fn a_stripe_is_up_if_one_of_its_addresses_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_held, refusing) = refusing();
    let both = format!("stripe:{refusing}+{}", listener.local_addr().unwrap());
    assert_eq!(first(&both, "", ""), Ok(()));
    // Nothing of what is to be said is said there.
    assert_eq!(first(&both, "hello", "answer"), Ok(()));
}

/// The program there is not bothered: it is not even told.
#[test]
#[cfg(target_os = "linux")]
fn a_check_of_which_the_connection_is_all_is_not_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(first(&listener.local_addr().unwrap().to_string(), "", ""), Ok(()));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
#[cfg(target_os = "linux")]
fn a_remote_that_drops_what_comes_is_down() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap();
    let fills = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    fills.connect(&address).unwrap();
    let address = address.as_socket().unwrap().to_string();
    // The system may still let one in until it has counted the other.
    let mut keeper = Keeper::new(&[&remote(&address)], short("", ""));
    keeper.until_down("no connection within 60ms");
}

#[test]
fn what_is_said_begins_with_a_header_where_remotes_get_one() {
    let introduced = |address: &str, header, send: &str, expect: &str| {
        let mut keeper = Keeper::new(&[&remote(address)], Plan { header: Some(header), ..plan(send, expect) });
        assert_eq!(keeper.wait_for(&|_| true).reason, None);
    };
    // What comes is sent back, so what is expected is what was sent.
    let local = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let answers = answering("+").to_string();
    introduced(&answers, Version::V2, "hello", &format!("+{local}hello"));
    introduced(&answers, Version::V2, "", &format!("+{local}"));
    introduced(&format!("framed:{answers}"), Version::V2, "hello", &format!("{local}\0\x05hello"));
    introduced(&answers, Version::V1, "hello", &format!(" {}\r\nhello", answers.split(':').next_back().unwrap()));
    introduced(&answers, Version::V1, "", "+PROXY TCP4 127.0.0.1 127.0.0.1 ");

    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", server.local_addr().unwrap());
    let mut keeper = Keeper::new(&[&remote(&address)], Plan { header: Some(Version::V2), ..plan("hello", "") });
    server.set_nonblocking(true).unwrap();
    let mut datagram = [0; 100];
    let start = Instant::now();
    let count = loop {
        keeper.turn();
        match server.recv(&mut datagram) {
            Ok(count) => break count,
            Err(_) => assert!(start.elapsed() < DEADLINE),
        }
    };
    assert_eq!(
        datagram[..count].escape_ascii().to_string(),
        format!("{local}hello").as_bytes().escape_ascii().to_string()
    );

    let path = path();
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut line = [0; 20];
        stream.read_exact(&mut line).unwrap();
        stream.write_all(&line).unwrap();
    });
    introduced(&format!("unix:{}", path.display()), Version::V1, "hello", "PROXY UNKNOWN\r\nhello");
    std::fs::remove_file(&path).unwrap();
    // Where being connected is all, nothing is said.
    #[cfg(target_os = "linux")]
    {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        introduced(&listener.local_addr().unwrap().to_string(), Version::V1, "", "");
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[test]
fn a_unix_remote_is_up_if_it_can_be_connected_to() {
    let path = path();
    let address = format!("unix:{}", path.display());
    assert_eq!(first(&address, "", ""), Err("No such file or directory".into()));
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(first(&address, "", ""), Ok(()));
    drop(listener);
    assert_eq!(first(&address, "", ""), Err("Connection refused".into()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_unix_remote_whose_queue_is_full_is_tried_again_until_the_time_is_over() {
    let path = path();
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let mut fill = Vec::new();
    loop {
        let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        client.set_nonblocking(true).unwrap();
        if client.connect(&SockAddr::unix(&path).unwrap()).is_err() {
            break;
        }
        fill.push(client);
    }
    let mut keeper = Keeper::new(&[&remote(&format!("unix:{}", path.display()))], short("", ""));
    assert_eq!(keeper.until(Finding::Down), "the queue of connections is full");
    fill.clear();
    socket.set_nonblocking(true).unwrap();
    while socket.accept().is_ok() {}
    keeper.until(Finding::Up);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn an_answer_must_have_what_is_expected() {
    let address = answering("HTTP/1.1 200 OK ").to_string();
    assert_eq!(first(&address, "GET", "200 OK GET"), Ok(()));
    assert_eq!(first(&address, "GET", "500"), Err("the connection ended without the expected answer".into()));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    Keeper::new(&[&remote(&silent)], short("GET", "200")).until_down("no answer within 60ms");
    // Without anything that is expected, being able to send is enough.
    assert_eq!(first(&silent, "GET", ""), Ok(()));
    // As one frame.
    let framed = format!("framed:{}", answering(""));
    assert_eq!(first(&framed, "GET", "\0\u{3}GET"), Ok(()));
}

/// What is expected may come in two pieces.
#[test]
fn an_answer_may_come_in_pieces() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            let _ = stream.write_all(b"220 rea");
            thread::sleep(Duration::from_millis(2));
            let _ = stream.write_all(b"dy");
            open.push(stream);
        }
    });
    assert_eq!(first(&address, "", "220 ready"), Ok(()));
}

#[test]
fn a_udp_remote_is_down_if_it_refuses() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", socket.local_addr().unwrap());
    // That nobody refuses is known when the time is over.
    Keeper::new(&[&remote(&address)], short("", "")).until(Finding::Up);
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 0, "an empty datagram asks");
    drop(socket);
    assert_eq!(first(&address, "", ""), Err("Connection refused".into()));
}

#[test]
fn a_udp_remote_answers_what_it_is_asked() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp:{}", socket.local_addr().unwrap());
    thread::spawn(move || {
        let mut message = [0; 100];
        while let Ok((count, from)) = socket.recv_from(&mut message) {
            let _ = socket.send_to(b"what?", from);
            let _ = socket.send_to(&message[..count], from);
        }
    });
    assert_eq!(first(&address, "ping", "ping"), Ok(()));
    Keeper::new(&[&remote(&address)], short("ping", "pong")).until_down("not the expected answer within 60ms");
}

#[test]
#[cfg(target_os = "linux")]
fn unix_datagrams_and_packets_are_asked_as_well() {
    let path = path();
    let address = format!("unixgram:{}", path.display());
    let socket = UnixDatagram::bind(&path).unwrap();
    thread::spawn(move || {
        let mut message = [0; 100];
        while let Ok((count, from)) = socket.recv_from(&mut message) {
            if &message[..count] == b"end" {
                return;
            }
            let _ = socket.send_to_addr(&message[..count], &from);
        }
    });
    assert_eq!(first(&address, "ping", "ping"), Ok(()));
    assert_eq!(first(&address, "", ""), Ok(()));
    assert_eq!(first(&address, "end", ""), Ok(()));
    let mut keeper = Keeper::new(&[&remote(&address)], plan("", ""));
    assert_eq!(keeper.until(Finding::Down), "Connection refused");
    std::fs::remove_file(&path).unwrap();

    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(16).unwrap();
    thread::spawn(move || {
        while let Ok((mut client, _)) = socket.accept() {
            let mut message = [0; 100];
            let count = client.read(&mut message).unwrap_or(0);
            let _ = client.send(&message[..count]);
        }
    });
    let address = format!("unixpacket:{}", path.display());
    assert_eq!(first(&address, "ping", "ping"), Ok(()));
    assert_eq!(first(&address, "ping", "pong"), Err("the connection ended without the expected answer".into()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_needs_no_connection_is_not_checked() {
    let mut keeper = Keeper::new(&[&remote("echo:")], plan("", ""));
    assert_eq!(keeper.checks.wait(0), None);
    keeper.checks.run(keeper.clock.now(), keeper.poll.registry(), &mut keeper.found);
    assert!(keeper.found.is_empty());
}

/// All at once would need too many descriptors.
#[test]
fn no_more_are_under_way_at_once_than_may_be_and_all_get_their_turn() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let remotes: Vec<_> = (0..20).map(|_| remote(&format!("udp:{}", silent.local_addr().unwrap()))).collect();
    let mut keeper = Keeper::new(&remotes.iter().collect::<Vec<_>>(), short("", ""));
    keeper.checks.set_most(3);
    let (start, mut most) = (Instant::now(), 0);
    let mut checked: std::collections::HashSet<RemoteId> = std::collections::HashSet::new();
    while checked.len() < 20 {
        keeper.turn();
        most = most.max(keeper.checks.running);
        checked.extend(keeper.found.drain(..).map(|found| found.remote.id));
        assert!(start.elapsed() < DEADLINE, "{} of 20", checked.len());
    }
    assert_eq!(most, 3);
}

#[test]
fn what_is_no_longer_followed_is_checked_no_more_and_what_stays_keeps_its_state() {
    let (_held, address) = refusing();
    let (stays, goes) = (remote(&address.to_string()), remote(&address.to_string()));
    let mut keeper = Keeper::new(&[&stays, &goes], Plan { fall: 3, ..plan("", "") });
    keeper.until(Finding::Down);
    let plan = Arc::new(Plan { fall: 3, rise: 7, ..plan("", "") });
    keeper.checks.follow([(&stays, &plan)].into_iter(), keeper.clock.now());
    assert_eq!((keeper.checks.all.len(), keeper.checks.of.len()), (1, 1));
    keeper.found.clear();
    let start = Instant::now();
    while keeper.found.is_empty() {
        keeper.turn();
        assert!(start.elapsed() < DEADLINE);
    }
    assert_eq!(keeper.found[0].remote.id, stays.id);
    keeper.checks.follow([].into_iter(), keeper.clock.now());
    assert_eq!((keeper.checks.running, keeper.checks.wait(0)), (0, None));
}

#[test]
fn what_is_lacking_here_is_told_once_as_long_as_it_is() {
    let mut lacking = Lacking::default();
    assert!(lacking.is_news("Too many open files", 1000, 5));
    assert!(lacking.is_news("Cannot assign requested address", 1000, 6), "another reason");
    for now in (1000..1_000_000).step_by(50_000) {
        assert!(!lacking.is_news("Too many open files", 1000, now), "{now}");
    }
    assert!(lacking.is_news("Too many open files", 1000, 2_000_000));
    assert!(!lacking.is_news("Too many open files", 3_600_000, 2_000_000 + 7_200_000));
}
