//! A session whose remote is connected: moves what comes, in both directions.

use log::warn;

use super::end::{Dropped, ended_by, unread_error};
use super::{End, Outcome, Phase, Session, Turn};
use crate::buffers::batch::Batch;
use crate::endpoint::{Endpoint, SideName};
use crate::flow::{Broken, Stopped};

/// How long the system may take to send what such a session sent last, where nothing else moves, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// Bytes still read from a side that broke: more than receive queues hold by default (`tcp_rmem`).
const LAST_WORDS: usize = 8 << 20;

/// What a session has come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    pub(super) moved: u64,
    pub(super) dropped: u64,
}

impl<E: Endpoint> Session<E> {
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

    pub(super) fn progress(&self) -> Progress {
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

    pub(super) fn relay(&mut self, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
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
        if !self.note_progress(before, turn) && self.deadline().is_some_and(|at| at <= turn.now) {
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
