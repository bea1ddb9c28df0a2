//! Which lane gets the next burst.

use super::lane::{Lane, bytes_in};

/// What waits to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    /// Bytes that may be sent now, at least 1.
    pub(super) sendable: u64,
    /// Bytes that wait, those that may not be sent now included; `None` if there is no end of them in sight.
    pub(super) backlog: Option<u64>,
    /// What is left of the peer's window; `None` if what is sent next is in it already.
    pub(super) window: Option<u64>,
}

/// The lane that would be done first with a burst, or one that may have one because it would take nothing from that.
pub(super) fn until_congested(lanes: &[Option<Lane>], waiting: &Waiting, last: usize) -> Option<usize> {
    let good = || lanes.iter().enumerate().filter_map(|(number, lane)| Some((number, lane.as_ref()?)));
    let good = || good().filter(|(_, lane)| !lane.stale);
    let time = |lane: &Lane| lane.time_for(lane.burst().min(waiting.sendable));
    // Of equal lanes, the one that was used last: so small messages stay in order.
    let order = |number: usize, lane: &Lane| (time(lane), number != last, number);
    let (_, best) = good().min_by_key(|&(number, lane)| order(number, lane))?;
    let (number, lane) = good().filter(|(_, lane)| lane.is_free()).min_by_key(|&(number, lane)| order(number, lane))?;
    if std::ptr::eq(lane, best) {
        return Some(number);
    }
    let rates: u64 = good().map(|(_, lane)| lane.assumed_rate()).sum();
    let in_time = waiting.backlog.is_none_or(|backlog| {
        time(lane) <= time(best).saturating_add(backlog.saturating_mul(1_000_000) / rates.max(1))
    });
    let others = bytes_in(rates - lane.assumed_rate(), time(lane));
    let fits = waiting.window.is_none_or(|window| others <= window);
    (in_time && fits).then_some(number)
}

/// The next lane in turn that takes bytes.
pub(super) fn round_robin(lanes: &[Option<Lane>], last: usize) -> Option<usize> {
    let free = |number: &usize| lanes[*number].as_ref().is_some_and(Lane::is_free);
    (last + 1..lanes.len()).chain(0..lanes.len().min(last + 1)).find(free)
}
