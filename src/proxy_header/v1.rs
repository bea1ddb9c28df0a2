//! Version 1: one line of text.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Addresses, End, LEAST, Malformed, Parsed, ProxyHeader, Transport, alike, behind};

/// The longest line, in bytes, with its end.
pub(super) const MOST: usize = 107;

/// What a header of this version begins with.
pub(super) const FIRST: u8 = PROXY[0];

const PROXY: &[u8] = b"PROXY ";
const UNKNOWN: &[u8] = b"UNKNOWN";
const LINE_END: &[u8] = b"\r\n";

/// What stands in a line with addresses depends on their family.
struct Family {
    name: &'static [u8],
    /// How long an address is, in bytes, at least and at most.
    least: usize,
    most: usize,
    may_have: fn(u8) -> bool,
    parse: fn(&str) -> Option<IpAddr>,
}

static FAMILIES: [Family; 2] = [
    Family {
        name: b"TCP4 ",
        least: "0.0.0.0".len(),
        most: "255.255.255.255".len(),
        may_have: |byte| byte.is_ascii_digit() || byte == b'.',
        parse: |text| Ipv4Addr::from_str(text).ok().map(IpAddr::V4),
    },
    Family {
        name: b"TCP6 ",
        least: "::".len(),
        most: "0000:0000:0000:0000:0000:ffff:255.255.255.255".len(),
        may_have: |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.',
        parse: |text| Ipv6Addr::from_str(text).ok().map(IpAddr::V6),
    },
];

/// As [`super::parse`], of bytes that begin with an octet of this version.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let parsed = parse_line(bytes)?;
    let least = match parsed {
        Parsed::Incomplete { at_least } => bytes.len() + at_least,
        Parsed::Complete { length, .. } => length,
    };
    if least > MOST { Err(Malformed::LineTooLong) } else { Ok(parsed) }
}

fn parse_line(bytes: &[u8]) -> Result<Parsed, Malformed> {
    // What is behind the longest line is not looked at, however much it is; one byte more shows that it is too long.
    let bytes = &bytes[..bytes.len().min(MOST + 1)];
    let Some(protocol) = behind(bytes, PROXY)? else {
        return Ok(Parsed::Incomplete { at_least: LEAST - bytes.len() });
    };
    let mut shortest = None;
    for family in &FAMILIES {
        match behind(protocol, family.name) {
            Ok(Some(rest)) => return addresses(bytes, rest, family),
            Ok(None) => shortest = Some(PROXY.len() + family.name.len() + Field::rest(family, 0)),
            Err(_) => {}
        }
    }
    match behind(protocol, UNKNOWN) {
        Ok(Some(rest)) => unknown(bytes, rest),
        // Both families begin like this, and the second one has the shorter lines.
        Err(_) => shortest.map(|shortest| incomplete(shortest - bytes.len())).ok_or(Malformed::Protocol),
        Ok(None) => Ok(incomplete(LEAST - bytes.len())),
    }
}

fn incomplete(at_least: usize) -> Parsed {
    Parsed::Incomplete { at_least }
}

/// A line that does not say the addresses; what it says is ignored.
fn unknown(bytes: &[u8], rest: &[u8]) -> Result<Parsed, Malformed> {
    let complete = |behind: usize| Parsed::Complete {
        header: ProxyHeader::new(Addresses::Unknown),
        length: bytes.len() - rest.len() + behind,
    };
    match rest {
        [] => Ok(incomplete(LINE_END.len())),
        [b' ', ..] => Ok(match rest.windows(LINE_END.len()).position(|two| two == LINE_END) {
            Some(at) => complete(at + LINE_END.len()),
            None => incomplete(if rest.ends_with(b"\r") { 1 } else { LINE_END.len() }),
        }),
        [b'\r'] => Ok(incomplete(1)),
        [b'\r', b'\n', ..] => Ok(complete(LINE_END.len())),
        [b'\r', ..] => Err(Malformed::LineEnd),
        _ => Err(Malformed::Protocol),
    }
}

/// The fields of a line, in their order: which they are, and what ends them.
const FIELDS: [Field; 4] = [
    Field { kind: Kind::Address, end: End::Source, ended_by: b' ' },
    Field { kind: Kind::Address, end: End::Destination, ended_by: b' ' },
    Field { kind: Kind::Port, end: End::Source, ended_by: b' ' },
    Field { kind: Kind::Port, end: End::Destination, ended_by: b'\r' },
];

struct Field {
    kind: Kind,
    end: End,
    ended_by: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Address,
    Port,
}

impl Field {
    /// How many bytes a line has at least from this field on.
    fn rest(family: &Family, field: usize) -> usize {
        FIELDS[field..].iter().map(|field| field.least(family) + 1).sum::<usize>() + 1
    }

    fn least(&self, family: &Family) -> usize {
        if self.kind == Kind::Address { family.least } else { "0".len() }
    }

    /// How many bytes of `rest` it has, if what ends it is among them.
    fn length(&self, rest: &[u8], family: &Family) -> Result<Option<usize>, Malformed> {
        let (most, may_have): (usize, fn(u8) -> bool) = match self.kind {
            Kind::Address => (family.most, family.may_have),
            Kind::Port => ("65535".len(), |byte| byte.is_ascii_digit()),
        };
        let length = rest.iter().take_while(|&&byte| may_have(byte)).count();
        match rest.get(length) {
            _ if length > most => Err(self.malformed()),
            None => Ok(None),
            Some(&byte) if byte == self.ended_by => Ok(Some(length)),
            Some(_) => Err(self.malformed()),
        }
    }

    fn malformed(&self) -> Malformed {
        match self.kind {
            Kind::Address => Malformed::Address(self.end),
            Kind::Port => Malformed::Port(self.end),
        }
    }
}

/// A line that says the addresses.
fn addresses(bytes: &[u8], mut rest: &[u8], family: &Family) -> Result<Parsed, Malformed> {
    let mut ips = [IpAddr::V4(Ipv4Addr::UNSPECIFIED); 2];
    let mut ports = [0; 2];
    for (n, field) in FIELDS.iter().enumerate() {
        let Some(length) = field.length(rest, family)? else {
            let has = rest.len().min(field.least(family));
            return Ok(incomplete(Field::rest(family, n) - has));
        };
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| field.malformed())?;
        match field.kind {
            Kind::Address => ips[field.end as usize] = (family.parse)(text).ok_or(field.malformed())?,
            Kind::Port => ports[field.end as usize] = port(text).ok_or(field.malformed())?,
        }
        rest = &rest[length + 1..];
    }
    let [source, destination] = [0, 1].map(|end| SocketAddr::new(ips[end], ports[end]));
    match rest {
        [] => Ok(incomplete(1)),
        [b'\n', rest @ ..] => Ok(Parsed::Complete {
            header: ProxyHeader::new(Addresses::Ip { source, destination, transport: Transport::Stream }),
            length: bytes.len() - rest.len(),
        }),
        _ => Err(Malformed::LineEnd),
    }
}

/// A number without zeros before it.
fn port(digits: &str) -> Option<u16> {
    if digits.len() > 1 && digits.starts_with('0') { None } else { digits.parse().ok() }
}

/// Adds the line.
pub(super) fn write(addresses: &Addresses, into: &mut Vec<u8>) {
    into.extend_from_slice(PROXY);
    match *addresses {
        Addresses::Ip { source, destination, transport: Transport::Stream } => {
            let (source, destination) = alike(source, destination);
            let family = &FAMILIES[usize::from(source.is_ipv6())];
            into.extend_from_slice(family.name);
            let (from, to) = (source.port(), destination.port());
            // Writing to memory does not fail.
            let _ = write!(into, "{} {} {from} {to}", source.ip(), destination.ip());
        }
        _ => into.extend_from_slice(UNKNOWN),
    }
    into.extend_from_slice(LINE_END);
}
