//! The near end of a stripe, spoken by hand and without a key.

use std::io::ErrorKind;

use crate::support::{Address, End, Stream};

/// A lane.
pub struct Hand(pub Stream);

/// How a lane without a key begins.
pub const OPENING: &[u8] = b"CPST\x01\x00\x00\x00";

impl Hand {
    /// A lane of this number of the session of this id, which may be made.
    pub fn open(address: &Address, id: u8, lane: u8) -> Hand {
        Hand::join(address, id, lane << 1 | 1)
    }

    /// A lane with these flags in its JOIN.
    pub fn join(address: &Address, id: u8, flags: u8) -> Hand {
        let mut stream = Stream::connect(address).expect("a proxy that listens");
        stream.send(OPENING);
        let answer = stream.receive(24);
        assert_eq!(&answer[..8], OPENING);
        stream.send([&[7, flags][..], &[id; 16], &answer[8..]].concat());
        Hand(stream)
    }

    /// One that has joined.
    pub fn opened(address: &Address, id: u8, lane: u8) -> Hand {
        let mut hand = Hand::open(address, id, lane);
        assert_eq!(hand.0.receive(29)[0], 3);
        hand
    }

    pub fn data(&mut self, offset: u64, payload: &[u8]) {
        self.0.send(data(offset, payload));
    }

    pub fn end(&mut self, offset: u64) {
        self.0.send(number(2, offset));
    }

    /// The next frame of this type, whole. What comes before it is passed over.
    pub fn next_of(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let mut frame = self.0.receive(1);
            let length = match frame[0] {
                1 => {
                    frame.extend(self.0.receive(2));
                    8 + usize::from(u16::from_be_bytes([frame[1], frame[2]]))
                }
                2 | 4 | 5 => 8,
                3 => 28,
                6 => 1,
                other => panic!("a frame of type {other}"),
            };
            frame.extend(self.0.receive(length));
            if frame[0] == kind {
                return frame;
            }
        }
    }

    /// Whether the peer ends the lane, having said whatever it likes, last a CLOSE of this code if one is asked for.
    pub fn must_end(mut self, code: Option<u8>) {
        let said = match self.0.rest() {
            (said, End::Eof) => said,
            (_, End::Reset) => return assert_eq!(code, None),
        };
        if let Some(code) = code {
            assert!(said.ends_with(&[6, code]), "{said:?}");
        }
    }

    /// Sends this again and again until so much was sent or the lane has ended. Reads nothing meanwhile.
    pub fn flood(&mut self, bytes: &[u8], total: usize) {
        self.0.socket.set_nonblocking(true).expect("a socket");
        let (mut sent, mut refused) = (0, 0);
        while sent < total && refused < 200 {
            match self.0.socket.send(&bytes[sent % bytes.len()..]) {
                Ok(count) => (sent, refused) = (sent + count, 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    refused += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(_) => break,
            }
        }
        self.0.socket.set_nonblocking(false).expect("a socket");
    }
}

/// A DATA frame.
pub fn data(offset: u64, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short payload");
    [&[1][..], &length.to_be_bytes(), &offset.to_be_bytes(), payload].concat()
}

/// A frame of this type whose body is a number.
pub fn number(kind: u8, number: u64) -> Vec<u8> {
    [&[kind][..], &number.to_be_bytes()].concat()
}

/// An ACK frame.
pub fn ack(cumulative: u64, window_end: u64, on_this_lane: u64) -> Vec<u8> {
    let numbers = [cumulative, window_end, on_this_lane].map(u64::to_be_bytes).concat();
    [&[3][..], &numbers, &[0; 4]].concat()
}
