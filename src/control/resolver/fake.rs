//! A DNS server for tests. Its messages are made by hand, so that what reads them is not tested against itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::resolv_conf::ResolvConf;

/// A question that a server got.
#[derive(Debug, Clone)]
pub struct Asked {
    pub id: u16,
    /// The name, with a dot at the end.
    pub name: String,
    /// Who asked.
    pub from: SocketAddr,
    pub over_tcp: bool,
    /// How many bytes an answer may have, if that was said.
    pub size: Option<u16>,
    bytes: Vec<u8>,
}

/// What a record says.
#[derive(Debug, Clone)]
pub enum Data {
    Srv(u16, u16, u16, String),
    Cname(String),
    Ip(IpAddr),
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Says {
    pub code: u8,
    pub is_truncated: bool,
    /// Added to the number of the question.
    pub wrong_by: u16,
    /// Records of the answer: owner, time to live, and what they say.
    pub answer: Vec<(String, u32, Data)>,
    pub additional: Vec<(String, u32, Data)>,
}

impl Asked {
    /// Reads a question.
    pub fn parse(bytes: &[u8], from: SocketAddr, over_tcp: bool) -> Asked {
        let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mut name = String::new();
        let mut at = 12;
        while bytes[at] != 0 {
            let end = at + 1 + usize::from(bytes[at]);
            name += std::str::from_utf8(&bytes[at + 1..end]).unwrap();
            name.push('.');
            at = end;
        }
        assert_eq!((number(2), number(4), number(6), number(8)), (0x0100, 1, 0, 0), "a query with one question");
        assert_eq!((number(at + 1), number(at + 3)), (33, 1), "SRV, IN");
        let end = at + 5;
        let size = (number(10) == 1).then(|| {
            assert_eq!((bytes[end], number(end + 1), bytes.len()), (0, 41, end + 11), "OPT");
            number(end + 3)
        });
        Asked { id: number(0), name, from, over_tcp, size, bytes: bytes[12..end].to_vec() }
    }

    /// The bytes of an answer to it.
    pub fn answer(&self, says: &Says) -> Vec<u8> {
        let id = self.id.wrapping_add(says.wrong_by);
        let flags = 0x8180 | u16::from(says.is_truncated) << 9 | u16::from(says.code);
        let counts = [1, says.answer.len() as u16, 0, says.additional.len() as u16];
        let mut bytes: Vec<u8> = [id, flags].iter().chain(&counts).flat_map(|number| number.to_be_bytes()).collect();
        bytes.extend(&self.bytes);
        for (owner, ttl, data) in says.answer.iter().chain(&says.additional) {
            // The name that was asked for is there already.
            if *owner == self.name {
                bytes.extend([0xc0, 12])
            } else {
                bytes.extend(wire(owner))
            }
            let (kind, data): (u16, Vec<u8>) = match data {
                Data::Srv(priority, weight, port, target) => {
                    let numbers = [priority, weight, port].into_iter().flat_map(|number| number.to_be_bytes());
                    (33, numbers.chain(wire(target)).collect())
                }
                Data::Cname(name) => (5, wire(name)),
                Data::Ip(IpAddr::V4(ip)) => (1, ip.octets().to_vec()),
                Data::Ip(IpAddr::V6(ip)) => (28, ip.octets().to_vec()),
            };
            bytes.extend([kind, 1].iter().flat_map(|number| number.to_be_bytes()));
            bytes.extend(ttl.to_be_bytes());
            bytes.extend((data.len() as u16).to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }
}

/// A name as bytes.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

impl Says {
    /// Nothing but this code.
    pub fn code(code: u8) -> Says {
        Says { code, ..Says::default() }
    }

    /// SRV records: priority, weight, port, host, and perhaps the address of that.
    pub fn services(asked: &Asked, ttl: u32, records: &[(u16, u16, u16, &str, &str)]) -> Says {
        let mut says = Says::default();
        for &(priority, weight, port, host, ip) in records {
            says.answer.push((asked.name.clone(), ttl, Data::Srv(priority, weight, port, host.into())));
            if let Ok(ip) = ip.parse() {
                says.additional.push((host.into(), ttl, Data::Ip(ip)));
            }
        }
        says
    }
}

/// A server at a port of its own, over UDP and TCP, until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// One that answers with the messages that `answers` makes, which may be none.
    pub fn start(mut answers: impl FnMut(&Asked) -> Vec<Vec<u8>> + Send + 'static) -> Server {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let body = move || {
            while !over.load(Relaxed) {
                let mut bytes = [0; 600];
                match udp.recv_from(&mut bytes) {
                    Ok((length, from)) if length > 0 => {
                        for answer in answers(&Asked::parse(&bytes[..length], from, false)) {
                            udp.send_to(&answer, from).unwrap();
                        }
                    }
                    _ => {}
                }
                match tcp.accept() {
                    Ok((mut stream, from)) => {
                        stream.set_nonblocking(false).unwrap();
                        let mut length = [0; 2];
                        stream.read_exact(&mut length).unwrap();
                        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
                        stream.read_exact(&mut bytes).unwrap();
                        for answer in answers(&Asked::parse(&bytes, from, true)) {
                            stream.write_all(&(answer.len() as u16).to_be_bytes()).unwrap();
                            // In two parts, as it may come.
                            let (first, second) = answer.split_at(answer.len() / 2);
                            stream.write_all(first).unwrap();
                            thread::sleep(Duration::from_millis(5));
                            stream.write_all(second).unwrap();
                        }
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        };
        Server { address, is_over, thread: Some(thread::spawn(body)) }
    }

    /// One that gives one answer to each question.
    pub fn saying(mut says: impl FnMut(&Asked) -> Says + Send + 'static) -> Server {
        Server::start(move |asked| vec![asked.answer(&says(asked))])
    }

    /// One that never says anything.
    pub fn silent() -> Server {
        Server::start(|_| Vec::new())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        let thread = self.thread.take().unwrap();
        if thread.join().is_err() && !thread::panicking() {
            panic!("the server got something that it did not understand");
        }
    }
}

/// Two sockets at one port.
fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            udp.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            tcp.set_nonblocking(true).unwrap();
            return (udp, tcp);
        }
    }
    panic!("no port is free for both");
}

/// These servers, each asked once with plenty of time, as a test waits for what comes and not for what does not.
pub fn conf(servers: &[&Server]) -> ResolvConf {
    let servers = servers.iter().map(|server| server.address).collect();
    ResolvConf { servers, attempts: 1, timeout: Duration::from_secs(20), ..ResolvConf::default() }
}
