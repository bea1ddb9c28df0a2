//! What comes on a lane, as frames: pieces of any length in, whole frames out, and the bytes of DATA as they come.

use super::lane::LaneEnd;
use crate::stripe::channel::{Channel, whole_record};
use crate::stripe::frame::{DATA_HEADER, Frame, Violation};

/// What a lane remembers of what came, between two reads.
#[derive(Debug, Default)]
pub struct Input {
    /// The beginning of a frame or a record.
    rest: Vec<u8>,
    /// The DATA frame of which more bytes are to come: where they belong in the stream, and how many they are.
    begun: Option<(u64, usize)>,
}

impl Input {
    /// What came before what is read next: it is to be put in front of that.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }

    /// Whether what is read next begins inside the payload of a DATA frame: where in the stream, and how much is left of it.
    pub fn begun(&self) -> Option<(u64, usize)> {
        self.begun
    }

    /// So many bytes of that payload were taken elsewhere.
    pub fn advance(&mut self, bytes: usize) {
        self.begun = self.begun.and_then(|(offset, left)| {
            let left = left.checked_sub(bytes).filter(|&left| left > 0)?;
            Some((offset + bytes as u64, left))
        });
    }

    /// Has this be read next, before anything that comes.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Takes bytes that begin with [`Input::rest`], and gives each frame in them to `take`.
    ///
    /// # Errors
    ///
    /// They are no frames, or `take` says so; or they are no records of the peer's.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        channel: &mut Channel,
        mut take: impl FnMut(Frame<'_>) -> Result<(), Violation>,
    ) -> Result<(), LaneEnd> {
        let left = if channel.is_plain() {
            self.frames(bytes, &mut take)?
        } else {
            let mut start = 0;
            while let Some(length) = whole_record(&bytes[start..]).map_err(LaneEnd::Forged)? {
                let plain = channel.open(&mut bytes[start..start + length]).map_err(LaneEnd::Forged)?;
                whole_frames(plain, &mut take)?;
                start += length;
            }
            &bytes[start..]
        };
        self.rest.clear();
        // As much memory as is needed: there are some of these for each session.
        self.rest.shrink_to(left.len());
        self.rest.reserve_exact(left.len());
        self.rest.extend_from_slice(left);
        Ok(())
    }

    /// Takes frames, and as much as is there of a DATA frame that is not all there. Returns what is left over.
    fn frames<'a>(
        &mut self,
        mut bytes: &'a [u8],
        take: &mut impl FnMut(Frame<'_>) -> Result<(), Violation>,
    ) -> Result<&'a [u8], Violation> {
        loop {
            if let Some((offset, left)) = self.begun {
                let (payload, rest) = bytes.split_at(left.min(bytes.len()));
                if payload.is_empty() {
                    return Ok(bytes);
                }
                take(Frame::Data { offset, payload })?;
                let came = payload.len();
                self.begun = (came < left).then(|| (offset + came as u64, left - came));
                bytes = rest;
            } else if let Some((frame, length)) = Frame::decode(bytes)? {
                take(frame)?;
                bytes = &bytes[length..];
            } else if let Some(begun) = Frame::decode_data_header(bytes)? {
                self.begun = Some(begun);
                bytes = &bytes[DATA_HEADER..];
            } else {
                return Ok(bytes);
            }
        }
    }
}

/// Takes the frames of a record, which holds whole ones.
fn whole_frames(mut bytes: &[u8], take: &mut impl FnMut(Frame<'_>) -> Result<(), Violation>) -> Result<(), Violation> {
    while !bytes.is_empty() {
        let Some((frame, length)) = Frame::decode(bytes)? else {
            return Err(Violation("a record that ends inside a frame"));
        };
        take(frame)?;
        bytes = &bytes[length..];
    }
    Ok(())
}
