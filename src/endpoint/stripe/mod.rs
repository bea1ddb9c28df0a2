//! A stripe: one stream over several TCP connections, its lanes, which may come and go.
//!
//! What is sent when, on which lane, and what is to be sent again is the business of [`Engine`]; here are the sockets.

mod dial;
mod ends;
mod input;
mod lane;
mod reading;
#[cfg(test)]
mod tests;

use log::{Level, log};
use mio::{Registry, Token};
use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Endpoint, Lane as LaneNumber, Readiness, Route, SideName, Socket};
use crate::buffers::splice::KernelPipe;
use crate::proxy_header::Addresses;
use crate::service::StripeOptions;
use crate::service::access::ClientAddress;
use crate::service::pool::ClientKey;
use crate::service::stripes::Registered;
use crate::stripe::SessionId;
use crate::stripe::channel::Channel;
use crate::stripe::engine::{Burst, Config, Direct, Engine, Read};
pub use dial::Dialer;
use lane::LaneEnd;
pub use lane::{Lane, Line};
use reading::Heard;

/// How long nothing comes on a lane before the peer is asked whether it is there, in milliseconds.
const PING_AFTER: u64 = 15_000;

/// Bytes read from all lanes at once, at most, that nobody asked for: a peer may send as much as it likes that brings
/// nothing, and others wait meanwhile.
const UNASKED: usize = 256 << 10;

/// Headers read one by one, at most, before what comes is read as a whole.
const SINGLE_HEADERS: usize = 128;

/// What is read into the engine's memory is offered to the lanes when it is so much, in bytes, or when there is no more.
const PUSHED_TOGETHER: usize = 128 << 10;

/// How long bytes may wait on their lane for others that come before them, in milliseconds: so long they are the kernel's,
/// and are not copied.
const GAP_TIME: u64 = 2;

/// Room to read more than was asked for: the headers of frames.
const HEADERS: usize = 2 << 10;

thread_local! {
    /// What goes on a lane next.
    static BURST: RefCell<Burst> = RefCell::new(Burst::default());
}

/// What is let go when the thing that holds it ends: a count of somebody above, which this need not know.
pub type Guard = Box<dyn fmt::Debug + Send>;

/// A connection whose opening is over and that joins a session.
pub struct Arrival {
    /// The number of the lane.
    pub number: u8,
    /// The connection.
    pub line: Line,
    /// How frames go on it.
    pub channel: Channel,
    /// What came behind the opening.
    pub left: Vec<u8>,
    /// How long the peer took to answer, in milliseconds.
    pub round_trip: u64,
}

/// One of the lanes, or what is to become one.
#[derive(Debug)]
enum Slot {
    /// There is none.
    Empty,
    /// A connection that is not a lane yet, or is to be tried at some time.
    Dialing(dial::Attempt),
    /// A lane; and what is let go when it ends.
    Open(Lane, #[allow(dead_code)] Option<Guard>),
}

/// How a stripe stands.
#[derive(Debug)]
enum State {
    /// No lane has been open yet.
    New,
    /// There has been a lane.
    Joined,
    /// Both ends have everything, though it may still have to be read here.
    Over,
    /// It is over for this reason.
    Failed(io::ErrorKind, String),
}

/// One end of a stripe.
#[derive(Debug)]
pub struct StripeEndpoint {
    id: SessionId,
    engine: Engine,
    slots: Vec<Slot>,
    state: State,
    options: Arc<StripeOptions>,
    /// Of the end that dials: what it dials with.
    dialer: Option<Dialer>,
    /// Of the end that was dialled: where its lanes find it.
    registered: Option<Registered>,
    /// How the log names it.
    name: String,
    /// The descriptor of the first lane, for the log.
    descriptor: RawFd,
    /// A write was not taken whole, so that it matters how soon acknowledgements are read.
    refused: bool,
    /// What was put into the engine's memory and not offered to the lanes yet, in bytes.
    unpushed: usize,
    /// The peer's stream has been read to its end.
    ended: bool,
    /// The session knows that the stripe is over.
    is_told: bool,
    /// Since when bytes wait on lanes because others come before them, in milliseconds.
    gap_since: Option<u64>,
    /// The lane that is read next.
    turn: usize,
    /// The time of this run, in milliseconds.
    now: u64,
    /// How many lanes there have been.
    lanes_ever: u32,
    /// The numbers of these, a bit for each.
    numbers_ever: u32,
    /// Bytes that were sent again, on lanes that are gone.
    sent_again: u64,
}

impl StripeEndpoint {
    fn new(id: SessionId, options: Arc<StripeOptions>, now: u64) -> StripeEndpoint {
        let config = Config {
            mode: options.mode,
            window: options.window,
            lane_timeout: options.lane_timeout.saturating_mul(1000),
            ping_after: PING_AFTER * 1000,
        };
        StripeEndpoint {
            id,
            engine: Engine::new(config, now * 1000),
            slots: Vec::new(),
            state: State::New,
            options,
            dialer: None,
            registered: None,
            name: String::new(),
            descriptor: 0,
            refused: false,
            unpushed: 0,
            ended: false,
            is_told: false,
            gap_since: None,
            turn: 0,
            now,
            lanes_ever: 0,
            numbers_ever: 0,
            sent_again: 0,
        }
    }

    /// The end that was dialled, of a session with this id; its first lane is to be added next.
    pub fn accepted(
        id: SessionId,
        options: Arc<StripeOptions>,
        registered: Registered,
        first: &mut Line,
        now: u64,
    ) -> StripeEndpoint {
        first.socket.complete_names();
        let mut stripe = StripeEndpoint::new(id, options, now);
        stripe.name = Route(&first.socket, SideName::Client).names();
        stripe.descriptor = first.socket.descriptor();
        stripe.registered = Some(registered);
        // So it ends even if its first lane is lost before it was added.
        stripe.state = State::Joined;
        stripe
    }

    /// Which session it is.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Adds a lane whose opening is over, in place of one of the same number, which the peer has given up; `guard` is let go
    /// when the lane ends. The session is to be run then.
    ///
    /// # Errors
    ///
    /// It cannot be registered.
    pub fn add_lane(
        &mut self,
        arrival: Arrival,
        guard: Option<Guard>,
        registry: &Registry,
        token: &dyn Fn(LaneNumber) -> Token,
        now: u64,
    ) -> io::Result<()> {
        self.now = now;
        let Arrival { number, mut line, channel, left, round_trip } = arrival;
        line.register(registry, token(LaneNumber(number)))?;
        let number = usize::from(number);
        if number >= self.slots.len() {
            self.slots.resize_with(number + 1, || Slot::Empty);
        }
        if let Slot::Open(before, _) = &self.slots[number] {
            self.log_lane(number, before, &"another takes its place");
            self.forget_lane(number);
        }
        line.socket.complete_names();
        self.open(number, Lane::new(line, channel, &left), guard, round_trip, SideName::Client);
        Ok(())
    }

    /// A connection has become a lane.
    fn open(&mut self, number: usize, lane: Lane, guard: Option<Guard>, round_trip: u64, side: SideName) {
        let (id, route) = (self.id, Route(&lane.line.socket, side));
        // Those with which a session begins are named when it ends.
        let again = self.numbers_ever & (1 << number) != 0;
        let level = if again { Level::Info } else { Level::Debug };
        log!(level, "stripe {id}: lane {number} open{} {route}", if again { " again" } else { "" });
        self.numbers_ever |= 1 << number;
        self.slots[number] = Slot::Open(lane, guard);
        self.engine.lane_up(number, Some(round_trip * 1000), self.now * 1000);
        self.lanes_ever += 1;
        if matches!(self.state, State::New) {
            self.state = State::Joined;
        }
        let Slot::Open(lane, _) = &mut self.slots[number] else { return };
        let mut heard = Heard { engine: &mut self.engine, dialer: &mut self.dialer, closed: None };
        let result = lane.take_left(|frame| heard.take(number, frame, None, self.now));
        let closed = heard.closed;
        self.after_reading(number, result, closed);
    }

    /// Does what events and the time ask for, and says what can be done with the endpoint then. Connections that it begins
    /// are registered with these tokens.
    pub fn tend(&mut self, registry: &Registry, token: &dyn Fn(LaneNumber) -> Token, now: u64) -> Readiness {
        self.now = now;
        if self.is_alive() {
            for number in 0..self.slots.len() {
                match &self.slots[number] {
                    Slot::Empty => {}
                    Slot::Dialing(_) => self.tend_attempt(number, registry, token),
                    Slot::Open(..) => self.tend_lane(number),
                }
            }
            self.end_what_is_silent();
            if self.refused {
                self.read_unasked();
            }
            self.engine.tick(now * 1000);
            self.push();
        }
        self.is_told = self.is_over();
        self.readiness()
    }

    /// Whether it has freed much memory since this was asked last.
    pub fn take_released(&mut self) -> bool {
        self.engine.take_released()
    }

    fn readiness(&self) -> Readiness {
        let failed = matches!(self.state, State::Failed(..));
        let lanes_readable = self.is_alive() && self.lanes().any(|(_, lane)| lane.line.ready.readable);
        Readiness {
            readable: failed || self.ended || self.engine.readable() || lanes_readable,
            writable: failed || (matches!(self.state, State::Joined) && self.engine.writable()),
            error: failed,
            ..Readiness::default()
        }
    }

    /// Whether lanes can still do something for it.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::New | State::Joined)
    }

    /// Whether nothing more can come of it: it has failed, or both ends have everything.
    fn is_over(&self) -> bool {
        !self.is_alive() || self.engine.is_finished()
    }

    fn lanes(&self) -> impl Iterator<Item = (usize, &Lane)> {
        self.slots.iter().enumerate().filter_map(|(number, slot)| match slot {
            Slot::Open(lane, _) => Some((number, lane)),
            Slot::Empty | Slot::Dialing(_) => None,
        })
    }

    /// Sends what a lane has left, looks for its errors, and tells the engine whether it would take more.
    fn tend_lane(&mut self, number: usize) {
        let Slot::Open(lane, _) = &mut self.slots[number] else { return };
        let line = &mut lane.line;
        if let Some(rate) = self.engine.lane_report(number).rate {
            line.commit(rate);
        }
        match line.flush() {
            Ok(()) => {
                let room = line.has_room();
                self.engine.has_room(number, room);
            }
            Err(error) => self.lane_ended(number, error.into()),
        }
    }

    /// Lanes end that have not answered for too long, and the session when it has had none for too long.
    fn end_what_is_silent(&mut self) {
        while let Some(number) = self.engine.silent_lane(self.now * 1000) {
            self.lane_ended(number, LaneEnd::Broken(io::ErrorKind::TimedOut.into()));
        }
        if matches!(self.state, State::Joined) && self.engine.is_abandoned(self.now * 1000) {
            let timeout = self.options.lane_timeout.div_ceil(1000);
            self.fail(io::ErrorKind::TimedOut, format!("there was no lane for {timeout} s (--lane-timeout)"));
        }
    }

    /// Sends what the engine has for the lanes.
    fn push(&mut self) {
        self.unpushed = 0;
        if !self.is_alive() {
            return;
        }
        BURST.with_borrow_mut(|burst| {
            while let Some(number) = self.engine.next_burst(burst, self.now * 1000) {
                let Some(Slot::Open(lane, _)) = self.slots.get_mut(number) else {
                    debug_assert!(false, "a burst for a lane that is not there");
                    return;
                };
                match lane.send(burst, &self.engine) {
                    Ok(()) => {
                        let room = lane.line.has_room();
                        self.engine.has_room(number, room);
                    }
                    Err(error) => self.lane_ended(number, error.into()),
                }
            }
        });
    }
}

impl Endpoint for StripeEndpoint {
    const SHORT_MEANS_BLOCKED: bool = Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    /// That of its first lane: others may come from other addresses of the same peer.
    fn client_key(&self) -> Option<ClientKey> {
        self.lanes().next().and_then(|(_, lane)| lane.line.socket.client_key())
    }

    /// Those of its first lane, too.
    fn client_address(&self) -> Option<ClientAddress> {
        self.lanes().next().and_then(|(_, lane)| lane.line.socket.client_address())
    }

    fn addresses(&self) -> Addresses {
        self.lanes().next().map_or(Addresses::Unknown, |(_, lane)| lane.line.socket.addresses())
    }

    fn has_lanes(&self) -> bool {
        true
    }

    fn note_lane(&mut self, LaneNumber(number): LaneNumber, event: Readiness) {
        match self.slots.get_mut(usize::from(number)) {
            Some(Slot::Open(lane, _)) => lane.line.ready.add(event),
            Some(Slot::Dialing(attempt)) => attempt.note(event),
            Some(Slot::Empty) | None => {}
        }
    }

    fn settle(&mut self) -> bool {
        let was_readable = self.engine.readable();
        let waits = self.gap_may_be_filled();
        if !waits {
            self.read_unasked();
        }
        self.push();
        let readable = !waits && self.is_alive() && self.lanes().any(|(_, lane)| lane.line.ready.readable);
        // Said once: whoever was refused may have nothing left to write.
        let has_room_again = self.refused && self.engine.writable();
        self.refused &= !has_room_again;
        // What was read may be wanted, or may have ended it, and no event will come to say so.
        let is_news = self.is_over() && !self.is_told || self.engine.readable() && !was_readable;
        readable || has_room_again || is_news
    }

    fn deadline(&self) -> Option<u64> {
        if !self.is_alive() {
            return None;
        }
        let attempts = self.slots.iter().filter_map(|slot| match slot {
            Slot::Dialing(attempt) => Some(attempt.deadline()),
            Slot::Empty | Slot::Open(..) => None,
        });
        let gap = self.gap_since.map(|since| since + GAP_TIME);
        // Before there was a lane, the attempts alone have times.
        let joined = matches!(self.state, State::Joined);
        let of_engine = self.engine.deadline().filter(|_| joined).map(|at| at.div_ceil(1000));
        attempts.chain(of_engine).chain(gap).min()
    }

    fn would_lose(&self) -> bool {
        self.is_alive() && self.engine.unacknowledged() > 0
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut left = buffer.len() + UNASKED;
        let mut direct = Direct { buffer, filled: 0 };
        while !self.ended {
            match self.engine.read(&mut direct.buffer[direct.filled..], self.now * 1000) {
                Read::Bytes(n) => direct.filled += n,
                Read::End => {
                    self.ended = true;
                    break;
                }
                Read::Nothing => {}
            }
            let wanted = direct.buffer.len() - direct.filled;
            let Some(number) = self.next_readable().filter(|_| wanted > 0 && left > 0) else { break };
            left = left.saturating_sub(self.read_lane(number, wanted + HEADERS, Some(&mut direct)));
        }
        self.push();
        match (direct.filled, self.error()) {
            (0, _) if self.ended => Ok(0),
            (0, Some(error)) => Err(error),
            (0, None) => Err(io::ErrorKind::WouldBlock.into()),
            (filled, _) => Ok(filled),
        }
    }

    fn short_read_means_empty(&self) -> bool {
        false
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            if let Some(error) = self.error() {
                return Err(error);
            }
            let n = self.engine.write(&bytes[taken..]);
            taken += n;
            self.push();
            if n == 0 || taken == bytes.len() {
                break;
            }
        }
        self.refused = taken < bytes.len();
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn has_space(&self) -> bool {
        self.is_alive() && self.engine.writable()
    }

    fn space_is_full(&mut self) -> bool {
        if !self.is_alive() || self.engine.writable() {
            return false;
        }
        // What is acknowledged meanwhile makes room.
        self.push();
        self.refused = true;
        true
    }

    fn space(&mut self) -> &mut [u8] {
        self.engine.space()
    }

    fn fill_space(&mut self, bytes: usize) {
        self.engine.fill_space(bytes);
        self.refused = false;
        self.unpushed += bytes;
        if self.unpushed >= PUSHED_TOGETHER {
            self.push();
        }
    }

    fn can_splice_to(&self) -> bool {
        self.options.keys.is_empty()
    }

    fn can_splice_from(&self) -> bool {
        false
    }

    fn splice_to(&mut self, pipe: &mut KernelPipe, limit: usize) -> io::Result<usize> {
        let mut left = SINGLE_HEADERS;
        while left > 0 && self.is_alive() && !self.ended && !self.engine.readable() {
            let Some((number, room)) = self.lane_with_next() else {
                if self.read_header() {
                    left -= 1;
                    continue;
                }
                self.push();
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let Slot::Open(lane, _) = &mut self.slots[number] else { break };
            match lane.splice_to(pipe, room.min(limit)) {
                Ok(None) => {}
                Ok(Some(moved)) => {
                    self.engine.went_direct(number, moved as u64, self.now * 1000);
                    self.gap_since = None;
                    self.push();
                    return Ok(moved);
                }
                Err(end) => self.lane_ended(number, end),
            }
        }
        Ok(0)
    }

    fn unsent(&self) -> u32 {
        if self.is_alive() { u32::try_from(self.engine.unacknowledged()).unwrap_or(u32::MAX) } else { 0 }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.engine.finish();
        self.push();
        Ok(())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.error()
    }

    fn descriptor(&self) -> RawFd {
        let of_slot = |slot: &Slot| match slot {
            Slot::Open(lane, _) => Some(lane.line.socket.descriptor()),
            Slot::Dialing(attempt) => attempt.descriptor(),
            Slot::Empty => None,
        };
        self.slots.iter().find_map(of_slot).unwrap_or(self.descriptor)
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} stripe {}", self.name, self.id)
    }

    fn write_account(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.lanes().map(|(number, _)| self.engine.lane_report(number).sent_again);
        let again = self.sent_again + open.sum::<u64>();
        write!(f, ", {} lanes, {again} bytes sent again", self.lanes_ever)
    }
}
