//! How sessions end: for which reason, what the log says, and what the two sides are told.

use log::{info, warn};
use std::fmt;
use std::io;

use super::{Phase, Session, logs_routes};
use crate::base::error::error_text;
use crate::base::text::ShortText;
use crate::buffers::pools::Pools;
use crate::endpoint::{Account, Endpoint, Route, SideName};
use crate::flow::{Broken, Side, Stopped};

/// What ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both flows reached their end and delivered everything.
    EndOfStream,
    /// A side was reset.
    Reset(SideName),
    /// A side failed in another way, named by the system's error in the line before.
    Error(SideName),
    /// Nobody is at the remote's address, as was heard only when something had been sent there.
    Refused,
    /// It was found that the remote does not work, for which its sessions are ended.
    RemoteDown,
    /// The client did not begin with a header of the PROXY protocol, as it has to, or not in time.
    BadHeader,
    /// The service refuses the client that the header names.
    NotLetIn,
    /// No address of the remote could be connected to.
    ConnectFailed,
    /// The last address of the remote did not answer in time.
    ConnectTimeout,
    /// No byte moved for too long.
    IdleTimeout,
    /// The client's datagrams have had the answers that they were to have.
    ExchangeComplete,
    /// It has lived as long as it may.
    SessionTimeout,
    /// One of its flows had ended, and no byte moved in the other for too long.
    HalfCloseTimeout,
    /// The proxy stopped, and the session did not end in the time it was given.
    Drain,
    /// It is not the time for clients any more.
    OutsideTime,
    /// It made room for another client without a connection, having moved nothing for the longest time.
    MadeRoom,
    /// A filter has ended it, for what it saw.
    Rejected,
}

impl End {
    /// The side that broke, if one did.
    pub fn broken_side(self) -> Option<SideName> {
        match self {
            End::Reset(side) | End::Error(side) => Some(side),
            End::Refused => Some(SideName::Remote),
            _ => None,
        }
    }
}

/// What ended sessions, as labels of counters and fields of the access log have it, each of which says a kind of [`End`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ending(u8);

impl Ending {
    /// The words for them, in the order of their numbers.
    const WORDS: [&'static str; 17] = [
        "end_of_stream",
        "reset",
        "error",
        "refused",
        "remote_down",
        "bad_proxy_header",
        "not_let_in",
        "connect_failed",
        "connect_timeout",
        "idle_timeout",
        "exchange_complete",
        "session_timeout",
        "half_close_timeout",
        "drain",
        "outside_time",
        "made_room",
        "rejected",
    ];

    /// How many there are.
    pub const COUNT: usize = Ending::WORDS.len();

    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Ending> {
        (0..Ending::COUNT as u8).map(Ending)
    }

    /// Its number, which is below [`Ending::COUNT`].
    pub fn number(self) -> usize {
        self.0.into()
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        Ending::WORDS[self.number()]
    }
}

impl From<End> for Ending {
    fn from(end: End) -> Ending {
        Ending(match end {
            End::EndOfStream => 0,
            End::Reset(_) => 1,
            End::Error(_) => 2,
            End::Refused => 3,
            End::RemoteDown => 4,
            End::BadHeader => 5,
            End::NotLetIn => 6,
            End::ConnectFailed => 7,
            End::ConnectTimeout => 8,
            End::IdleTimeout => 9,
            End::ExchangeComplete => 10,
            End::SessionTimeout => 11,
            End::HalfCloseTimeout => 12,
            End::Drain => 13,
            End::OutsideTime => 14,
            End::MadeRoom => 15,
            End::Rejected => 16,
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::EndOfStream => f.write_str("end of stream"),
            End::Reset(side) => write!(f, "reset by {side}"),
            End::Error(side) => write!(f, "error on {side}"),
            End::Refused => write!(f, "error on {}", SideName::Remote),
            End::RemoteDown => f.write_str("remote down"),
            End::BadHeader => f.write_str("bad PROXY header"),
            End::NotLetIn => f.write_str("not let in"),
            End::ConnectFailed => f.write_str("connect failed"),
            End::ConnectTimeout => f.write_str("connect timeout"),
            End::IdleTimeout => f.write_str("idle timeout"),
            End::ExchangeComplete => f.write_str("exchange complete"),
            End::SessionTimeout => f.write_str("session timeout"),
            End::HalfCloseTimeout => f.write_str("half-close timeout"),
            End::Drain => f.write_str("drain"),
            End::OutsideTime => f.write_str("outside the allowed times"),
            End::MadeRoom => f.write_str("made room"),
            End::Rejected => f.write_str("rejected"),
        }
    }
}

/// How many datagrams were not delivered, for the end of a log line; nothing if all were.
pub(super) struct Dropped(pub(super) u64);

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(", 1 datagram dropped"),
            count => write!(f, ", {count} datagrams dropped"),
        }
    }
}

impl<E: Endpoint> Session<E> {
    /// Gives back what the flows hold bytes in, with what is still in it: nothing will move any more.
    pub fn release(&mut self, pools: &mut Pools<E::Pipe>) {
        self.upstream.release(pools);
        self.downstream.release(pools);
    }

    /// Ends the session, which must hold nothing any more: logs, and resets both sides unless both flows had ended.
    pub fn close(mut self, end: End) {
        if let Phase::Header { .. } = self.phase {
            // Nobody has heard of the client, and anybody could fill the log with such.
            return cut_off(&mut self.client.endpoint, SideName::Client, end);
        }
        let moved = if logs_routes() { self.moved_text() } else { ShortText::default() };
        let moved = moved.as_str();
        let dropped = Dropped(self.progress().dropped);
        let (client, route) = (&self.client.endpoint, self.client_route());
        info!("disconnect client to proxy {route}: {end}, {moved}{dropped}{}", Account(client));
        cut_off(&mut self.client.endpoint, SideName::Client, end);
        if let Some(Side { endpoint: remote, .. }) = &mut self.remote {
            let route = Route(remote, SideName::Remote);
            info!("disconnect proxy to remote {route}: {end}, {moved}{dropped}{}", Account(remote));
            cut_off(remote, SideName::Remote, end);
        }
    }

    /// How much went each way, for the log.
    fn moved_text(&self) -> ShortText<80> {
        let mut text = ShortText::default();
        text.add("upstream ");
        text.add_number(self.upstream.moved());
        text.add(" bytes, downstream ");
        text.add_number(self.downstream.moved());
        text.add(" bytes");
        text
    }
}

/// The error of a side whose flow will not find it by reading: it is blocked by the other side, or done.
pub(super) fn unread_error<E: Endpoint>(side: &mut Side<E>, name: SideName, stopped: Option<&Stopped>) -> Option<End> {
    match stopped {
        Some(Stopped::Spent) => None,
        _ => pending_error(side, name),
    }
}

/// Looks for a pending error if an event said that there may be one.
#[inline(always)]
pub(super) fn pending_error<E: Endpoint>(side: &mut Side<E>, name: SideName) -> Option<End> {
    if side.ready.error { take_error(side, name) } else { None }
}

#[cold]
fn take_error<E: Endpoint>(side: &mut Side<E>, name: SideName) -> Option<End> {
    side.ready.error = false;
    let error = side.endpoint.take_error()?;
    log_error(&side.endpoint, &error);
    Some(end_for(&error, name))
}

/// Logs how a flow broke, and names the end of the session.
pub(super) fn ended_by<E: Endpoint>(broken: &Broken, source: (&Side<E>, SideName), sink: (&Side<E>, SideName)) -> End {
    let ((side, name), error) = match broken {
        Broken::Source(error) => (source, error),
        Broken::Sink(error) => (sink, error),
        Broken::Rejected(reason) => {
            log_rejection(&source.0.endpoint, source.1, reason);
            return End::Rejected;
        }
    };
    log_error(&side.endpoint, error);
    end_for(error, name)
}

/// Says why a filter ends the session, for what came from this side.
pub(super) fn log_rejection<E: Endpoint>(source: &E, name: SideName, reason: &str) {
    let way = match name {
        SideName::Client => "client to proxy",
        SideName::Remote => "proxy to remote",
    };
    warn!("reject {way} {}: what came from the {name} has {reason}", Route(source, name));
}

pub(super) fn end_for(error: &io::Error, side: SideName) -> End {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected => End::Reset(side),
        ConnectionRefused if side == SideName::Remote => End::Refused,
        _ => End::Error(side),
    }
}

pub(super) fn log_error<E: Endpoint>(endpoint: &E, error: &io::Error) {
    let (fd, text) = (endpoint.descriptor(), error_text(error));
    match error.raw_os_error() {
        Some(number) => info!("fd {fd} errno {number}: {text}"),
        None => info!("fd {fd}: {text}"),
    }
}

/// Makes the close that follows tell the side that its stream was cut off, if it was and the side does not know.
fn cut_off<E: Endpoint>(endpoint: &mut E, side: SideName, end: End) {
    if !matches!(end, End::EndOfStream | End::ExchangeComplete) && end != End::Reset(side) {
        endpoint.abort();
    }
}
