//! The headers of packets: IP, and TCP or UDP.

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, TcpHeader, TcpOptionElement, UdpHeader};
use std::net::{IpAddr, SocketAddr};

/// The most payload of a TCP segment: what fits into a packet with all headers, in a round number.
pub const MOST_SEGMENT: usize = 65_000;

/// The most payload of a UDP packet of IPv4.
const MOST_DATAGRAM_V4: usize = 65_507;

/// The most payload of a UDP packet of IPv6.
const MOST_DATAGRAM_V6: usize = 65_527;

/// How many bits windows are shifted by: they are as large as can be, and nobody fills them.
const WINDOW_SCALE: u8 = 14;

/// The time to live, or hop limit, of each packet.
const HOPS: u8 = 64;

/// Who sends a packet, and to whom; both are of the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Who sends it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

/// What a TCP segment says beside its payload.
#[derive(Debug, Clone, Copy, Default)]
pub struct Segment {
    /// Its sequence number.
    pub sequence: u32,
    /// What it acknowledges; `None`: nothing.
    pub acknowledged: Option<u32>,
    /// Whether it begins the stream.
    pub syn: bool,
    /// Whether it ends the stream.
    pub fin: bool,
    /// Whether it breaks the connection.
    pub rst: bool,
    /// Whether it is the last of what was sent at once.
    pub psh: bool,
}

/// The most payload that a UDP packet on this way has.
pub fn most_datagram(way: Way) -> usize {
    if way.from.is_ipv4() { MOST_DATAGRAM_V4 } else { MOST_DATAGRAM_V6 }
}

/// Makes `headers` those of a TCP segment with this payload, which is at most [`MOST_SEGMENT`] long.
pub fn tcp(way: Way, segment: Segment, payload: &[u8], headers: &mut Vec<u8>) {
    let mut tcp = TcpHeader::new(way.from.port(), way.to.port(), segment.sequence, u16::MAX);
    if let Some(acknowledged) = segment.acknowledged {
        (tcp.ack, tcp.acknowledgment_number) = (true, acknowledged);
    }
    (tcp.syn, tcp.fin, tcp.rst, tcp.psh) = (segment.syn, segment.fin, segment.rst, segment.psh);
    if segment.syn {
        let options = [
            TcpOptionElement::MaximumSegmentSize(MOST_SEGMENT as u16),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(WINDOW_SCALE),
        ];
        // They are eight bytes, and there is room for forty.
        let _ = tcp.set_options(&options);
    }
    // What is too long for a packet is no payload of one: the checksum is then of no use either.
    tcp.checksum = match (way.from.ip(), way.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
        (from, to) => tcp.calc_checksum_ipv6_raw(v6(from), v6(to), payload),
    }
    .unwrap_or_default();
    let tcp = tcp.to_bytes();
    ip(way, IpNumber::TCP, tcp.len() + payload.len(), headers);
    headers.extend_from_slice(&tcp);
}

/// Makes `headers` those of a UDP packet with this payload, which is at most [`most_datagram`] long.
pub fn udp(way: Way, payload: &[u8], headers: &mut Vec<u8>) {
    let (source_port, destination_port) = (way.from.port(), way.to.port());
    let length = (payload.len() + UdpHeader::LEN) as u16;
    let mut udp = UdpHeader { source_port, destination_port, length, checksum: 0 };
    udp.checksum = match (way.from.ip(), way.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => udp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload),
        (from, to) => udp.calc_checksum_ipv6_raw(v6(from), v6(to), payload),
    }
    .unwrap_or_default();
    ip(way, IpNumber::UDP, UdpHeader::LEN + payload.len(), headers);
    headers.extend_from_slice(&udp.to_bytes());
}

/// Makes `headers` the header of IP of a packet with so many bytes behind it.
fn ip(way: Way, protocol: IpNumber, length: usize, headers: &mut Vec<u8>) {
    headers.clear();
    match (way.from.ip(), way.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            if let Ok(mut ip) = Ipv4Header::new(length as u16, HOPS, protocol, from.octets(), to.octets()) {
                ip.header_checksum = ip.calc_header_checksum();
                headers.extend_from_slice(&ip.to_bytes());
            }
        }
        (from, to) => {
            let ip = Ipv6Header {
                payload_length: length as u16,
                next_header: protocol,
                hop_limit: HOPS,
                source: v6(from),
                destination: v6(to),
                ..Ipv6Header::default()
            };
            headers.extend_from_slice(&ip.to_bytes());
        }
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn way(from: &str, to: &str) -> Way {
        Way { from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    const WAYS: [(&str, &str); 2] = [("10.1.2.3:40000", "192.0.2.7:443"), ("[2001:db8::1]:40000", "[2001:db8::2]:443")];

    #[test]
    fn segments_say_what_they_are_told_to() {
        for (from, to) in WAYS {
            for size in [0, 1, 1000, MOST_SEGMENT] {
                let way = way(from, to);
                let payload: Vec<u8> = (0..size).map(|n| (n * 7) as u8).collect();
                let segment =
                    Segment { sequence: 5, acknowledged: Some(9), psh: true, fin: true, ..Segment::default() };
                let mut packet = vec![1, 2, 3];
                tcp(way, segment, &payload, &mut packet);
                packet.extend_from_slice(&payload);
                let sliced = SlicedPacket::from_ip(&packet).unwrap();
                let Some(TransportSlice::Tcp(slice)) = &sliced.transport else { panic!("not TCP") };
                let header = slice.to_header();
                assert_eq!((header.source_port, header.destination_port), (way.from.port(), way.to.port()));
                assert_eq!((header.sequence_number, header.acknowledgment_number), (5, 9));
                assert_eq!(
                    (header.syn, header.fin, header.rst, header.psh, header.ack),
                    (false, true, false, true, true)
                );
                assert_eq!(slice.payload(), payload);
                let checksum = match sliced.net.as_ref().unwrap() {
                    NetSlice::Ipv4(ip) => {
                        let ip = ip.header().to_header();
                        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                        header.calc_checksum_ipv4(&ip, &payload)
                    }
                    NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), &payload),
                    other => panic!("{other:?}"),
                };
                assert_eq!(checksum, Ok(header.checksum));
            }
        }
    }

    #[test]
    fn datagrams_of_the_largest_size_fit() {
        for (from, to) in WAYS {
            let way = way(from, to);
            let payload = vec![7; most_datagram(way)];
            let mut packet = Vec::new();
            udp(way, &payload, &mut packet);
            packet.extend_from_slice(&payload);
            let sliced = SlicedPacket::from_ip(&packet).unwrap();
            let Some(TransportSlice::Udp(slice)) = sliced.transport else { panic!("not UDP") };
            assert_eq!(slice.payload(), payload);
        }
    }
}
