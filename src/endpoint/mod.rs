//! What a side of a session can be. One file a kind; nothing else knows the kinds.

pub mod connected;
pub mod datagram;
#[cfg(target_os = "linux")]
pub mod device;
pub mod echo;
mod error;
pub mod framed;
mod intercepted;
mod listener;
pub mod local;
mod readiness;
mod socket;
pub mod source;
pub mod stream;
pub mod stripe;
pub mod tcp;
pub mod unix;
mod waiting;

use std::fmt;
use std::io;
use std::os::fd::RawFd;

use crate::base::text::ShortText;
use crate::buffers::batch::{Batch, Encoding};
use crate::buffers::pipe_pool::Pipe;
use crate::config::proxy::HeaderOf;
use crate::proxy_header::Addresses;
use crate::service::access::ClientAddress;
use crate::service::pool::ClientKey;
use crate::stripe::MOST_LANES;

pub use error::ListenError;
pub use listener::{Binding, Listener};
pub use readiness::Readiness;
pub use socket::{Dialling, Socket};

/// One of a session's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SideName {
    /// The one that was accepted.
    Client,
    /// The one that was connected to.
    Remote,
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SideName::Client => "client",
            SideName::Remote => "remote",
        })
    }
}

/// What an endpoint carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Bytes in order, with no boundaries: [`Endpoint::receive`] and [`Endpoint::send`].
    Bytes,
    /// Datagrams: [`Endpoint::receive_datagrams`] and [`Endpoint::send_datagrams`].
    Datagrams {
        /// Bytes of a stream that are sent as one datagram here, at most.
        chunk: usize,
    },
}

/// Where a header of the PROXY protocol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderPlace {
    /// Before all that goes on the stream, which may carry datagrams then: [`Endpoint::receive_header`] and
    /// [`Endpoint::send_header`].
    Stream,
    /// In datagrams.
    Datagrams,
    /// There is none.
    Nowhere,
}

/// What reading datagrams came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// There may be more.
    More,
    /// There was no more; an event will say when there is.
    Last,
    /// The peer has ended, and all that it sent has been read.
    End,
}

/// What ends an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Its connection's end.
    Connection,
    /// Only that nothing moves: it has no connection.
    Idleness,
    /// Nothing: it is a device.
    Endless,
}

/// The number of one of an endpoint's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane(pub u8);

impl Lane {
    /// How many there can be.
    pub const MOST: u8 = MOST_LANES as u8;
}

/// A connected endpoint, as a flow and a session use it. All calls return at once.
///
/// One that carries bytes has `receive`, `send`, `splice_to` and `splice_from`; one that carries datagrams has
/// `receive_datagrams` and `send_datagrams`. The others are never called.
pub trait Endpoint {
    /// Whether a short read or write means that the next one would block, so that it need not be tried.
    ///
    /// True for edge-triggered epoll (epoll(7), "the amount of data read from / written to"), which says when that is
    /// due to urgent data; kqueue does not say it. Under mio's poll(2) fallback a source is armed again only by an
    /// operation that would block. So with both it must be tried.
    const SHORT_MEANS_BLOCKED: bool;

    /// What bytes can be moved through without copying.
    type Pipe: Pipe;

    /// What the endpoint carries.
    fn carries(&self) -> Carries {
        Carries::Bytes
    }

    /// What ends it.
    fn lifetime(&self) -> Lifetime {
        Lifetime::Connection
    }

    /// What its peer is recognised by when it comes again; `None`: nothing.
    fn client_key(&self) -> Option<ClientKey> {
        None
    }

    /// What rules know of its peer; `None`: nothing, as it is a device or nobody.
    fn client_address(&self) -> Option<ClientAddress> {
        None
    }

    /// Between whom its connection is, where it is a client.
    fn addresses(&self) -> Addresses {
        Addresses::Unknown
    }

    /// Where a header of the PROXY protocol stands.
    fn header_place(&self) -> HeaderPlace {
        match self.carries() {
            Carries::Bytes => HeaderPlace::Stream,
            Carries::Datagrams { .. } => HeaderPlace::Datagrams,
        }
    }

    /// As [`Endpoint::receive`], of a header.
    fn receive_header(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer)
    }

    /// As [`Endpoint::send`], of a header; `more`: more is certainly sent at once.
    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let _ = more;
        self.send(bytes)
    }

    /// Has a header stand in front of the datagrams that are sent, or of the first one.
    fn add_header(&mut self, header: Box<[u8]>, of: HeaderOf) {
        let _ = (header, of);
    }

    /// Whether it is connected as soon as it is dialled, without an event that says so.
    fn connects_at_once(&self) -> bool {
        false
    }

    /// Whether it has lanes, which have events and times of their own: before each run it is tended to.
    fn has_lanes(&self) -> bool {
        false
    }

    /// Notes what an event said of one of its lanes.
    fn note_lane(&mut self, lane: Lane, event: Readiness) {
        let _ = (lane, event);
    }

    /// After a run: reads what came on its lanes and was not asked for, as it may concern what is sent. Whether it is
    /// worth another run soon.
    fn settle(&mut self) -> bool {
        false
    }

    /// When it wants to be tended to though no event came, in milliseconds since the thread's origin.
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// Whether closing it now would lose what it was sent, as only the program holds it.
    fn would_lose(&self) -> bool {
        false
    }

    /// Reads into `buffer`, which is not empty. `Ok(0)` is the end of the stream.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = buffer;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether the last [`Endpoint::receive`], if it filled less than its buffer, emptied the endpoint: then the next one
    /// would block, or an event will say that it does not. Not where the kind has other reasons to read less.
    fn short_read_means_empty(&self) -> bool {
        Self::SHORT_MEANS_BLOCKED
    }

    /// Writes from `bytes`, which is not empty.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = bytes;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether it has memory of its own, with room in it, that can be read into ([`Endpoint::space`]).
    fn has_space(&self) -> bool {
        false
    }

    /// Whether it has such memory, and there is no room in it.
    fn space_is_full(&mut self) -> bool {
        false
    }

    /// That memory; empty if it is full.
    fn space(&mut self) -> &mut [u8] {
        &mut []
    }

    /// So many bytes, the first, were put into it: they are taken, as by [`Endpoint::send`].
    fn fill_space(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Whether it has [`Endpoint::splice_to`].
    fn can_splice_to(&self) -> bool {
        true
    }

    /// Whether it has [`Endpoint::splice_from`].
    fn can_splice_from(&self) -> bool {
        true
    }

    /// Moves at most `limit` bytes into an empty pipe. `Ok(0)` is the end of the stream, or says that a read knows more; a
    /// short count says nothing about what is left.
    fn splice_to(&mut self, pipe: &mut Self::Pipe, limit: usize) -> io::Result<usize> {
        let _ = (pipe, limit);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves at most `bytes` bytes, which the pipe holds, out of it.
    fn splice_from(&mut self, pipe: &mut Self::Pipe, bytes: usize) -> io::Result<usize> {
        let _ = (pipe, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reads datagrams into `batch`, which is empty.
    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        let _ = batch;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends some of the datagrams left in `batch`, which is not empty; `encoded` is for what is written to a stream.
    /// One that cannot be sent, for reasons of its own, is dropped and counted.
    fn send_datagrams(&mut self, batch: &mut Batch, encoded: &mut Vec<u8>) -> io::Result<()> {
        let _ = (batch, encoded);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether its peer can be told that no more will come ([`Endpoint::finish`]), and may answer that.
    fn takes_an_end(&self) -> bool {
        true
    }

    /// Bytes that the system has taken and the peer's has not, where the system says so: a reset would lose them, and so
    /// would a close if the peer answered it.
    fn unsent(&self) -> u32 {
        0
    }

    /// Whether there may be something that its peer has sent and nobody has read; `false` only where the system says so.
    fn may_have_unread(&self) -> bool {
        true
    }

    /// Whether there are bytes that nobody has read; `true` only where the system says so.
    fn has_unread(&self) -> bool {
        false
    }

    /// Tells the peer that no more will come.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether it has just been connected to itself. Where nobody listens at a port of this machine that the system may pick
    /// for a client, it picks that port sooner or later for one that connects to it (RFC 9293, 3.5, simultaneous open).
    fn is_its_own_peer(&self) -> bool {
        false
    }

    /// The error that is pending, if any; asking clears it.
    fn take_error(&mut self) -> Option<io::Error> {
        None
    }

    /// Makes the close that follows tell the peer that the stream was cut off, where the kind can.
    fn abort(&mut self) {}

    /// The descriptor's number, for the log.
    fn descriptor(&self) -> RawFd;

    /// Writes `A -> B`: who connected to whom, seen from `side`.
    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Writes what else the log says of it at its session's end, each behind a comma.
    fn write_account(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        Ok(())
    }
}

/// Writes the encoding of the first datagrams left in `batch` to a stream.
pub fn send_encoded<E: Endpoint>(
    stream: &mut E,
    batch: &mut Batch,
    encoding: Encoding,
    encoded: &mut Vec<u8>,
) -> io::Result<()> {
    encoded.clear();
    batch.encode(encoding, encoded);
    let taken = if encoded.is_empty() { 0 } else { stream.send(encoded)? };
    if taken == 0 && !encoded.is_empty() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    // Without a byte taken, still: empty datagrams without a header are nothing.
    batch.take_bytes(taken, encoding);
    Ok(())
}

/// The ways of an endpoint's route, for `Display`.
pub struct Route<'a, E>(pub &'a E, pub SideName);

impl<E: Endpoint> Route<'_, E> {
    /// The names of both ends, without the descriptor.
    pub fn names(&self) -> String {
        struct Names<'a, E>(&'a E, SideName);
        impl<E: Endpoint> fmt::Display for Names<'_, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write_route(self.1, f)
            }
        }
        Names(self.0, self.1).to_string()
    }
}

impl<E: Endpoint> fmt::Display for Route<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_route(self.1, f)?;
        let mut text = ShortText::<32>::default();
        text.add(" (fd=");
        text.add_number(self.0.descriptor() as u64);
        text.add_byte(b')');
        f.write_str(text.as_str())
    }
}

/// Who a session joins, as the log names them; what is not known is a question mark, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// The client.
    pub client: String,
    /// The address of ours that it is connected to.
    pub listener: String,
    /// The address of ours that is connected to the remote.
    pub own: String,
    /// The remote.
    pub remote: String,
}

/// What else the log says of an endpoint at its session's end, for `Display`.
pub struct Account<'a, E>(pub &'a E);

impl<E: Endpoint> fmt::Display for Account<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write_account(f)
    }
}
