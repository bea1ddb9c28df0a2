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

/// After so many records, a direction's key is replaced by the next one.
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
