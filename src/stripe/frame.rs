//! Frames: what the two ends of a stripe say to each other on its lanes.

use std::fmt;

use super::{MAX_PAYLOAD, MOST_LANES, SessionId};

/// The longest frame without a payload, in bytes, which is a JOIN.
pub const MOST_HEADER: usize = 34;

const DATA: u8 = 1;
const END: u8 = 2;
const ACK: u8 = 3;
const PING: u8 = 4;
const PONG: u8 = 5;
const CLOSE: u8 = 6;
const JOIN: u8 = 7;

/// The flag of a JOIN by which the session may be made; the next five bits are the number of the lane.
const MAY_BE_MADE: u8 = 1;

/// What a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Bytes of the stream.
    Data {
        /// Where in the stream they begin.
        offset: u64,
        /// The bytes: 1 to [`MAX_PAYLOAD`].
        payload: &'a [u8],
    },
    /// The stream ends here.
    End {
        /// How long the stream is, in bytes.
        offset: u64,
    },
    /// What has arrived.
    Ack(Ack),
    /// Asks for a PONG with the same token.
    Ping(u64),
    /// Answers a PING.
    Pong(u64),
    /// The session is over.
    Close(CloseCode),
    /// The lane belongs to this session.
    Join(Join),
}

/// What has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ack {
    /// All before this offset, and the end if it is one more than the length of the stream.
    pub cumulative: u64,
    /// Where the window ends: no byte at or beyond this offset may be sent.
    pub window_end: u64,
    /// Bytes of the stream that came on this lane, duplicates too; an end counts as one.
    pub on_this_lane: u64,
    /// Microseconds since the last of these came.
    pub delay: u32,
}

/// How a lane joins a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Which session.
    pub id: SessionId,
    /// Which of its lanes, from 0 to 31: it takes the place of one of the same number.
    pub lane: u8,
    /// Whether it may be made, if there is none of this id.
    pub may_be_made: bool,
    /// What the acceptor of the lane sent to show that this is no old lane played again.
    pub challenge: [u8; 16],
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// Both directions have ended, and all has arrived.
    Finished,
    /// What the peer joined the stripe to was reset, or the peer ended the session.
    Reset,
    /// The peer knows no such session.
    UnknownSession,
    /// What was received breaks the rules.
    Violation,
}

const CODES: [(CloseCode, u8, &str); 4] = [
    (CloseCode::Finished, 0, "finished"),
    (CloseCode::Reset, 1, "reset"),
    (CloseCode::UnknownSession, 2, "unknown session"),
    (CloseCode::Violation, 3, "protocol violation"),
];

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        CODES.iter().filter(|(code, ..)| code == self).try_for_each(|(.., name)| f.write_str(name))
    }
}

/// How the peer broke the rules, for one line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation(pub &'static str);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` begin with, and its length in bytes; `None` if they do not hold all of it.
    ///
    /// # Errors
    ///
    /// They do not begin with a frame.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Violation> {
        let Some((&kind, body)) = bytes.split_first() else { return Ok(None) };
        let length = match kind {
            DATA => match body.first_chunk() {
                None => return Ok(None),
                Some(&length) => DATA_HEADER - 1 + length_of_data(length)?,
            },
            kind => header_length(kind).ok_or(Violation("a frame of an unknown type"))? - 1,
        };
        let Some(mut body) = body.get(..length) else { return Ok(None) };
        let frame = match kind {
            DATA => {
                body = &body[2..];
                Frame::Data { offset: number(&mut body), payload: body }
            }
            END => Frame::End { offset: number(&mut body) },
            ACK => Frame::Ack(Ack {
                cumulative: number(&mut body),
                window_end: number(&mut body),
                on_this_lane: number(&mut body),
                delay: u32::from_be_bytes(taken(&mut body)),
            }),
            PING => Frame::Ping(number(&mut body)),
            PONG => Frame::Pong(number(&mut body)),
            CLOSE => {
                let known = CODES.iter().find(|(_, code, _)| *code == body[0]);
                Frame::Close(known.ok_or(Violation("a CLOSE frame with an unknown code"))?.0)
            }
            _ => {
                let [flags] = taken(&mut body);
                let lane = flags >> 1;
                if usize::from(lane) >= MOST_LANES {
                    return Err(Violation("a JOIN frame with an unknown flag"));
                }
                let (id, challenge) = (SessionId(taken(&mut body)), taken(&mut body));
                Frame::Join(Join { id, lane, may_be_made: flags & MAY_BE_MADE != 0, challenge })
            }
        };
        match frame {
            Frame::Data { offset, payload } => end_of(offset, payload.len() as u64)?,
            Frame::End { offset } => end_of(offset, 0)?,
            _ => 0,
        };
        Ok(Some((frame, 1 + length)))
    }

    /// How many bytes more make `bytes`, which a frame begins with, the whole of it, or of its header if it is DATA. At
    /// least one.
    pub fn header_left(bytes: &[u8]) -> usize {
        let length = bytes.first().map_or(DATA_HEADER, |&kind| header_length(kind).unwrap_or(1));
        length.saturating_sub(bytes.len()).max(1)
    }

    /// Of the DATA frame that `bytes` begin with: where its payload belongs in the stream, and how long that is. `None`: it
    /// is another frame, or they are shorter than its header.
    ///
    /// # Errors
    ///
    /// As of [`Frame::decode`].
    pub fn decode_data_header(bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
        let Some(&[DATA, high, low, ref offset @ ..]) = bytes.first_chunk::<DATA_HEADER>() else { return Ok(None) };
        let length = length_of_data([high, low])?;
        let offset = u64::from_be_bytes(*offset);
        end_of(offset, length as u64)?;
        Ok(Some((offset, length)))
    }

    /// The frame as the lane carries it; of DATA, what comes before the payload.
    pub fn header(&self) -> Header {
        let mut header = Header::default();
        match *self {
            Frame::Data { offset, payload } => return Header::of_data(offset, payload.len()),
            Frame::End { offset } => header.add(&[END]).add(&offset.to_be_bytes()),
            Frame::Ack(Ack { cumulative, window_end, on_this_lane, delay }) => {
                header.add(&[ACK]).add(&cumulative.to_be_bytes()).add(&window_end.to_be_bytes());
                header.add(&on_this_lane.to_be_bytes()).add(&delay.to_be_bytes())
            }
            Frame::Ping(token) => header.add(&[PING]).add(&token.to_be_bytes()),
            Frame::Pong(token) => header.add(&[PONG]).add(&token.to_be_bytes()),
            Frame::Close(code) => {
                let number = CODES.iter().find(|(known, ..)| *known == code).map_or(0, |(_, number, _)| *number);
                header.add(&[CLOSE, number])
            }
            Frame::Join(Join { id, lane, may_be_made, challenge }) => {
                header.add(&[JOIN, (lane << 1) | if may_be_made { MAY_BE_MADE } else { 0 }]).add(&id.0).add(&challenge)
            }
        };
        header
    }
}

/// The length of a DATA frame without its payload.
pub const DATA_HEADER: usize = 11;

/// No stream is longer, so that no sum of offsets is too large.
pub const MOST_OFFSET: u64 = u64::MAX >> 1;

/// A frame without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; MOST_HEADER],
    length: u8,
}

impl Default for Header {
    fn default() -> Header {
        Header { bytes: [0; MOST_HEADER], length: 0 }
    }
}

impl Header {
    /// That of a DATA frame with so many bytes, 1 to [`MAX_PAYLOAD`].
    pub fn of_data(offset: u64, length: usize) -> Header {
        let mut header = Header::default();
        header.add(&[DATA]).add(&(length as u16).to_be_bytes()).add(&offset.to_be_bytes());
        header
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn add(&mut self, bytes: &[u8]) -> &mut Header {
        let start = usize::from(self.length);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len() as u8;
        self
    }
}

/// The length of a frame of this type, of DATA without its payload.
fn header_length(kind: u8) -> Option<usize> {
    match kind {
        DATA => Some(DATA_HEADER),
        END | PING | PONG => Some(9),
        ACK => Some(29),
        CLOSE => Some(2),
        JOIN => Some(MOST_HEADER),
        _ => None,
    }
}

fn length_of_data(length: [u8; 2]) -> Result<usize, Violation> {
    match usize::from(u16::from_be_bytes(length)) {
        0 => Err(Violation("a DATA frame without bytes")),
        length if length > MAX_PAYLOAD => Err(Violation("a DATA frame that is too long")),
        length => Ok(length),
    }
}

fn end_of(offset: u64, bytes: u64) -> Result<u64, Violation> {
    let end = offset.checked_add(bytes).filter(|&end| end <= MOST_OFFSET);
    end.ok_or(Violation("an offset that is too large"))
}

/// Takes so many bytes, which are there, from the front.
fn taken<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk() {
        Some((first, rest)) => {
            *bytes = rest;
            *first
        }
        None => [0; N],
    }
}

fn number(bytes: &mut &[u8]) -> u64 {
    u64::from_be_bytes(taken(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Vec<Frame<'static>> {
        let id = SessionId(*b"0123456789abcdef");
        let challenge = *b"ghijklmnopqrstuv";
        let mut frames = vec![
            Frame::Data { offset: 0, payload: b"a" },
            Frame::Data { offset: (4 << 30) + 1, payload: &[7; MAX_PAYLOAD] },
            Frame::End { offset: MOST_OFFSET },
            Frame::Ack(Ack { cumulative: 1, window_end: u64::MAX, on_this_lane: 3, delay: u32::MAX }),
            Frame::Ping(5),
            Frame::Pong(u64::MAX),
            Frame::Join(Join { id, lane: 0, may_be_made: true, challenge }),
            Frame::Join(Join { id, lane: 31, may_be_made: false, challenge }),
        ];
        frames.extend(CODES.iter().map(|(code, ..)| Frame::Close(*code)));
        frames
    }

    fn encoded(frame: &Frame<'_>) -> Vec<u8> {
        let mut bytes = frame.header().bytes().to_vec();
        if let Frame::Data { payload, .. } = frame {
            bytes.extend_from_slice(payload);
        }
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_written_and_not_before_all_of_it_is_there() {
        for frame in every_kind() {
            let bytes = encoded(&frame);
            let mut longer = bytes.clone();
            longer.extend_from_slice(&[0xff; 40]);
            assert_eq!(Frame::decode(&longer), Ok(Some((frame, bytes.len()))));
            for end in 0..bytes.len() {
                assert_eq!(Frame::decode(&bytes[..end]), Ok(None), "{frame:?} {end}");
            }
        }
    }

    #[test]
    fn the_header_of_data_is_read_before_its_bytes_are_there() {
        let bytes = encoded(&Frame::Data { offset: 1 << 40, payload: &[1; 300] });
        assert_eq!(Frame::decode_data_header(&bytes[..DATA_HEADER]), Ok(Some((1 << 40, 300))));
        assert_eq!(Frame::decode_data_header(&bytes[..DATA_HEADER - 1]), Ok(None));
        assert_eq!(Frame::decode_data_header(Frame::Ack(Ack::default()).header().bytes()), Ok(None));
        assert!(Frame::decode_data_header(&[DATA; 40]).is_ok());
        assert!(Frame::decode_data_header(&[&[DATA, 0, 0], &[0; 8][..]].concat()).is_err());
        assert!(Frame::decode_data_header(&[&[DATA, 0, 2], &[0xff; 8][..]].concat()).is_err());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let complaint = |bytes: &[u8]| Frame::decode(bytes).unwrap_err().0;
        assert_eq!(complaint(&[0]), "a frame of an unknown type");
        assert_eq!(complaint(&[8]), "a frame of an unknown type");
        assert_eq!(complaint(&[DATA, 0, 0]), "a DATA frame without bytes");
        assert_eq!(complaint(&[DATA, 0x80, 1]), "a DATA frame that is too long");
        assert_eq!(complaint(&[CLOSE, 4]), "a CLOSE frame with an unknown code");
        assert_eq!(complaint(&[&[JOIN, 64], &[0; 32][..]].concat()), "a JOIN frame with an unknown flag");
        let last = |offset: u64| encoded(&Frame::Data { offset, payload: b"abc" });
        assert!(Frame::decode(&last(MOST_OFFSET - 3)).is_ok());
        assert_eq!(complaint(&last(MOST_OFFSET - 2)), "an offset that is too large");
        assert_eq!(complaint(&last(u64::MAX)), "an offset that is too large");
        assert_eq!(complaint(&encoded(&Frame::End { offset: MOST_OFFSET + 1 })), "an offset that is too large");
    }
}
