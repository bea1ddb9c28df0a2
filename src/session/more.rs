//! A session that does more in a run than others: it has lanes, caps, or times of its own.

use super::end::pending_error;
use super::relay::Progress;
use super::{Dialer, Outcome, Phase, Session, Turn};
use crate::endpoint::{Endpoint, SideName};
use crate::flow::{Flow, Side};

impl<E: Endpoint> Session<E> {
    /// Whether it has lanes, caps or times, for which its timer is to be more exact.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    // Apart from what a run of any other session costs.
    #[inline(never)]
    pub(super) fn run_with_more(&mut self, turn: &mut Turn<'_, E::Pipe>, dialer: &mut impl Dialer<E>) -> Outcome {
        let end = self.terms.as_mut().and_then(|terms| terms.end(&self.service, turn.now));
        if let Some(end) = end {
            return Outcome::Ended(end);
        }
        self.note_time(turn.now_us);
        if self.has_lanes {
            self.tend(dialer, turn.now);
        }
        self.ask_caps(turn.now);
        let mut outcome = self.run_ready(turn, dialer);
        if matches!(outcome, Outcome::Waiting | Outcome::Spent) && self.complete_exchange() {
            outcome = self.run_ready(turn, dialer);
        }
        if let Outcome::Ended(end) = outcome {
            return Outcome::Ended(self.end_of_exchange(end));
        }
        let held_back = self.settle_caps(turn.now);
        if outcome == Outcome::Spent && !held_back {
            return outcome;
        }
        if let Some(end) = self.half_close_is_over(turn.now) {
            return Outcome::Ended(end);
        }
        if self.has_lanes && self.settle() { Outcome::Spent } else { Outcome::Waiting }
    }

    /// When it wants to be run though no event came.
    #[inline(never)]
    pub(super) fn deadline_with_more(&self) -> Option<u64> {
        let lanes = if self.has_lanes { self.deadline_of_lanes() } else { None };
        self.own_deadline().into_iter().chain(lanes).chain(self.deadline_of_terms()).min()
    }

    fn deadline_of_terms(&self) -> Option<u64> {
        let terms = self.terms.as_ref()?;
        let lasts_at = terms.lasts_at.filter(|_| self.is_known());
        let held = terms.caps.as_ref().and_then(|caps| caps.held_until());
        terms
            .deadline()
            .into_iter()
            .chain(lasts_at)
            .chain(held)
            .chain(self.half_close_deadline())
            .chain(self.deadline_of_filters())
            .min()
    }

    /// Whether it is known whose it is.
    fn is_known(&self) -> bool {
        !matches!(self.phase, Phase::Header { .. })
    }

    /// Whether it has now lasted for as long as it takes to be written of. It says so once.
    pub fn has_lasted(&mut self, now: u64) -> bool {
        let is_known = self.is_known();
        let lasts_at = self.terms.as_mut().map(|terms| &mut terms.lasts_at);
        lasts_at.is_some_and(|at| is_known && at.take_if(|at| *at <= now).is_some())
    }

    /// Finds out how much each flow may move in the run that begins.
    fn ask_caps(&mut self, now: u64) {
        let Some(caps) = self.terms.as_mut().and_then(|terms| terms.caps.as_mut()) else { return };
        let wants = |flow: &Flow<E::Pipe>, source: &Side<E>| match flow {
            // What is kept has been counted already.
            Flow::Bytes(_) | Flow::Inspected(_) => source.ready.readable && !flow.waits_for_sink(),
            Flow::Datagrams(_) => source.ready.readable || flow.keeps(),
        };
        let wants = match (self.phase, &self.remote) {
            (_, None) => [false; 2],
            (Phase::Open { .. } | Phase::Ending { .. }, Some(remote)) => {
                [wants(&self.upstream, &self.client), wants(&self.downstream, remote)]
            }
            (Phase::LastWords { of: SideName::Client, .. }, _) => [wants(&self.upstream, &self.client), false],
            (Phase::LastWords { of: SideName::Remote, .. }, Some(remote)) => [false, wants(&self.downstream, remote)],
            _ => [false; 2],
        };
        caps.begin_run(wants, now);
    }

    /// What the upstream and the downstream flow may move of the turn's budget.
    // Apart from what a run of any other session costs.
    #[inline(never)]
    pub(super) fn capped(&mut self, turn: &Turn<'_, E::Pipe>) -> [usize; 2] {
        let Some(caps) = self.terms.as_mut().and_then(|terms| terms.caps.as_mut()) else { return [turn.budget; 2] };
        caps.count([self.upstream.counted(), self.downstream.counted()]);
        let budgets = caps.budgets(turn.budget, turn.now);
        let flows = [&mut self.upstream, &mut self.downstream];
        for ((flow, budget), cap) in flows.into_iter().zip(budgets).zip(caps.names()) {
            if let Some(cap) = cap {
                flow.allow(budget, cap);
            }
        }
        budgets
    }

    /// Whether datagrams that are offered are to be kept until a run, as a cap says what of them may go on.
    pub(super) fn keeps_offers(&self) -> bool {
        let caps = self.terms.as_ref().and_then(|terms| terms.caps.as_ref());
        caps.is_some_and(|caps| caps.which()[0])
    }

    /// What a run comes to that began with `before`, and in which these flows have spent their budgets.
    #[cold]
    pub(super) fn spent(&mut self, spent: [bool; 2], before: Progress, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        self.note_spent(spent);
        let capped = self.terms.as_ref().and_then(|terms| terms.caps.as_ref()).map_or([false; 2], |caps| caps.which());
        // A cap may hold a flow back for long, and until then nothing is read that could say so.
        if spent[0] && capped[0] {
            if let Some(end) = pending_error(&mut self.client, SideName::Client) {
                return self.begin_last_words(SideName::Client, end, before, turn);
            }
        }
        if let (true, Some(remote)) = (spent[1] && capped[1], &mut self.remote) {
            if let Some(end) = pending_error(remote, SideName::Remote) {
                return self.begin_last_words(SideName::Remote, end, before, turn);
            }
        }
        Outcome::Spent
    }

    /// Notes which flows could go on, were it not for their budgets.
    pub(super) fn note_spent(&mut self, spent: [bool; 2]) {
        if let Some(caps) = self.terms.as_mut().and_then(|terms| terms.caps.as_mut()) {
            caps.note_spent(spent);
        }
    }

    /// Counts what a run has moved. Returns whether nothing can go on before a time, as caps hold it back.
    fn settle_caps(&mut self, now: u64) -> bool {
        let Some(caps) = self.terms.as_mut().and_then(|terms| terms.caps.as_mut()) else { return false };
        caps.count([self.upstream.counted(), self.downstream.counted()]);
        let all_held = caps.end_run(now);
        // What is held back here is not idle.
        match (&mut self.phase, caps.held_until()) {
            (Phase::Open { last_moved, .. }, Some(_)) => *last_moved = now,
            (Phase::Ending { last_moved, progressed, .. }, Some(_)) => (*last_moved, *progressed) = (now, now),
            (Phase::LastWords { progressed, look, .. }, Some(until)) => (*progressed, *look) = (now, until),
            _ => {}
        }
        all_held
    }
}
