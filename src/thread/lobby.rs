//! Where connections wait that are to be lanes of stripes, until they have said of which session and, where there is a
//! key, have proved that they have it. Until then a connection costs little and makes nothing.

use log::{info, warn};
use mio::Registry;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Message;
use super::accepting::Client;
use super::dial::{ThreadHost, lane_token};
use super::mailbox::Mailbox;
use super::sessions::Sessions;
use super::tokens::Place;
use crate::base::error::error_text;
use crate::base::random::random;
use crate::endpoint::stripe::{Arrival, Lane, Line, StripeEndpoint};
use crate::endpoint::{Endpoint, Readiness, Route, SideName, Socket};
use crate::service::Service;
use crate::service::admission::Admission;
use crate::service::stripes::{Home, Stripes};
use crate::stripe::SessionId;
use crate::stripe::frame::{CloseCode, Frame};
use crate::stripe::opening::{Arrived, Arriving, Refusal};

/// How long a connection may wait, in milliseconds.
const PATIENCE: u64 = 3000;

/// How many may wait in the process.
const MOST_WAITING: usize = 256;

/// Bytes read from one at once, at most.
const READ: usize = 4096;

/// How many of them may be logged in a second.
const LINES: u32 = 10;

/// What the threads share that have lanes.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    /// Which session is on which thread.
    pub stripes: Arc<Stripes>,
    /// How the threads are reached.
    pub threads: Arc<OnceLock<Vec<Mailbox<Message>>>>,
}

/// A lane that joins a session of another thread.
pub struct HandedOver {
    id: SessionId,
    service: Arc<Service>,
    arrival: Arrival,
}

impl std::fmt::Debug for HandedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandedOver({})", self.id)
    }
}

/// The connections of one thread that are to be lanes.
#[derive(Debug)]
pub struct Lobby {
    waiting: Slab<Waiting>,
    /// In the order in which they came, with their serial numbers, those that are gone among them.
    order: VecDeque<(usize, u64)>,
    /// Those of which something was heard.
    heard: Vec<usize>,
    serial: u64,
    shared: Shared,
    /// The number of this thread.
    thread: usize,
    most: usize,
    admission: Admission,
    lines: Lines,
}

#[derive(Debug)]
struct Waiting {
    line: Line,
    arriving: Arriving,
    service: Arc<Service>,
    is_framed: bool,
    serial: u64,
    /// When it came, in milliseconds.
    since: u64,
    /// When it was answered.
    answered: Option<u64>,
}

/// How much is logged of what anybody can cause.
#[derive(Debug, Default)]
struct Lines {
    second: u64,
    count: u32,
    left_out: u64,
}

impl Lines {
    /// Whether one more may be logged; if so, how many were not.
    fn may_log(&mut self, now: u64) -> Option<u64> {
        if now / 1000 != self.second {
            (self.second, self.count) = (now / 1000, 0);
        }
        self.count += 1;
        if self.count > LINES {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Lobby {
    /// An empty one, of the thread of this number of so many.
    pub fn new(shared: Shared, thread: usize, threads: usize, admission: Admission) -> Lobby {
        Lobby {
            waiting: Slab::new(),
            order: VecDeque::new(),
            heard: Vec::new(),
            serial: 0,
            shared,
            thread,
            most: (MOST_WAITING / threads).max(16),
            admission,
            lines: Lines::default(),
        }
    }

    /// How long there is nothing to do but for events; `None`: until one comes.
    #[inline]
    pub fn wait(&self, now: u64) -> Option<Duration> {
        let &(index, _) = self.order.front()?;
        let since = self.waiting.get(index).map_or(0, |waiting| waiting.since);
        Some(Duration::from_millis((since + PATIENCE).saturating_sub(now)))
    }

    /// Takes a connection in.
    pub fn add(&mut self, client: Client, registry: &Registry, now: u64) {
        if self.waiting.len() >= self.most {
            // Whoever came first has had the most time. As long as openings take less than these last, an honest one is
            // through before it is the oldest.
            if let Some(index) = self.oldest() {
                self.turn_away(index, now);
            }
        }
        let Client { socket, service, .. } = client;
        let Some((socket, is_framed)) = socket.into_tcp() else { return self.admission.session_ended() };
        let mut line = Line::new(socket);
        // Nothing has been sent, so there is room for an answer.
        line.ready.writable = true;
        let index = self.waiting.vacant_key();
        let challenge = random().and_then(|challenge| {
            line.prepare()?;
            line.socket.apply(&service.options)?;
            line.register(registry, Place::Arriving(index).token())?;
            Ok(challenge)
        });
        match challenge {
            Ok(challenge) => {
                self.serial += 1;
                self.order.push_back((index, self.serial));
                let arriving = Arriving::new(challenge);
                let serial = self.serial;
                self.waiting.insert(Waiting { line, arriving, service, is_framed, serial, since: now, answered: None });
            }
            Err(error) => {
                warn!("a lane cannot be opened: {}", error_text(&error));
                self.admission.session_ended();
            }
        }
    }

    /// Notes an event of one of them.
    pub fn note(&mut self, index: usize, event: Readiness) {
        if let Some(waiting) = self.waiting.get_mut(index) {
            waiting.line.ready.add(event);
            self.heard.push(index);
        }
    }

    /// Goes on with those of which something was heard, and lets those go that have waited for too long.
    #[inline]
    pub fn run(&mut self, sessions: &mut Sessions<Socket>, host: &mut ThreadHost<'_>) {
        if !self.order.is_empty() {
            self.run_waiting(sessions, host);
        }
    }

    fn run_waiting(&mut self, sessions: &mut Sessions<Socket>, host: &mut ThreadHost<'_>) {
        for index in std::mem::take(&mut self.heard) {
            self.hear(index, sessions, host);
        }
        while let Some(index) = self.oldest() {
            if host.now < self.waiting[index].since + PATIENCE {
                break;
            }
            self.let_go(index, host.now, "it was not opened in time");
        }
    }

    /// The one that has waited for longest.
    fn oldest(&mut self) -> Option<usize> {
        while let Some(&(index, serial)) = self.order.front() {
            if self.waiting.get(index).is_some_and(|waiting| waiting.serial == serial) {
                return Some(index);
            }
            self.order.pop_front();
        }
        None
    }

    /// Reads what one of them says.
    fn hear(&mut self, index: usize, sessions: &mut Sessions<Socket>, host: &mut ThreadHost<'_>) {
        let mut bytes = [0; READ];
        while let Some(waiting) = self.waiting.get_mut(index).filter(|waiting| waiting.line.ready.readable) {
            let came = match waiting.line.read_some(&mut bytes) {
                Ok(Some(came)) => came,
                Ok(None) => return,
                Err(error) => return self.let_go(index, host.now, &error_text(&error)),
            };
            let mut to_send = Vec::new();
            let keys = &waiting.service.stripe.keys;
            match waiting.arriving.receive(&bytes[..came], keys, &mut to_send) {
                Ok((used, None)) if used == came => {
                    if !to_send.is_empty() {
                        waiting.answered = Some(host.now);
                    }
                    if let Err(error) = waiting.line.send(&to_send) {
                        return self.let_go(index, host.now, &error_text(&error));
                    }
                }
                Ok((_, None)) => return self.let_go(index, host.now, "it said too much"),
                Ok((used, Some(arrived))) => {
                    let waiting = self.waiting.remove(index);
                    return self.join(waiting, arrived, bytes[used..came].to_vec(), sessions, host);
                }
                Err(refusal) => {
                    if let Some(answer) = refusal.answer() {
                        waiting.line.send_last(&answer);
                    }
                    return self.let_go(index, host.now, &refusal.to_string());
                }
            }
        }
    }

    /// A lane is open: it joins the session that it names, wherever that is.
    fn join(
        &mut self,
        waiting: Waiting,
        arrived: Arrived,
        left: Vec<u8>,
        sessions: &mut Sessions<Socket>,
        host: &mut ThreadHost<'_>,
    ) {
        let Waiting { mut line, service, is_framed, answered, .. } = waiting;
        if let Err(error) = line.deregister(host.registry) {
            warn!("a lane cannot be opened: {}", error_text(&error));
            return self.admission.session_ended();
        }
        let (id, stripes) = (arrived.join.id, self.shared.stripes.clone());
        let round_trip = answered.map_or(0, |at| host.now.saturating_sub(at));
        let arrival = Arrival { number: arrived.join.lane, line, channel: arrived.channel, left, round_trip };
        match stripes.home(id, &service.name, arrived.join.may_be_made, self.thread, Instant::now()) {
            Home::New => self.make(id, arrival, service, is_framed, sessions, host),
            Home::Session { thread, .. } if thread != self.thread => {
                let others = self.shared.threads.get().and_then(|threads| threads.get(thread));
                let message = Message::Lane(Box::new(HandedOver { id, service, arrival }));
                if others.is_none_or(|thread| thread.send(message).is_err()) {
                    self.admission.session_ended();
                }
            }
            Home::Session { key, .. } => self.add_to(key, id, arrival, sessions, host),
            Home::Finished => self.refuse(id, arrival, CloseCode::Finished, host.now),
            Home::Unknown => self.refuse(id, arrival, CloseCode::UnknownSession, host.now),
        }
    }

    /// Takes a lane that came to another thread.
    pub fn receive(&mut self, lane: HandedOver, sessions: &mut Sessions<Socket>, host: &mut ThreadHost<'_>) {
        let HandedOver { id, service, arrival } = lane;
        match self.shared.stripes.home(id, &service.name, false, self.thread, Instant::now()) {
            Home::Session { thread, key } if thread == self.thread => self.add_to(key, id, arrival, sessions, host),
            Home::Finished => self.refuse(id, arrival, CloseCode::Finished, host.now),
            _ => self.refuse(id, arrival, CloseCode::UnknownSession, host.now),
        }
    }

    /// Makes a session, with its first lane.
    fn make(
        &mut self,
        id: SessionId,
        mut arrival: Arrival,
        service: Arc<Service>,
        is_framed: bool,
        sessions: &mut Sessions<Socket>,
        host: &mut ThreadHost<'_>,
    ) {
        let registered = self.shared.stripes.registered(id);
        // What holds for clients was not asked of a lane; its peer is the client from here on.
        let (client, now) = (|| arrival.line.socket.client_address(), || host.now);
        let let_in = match service.takes_headers() {
            true => service.let_unknown_in(None, client, now),
            false => service.let_in(None, client, now),
        };
        let Ok(ticket) = let_in else {
            return self.end(arrival, CloseCode::Reset);
        };
        let endpoint = StripeEndpoint::accepted(id, service.stripe.clone(), registered, &mut arrival.line, host.now);
        let socket = Socket::Stripe(Box::new(endpoint));
        let socket = if is_framed { socket.framed() } else { socket };
        // The session itself has the room that its first lane was given.
        let Some(key) = sessions.start(socket, service, ticket, host) else { return };
        self.shared.stripes.made(id, key);
        if let Some(stripe) = sessions.client_to_run(key).and_then(Socket::stripe_mut) {
            let token = lane_token(key, SideName::Client);
            if let Err(error) = stripe.add_lane(arrival, None, host.registry, &token, host.now) {
                warn!("stripe {id}: a lane cannot be added: {}", error_text(&error));
            }
        }
    }

    /// Adds a lane to a session of this thread.
    fn add_to(
        &mut self,
        key: Option<usize>,
        id: SessionId,
        arrival: Arrival,
        sessions: &mut Sessions<Socket>,
        host: &mut ThreadHost<'_>,
    ) {
        let found = key.and_then(|key| Some((key, sessions.client_to_run(key)?.stripe_mut()?)));
        let Some((key, stripe)) = found.filter(|(_, stripe)| stripe.id() == id && stripe.is_alive()) else {
            return self.refuse(id, arrival, CloseCode::UnknownSession, host.now);
        };
        let guard = Box::new(LaneRoom(self.admission.clone()));
        let added = stripe.add_lane(arrival, Some(guard), host.registry, &lane_token(key, SideName::Client), host.now);
        if let Err(error) = added {
            self.log(host.now, &format!("stripe {id}: a lane cannot be added: {}", error_text(&error)));
        }
    }

    fn refuse(&mut self, id: SessionId, arrival: Arrival, code: CloseCode, now: u64) {
        let line = format!("stripe {id}: a lane came too late: {code}");
        self.end(arrival, code);
        self.log(now, &line);
    }

    /// Tells a lane that there is no session for it.
    fn end(&mut self, arrival: Arrival, code: CloseCode) {
        Lane::new(arrival.line, arrival.channel, &[]).say_last(&Frame::Close(code));
        self.admission.session_ended();
    }

    /// Lets one go that others need the place of. It is told, if it was not answered before, so that it comes again.
    fn turn_away(&mut self, index: usize, now: u64) {
        let waiting = &mut self.waiting[index];
        if let Some(answer) = Refusal::TooManyLanes.answer().filter(|_| waiting.answered.is_none()) {
            waiting.line.send_last(&answer);
        }
        self.let_go(index, now, &Refusal::TooManyLanes.to_string());
    }

    fn let_go(&mut self, index: usize, now: u64, why: &str) {
        let waiting = self.waiting.remove(index);
        self.admission.session_ended();
        let route = Route(&waiting.line.socket, SideName::Client);
        let line = waiting.service.named(&format_args!("lane {route} is not opened: {why}"));
        let _level = waiting.service.log_scope();
        self.log(now, &line);
    }

    fn log(&mut self, now: u64, line: &str) {
        match self.lines.may_log(now) {
            None => {}
            Some(0) => info!("{line}"),
            Some(left_out) => info!("{line} ({left_out} lines like this were left out)"),
        }
    }
}

/// The room that a lane takes, until it ends.
#[derive(Debug)]
struct LaneRoom(Admission);

impl Drop for LaneRoom {
    fn drop(&mut self) {
        self.0.session_ended();
    }
}
