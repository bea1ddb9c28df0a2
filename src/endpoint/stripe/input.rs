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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::frame::{Ack, CloseCode};
    use crate::stripe::key::StripeKey;
    use crate::stripe::opening::{Arriving, Dialing};
    use crate::stripe::{MAX_PAYLOAD, SessionId};

    /// What seals, and what opens what that has sealed.
    fn channels(keys: &[StripeKey]) -> (Channel, Channel) {
        let [mut asked, mut answer, mut join] = [const { Vec::new() }; 3];
        let mut dialing = Dialing::new(keys.first(), &mut asked).expect("random numbers");
        let mut arriving = Arriving::new([5; 16]);
        arriving.receive(&asked, keys, &mut answer).expect("an opening");
        let (_, sealing) = dialing.receive(&answer, SessionId([1; 16]), 0, true, &mut join).expect("an answer");
        let (_, arrived) = arriving.receive(&join, keys, &mut Vec::new()).expect("a JOIN");
        (sealing.expect("a lane"), arrived.expect("a lane").channel)
    }

    /// What was taken: bytes of the stream that came one after the other as one piece.
    #[derive(Debug, Default, PartialEq)]
    struct Taken {
        data: Vec<(u64, Vec<u8>)>,
        /// Other frames, behind so many bytes of the stream.
        others: Vec<(usize, String)>,
    }

    impl Taken {
        fn take(&mut self, frame: Frame<'_>) -> Result<(), Violation> {
            let Frame::Data { offset, payload } = frame else {
                let before = self.data.iter().map(|(_, bytes)| bytes.len()).sum();
                self.others.push((before, format!("{frame:?}")));
                return Ok(());
            };
            assert!(!payload.is_empty());
            match self.data.last_mut() {
                Some((start, bytes)) if *start + bytes.len() as u64 == offset => bytes.extend_from_slice(payload),
                _ => self.data.push((offset, payload.to_vec())),
            }
            Ok(())
        }
    }

    fn frames(payloads: &[Vec<u8>]) -> Vec<Frame<'_>> {
        let ack = Ack { cumulative: 1, window_end: 2, on_this_lane: 3, delay: 4 };
        let mut frames = vec![Frame::Ping(1), Frame::Ack(ack)];
        for (number, payload) in payloads.iter().enumerate() {
            frames.push(Frame::Data { offset: 1_000_000 * number as u64, payload });
            frames.push(Frame::Pong(number as u64));
        }
        frames.extend([Frame::End { offset: 7 }, Frame::Close(CloseCode::Finished)]);
        frames
    }

    /// Feeds what `frames` are on a lane in pieces of this size.
    fn fed(frames: &[Frame<'_>], keys: &[StripeKey], size: usize) -> Taken {
        let (mut sealing, mut opening) = channels(keys);
        let mut bytes = Vec::new();
        let payload = |frame: &Frame<'_>| frame.header();
        for frame in frames {
            let data = if let Frame::Data { payload, .. } = frame { payload } else { &[][..] };
            sealing.seal([(payload(frame), data)], &mut bytes);
        }
        let (mut input, mut taken) = (Input::default(), Taken::default());
        for piece in bytes.chunks(size) {
            let mut all = [input.rest(), piece].concat();
            input.feed(&mut all, &mut opening, |frame| taken.take(frame)).expect("frames");
        }
        assert!(input.rest().is_empty());
        taken
    }

    fn expected(frames: &[Frame<'_>]) -> Taken {
        let mut taken = Taken::default();
        frames.iter().for_each(|frame| taken.take(*frame).expect("a frame"));
        taken
    }

    #[test]
    fn pieces_of_every_size_make_the_same_frames() {
        let payloads = [1, 2, 10, 11, 12, 70].map(|length| (0..length).collect::<Vec<u8>>());
        let frames = frames(&payloads);
        for keys in [&[][..], &[StripeKey::new([3; 32])]] {
            for size in 1..700 {
                assert_eq!(fed(&frames, keys, size), expected(&frames), "{size}");
            }
        }
    }

    #[test]
    fn the_longest_frames_come_in_pieces() {
        let payloads = [vec![7; MAX_PAYLOAD], vec![8; MAX_PAYLOAD - 1], vec![9; 1]];
        let frames = frames(&payloads);
        for keys in [&[][..], &[StripeKey::new([3; 32])]] {
            for size in [1000, 4096, MAX_PAYLOAD, MAX_PAYLOAD + DATA_HEADER, 65_536, 1 << 20] {
                assert_eq!(fed(&frames, keys, size), expected(&frames), "{size}");
            }
        }
    }

    /// Bytes of DATA are not kept until the frame is whole.
    #[test]
    fn what_is_there_of_a_frame_is_taken_at_once() {
        let (mut input, mut taken) = (Input::default(), Taken::default());
        let mut bytes = crate::stripe::frame::Header::of_data(5, 1000).bytes().to_vec();
        bytes.extend([1; 10]);
        input.feed(&mut bytes, &mut Channel::Plain, |frame| taken.take(frame)).expect("frames");
        assert_eq!((taken.data, input.rest()), (vec![(5, vec![1; 10])], &[][..]));
    }

    #[test]
    fn a_record_holds_whole_frames() {
        let (mut sealing, mut opening) = channels(&[StripeKey::new([3; 32])]);
        let mut record = Vec::new();
        // A header that promises more than there is.
        sealing.seal([(crate::stripe::frame::Header::of_data(0, 10), &[1; 9][..])], &mut record);
        let result = Input::default().feed(&mut record, &mut opening, |_| Ok(()));
        let inside = Violation("a record that ends inside a frame");
        assert!(matches!(result, Err(LaneEnd::Violation(violation)) if violation == inside), "{result:?}");
        // Nor is one of the peer's that was not sealed by it.
        record[5] ^= 1;
        let result = Input::default().feed(&mut record, &mut opening, |_| Ok(()));
        assert!(matches!(result, Err(LaneEnd::Forged(_))), "{result:?}");
    }
}
