//! A session of which one side has broken, or closed wholly: what that side had said is delivered before it ends.
//!
//! A reset throws away what the system has not sent yet. So the other side is reset only when its peer's system has
//! taken everything, or takes no more.

use super::end::{end_for, log_error, log_rejection, pending_error};
use super::relay::Progress;
use super::{End, LAST_BYTES, Outcome, Phase, Session, Turn, gets_less};
use crate::endpoint::{Endpoint, SideName};
use crate::flow::{Broken, Stopped};

/// How soon, at the least and at the most, it is looked again at what the system has still to send, in milliseconds: no
/// event says that it has sent everything.
const LOOK: (u64, u64) = (50, 1000);

impl<E: Endpoint> Session<E> {
    /// Goes on with what this side had said until then, to end so, in a run that began with `before`.
    pub(super) fn begin_last_words(
        &mut self,
        of: SideName,
        end: End,
        before: Progress,
        turn: &mut Turn<'_, E::Pipe>,
    ) -> Outcome {
        self.phase = Phase::LastWords { of, end, progressed: turn.now, look: turn.now, unsent: 0 };
        if of == SideName::Remote {
            self.remote_is_gone(end, turn.now);
        }
        let speaker = match of {
            SideName::Client => Some(&mut self.client),
            SideName::Remote => self.remote.as_mut(),
        };
        if let Some(speaker) = speaker {
            // Nothing will be added to what it said, so reading comes to an end or an error.
            (speaker.ready.readable, speaker.ready.read_closed) = (true, true);
        }
        self.last_words(before, turn)
    }

    /// Delivers more of it, in a run that began with `before`.
    pub(super) fn last_words(&mut self, before: Progress, turn: &mut Turn<'_, E::Pipe>) -> Outcome {
        let Phase::LastWords { of, end, .. } = self.phase else { return Outcome::Waiting };
        let [budget_up, budget_down] = self.capped(turn);
        let Some(remote) = &mut self.remote else { return Outcome::Ended(end) };
        let (flow, speaker, listener, name, budget) = match of {
            SideName::Client => (&mut self.upstream, &mut self.client, remote, SideName::Remote, budget_up),
            SideName::Remote => (&mut self.downstream, remote, &mut self.client, SideName::Client, budget_down),
        };
        let all_said = match flow.pump(speaker, listener, turn.pools, budget) {
            Ok(Stopped::Drained) | Err(Broken::Source(_)) => true,
            Ok(Stopped::Blocked) => !flow.keeps() && !speaker.ready.readable,
            Ok(Stopped::Spent) => {
                if let Some(then) = pending_error(listener, name) {
                    return Outcome::Ended(first(end, then));
                }
                self.note_progress(before, turn);
                self.note_spent([of == SideName::Client, of == SideName::Remote]);
                return Outcome::Spent;
            }
            Err(Broken::Rejected(reason)) => {
                log_rejection(&speaker.endpoint, of, &reason);
                return Outcome::Ended(End::Rejected);
            }
            Err(Broken::Sink(error)) => {
                log_error(&listener.endpoint, &error);
                return Outcome::Ended(first(end, end_for(&error, name)));
            }
        };
        if let Some(then) = pending_error(listener, name) {
            return Outcome::Ended(first(end, then));
        }
        let unsent = listener.endpoint.unsent();
        if all_said && unsent == 0 {
            return Outcome::Ended(end);
        }
        self.note_progress(before, turn);
        let patience = self.idle_timeout().map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES));
        let Phase::LastWords { progressed, look, unsent: known, .. } = &mut self.phase else { return Outcome::Waiting };
        if gets_less(known, unsent) {
            *progressed = turn.now;
        }
        let give_up = progressed.saturating_add(patience);
        if give_up <= turn.now {
            return Outcome::Ended(end);
        }
        let pause = (turn.now - *progressed).clamp(LOOK.0, LOOK.1);
        *look = (turn.now + pause).min(give_up);
        Outcome::Waiting
    }
}

/// The end of a session that was to end so, and then the other side broke, too.
fn first(end: End, then: End) -> End {
    if end == End::EndOfStream { then } else { end }
}
