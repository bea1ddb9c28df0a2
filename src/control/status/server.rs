//! The thread's loop: a turn polls, takes orders and answers of threads, accepts clients, and goes on with those that can.

use crossbeam_channel::Receiver;
use log::debug;
use mio::{Events, Poll, Token};
use slab::Slab;
use std::io;
use std::time::{Duration, Instant};

use super::client::{Progress, SocketClient};
use super::gather::Gatherer;
use super::request::{Request, Target};
use super::response::Response;
use super::{Order, Place};
use crate::base::error::error_text;
use crate::counters::ThreadSnapshot;
use crate::log::flush;
use crate::status::history::History;
use crate::status::json::json;
use crate::status::metrics::{self, Format};
use crate::status::page::{ICON, SCRIPT, STYLE, View, page};
use crate::status::rates::Rates;
use crate::status::snapshot::Snapshot;
use crate::thread::mailbox::Inbox;
use crate::thread::readiness;
use crate::thread::tokens::INBOX;

/// How many clients there may be at once.
pub(super) const MOST_CLIENTS: usize = 64;

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 128;

const LISTENER: Token = Token(usize::MAX - 1);

/// How long it is waited after a client could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// How often something is noted for the chart while somebody looks at the page, and else.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);

/// So long after the last look at the page somebody still looks: a browser without a script does so each 5 s.
const LOOKING: Duration = Duration::from_secs(8);

/// Room for one more client.
enum Room {
    /// There is some.
    Free,
    /// This one makes it, which has asked for nothing for longest.
    Of(usize),
}

/// The state of the thread.
pub(super) struct Server {
    poll: Poll,
    inbox: Inbox<ThreadSnapshot>,
    orders: Receiver<Order>,
    place: Place,
    /// Whether there may be a client to accept, and from when on it is tried.
    may_accept: bool,
    accept_at: Option<Instant>,
    clients: Slab<SocketClient>,
    gatherer: Gatherer,
    rates: Rates,
    history: History,
    /// When something was last noted for the chart.
    noted: Option<Instant>,
    /// When the page was last looked at.
    looked: Option<Instant>,
}

impl Server {
    /// The thread's state; [`Server::run`] is to be called on the thread.
    pub(super) fn new(
        poll: Poll,
        inbox: Inbox<ThreadSnapshot>,
        orders: Receiver<Order>,
        mut place: Place,
        gatherer: Gatherer,
    ) -> io::Result<Server> {
        place.listener.register(poll.registry(), LISTENER)?;
        Ok(Server {
            poll,
            inbox,
            orders,
            place,
            may_accept: true,
            accept_at: None,
            clients: Slab::new(),
            gatherer,
            rates: Rates::default(),
            history: History::default(),
            noted: None,
            looked: None,
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            let wait = self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let orders = &self.orders;
            self.inbox.poll(&mut self.poll, &mut events, wait, || orders.is_empty());
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    INBOX => {}
                    LISTENER => self.may_accept = true,
                    Token(key) => {
                        if let Some(client) = self.clients.get_mut(key) {
                            client.note(readiness(event));
                            self.go_on(key, now);
                        }
                    }
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                match order {
                    Order::Follow(services) => self.gatherer.follow(services),
                    Order::Drain => self.gatherer.drain(),
                    Order::Stop => return flush(),
                }
            }
            self.gather(now);
            self.end_late(now);
            self.accept(now);
            flush();
        }
    }

    /// When something is to be done though nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|(_, client)| client.deadline()).min();
        // A look that is under way ends with a note.
        let look = self.gatherer.deadline().or_else(|| self.note_at());
        [clients, self.accept_at, look].into_iter().flatten().min()
    }

    /// When the next note for the chart is due; `None`: at once, as there is none yet.
    fn note_at(&self) -> Option<Instant> {
        let noted = self.noted?;
        Some(noted + if self.is_looked_at(noted) { SOON } else { LATER })
    }

    /// Whether somebody looks at the page.
    fn is_looked_at(&self, now: Instant) -> bool {
        self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOKING)
    }

    /// Takes what threads have answered, and answers clients when it is complete.
    fn gather(&mut self, now: Instant) {
        while let Some(snapshot) = self.inbox.next() {
            self.gatherer.answer(snapshot);
        }
        if let Some(snapshot) = self.gatherer.finish(now) {
            self.rates.add(snapshot);
            self.history.add(snapshot);
            self.noted = Some(now);
            let waiting = self.clients.iter().filter(|(_, client)| client.request().is_some());
            for key in waiting.map(|(key, _)| key).collect::<Vec<_>>() {
                self.go_on(key, now);
            }
        }
        if self.note_at().is_none_or(|at| at <= now) {
            // With the sessions, so that whoever looks again is told how fast their bytes move.
            self.gatherer.ask(self.is_looked_at(now), now);
        }
    }

    /// Goes on with a client as far as can be.
    fn go_on(&mut self, key: usize, now: Instant) {
        while let Some(client) = self.clients.get_mut(key) {
            match client.run(now) {
                Progress::Waits => return,
                Progress::Ended => {
                    self.clients.remove(key);
                    // There may be somebody who waits for room.
                    self.may_accept = true;
                }
                Progress::Asks(request) => match self.response(request, now) {
                    Some(response) => self.clients[key].answer(&response, now),
                    None => return,
                },
            }
        }
    }

    /// The answer to a request; `None`: the threads have to be asked first.
    fn response(&mut self, request: Request, now: Instant) -> Option<Response> {
        let with_rows = match request.target {
            Target::Page(_) | Target::Json => true,
            Target::Metrics { .. } => false,
            Target::Health => return Some(Response::health(self.gatherer.is_draining())),
            Target::Script => return Some(Response::of("text/javascript; charset=utf-8", SCRIPT)),
            Target::Style => return Some(Response::of("text/css; charset=utf-8", STYLE)),
            Target::Icon => return Some(Response::of("image/svg+xml", ICON)),
            Target::Unknown => return Some(Response::not_found()),
        };
        if with_rows {
            self.looked = Some(now);
        }
        let Some(snapshot) = self.gatherer.fresh(with_rows, now) else {
            self.gatherer.ask(with_rows, now);
            return None;
        };
        Some(self.tell(request.target, snapshot))
    }

    /// What a snapshot says, as it is asked for.
    fn tell(&self, target: Target, snapshot: &Snapshot) -> Response {
        match target {
            Target::Page(sort) => {
                let view = View { snapshot, rates: &self.rates, history: &self.history, sort };
                Response::of("text/html; charset=utf-8", page(&view))
            }
            Target::Json => Response::of("application/json", json(snapshot)),
            Target::Metrics { open } => {
                let format = if open { Format::OpenMetrics } else { Format::Prometheus };
                Response::of(format.content_type(), metrics::text(snapshot, format))
            }
            _ => Response::not_found(),
        }
    }

    /// Ends clients that have taken too long.
    fn end_late(&mut self, now: Instant) {
        let before = self.clients.len();
        self.clients.retain(|_, client| client.deadline().is_none_or(|deadline| now < deadline));
        self.may_accept |= self.clients.len() < before;
    }

    /// Accepts clients, if there is room for them or room can be made.
    fn accept(&mut self, now: Instant) {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            self.may_accept = true;
        }
        while self.may_accept && self.accept_at.is_none() {
            let Some(room) = self.room() else { return };
            match self.place.listener.accept() {
                Ok(mut socket) => {
                    if let Room::Of(key) = room {
                        self.clients.remove(key);
                    }
                    let entry = self.clients.vacant_entry();
                    let key = entry.key();
                    if let Err(error) = socket.register(self.poll.registry(), Token(key)) {
                        debug!("status page: registering a client: {}", error_text(&error));
                        continue;
                    }
                    entry.insert(SocketClient::new(socket, self.place.reach, now));
                    self.go_on(key, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_accept = false,
                // It concerns one client, which is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    debug!("status page: accept error: {}", error_text(&error));
                    self.accept_at = Some(now + PAUSE);
                }
            }
        }
    }

    /// Where there is room for one more client; `None`: nowhere, until one has been answered or has taken too long.
    fn room(&self) -> Option<Room> {
        if self.clients.len() < MOST_CLIENTS {
            return Some(Room::Free);
        }
        let idle = self.clients.iter().filter_map(|(key, client)| Some((client.idle_since()?, key)));
        idle.min().map(|(_, key)| Room::Of(key))
    }
}
