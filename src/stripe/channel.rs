//! What frames are on a lane: as they are, or in records that only the two ends can read.

use ring::aead::{Aad, LessSafeKey};
use std::fmt;

use super::frame::{Header, Violation};
use super::noise::{LaneKeys, TAG, cipher_key, nonce};

/// The most bytes of frames in one record, as the length of a record is a u16.
pub const MAX_RECORD: usize = u16::MAX as usize - TAG;

/// What a record has beside the frames: its length and its tag, in bytes.
pub const RECORD_OVERHEAD: usize = LENGTH + TAG;

/// The length of a record's length, in bytes.
const LENGTH: usize = 2;

/// After so many records, a direction's key is replaced by the next one. These are about 2^32 blocks of AES, so that
/// an onlooker tells what they are from random bytes with a chance of 2^-64 at best. So no lane is ever worn out.
const RECORDS_OF_A_KEY: u64 = 1 << 20;

/// How the frames of a lane become bytes, and back.
pub enum Channel {
    /// Frames are sent as they are.
    Plain,
    /// Frames are sent in records.
    Keyed(Box<Ciphers>),
}

/// The two directions of a lane with a key.
pub struct Ciphers {
    sealing: Direction,
    opening: Direction,
}

struct Direction {
    key: LessSafeKey,
    /// The number of the next record.
    next: u64,
}

impl Channel {
    pub(super) fn keyed(keys: &LaneKeys) -> Channel {
        let direction = |key| Direction { key: cipher_key(key), next: 0 };
        Channel::Keyed(Box::new(Ciphers { sealing: direction(&keys.sealing), opening: direction(&keys.opening) }))
    }

    /// Whether frames are sent as they are, and there are no records.
    pub fn is_plain(&self) -> bool {
        matches!(self, Channel::Plain)
    }

    /// Adds these frames, each a header and a payload (empty but for DATA), to `out` as the lane carries them. Records have
    /// whole frames, and as many as fit.
    pub fn seal<'a>(&mut self, frames: impl IntoIterator<Item = (Header, &'a [u8])>, out: &mut Vec<u8>) {
        let Channel::Keyed(ciphers) = self else {
            for (header, payload) in frames {
                out.extend_from_slice(header.bytes());
                out.extend_from_slice(payload);
            }
            return;
        };
        let mut start = None;
        for (header, payload) in frames {
            let length = header.bytes().len() + payload.len();
            if let Some(begun) = start.filter(|begun| out.len() - begun - LENGTH + length > MAX_RECORD) {
                ciphers.sealing.seal(begun, out);
                start = None;
            }
            if start.is_none() {
                start = Some(out.len());
                out.extend_from_slice(&[0; LENGTH]);
            }
            out.extend_from_slice(header.bytes());
            out.extend_from_slice(payload);
        }
        if let Some(begun) = start {
            ciphers.sealing.seal(begun, out);
        }
    }

    /// The frames in a record, which is whole, as [`whole_record`] has measured it. They take its place.
    ///
    /// # Errors
    ///
    /// The peer did not send this as its next record. The lane is of no more use.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a [u8], Violation> {
        match self {
            Channel::Plain => Ok(record),
            Channel::Keyed(ciphers) => {
                let sealed = record.get_mut(LENGTH..).unwrap_or_default();
                ciphers.opening.open(sealed).ok_or(Violation("a record that is not authentic"))
            }
        }
    }
}

/// The length, with its first two bytes, of the record that these bytes begin with; `None` if they do not hold all of it.
///
/// # Errors
///
/// No record is that short.
pub fn whole_record(bytes: &[u8]) -> Result<Option<usize>, Violation> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(*length));
    if length <= TAG {
        return Err(Violation("a record that is too short"));
    }
    Ok(Some(LENGTH + length).filter(|whole| *whole <= bytes.len()))
}

impl Direction {
    /// Makes a record of what is behind `start`, where room is left for the length.
    fn seal(&mut self, start: usize, out: &mut Vec<u8>) {
        let text = &mut out[start + LENGTH..];
        let length = (text.len() + TAG) as u16;
        let tag = self.key.seal_in_place_separate_tag(nonce(self.next), Aad::empty(), text);
        out.extend_from_slice(tag.expect("a record is shorter than what the cipher takes").as_ref());
        out[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
        self.advance();
    }

    fn open<'a>(&mut self, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let plain = self.key.open_in_place(nonce(self.next), Aad::empty(), sealed).ok()?;
        self.advance();
        Some(plain)
    }

    /// Numbers never come again: to reach the last one of 64 bits takes longer than anybody will wait.
    fn advance(&mut self) {
        self.next += 1;
        if self.next % RECORDS_OF_A_KEY == 0 {
            self.replace_key();
        }
    }

    /// The next key, as Noise makes it (REKEY): what zeros are sealed to with the last of all numbers.
    fn replace_key(&mut self) {
        let mut next = [0; 32];
        let sealed = self.key.seal_in_place_separate_tag(nonce(u64::MAX), Aad::empty(), &mut next);
        let _tag = sealed.expect("32 bytes are not more than what the cipher takes");
        self.key = cipher_key(&next);
    }
}

/// Says nothing of keys.
impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::MAX_PAYLOAD;
    use crate::stripe::frame::Frame;

    const NEAR: LaneKeys = LaneKeys { sealing: [1; 32], opening: [2; 32] };
    const FAR: LaneKeys = LaneKeys { sealing: [2; 32], opening: [1; 32] };

    fn parts<'a>(frame: &Frame<'a>) -> (Header, &'a [u8]) {
        match frame {
            Frame::Data { payload, .. } => (frame.header(), payload),
            _ => (frame.header(), &[]),
        }
    }

    fn sealed(channel: &mut Channel, frames: &[Frame<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        channel.seal(frames.iter().map(parts), &mut bytes);
        bytes
    }

    /// The frames of every record in the bytes, and how many records these were.
    fn opened(channel: &mut Channel, mut bytes: &mut [u8]) -> (Vec<u8>, usize) {
        let (mut frames, mut records) = (Vec::new(), 0);
        while let Some(whole) = whole_record(bytes).unwrap() {
            let (record, rest) = bytes.split_at_mut(whole);
            let text = channel.open(record).unwrap();
            let mut left = text;
            while !left.is_empty() {
                let (_, length) = Frame::decode(left).unwrap().expect("whole frames");
                left = &left[length..];
            }
            frames.extend_from_slice(text);
            (bytes, records) = (rest, records + 1);
        }
        assert!(bytes.is_empty());
        (frames, records)
    }

    #[test]
    fn frames_go_whole_into_few_records() {
        let large = Frame::Data { offset: 1, payload: &[7; MAX_PAYLOAD] };
        let small = Frame::Data { offset: 2, payload: b"abc" };
        // Two of these fill a record to its last byte; one more byte is too much.
        let half = |bytes| Frame::Data { offset: 3, payload: &[8; MAX_PAYLOAD][..bytes] };
        let fits = [half(32_748), half(32_749)];
        let does_not = [half(32_749), half(32_749)];
        let cases: [(&[Frame<'_>], usize); 7] = [
            (&[], 0),
            (&[small], 1),
            (&[small; 100], 1),
            (&[large, small, small], 1),
            (&[large, large, large, small], 3),
            (&fits, 1),
            (&does_not, 2),
        ];
        for (frames, expected) in cases {
            let mut bytes = b"before".to_vec();
            Channel::keyed(&NEAR).seal(frames.iter().map(parts), &mut bytes);
            assert_eq!(bytes[..6], *b"before");
            let (text, records) = opened(&mut Channel::keyed(&FAR), &mut bytes[6..]);
            assert_eq!((&text, records), (&sealed(&mut Channel::Plain, frames), expected));
        }
        let longest = sealed(&mut Channel::keyed(&NEAR), &fits);
        assert_eq!(longest.len(), MAX_RECORD + RECORD_OVERHEAD);
        assert_eq!(longest[..2], [0xff, 0xff]);
    }

    #[test]
    fn a_plain_lane_has_frames_as_they_are() {
        let frames = [Frame::Ping(1), Frame::Data { offset: 2, payload: b"abc" }];
        let mut bytes = sealed(&mut Channel::Plain, &frames);
        assert_eq!(bytes, [frames[0].header().bytes(), frames[1].header().bytes(), b"abc"].concat());
        let copy = bytes.clone();
        assert_eq!(Channel::Plain.open(&mut bytes), Ok(&copy[..]));
    }

    #[test]
    fn a_changed_record_is_refused() {
        let frames = [Frame::Ping(1), Frame::Data { offset: 2, payload: b"abc" }];
        let record = sealed(&mut Channel::keyed(&NEAR), &frames);
        for place in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[place / 8] ^= 1 << (place % 8);
            let whole = match whole_record(&changed) {
                // Too short, or more is awaited.
                Err(_) | Ok(None) => continue,
                Ok(Some(whole)) => whole,
            };
            let refused = Channel::keyed(&FAR).open(&mut changed[..whole]).is_err();
            assert!(refused, "{place}");
        }
        for length in 0..record.len() {
            assert_eq!(whole_record(&record[..length]), Ok(None));
            assert!(Channel::keyed(&FAR).open(&mut record[..length].to_vec()).is_err());
        }
        for short in 0..=16 {
            assert!(whole_record(&[0, short, 1, 2, 3]).is_err());
        }
        assert_eq!(whole_record(&[&[0, 17][..], &[0; 18]].concat()), Ok(Some(19)));
    }

    #[test]
    fn a_record_is_good_once_and_in_its_turn() {
        let mut near = Channel::keyed(&NEAR);
        let (first, second) = (sealed(&mut near, &[Frame::Ping(1)]), sealed(&mut near, &[Frame::Ping(1)]));
        assert_ne!(first, second);
        let refused = |far: &mut Channel, record: &[u8]| far.open(&mut record.to_vec()).is_err();
        assert!(refused(&mut Channel::keyed(&FAR), &second), "before its turn");
        assert!(refused(&mut Channel::keyed(&NEAR), &first), "back to its sender");
        let mut far = Channel::keyed(&FAR);
        assert!(!refused(&mut far, &first));
        assert!(refused(&mut far, &first), "twice");
        assert!(!refused(&mut far, &second));
    }

    /// The key of each direction is replaced as Noise says, at both ends at the same record.
    #[test]
    fn a_key_is_replaced_in_time() {
        let start = RECORDS_OF_A_KEY - 2;
        let (mut near, mut far) = (Channel::keyed(&NEAR), Channel::keyed(&FAR));
        for channel in [&mut near, &mut far] {
            if let Channel::Keyed(ciphers) = channel {
                (ciphers.sealing.next, ciphers.opening.next) = (start, start);
            }
        }
        let expected_key = |number| {
            let mut next = [0; 32];
            let zeros = cipher_key(&NEAR.sealing).seal_in_place_separate_tag(nonce(u64::MAX), Aad::empty(), &mut next);
            let _tag = zeros.unwrap();
            cipher_key(if number < RECORDS_OF_A_KEY { &NEAR.sealing } else { &next })
        };
        for number in start..start + 5 {
            let mut record = sealed(&mut near, &[Frame::Ping(number)]);
            let mut copy = record[2..].to_vec();
            let text = expected_key(number).open_in_place(nonce(number), Aad::empty(), &mut copy).unwrap();
            assert_eq!(text, Frame::Ping(number).header().bytes());
            assert_eq!(far.open(&mut record).unwrap(), Frame::Ping(number).header().bytes());
            let mut back = sealed(&mut far, &[Frame::Pong(number)]);
            assert!(near.open(&mut back).is_ok());
        }
    }
}
