//! Questions to everybody on a network: broadcasts and multicasts, which are answered from an address of one's own.

#![cfg(target_os = "linux")]

use socket2::{Domain, SockAddr, Socket, Type};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::Command;

use crate::support::{Address, DEADLINE, Proxy, skip};

/// What can ask everybody, and what an answer comes from.
#[derive(Debug, Clone, Copy)]
struct Question {
    from: SocketAddr,
    to: SocketAddr,
    answers: SocketAddr,
}

/// The loopback interface, which does not take multicasts of IPv6; and one made for a test, which does.
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const MADE: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// What can be asked: on the loopback interface, and on the one made for a test.
fn questions(port: u16) -> [Question; 3] {
    // SAFETY: the name ends in NUL.
    let made = unsafe { libc::if_nametoindex(c"made0".as_ptr()) };
    let v4 =
        |to: [u8; 4]| Question { from: (LOOPBACK, 0).into(), to: (to, port).into(), answers: (LOOPBACK, port).into() };
    let everybody = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let v6 = Question {
        from: (MADE, 0).into(),
        to: SocketAddrV6::new(everybody, port, 0, made).into(),
        answers: (MADE, port).into(),
    };
    [v4([127, 255, 255, 255]), v4([224, 0, 0, 1]), v6]
}

/// A socket that asks, if the machine lets it.
fn ask(question: &Question, text: &str) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(question.from), Type::DGRAM, None)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    match question.from {
        SocketAddr::V4(_) => {
            socket.set_broadcast(true)?;
            socket.set_multicast_if_v4(&LOOPBACK)?;
        }
        SocketAddr::V6(_) => {}
    }
    socket.bind(&question.from.into())?;
    socket.send_to(text.as_bytes(), &SockAddr::from(question.to))?;
    Ok(socket)
}

/// Where the text comes from that everybody was asked for.
fn answer(socket: &Socket, text: &str) -> SocketAddr {
    let mut buffer = [const { MaybeUninit::uninit() }; 100];
    let (length, from) = socket.recv_from(&mut buffer).expect("an answer in time");
    // SAFETY: the system has written so many.
    let bytes: Vec<u8> = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() }).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), text);
    from.as_socket().expect("an address")
}

/// Whether such a question reaches a socket of its own here.
fn is_possible(wildcard: &str, question: impl Fn(u16) -> Question) -> bool {
    let Ok(socket) = std::net::UdpSocket::bind((wildcard, 0)) else { return false };
    let port = socket.local_addr().expect("an address").port();
    // What is sent over the loopback interface is there when it has been sent.
    socket.set_nonblocking(true).expect("a socket");
    ask(&question(port), "possible?").is_ok() && socket.recv_from(&mut [0; 100]).is_ok()
}

/// Has this thread, and what it starts, be on a network of its own, with an interface that takes multicasts of IPv6.
fn leave_the_network() -> Result<(), String> {
    // SAFETY: it concerns this thread alone.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!("no network of its own: {}", std::io::Error::last_os_error()));
    }
    let address = format!("addr add {MADE}/64 dev made0 nodad");
    let commands = [
        "link set lo up",
        "link add made0 type veth peer name made1",
        &address,
        "addr add 192.0.2.77/24 dev made0",
        "link set made0 up",
        "link set made1 up",
    ];
    for command in commands {
        let status = Command::new("ip").args(command.split(' ')).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("`ip {command}` fails"));
        }
    }
    Ok(())
}

#[test]
fn a_wildcard_listener_answers_questions_to_everybody() {
    answers_all();
}

#[test]
fn a_wildcard_listener_answers_multicasts_of_ipv6() {
    // The thread is this test's, and ends with it.
    let test = || match leave_the_network() {
        Ok(()) => assert!(answers_all().contains(&"ff02::1".parse().expect("an address")), "multicasts do not arrive"),
        Err(reason) => skip(&reason),
    };
    std::thread::spawn(test).join().expect("a test that passes");
}

/// Asks all that can be asked here, and says what that was.
fn answers_all() -> Vec<IpAddr> {
    let mut asked = Vec::new();
    for (wildcard, numbers) in [("0.0.0.0", 0..2), ("::", 0..3)] {
        for number in numbers {
            let question = |port| questions(port)[number];
            if !is_possible(wildcard, question) {
                skip(&format!("{} does not reach {wildcard} here", question(0).to.ip()));
                continue;
            }
            let listener = Address::parse(&format!("udp:{wildcard}:0"));
            let proxy = Proxy::on(&[]).listen_on(listener).args(&["-r", "echo:"]).start();
            let question = question(proxy.listeners[0].port());
            asked.push(question.to.ip());
            for round in 0..3 {
                let text = format!("round {round}: who is at {} behind {wildcard}?", question.to);
                let socket = ask(&question, &text).expect("a network");
                assert_eq!(answer(&socket, &text), question.answers);
            }
        }
    }
    asked
}
