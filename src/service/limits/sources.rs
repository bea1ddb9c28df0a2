//! The table of sources: how many sessions each one has, and what is in its bucket.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bucket::is_full;

/// Parts of the table, each with a lock of its own, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Sources that all parts together remember: 2^20, in 52 MiB.
pub const MOST: usize = 1 << 20;

/// Entries that a part begins with.
const FEW: usize = 16;

/// So many sources that have nothing to be remembered for are forgotten for each new one.
const FORGOTTEN_AT_ONCE: usize = 2;

/// In place of an entry's number: there is none.
const NONE: u32 = u32::MAX;

/// One source of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// Its address, or that of its network, as an address of IPv6.
    network: [u32; 4],
    /// The number of the service.
    service: u32,
}

/// What is known of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Its sessions that are counted.
    pub sessions: u32,
    /// Its bucket: see [`super::bucket::Bucket`].
    pub full_at: u64,
}

/// The sources of the process. Those without sessions are forgotten when there are too many, those first that were used
/// least recently; one that has sessions is never forgotten, and makes the table larger where that is needed.
#[derive(Debug)]
pub struct Sources {
    shards: Vec<Mutex<Shard>>,
    /// Who sends chooses the address, but not the part and the place that it comes to.
    hasher: RandomState,
}

impl Source {
    /// That of an address of IPv6, whose bits behind these do not count.
    pub fn new(service: u32, address: u128, bits: u8) -> Source {
        let address = address & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        Source { network: [96, 64, 32, 0].map(|shift| (address >> shift) as u32), service }
    }
}

impl Sources {
    /// An empty table, which remembers so many.
    pub fn new(most: usize) -> Sources {
        let most = most.div_ceil(SHARDS);
        Sources {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard { most, ..Shard::default() })).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Has what is known of a source be changed, if it is let in at this time, in milliseconds. Nothing changes if not. Others
    /// may not look at it meanwhile.
    ///
    /// # Errors
    ///
    /// That of `admit`.
    pub fn admit<E>(&self, source: Source, now: u64, admit: impl FnOnce(Known) -> Result<Known, E>) -> Result<(), E> {
        let hash = self.hash(&source);
        let mut shard = self.shard(hash);
        let number = shard.find(&source, hash);
        let known = number.map_or(Known::default(), |number| shard.entries[number as usize].known);
        if known.sessions == 0 {
            // It is used, whatever comes of it.
            number.into_iter().for_each(|number| shard.touch(number));
        }
        let known = admit(known)?;
        match number {
            Some(number) => shard.set(number, known),
            None => {
                shard.forget_full(now, &self.hasher);
                shard.insert(source, hash, known, &self.hasher);
            }
        }
        Ok(())
    }

    /// A source has one session less.
    pub fn leave(&self, source: Source) {
        let hash = self.hash(&source);
        let mut shard = self.shard(hash);
        let Some(number) = shard.find(&source, hash) else { return };
        let Known { sessions, full_at } = shard.entries[number as usize].known;
        let sessions = sessions.saturating_sub(1);
        if sessions == 0 && full_at == 0 {
            shard.remove(number, hash);
            shard.shrink(&self.hasher);
        } else {
            shard.set(number, Known { sessions, full_at });
        }
    }

    /// The bytes that it has on the heap.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).memory());
        self.shards.capacity() * size_of::<Mutex<Shard>>() + shards.sum::<usize>()
    }

    fn hash(&self, source: &Source) -> u64 {
        self.hasher.hash_one(source)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The lower bits say which place of the shard.
        let shard = &self.shards[(hash >> 32) as usize % SHARDS];
        // Nobody leaves it half done: what a panic would leave is whole.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part of the table: entries by numbers, in chains by their hashes, and those without sessions in the order of their
/// last use.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    entries: Vec<Entry>,
    /// The first entry of each chain; as many as there is room for entries.
    chains: Vec<u32>,
    /// The first of the entries that are free, in a chain of their own.
    free: u32,
    /// How many are not free.
    count: usize,
    oldest: u32,
    newest: u32,
    /// Beyond so many, one that is forgotten makes place for a new one, if there is one without sessions.
    most: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    source: Source,
    /// The next one in the same chain.
    next: u32,
    known: Known,
    /// Its neighbours in the order of use, if it has no sessions.
    older: u32,
    newer: u32,
}

impl Default for Shard {
    fn default() -> Shard {
        let (entries, chains) = (Vec::new(), Vec::new());
        Shard { entries, chains, free: NONE, count: 0, oldest: NONE, newest: NONE, most: 0 }
    }
}

impl Shard {
    #[cfg(test)]
    fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.chains.capacity() * size_of::<u32>()
    }

    fn chain(&self, hash: u64) -> usize {
        hash as u32 as usize & (self.chains.len() - 1)
    }

    fn find(&self, source: &Source, hash: u64) -> Option<u32> {
        if self.chains.is_empty() {
            return None;
        }
        let mut number = self.chains[self.chain(hash)];
        while number != NONE {
            let entry = &self.entries[number as usize];
            if entry.source == *source {
                return Some(number);
            }
            number = entry.next;
        }
        None
    }

    /// Changes what is known of one.
    fn set(&mut self, number: u32, known: Known) {
        let before = std::mem::replace(&mut self.entries[number as usize].known, known);
        if before.sessions == 0 {
            self.unlink(number);
        }
        if known.sessions == 0 {
            self.link_newest(number);
        }
    }

    fn insert(&mut self, source: Source, hash: u64, known: Known, hasher: &RandomState) {
        if self.count >= self.most && self.oldest != NONE {
            self.remove_oldest(hasher);
        }
        if self.free == NONE && self.entries.len() == self.entries.capacity() {
            self.rebuild((2 * self.count).max(FEW), hasher);
        }
        self.add(Entry { source, next: NONE, known, older: NONE, newer: NONE }, hash);
    }

    /// Adds an entry for which there is room.
    fn add(&mut self, entry: Entry, hash: u64) {
        let chain = self.chain(hash);
        let entry = Entry { next: self.chains[chain], ..entry };
        let number = match self.free {
            NONE => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
            number => {
                self.free = std::mem::replace(&mut self.entries[number as usize], entry).next;
                number
            }
        };
        self.chains[chain] = number;
        self.count += 1;
        if entry.known.sessions == 0 {
            self.link_newest(number);
        }
    }

    fn remove(&mut self, number: u32, hash: u64) {
        let Entry { next, known, .. } = self.entries[number as usize];
        if known.sessions == 0 {
            self.unlink(number);
        }
        let chain = self.chain(hash);
        if self.chains[chain] == number {
            self.chains[chain] = next;
        } else {
            let mut before = self.chains[chain];
            while self.entries[before as usize].next != number {
                before = self.entries[before as usize].next;
            }
            self.entries[before as usize].next = next;
        }
        let entry = &mut self.entries[number as usize];
        // A free one is not found.
        (entry.next, entry.known) = (self.free, Known { sessions: NONE, full_at: 0 });
        self.free = number;
        self.count -= 1;
    }

    /// Forgets some of those that were used longest ago, if all of these may do what a new one may.
    fn forget_full(&mut self, now: u64, hasher: &RandomState) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            if self.oldest == NONE || !is_full(self.entries[self.oldest as usize].known.full_at, now) {
                break;
            }
            self.remove_oldest(hasher);
        }
        self.shrink(hasher);
    }

    fn remove_oldest(&mut self, hasher: &RandomState) {
        let number = self.oldest;
        let hash = hasher.hash_one(self.entries[number as usize].source);
        self.remove(number, hash);
    }

    /// Gives memory back when most of it is free.
    fn shrink(&mut self, hasher: &RandomState) {
        if self.entries.capacity() <= 4 * FEW {
            return;
        }
        if self.count == 0 {
            *self = Shard { most: self.most, ..Shard::default() };
        } else if self.count * 8 <= self.entries.capacity() {
            self.rebuild(self.count * 2, hasher);
        }
    }

    /// Makes room for so many entries, and no more than the next power of two.
    fn rebuild(&mut self, room: usize, hasher: &RandomState) {
        let room = room.max(FEW).next_power_of_two();
        let mut new = Shard { most: self.most, ..Shard::default() };
        new.entries.reserve_exact(room);
        new.chains = vec![NONE; room];
        let mut idle = self.oldest;
        while idle != NONE {
            let entry = self.entries[idle as usize];
            new.add(entry, hasher.hash_one(entry.source));
            idle = entry.newer;
        }
        for entry in self.entries.iter().filter(|entry| !matches!(entry.known.sessions, 0 | NONE)) {
            new.add(*entry, hasher.hash_one(entry.source));
        }
        *self = new;
    }

    fn touch(&mut self, number: u32) {
        if self.newest != number {
            self.unlink(number);
            self.link_newest(number);
        }
    }

    fn link_newest(&mut self, number: u32) {
        let older = std::mem::replace(&mut self.newest, number);
        let entry = &mut self.entries[number as usize];
        (entry.older, entry.newer) = (older, NONE);
        match older {
            NONE => self.oldest = number,
            older => self.entries[older as usize].newer = number,
        }
    }

    fn unlink(&mut self, number: u32) {
        let Entry { older, newer, .. } = self.entries[number as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
    }
}
