//! Asking a process for its status: one HTTP request over TCP or a Unix socket.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::address::{EndpointAddress, Endpoints};
use crate::base::error::error_text;
use crate::base::text::Escaped;
use socket2::{Domain, SockAddr, Socket, Type};

/// How long connecting to one address, and then the answer, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes: many times that of a thousand sessions.
const MOST: u64 = 64 << 20;

/// Where a process tells its status (`--status`).
#[derive(Debug, Clone)]
pub struct Source {
    /// The address as it was written.
    pub name: String,
    addresses: Vec<SockAddr>,
}

impl Source {
    /// Reads an address: `HOST:PORT` or `unix:PATH`, or the URL of the page as the log has it. A name may block on a
    /// look-up.
    ///
    /// # Errors
    ///
    /// What is wrong, in one line.
    pub fn parse(argument: &str) -> Result<Source, String> {
        let address = argument.strip_prefix("http://").map_or(argument, |url| url.split('/').next().unwrap_or(url));
        let refuse = || format!("{}: a status is told at a TCP address or at unix:PATH", Escaped(argument.as_bytes()));
        if address.contains("://") {
            return Err(refuse());
        }
        let endpoints = Endpoints::parse(address).map_err(|error| error.to_string())?;
        let addresses: Result<Vec<_>, String> = endpoints
            .addresses
            .iter()
            .map(|address| match address {
                EndpointAddress::Tcp(address) => Ok(SockAddr::from(*address)),
                EndpointAddress::Unix(address) => address.socket_address().map_err(|error| error_text(&error)),
                _ => Err(refuse()),
            })
            .collect();
        let addresses = addresses?;
        if addresses.is_empty() {
            return Err(refuse());
        }
        Ok(Source { name: Escaped(address.as_bytes()).to_string(), addresses })
    }

    /// Gets `/status.json`.
    ///
    /// # Errors
    ///
    /// What went wrong, in one line that begins with the address.
    pub fn fetch(&self) -> Result<Vec<u8>, String> {
        self.exchange().and_then(|answer| body(&answer)).map_err(|why| format!("{}: {why}", self.name))
    }

    /// The whole answer, with what stands before its text.
    fn exchange(&self) -> Result<Vec<u8>, String> {
        let mut socket = self.connect().map_err(|error| error_text(&error))?;
        let deadline = Instant::now() + PATIENCE;
        // Whatever this machine is called here, it is that to a server of its own.
        let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        let host = if peer.is_none_or(|peer| peer.ip().is_loopback()) { "localhost" } else { &self.name };
        // Of HTTP/1.0, the answer ends with the connection and is in one piece.
        let request = format!("GET /status.json HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
        let mut answer = Vec::new();
        let mut read = || -> io::Result<()> {
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.write_all(request.as_bytes())?;
            let mut part = [0; 1 << 16];
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                socket.set_read_timeout(Some(left))?;
                match socket.read(&mut part) {
                    Ok(0) => return Ok(()),
                    Ok(count) => answer.extend_from_slice(&part[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    Err(error) => return Err(error),
                }
                if answer.len() as u64 > MOST {
                    return Err(io::Error::other("the answer has no end"));
                }
            }
        };
        match read() {
            Ok(()) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(format!("no answer within {} s", PATIENCE.as_secs()))
            }
            Err(error) => Err(error_text(&error)),
        }
    }

    /// A connection to the first of the addresses that takes one, or why the last did not.
    fn connect(&self) -> io::Result<Socket> {
        let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in &self.addresses {
            let domain = if address.is_unix() { Domain::UNIX } else { Domain::for_address(inet(address)?) };
            let socket = Socket::new(domain, Type::STREAM, None)?;
            match socket.connect_timeout(address, PATIENCE) {
                Ok(()) => return Ok(socket),
                Err(error) => result = Err(error),
            }
        }
        result
    }
}

/// An address that is one of the internet.
fn inet(address: &SockAddr) -> io::Result<std::net::SocketAddr> {
    address.as_socket().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The text of an answer of HTTP, if that says that all is well.
fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    const STRANGE: &str = "the answer is not one of a cproxy's status";
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(STRANGE)?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| STRANGE)?;
    let text = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let (version, status) = status.split_once(' ').unwrap_or_default();
    if !version.starts_with("HTTP/1.") {
        return Err(STRANGE.to_string());
    }
    if status.split(' ').next() != Some("200") {
        return Err(format!("answered '{}'", Escaped(status.as_bytes())));
    }
    let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    if length.is_some_and(|length| length > text.len()) {
        return Err("the answer was cut off".to_string());
    }
    Ok(text[..length.unwrap_or(text.len())].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_streams() {
        for (argument, name) in [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://127.0.0.1:9000/", "127.0.0.1:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("unix:/run/cproxy/status", "unix:/run/cproxy/status"),
        ] {
            assert_eq!(Source::parse(argument).unwrap().name, name);
        }
        let https = Source::parse("https://127.0.0.1:1/").unwrap_err();
        assert!(https.ends_with(": a status is told at a TCP address or at unix:PATH"), "{https}");
        for argument in ["udp:127.0.0.1:1", "echo:", "127.0.0.1", "stripe:127.0.0.1:1", "srv:_http._tcp.a.example", ""]
        {
            let error = Source::parse(argument).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn an_answer_is_complete_and_says_that_all_is_well() {
        let text = |answer: &str| body(answer.as_bytes()).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(text("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"), Ok("{}".to_string()));
        assert_eq!(text("HTTP/1.0 200 OK\r\ncontent-LENGTH: 2\r\n\r\n{}"), Ok("{}".to_string()));
        assert_eq!(text("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}"), Err("the answer was cut off".to_string()));
        assert_eq!(text("HTTP/1.1 404 Not Found\r\n\r\n"), Err("answered '404 Not Found'".to_string()));
        for strange in ["", "\r\n\r\n", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\n", "+OK\r\n\r\n"] {
            assert!(text(strange).unwrap_err().contains("not one of a cproxy's status"), "{strange}");
        }
    }
}
