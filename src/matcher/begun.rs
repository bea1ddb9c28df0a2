//! The automaton that finds, backwards from the end of what has come, where a match may have begun.
//!
//! What has come of a match is the way from the beginning of its automaton to any state of it. So this is that automaton with all
//! its arrows turned round: it begins in all states at once, and has found a beginning where the other one begins.

// Errors are those of the crate, and are made at the start of the program only.
#![expect(clippy::result_large_err)]

use regex_automata::nfa::thompson::{BuildError, Builder, NFA, State, Transition};
use regex_automata::util::primitives::StateID;

/// The automaton of all beginnings of matches, read backwards. A condition on what comes next is met if nothing has come yet.
pub(super) fn beginnings(forward: &NFA) -> Result<NFA, BuildError> {
    let mut builder = Builder::new();
    builder.set_utf8(false);
    builder.set_reverse(true);
    builder.start_pattern()?;
    let mut states = Vec::with_capacity(forward.states().len());
    for _ in forward.states() {
        states.push(builder.add_union(Vec::new())?);
    }
    for (state, &to) in forward.states().iter().zip(&states) {
        let mut step = |Transition { start, end, next }: Transition| {
            let step = builder.add_range(Transition { start, end, next: to })?;
            builder.patch(states[next.as_usize()], step)
        };
        match state {
            State::ByteRange { trans } => step(*trans)?,
            State::Sparse(steps) => steps.transitions.iter().try_for_each(|&transition| step(transition))?,
            State::Dense(steps) => {
                let steps = (0..=255_u8).zip(steps.transitions.iter()).filter(|(_, next)| **next != StateID::ZERO);
                let mut steps = steps.map(|(byte, &next)| Transition { start: byte, end: byte, next });
                steps.try_for_each(step)?;
            }
            State::Look { look, next } => {
                let look = builder.add_look(to, look.reversed())?;
                builder.patch(states[next.as_usize()], look)?;
            }
            State::Union { alternates } => {
                alternates.iter().try_for_each(|next| builder.patch(states[next.as_usize()], to))?;
            }
            State::BinaryUnion { alt1, alt2 } => {
                builder.patch(states[alt1.as_usize()], to)?;
                builder.patch(states[alt2.as_usize()], to)?;
            }
            State::Capture { next, .. } => builder.patch(states[next.as_usize()], to)?,
            State::Fail | State::Match { .. } => {}
        }
    }
    let found = builder.add_match()?;
    let start: StateID = states[forward.start_anchored().as_usize()];
    builder.patch(start, found)?;
    let all = builder.add_union(states)?;
    builder.finish_pattern(all)?;
    builder.build(all, all)
}
