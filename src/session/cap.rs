//! How much a session may move in each direction now, where its service has caps, and when it may go on.
//!
//! A flow that a cap holds back is not pumped, so its source is not read, and pushes back by itself. The session has a
//! timer then. What is not held back needs none.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::config::caps::CapName;
use crate::service::caps::{Bucket, Caps, SharedCap};

/// What a session knows of its caps, upstream and downstream.
#[derive(Debug)]
pub(super) struct SessionCaps {
    caps: [Option<Cap>; 2],
    /// The earliest time at which a flow may go on that is held back, in milliseconds.
    held_until: Option<u64>,
    /// A flow without a cap has spent its budget in this run.
    uncapped_spent: bool,
}

/// The cap of one flow.
#[derive(Debug)]
struct Cap {
    own: Option<Bucket>,
    share: Option<Share>,
    /// It may move nothing before this time, in milliseconds.
    held_until: u64,
    /// Bytes of the flow that have been counted.
    counted: u64,
    /// What the last run stopped for was this cap, or its budget.
    spent: bool,
}

/// A part of what all sessions of a service may move together.
#[derive(Debug)]
struct Share {
    of: Arc<SharedCap>,
    held: Held,
    /// The most that is reserved: twice what was used of the last reservation, so that who says little keeps nobody waiting.
    wish: u64,
}

/// What a session has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// So many bytes, when the time comes.
    Waiting {
        start: u64,
        bytes: u64,
    },
    /// So many bytes are left of a reservation, of which some have been used.
    Granted {
        left: u64,
        used: u64,
    },
}

/// The least that a session with little to say reserves.
const LEAST_WISH: u64 = 2 << 10;

impl SessionCaps {
    /// Those of a session that begins now.
    pub(super) fn new(caps: &Caps, now: u64) -> SessionCaps {
        let caps = [0, 1].map(|flow| Cap::new(caps.own[flow], caps.total[flow].as_ref(), now));
        SessionCaps { caps, held_until: None, uncapped_spent: false }
    }

    /// Finds out, before a run, how much each flow may move in it. `wants` says which of them have something to read.
    pub(super) fn begin_run(&mut self, wants: [bool; 2], now: u64) {
        self.held_until = None;
        for (cap, wants) in self.each(wants) {
            let was_spent = std::mem::take(&mut cap.spent);
            // What the share of a total holds back is not owed by the own cap.
            let waited_for_share = matches!(cap.share, Some(Share { held: Held::Waiting { .. }, .. }));
            if let Some(own) = &mut cap.own {
                own.fill(was_spent && !waited_for_share, now);
            }
            if wants {
                cap.ask(now);
            }
        }
    }

    /// What the upstream and the downstream flow may move now, of a budget of bytes.
    pub(super) fn budgets(&mut self, budget: usize, now: u64) -> [usize; 2] {
        self.caps.each_mut().map(|cap| match cap {
            Some(cap) => usize::try_from(cap.available(now)).map_or(budget, |available| available.min(budget)),
            None => budget,
        })
    }

    /// Which cap it is that lets each flow move no more than it may now; `None`: it has none.
    pub(super) fn names(&self) -> [Option<CapName>; 2] {
        let of = |flow: usize, [own, total]: [CapName; 2]| {
            self.caps[flow].as_ref().map(|cap| if cap.is_held_by_total() { total } else { own })
        };
        [of(0, [CapName::Upload, CapName::TotalUpload]), of(1, [CapName::Download, CapName::TotalDownload])]
    }

    /// Which flows have a cap.
    pub(super) fn which(&self) -> [bool; 2] {
        self.caps.each_ref().map(Option::is_some)
    }

    /// Notes what flows have moved since their beginning.
    pub(super) fn count(&mut self, moved: [u64; 2]) {
        self.each(moved).for_each(|(cap, moved)| cap.count(moved));
    }

    /// Notes which flows have moved all that they might and could move more.
    pub(super) fn note_spent(&mut self, spent: [bool; 2]) {
        self.each(spent).for_each(|(cap, spent)| cap.spent = spent);
        self.uncapped_spent = (0..2).any(|flow| spent[flow] && self.caps[flow].is_none());
    }

    /// Sees, after a run in which everything was counted, when the flows may go on. Returns whether all that were spent in
    /// it are held back now.
    pub(super) fn end_run(&mut self, now: u64) -> bool {
        let mut all_held = !std::mem::take(&mut self.uncapped_spent);
        for cap in self.caps.iter_mut().flatten() {
            cap.end_run(now);
            match cap.spent {
                true if cap.held_until > now => {
                    self.held_until = Some(self.held_until.map_or(cap.held_until, |at| at.min(cap.held_until)));
                }
                true => all_held = false,
                false => {}
            }
        }
        all_held
    }

    /// When a flow that is held back may go on; `None`: none is.
    pub(super) fn held_until(&self) -> Option<u64> {
        self.held_until
    }

    /// The caps of the flows that have one, with what is known of each flow.
    fn each<T>(&mut self, known: [T; 2]) -> impl Iterator<Item = (&mut Cap, T)> {
        self.caps.iter_mut().zip(known).filter_map(|(cap, known)| Some((cap.as_mut()?, known)))
    }
}

impl Cap {
    fn new(own: Option<NonZeroU64>, total: Option<&Arc<SharedCap>>, now: u64) -> Option<Cap> {
        if own.is_none() && total.is_none() {
            return None;
        }
        let share = total.map(|of| Share { of: of.clone(), held: Held::Nothing, wish: u64::MAX });
        let own = own.map(|rate| Bucket::new(rate, now));
        Some(Cap { own, share, held_until: 0, counted: 0, spent: false })
    }

    /// Bytes that may be moved now.
    fn available(&self, now: u64) -> u64 {
        if self.held_until > now {
            return 0;
        }
        let own = self.own.as_ref().map_or(u64::MAX, Bucket::available);
        let shared = self.share.as_ref().map_or(u64::MAX, |share| match share.held {
            Held::Granted { left, .. } => left,
            Held::Nothing | Held::Waiting { .. } => 0,
        });
        own.min(shared)
    }

    /// Whether the total allows less than the own cap.
    fn is_held_by_total(&self) -> bool {
        let own = self.own.as_ref().map(Bucket::available);
        self.share.as_ref().is_some_and(|share| match share.held {
            Held::Waiting { .. } => true,
            Held::Granted { left, .. } => own.is_none_or(|own| left < own),
            Held::Nothing => own.is_none(),
        })
    }

    /// Something is to be moved.
    fn ask(&mut self, now: u64) {
        if self.held_until > now {
            return;
        }
        let own = match &self.own {
            Some(own) => {
                let available = own.available();
                if available < own.portion().div_ceil(8) {
                    self.held_until = own.ready_at(own.portion());
                    return;
                }
                available
            }
            None => u64::MAX,
        };
        if let Some(share) = &mut self.share {
            if let Some(start) = share.ask(own, now) {
                self.held_until = start;
            }
        }
    }

    fn count(&mut self, moved: u64) {
        let bytes = moved - self.counted;
        if bytes == 0 {
            return;
        }
        self.counted = moved;
        if let Some(own) = &mut self.own {
            own.take(bytes);
        }
        if let Some(share) = &mut self.share {
            share.take(bytes);
        }
    }

    fn end_run(&mut self, now: u64) {
        if self.spent {
            return self.ask(now);
        }
        if let Some(share) = &mut self.share {
            if share.give_back() {
                self.held_until = 0;
            }
        }
    }
}

impl Share {
    /// Has something to use, now or from the time on that is returned. `most` is all that can be used.
    fn ask(&mut self, most: u64, now: u64) -> Option<u64> {
        let (start, bytes) = match self.held {
            Held::Granted { left, .. } if left > 0 => return None,
            Held::Waiting { start, .. } if start > now => return Some(start),
            Held::Waiting { bytes, .. } => {
                self.of.came();
                (now, bytes)
            }
            Held::Granted { .. } | Held::Nothing => {
                self.learn();
                let reservation = self.of.reserve(most.min(self.wish), now);
                (reservation.start, reservation.bytes)
            }
        };
        if start > now {
            self.held = Held::Waiting { start, bytes };
            return Some(start);
        }
        self.held = Held::Granted { left: bytes, used: 0 };
        None
    }

    fn take(&mut self, bytes: u64) {
        match &mut self.held {
            Held::Granted { left, used } => {
                let of_left = bytes.min(*left);
                *left -= of_left;
                *used += bytes;
                if bytes > of_left {
                    self.of.charge(bytes - of_left);
                }
            }
            Held::Nothing | Held::Waiting { .. } => self.of.charge(bytes),
        }
    }

    /// Learns from a reservation how much is worth reserving.
    fn learn(&mut self) {
        if let Held::Granted { used, .. } = self.held {
            self.wish = used.saturating_mul(2).max(LEAST_WISH);
        }
    }

    /// What is left of a reservation is not needed now. Returns whether its time had not come.
    fn give_back(&mut self) -> bool {
        self.learn();
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Waiting { bytes, .. } => {
                self.of.left(bytes);
                return true;
            }
            Held::Granted { left, .. } => self.of.give_back(left),
        }
        false
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests;
