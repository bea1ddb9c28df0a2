//! What a client of the status page is answered.

use chrono::Utc;
use std::borrow::Cow;
use std::io::Write;

use super::request::Refusal;
use crate::status::page::CONTENT_SECURITY_POLICY;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    status: Code,
    kind: &'static str,
    body: Cow<'static, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    Misdirected,
    HeaderTooLong,
    Unavailable,
}

impl Code {
    fn line(self) -> &'static str {
        match self {
            Code::Ok => "200 OK",
            Code::BadRequest => "400 Bad Request",
            Code::NotFound => "404 Not Found",
            Code::MethodNotAllowed => "405 Method Not Allowed",
            Code::Misdirected => "421 Misdirected Request",
            Code::HeaderTooLong => "431 Request Header Fields Too Large",
            Code::Unavailable => "503 Service Unavailable",
        }
    }
}

const PLAIN: &str = "text/plain; charset=utf-8";

impl Response {
    /// What was asked for, of this kind.
    pub(super) fn of(kind: &'static str, body: impl Into<Cow<'static, str>>) -> Response {
        Response { status: Code::Ok, kind, body: body.into() }
    }

    /// Whether the program takes clients.
    pub(super) fn health(is_draining: bool) -> Response {
        match is_draining {
            false => Response::of(PLAIN, "ok\n"),
            true => Response { status: Code::Unavailable, kind: PLAIN, body: "draining\n".into() },
        }
    }

    /// There is nothing at this path.
    pub(super) fn not_found() -> Response {
        let body = "There is nothing here. There are /, /metrics, /status.json and /healthz.\n";
        Response { status: Code::NotFound, kind: PLAIN, body: body.into() }
    }

    /// Why a request is refused.
    pub(super) fn refusal(refusal: Refusal) -> Response {
        let (status, body) = match refusal {
            Refusal::Bad => (Code::BadRequest, "This is no request that this server understands.\n"),
            Refusal::Method => (Code::MethodNotAllowed, "Everything here can be read only.\n"),
            Refusal::Misdirected => (
                Code::Misdirected,
                "This server is for this machine only: ask it by the name localhost or by its address.\n",
            ),
            Refusal::TooLong => (Code::HeaderTooLong, "The request is too long.\n"),
        };
        Response { status, kind: PLAIN, body: body.into() }
    }

    /// Writes it as it is sent.
    pub(super) fn write(&self, head: bool, keeps: bool, output: &mut Vec<u8>) {
        let Response { status, kind, body } = self;
        let connection = if keeps { "keep-alive" } else { "close" };
        let allow = if *status == Code::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        // Writing to a Vec cannot fail.
        let _ = write!(
            output,
            "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\
             Cache-Control: no-store\r\nContent-Security-Policy: {CONTENT_SECURITY_POLICY}\r\n\
             X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n{allow}\r\n",
            status.line(),
            Utc::now().format("%a, %d %b %Y %H:%M:%S GMT"),
            body.len(),
        );
        if !head {
            output.extend_from_slice(body.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(response: &Response, head: bool, keeps: bool) -> String {
        let mut output = Vec::new();
        response.write(head, keeps, &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_what_becomes_of_the_connection() {
        let response = Response::health(false);
        let whole = text(&response, false, true);
        assert!(whole.starts_with("HTTP/1.1 200 OK\r\nDate: ") && whole.ends_with("\r\n\r\nok\n"), "{whole}");
        assert!(whole.contains("\r\nContent-Length: 3\r\nConnection: keep-alive\r\n"), "{whole}");
        let head = text(&response, true, false);
        assert!(
            head.ends_with("\r\n\r\n") && head.contains("\r\nContent-Length: 3\r\nConnection: close\r\n"),
            "{head}"
        );
        assert!(
            !whole.contains("Allow:") && text(&Response::refusal(Refusal::Method), false, false).contains("Allow: GET")
        );
    }

    #[test]
    fn a_program_that_drains_is_not_healthy() {
        let drains = text(&Response::health(true), false, true);
        assert!(drains.starts_with("HTTP/1.1 503 ") && drains.ends_with("\r\n\r\ndraining\n"), "{drains}");
    }
}
