//! One client joined to one remote: two sides, two flows, and the state of both.

use log::{Level, info, log_enabled, warn};
use std::fmt;
use std::io;

use crate::batch::Batch;
use crate::endpoint::{Carries, Endpoint, Lifetime, Route, SideName};
use crate::flow::{Broken, Flow, Pace, Readiness, Side, Stopped};
use crate::log::{error_number, error_text};
use crate::pools::Pools;
use crate::text::ShortText;

/// What ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both flows reached their end and delivered everything.
    EndOfStream,
    /// A side was reset.
    Reset(SideName),
    /// A side failed in another way, named by the system's error in the line before.
    Error(SideName),
    /// No address of the remote could be connected to.
    ConnectFailed,
    /// The last address of the remote did not answer in time.
    ConnectTimeout,
    /// No byte moved for too long.
    IdleTimeout,
    /// The proxy stopped, and the session did not end in the time it was given.
    Drain,
    /// It made room for another client without a connection, having moved nothing for the longest time.
    MadeRoom,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::EndOfStream => f.write_str("end of stream"),
            End::Reset(side) => write!(f, "reset by {side}"),
            End::Error(side) => write!(f, "error on {side}"),
            End::ConnectFailed => f.write_str("connect failed"),
            End::ConnectTimeout => f.write_str("connect timeout"),
            End::IdleTimeout => f.write_str("idle timeout"),
            End::Drain => f.write_str("drain"),
            End::MadeRoom => f.write_str("made room"),
        }
    }
}

/// How an attempt to connect began.
#[derive(Debug)]
pub enum Dial<E> {
    /// The endpoint is connecting or connected; a writable event will say that it is.
    Started(E),
    /// The remote's queue is full: the same address is worth another try soon.
    Busy,
    /// It failed at once (and the dialer said why).
    Failed,
    /// There is no address of this number.
    NoSuchAddress,
}

/// Connects sessions to their remote.
pub trait Dialer<E> {
    /// Starts connecting to the remote's address of this number, from 0, for a client that carries this.
    fn dial(&mut self, address: usize, client: Carries) -> Dial<E>;
}

/// What a session needs to know of the thread and the turn in which it runs.
#[derive(Debug)]
pub struct Turn<'a, P> {
    /// What flows hold bytes in.
    pub pools: &'a mut Pools<P>,
    /// Milliseconds since the thread's origin.
    pub now: u64,
    /// Bytes that each flow may read.
    pub budget: usize,
    /// How long things may take.
    pub timeouts: &'a Timeouts,
}

/// How long things may take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// One attempt to connect.
    pub connect: u64,
    /// A session without a byte moving; `None`: for ever.
    pub idle: Option<u64>,
    /// The same for one whose client has no connection.
    pub connectionless: Option<u64>,
}

impl Timeouts {
    /// How long a session with such a client may go without a byte moving.
    fn idle(&self, client: Lifetime) -> Option<u64> {
        match client {
            Lifetime::Connection | Lifetime::Endless => self.idle,
            Lifetime::Idleness => self.connectionless,
        }
    }
}

/// How long a busy remote is left alone before it is tried again, in milliseconds.
const BUSY_PAUSE: u64 = 50;

/// How long the answer to the end of one side of a session with datagrams may keep it waiting, in milliseconds.
const LAST_ANSWER: u64 = 2000;

/// How long the system may take to send what such a session sent last, where nothing else moves, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// Bytes still read from a side that broke: more than receive queues hold by default (`tcp_rmem`).
const LAST_WORDS: usize = 8 << 20;

/// Whether a session will log routes, for which an endpoint must know all its names.
pub fn logs_routes() -> bool {
    log_enabled!(Level::Info)
}

/// What became of a session that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for an event or its timer.
    Waiting,
    /// It spent its budget and could still move.
    Spent,
    /// It is over and is to be closed.
    Ended(End),
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The remote was busy: it is to be dialled again at `retry`, and given up at `give_up`.
    Busy { retry: u64, give_up: u64 },
    /// A connection attempt is under way.
    Connecting { give_up: u64 },
    /// Bytes may move.
    Open { last_moved: u64 },
    /// One side of a session with datagrams has ended and the other has been told, which may still have an answer.
    Ending { last_moved: u64, give_up: u64 },
}

/// What a session has come to.
#[derive(Debug, Clone, Copy)]
struct Progress {
    moved: u64,
    dropped: u64,
}

/// How many datagrams were not delivered, for the end of a log line; nothing if all were.
struct Dropped(u64);

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(", 1 datagram dropped"),
            count => write!(f, ", {count} datagrams dropped"),
        }
    }
}

/// One client joined, or about to be joined, to one remote.
#[derive(Debug)]
pub struct Session<E: Endpoint> {
    client: Side<E>,
    remote: Option<Side<E>>,
    upstream: Flow<E::Pipe>,
    downstream: Flow<E::Pipe>,
    phase: Phase,
    /// The number of the address that is being tried or was connected to.
    address: usize,
}

impl<E: Endpoint> Session<E> {
    /// A session for a client that was just accepted; [`Session::start`] must follow.
    pub fn new(client: E, pace: Pace) -> Session<E> {
        let flow = || match client.carries() {
            Carries::Bytes => Flow::bytes(pace),
            Carries::Datagrams { .. } => Flow::datagrams(),
        };
        Session {
            upstream: flow(),
            downstream: flow(),
            client: Side {
                ready: Readiness { writable: client.connects_at_once(), ..Readiness::default() },
                endpoint: client,
            },
            remote: None,
            phase: Phase::Connecting { give_up: 0 },
            address: 0,
        }
    }

    /// Starts connecting to the first address of the remote that can be tried.
    pub fn start(&mut self, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        info!("connect client to proxy {}", Route(&self.client.endpoint, SideName::Client));
        self.dial(turn.now.saturating_add(turn.timeouts.connect), End::ConnectFailed, turn, dialer)
    }

    /// Notes what an event said of a side. The session is to be run then.
    pub fn ready(&mut self, side: SideName, ready: Readiness) {
        match (side, &mut self.remote) {
            (SideName::Client, _) => self.client.ready.add(ready),
            (SideName::Remote, Some(remote)) => remote.ready.add(ready),
            (SideName::Remote, None) => {}
        }
    }

    /// Moves datagrams that came for the client without being read from it.
    pub fn offer(&mut self, batch: &mut Batch, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        let before = self.progress();
        let remote = match self.phase {
            Phase::Open { .. } | Phase::Ending { .. } => self.remote.as_mut(),
            Phase::Busy { .. } | Phase::Connecting { .. } => None,
        };
        let offered = self.upstream.offer(batch, remote, turn.pools);
        if let (Err(broken), Some(remote)) = (&offered, &mut self.remote) {
            // What it had said before is still delivered; that it broke is what ends the session in any case.
            let _ = self.downstream.pump(remote, &mut self.client, turn.pools, LAST_WORDS);
            return Outcome::Ended(ended_by(broken, (&self.client, SideName::Client), (remote, SideName::Remote)));
        }
        self.note_progress(before, turn);
        Outcome::Waiting
    }

    /// Does what can be done now, within the turn's budget.
    pub fn run(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        match self.phase {
            Phase::Open { .. } | Phase::Ending { .. } => self.relay(turn),
            Phase::Busy { .. } | Phase::Connecting { .. } => {
                if let Some(end) = pending_error(&mut self.client, SideName::Client) {
                    return Outcome::Ended(end);
                }
                self.connect(turn, dialer)
            }
        }
    }

    /// Whether either flow carries bulk, as far as is known.
    pub fn is_bulk(&self) -> bool {
        self.upstream.is_bulk() || self.downstream.is_bulk()
    }

    /// Bytes that both flows have delivered, and what datagrams took beside their bytes.
    pub fn moved(&self) -> u64 {
        let flow = |flow: &Flow<E::Pipe>| flow.moved() + flow.counts().work;
        flow(&self.upstream) + flow(&self.downstream)
    }

    /// Since when nothing has moved, if bytes could: milliseconds since the thread's origin.
    pub fn last_moved(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { last_moved } | Phase::Ending { last_moved, .. } => Some(last_moved),
            Phase::Busy { .. } | Phase::Connecting { .. } => None,
        }
    }

    /// Whether nothing but the proxy will end it, as one of its sides is a device.
    pub fn is_endless(&self) -> bool {
        let endless = |side: &Side<E>| side.endpoint.lifetime() == Lifetime::Endless;
        endless(&self.client) || self.remote.as_ref().is_some_and(endless)
    }

    /// When the session wants to be run though no event came, in milliseconds; later by at most what moved since.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<u64> {
        match self.phase {
            Phase::Busy { retry, .. } => Some(retry),
            Phase::Connecting { give_up } => Some(give_up),
            Phase::Open { last_moved } => {
                timeouts.idle(self.client.endpoint.lifetime()).map(|idle| last_moved.saturating_add(idle))
            }
            Phase::Ending { last_moved, .. } => Some(last_moved.saturating_add(LAST_ANSWER)),
        }
    }

    /// Ends the session: gives back its buffers, logs, and resets both sides unless both flows had ended.
    pub fn close(mut self, end: End, pools: &mut Pools<E::Pipe>) {
        self.upstream.release(pools);
        self.downstream.release(pools);
        let moved = if logs_routes() { self.moved_text() } else { ShortText::default() };
        let moved = moved.as_str();
        let dropped = Dropped(self.progress().dropped);
        let client = &mut self.client.endpoint;
        info!("disconnect client to proxy {}: {end}, {moved}{dropped}", Route(client, SideName::Client));
        cut_off(client, SideName::Client, end);
        if let Some(Side { endpoint: remote, .. }) = &mut self.remote {
            info!("disconnect proxy to remote {}: {end}, {moved}{dropped}", Route(remote, SideName::Remote));
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

    fn connect(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        match (self.phase, &mut self.remote) {
            (Phase::Busy { give_up, .. }, _) if give_up <= turn.now => {
                self.try_next_address(End::ConnectTimeout, turn, dialer)
            }
            (Phase::Busy { retry, give_up }, _) if retry <= turn.now => {
                self.dial(give_up, End::ConnectFailed, turn, dialer)
            }
            (Phase::Connecting { .. }, Some(remote)) if remote.ready.writable => {
                // A failed attempt is writable too, but never without an error or a hang-up.
                let suspect = remote.ready.error || remote.ready.read_closed;
                match suspect.then(|| remote.endpoint.take_error()).flatten() {
                    None => {
                        self.open(turn.now);
                        self.relay(turn)
                    }
                    Some(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                        // It was connected, and is no longer: another address would not be the same remote.
                        log_error(&remote.endpoint, &error);
                        Outcome::Ended(End::Reset(SideName::Remote))
                    }
                    Some(error) => {
                        log_error(&remote.endpoint, &error);
                        self.try_next_address(End::ConnectFailed, turn, dialer)
                    }
                }
            }
            (Phase::Connecting { give_up }, Some(remote)) if give_up <= turn.now => {
                warn!("connect timeout proxy to remote {}", Route(&remote.endpoint, SideName::Remote));
                self.try_next_address(End::ConnectTimeout, turn, dialer)
            }
            _ => Outcome::Waiting,
        }
    }

    fn try_next_address(&mut self, reason: End, turn: &Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        self.address += 1;
        self.dial(turn.now.saturating_add(turn.timeouts.connect), reason, turn, dialer)
    }

    /// Dials the current address, or the next that can be; `reason` is why there is none, if there is none.
    fn dial(
        &mut self,
        give_up: u64,
        mut reason: End,
        turn: &Turn<'_, E::Pipe>,
        dialer: &mut impl Dialer<E>,
    ) -> Outcome {
        let first = self.address;
        loop {
            let give_up = match self.address {
                address if address == first => give_up,
                _ => turn.now.saturating_add(turn.timeouts.connect),
            };
            match dialer.dial(self.address, self.client.endpoint.carries()) {
                Dial::Started(endpoint) => {
                    self.log_given_up(reason);
                    let connected = endpoint.connects_at_once();
                    self.remote = Some(Side { endpoint, ready: Readiness::default() });
                    self.phase = Phase::Connecting { give_up };
                    if connected {
                        self.open(turn.now);
                    }
                    return Outcome::Waiting;
                }
                Dial::Busy => {
                    self.log_given_up(reason);
                    self.remote = None;
                    self.phase = Phase::Busy { retry: turn.now.saturating_add(BUSY_PAUSE).min(give_up), give_up };
                    return Outcome::Waiting;
                }
                Dial::Failed => {
                    self.address += 1;
                    reason = End::ConnectFailed;
                }
                Dial::NoSuchAddress => return Outcome::Ended(reason),
            }
        }
    }

    /// Logs the end of an attempt that another follows.
    fn log_given_up(&self, reason: End) {
        if let Some(remote) = &self.remote {
            info!("disconnect proxy to remote {}: {reason}", Route(&remote.endpoint, SideName::Remote));
        }
    }

    fn open(&mut self, now: u64) {
        if let Some(Side { endpoint, ready }) = &mut self.remote {
            info!("connect complete proxy to remote {}", Route(endpoint, SideName::Remote));
            ready.writable = true;
            let datagrams = endpoint.carries() != Carries::Bytes;
            if datagrams && self.client.endpoint.carries() == Carries::Bytes {
                (self.upstream, self.downstream) = (Flow::datagrams(), Flow::datagrams());
            }
        }
        self.phase = Phase::Open { last_moved: now };
    }

    fn progress(&self) -> Progress {
        let (up, down) = (self.upstream.counts(), self.downstream.counts());
        Progress { moved: self.moved(), dropped: up.dropped + down.dropped }
    }

    /// Notes that something moved since `before`, and what was dropped. Returns whether something moved.
    fn note_progress(&mut self, before: Progress, turn: &mut Turn<'_, E::Pipe>) -> bool {
        let after = self.progress();
        if after.dropped != before.dropped && turn.pools.drop_log.may_log(turn.now) {
            for (flow, name) in [(&self.upstream, "upstream"), (&self.downstream, "downstream")] {
                if let Some(why) = flow.counts().why {
                    let dropped = Dropped(flow.counts().dropped);
                    warn!("fd {}: {name}{dropped}, the last one because: {why}", self.client.endpoint.descriptor());
                }
            }
        }
        let moved = after.moved != before.moved;
        if let (true, Phase::Open { last_moved } | Phase::Ending { last_moved, .. }) = (moved, &mut self.phase) {
            *last_moved = turn.now;
        }
        moved
    }

    fn relay(&mut self, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        let before = self.progress();
        let (client, Some(remote)) = (&mut self.client, &mut self.remote) else { return Outcome::Waiting };
        let mut up = self.upstream.pump(client, remote, turn.pools, turn.budget);
        let mut down = self.downstream.pump(remote, client, turn.pools, turn.budget);
        match (&up, &down) {
            // Closing the sockets says what is still to be said.
            (Ok(Stopped::Drained), Ok(Stopped::Drained)) => return Outcome::Ended(End::EndOfStream),
            (Ok(Stopped::Drained), Ok(_)) => {
                if let Err(error) = self.upstream.finish(remote) {
                    up = Err(Broken::Sink(error));
                }
            }
            (Ok(_), Ok(Stopped::Drained)) => {
                if let Err(error) = self.downstream.finish(client) {
                    down = Err(Broken::Sink(error));
                }
            }
            _ => {}
        }
        // A side that no longer takes bytes may have said something before: that is still delivered.
        if matches!((&up, &down), (Err(Broken::Sink(_)), Ok(Stopped::Spent))) {
            down = self.downstream.pump(remote, client, turn.pools, LAST_WORDS);
        }
        if matches!((&up, &down), (Ok(Stopped::Spent), Err(Broken::Sink(_)))) {
            up = self.upstream.pump(client, remote, turn.pools, LAST_WORDS);
        }

        if let Err(broken) = &up {
            return Outcome::Ended(ended_by(broken, (client, SideName::Client), (remote, SideName::Remote)));
        }
        if let Err(broken) = &down {
            return Outcome::Ended(ended_by(broken, (remote, SideName::Remote), (client, SideName::Client)));
        }
        if let Some(end) = unread_error(client, SideName::Client, up.as_ref().ok())
            .or_else(|| unread_error(remote, SideName::Remote, down.as_ref().ok()))
        {
            return Outcome::Ended(end);
        }

        if self.upstream.ends_session() {
            let told = match (&up, &down) {
                (Ok(Stopped::Drained), _) => Some(remote.endpoint.takes_an_end()),
                (_, Ok(Stopped::Drained)) => Some(client.endpoint.takes_an_end()),
                _ => None,
            };
            match (told, self.phase) {
                (Some(false), _) => return Outcome::Ended(End::EndOfStream),
                (Some(true), Phase::Open { .. }) => {
                    self.phase = Phase::Ending { last_moved: turn.now, give_up: turn.now + LAST_BYTES };
                }
                _ => {}
            }
        }
        let unsent = match self.phase {
            Phase::Ending { .. } => {
                let kept = self.upstream.keeps() || self.downstream.keeps();
                kept || client.endpoint.has_unsent() || remote.endpoint.has_unsent()
            }
            _ => false,
        };
        if !self.note_progress(before, turn) && self.deadline(turn.timeouts).is_some_and(|at| at <= turn.now) {
            match &mut self.phase {
                // What is kept would be lost; what the system has would be, were the peer to answer a closed socket.
                Phase::Ending { last_moved, give_up } if unsent && *give_up > turn.now => *last_moved = turn.now,
                Phase::Ending { .. } if !unsent => return Outcome::Ended(End::EndOfStream),
                _ => return Outcome::Ended(End::IdleTimeout),
            }
        }
        match (up, down) {
            (Ok(Stopped::Spent), _) | (_, Ok(Stopped::Spent)) => Outcome::Spent,
            _ => Outcome::Waiting,
        }
    }
}

/// The error of a side whose flow will not find it by reading: it is blocked by the other side, or done.
fn unread_error<E: Endpoint>(side: &mut Side<E>, name: SideName, stopped: Option<&Stopped>) -> Option<End> {
    match stopped {
        Some(Stopped::Spent) => None,
        _ => pending_error(side, name),
    }
}

/// Looks for a pending error if an event said that there may be one.
fn pending_error<E: Endpoint>(side: &mut Side<E>, name: SideName) -> Option<End> {
    if !std::mem::take(&mut side.ready.error) {
        return None;
    }
    let error = side.endpoint.take_error()?;
    log_error(&side.endpoint, &error);
    Some(end_for(&error, name))
}

/// Logs how a flow broke, and names the end of the session.
fn ended_by<E: Endpoint>(broken: &Broken, source: (&Side<E>, SideName), sink: (&Side<E>, SideName)) -> End {
    let ((side, name), error) = match broken {
        Broken::Source(error) => (source, error),
        Broken::Sink(error) => (sink, error),
    };
    log_error(&side.endpoint, error);
    end_for(error, name)
}

fn end_for(error: &io::Error, side: SideName) -> End {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected | UnexpectedEof => End::Reset(side),
        _ => End::Error(side),
    }
}

fn log_error<E: Endpoint>(endpoint: &E, error: &io::Error) {
    info!("fd {} errno {}: {}", endpoint.descriptor(), error_number(error), error_text(error));
}

/// Makes the close that follows tell the side that its stream was cut off, if it was and the side does not know.
fn cut_off<E: Endpoint>(endpoint: &mut E, side: SideName, end: End) {
    if end != End::EndOfStream && end != End::Reset(side) {
        endpoint.abort();
    }
}
