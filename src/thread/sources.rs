//! Clients without a connection: which session the datagrams of a sender belong to.

use mio::event::Event;
use mio::{Registry, Token};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::error::{error_number, error_text};
use crate::buffers::batch::Batch;
use crate::endpoint::datagram::Origin;
use crate::endpoint::source::{SourceEndpoint, SourceSocket};
use crate::endpoint::{Endpoint, Received, Socket};
use crate::service::admission::Admission;
use crate::thread::recency::Recency;

/// A bound socket, and what events said of it.
#[derive(Debug)]
struct Bound {
    socket: Arc<SourceSocket>,
    readable: bool,
    /// It takes more, and somebody waits for that.
    writable: bool,
}

/// The bound datagram sockets of one thread, and what was read from them.
#[derive(Debug)]
pub struct Sources {
    bound: Vec<Bound>,
    /// What one call brought.
    pub batch: Batch,
    /// Who sent each of it.
    pub origins: Vec<Origin>,
    /// Room for the key of each one's session.
    pub keys: Vec<usize>,
    /// Room for clients that need not wait any longer.
    pub woken: Vec<Origin>,
    admission: Admission,
}

impl Sources {
    /// Registers the sockets; the token of each is `first_token` and its index.
    pub fn new(
        sockets: Vec<SourceSocket>,
        admission: Admission,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<Sources> {
        let mut bound = Vec::with_capacity(sockets.len());
        for (index, mut socket) in sockets.into_iter().enumerate() {
            socket.register(registry, Token(first_token + index))?;
            bound.push(Bound { socket: Arc::new(socket), readable: true, writable: false });
        }
        Ok(Sources {
            bound,
            batch: Batch::default(),
            origins: Vec::new(),
            keys: Vec::new(),
            woken: Vec::new(),
            admission,
        })
    }

    /// How many sockets there are.
    pub fn count(&self) -> usize {
        self.bound.len()
    }

    /// Who may come in.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Notes an event of a socket, by its index.
    pub fn note(&mut self, index: usize, event: &Event) {
        let bound = &mut self.bound[index];
        bound.readable |= event.is_readable() || event.is_error();
        bound.writable |= (event.is_writable() || event.is_error()) && bound.socket.is_news();
    }

    /// How long there is nothing to do: `None` until an event comes.
    pub fn wait(&self) -> Option<Duration> {
        if self.bound.iter().any(|bound| bound.readable) {
            return Some(Duration::ZERO);
        }
        let retry_at = self.bound.iter().filter_map(|bound| bound.socket.retry_at()).min();
        retry_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Adds to `woken` the clients of this socket that waited for it to take more and need not any longer.
    pub fn unblocked(&mut self, index: usize, woken: &mut Vec<Origin>) {
        let Bound { socket, writable, .. } = &mut self.bound[index];
        socket.take_unblocked(std::mem::take(writable), woken);
    }

    /// Reads from a socket, if it has something. `false`: nothing came.
    pub fn receive(&mut self, index: usize) -> bool {
        let Bound { socket, readable, .. } = &mut self.bound[index];
        self.batch.clear();
        self.origins.clear();
        if !*readable {
            return false;
        }
        match socket.receive(&mut self.batch, &mut self.origins) {
            Ok(Received::More | Received::End) => {}
            Ok(Received::Last) => *readable = !Socket::SHORT_MEANS_BLOCKED,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *readable = false;
                if error.kind() != io::ErrorKind::WouldBlock {
                    log::warn!("{socket}: errno {}: {}", error_number(&error), error_text(&error));
                }
            }
        }
        !self.origins.is_empty()
    }

    /// The client that sends from there, at the socket of this index.
    pub fn client(&self, index: usize, origin: &Origin) -> SourceEndpoint {
        SourceEndpoint::new(&self.bound[index].socket, origin.clone())
    }
}

/// Where a datagram came from: a socket's index, and the sender.
type Source = (usize, Origin);

/// The sessions of one thread's sources.
#[derive(Debug, Default)]
pub struct Directory {
    keys: HashMap<Source, usize>,
    /// By session key.
    sources: Vec<Option<Source>>,
    recency: Recency,
}

impl Directory {
    /// The session of a source.
    pub fn find(&self, source: &Source) -> Option<usize> {
        self.keys.get(source).copied()
    }

    /// Adds a source's session.
    pub fn add(&mut self, source: Source, key: usize) {
        if key >= self.sources.len() {
            self.sources.resize(key + 1, None);
        }
        self.sources[key] = Some(source.clone());
        self.keys.insert(source, key);
        self.recency.add(key);
    }

    /// Forgets a session and says whether it was a source's.
    pub fn forget(&mut self, key: usize) -> bool {
        let Some(source) = self.sources.get_mut(key).and_then(Option::take) else { return false };
        self.keys.remove(&source);
        self.recency.remove(key);
        true
    }

    /// Notes that something moved in a session.
    pub fn touch(&mut self, key: usize) {
        self.recency.touch(key);
    }

    /// The session in which nothing has moved for the longest time.
    pub fn oldest(&self) -> Option<usize> {
        self.recency.oldest()
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// The sessions of all sources.
    pub fn keys(&self) -> Vec<usize> {
        self.keys.values().copied().collect()
    }
}
