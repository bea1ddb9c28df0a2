//! What an event is about, as a poll's token has it.

use mio::Token;

use crate::endpoint::SideName;

/// The token of the inbox's waker.
pub const INBOX: Token = Token(usize::MAX);

/// How many listeners, and how many sockets of sources, a thread can have.
const MOST: usize = 1 << 24;

const FIRST_LISTENER: usize = usize::MAX - MOST;
const FIRST_SOURCE: usize = FIRST_LISTENER - MOST;

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
    },
}

impl Place {
    /// The token of this place.
    pub fn token(self) -> Token {
        match self {
            Place::Inbox => INBOX,
            Place::Listener(index) => Token(FIRST_LISTENER + index),
            Place::Source(index) => Token(FIRST_SOURCE + index),
            Place::Side { key, side: SideName::Client } => Token(2 * key),
            Place::Side { key, side: SideName::Remote } => Token(2 * key + 1),
        }
    }
}

impl From<Token> for Place {
    fn from(token: Token) -> Place {
        match token {
            INBOX => Place::Inbox,
            Token(listener) if listener >= FIRST_LISTENER => Place::Listener(listener - FIRST_LISTENER),
            Token(source) if source >= FIRST_SOURCE => Place::Source(source - FIRST_SOURCE),
            Token(client) if client % 2 == 0 => Place::Side { key: client / 2, side: SideName::Client },
            Token(remote) => Place::Side { key: remote / 2, side: SideName::Remote },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_a_place() {
        let sides = |key| [SideName::Client, SideName::Remote].map(|side| Place::Side { key, side });
        let others =
            [Place::Inbox, Place::Listener(0), Place::Listener(MOST - 1), Place::Source(0), Place::Source(MOST - 1)];
        for place in [0, 1, 77].into_iter().flat_map(sides).chain(others) {
            assert_eq!(Place::from(place.token()), place);
        }
    }
}
