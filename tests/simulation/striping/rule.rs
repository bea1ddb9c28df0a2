//! Which lane ought to have data, said apart from the engine's own choice.

use cproxy::stripe::engine::{Engine, LaneState, Mode, Outlook};

/// A lane that ought to have got more, after the engine has said that there is nothing to send, and why.
///
/// Data waits if it was never sent, or is on no good lane any more, and the peer's window has room for it. A lane is free
/// if it is good, takes bytes and has not yet under way what its rate asks for. While data waits:
///
/// - with lanes in turn, no lane is free;
/// - where each carries all, no free lane lacks a segment that has not arrived;
/// - otherwise the good lane that would be done first with a burst is not free, and each free one has one of two reasons:
///   before it would be done, the others would have sent all that there is; or they would meanwhile fill the peer's
///   window, which is held open by what is sent on it. A lane of unknown rate fills nothing.
pub fn neglected(engine: &Engine, mode: Mode, lanes: usize) -> Option<(usize, &'static str)> {
    if mode == Mode::Redundant {
        return (0..lanes).find(|&lane| engine.lacks(lane)).map(|lane| (lane, "it is free and lacks a segment"));
    }
    let waiting = engine.waiting()?;
    let good = |lane: &usize| engine.lane_report(*lane).state == LaneState::Good;
    let looks = (0..lanes).filter(good).filter_map(|lane| Some((lane, engine.outlook(lane, waiting.sendable)?)));
    let looks: Vec<(usize, Outlook)> = looks.collect();
    let first = looks.iter().map(|(_, look)| look.time).min()?;
    let together: u64 = looks.iter().map(|(_, look)| look.assumed_rate).sum();
    for (lane, look) in looks.iter().filter(|(_, look)| look.free) {
        if mode == Mode::RoundRobin {
            return Some((*lane, "it is free"));
        }
        if !looks.iter().any(|(_, other)| !other.free && other.time <= look.time) {
            return Some((*lane, "it is free and would be done first"));
        }
        let without_it =
            waiting.backlog.map(|bytes| first + (u128::from(bytes) * 1_000_000 / u128::from(together)) as u64);
        let late = without_it.is_some_and(|time| look.time > time);
        let rates = looks.iter().filter(|(other, _)| other != lane).filter_map(|(_, other)| other.rate);
        let meanwhile = u128::from(rates.sum::<u64>()) * u128::from(look.time) / 1_000_000;
        let in_the_way = waiting.window.is_some_and(|window| meanwhile > u128::from(window));
        if !late && !in_the_way {
            return Some((*lane, "it is free, soon done and in nobody's way"));
        }
    }
    None
}
