//! How a lane begins: who speaks which version, who has the key, and which session the lane belongs to.

use std::fmt;
use std::io;

use super::channel::{Channel, RECORD_OVERHEAD};
use super::frame::{Frame, Join, Violation};
use super::key::StripeKey;
use super::noise::{self, Ephemeral, FIRST_MESSAGE, Failure, Initiator, LaneKeys, SECOND_MESSAGE};
use super::{SessionId, VERSION};

/// What each end begins with.
const MAGIC: [u8; 4] = *b"CPST";

/// The length of what each end begins with, in bytes.
const HEAD: usize = 8;

const PLAIN: u8 = 0;
const KEYED: u8 = 1;

const CHALLENGE: usize = 16;

/// The length of a JOIN, in bytes.
const JOIN: usize = 34;

/// The codes of refusals.
const OTHER_VERSION: u8 = 1;
const UNKNOWN_FEATURE: u8 = 2;
const KEY_REQUIRED: u8 = 3;
const NO_KEY: u8 = 4;
const WRONG_KEY: u8 = 5;
const TOO_MANY: u8 = 6;

/// The first bytes of an end of this version: of the one that dials with its mode, of the other one with a code.
const fn head(mode_or_code: u8) -> [u8; HEAD] {
    let [a, b, c, d] = MAGIC;
    [a, b, c, d, VERSION, mode_or_code, 0, 0]
}

/// Why a lane does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The peer does not begin as the dialer of a lane does.
    NoOpening,
    /// The peer speaks this other version.
    OtherVersion(u8),
    /// The peer requires features that are not known here.
    UnknownFeature(u16),
    /// The peer asks for a mode that is not known here.
    UnknownMode(u8),
    /// The peer has no key, and there is one here.
    KeyRequired,
    /// The peer has a key, and there is none here.
    NoKeyHere,
    /// The peer has another key.
    WrongKey,
    /// So many lanes are waiting that no other one is taken. Nothing here says so: it is for who counts them.
    TooManyLanes,
    /// The dialer of the lane knew the key, but it is not this one that goes on: an old opening was played again, or
    /// what followed was altered.
    NotAuthentic,
    /// What should be a JOIN is something else.
    NoJoin,
    /// The JOIN is one for another lane.
    WrongChallenge,
    /// The JOIN breaks the rules.
    BadJoin(Violation),
    /// The system has no random numbers.
    NoRandom,
    /// The peer does not answer as the acceptor of a lane does.
    NoAnswer,
    /// The peer refuses with this code.
    Refused(u8),
    /// The peer does not know the key, or its answer was altered.
    AnswerNotAuthentic,
}

impl Refusal {
    /// What the acceptor of the lane answers before it closes it, if anything.
    pub fn answer(&self) -> Option<[u8; HEAD]> {
        let code = match self {
            Refusal::OtherVersion(_) => OTHER_VERSION,
            Refusal::UnknownFeature(_) | Refusal::UnknownMode(_) => UNKNOWN_FEATURE,
            Refusal::KeyRequired => KEY_REQUIRED,
            Refusal::NoKeyHere => NO_KEY,
            Refusal::WrongKey => WRONG_KEY,
            Refusal::TooManyLanes => TOO_MANY,
            _ => return None,
        };
        Some(head(code))
    }
}

impl Refusal {
    /// Whether the acceptor of the lane had too much to do, so that it can be asked again.
    pub fn is_for_now(&self) -> bool {
        *self == Refusal::Refused(TOO_MANY)
    }
}

impl From<Violation> for Refusal {
    fn from(violation: Violation) -> Refusal {
        Refusal::BadJoin(violation)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoOpening => write!(f, "the peer does not begin as a lane of a stripe does"),
            Refusal::OtherVersion(version) => {
                write!(f, "the peer speaks version {version} of the protocol, and this end version {VERSION}")
            }
            Refusal::UnknownFeature(features) => write!(f, "the peer requires unknown features ({features:#06x})"),
            Refusal::UnknownMode(mode) => write!(f, "the peer asks for the unknown mode {mode}"),
            Refusal::KeyRequired => write!(f, "a key is required here (--stripe-key), and the peer has none"),
            Refusal::NoKeyHere => write!(f, "the peer requires a key, and --stripe-key is not given here"),
            Refusal::WrongKey => write!(f, "the key of the peer is none of --stripe-key"),
            Refusal::TooManyLanes => write!(f, "too many lanes are waiting"),
            Refusal::NotAuthentic => {
                write!(f, "the first record is not authentic: an old opening was played again, or the record altered")
            }
            Refusal::NoJoin => write!(f, "the first frame is not a JOIN"),
            Refusal::WrongChallenge => write!(f, "the JOIN has the challenge of another lane"),
            Refusal::BadJoin(violation) => write!(f, "the first frame is {violation}"),
            Refusal::NoRandom => write!(f, "the system has no random numbers"),
            Refusal::NoAnswer => write!(f, "the peer does not answer as the acceptor of a stripe does"),
            Refusal::Refused(OTHER_VERSION) => write!(f, "the peer does not speak version {VERSION} of the protocol"),
            Refusal::Refused(UNKNOWN_FEATURE) => write!(f, "the peer lacks a feature that this end requires"),
            Refusal::Refused(KEY_REQUIRED) => {
                write!(f, "the peer requires a key, and --stripe-key is not given here")
            }
            Refusal::Refused(NO_KEY) => write!(f, "a key is required here (--stripe-key), and the peer has none"),
            Refusal::Refused(WRONG_KEY) => write!(f, "the peer does not accept the key of --stripe-key"),
            Refusal::Refused(TOO_MANY) => write!(f, "too many lanes are waiting at the peer"),
            Refusal::Refused(code) => write!(f, "the peer refuses with the unknown code {code}"),
            Refusal::AnswerNotAuthentic => {
                write!(f, "the answer is not authentic: the peer does not know the key, or the answer was altered")
            }
        }
    }
}

/// Bytes that are collected until there are as many as wanted.
struct Collected<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Collected<N> {
    const EMPTY: Collected<N> = Collected { bytes: [0; N], length: 0 };

    /// Takes bytes from the front until there are `wanted`, and says whether there are.
    fn take(&mut self, bytes: &mut &[u8], wanted: usize) -> bool {
        let have = usize::from(self.length);
        let (taken, rest) = bytes.split_at(bytes.len().min(wanted - have));
        self.bytes[have..have + taken.len()].copy_from_slice(taken);
        self.length += taken.len() as u8;
        *bytes = rest;
        usize::from(self.length) == wanted
    }

    fn get(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Whether it can still become what an end begins with.
    fn may_be_a_head(&self) -> bool {
        self.get().iter().zip(&MAGIC).all(|(byte, wanted)| byte == wanted)
    }
}

/// A lane that this end has connected.
pub struct Dialing {
    handshake: Option<Initiator>,
    collected: Collected<{ HEAD + SECOND_MESSAGE }>,
}

impl Dialing {
    /// Begins a lane with this key, or with none, and adds to `to_send` what the peer gets first.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn new(key: Option<&StripeKey>, to_send: &mut Vec<u8>) -> io::Result<Dialing> {
        Dialing::with(key, to_send, None)
    }

    fn with(key: Option<&StripeKey>, to_send: &mut Vec<u8>, ephemeral: Ephemeral<'_>) -> io::Result<Dialing> {
        let handshake = match key {
            None => {
                to_send.extend_from_slice(&head(PLAIN));
                None
            }
            Some(key) => {
                let (initiator, message) = Initiator::new(key, &head(KEYED), ephemeral)
                    .map_err(|_| io::Error::other("the system has no random numbers"))?;
                to_send.extend_from_slice(&head(KEYED));
                to_send.extend_from_slice(&message);
                Some(initiator)
            }
        };
        Ok(Dialing { handshake, collected: Collected::EMPTY })
    }

    /// Takes bytes of the peer, and returns how many of them belong to the opening. When that is complete, the JOIN to
    /// this session, as its lane of this number, is added to `to_send`, and the channel is returned; bytes behind are those of frames.
    ///
    /// # Errors
    ///
    /// The lane does not begin. Nothing is to be sent, and the lane is to be closed.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        id: SessionId,
        lane: u8,
        may_be_made: bool,
        to_send: &mut Vec<u8>,
    ) -> Result<(usize, Option<Channel>), Refusal> {
        let mut rest = bytes;
        let has_head = usize::from(self.collected.length) >= HEAD || self.collected.take(&mut rest, HEAD);
        if !self.collected.may_be_a_head() {
            return Err(Refusal::NoAnswer);
        }
        if !has_head {
            return Ok((bytes.len(), None));
        }
        judge_answer(self.collected.get())?;
        let wanted = HEAD + if self.handshake.is_some() { SECOND_MESSAGE } else { CHALLENGE };
        if !self.collected.take(&mut rest, wanted) {
            return Ok((bytes.len(), None));
        }
        let answer = &self.collected.get()[HEAD..];
        let (challenge, mut channel) = match &mut self.handshake {
            None => (answer.try_into().map_err(|_| Refusal::NoAnswer)?, Channel::Plain),
            Some(handshake) => {
                let (challenge, keys) = handshake.finish(answer).map_err(|_| Refusal::AnswerNotAuthentic)?;
                (challenge, Channel::keyed(&keys))
            }
        };
        channel.seal([(Frame::Join(Join { id, lane, may_be_made, challenge }).header(), &[][..])], to_send);
        Ok((bytes.len() - rest.len(), Some(channel)))
    }
}

/// Whether the first bytes of the answer let the lane begin.
fn judge_answer(answer: &[u8]) -> Result<(), Refusal> {
    match *answer {
        [_, _, _, _, version, OTHER_VERSION, ..] if version != VERSION => Err(Refusal::OtherVersion(version)),
        [_, _, _, _, VERSION, 0, 0, 0, ..] => Ok(()),
        [_, _, _, _, VERSION, code, 0, 0, ..] if code != 0 => Err(Refusal::Refused(code)),
        _ => Err(Refusal::NoAnswer),
    }
}

/// A lane that has arrived, and has not yet said to which session it belongs. It has nothing on the heap.
pub struct Arriving {
    challenge: [u8; CHALLENGE],
    /// What the current stage collects.
    collected: Collected<{ JOIN + RECORD_OVERHEAD }>,
    stage: Stage,
}

/// What is awaited.
enum Stage {
    /// The first bytes.
    Head,
    /// The first message of the handshake.
    Message,
    /// A JOIN as it is.
    Join,
    /// A JOIN in a record.
    Record(LaneKeys),
}

/// A lane that belongs to a session.
pub struct Arrived {
    /// How its frames become bytes.
    pub channel: Channel,
    /// The session. The challenge is that of this lane.
    pub join: Join,
}

impl Arriving {
    /// A lane of which nothing has been received, with random bytes of its own.
    pub fn new(challenge: [u8; CHALLENGE]) -> Arriving {
        Arriving { challenge, collected: Collected::EMPTY, stage: Stage::Head }
    }

    /// Takes bytes of the peer, and returns how many of them belong to the opening. What the peer gets is added to
    /// `to_send`. When the opening is complete, the lane is returned; bytes behind are those of frames.
    ///
    /// # Errors
    ///
    /// The lane does not begin. The peer gets [`Refusal::answer`], if there is one, and the lane is to be closed.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        keys: &[StripeKey],
        to_send: &mut Vec<u8>,
    ) -> Result<(usize, Option<Arrived>), Refusal> {
        self.receive_with(bytes, keys, to_send, None)
    }

    fn receive_with(
        &mut self,
        bytes: &[u8],
        keys: &[StripeKey],
        to_send: &mut Vec<u8>,
        ephemeral: Ephemeral<'_>,
    ) -> Result<(usize, Option<Arrived>), Refusal> {
        let mut rest = bytes;
        loop {
            let wanted = match self.stage {
                Stage::Head => HEAD,
                Stage::Message => FIRST_MESSAGE,
                Stage::Join => JOIN,
                Stage::Record(_) => JOIN + RECORD_OVERHEAD,
            };
            let complete = self.collected.take(&mut rest, wanted);
            let collected = self.collected.get();
            match &self.stage {
                Stage::Head if !self.collected.may_be_a_head() => return Err(Refusal::NoOpening),
                // Another length is refused at once: the rest might never come.
                Stage::Record(_) if !may_be_the_first_record(collected) => return Err(Refusal::NoJoin),
                _ => {}
            }
            if !complete {
                return Ok((bytes.len(), None));
            }
            self.stage = match &self.stage {
                Stage::Head if judge_opening(collected, !keys.is_empty())? => Stage::Message,
                Stage::Head => {
                    to_send.extend_from_slice(&head(0));
                    to_send.extend_from_slice(&self.challenge);
                    Stage::Join
                }
                Stage::Message => {
                    let (second, keys) = respond(keys, collected, &self.challenge, ephemeral)?;
                    to_send.extend_from_slice(&head(0));
                    to_send.extend_from_slice(&second);
                    Stage::Record(keys)
                }
                Stage::Join => {
                    let join = self.judge_join(collected)?;
                    return Ok((bytes.len() - rest.len(), Some(Arrived { channel: Channel::Plain, join })));
                }
                Stage::Record(keys) => {
                    let mut channel = Channel::keyed(keys);
                    let mut record = self.collected.bytes;
                    let frames = channel.open(&mut record).map_err(|_| Refusal::NotAuthentic)?;
                    let join = self.judge_join(frames)?;
                    return Ok((bytes.len() - rest.len(), Some(Arrived { channel, join })));
                }
            };
            self.collected = Collected::EMPTY;
        }
    }

    /// The JOIN that these bytes are.
    fn judge_join(&self, bytes: &[u8]) -> Result<Join, Refusal> {
        match Frame::decode(bytes)? {
            Some((Frame::Join(join), _)) if join.challenge == self.challenge => Ok(join),
            Some((Frame::Join(_), _)) => Err(Refusal::WrongChallenge),
            _ => Err(Refusal::NoJoin),
        }
    }
}

/// Whether the peer asks for a handshake; an error if it asks for what is not possible here.
fn judge_opening(opening: &[u8], has_key: bool) -> Result<bool, Refusal> {
    let [_, _, _, _, version, mode, features @ ..] = opening else { return Err(Refusal::NoOpening) };
    let features = features.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte));
    match (*version, *mode) {
        (VERSION, _) if features != 0 => Err(Refusal::UnknownFeature(features)),
        (VERSION, PLAIN) if has_key => Err(Refusal::KeyRequired),
        (VERSION, KEYED) if !has_key => Err(Refusal::NoKeyHere),
        (VERSION, PLAIN | KEYED) => Ok(*mode == KEYED),
        (VERSION, _) => Err(Refusal::UnknownMode(*mode)),
        _ => Err(Refusal::OtherVersion(*version)),
    }
}

/// Answers the first message with the key that it was made with.
fn respond(
    keys: &[StripeKey],
    message: &[u8],
    challenge: &[u8; CHALLENGE],
    ephemeral: Ephemeral<'_>,
) -> Result<([u8; SECOND_MESSAGE], LaneKeys), Refusal> {
    for key in keys {
        match noise::respond(key, &head(KEYED), message, challenge, ephemeral) {
            Err(Failure::NotAuthentic) => {}
            Err(Failure::NoRandom) => return Err(Refusal::NoRandom),
            Ok(answer) => return Ok(answer),
        }
    }
    Err(Refusal::WrongKey)
}

/// Whether a record that begins so can have a JOIN and nothing else, as the first one must.
fn may_be_the_first_record(bytes: &[u8]) -> bool {
    let length = (JOIN + RECORD_OVERHEAD - 2) as u16;
    bytes.iter().zip(&length.to_be_bytes()).all(|(byte, wanted)| byte == wanted)
}

/// Says nothing of keys.
impl fmt::Debug for Dialing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialing")
    }
}

/// Says nothing of keys.
impl fmt::Debug for Arriving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Arriving")
    }
}

#[cfg(test)]
mod example;
#[cfg(test)]
mod tests;
