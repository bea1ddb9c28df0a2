//! How the end that dials gets its lanes: all at once at first, and each again, with growing pauses, when it is lost.

use log::{Level, log};
use mio::{Registry, Token};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::lane::{Lane, Line};
use super::{LaneNumber, Readiness, SideName, Slot, State, StripeEndpoint};
use crate::address::StripeAddress;
use crate::base::error::error_text;
use crate::base::random::random;
use crate::endpoint::Endpoint;
use crate::endpoint::local::Bound;
use crate::endpoint::tcp::TcpEndpoint;
use crate::service::{SocketOptions, StripeOptions};
use crate::stripe::SessionId;
use crate::stripe::channel::Channel;
use crate::stripe::opening::{Dialing, Refusal};

/// The longest pause before the first try after a lane was lost, in milliseconds.
const FIRST_PAUSE: u64 = 50;

/// The longest pause before any other, in milliseconds.
const LONGEST_PAUSE: u64 = 5000;

/// How long the peer may take to answer an opening, in milliseconds.
const OPENING_TIMEOUT: u64 = 3000;

/// What the answer to an opening is read with, at most, in bytes.
const ANSWER: usize = 4096;

/// What an end dials its lanes with.
#[derive(Debug)]
pub struct Dialer {
    address: Arc<StripeAddress>,
    socket_options: SocketOptions,
    /// Chance.
    random: u64,
    /// The peer has been heard of on a lane, so that it knows the session, which must not be made another time.
    pub is_known: bool,
    /// Why the last attempt failed.
    last_failure: Option<(io::ErrorKind, String)>,
}

/// One of the lanes to be.
#[derive(Debug)]
pub struct Attempt {
    stage: Stage,
    /// How many attempts have failed since there was a lane last.
    failed: u32,
    /// The last of them failed only because the peer had too much to do.
    busy: bool,
}

#[derive(Debug)]
enum Stage {
    /// It is to be dialled at this time.
    Waiting(u64),
    /// It is being connected.
    Connecting { line: Line, give_up: u64 },
    /// The peer has been asked, and is to answer.
    Opening { line: Line, dialing: Dialing, since: u64, give_up: u64 },
}

/// What becomes of an attempt.
enum Progress {
    /// It waits as before.
    Same(Stage),
    /// It has come further, and may come further still at once.
    Further(Stage),
    Open {
        line: Line,
        channel: Channel,
        left: Vec<u8>,
        round_trip: u64,
    },
    Failed(io::ErrorKind, String),
    /// The peer has too much to do to open one more lane now.
    Busy(String),
}

impl Attempt {
    /// Notes what an event said.
    pub fn note(&mut self, event: Readiness) {
        match &mut self.stage {
            Stage::Waiting(_) => {}
            Stage::Connecting { line, .. } | Stage::Opening { line, .. } => line.ready.add(event),
        }
    }

    /// The descriptor of its connection, if there is one.
    pub fn descriptor(&self) -> Option<RawFd> {
        match &self.stage {
            Stage::Waiting(_) => None,
            Stage::Connecting { line, .. } | Stage::Opening { line, .. } => Some(line.socket.descriptor()),
        }
    }

    /// When there is something to do though no event came.
    pub fn deadline(&self) -> u64 {
        match self.stage {
            Stage::Waiting(at) => at,
            Stage::Connecting { give_up, .. } | Stage::Opening { give_up, .. } => give_up,
        }
    }
}

impl Dialer {
    /// An attempt after this many that failed.
    pub fn wait(&mut self, now: u64, failed: u32) -> Attempt {
        // The whole of it is jitter at first, as one that was lost alone is wanted back soon; half of it later, as the peer
        // may be the peer of many.
        let longest = (FIRST_PAUSE << failed.min(10)).min(LONGEST_PAUSE);
        let least = if failed == 0 { 0 } else { longest / 2 };
        let pause = least + self.chance() % (longest - least + 1);
        Attempt { stage: Stage::Waiting(now + pause), failed, busy: false }
    }

    /// The next of numbers that nobody needs to guess (Marsaglia, "Xorshift RNGs").
    fn chance(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Where lane `number` may go: the lanes take the targets in turn.
    fn addresses(&self, number: usize) -> &[SocketAddr] {
        let targets = &self.address.targets;
        &targets[number % targets.len()]
    }

    /// Where lane `number` goes at its attempt after `failed` ones.
    fn target(&self, number: usize, failed: u32) -> SocketAddr {
        let addresses = self.addresses(number);
        addresses[failed as usize % addresses.len()]
    }

    fn connect(&self, number: usize, failed: u32, sources: &[IpAddr]) -> io::Result<Line> {
        let target = self.target(number, failed);
        let usable: Vec<_> = sources.iter().filter(|source| source.is_ipv4() == target.is_ipv4()).collect();
        let source = usable.get(number % usable.len().max(1)).map(|source| **source);
        let mut line = Line::new(TcpEndpoint::connect_from(source.map(Bound::to_ip), target, &self.socket_options)?);
        line.prepare()?;
        Ok(line)
    }
}

impl StripeEndpoint {
    /// The end that dials: its lanes are dialled when it is tended to first.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn dial(
        address: &Arc<StripeAddress>,
        socket_options: &SocketOptions,
        options: &Arc<StripeOptions>,
    ) -> io::Result<StripeEndpoint> {
        let id = SessionId(random()?);
        let dialer = Dialer {
            address: address.clone(),
            socket_options: socket_options.clone(),
            random: u64::from_ne_bytes(random()?) | 1,
            is_known: false,
            last_failure: None,
        };
        let mut stripe = StripeEndpoint::new(id, options.clone(), 0);
        let attempt = || Slot::Dialing(Attempt { stage: Stage::Waiting(0), failed: 0, busy: false });
        stripe.slots.extend((0..options.lanes).map(|_| attempt()));
        stripe.name = address.to_string();
        stripe.dialer = Some(dialer);
        Ok(stripe)
    }

    /// Goes on with an attempt.
    pub(super) fn tend_attempt(&mut self, number: usize, registry: &Registry, token: &dyn Fn(LaneNumber) -> Token) {
        let Slot::Dialing(Attempt { mut stage, failed, busy }) =
            std::mem::replace(&mut self.slots[number], Slot::Empty)
        else {
            return;
        };
        let token = token(LaneNumber(number as u8));
        // As long as it goes on: what has connected can be asked at once.
        let progress = loop {
            match self.go_on(number, stage, failed, registry, token) {
                Progress::Further(next) => stage = next,
                progress => break progress,
            }
        };
        match progress {
            Progress::Same(stage) | Progress::Further(stage) => {
                self.slots[number] = Slot::Dialing(Attempt { stage, failed, busy })
            }
            Progress::Open { line, channel, left, round_trip } => {
                let mut lane = Lane::new(line, channel, &left);
                lane.failed = failed + 1;
                self.open(number, lane, None, round_trip, SideName::Remote);
            }
            Progress::Failed(kind, why) => self.attempt_failed(number, failed + 1, false, kind, why),
            Progress::Busy(why) => {
                self.attempt_failed(number, failed + 1, true, io::ErrorKind::ConnectionRefused, why);
            }
        }
    }

    /// One step of an attempt.
    fn go_on(&mut self, number: usize, stage: Stage, failed: u32, registry: &Registry, token: Token) -> Progress {
        let now = self.now;
        let timed_out = |why: &str| Progress::Failed(io::ErrorKind::TimedOut, why.to_string());
        let result = match stage {
            Stage::Waiting(at) if at <= now => self.connect(number, failed, registry, token),
            Stage::Connecting { line, .. } if line.ready.writable => self.ask(line),
            Stage::Opening { line, dialing, since, give_up } if line.ready.readable => {
                self.hear_answer(number, line, dialing, since, give_up)
            }
            Stage::Connecting { give_up, .. } if give_up <= now => Ok(timed_out("connect timeout")),
            Stage::Opening { give_up, .. } if give_up <= now => {
                Ok(timed_out("the peer has not answered in time as the acceptor of a stripe does"))
            }
            stage => Ok(Progress::Same(stage)),
        };
        result.unwrap_or_else(|error| Progress::Failed(error.kind(), error_text(&error)))
    }

    /// Begins to connect.
    fn connect(&mut self, number: usize, failed: u32, registry: &Registry, token: Token) -> io::Result<Progress> {
        let Some(dialer) = &self.dialer else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut line = dialer.connect(number, failed, &self.options.sources)?;
        line.register(registry, token)?;
        self.descriptor = line.socket.descriptor();
        let give_up = self.now.saturating_add(self.options.connect_timeout);
        Ok(Progress::Same(Stage::Connecting { line, give_up }))
    }

    /// Begins the opening of what has connected, if it has.
    fn ask(&mut self, mut line: Line) -> io::Result<Progress> {
        if let Some(error) = line.socket.take_error() {
            return Err(error);
        }
        line.socket.complete_names();
        let mut to_send = Vec::new();
        let dialing = Dialing::new(self.options.keys.first(), &mut to_send)?;
        line.send(&to_send)?;
        let (since, give_up) = (self.now, self.now + OPENING_TIMEOUT);
        Ok(Progress::Further(Stage::Opening { line, dialing, since, give_up }))
    }

    /// Goes on with the opening, by what the peer has answered.
    fn hear_answer(
        &mut self,
        number: usize,
        mut line: Line,
        mut dialing: Dialing,
        since: u64,
        give_up: u64,
    ) -> io::Result<Progress> {
        let mut answer = vec![0; ANSWER];
        let Some(came) = line.read_some(&mut answer)? else {
            return Ok(Progress::Same(Stage::Opening { line, dialing, since, give_up }));
        };
        let mut to_send = Vec::new();
        let may_be_made = self.dialer.as_ref().is_none_or(|dialer| !dialer.is_known);
        match dialing.receive(&answer[..came], self.id, number as u8, may_be_made, &mut to_send) {
            Err(refusal) => Ok(Progress::refused(&refusal)),
            Ok((_, None)) => Ok(Progress::Further(Stage::Opening { line, dialing, since, give_up })),
            Ok((used, Some(channel))) => {
                line.send(&to_send)?;
                let left = answer[used..came].to_vec();
                Ok(Progress::Open { line, channel, left, round_trip: self.now - since })
            }
        }
    }

    fn attempt_failed(&mut self, number: usize, failed: u32, busy: bool, kind: io::ErrorKind, why: String) {
        let Some(dialer) = &mut self.dialer else { return };
        let (id, target) = (self.id, dialer.target(number, failed - 1));
        let addresses = dialer.addresses(number).len();
        // One warning for what all lanes have in common, and nothing that is said again and again while the peer is away.
        let level = if failed as usize > addresses {
            Level::Debug
        } else if dialer.last_failure.as_ref().is_some_and(|(_, before)| *before == why) {
            Level::Info
        } else {
            Level::Warn
        };
        log!(level, "stripe {id}: lane {number} to {target} failed: {why}");
        dialer.last_failure = Some((kind, why));
        self.slots[number] = Slot::Dialing(Attempt { busy, ..dialer.wait(self.now, failed) });
        if matches!(self.state, State::New) && self.all_have_failed() {
            let failure = self.dialer.as_mut().and_then(|dialer| dialer.last_failure.take());
            let (kind, why) = failure.unwrap_or((io::ErrorKind::ConnectionRefused, String::new()));
            // Of this kind, it would be taken for a connection that there was.
            let kind = if kind == io::ErrorKind::ConnectionReset { io::ErrorKind::ConnectionRefused } else { kind };
            self.fail(kind, why);
        }
    }

    /// Whether each lane has been tried at each of its addresses. A peer that is busy is asked until the connect timeout.
    fn all_have_failed(&self) -> bool {
        let addresses = |number| self.dialer.as_ref().map_or(0, |dialer| dialer.addresses(number).len());
        self.slots.iter().enumerate().all(|(number, slot)| match slot {
            Slot::Dialing(attempt) => !attempt.busy && attempt.failed as usize >= addresses(number),
            Slot::Empty => true,
            Slot::Open(..) => false,
        })
    }
}

impl Progress {
    fn refused(refusal: &Refusal) -> Progress {
        if refusal.is_for_now() {
            return Progress::Busy(refusal.to_string());
        }
        Progress::Failed(io::ErrorKind::ConnectionRefused, refusal.to_string())
    }
}
