//! Datagrams that a flow keeps because its sink has not taken them, and the memory of one thread that this takes.

use crate::buffers::batch::Batch;

/// Bytes of memory that all flows of one thread may keep datagrams in. Who has no connection can forge the address that
/// it sends from, and so have as many sessions as there may be: a bound for each of them is none.
const MOST: usize = 64 << 20;

/// One flow may keep at most this part of what is left. So the first ones do not take everything: each of hundreds more
/// can keep a few datagrams.
const SHARE: usize = 128;

/// The memory in which the flows of one thread keep datagrams.
#[derive(Debug, Default)]
pub struct KeptMemory {
    used: usize,
}

impl KeptMemory {
    /// Bytes that are used.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes that one flow may keep now.
    pub fn share(&self) -> usize {
        MOST.saturating_sub(self.used) / SHARE
    }
}

/// What one flow keeps; [`Kept::give_back`] must follow.
#[derive(Debug, Default)]
pub struct Kept {
    /// The datagrams, some of which a sink may have taken.
    pub batch: Batch,
    /// Bytes of the thread's memory that they are in.
    charged: usize,
}

impl Kept {
    /// Adds copies of the datagrams that are left in `batch`.
    pub fn append(&mut self, batch: &Batch, memory: &mut KeptMemory) {
        self.batch.append(batch);
        let charged = size_of::<Kept>() + self.batch.memory();
        memory.used = memory.used - self.charged + charged;
        self.charged = charged;
    }

    /// Gives the memory back.
    pub fn give_back(self, memory: &mut KeptMemory) {
        memory.used -= self.charged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams(count: usize) -> Batch {
        let mut batch = Batch::default();
        batch.space(1000 * count);
        batch.add_chunks(0, 1000 * count, 1000);
        batch
    }

    #[test]
    fn what_is_kept_is_charged_with_all_that_it_takes_and_given_back() {
        let mut memory = KeptMemory::default();
        let mut kept: Vec<Kept> = (0..10).map(|_| Kept::default()).collect();
        for round in 1..=20 {
            kept.iter_mut().for_each(|kept| kept.append(&datagrams(3), &mut memory));
            assert!(memory.used() >= 10 * round * 3000, "{} in round {round}", memory.used());
            assert!(memory.used() <= 10 * (2 * round * 3 * 1016 + 1000), "{} in round {round}", memory.used());
        }
        // What a sink takes makes room in the memory of the one that kept it, and nothing smaller of that.
        let before = memory.used();
        kept[0].batch.take(60);
        assert_eq!(memory.used(), before);
        kept.into_iter().for_each(|kept| kept.give_back(&mut memory));
        assert_eq!(memory.used(), 0);
    }

    /// Each keeps as much as it may, again and again.
    #[test]
    fn however_many_keep_a_little_at_a_time_there_is_something_left_for_the_next() {
        for flows in [10, 1_000, 10_000] {
            let mut memory = KeptMemory::default();
            let mut kept: Vec<Kept> = (0..flows).map(|_| Kept::default()).collect();
            let one = datagrams(1);
            for _ in 0..300 {
                for kept in &mut kept {
                    if kept.batch.size() + one.size() <= memory.share() {
                        kept.append(&one, &mut memory);
                    }
                }
            }
            assert!(memory.used() <= MOST, "{flows}: {}", memory.used());
            assert!(memory.share() >= one.size(), "{flows}: {}", memory.share());
            kept.into_iter().for_each(|kept| kept.give_back(&mut memory));
            assert_eq!(memory.used(), 0);
        }
    }
}
