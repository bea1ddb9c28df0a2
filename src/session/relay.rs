//! A session whose remote is connected: moves what comes, in both directions.

use log::warn;

use super::connect::{is_silent, remote_works};
use super::end::{Dropped, ended_by, unread_error};
use super::{End, LAST_BYTES, Outcome, Phase, Session, Turn, gets_less};
use crate::buffers::batch::{Batch, Undelivered};
use crate::endpoint::{Endpoint, SideName};
use crate::flow::{Broken, Flow, Side, Stopped};
use crate::service::pool::Lease;

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
        let keeps = self.has_more && self.keeps_offers();
        if self.has_more {
            self.note_time(turn.now_us);
            self.note_requests(batch.count_left());
        }
        let remote = match self.phase {
            Phase::Open { .. } | Phase::Ending { .. } if !keeps => self.remote.as_mut(),
            _ => None,
        };
        let offered = self.upstream.offer(batch, remote, turn.pools);
        if let (Err(broken), Some(remote)) = (&offered, &mut self.remote) {
            let end = ended_by(broken, (&self.client, SideName::Client), (remote, SideName::Remote));
            if end == End::Rejected {
                return Outcome::Ended(end);
            }
            return self.begin_last_words(SideName::Remote, end, before, turn);
        }
        if self.is_refused(before) {
            return self.refused(turn.now);
        }
        self.note_progress(before, turn);
        let runs = keeps || (self.has_more && self.complete_exchange());
        if runs { Outcome::Spent } else { Outcome::Waiting }
    }

    /// Whether the system said meanwhile that nobody is at the address of a remote without a connection, and there are
    /// other remotes; where there are none, the session goes on, as somebody may come.
    fn is_refused(&self, before: Progress) -> bool {
        if self.progress().dropped == before.dropped {
            return false;
        }
        let refused = |flow: &Flow<E::Pipe>| flow.counts().why == Some(Undelivered::Error(libc::ECONNREFUSED));
        (refused(&self.upstream) || refused(&self.downstream))
            && self.remote.as_ref().is_some_and(|remote| is_silent(&remote.endpoint))
            && self.service.pool.set().members().len() > 1
    }

    /// The session ends, and what the client sends next begins another.
    fn refused(&mut self, now: u64) -> Outcome {
        self.remote_is_gone(End::Refused, now);
        Outcome::Ended(End::Refused)
    }

    pub(super) fn progress(&self) -> Progress {
        let (up, down) = (self.upstream.counts(), self.downstream.counts());
        Progress { moved: self.moved(), dropped: up.dropped + down.dropped }
    }

    /// Notes that something moved since `before`, and what was dropped. Returns whether something moved.
    pub(super) fn note_progress(&mut self, before: Progress, turn: &mut Turn<'_, E::Pipe>) -> bool {
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
        match &mut self.phase {
            Phase::Open { last_moved, unsent } if moved => (*last_moved, *unsent) = (turn.now, 0),
            Phase::Ending { last_moved, progressed, unsent } if moved => {
                (*last_moved, *progressed, *unsent) = (turn.now, turn.now, 0);
            }
            Phase::LastWords { progressed, unsent, .. } if moved => (*progressed, *unsent) = (turn.now, 0),
            _ => {}
        }
        moved
    }

    pub(super) fn relay(&mut self, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        let before = self.progress();
        let [budget_up, budget_down] = if self.has_more { self.capped(turn) } else { [turn.budget; 2] };
        let (client, Some(remote)) = (&mut self.client, &mut self.remote) else { return Outcome::Waiting };
        let unheard = self.upstream.ends_session() && self.downstream.moved() == 0;
        let mut up = self.upstream.pump(client, remote, turn.pools, budget_up);
        let mut down = self.downstream.pump(remote, client, turn.pools, budget_down);
        if remote.ready.read_closed || matches!(down, Ok(Stopped::Drained)) {
            give_back(&mut self.lease);
        }
        match (&up, &down) {
            (Ok(Stopped::Drained), Ok(Stopped::Drained)) if self.has_lanes => return self.both_ended(before, turn),
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
        let broken = match (&up, &down) {
            (Err(broken), _) => Some(ended_by(broken, (client, SideName::Client), (remote, SideName::Remote))),
            (_, Err(broken)) => Some(ended_by(broken, (remote, SideName::Remote), (client, SideName::Client))),
            _ => unread_error(client, SideName::Client, up.as_ref().ok())
                .or_else(|| unread_error(remote, SideName::Remote, down.as_ref().ok())),
        };
        if let Some(end) = broken {
            let Some(side) = end.broken_side() else { return Outcome::Ended(end) };
            let both = matches!((&up, &down), (Err(Broken::Source(_)), Err(Broken::Source(_))))
                || matches!((&up, &down), (Err(Broken::Sink(_)), Err(Broken::Sink(_))));
            return if both { Outcome::Ended(end) } else { self.begin_last_words(side, end, before, turn) };
        }
        // Who has closed wholly can be told nothing more, and need not be heard of again.
        if !self.upstream.ends_session() {
            let gone = |side: &Side<E>, said: &Result<Stopped, Broken>, told: &Flow<E::Pipe>| {
                side.ready.write_closed && matches!(said, Ok(Stopped::Drained)) && !told.has_finished()
            };
            let side = match () {
                () if gone(remote, &down, &self.upstream) => Some(SideName::Remote),
                () if gone(client, &up, &self.downstream) => Some(SideName::Client),
                () => None,
            };
            if let Some(side) = side {
                return self.begin_last_words(side, End::EndOfStream, before, turn);
            }
        }

        if self.upstream.ends_session() {
            if let Some(outcome) = self.after_datagrams(before, unheard, (&up, &down), turn.now) {
                return outcome;
            }
        }
        let has_moved = self.note_progress(before, turn);
        let spent = [matches!(up, Ok(Stopped::Spent)), matches!(down, Ok(Stopped::Spent))];
        if spent != [false; 2] {
            return self.spent(spent, before, turn);
        }
        if !has_moved && self.own_deadline().is_some_and(|at| at <= turn.now) {
            if let Some(end) = self.silent(turn.now) {
                return Outcome::Ended(end);
            }
        }
        Outcome::Waiting
    }

    /// What a run with datagrams comes to, in which the remote was `unheard` of before; `None`: the session goes on.
    // Apart from what a run of any other session costs.
    #[inline(never)]
    fn after_datagrams(
        &mut self,
        before: Progress,
        unheard: bool,
        (up, down): (&Result<Stopped, Broken>, &Result<Stopped, Broken>),
        now: u64,
    ) -> Option<Outcome> {
        let remote = self.remote.as_ref()?;
        if unheard && self.downstream.moved() > 0 && is_silent(&remote.endpoint) {
            remote_works(&self.service, self.lease.as_ref(), now);
        }
        if self.is_refused(before) {
            return Some(self.refused(now));
        }
        let told = match (up, down) {
            (Ok(Stopped::Drained), _) => Some(remote.endpoint.takes_an_end()),
            (_, Ok(Stopped::Drained)) => Some(self.client.endpoint.takes_an_end()),
            _ => None,
        };
        match (told, self.phase) {
            (Some(false), _) => return Some(Outcome::Ended(End::EndOfStream)),
            (Some(true), Phase::Open { .. }) => {
                self.phase = Phase::Ending { last_moved: now, progressed: now, unsent: 0 };
            }
            _ => {}
        }
        None
    }

    /// Nothing has moved for so long that the session is to end, unless something is still on its way.
    pub(super) fn silent(&mut self, now: u64) -> Option<End> {
        let kept = self.upstream.keeps() || self.downstream.keeps();
        let of_remote = self.remote.as_ref().map_or(0, |remote| remote.endpoint.unsent());
        let left = self.client.endpoint.unsent().saturating_add(of_remote);
        match &mut self.phase {
            Phase::Open { last_moved, unsent } => {
                // Bytes that a peer goes on taking are moving, only not through here.
                if !gets_less(unsent, left) {
                    return Some(End::IdleTimeout);
                }
                *last_moved = now;
            }
            Phase::Ending { .. } if !kept && left == 0 => return Some(End::EndOfStream),
            // What is kept would be lost; what the system has would be, were the peer to answer a closed socket.
            Phase::Ending { last_moved, progressed, unsent } => {
                if gets_less(unsent, left) {
                    *progressed = now;
                }
                if *progressed + LAST_BYTES <= now {
                    return Some(End::IdleTimeout);
                }
                *last_moved = now;
            }
            _ => {}
        }
        None
    }
}

/// The remote says nothing more, so another session may have its place.
#[cold]
fn give_back(lease: &mut Option<Lease>) {
    if let Some(lease) = lease {
        lease.give_back();
    }
}
