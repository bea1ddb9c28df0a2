//! Which lane gets the next burst.

use super::lane::{Lane, bytes_in};
use super::send::Sending;

/// What is sent once more is to be there sooner by so many microseconds, and in half of the time.
const CLEARLY_SOONER: u64 = 20_000;

/// So many segments of a lane are looked at, at most.
const LOOKED_AT: usize = 64;

/// What waits to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// Bytes that may be sent now, at least 1.
    pub sendable: u64,
    /// Bytes that wait, those that may not be sent now included; `None` if there is no end of them in sight.
    pub backlog: Option<u64>,
    /// What is left of the peer's window; `None` if what is sent next is in it already.
    pub window: Option<u64>,
}

/// The lane that would be done first with a burst, or one that may have one because it would take nothing from that.
pub(super) fn until_congested(lanes: &[Option<Lane>], waiting: &Waiting, last: usize) -> Option<usize> {
    let good = || lanes.iter().enumerate().filter_map(|(number, lane)| Some((number, lane.as_ref()?)));
    let good = || good().filter(|(_, lane)| !lane.stale);
    let time = |lane: &Lane| lane.time_for(lane.burst().min(waiting.sendable));
    // Of equal lanes, the one that was used last: so small messages stay in order.
    let order = |number: usize, lane: &Lane| (time(lane), number != last, number);
    let (_, best) = good().min_by_key(|&(number, lane)| order(number, lane))?;
    let rates: u64 = good().map(|(_, lane)| lane.assumed_rate()).sum();
    let in_time = |lane: &Lane| {
        waiting.backlog.is_none_or(|backlog| {
            time(lane) <= time(best).saturating_add(backlog.saturating_mul(1_000_000) / rates.max(1))
        })
    };
    // Of a lane whose rate is not known it is not guessed that it fills the window.
    let known: u64 = good().filter_map(|(_, lane)| lane.rate()).sum();
    let fits = |lane: &Lane| {
        let others = known - lane.rate().unwrap_or(0);
        waiting.window.is_none_or(|window| bytes_in(others, time(lane)) <= window)
    };
    let suits = |lane: &Lane| lane.is_free() && (std::ptr::eq(lane, best) || in_time(lane) && fits(lane));
    let suitable = good().filter(|(_, lane)| suits(lane));
    suitable.min_by_key(|&(number, lane)| order(number, lane)).map(|(number, _)| number)
}

/// The next lane in turn that takes bytes.
pub(super) fn round_robin(lanes: &[Option<Lane>], last: usize) -> Option<usize> {
    let free = |number: &usize| lanes[*number].as_ref().is_some_and(Lane::is_free);
    (last + 1..lanes.len()).chain(0..lanes.len().min(last + 1)).find(free)
}

/// What is sent once more, while nothing else may be sent and a lane is free: the first segment that this lane would have
/// there clearly sooner than the one that has it. Says the lane and the segment, or when there will be one.
pub(super) fn again(lanes: &[Option<Lane>], sending: &Sending, now: u64) -> Result<(usize, u64), Option<u64>> {
    let good = || lanes.iter().enumerate().filter_map(|(number, lane)| Some((number, lane.as_ref()?)));
    if !good().any(|(_, lane)| !lane.stale && lane.in_flight() > 0) {
        return Err(None);
    }
    let free = good().filter(|(_, lane)| lane.is_free());
    let Some((time, helper)) = free.map(|(number, lane)| (lane.time_for(lane.burst()), number)).min() else {
        return Err(None);
    };
    let needed = (time + CLEARLY_SOONER).max(2 * time);
    let (mut first, mut soonest) = (None, None);
    for (_, lane) in good().filter(|(number, lane)| *number != helper && !lane.stale) {
        for record in lane.records.iter().take(LOOKED_AT).filter(|record| sending.is_alone(record.number)) {
            let left = lane.time_left(record);
            let at = if left >= needed { 0 } else { lane.overdue_at() + needed - left };
            soonest = Some(soonest.map_or(at, |soonest: u64| soonest.min(at)));
            if at <= now {
                first = Some(first.map_or(record.number, |first: u64| first.min(record.number)));
                break;
            }
        }
    }
    first.map(|number| (helper, number)).ok_or(soonest)
}
