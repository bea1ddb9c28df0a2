//! A proxy with a filter of its own: SMTP servers greet with the name that the first argument says, and say nothing of their
//! software. All other arguments are those of cproxy.
//!
//!     cargo run --example smtp_greeting -- mail.example.com -l 0.0.0.0:25 -r 10.0.0.5:25

use cproxy::inspect::{Direction, Filter, Inspection, Inspector, Inspectors, SessionFacts, Then, Verdict};
use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Gives the server's direction of each session a filter.
#[derive(Debug)]
struct Greetings {
    name: String,
}

impl Inspector for Greetings {
    fn inspect(&self, session: &SessionFacts<'_>, direction: Direction) -> Inspection {
        let mut inspection = Inspection::default();
        if direction == Direction::Downstream && !session.has_datagrams {
            inspection.filters.push(Box::new(Greeting { name: self.name.clone(), is_over: false }));
        }
        inspection
    }
}

/// Rewrites the lines of a greeting: `220-` and a text, as often as the server likes, and then `220 ` and a text.
#[derive(Debug)]
struct Greeting {
    name: String,
    is_over: bool,
}

impl Filter for Greeting {
    fn bytes(&mut self, input: &[u8], then: Then, output: &mut Vec<u8>) -> Verdict {
        let mut taken = 0;
        while !self.is_over {
            let Some(length) = input[taken..].iter().position(|&byte| byte == b'\n') else {
                // A line that is not whole is held. One that will never be goes on as it is.
                return Verdict::Taken(if then == Then::More {
                    taken
                } else {
                    pass(&input[taken..], output, input.len())
                });
            };
            let line = &input[taken..taken + length + 1];
            taken += line.len();
            if line.starts_with(b"220 ") {
                output.extend_from_slice(format!("220 {} ESMTP\r\n", self.name).as_bytes());
                self.is_over = true;
            } else if !line.starts_with(b"220-") {
                // It is no greeting, but an error, with which the server ends.
                output.extend_from_slice(line);
                self.is_over = true;
            }
        }
        Verdict::Taken(pass(&input[taken..], output, input.len()))
    }

    fn datagram(&mut self, datagram: &[u8], output: &mut Vec<u8>) -> Verdict {
        Verdict::Taken(pass(datagram, output, datagram.len()))
    }

    /// A server may take its time, and the client waits for a whole line anyway.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// Passes bytes on, after which so many have been taken.
fn pass(bytes: &[u8], output: &mut Vec<u8>, taken: usize) -> usize {
    output.extend_from_slice(bytes);
    taken
}

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let Some(name) = arguments.next().and_then(|name| name.into_string().ok()) else {
        eprintln!("usage: smtp_greeting NAME -l ADDRESS -r ADDRESS ...");
        return ExitCode::FAILURE;
    };
    let mut inspectors = Inspectors::default();
    inspectors.add(Arc::new(Greetings { name }));
    cproxy::run_with(arguments, &inspectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Instant;
    use std::{fs, process, thread};

    #[test]
    fn a_server_greets_with_another_name() {
        let folder = env::temp_dir().join(format!("cproxy-greeting-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let address = |name: &str| format!("unix:{}", folder.join(name).display());
        let server = UnixListener::bind(folder.join("server")).unwrap();
        let arguments = ["-q", "-l", &address("proxy"), "-r", &address("server")].map(OsString::from);
        let mut inspectors = Inspectors::default();
        inspectors.add(Arc::new(Greetings { name: "mail.example.com".into() }));
        // It serves until the process ends.
        thread::spawn(move || cproxy::run_with(arguments, &inspectors));
        let begun = Instant::now();
        let mut client = loop {
            match UnixStream::connect(folder.join("proxy")) {
                Ok(client) => break client,
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let (mut server, _) = server.accept().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        for part in ["220-old.example ESMTP Sendmail 5.5\r", "\n220-no spam\r\n220 rea", "dy\r\n250 220 it is\r\n"] {
            server.write_all(part.as_bytes()).unwrap();
        }
        let expected = "220 mail.example.com ESMTP\r\n250 220 it is\r\n";
        let mut came = vec![0; expected.len()];
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.read_exact(&mut came).unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), expected);
        // What the client says goes on as it is.
        client.write_all(b"220 says the client\r\n").unwrap();
        let mut came = [0; 21];
        server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        server.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"220 says the client\r\n");
    }
}
