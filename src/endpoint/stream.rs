//! What TCP and Unix stream endpoints have in common: all but their names, and how they end and break.

use mio::event;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::{Endpoint, SideName, Socket};
use crate::buffers::splice::{KernelPipe, splice_in, splice_out};
use crate::proxy_header::Addresses;
use crate::service::access::ClientAddress;
use crate::service::pool::ClientKey;

/// A connected, non-blocking stream socket.
pub trait Stream: AsRawFd {
    /// See [`Endpoint::receive`].
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// See [`Endpoint::send`].
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// See [`Endpoint::send_header`].
    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let _ = more;
        self.send(bytes)
    }

    /// The socket, to ask the system about.
    fn socket(&self) -> SockRef<'_>;

    /// See [`Endpoint::short_read_means_empty`]; asked only where that can be at all.
    fn short_read_means_empty(&self) -> bool {
        true
    }

    /// What is registered with a poll.
    fn source(&mut self) -> &mut dyn event::Source;

    /// Makes a system call on the socket that may say `WouldBlock`, so that the poll learns of it.
    fn try_io<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    /// The pending error, if any; asking clears it.
    fn take_error(&self) -> io::Result<Option<io::Error>>;

    /// See [`Endpoint::is_its_own_peer`]; asked only where that can be.
    fn is_its_own_peer(&self) -> bool {
        false
    }

    /// See [`Endpoint::finish`].
    fn finish(&self) -> io::Result<()>;

    /// See [`Endpoint::abort`].
    fn abort(&self);
}

/// The names of a stream's two ends.
pub trait Names {
    /// See [`Endpoint::write_route`].
    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// Whether the peer has a port that the system may have picked for us.
    fn may_be_its_own_peer(&self) -> bool {
        false
    }

    /// See [`Endpoint::client_address`].
    fn client_address(&self) -> ClientAddress;

    /// See [`Endpoint::addresses`]; the socket says what is not known here.
    fn addresses(&self, socket: SockRef<'_>) -> Addresses;

    /// See [`Endpoint::client_key`].
    fn client_key(&self) -> Option<ClientKey> {
        None
    }
}

/// A stream socket with the names of its ends.
#[derive(Debug)]
pub struct StreamEndpoint<S, N> {
    pub(super) stream: S,
    pub(super) names: N,
}

impl<S: Stream, N> StreamEndpoint<S, N> {
    pub(super) fn new(stream: S, names: N) -> StreamEndpoint<S, N> {
        StreamEndpoint { stream, names }
    }

    pub(super) fn source(&mut self) -> &mut dyn event::Source {
        self.stream.source()
    }
}

impl<S: Stream, N: Names> Endpoint for StreamEndpoint<S, N> {
    const SHORT_MEANS_BLOCKED: bool = Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    fn client_key(&self) -> Option<ClientKey> {
        self.names.client_key()
    }

    fn client_address(&self) -> Option<ClientAddress> {
        Some(self.names.client_address())
    }

    fn addresses(&self) -> Addresses {
        self.names.addresses(self.stream.socket())
    }

    fn send_header(&mut self, bytes: &[u8], more: bool) -> io::Result<usize> {
        self.stream.send_header(bytes, more)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.receive(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.send(bytes)
    }

    fn short_read_means_empty(&self) -> bool {
        Self::SHORT_MEANS_BLOCKED && self.stream.short_read_means_empty()
    }

    fn splice_to(&mut self, pipe: &mut KernelPipe, limit: usize) -> io::Result<usize> {
        self.stream.try_io(|| splice_in(self.stream.as_raw_fd(), pipe, limit))
    }

    fn splice_from(&mut self, pipe: &mut KernelPipe, bytes: usize) -> io::Result<usize> {
        self.stream.try_io(|| splice_out(pipe, self.stream.as_raw_fd(), bytes))
    }

    fn unsent(&self) -> u32 {
        unsent_bytes(self.stream.as_raw_fd())
    }

    fn may_have_unread(&self) -> bool {
        may_have_unread(self.stream.as_raw_fd())
    }

    fn has_unread(&self) -> bool {
        unread_bytes(self.stream.as_raw_fd()).is_some_and(|bytes| bytes > 0)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.finish()
    }

    fn is_its_own_peer(&self) -> bool {
        self.names.may_be_its_own_peer() && self.stream.is_its_own_peer()
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.stream.take_error().unwrap_or_else(Some)
    }

    fn abort(&mut self) {
        self.stream.abort();
    }

    fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.write_route(side, f)
    }
}

/// Bytes that the peer's system has not taken yet, where the system says so.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unsent_bytes(socket: RawFd) -> u32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call (SIOCOUTQ in tcp(7), which has the number of TIOCOUTQ) writes an int to a live one.
    match unsafe { libc::ioctl(socket, libc::TIOCOUTQ, &raw mut bytes) } {
        0 => u32::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unsent_bytes(_socket: RawFd) -> u32 {
    0
}

/// Whether a socket may have something that was not read yet.
pub(super) fn may_have_unread(socket: RawFd) -> bool {
    unread_bytes(socket) != Some(0)
}

/// How many bytes a socket has that were not read yet, where the system says so.
fn unread_bytes(socket: RawFd) -> Option<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the call writes an int to a live one.
    let result = unsafe { libc::ioctl(socket, libc::FIONREAD, &raw mut bytes) };
    (result == 0).then_some(bytes)
}
