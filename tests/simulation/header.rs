//! Headers of the PROXY protocol in a schedule: who sends which, and how much of one has been given and taken.

use cproxy::config::access::Clients;
use cproxy::config::proxy::ProxySettings;
use cproxy::proxy_header::{Addresses, ProxyHeader, Tlvs, Transport, Version};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::random::Random;

/// What a service does with headers.
#[derive(Debug, Clone, Copy)]
pub struct ProxyPlan {
    pub send: Option<Version>,
    pub accept: bool,
    /// Clients are believed.
    pub believes: bool,
}

impl ProxyPlan {
    pub fn draw(random: &mut Random) -> ProxyPlan {
        ProxyPlan {
            send: random.once_in(3).then(|| random.pick(&[Version::V1, Version::V2])),
            accept: random.once_in(3),
            believes: !random.once_in(4),
        }
    }

    pub fn settings(self) -> ProxySettings {
        let nobody = || Clients::parse("192.0.2.1", Path::new("/")).expect("an address");
        ProxySettings {
            send: self.send,
            accept: self.accept,
            accept_from: if self.believes { Vec::new() } else { vec![nobody()] },
            ..ProxySettings::default()
        }
    }

    /// What a remote gets before all else, for the client that has this socket and sent this header.
    pub fn onward(self, client: usize, came: Option<&ClientHeader>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(version) = self.send else { return bytes };
        let mut header = ProxyHeader::new(real_addresses(client));
        if let Some(said) = came.filter(|_| self.believes).and_then(|came| came.header.as_ref()) {
            header.tlvs = said.tlvs.clone();
            if !matches!(said.addresses, Addresses::Local | Addresses::Unknown) {
                header.addresses = said.addresses.clone();
            }
        }
        header.write(version, &mut bytes);
        bytes
    }
}

/// Where the client is that has this socket.
pub fn real_addresses(client: usize) -> Addresses {
    let at = |last| SocketAddr::from(([10, 0, 0, last], client as u16));
    Addresses::Ip { source: at(1), destination: at(2), transport: Transport::Stream }
}

/// What a client begins with.
#[derive(Debug, Clone)]
pub struct ClientHeader {
    /// What it sends of it.
    pub bytes: Vec<u8>,
    /// How long the whole header is; `None`: it is none.
    pub length: Option<usize>,
    /// What it says; `None`: it is none, or is not sent wholly.
    pub header: Option<ProxyHeader>,
}

/// What is no header, whatever follows.
const BAD: [&[u8]; 5] = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"PROXY TCP9 ",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd",
];

impl ClientHeader {
    pub fn draw(random: &mut Random) -> ClientHeader {
        if random.once_in(8) {
            return ClientHeader { bytes: random.pick(&BAD).to_vec(), length: None, header: None };
        }
        let version = random.pick(&[Version::V1, Version::V2]);
        let mut header = ProxyHeader::new(draw_addresses(random));
        if version == Version::V2 && random.once_in(2) && header.addresses != Addresses::Local {
            let mut tlv = vec![0xe0, 0, 0];
            tlv.resize(3 + random.size(600) as usize, 7);
            let length = (tlv.len() - 3) as u16;
            tlv[1..3].copy_from_slice(&length.to_be_bytes());
            header.tlvs = Tlvs::new(&tlv).expect("a TLV");
        }
        let mut bytes = Vec::new();
        header.write(version, &mut bytes);
        if version == Version::V1 && matches!(header.addresses, Addresses::Local | Addresses::Unix { .. }) {
            header.addresses = Addresses::Unknown;
        }
        let length = Some(bytes.len());
        if random.once_in(8) {
            bytes.truncate(random.below(bytes.len() as u64) as usize);
            return ClientHeader { bytes, length, header: None };
        }
        ClientHeader { bytes, length, header: Some(header) }
    }
}

fn draw_addresses(random: &mut Random) -> Addresses {
    let port = random.below(1 << 16) as u16;
    let transport = Transport::Stream;
    match random.below(5) {
        0 => Addresses::Unknown,
        1 => Addresses::Local,
        2 => Addresses::Unix { source: Box::default(), destination: b"/run/socket".as_slice().into(), transport },
        3 => {
            let at = |ip: Ipv6Addr| SocketAddr::from((ip, port));
            Addresses::Ip { source: at(Ipv6Addr::LOCALHOST), destination: at(Ipv6Addr::UNSPECIFIED), transport }
        }
        _ => {
            let at = |ip: Ipv4Addr| SocketAddr::from((ip, port));
            Addresses::Ip { source: at(Ipv4Addr::LOCALHOST), destination: at(Ipv4Addr::BROADCAST), transport }
        }
    }
}

/// A header on its way, in front of all else.
#[derive(Debug, Default)]
pub struct Passing {
    pub bytes: Vec<u8>,
    /// How long the whole header is, where it is one.
    pub length: Option<usize>,
    /// How many bytes its sender has sent, and how many of them were read.
    pub given: usize,
    pub taken: usize,
}

impl Passing {
    pub fn of_client(header: Option<&ClientHeader>) -> Passing {
        let Some(header) = header else { return Passing::default() };
        Passing { bytes: header.bytes.clone(), length: header.length, given: 0, taken: 0 }
    }

    pub fn to_remote(bytes: Vec<u8>) -> Passing {
        Passing { length: Some(bytes.len()), bytes, given: 0, taken: 0 }
    }

    /// Bytes that have been sent and not been read.
    pub fn waiting(&self) -> usize {
        self.given - self.taken
    }

    /// Bytes that are still to be sent.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.given
    }

    /// Whether it is whole and was sent wholly.
    pub fn is_given(&self) -> bool {
        self.given == self.length.unwrap_or(if self.bytes.is_empty() { 0 } else { usize::MAX })
    }

    /// Whether it is whole and was read wholly.
    pub fn is_taken(&self) -> bool {
        self.is_given() && self.taken == self.given
    }
}
