//! What looks at the datagrams of a flow, each of which is one by itself.

use crate::buffers::batch::{Batch, MAX_DATAGRAM, Undelivered};
use crate::inspect::{Filter, Inspection, Tap, Verdict};

/// So much memory is kept for what filters make of the datagrams of one read, in bytes.
const MOST_MEMORY: usize = 64 << 10;

/// What looks at the datagrams of a flow.
#[derive(Debug)]
pub(super) struct Inspected {
    taps: Vec<Box<dyn Tap>>,
    filters: Vec<Box<dyn Filter>>,
    /// What filters have made of the datagrams that they saw last.
    made: Batch,
    /// Why a filter ends the session.
    rejection: Option<String>,
    /// The time, in microseconds.
    now: u64,
    /// Nothing was looked at yet.
    begins: bool,
}

impl Inspected {
    pub(super) fn new(inspection: Inspection, now: u64) -> Inspected {
        let Inspection { taps, filters } = inspection;
        Inspected { taps, filters, made: Batch::default(), rejection: None, now, begins: true }
    }

    pub(super) fn note_time(&mut self, now: u64) {
        self.now = now;
    }

    /// Whether this is asked for the first time.
    pub(super) fn begins(&mut self) -> bool {
        std::mem::take(&mut self.begins)
    }

    /// Looks at the datagrams that are left in the batch. Returns what goes on in their place; `None`: they do.
    pub(super) fn look(&mut self, batch: &Batch) -> Option<&mut Batch> {
        for datagram in batch.datagrams() {
            self.taps.iter_mut().for_each(|tap| tap.datagram(datagram, self.now));
        }
        if self.filters.is_empty() {
            return None;
        }
        if self.made.memory() > MOST_MEMORY {
            self.made = Batch::default();
        }
        self.made.clear();
        for datagram in batch.datagrams() {
            if self.rejection.is_none() {
                self.filter(datagram);
            }
        }
        Some(&mut self.made)
    }

    /// Why a filter ends the session, if one does; said once.
    pub(super) fn take_rejection(&mut self) -> Option<String> {
        self.rejection.take()
    }

    /// The source has ended.
    pub(super) fn end(&mut self) {
        self.taps.iter_mut().for_each(|tap| tap.end(self.now));
    }

    fn filter(&mut self, datagram: &[u8]) {
        let mut input = Vec::new();
        for (number, filter) in self.filters.iter_mut().enumerate() {
            let mut output = Vec::new();
            let seen = if number == 0 { datagram } else { &input };
            if filter.datagram(seen, &mut output) == Verdict::End {
                self.rejection = Some(filter.reason());
                return;
            }
            input = output;
        }
        match input.len() <= MAX_DATAGRAM {
            true => self.made.append_behind(&[], [&input[..]].into_iter()),
            false => self.made.count_dropped(Undelivered::TooLarge),
        }
    }
}
