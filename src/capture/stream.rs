//! One captured session: which packets its bytes become.
//!
//! They are those of the client's connection, as somebody would see it who listens between the client and the proxy: a
//! handshake, segments with running numbers, which the other end acknowledges, and at the end what ended it.

use std::net::SocketAddr;

use super::packets::{self, MOST_SEGMENT, Segment, Way};
use super::pcapng::{Batch, Payload};
use crate::endpoint::SideName;
use crate::inspect::Direction;

/// After so many bytes of one direction the other end acknowledges them with a packet of its own, if it sends nothing.
const ACKNOWLEDGED_AFTER: u32 = 256 << 10;

/// Said of the first packet that is not whole.
const LIMIT_REACHED: &str = "cproxy: what follows in this session is not captured (capture-bytes)";

/// A session as its packets show it.
#[derive(Debug)]
pub struct Stream {
    /// The client, and the listener.
    ends: [SocketAddr; 2],
    kind: Kind,
    /// Who it joins, in words.
    description: String,
    /// What is to be said of the next packet.
    remark: String,
    /// The number of the file that has been told of it.
    told: u64,
    /// How many more of its bytes may be captured; `None`: all.
    left: Option<u64>,
}

/// Which packets a session has.
#[derive(Debug)]
enum Kind {
    /// Segments of these halves: what the client sends, and what the listener's end does.
    Tcp([Half; 2]),
    /// UDP packets.
    Udp,
}

/// What one end has sent.
#[derive(Debug, Clone, Copy)]
struct Half {
    /// The number of its next byte.
    next: u32,
    /// Up to where the other end has acknowledged it.
    acknowledged: u32,
    /// Whether it has said that no more will come.
    has_finished: bool,
}

/// When a packet is written, and where to.
#[derive(Debug)]
pub struct Place<'a> {
    /// The time, in microseconds since 1970.
    pub at: u64,
    /// The number of the file.
    pub file: u64,
    /// What is written next.
    pub batch: &'a mut Batch,
    /// Room for headers.
    pub headers: &'a mut Vec<u8>,
}

impl Stream {
    /// A session between these ends that has sent nothing; of all that it will send, at most `left` bytes are captured.
    pub fn new(
        number: u64,
        ends: [SocketAddr; 2],
        has_datagrams: bool,
        description: String,
        left: Option<u64>,
    ) -> Stream {
        // Numbers begin elsewhere in each session, so that one on a port that was used before is seen to be another.
        let first = |salt: u64| (number.wrapping_add(salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        let half = |salt| Half { next: first(salt), acknowledged: first(salt), has_finished: false };
        let kind = if has_datagrams { Kind::Udp } else { Kind::Tcp([half(1), half(2)]) };
        Stream { ends, kind, description, remark: String::new(), told: u64::MAX, left }
    }

    /// The handshake, if there is one.
    pub fn open(&mut self, place: &mut Place<'_>) {
        if let Kind::Udp = self.kind {
            return;
        }
        self.send(place, Direction::Upstream, Segment { syn: true, ..Segment::default() }, None);
        self.send(place, Direction::Downstream, Segment { syn: true, ..Segment::default() }, None);
        self.send(place, Direction::Upstream, Segment::default(), None);
    }

    /// Bytes of a stream went this way, which are the block with this number; before them, so many were lost.
    pub fn bytes(&mut self, place: &mut Place<'_>, direction: Direction, block: usize, length: usize, lost: u64) {
        if lost > 0 {
            self.lose(direction, lost, "bytes");
        }
        let length = self.take(length);
        let mut start = 0;
        while start < length {
            let end = length.min(start + MOST_SEGMENT);
            let segment = Segment { psh: end == length, ..Segment::default() };
            self.send(place, direction, segment, Some(Payload { block, range: start..end }));
            self.acknowledge_much(place, direction);
            start = end;
        }
    }

    /// A datagram went this way, which is the block with this number; before it, so many were lost.
    pub fn datagram(&mut self, place: &mut Place<'_>, direction: Direction, block: usize, length: usize, lost: u64) {
        if lost > 0 {
            self.lose(direction, lost, "datagrams");
        }
        let way = self.way(direction);
        let taken = self.take(length).min(packets::most_datagram(way));
        if taken == 0 && length > 0 {
            return;
        }
        if taken < length {
            self.remark(&format!("cproxy: of this datagram, {taken} of {length} bytes are captured"));
        }
        let payload = Payload { block, range: 0..taken };
        packets::udp(way, place.batch.payload(&payload), place.headers);
        self.write(place, &payload);
    }

    /// No more will come this way.
    pub fn end(&mut self, place: &mut Place<'_>, direction: Direction, lost: u64) {
        if lost > 0 {
            self.lose(direction, lost, "bytes");
        }
        let Kind::Tcp(halves) = &mut self.kind else { return };
        let half = &mut halves[direction as usize];
        if !std::mem::replace(&mut half.has_finished, true) {
            self.send(place, direction, Segment { fin: true, ..Segment::default() }, None);
            self.send(place, opposite(direction), Segment::default(), None);
        }
    }

    /// The session is over: both directions had come to their end, or it was reset, by this side if by one of the two.
    pub fn close(&mut self, place: &mut Place<'_>, is_whole: bool, by: Option<SideName>) {
        if let Kind::Udp = self.kind {
            return;
        }
        if is_whole {
            Direction::BOTH.into_iter().for_each(|direction| self.end(place, direction, 0));
            return;
        }
        let direction = if by == Some(SideName::Client) { Direction::Upstream } else { Direction::Downstream };
        self.send(place, direction, Segment { rst: true, ..Segment::default() }, None);
    }

    /// How many of so many bytes are captured.
    fn take(&mut self, length: usize) -> usize {
        let Some(left) = &mut self.left else { return length };
        let taken = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
        let before = std::mem::replace(left, *left - taken as u64);
        if before > 0 && *left == 0 {
            self.remark(LIMIT_REACHED);
        }
        taken
    }

    /// The other end acknowledges what it has not for long.
    fn acknowledge_much(&mut self, place: &mut Place<'_>, direction: Direction) {
        let Kind::Tcp(halves) = &self.kind else { return };
        let Half { next, acknowledged, .. } = halves[direction as usize];
        if next.wrapping_sub(acknowledged) >= ACKNOWLEDGED_AFTER {
            self.send(place, opposite(direction), Segment::default(), None);
        }
    }

    /// What was lost has its numbers, so that those who follow the stream see that it is missing.
    fn lose(&mut self, direction: Direction, lost: u64, what: &str) {
        self.remark(&format!(
            "cproxy: before this, {lost} {what} are missing: they came faster than they could be written"
        ));
        if let Kind::Tcp(halves) = &mut self.kind {
            let half = &mut halves[direction as usize];
            half.next = half.next.wrapping_add(lost as u32);
        }
    }

    fn way(&self, direction: Direction) -> Way {
        let [client, listener] = self.ends;
        match direction {
            Direction::Upstream => Way { from: client, to: listener },
            Direction::Downstream => Way { from: listener, to: client },
        }
    }

    /// Sends a segment, with the numbers that are due and an acknowledgement of all that came before it.
    fn send(&mut self, place: &mut Place<'_>, direction: Direction, segment: Segment, payload: Option<Payload>) {
        let (way, payload) = (self.way(direction), payload.unwrap_or(Payload { block: 0, range: 0..0 }));
        let Kind::Tcp(halves) = &mut self.kind else { return };
        let is_first = segment.syn && direction == Direction::Upstream;
        let other = &mut halves[opposite(direction) as usize];
        if !is_first {
            other.acknowledged = other.next;
        }
        let acknowledged = (!is_first).then_some(other.next);
        let half = &mut halves[direction as usize];
        let segment = Segment { sequence: half.next, acknowledged, ..segment };
        half.next = half.next.wrapping_add(payload.range.len() as u32 + u32::from(segment.syn || segment.fin));
        packets::tcp(way, segment, place.batch.payload(&payload), place.headers);
        self.write(place, &payload);
    }

    /// Writes a packet with the headers that were made. The first one of a file says whose it is.
    fn write(&mut self, place: &mut Place<'_>, payload: &Payload) {
        if self.told != place.file {
            self.told = place.file;
            let description = self.description.clone();
            self.remark(&description);
        }
        place.batch.packet(place.at, place.headers, payload, &self.remark);
        self.remark.clear();
    }

    fn remark(&mut self, text: &str) {
        if !self.remark.is_empty() {
            self.remark.push('\n');
        }
        self.remark.push_str(text);
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Upstream => Direction::Downstream,
        Direction::Downstream => Direction::Upstream,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TcpHeader, TransportSlice};

    /// A stream, and what was written of it.
    struct Bench {
        stream: Stream,
        batch: Batch,
        at: u64,
    }

    /// A packet as it is read again.
    struct Packet {
        from: u16,
        tcp: Option<TcpHeader>,
        payload: Vec<u8>,
        comment: String,
    }

    impl Bench {
        fn new(has_datagrams: bool, left: Option<u64>) -> Bench {
            let ends = ["10.0.0.1:1000", "10.0.0.2:80"].map(|end| end.parse().unwrap());
            let stream = Stream::new(7, ends, has_datagrams, "a to b".to_string(), left);
            Bench { stream, batch: Batch::default(), at: 0 }
        }

        fn run(&mut self, act: impl FnOnce(&mut Stream, &mut Place<'_>)) {
            self.at += 1;
            let mut place = Place { at: self.at, file: 0, batch: &mut self.batch, headers: &mut Vec::new() };
            act(&mut self.stream, &mut place);
        }

        fn bytes(&mut self, direction: Direction, bytes: &[u8], lost: u64) {
            let block = self.batch.add_block(bytes.to_vec());
            self.run(|stream, place| stream.bytes(place, direction, block, bytes.len(), lost));
        }

        fn packets(&self) -> Vec<Packet> {
            let all: Vec<u8> = self.batch.slices().iter().flat_map(|slice| slice.to_vec()).collect();
            let mut rest = all.as_slice();
            let mut packets = Vec::new();
            while !rest.is_empty() {
                let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
                let (length, captured) = (word(4), word(20));
                let sliced = SlicedPacket::from_ip(&rest[28..28 + captured]).unwrap();
                let options = &rest[28 + captured.next_multiple_of(4)..length - 4];
                let comment = match options {
                    [1, 0, low, high, text @ ..] => {
                        String::from_utf8(text[..usize::from(u16::from_le_bytes([*low, *high]))].to_vec()).unwrap()
                    }
                    _ => String::new(),
                };
                packets.push(match sliced.transport.unwrap() {
                    TransportSlice::Tcp(tcp) => Packet {
                        from: tcp.source_port(),
                        payload: tcp.payload().to_vec(),
                        tcp: Some(tcp.to_header()),
                        comment,
                    },
                    TransportSlice::Udp(udp) => {
                        Packet { from: udp.source_port(), payload: udp.payload().to_vec(), tcp: None, comment }
                    }
                    other => panic!("{other:?}"),
                });
                rest = &rest[length..];
            }
            packets
        }
    }

    /// Follows the packets of a connection as its ends would: what each received, and how many bytes are missing.
    fn follow(packets: &[Packet]) -> ([Vec<u8>; 2], u64) {
        let mut next: [Option<u32>; 2] = [None; 2];
        let (mut received, mut missing) = ([Vec::new(), Vec::new()], 0);
        for packet in packets {
            let side = usize::from(packet.from == 80);
            let tcp = packet.tcp.as_ref().unwrap();
            if let Some(next) = next[side] {
                missing += u64::from(tcp.sequence_number.wrapping_sub(next));
            }
            if tcp.ack {
                assert_eq!(Some(tcp.acknowledgment_number), next[1 - side], "acknowledges what was sent");
            }
            let length = packet.payload.len() as u32 + u32::from(tcp.syn || tcp.fin);
            next[side] = Some(tcp.sequence_number.wrapping_add(length));
            received[side].extend_from_slice(&packet.payload);
        }
        (received, missing)
    }

    #[test]
    fn bytes_become_segments_that_can_be_followed() {
        let mut bench = Bench::new(false, None);
        let large: Vec<u8> = (0..700_000_u32).map(|n| (n / 3) as u8).collect();
        bench.run(|stream, place| stream.open(place));
        bench.bytes(Direction::Upstream, b"hello", 0);
        bench.bytes(Direction::Downstream, &large, 0);
        bench.run(|stream, place| stream.end(place, Direction::Upstream, 0));
        bench.bytes(Direction::Downstream, b"late", 0);
        bench.run(|stream, place| stream.end(place, Direction::Downstream, 0));
        bench.run(|stream, place| stream.close(place, true, None));
        let packets = bench.packets();
        assert_eq!(follow(&packets), ([b"hello".to_vec(), [&large[..], b"late"].concat()], 0));
        assert_eq!(packets[0].comment, "a to b");
        assert!(packets[1..].iter().all(|packet| packet.comment.is_empty()));
        let flags = |wanted: fn(&TcpHeader) -> bool| {
            packets.iter().filter(|packet| wanted(packet.tcp.as_ref().unwrap())).count()
        };
        assert_eq!((flags(|tcp| tcp.syn), flags(|tcp| tcp.fin), flags(|tcp| tcp.rst)), (2, 2, 0));
        // No window is ever full, as what was sent is acknowledged soon.
        let pure = packets.iter().filter(|packet| packet.from == 1000 && packet.payload.is_empty()).count();
        assert!(pure >= 700_000 / (ACKNOWLEDGED_AFTER as usize + MOST_SEGMENT), "{pure}");
    }

    #[test]
    fn a_reset_comes_from_whoever_broke_it() {
        for (by, port) in [(Some(SideName::Client), 1000), (Some(SideName::Remote), 80), (None, 80)] {
            let mut bench = Bench::new(false, None);
            bench.run(|stream, place| stream.open(place));
            bench.bytes(Direction::Upstream, b"x", 0);
            bench.run(|stream, place| stream.close(place, false, by));
            let packets = bench.packets();
            let last = packets.last().unwrap();
            assert!(last.tcp.as_ref().unwrap().rst);
            assert_eq!(last.from, port);
            follow(&packets);
        }
    }

    #[test]
    fn what_was_lost_is_missing_and_said() {
        let mut bench = Bench::new(false, None);
        bench.run(|stream, place| stream.open(place));
        bench.bytes(Direction::Upstream, b"a", 0);
        bench.bytes(Direction::Upstream, b"b", 1234);
        bench.run(|stream, place| stream.end(place, Direction::Upstream, 66));
        let packets = bench.packets();
        assert_eq!(follow(&packets), ([b"ab".to_vec(), Vec::new()], 1300));
        assert!(
            packets.iter().any(|packet| packet.payload == b"b" && packet.comment.contains("1234 bytes are missing"))
        );
    }

    #[test]
    fn a_limit_leaves_no_gap() {
        let mut bench = Bench::new(false, Some(5));
        bench.run(|stream, place| stream.open(place));
        bench.bytes(Direction::Upstream, b"abc", 0);
        bench.bytes(Direction::Downstream, b"defg", 0);
        bench.bytes(Direction::Upstream, b"hij", 0);
        bench.run(|stream, place| stream.close(place, true, None));
        let packets = bench.packets();
        assert_eq!(follow(&packets), ([b"abc".to_vec(), b"de".to_vec()], 0));
        let remarks: Vec<&[u8]> =
            packets.iter().filter(|packet| packet.comment == LIMIT_REACHED).map(|packet| &packet.payload[..]).collect();
        assert_eq!(remarks, [b"de"]);
    }

    #[test]
    fn datagrams_are_packets_each() {
        let mut bench = Bench::new(true, None);
        bench.run(|stream, place| stream.open(place));
        for (bytes, direction) in
            [(vec![1; 3], Direction::Upstream), (vec![], Direction::Downstream), (vec![2; 70_000], Direction::Upstream)]
        {
            let block = bench.batch.add_block(bytes.clone());
            bench.run(|stream, place| stream.datagram(place, direction, block, bytes.len(), 0));
        }
        bench.run(|stream, place| stream.end(place, Direction::Upstream, 0));
        bench.run(|stream, place| stream.close(place, true, None));
        let packets = bench.packets();
        let seen: Vec<(u16, usize)> = packets.iter().map(|packet| (packet.from, packet.payload.len())).collect();
        assert_eq!(seen, [(1000, 3), (80, 0), (1000, 65_507)]);
        assert_eq!(packets[0].comment, "a to b");
        assert_eq!(packets[2].comment, "cproxy: of this datagram, 65507 of 70000 bytes are captured");
    }
}
