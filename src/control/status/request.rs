//! What a client of the status page asks for.

use httparse::{EMPTY_HEADER, Error, Header, Status};
use std::net::IpAddr;

use super::Reach;
use crate::status::page::Sort;

/// How many lines of header a request may have.
const MOST_HEADERS: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// The page, with its sessions in this order.
    Page(Sort),
    /// All that is known, as JSON.
    Json,
    /// Numbers for Prometheus, in the form of OpenMetrics or in its own.
    Metrics { open: bool },
    /// Whether the program takes clients.
    Health,
    /// What the page is made of.
    Script,
    /// See `Script`.
    Style,
    /// See `Script`.
    Icon,
    /// Something that there is not.
    Unknown,
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    /// What is asked for.
    pub(super) target: Target,
    /// Whether only the header of the answer is wanted.
    pub(super) head: bool,
    /// Whether the connection goes on.
    pub(super) keeps: bool,
}

/// Why a request is not answered as it was meant; the connection ends with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no request of HTTP/1, or has a body.
    Bad,
    /// Only `GET` and `HEAD` are known.
    Method,
    /// It is meant for another server than one on this machine.
    Misdirected,
    /// Its header is too long.
    TooLong,
}

impl Request {
    /// Reads a request from the beginning of what a client has sent, and returns how long it is; `None`: it is not whole.
    pub(super) fn parse(bytes: &[u8], reach: Reach) -> Result<Option<(Request, usize)>, Refusal> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(Error::TooManyHeaders) => return Err(Refusal::TooLong),
            Err(_) => return Err(Refusal::Bad),
        };
        let (Some(method), Some(path), Some(version)) = (request.method, request.path, request.version) else {
            return Err(Refusal::Bad);
        };
        let headers = Headers(request.headers);
        let head = match method {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Refusal::Method),
        };
        let has_body = headers.all("content-length").any(|value| value != "0");
        if has_body || headers.all("transfer-encoding").next().is_some() {
            return Err(Refusal::Bad);
        }
        if reach == Reach::Machine && !headers.all("host").all(is_this_machine) {
            return Err(Refusal::Misdirected);
        }
        let keeps = match version {
            0 => headers.has("connection", "keep-alive"),
            _ => !headers.has("connection", "close"),
        };
        Ok(Some((Request { target: target(path, &headers), head, keeps }, length)))
    }
}

/// The target of this path, with what may stand behind it.
fn target(path: &str, headers: &Headers<'_>) -> Target {
    // The form with a host in it (RFC 9112, 3.2.2) is understood by every server.
    let path = match path.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match path {
        "/" => Target::Page(Sort::of_query(query)),
        "/status.json" => Target::Json,
        "/metrics" => Target::Metrics { open: headers.has("accept", "application/openmetrics-text") },
        "/healthz" => Target::Health,
        "/app.js" => Target::Script,
        "/style.css" => Target::Style,
        "/icon.svg" => Target::Icon,
        _ => Target::Unknown,
    }
}

/// Whether a name is one of this machine. A page on the web can have its own name stand for this machine (DNS rebinding), so
/// that a browser here would show it what is meant for nobody else.
fn is_this_machine(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, port),
        None => (host, ""),
    };
    let name = if host.ends_with(']') || !port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { name };
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).to_ascii_lowercase();
    name.is_empty() || name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of all headers of this name.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let headers = self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        // What is no text is none of the values that are looked for.
        headers.map(|header| std::str::from_utf8(header.value).map_or("?", str::trim))
    }

    /// Whether this word is in a list of this name, whatever parameters it has.
    fn has(&self, name: &'static str, word: &str) -> bool {
        let words = self.all(name).flat_map(|value| value.split(','));
        words
            .map(|value| value.split(';').next().unwrap_or_default().trim())
            .any(|value| value.eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::page::SortKey;

    fn request(text: &str) -> Result<Option<Request>, Refusal> {
        Request::parse(text.as_bytes(), Reach::Machine).map(|found| found.map(|(request, _)| request))
    }

    fn target_of(line: &str) -> Target {
        request(&format!("GET {line} HTTP/1.1\r\n\r\n")).unwrap().unwrap().target
    }

    #[test]
    fn a_request_says_what_it_is_for() {
        assert_eq!(target_of("/"), Target::Page(Sort::default()));
        assert_eq!(target_of("/?sort=age"), Target::Page(Sort::usual(SortKey::Age)));
        assert_eq!(target_of("http://localhost/healthz?x"), Target::Health);
        assert_eq!(target_of("http://localhost"), Target::Page(Sort::default()));
        assert_eq!(target_of("/status.json"), Target::Json);
        assert_eq!(target_of("/metrics"), Target::Metrics { open: false });
        for path in ["/x", "/..", "//", "*", "/Metrics"] {
            assert_eq!(target_of(path), Target::Unknown);
        }
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        let text = format!("HEAD /metrics HTTP/1.1\r\naccept: {accept}\r\n\r\n");
        let expected = Request { target: Target::Metrics { open: true }, head: true, keeps: true };
        assert_eq!(request(&text), Ok(Some(expected)));
    }

    #[test]
    fn a_connection_goes_on_as_its_version_says() {
        for (line, keeps) in [
            ("HTTP/1.1\r\n", true),
            ("HTTP/1.1\r\nConnection: close\r\n", false),
            ("HTTP/1.1\r\nConnection: TE, Close\r\n", false),
            ("HTTP/1.0\r\n", false),
            ("HTTP/1.0\r\nconnection: Keep-Alive\r\n", true),
        ] {
            assert_eq!(request(&format!("GET / {line}\r\n")).unwrap().unwrap().keeps, keeps, "{line}");
        }
    }

    #[test]
    fn what_is_no_request_for_this_server_is_refused() {
        assert_eq!(request("GET / HTTP/1.1\r\nHost: a"), Ok(None));
        for (text, refusal) in [
            ("GET / HTTP/2.0\r\n\r\n", Refusal::Bad),
            ("\u{16}\u{3}\u{1}\0", Refusal::Bad),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Refusal::Bad),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::Bad),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Refusal::Method),
            ("DELETE / HTTP/1.1\r\n\r\n", Refusal::Method),
        ] {
            assert_eq!(request(text), Err(refusal), "{text}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(request(&many), Err(Refusal::TooLong));
    }

    #[test]
    fn a_name_that_somebody_else_has_stand_for_this_machine_is_refused() {
        for host in
            ["localhost", "LOCALHOST:8080", "a.localhost:1", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "[::1]", ""]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in
            ["evil.example", "evil.example:80", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example"]
        {
            assert!(!is_this_machine(host), "{host}");
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(Request::parse(text.as_bytes(), Reach::Machine), Err(Refusal::Misdirected));
            for reach in [Reach::Socket, Reach::Network] {
                assert!(Request::parse(text.as_bytes(), reach).is_ok());
            }
        }
    }
}
