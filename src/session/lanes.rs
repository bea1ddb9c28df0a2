//! A session of which a side has lanes: what they need beside the runs of any session.

use super::end::{ended_by, pending_error};
use super::relay::Progress;
use super::{Dialer, End, Outcome, Phase, Session, Turn};
use crate::endpoint::{Endpoint, Lane, Readiness, SideName};
use crate::flow::Broken;

impl<E: Endpoint> Session<E> {
    /// Notes what an event said of a lane. The session is to be run then.
    pub fn note_lane(&mut self, side: SideName, lane: Lane, event: Readiness) {
        match (side, &mut self.remote) {
            (SideName::Client, _) => self.client.endpoint.note_lane(lane, event),
            (SideName::Remote, Some(remote)) => remote.endpoint.note_lane(lane, event),
            (SideName::Remote, None) => {}
        }
    }

    /// Whether one of its endpoints has lanes.
    pub fn has_lanes(&self) -> bool {
        self.has_lanes
    }

    /// The client's endpoint, to give it a lane.
    pub fn client_mut(&mut self) -> &mut E {
        &mut self.client.endpoint
    }

    // Apart from what a run of any other session costs.
    #[inline(never)]
    pub(super) fn run_with_lanes(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        if self.client.endpoint.has_lanes() {
            self.client.ready = dialer.tend(SideName::Client, &mut self.client.endpoint, turn.now);
        }
        if let Some(remote) = self.remote.as_mut().filter(|remote| remote.endpoint.has_lanes()) {
            remote.ready = dialer.tend(SideName::Remote, &mut remote.endpoint, turn.now);
        }
        let outcome = self.run_ready(turn, dialer);
        if outcome != Outcome::Waiting {
            return outcome;
        }
        let mut again = self.client.endpoint.settle();
        if let Some(remote) = &mut self.remote {
            again |= remote.endpoint.settle();
        }
        if again { Outcome::Spent } else { Outcome::Waiting }
    }

    #[inline(never)]
    pub(super) fn deadline_with_lanes(&self) -> Option<u64> {
        let own = self.own_deadline();
        let remote = self.remote.as_ref().and_then(|remote| remote.endpoint.deadline());
        own.into_iter().chain(self.client.endpoint.deadline()).chain(remote).min()
    }

    /// Both flows have ended, in a run that began with `before`: the session is over when the peers of lanes have everything.
    pub(super) fn both_ended(&mut self, before: Progress, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        let Some(remote) = &mut self.remote else { return Outcome::Ended(End::EndOfStream) };
        let client = &mut self.client;
        let broken = if let Err(error) = self.upstream.finish(remote) {
            Some(ended_by(&Broken::Sink(error), (client, SideName::Client), (remote, SideName::Remote)))
        } else if let Err(error) = self.downstream.finish(client) {
            Some(ended_by(&Broken::Sink(error), (remote, SideName::Remote), (client, SideName::Client)))
        } else {
            pending_error(client, SideName::Client).or_else(|| pending_error(remote, SideName::Remote))
        };
        if let Some((end, side)) = broken.and_then(|end| Some((end, end.broken_side()?))) {
            return self.begin_last_words(side, end, before, turn);
        }
        if !self.client.endpoint.would_lose() && !remote.endpoint.would_lose() {
            return Outcome::Ended(End::EndOfStream);
        }
        if let Phase::Open { .. } = self.phase {
            self.phase = Phase::Ending { last_moved: turn.now, progressed: turn.now, unsent: 0 };
        }
        if self.own_deadline().is_some_and(|at| at <= turn.now) {
            if let Some(end) = self.silent(turn.now) {
                return Outcome::Ended(end);
            }
        }
        Outcome::Waiting
    }
}
