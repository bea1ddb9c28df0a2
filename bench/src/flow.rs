//! Bulk bytes: what both ends of the load generator do with a session that moves as much as it can.

use std::io::{self, Write};
use std::os::fd::AsRawFd;

use mio::event::Event;
use mio::net::TcpStream;

use crate::session::closed;

/// What one `write` offers: 256 KiB, the same bytes again and again, so that the sender's own memory stays in the
/// cache.
static PAYLOAD: [u8; 256 * 1024] = [0x5a; 256 * 1024];

/// The most that one receive takes, in bytes.
const TAKE: usize = 1024 * 1024;

/// Which ways bytes flow, seen from the end that holds the [`Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// This end only sends.
    Out,
    /// This end only receives.
    In,
    /// This end does both.
    Both,
}

impl Traffic {
    fn sends(self) -> bool {
        self != Self::In
    }

    fn receives(self) -> bool {
        self != Self::Out
    }
}

/// Whether a socket may take or give more at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    Blocked,
}

/// The state of a session that moves bytes as fast as it can, over a socket registered edge-triggered for reading and
/// writing.
pub struct Flow {
    traffic: Traffic,
    sending: Readiness,
    receiving: Readiness,
}

impl Flow {
    /// A flow over a session whose greeting is done.
    pub fn new(traffic: Traffic) -> Self {
        Self { traffic, sending: Readiness::Ready, receiving: Readiness::Ready }
    }

    /// Takes note of what a poll event says.
    pub fn note(&mut self, event: &Event) {
        if event.is_writable() {
            self.sending = Readiness::Ready;
        }
        if event.is_readable() {
            self.receiving = Readiness::Ready;
        }
    }

    /// Whether [`Self::turn`] would do anything before the next event.
    pub fn is_ready(&self) -> bool {
        (self.traffic.sends() && self.sending == Readiness::Ready)
            || (self.traffic.receives() && self.receiving == Readiness::Ready)
    }

    /// Sends once and receives once, where ready. Returns the number of bytes received.
    pub fn turn(&mut self, stream: &mut TcpStream) -> io::Result<u64> {
        if self.traffic.sends() && self.sending == Readiness::Ready {
            self.sending = send_once(stream)?;
        }
        if self.traffic.receives() && self.receiving == Readiness::Ready {
            let (received, readiness) = receive_once(stream)?;
            self.receiving = readiness;
            return Ok(received);
        }
        Ok(0)
    }
}

/// Offers the payload once. A socket that takes less than all is full; an event comes when it has room again.
fn send_once(stream: &mut TcpStream) -> io::Result<Readiness> {
    match stream.write(&PAYLOAD) {
        Ok(sent) if sent == PAYLOAD.len() => Ok(Readiness::Ready),
        Ok(_) => Ok(Readiness::Blocked),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Readiness::Blocked),
        Err(error) => Err(error),
    }
}

/// Receives once, up to [`TAKE`] bytes, and drops them without copying them out of the kernel.
///
/// MSG_TRUNC makes TCP discard what it would have copied. The receiver so costs little, which leaves the machine to the
/// proxy and keeps the ceiling high; the bytes are counted, not checked.
fn receive_once(stream: &TcpStream) -> io::Result<(u64, Readiness)> {
    // SAFETY: the descriptor is open. With MSG_TRUNC, TCP never writes to the buffer, so a null pointer is allowed.
    let received =
        unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), TAKE, libc::MSG_TRUNC | libc::MSG_DONTWAIT) };
    match received {
        0 => Err(closed()),
        1.. if received as usize == TAKE => Ok((received as u64, Readiness::Ready)),
        1.. => Ok((received as u64, Readiness::Blocked)),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok((0, Readiness::Blocked)),
            error => Err(error),
        },
    }
}
