//! Idle: sessions that have carried 16 KiB each way, and now carry nothing.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::Controller;
use crate::session::{self, Role, closed, poll_once};
use crate::wire::{Order, Tally};

/// Bytes that each session carries each way.
const CARRIED: usize = 16 * 1024;

/// How many sessions carry at a time.
const AT_ONCE: usize = 64;

/// How long the proxy has to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

/// How long nothing may come back before the proxy is taken to have stalled.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the client's side.
pub fn run(order: &Order, controller: &mut Controller, sessions: usize) -> io::Result<()> {
    let mut streams = session::open(order.target, &vec![Role::Echo; sessions])?;
    for batch in streams.chunks_mut(AT_ONCE) {
        carry(batch)?;
    }
    let window = controller.open_window(SETTLE, Duration::ZERO)?;
    std::thread::sleep(window.stop().from_now());
    controller.finish(Tally::default())
}

/// Sends [`CARRIED`] bytes over each session at once, and reads them back.
fn carry(streams: &mut [TcpStream]) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(streams.len());
    for (index, stream) in streams.iter_mut().enumerate() {
        poll.registry().register(stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
    }
    let mut loads = vec![Carried::default(); streams.len()];
    while loads.iter().any(|load| load.back < CARRIED) {
        poll_once(&mut poll, &mut events, PATIENCE)?;
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "what was sent did not come back"));
        }
        for index in events.iter().map(|event| event.token().0) {
            loads[index].advance(&mut streams[index])?;
        }
    }
    streams.iter_mut().try_for_each(|stream| poll.registry().deregister(stream))
}

/// How many bytes a session has carried.
#[derive(Clone, Default)]
struct Carried {
    sent: usize,
    back: usize,
}

impl Carried {
    /// Sends and receives until both would block.
    fn advance(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        let mut buffer = [0; CARRIED];
        while self.sent < CARRIED {
            match stream.write(&buffer[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while self.back < CARRIED {
            match stream.read(&mut buffer) {
                Ok(0) => return Err(closed()),
                Ok(back) => self.back += back,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
