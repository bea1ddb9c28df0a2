//! Version 2: binary.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::tlvs::{Tlvs, seal};
use super::{Addresses, Malformed, Parsed, ProxyHeader, Transport, alike, behind};

/// What a header of this version begins with.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How many bytes every header has: the signature, the command, the family and the length.
pub(super) const FIXED: usize = 16;

/// How many bytes are taken behind these.
pub(super) const MOST_BEHIND: usize = 4096;

/// How long the name of a Unix socket is, in bytes.
const UNIX: usize = 108;

const VERSION: u8 = 2;
const LOCAL: u8 = 0;
const PROXY: u8 = 1;

const UNSPECIFIED: u8 = 0;
const STREAM: u8 = 1;
const DATAGRAM: u8 = 2;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Unspecified,
    Inet,
    Inet6,
    Unix,
}

const FAMILIES: [Family; 4] = [Family::Unspecified, Family::Inet, Family::Inet6, Family::Unix];

impl Family {
    /// How many bytes two addresses have, with their ports.
    fn length(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::Inet => 2 * (4 + 2),
            Family::Inet6 => 2 * (16 + 2),
            Family::Unix => 2 * UNIX,
        }
    }
}

/// What the first bytes say of those behind them.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// Nothing of these counts.
    Local,
    /// Addresses of a kind that nobody knows, and perhaps TLVs.
    Unknown(Family),
    /// Addresses, and then TLVs.
    Known(Family, Transport),
}

impl Form {
    /// How many bytes are behind the first ones at least.
    fn least(self) -> usize {
        match self {
            Form::Local | Form::Unknown(_) => 0,
            Form::Known(family, _) => family.length(),
        }
    }
}

/// As [`super::parse`], of bytes that begin with an octet of this version.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let rest = behind(bytes, &SIGNATURE)?.unwrap_or(&[]);
    if let Some(&command) = rest.first() {
        check_command(command)?;
    }
    let Some(&[command, kind, high, low]) = rest.first_chunk() else {
        let known = match *rest {
            [command, kind, ..] => form(command, kind)?.least(),
            _ => 0,
        };
        return Ok(Parsed::Incomplete { at_least: FIXED + known - bytes.len() });
    };
    let form = form(command, kind)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MOST_BEHIND {
        return Err(Malformed::TooLong { length });
    }
    if length < form.least() {
        return Err(Malformed::TooShort { length, addresses: form.least() });
    }
    match bytes.get(..FIXED + length) {
        Some(whole) => Ok(Parsed::Complete { header: read(form, whole)?, length: whole.len() }),
        None => Ok(Parsed::Incomplete { at_least: FIXED + length - bytes.len() }),
    }
}

fn check_command(octet: u8) -> Result<(), Malformed> {
    let (version, command) = (octet >> 4, octet & 0xf);
    match command {
        _ if version != VERSION => Err(Malformed::Version(version)),
        LOCAL | PROXY => Ok(()),
        _ => Err(Malformed::Command(command)),
    }
}

fn form(command: u8, kind: u8) -> Result<Form, Malformed> {
    if command & 0xf == LOCAL {
        return Ok(Form::Local);
    }
    let family = FAMILIES.get(usize::from(kind >> 4)).copied().ok_or(Malformed::Family(kind))?;
    match kind & 0xf {
        UNSPECIFIED => Ok(Form::Unknown(family)),
        STREAM | DATAGRAM if family == Family::Unspecified => Ok(Form::Unknown(family)),
        STREAM => Ok(Form::Known(family, Transport::Stream)),
        DATAGRAM => Ok(Form::Known(family, Transport::Datagram)),
        _ => Err(Malformed::Family(kind)),
    }
}

/// What a whole header says.
fn read(form: Form, whole: &[u8]) -> Result<ProxyHeader, Malformed> {
    match form {
        Form::Local => Ok(ProxyHeader::local()),
        Form::Unknown(family) => {
            let tlvs = match Tlvs::of_header(whole, FIXED + family.length()) {
                // Addresses of another length may stand there, which nobody knows.
                Err(Malformed::Tlv(_) | Malformed::HalfTlv | Malformed::ChecksumForm) => Tlvs::default(),
                tlvs => tlvs?,
            };
            Ok(ProxyHeader { addresses: Addresses::Unknown, tlvs })
        }
        Form::Known(family, transport) => {
            let tlvs = Tlvs::of_header(whole, FIXED + family.length())?;
            Ok(ProxyHeader { addresses: read_addresses(family, transport, &whole[FIXED..]), tlvs })
        }
    }
}

/// The addresses that `bytes` begin with, which are long enough.
fn read_addresses(family: Family, transport: Transport, mut bytes: &[u8]) -> Addresses {
    let bytes = &mut bytes;
    match family {
        Family::Unspecified => Addresses::Unknown,
        Family::Inet => {
            let ips = [Ipv4Addr::from(taken::<4>(bytes)).into(), Ipv4Addr::from(taken::<4>(bytes)).into()];
            read_ports(ips, transport, bytes)
        }
        Family::Inet6 => {
            let ips = [Ipv6Addr::from(taken::<16>(bytes)).into(), Ipv6Addr::from(taken::<16>(bytes)).into()];
            read_ports(ips, transport, bytes)
        }
        Family::Unix => {
            let (source, destination) = (taken::<UNIX>(bytes), taken::<UNIX>(bytes));
            Addresses::Unix { source: name(&source).into(), destination: name(&destination).into(), transport }
        }
    }
}

fn read_ports(ips: [IpAddr; 2], transport: Transport, bytes: &mut &[u8]) -> Addresses {
    let [source, destination] = ips.map(|ip| SocketAddr::new(ip, u16::from_be_bytes(taken(bytes))));
    Addresses::Ip { source, destination, transport }
}

/// The name of a Unix socket, without the zeros that fill it up.
fn name(bytes: &[u8; UNIX]) -> &[u8] {
    let end = match bytes[0] {
        // An abstract name may have zeros in it.
        0 => bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1),
        _ => bytes.iter().position(|&byte| byte == 0).unwrap_or(UNIX),
    };
    &bytes[..end]
}

/// Takes the first bytes off `bytes`; zeros if there are too few, which was found out before.
fn taken<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let Some((&first, rest)) = bytes.split_first_chunk() else { return [0; N] };
    *bytes = rest;
    first
}

/// Adds the header.
pub(super) fn write(header: &ProxyHeader, into: &mut Vec<u8>) {
    let start = into.len();
    let command = if header.addresses == Addresses::Local { LOCAL } else { PROXY };
    into.extend_from_slice(&SIGNATURE);
    into.extend_from_slice(&[VERSION << 4 | command, kind(&header.addresses), 0, 0]);
    write_addresses(&header.addresses, into);
    let tlvs = into.len() - start;
    // Who gets a connection of the proxy's own ignores what else is said of it.
    if command == PROXY {
        into.extend_from_slice(header.tlvs.as_bytes());
    }
    let whole = &mut into[start..];
    // Addresses and TLVs together never have as many bytes as would fit.
    let length = (whole.len() - FIXED) as u16;
    whole[FIXED - 2..FIXED].copy_from_slice(&length.to_be_bytes());
    seal(whole, tlvs);
}

/// The octet of family and transport.
fn kind(addresses: &Addresses) -> u8 {
    let (family, transport) = match *addresses {
        Addresses::Local | Addresses::Unknown => return UNSPECIFIED,
        Addresses::Ip { source, destination, transport } => {
            let (source, _) = alike(source, destination);
            (if source.is_ipv4() { Family::Inet } else { Family::Inet6 }, transport)
        }
        Addresses::Unix { transport, .. } => (Family::Unix, transport),
    };
    let transport = match transport {
        Transport::Stream => STREAM,
        Transport::Datagram => DATAGRAM,
    };
    (family as u8) << 4 | transport
}

fn write_addresses(addresses: &Addresses, into: &mut Vec<u8>) {
    match addresses {
        Addresses::Local | Addresses::Unknown => {}
        Addresses::Ip { source, destination, .. } => {
            let (source, destination) = alike(*source, *destination);
            for ip in [source.ip(), destination.ip()] {
                match ip {
                    IpAddr::V4(ip) => into.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => into.extend_from_slice(&ip.octets()),
                }
            }
            for port in [source.port(), destination.port()] {
                into.extend_from_slice(&port.to_be_bytes());
            }
        }
        Addresses::Unix { source, destination, .. } => {
            for name in [source, destination] {
                let end = into.len() + UNIX;
                into.extend_from_slice(&name[..name.len().min(UNIX)]);
                into.resize(end, 0);
            }
        }
    }
}
