//! Who may come in, as a service asks for it.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::ServiceSettings;
use crate::address::{EndpointAddress, Network, Networks};
use crate::base::error::error_text;
use crate::base::text::Escaped;

/// One rule. Of those of a service, the first that matches a client decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// What becomes of those it matches.
    pub decision: Decision,
    /// Whom it matches.
    pub clients: Clients,
}

/// What becomes of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// They are let in.
    Allow,
    /// They are refused.
    Deny,
}

/// Whom a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Everybody.
    All,
    /// Those of Unix sockets.
    Unix,
    /// Those in a network, and how it was written.
    In(Network, String),
    /// Those in one of the networks of a file.
    Listed(Arc<NetworkFile>),
}

/// A file of networks, as it was when the settings were made.
#[derive(Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// The file, by an absolute path.
    pub path: PathBuf,
    /// What stands in it.
    pub networks: Networks,
}

impl Decision {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        }
    }
}

/// `allow 10.0.0.0/8`
impl fmt::Display for AccessRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.decision.word(), self.clients)
    }
}

/// `10.0.0.0/8`
impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clients::All => f.write_str(ALL),
            Clients::Unix => f.write_str(UNIX),
            Clients::In(_, text) => f.write_str(text),
            Clients::Listed(file) => write!(f, "@{}", file.path.display()),
        }
    }
}

const ALL: &str = "all";
const UNIX: &str = "unix";

impl Clients {
    /// Reads a network, an address, `all`, `unix`, or `@` and the path of a file, which is relative to this folder.
    ///
    /// # Errors
    ///
    /// What is wrong, in words that can follow the text.
    pub fn parse(text: &str, folder: &Path) -> Result<Clients, String> {
        match text {
            ALL => return Ok(Clients::All),
            UNIX => return Ok(Clients::Unix),
            _ => {}
        }
        let Some(path) = text.strip_prefix('@') else {
            let expected = |_| EXPECTED.to_string();
            let network = Network::parse(text);
            let looks_like_one = text.contains(['/', ':']) || text.starts_with(|c: char| c.is_ascii_digit());
            let network = if looks_like_one { network } else { network.map_err(expected) };
            return Ok(Clients::In(network?, text.to_string()));
        };
        if path.is_empty() {
            return Err("the path is empty".to_string());
        }
        // It is kept as it can be printed and read again from anywhere.
        let path = std::path::absolute(folder.join(path)).map_err(|error| error_text(&error))?;
        let networks = read(&path).map_err(|reason| format!("{}: {reason}", path.display()))?;
        Ok(Clients::Listed(Arc::new(NetworkFile { path, networks })))
    }
}

/// What is expected of a text that looks like nothing.
const EXPECTED: &str = "expected an address, a network such as 10.0.0.0/8, all, unix, or @ and the path of a file";

/// Reads a file of networks, one a line.
fn read(path: &Path) -> Result<Networks, String> {
    let failed = |error: io::Error| error_text(&error);
    // A pipe, say, would keep the program waiting when it is opened.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err("not a regular file".to_string());
    }
    let mut lines = Lines { text: BufReader::new(File::open(path).map_err(failed)?), line: Vec::new(), number: 0 };
    let mut wrong = None;
    let networks = std::iter::from_fn(|| match lines.next_network() {
        Ok(network) => network,
        Err(reason) => {
            wrong = Some(reason);
            None
        }
    });
    let networks = networks.collect();
    match wrong {
        Some(reason) => Err(reason),
        None => Ok(networks),
    }
}

/// The most bytes of a line: room for a comment. A file of something else may have one line without end.
const MAX_LINE: usize = 4096;

/// The lines of a file of networks.
struct Lines<R> {
    text: R,
    line: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Lines<R> {
    /// The next network, if there is one. Comments begin with `#`; lines may be empty.
    fn next_network(&mut self) -> Result<Option<Network>, String> {
        loop {
            self.line.clear();
            self.number += 1;
            let line = |reason: &str| format!("line {}: {reason}", self.number);
            let mut part = io::Read::take(&mut self.text, MAX_LINE as u64 + 1);
            if part.read_until(b'\n', &mut self.line).map_err(|error| error_text(&error))? == 0 {
                return Ok(None);
            }
            if self.line.len() > MAX_LINE {
                return Err(line(&format!("longer than {MAX_LINE} bytes")));
            }
            let text = self.line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
            if !text.is_empty() {
                let network = std::str::from_utf8(text).map_err(|_| "this is not valid UTF-8".to_string());
                let network = network.and_then(Network::parse);
                return network.map(Some).map_err(|reason| line(&format!("{}: {reason}", Escaped(text))));
            }
        }
    }
}

/// What is wrong with rules that nobody can meet: somebody believes that they protect something.
pub fn useless_rules(service: &ServiceSettings) -> Option<String> {
    let is_device = |address: &EndpointAddress| matches!(address, EndpointAddress::Device(..));
    let mut listening = service.listening().peekable();
    let useless = !service.access.is_empty() && listening.peek().is_some() && listening.all(is_device);
    useless.then(|| "invalid access: the service listens at devices only, and rules are not about these".to_string())
}

/// What is to be warned of.
pub fn warning(service: &ServiceSettings) -> Option<String> {
    let all = service.access.iter().position(|rule| rule.clients == Clients::All)?;
    let (all, next) = (&service.access[all], service.access.get(all + 1)?);
    let next = next.to_string();
    Some(format!(
        "`{all}` matches every client, so the rules after it, from `{}` on, do nothing",
        Escaped(next.as_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Result<Vec<Network>, String> {
        let mut lines = Lines { text, line: Vec::new(), number: 0 };
        let mut networks = Vec::new();
        while let Some(network) = lines.next_network()? {
            networks.push(network);
        }
        Ok(networks)
    }

    #[test]
    fn a_file_has_a_network_a_line_and_comments() {
        let text = b"# networks\r\n10.0.0.0/8 # ours\r\n\n  \t\n\t::1\n#\n192.0.2.1#x\n# \xff\n2001:db8::/32";
        let expected = ["10.0.0.0/8", "::1", "192.0.2.1", "2001:db8::/32"].map(|text| Network::parse(text).unwrap());
        assert_eq!(lines(text), Ok(expected.to_vec()));
        assert_eq!(lines(b""), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        let expected = "expected an IPv4 or IPv6 address, perhaps with a / and the length of its network behind it";
        for (text, message) in [
            (&b"10.0.0.0/8\n\nx\ny"[..], format!("line 3: x: {expected}")),
            (
                b"10.0.0.0/8 10.1.0.0/8",
                "line 1: 10.0.0.0/8 10.1.0.0/8: expected a whole number from 0 to 32 after the /".into(),
            ),
            (b"all\n", format!("line 1: all: {expected}")),
            (b"#\n\xff\x01\n", "line 2: \\xff\\u{1}: this is not valid UTF-8".to_string()),
            (
                b"::1\n10.1.0.0/8\n",
                "line 2: 10.1.0.0/8: the address has bits after the first 8; its network is 10.0.0.0/8".into(),
            ),
        ] {
            assert_eq!(lines(text), Err(message));
        }
        let long = [&b"::1\n#"[..], &[b'x'; MAX_LINE], b"\n"].concat();
        assert_eq!(lines(&long), Err("line 2: longer than 4096 bytes".to_string()));
        let just = [&b"#"[..], &[b'x'; MAX_LINE - 2], b"\n::1"].concat();
        assert_eq!(lines(&just).map(|networks| networks.len()), Ok(1));
    }
}
