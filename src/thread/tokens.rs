//! What an event is about, as a poll's token has it.

use mio::Token;

use crate::endpoint::{Lane, SideName};

/// The token of the inbox's waker.
pub const INBOX: Token = Token(usize::MAX);

/// How many listeners, and how many sockets of sources, a thread can have.
const MOST: usize = 1 << 24;

const FIRST_LISTENER: usize = usize::MAX - MOST;
const FIRST_SOURCE: usize = FIRST_LISTENER - MOST;
const FIRST_ARRIVING: usize = FIRST_SOURCE - MOST;

/// A side's token: its session's key, which side, and the number of a lane, from 1, in this many bits.
const LANE_BITS: u32 = 6;
const REMOTE: usize = 1 << LANE_BITS;

/// Where an event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A message came.
    Inbox,
    /// A listener, by its index.
    Listener(usize),
    /// A socket of sources, by its index.
    Source(usize),
    /// A side of a session.
    Side {
        /// The session's key.
        key: usize,
        /// Which of its sides.
        side: SideName,
        /// Which of that side's lanes, where it has any.
        lane: Option<Lane>,
    },
    /// A lane that has not joined a session, by its index.
    Arriving(usize),
}

impl Place {
    /// The token of this place.
    pub fn token(self) -> Token {
        match self {
            Place::Inbox => INBOX,
            Place::Listener(index) => Token(FIRST_LISTENER + index),
            Place::Source(index) => Token(FIRST_SOURCE + index),
            Place::Arriving(index) => Token(FIRST_ARRIVING + index),
            Place::Side { key, side, lane } => {
                let side = if side == SideName::Remote { REMOTE } else { 0 };
                Token((key << (LANE_BITS + 1)) + side + lane.map_or(0, |Lane(number)| usize::from(number) + 1))
            }
        }
    }
}

impl From<Token> for Place {
    fn from(token: Token) -> Place {
        match token {
            INBOX => Place::Inbox,
            Token(listener) if listener >= FIRST_LISTENER => Place::Listener(listener - FIRST_LISTENER),
            Token(source) if source >= FIRST_SOURCE => Place::Source(source - FIRST_SOURCE),
            Token(arriving) if arriving >= FIRST_ARRIVING => Place::Arriving(arriving - FIRST_ARRIVING),
            Token(token) => Place::Side {
                key: token >> (LANE_BITS + 1),
                side: if token & REMOTE == 0 { SideName::Client } else { SideName::Remote },
                lane: (token % REMOTE).checked_sub(1).map(|number| Lane(number as u8)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_a_place() {
        let lanes = [None, Some(Lane(0)), Some(Lane(Lane::MOST - 1))];
        let sides = |key| {
            [SideName::Client, SideName::Remote]
                .into_iter()
                .flat_map(move |side| lanes.map(|lane| Place::Side { key, side, lane }))
        };
        let many = |place: fn(usize) -> Place| [0, MOST - 1].map(place);
        let others = [many(Place::Listener), many(Place::Source), many(Place::Arriving)].concat();
        for place in [0, 1, 77].into_iter().flat_map(sides).chain(others).chain([Place::Inbox]) {
            assert_eq!(Place::from(place.token()), place);
        }
    }
}
