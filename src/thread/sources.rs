//! The bound datagram sockets of one thread, from which the datagrams of its sources are read.

use log::warn;
use mio::Registry;
use mio::event::Event;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::change::{Change, ListenerId};
use super::dealing::{Arrivals, Door};
use super::sessions::{Host, Sessions};
use super::tokens::Place;
use crate::base::error::{error_number, error_text};
use crate::endpoint::datagram::Origin;
use crate::endpoint::source::{SourceEndpoint, SourceSocket};
use crate::endpoint::{Endpoint, Received, Socket};
use crate::service::Service;

/// A bound socket, and what events said of it.
#[derive(Debug)]
struct Bound {
    socket: Arc<SourceSocket>,
    /// The service of new sources; `None`: it was removed, and none are let in.
    service: Option<Arc<Service>>,
    readable: bool,
    /// It takes more, and somebody waits for that.
    writable: bool,
    /// It waits for its turn, as one of these is true.
    queued: bool,
}

/// The bound datagram sockets of one thread, and what was read from them.
#[derive(Debug, Default)]
pub struct Sources {
    bound: Slab<Bound>,
    indices: HashMap<ListenerId, usize>,
    /// Those that have something to read, or have room again, in the order of their turns.
    turns: VecDeque<usize>,
    /// Those whose clients may have to be tried again without an event.
    retrying: Vec<usize>,
    /// Those that were removed, and are closed when their sources' sessions have ended.
    removed: Vec<(ListenerId, usize)>,
    arrivals: Arrivals,
    /// Room for clients that need not wait any longer.
    woken: Vec<Origin>,
}

impl Sources {
    /// Adds, changes and removes sockets. One that is removed serves the sessions of its sources to their ends, which
    /// they are given soon; one that is removed once more is closed at once, as its address is wanted again.
    pub fn change(
        &mut self,
        change: Change<SourceSocket>,
        registry: &Registry,
        sessions: &mut Sessions<Socket>,
        host: &mut impl Host<Socket>,
    ) {
        for (id, socket, service) in change.added {
            if let Err(error) = self.add(id, socket, service, registry) {
                warn!("a socket cannot be watched: {}", error_text(&error));
            }
        }
        for kept in change.kept {
            if let Some(bound) = self.indices.get(&kept.id).and_then(|&index| self.bound.get_mut(index)) {
                bound.service = Some(kept.service);
            }
        }
        for id in change.removed {
            if let Some(index) = self.indices.remove(&id) {
                self.bound[index].service = None;
                self.removed.push((id, index));
                sessions.close_door(index);
            } else if let Some(&(_, index)) = self.removed.iter().find(|(removed, _)| *removed == id) {
                sessions.end_sources(index, host);
            }
        }
        self.close_removed(sessions);
    }

    fn add(
        &mut self,
        id: ListenerId,
        mut socket: SourceSocket,
        service: Arc<Service>,
        registry: &Registry,
    ) -> io::Result<()> {
        let entry = self.bound.vacant_entry();
        let index = entry.key();
        socket.register(registry, Place::Source(index).token())?;
        if socket.may_retry() {
            self.retrying.push(index);
        }
        let socket = Arc::new(socket);
        entry.insert(Bound { socket, service: Some(service), readable: true, writable: false, queued: true });
        self.turns.push_back(index);
        self.indices.insert(id, index);
        Ok(())
    }

    /// Notes an event of a socket, by its index.
    pub fn note(&mut self, index: usize, event: &Event) {
        let Some(bound) = self.bound.get_mut(index) else { return };
        bound.readable |= event.is_readable() || event.is_error();
        bound.writable |= (event.is_writable() || event.is_error()) && bound.socket.is_news();
        if !std::mem::replace(&mut bound.queued, true) {
            self.turns.push_back(index);
        }
    }

    /// How long there is nothing to do: `None` until an event comes.
    pub fn wait(&self) -> Option<Duration> {
        if !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.retrying.is_empty() {
            return None;
        }
        let retry_at = self.retrying.iter().filter_map(|&index| self.bound[index].socket.retry_at()).min();
        retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Takes datagrams of sources, for one budget of bytes from each socket, and deals them to their sessions.
    pub fn receive(&mut self, sessions: &mut Sessions<Socket>, host: &mut impl Host<Socket>) {
        if self.bound.is_empty() {
            return;
        }
        for position in 0..self.retrying.len() {
            self.wake(self.retrying[position], sessions);
        }
        for _ in 0..self.turns.len() {
            let Some(index) = self.turns.pop_front() else { break };
            self.wake(index, sessions);
            let bound = &mut self.bound[index];
            let mut budget = sessions.budget();
            while budget > 0 && bound.receive(&mut self.arrivals) {
                let client = |origin: &Origin| Socket::Source(SourceEndpoint::new(&bound.socket, origin.clone()));
                let door = Door { index, service: bound.service.as_ref(), client: &client };
                budget = budget.saturating_sub(sessions.deal(&mut self.arrivals, &door, host));
            }
            bound.queued = bound.readable;
            if bound.queued {
                self.turns.push_back(index);
            }
        }
    }

    /// Wakes the sessions of those who waited for a socket to take more and need not any longer.
    fn wake(&mut self, index: usize, sessions: &mut Sessions<Socket>) {
        let bound = &mut self.bound[index];
        bound.socket.take_unblocked(std::mem::take(&mut bound.writable), &mut self.woken);
        for origin in self.woken.drain(..) {
            sessions.wake_source(&(index, origin));
        }
    }

    /// Closes sockets that were removed and that no session needs any more.
    pub fn close_removed(&mut self, sessions: &Sessions<Socket>) {
        for position in (0..self.removed.len()).rev() {
            let (_, index) = self.removed[position];
            if !sessions.has_sources(index) {
                self.removed.swap_remove(position);
                self.turns.retain(|&queued| queued != index);
                self.retrying.retain(|&waiting| waiting != index);
                self.bound.remove(index);
            }
        }
    }
}

impl Bound {
    /// Reads from the socket, if it has something. `false`: nothing came.
    fn receive(&mut self, arrivals: &mut Arrivals) -> bool {
        arrivals.clear();
        if !self.readable {
            return false;
        }
        match self.socket.receive(&mut arrivals.batch, &mut arrivals.origins) {
            Ok(Received::More | Received::End) => {}
            Ok(Received::Last) => self.readable = !Socket::SHORT_MEANS_BLOCKED,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.readable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    warn!("{}: errno {}: {}", self.socket, error_number(&error), error_text(&error));
                }
            }
        }
        !arrivals.origins.is_empty()
    }
}
