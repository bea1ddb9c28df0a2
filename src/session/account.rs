//! How a session ended, as the access log says it: who ended it, and the two letters that HAProxy has for that.

use super::{End, Ending, NEVER, Session};
use crate::access_log;
use crate::endpoint::{Endpoint, SideName};

impl<E: Endpoint> Session<E> {
    /// What the access log says of an end of this session.
    pub fn account_of(&self, end: End) -> access_log::Ending {
        let word = Ending::from(end).word();
        let cause = self.cause_of(end);
        let side = match cause {
            Cause::None => None,
            Cause::Client => Some("client"),
            Cause::Remote | Cause::NoRemote | Cause::RemoteDown => Some("remote"),
            _ => Some("proxy"),
        };
        access_log::Ending { word, side, state: [cause.letter(), self.stage_of(end, cause)] }
    }

    fn cause_of(&self, end: End) -> Cause {
        let is_connected = self.connected_after != NEVER;
        match end {
            End::EndOfStream | End::ExchangeComplete if is_connected => Cause::None,
            // Its client has gone before there was a remote.
            End::EndOfStream => Cause::Client,
            End::Reset(SideName::Client) | End::Error(SideName::Client) => Cause::Client,
            End::Reset(SideName::Remote) | End::Error(SideName::Remote) => Cause::Remote,
            End::Refused | End::ConnectFailed => Cause::Remote,
            End::ConnectTimeout => Cause::NoRemote,
            End::RemoteDown => Cause::RemoteDown,
            // Whoever does not take what is kept for it is the silent one; otherwise the client, as it began.
            End::IdleTimeout if self.upstream.keeps() => Cause::SilentRemote,
            End::HalfCloseTimeout if self.upstream.has_finished() => Cause::SilentRemote,
            End::IdleTimeout | End::HalfCloseTimeout => Cause::SilentClient,
            End::Drain => Cause::Stopped,
            End::MadeRoom => Cause::NoRoom,
            _ => Cause::Rule,
        }
    }

    /// HAProxy's second letter: how far the session had come.
    fn stage_of(&self, end: End, cause: Cause) -> u8 {
        match end {
            _ if cause == Cause::None => b'-',
            End::BadHeader | End::NotLetIn => b'R',
            _ if self.connected_after != NEVER => b'D',
            _ if self.tries > 0 => b'C',
            _ => b'Q',
        }
    }
}

/// What ended a session, as far as HAProxy's first letter tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Both sides had said everything.
    None,
    /// The client has broken it off.
    Client,
    /// The remote has, or has refused it.
    Remote,
    /// No remote was connected in time.
    NoRemote,
    /// The remote was found to be down.
    RemoteDown,
    /// The client was silent for too long.
    SilentClient,
    /// The remote was.
    SilentRemote,
    /// The proxy was stopped, or its settings were changed.
    Stopped,
    /// There was no more room for it.
    NoRoom,
    /// A rule or a limit of the service.
    Rule,
}

impl Cause {
    fn letter(self) -> u8 {
        match self {
            Cause::None => b'-',
            Cause::Client => b'C',
            Cause::Remote => b'S',
            Cause::NoRemote | Cause::SilentRemote => b's',
            Cause::RemoteDown => b'D',
            Cause::SilentClient => b'c',
            Cause::Stopped => b'K',
            Cause::NoRoom => b'R',
            Cause::Rule => b'P',
        }
    }
}
