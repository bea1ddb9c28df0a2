//! Framed: datagrams one way through a proxy that has UDP on one side and a framed stream on the other.
//!
//! As many are under way as a window allows: the server says, past the proxy, how far they have come. So nothing is
//! lost for want of room, and the proxy has work at any time.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::client::{Controller, warm_up};
use crate::clock::Moment;
use crate::datagram::{self, Kind};
use crate::framing;
use crate::load::flood::{BURST, Jet};
use crate::wire::{Order, Tally};

/// Bytes in a datagram.
pub const SIZE: usize = 1400;
/// How many datagrams are under way. A proxy's UDP socket with the system's usual buffer of 208 KiB holds some 90.
const UNDER_WAY: u64 = 64;
/// How long nothing may arrive before what is under way is given up.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the server, or a stream, may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Runs the client's side of datagrams that go out as such.
pub fn run_datagrams(order: &Order, controller: &mut Controller) -> io::Result<()> {
    let mut jet = Jet::open(order.target, SIZE)?;
    run(order, controller, |first, count| jet.send(first, count))
}

/// Runs the client's side of datagrams that go out in a stream.
pub fn run_frames(order: &Order, controller: &mut Controller) -> io::Result<()> {
    let mut stream = TcpStream::connect(order.target)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut datagram = [0; SIZE];
    datagram::compose(&mut datagram, Kind::Count, 0);
    let mut frames = Vec::with_capacity(BURST * (framing::LENGTH + SIZE));
    run(order, controller, |first, count| {
        frames.clear();
        for number in (first..).take(count) {
            datagram::renumber(&mut datagram, number);
            framing::append(&mut frames, &datagram);
        }
        stream.write_all(&frames)
    })
}

/// Has datagrams sent, by first number and count, until the window is over.
fn run(
    order: &Order,
    controller: &mut Controller,
    mut send: impl FnMut(u64, usize) -> io::Result<()>,
) -> io::Result<()> {
    let reports = Reports::ask(order.server)?;
    let window = controller.open_window(warm_up(order.length), order.length)?;
    let mut pace = Pace::begin(Moment::now());
    while Moment::now() < window.stop() {
        let room = pace.room();
        let report = match room {
            0 => reports.wait()?,
            _ => {
                send(pace.sent, room.min(BURST))?;
                pace.sent += room.min(BURST) as u64;
                reports.look()?
            }
        };
        pace.note(report, Moment::now());
    }
    controller.finish(Tally::default())
}

/// How far datagrams have been sent, and how far they have come.
#[derive(Debug)]
struct Pace {
    /// The next number to be sent.
    sent: u64,
    /// The number after the highest that has come, or has been given up.
    come: u64,
    /// When something came, or was given up.
    moved: Moment,
}

impl Pace {
    fn begin(now: Moment) -> Self {
        Self { sent: 0, come: 0, moved: now }
    }

    /// How many may be sent.
    fn room(&self) -> usize {
        UNDER_WAY.saturating_sub(self.sent - self.come) as usize
    }

    /// Takes note of a report, or that there was none.
    fn note(&mut self, report: Option<u64>, now: Moment) {
        match report {
            Some(come) if come > self.come => {
                self.come = come.min(self.sent);
                self.moved = now;
            }
            _ if now.since(self.moved) >= PATIENCE => {
                self.come = self.sent;
                self.moved = now;
            }
            _ => {}
        }
    }
}

/// The server's reports of how far datagrams have come.
struct Reports {
    socket: UdpSocket,
}

impl Reports {
    /// Asks the server for reports, and waits for the first.
    fn ask(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut question = [0; datagram::SHORTEST];
        datagram::compose(&mut question, Kind::Watch, 0);
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.send_to(&question, server)?;
        socket.recv(&mut [0; 8])?;
        socket.set_read_timeout(Some(PATIENCE / 10))?;
        Ok(Self { socket })
    }

    /// The latest report; waits for one, but not for long.
    fn wait(&self) -> io::Result<Option<u64>> {
        let first = self.receive(0)?;
        Ok(self.look()?.or(first))
    }

    /// The latest report, if one is there.
    fn look(&self) -> io::Result<Option<u64>> {
        let mut latest = None;
        while let Some(report) = self.receive(libc::MSG_DONTWAIT)? {
            latest = Some(report);
        }
        Ok(latest)
    }

    fn receive(&self, flags: libc::c_int) -> io::Result<Option<u64>> {
        let mut report = [0; 8];
        // SAFETY: the descriptor is open, and `report` has room for as many bytes as the call is told.
        let received = unsafe { libc::recv(self.socket.as_raw_fd(), report.as_mut_ptr().cast(), report.len(), flags) };
        match received {
            0.. => Ok(Some(u64::from_be_bytes(report))),
            _ => match io::Error::last_os_error() {
                error if datagram::is_passing(&error) || error.kind() == io::ErrorKind::Interrupted => Ok(None),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_moves_with_what_has_come() {
        let now = Moment::now();
        let mut pace = Pace::begin(now);
        assert_eq!(pace.room(), UNDER_WAY as usize);
        pace.sent += UNDER_WAY;
        assert_eq!(pace.room(), 0);
        pace.note(Some(16), now);
        assert_eq!(pace.room(), 16);
        pace.note(Some(8), now);
        pace.note(None, now.after(PATIENCE / 2));
        assert_eq!(pace.room(), 16);
    }

    #[test]
    fn what_is_under_way_is_given_up_after_a_while() {
        let now = Moment::now();
        let mut pace = Pace::begin(now);
        pace.sent += UNDER_WAY;
        pace.note(None, now.after(PATIENCE));
        assert_eq!(pace.room(), UNDER_WAY as usize);
        pace.sent += 1;
        pace.note(Some(10), now.after(PATIENCE));
        assert_eq!(pace.room(), UNDER_WAY as usize - 1, "a late report changes nothing");
    }
}
