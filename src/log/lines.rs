//! Lines on their way from the thread that made them to the writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of lines that wait for the writer, a thread; lines beyond that are dropped and counted.
pub const MOST_PENDING: usize = 1 << 20;

/// Bytes that a thread keeps for the lines of its next turn, when it had more in one.
const MOST_KEPT: usize = 16 << 10;

/// Room for lines that a thread begins with when the writer took what it had.
const FIRST_TEXT: usize = 4 << 10;

/// Finished lines of one thread: their text, and for each its time and where it ends.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) text: String,
    pub(super) lines: Vec<LineMark>,
    pub(super) dropped: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LineMark {
    /// Microseconds since 1970.
    pub(super) time: u64,
    pub(super) end: usize,
}

impl Batch {
    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    /// The text to which a line is to be added, before [`Batch::end_line`].
    pub(super) fn begin_line(&mut self) -> &mut String {
        if self.text.capacity() == 0 {
            self.text.reserve(FIRST_TEXT);
            self.lines.reserve(FIRST_TEXT / 128);
        }
        &mut self.text
    }

    pub(super) fn end_line(&mut self, time: u64) {
        self.lines.push(LineMark { time, end: self.text.len() });
    }

    fn append(&mut self, other: &mut Batch) {
        let shift = self.text.len();
        self.text.push_str(&other.text);
        other.text.clear();
        self.lines.extend(other.lines.drain(..).map(|mark| LineMark { end: mark.end + shift, ..mark }));
    }
}

/// What one thread has for the writer.
pub(super) type Outbox = Arc<Mutex<Batch>>;

/// What a thread has written in this turn, and where the writer finds it afterwards.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) batch: Batch,
    pub(super) outbox: Outbox,
}

impl Lines {
    /// Whether they are not to wait for the end of the turn, in which there may be any number.
    pub(super) fn is_full(&self) -> bool {
        self.batch.text.len() >= MOST_PENDING
    }

    /// Hands the lines to the writer, if there are any. Returns whether there were.
    pub(super) fn flush(&mut self) -> bool {
        if self.batch.lines.is_empty() {
            return false;
        }
        let mut pending = lock(&self.outbox);
        if pending.is_empty() {
            // The writer frees it.
            *pending = std::mem::take(&mut self.batch);
        } else if pending.text.len() + self.batch.text.len() <= MOST_PENDING {
            pending.append(&mut self.batch);
            if self.batch.text.capacity() > MOST_KEPT {
                self.batch = Batch::default();
            }
        } else {
            pending.dropped += self.batch.lines.len() as u64;
            self.batch = Batch::default();
        }
        true
    }
}

/// What these outboxes have.
pub(super) fn collect(outboxes: &[Outbox]) -> Vec<Batch> {
    outboxes.iter().map(|outbox| std::mem::take(&mut *lock(outbox))).filter(|batch| !batch.is_empty()).collect()
}

/// Appends the lines of all batches to `text`, in the order of their times.
pub(super) fn merge(batches: &[Batch], text: &mut String) {
    if let [only] = batches {
        text.push_str(&only.text);
        return;
    }
    let mut lines: Vec<(u64, &str)> = Vec::new();
    for batch in batches {
        let mut start = 0;
        for mark in &batch.lines {
            lines.push((mark.time, &batch.text[start..mark.end]));
            start = mark.end;
        }
    }
    // Stable: lines of one thread keep their order.
    lines.sort_by_key(|&(time, _)| time);
    for (_, line) in lines {
        text.push_str(line);
    }
}

/// A poisoned log would help nobody: the data under it is whole at every point.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &[(u64, &str)]) -> Batch {
        let mut batch = Batch::default();
        for (time, line) in lines {
            batch.text.push_str(line);
            batch.end_line(*time);
        }
        batch
    }

    #[test]
    fn lines_of_several_threads_are_merged_by_time() {
        let mut first = batch(&[(1, "a\n"), (5, "b\n")]);
        first.append(&mut batch(&[(6, "c\n")]));
        let second = batch(&[(2, "x\n"), (5, "y\n")]);
        let mut text = String::new();
        merge(&[first, second], &mut text);
        assert_eq!(text, "a\nx\nb\ny\nc\n");
    }

    #[test]
    fn what_waits_has_a_bound_and_what_is_beyond_is_counted() {
        let mut lines = Lines::default();
        let line = "x".repeat(1000) + "\n";
        let fit = MOST_PENDING / line.len();
        for _ in 0..fit + 7 {
            lines.batch.begin_line().push_str(&line);
            lines.batch.end_line(1);
            assert!(lines.flush());
        }
        assert!(!lines.flush());
        let batches = collect(&[lines.outbox.clone()]);
        assert_eq!(batches.iter().map(|batch| (batch.lines.len(), batch.dropped)).collect::<Vec<_>>(), [(fit, 7)]);
        assert!(collect(&[lines.outbox]).is_empty());
    }
}
