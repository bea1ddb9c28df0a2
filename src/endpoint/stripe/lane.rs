//! One lane: a TCP connection with what is on its way into and out of it.

use mio::{Registry, Token};
use std::cell::RefCell;
use std::io::{self, IoSlice};

use super::input::Input;
use crate::buffers::splice::KernelPipe;
use crate::endpoint::socket::ALL_EVENTS;
use crate::endpoint::tcp::TcpEndpoint;
use crate::endpoint::{Endpoint, Readiness};
use crate::stripe::channel::Channel;
use crate::stripe::engine::{Burst, Engine};
use crate::stripe::frame::{Frame, Violation};

/// Bytes read from a lane at once, at most, beside what was left of the last read.
const READ: usize = 256 << 10;

/// Room in front of these: a record that is not all there, or part of an opening.
const MOST_REST: usize = 66 << 10;

/// Pieces that are sent with one call, at most.
const SLICES: usize = 32;

/// Bytes that the system takes and does not send yet, for each lane, at the least and at the most: what it has taken cannot
/// be had back, and with less it is asked more often.
const LEAST_COMMITTED: i32 = 64 << 10;
const MOST_COMMITTED: i32 = 1 << 20;

/// As long a lane should have something to send, in milliseconds.
const COMMITTED_TIME: u64 = 4;

thread_local! {
    /// What the lanes of a thread are read into, one after the other.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch { input: Vec::new(), sealed: Vec::new() }) };
}

#[derive(Debug)]
struct Scratch {
    input: Vec<u8>,
    sealed: Vec<u8>,
}

/// Why a lane ends.
#[derive(Debug)]
pub enum LaneEnd {
    /// The peer closed it.
    Closed,
    /// It broke.
    Broken(io::Error),
    /// The peer broke the rules.
    Violation(Violation),
    /// What came was not made by the peer, or was changed on its way.
    Forged(Violation),
}

impl From<io::Error> for LaneEnd {
    fn from(error: io::Error) -> LaneEnd {
        LaneEnd::Broken(error)
    }
}

impl From<Violation> for LaneEnd {
    fn from(violation: Violation) -> LaneEnd {
        LaneEnd::Violation(violation)
    }
}

/// A connection of ours to the peer, and how far it is known to be ready.
#[derive(Debug)]
pub struct Line {
    /// The connection.
    pub socket: TcpEndpoint,
    /// What is worth trying on it.
    pub ready: Readiness,
    /// What was to be sent and has not been taken yet.
    unsent: Vec<u8>,
    /// How many bytes the system takes and does not send yet.
    committed: i32,
}

impl Line {
    /// A connection of which nothing is known yet.
    pub fn new(socket: TcpEndpoint) -> Line {
        Line { socket, ready: Readiness::default(), unsent: Vec::new(), committed: LEAST_COMMITTED }
    }

    /// Sets the options of a lane. What it carries is complete messages, so nothing is gained by waiting for more.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn prepare(&mut self) -> io::Result<()> {
        self.socket.set_no_delay()?;
        set_not_sent(&self.socket, LEAST_COMMITTED)
    }

    /// Has the system take as much as is sent in a short time at this rate, in bytes a second.
    pub fn commit(&mut self, rate: u64) {
        let wanted = i32::try_from(rate * COMMITTED_TIME / 1000).unwrap_or(i32::MAX);
        let wanted = wanted.clamp(LEAST_COMMITTED, MOST_COMMITTED);
        // Not for every small change.
        if wanted > self.committed + self.committed / 2 || wanted < self.committed / 2 {
            self.committed = wanted;
            // It was possible once; where it is not, what holds goes on to hold.
            let _ = set_not_sent(&self.socket, wanted);
        }
    }

    /// Registers it for all events, edge-triggered.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(self.socket.source(), token, ALL_EVENTS)
    }

    /// Takes it from the poll of a thread that it leaves.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(self.socket.source())
    }

    /// Whether what is sent now would be taken.
    pub fn has_room(&self) -> bool {
        self.ready.writable && self.unsent.is_empty()
    }

    /// Sends these bytes, behind what has not been taken yet; what is not taken now waits.
    ///
    /// # Errors
    ///
    /// The connection has broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // An empty write would read as a connection that takes nothing.
        let taken = if self.has_room() && !bytes.is_empty() { self.write(|socket| socket.send(bytes))? } else { 0 };
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what has not been taken yet.
    ///
    /// # Errors
    ///
    /// The connection has broken.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.ready.writable && !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            let result = self.write(|socket| socket.send(&unsent));
            self.unsent = unsent;
            self.unsent.drain(..result?);
        }
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    fn write(&mut self, mut call: impl FnMut(&mut TcpEndpoint) -> io::Result<usize>) -> io::Result<usize> {
        loop {
            match call(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => return Ok(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.ready.writable = false;
                    return Ok(0);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads at most `limit` bytes behind what was left of the last read, which `input` has. Gives all of it to `take`.
    ///
    /// # Errors
    ///
    /// Why the lane ends.
    pub fn read<R>(
        &mut self,
        input: &mut Input,
        limit: usize,
        take: impl FnOnce(&mut Input, &mut [u8]) -> Result<R, LaneEnd>,
    ) -> Result<Option<R>, LaneEnd> {
        SCRATCH.with_borrow_mut(|scratch| {
            let rest = input.rest().len();
            scratch.input.resize(MOST_REST + READ, 0);
            let buffer = &mut scratch.input[..rest + limit.clamp(1, READ)];
            buffer[..rest].copy_from_slice(input.rest());
            let Some(came) = self.receive(&mut buffer[rest..])? else { return Ok(None) };
            take(input, &mut buffer[..rest + came]).map(Some)
        })
    }

    /// Reads once. `None`: nothing has come.
    ///
    /// # Errors
    ///
    /// The connection has broken, or was closed.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.receive(buffer).map_err(|end| match end {
            LaneEnd::Broken(error) => error,
            LaneEnd::Closed | LaneEnd::Violation(_) | LaneEnd::Forged(_) => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the peer has closed the connection")
            }
        })
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, LaneEnd> {
        loop {
            match self.socket.receive(buffer) {
                Ok(0) => return Err(LaneEnd::Closed),
                Ok(came) => {
                    let more = self.ready.read_closed || self.ready.urgent;
                    if came < buffer.len() && !more && self.socket.short_read_means_empty() {
                        self.ready.readable = false;
                    }
                    return Ok(Some(came));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    (self.ready.readable, self.ready.urgent) = (false, false);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A connection that carries frames.
#[derive(Debug)]
pub struct Lane {
    /// The connection.
    pub line: Line,
    channel: Channel,
    input: Input,
    /// How many attempts at this lane have failed in a row, if it is one more: until something comes on it.
    pub failed: u32,
}

impl Lane {
    /// A lane whose opening is over; `left` is what came behind it.
    pub fn new(mut line: Line, channel: Channel, left: &[u8]) -> Lane {
        let mut input = Input::default();
        input.keep(left);
        line.ready.readable = true;
        Lane { line, channel, input, failed: 0 }
    }

    /// Whether its peer has proved the key.
    pub fn is_authentic(&self) -> bool {
        !self.channel.is_plain()
    }

    /// How many bytes are to be read to know what comes next.
    pub fn header_left(&self) -> usize {
        Frame::header_left(self.input.rest())
    }

    /// What can be taken from the lane without reading it: where in the stream it belongs, and how much it is.
    pub fn begun(&self) -> Option<(u64, usize)> {
        self.input.begun().filter(|_| self.input.rest().is_empty())
    }

    /// Moves at most `limit` bytes of [`Lane::begun`] into an empty pipe. `None`: nothing has come.
    ///
    /// # Errors
    ///
    /// Why the lane ends.
    pub fn splice_to(&mut self, pipe: &mut KernelPipe, limit: usize) -> Result<Option<usize>, LaneEnd> {
        loop {
            match self.line.socket.splice_to(pipe, limit) {
                Ok(0) => return Err(LaneEnd::Closed),
                Ok(moved) => {
                    self.input.advance(moved);
                    return Ok(Some(moved));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.line.ready.readable = false;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads once, and gives each frame that came to `take`. Returns how many bytes came.
    ///
    /// # Errors
    ///
    /// Why the lane ends.
    pub fn read(
        &mut self,
        limit: usize,
        mut take: impl FnMut(Frame<'_>) -> Result<(), Violation>,
    ) -> Result<usize, LaneEnd> {
        let Lane { line, channel, input, failed } = self;
        let before = input.rest().len();
        let came = line.read(input, limit, |input, bytes| {
            input.feed(bytes, channel, &mut take)?;
            *failed = 0;
            Ok(bytes.len() - before)
        })?;
        Ok(came.unwrap_or(0))
    }

    /// Takes the frames that came behind the opening.
    ///
    /// # Errors
    ///
    /// Why the lane ends.
    pub fn take_left(&mut self, take: impl FnMut(Frame<'_>) -> Result<(), Violation>) -> Result<(), LaneEnd> {
        if self.input.rest().is_empty() {
            return Ok(());
        }
        let mut left = self.input.rest().to_vec();
        self.input.feed(&mut left, &mut self.channel, take)
    }

    /// Sends frames of the engine; what is not taken now waits in the lane.
    ///
    /// # Errors
    ///
    /// The connection has broken.
    pub fn send(&mut self, burst: &Burst, engine: &Engine) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            if self.channel.is_plain() && self.line.has_room() {
                return self.send_plain(burst, engine);
            }
            scratch.sealed.clear();
            let frames = burst.frames.iter().map(|frame| (frame.header, engine.payload(frame.payload.clone())));
            self.channel.seal(frames, &mut scratch.sealed);
            self.line.send(&scratch.sealed)
        })
    }

    /// Sends frames from where they are.
    fn send_plain(&mut self, burst: &Burst, engine: &Engine) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        for frames in burst.frames.chunks(SLICES / 2) {
            let mut count = 0;
            for frame in frames {
                for part in [frame.header.bytes(), engine.payload(frame.payload.clone())] {
                    slices[count] = IoSlice::new(part);
                    count += usize::from(!part.is_empty());
                }
            }
            self.send_slices(&slices[..count])?;
        }
        Ok(())
    }

    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let mut taken = if self.line.has_room() { self.line.write(|socket| socket.send_many(slices))? } else { 0 };
        for slice in slices {
            let of_this = taken.min(slice.len());
            taken -= of_this;
            self.line.unsent.extend_from_slice(&slice[of_this..]);
        }
        if !self.line.unsent.is_empty() && TcpEndpoint::SHORT_MEANS_BLOCKED {
            self.line.ready.writable = false;
        }
        Ok(())
    }

    /// Sends one frame, if that can be done at once, and nothing after it: the connection is closed next.
    pub fn say_last(&mut self, frame: &Frame<'_>) {
        let mut bytes = Vec::new();
        self.channel.seal([(frame.header(), &[][..])], &mut bytes);
        self.line.send_last(&bytes);
    }
}

impl Line {
    /// Sends these bytes, if that can be done at once, and nothing after them: the connection is closed next.
    pub fn send_last(&mut self, bytes: &[u8]) {
        // What was not read would turn the close into a reset, which takes back what was sent.
        let _ = self.discard_input();
        let _ = set_not_sent(&self.socket, libc::c_int::MAX);
        self.ready.writable = true;
        if self.flush().is_ok() && self.has_room() {
            let _ = self.send(bytes);
        }
    }

    /// Reads what has come, within bounds, and forgets it.
    fn discard_input(&mut self) -> Result<(), LaneEnd> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.input.resize(MOST_REST + READ, 0);
            for _ in 0..8 {
                if self.receive(&mut scratch.input)?.is_none() {
                    break;
                }
            }
            Ok(())
        })
    }
}

/// Has the system take only so much that it does not send yet (`TCP_NOTSENT_LOWAT` in tcp(7)), where it knows that.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_not_sent(socket: &TcpEndpoint, bytes: libc::c_int) -> io::Result<()> {
    let (value, length) = ((&raw const bytes).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the call reads an int, which is there, from a live one.
    let result =
        unsafe { libc::setsockopt(socket.descriptor(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, value, length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_not_sent(_socket: &TcpEndpoint, _bytes: libc::c_int) -> io::Result<()> {
    Ok(())
}
