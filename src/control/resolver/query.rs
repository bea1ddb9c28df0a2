//! Asks the servers one question, until one of them has an answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::message::{LARGEST_DATAGRAM, Question, Reply};
use super::resolv_conf::ResolvConf;
use crate::base::error::error_text;
use crate::base::random::random;

/// Asks for the SRV records of a name, as it is. `first` says which server is asked first, where they take turns. No
/// further one is asked when `is_over` says so.
///
/// # Errors
///
/// One line that says why there is no answer.
pub fn ask(conf: &ResolvConf, name: &str, first: usize, is_over: &dyn Fn() -> bool) -> Result<Reply, String> {
    let first = if conf.rotate { first % conf.servers.len() } else { 0 };
    let (late, early) = conf.servers.split_at(first);
    let mut failure = None;
    for _ in 0..conf.attempts {
        for &server in early.iter().chain(late) {
            if is_over() {
                return Err("there is no time left".to_string());
            }
            match ask_server(conf, server, name)? {
                Ok(reply) => return Ok(reply),
                Err(reason) => failure = Some(format!("DNS server {server}: {reason}")),
            }
        }
    }
    Err(failure.unwrap_or_else(|| "there is no DNS server".to_string()))
}

/// Asks one server, in as many ways as it needs. The outer error says what no server can do anything about.
fn ask_server(conf: &ResolvConf, server: SocketAddr, name: &str) -> Result<Result<Reply, String>, String> {
    let (mut with_size, mut over_tcp) = (true, conf.over_tcp);
    loop {
        // Each time with another number and from another port: nobody who cannot see the question can answer it.
        let id = random().map(u16::from_ne_bytes).map_err(|error| error_text(&error))?;
        let question = Question::new(name, id)?;
        let bytes = question.to_bytes(with_size)?;
        let deadline = Instant::now() + conf.timeout;
        let exchange = if over_tcp { by_stream } else { by_datagrams };
        match exchange(server, &question, &bytes, deadline) {
            Ok(Reply::NotUnderstood) if with_size => with_size = false,
            Ok(Reply::NotUnderstood) => return Ok(Err("it does not understand the question".to_string())),
            Ok(Reply::Truncated) if !over_tcp => over_tcp = true,
            Ok(Reply::Truncated) => return Ok(Err("the answer is cut off".to_string())),
            Ok(Reply::Failed(reason)) => return Ok(Err(reason)),
            Ok(reply) => return Ok(Ok(reply)),
            Err(error) if is_timeout(&error) => return Ok(Err(format!("no answer within {:?}", conf.timeout))),
            Err(error) => return Ok(Err(error_text(&error))),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The time until then; an error if there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn by_datagrams(server: SocketAddr, question: &Question, bytes: &[u8], deadline: Instant) -> io::Result<Reply> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // From now on the system lets nothing in that comes from elsewhere, and tells when nobody is there.
    socket.connect(server)?;
    socket.send(bytes)?;
    let mut answer = [0; LARGEST_DATAGRAM as usize];
    loop {
        socket.set_read_timeout(Some(left(deadline)?))?;
        let length = match socket.recv(&mut answer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            received => received?,
        };
        if let Some(reply) = question.reply(&answer[..length]) {
            return Ok(reply);
        }
    }
}

fn by_stream(server: SocketAddr, question: &Question, bytes: &[u8], deadline: Instant) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
    let length = u16::try_from(bytes.len()).map_err(|_| io::Error::other("the question is too long"))?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    loop {
        let mut length = [0; 2];
        read(&mut stream, &mut length, deadline)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        read(&mut stream, &mut answer, deadline)?;
        if let Some(reply) = question.reply(&answer) {
            return Ok(reply);
        }
    }
}

/// Fills `bytes` until then, however slowly they come.
fn read(stream: &mut TcpStream, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(bytes) {
            Ok(0) => return Err(io::Error::other("the answer is cut off")),
            Ok(length) => bytes = &mut bytes[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
