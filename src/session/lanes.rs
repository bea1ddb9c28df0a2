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

    /// The client's endpoint, to give it a lane.
    pub fn client_mut(&mut self) -> &mut E {
        &mut self.client.endpoint
    }

    /// Notes what can be done now with the endpoints that have lanes.
    pub(super) fn tend(&mut self, dialer: &mut impl Dialer<E>, now: u64) {
        if self.client.endpoint.has_lanes() {
            self.client.ready = dialer.tend(SideName::Client, &mut self.client.endpoint, now);
        }
        if let Some(remote) = self.remote.as_mut().filter(|remote| remote.endpoint.has_lanes()) {
            remote.ready = dialer.tend(SideName::Remote, &mut remote.endpoint, now);
        }
    }

    /// Has what is left in lanes read after a run. Returns whether another run is worth it.
    pub(super) fn settle(&mut self) -> bool {
        let again = self.client.endpoint.settle();
        again | self.remote.as_mut().is_some_and(|remote| remote.endpoint.settle())
    }

    /// When its lanes want to be tended to though no event came, in milliseconds.
    pub(super) fn deadline_of_lanes(&self) -> Option<u64> {
        let remote = self.remote.as_ref().and_then(|remote| remote.endpoint.deadline());
        self.client.endpoint.deadline().into_iter().chain(remote).min()
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
