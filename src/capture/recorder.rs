//! What puts the bytes of sessions into a capture's queue.

use std::fmt;
use std::sync::Arc;

use super::Capture;
use super::addresses::address;
use super::queue::{MOST_BLOCK, Moved, Opening, Record};
use crate::address::Networks;
use crate::endpoint::Names;
use crate::inspect::{Closing, Direction, Inspection, Inspector, SessionFacts, Tap};

/// Captures sessions of a service.
pub struct Recorder {
    capture: Arc<Capture>,
    /// Of whom; `None`: of all.
    only: Option<Networks>,
    /// How many bytes of each session; `None`: all.
    most: Option<u64>,
}

impl Recorder {
    /// Captures the sessions of which the client or the remote is in one of these networks, or all, and of each so many bytes
    /// or all.
    pub fn new(capture: Arc<Capture>, only: Option<Networks>, most: Option<u64>) -> Recorder {
        Recorder { capture, only, most }
    }

    fn wants(&self, names: &Names) -> bool {
        let Some(only) = &self.only else { return true };
        [&names.client, &names.remote]
            .into_iter()
            .filter_map(|name| address(name))
            .any(|address| only.contain(address.ip()))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("most", &self.most).finish_non_exhaustive()
    }
}

impl Inspector for Recorder {
    fn inspect(&self, session: &SessionFacts<'_>, direction: Direction) -> Inspection {
        if !self.wants(session.names) {
            return Inspection::default();
        }
        if direction == Direction::Upstream {
            let opening = Opening {
                session: session.number,
                at: session.at,
                names: session.names.clone(),
                service: session.service.name.clone(),
                has_datagrams: session.has_datagrams,
                most: self.most,
            };
            // If there is no room for it, the session is not captured, and what follows is counted as lost.
            let _ = self.capture.queue.offer(Record::Open(Box::new(opening)));
        }
        let tap =
            Copier { capture: self.capture.clone(), session: session.number, direction, left: self.most, lost: 0 };
        Inspection { taps: vec![Box::new(tap)], filters: Vec::new() }
    }

    fn ended(&self, closing: &Closing<'_>) {
        let Closing { number, at, is_whole, by, .. } = *closing;
        // The queue keeps in mind what it has no room for.
        let _ = self.capture.queue.offer(Record::Close { session: number, at, is_whole, by });
    }
}

/// Copies what goes one way.
#[derive(Debug)]
struct Copier {
    capture: Arc<Capture>,
    session: u64,
    direction: Direction,
    /// How much may still be captured, if not everything.
    left: Option<u64>,
    /// Bytes or datagrams that found no room since the last that did.
    lost: u64,
}

impl Copier {
    /// Puts a piece into the queue. `weight`: what it counts as if it is lost.
    fn record(&mut self, bytes: &[u8], at: u64, is_datagram: bool, weight: u64) {
        let bytes = self.capture.queue.copy(bytes);
        let Copier { session, direction, lost, .. } = *self;
        let moved = Moved { session, at, direction, is_datagram, lost, bytes };
        self.lost = if self.capture.queue.offer(Record::Moved(moved)) { 0 } else { lost + weight };
    }

    /// How many of so many bytes may be captured.
    fn take(&mut self, length: usize) -> usize {
        let Some(left) = &mut self.left else { return length };
        let taken = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        taken
    }
}

impl Tap for Copier {
    fn bytes(&mut self, bytes: &[u8], at: u64) {
        let taken = self.take(bytes.len());
        for piece in bytes[..taken].chunks(MOST_BLOCK) {
            self.record(piece, at, false, piece.len() as u64);
        }
    }

    fn datagram(&mut self, datagram: &[u8], at: u64) {
        if self.left == Some(0) {
            return;
        }
        // The whole of it, as its length is known there.
        self.take(datagram.len());
        self.record(datagram, at, true, 1);
    }

    fn end(&mut self, at: u64) {
        let Copier { session, direction, lost, .. } = *self;
        // Without it, the end of the session says the same.
        let _ = self.capture.queue.offer(Record::End { session, at, direction, lost });
    }
}
