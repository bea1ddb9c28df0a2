//! Who may come in: no more sessions than the descriptors allow.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Service;
use super::waiters::{Bells, Waiters};

pub use super::waiters::Bell;

/// What one thread has counted, in cache lines of its own: it alone writes, those who admit clients read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts {
    admitted: Count,
    ended: Count,
}

/// A count with one writer.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add_one(&self) -> u64 {
        let count = self.0.load(Ordering::Relaxed) + 1;
        self.0.store(count, Ordering::Release);
        count
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// After so many sessions of a thread have ended, there is memory to give back.
const MANY_ENDS: u64 = 64;

/// Told that many sessions have ended; returns whether it has heard.
pub type Tidier = Box<dyn Fn() -> bool + Send + Sync>;

/// How many sessions there may be, in all threads together.
pub struct Room {
    most_sessions: AtomicU64,
    /// Sources want room, and room for one of them is being left by those who accept.
    sources_want: AtomicBool,
    left_for_sources: AtomicBool,
    counts: Vec<Counts>,
    bells: Arc<Bells>,
    /// The threads whose clients wait for room.
    waiting: Waiters,
    /// Those whose clients wait until a service or a remote may have one more session.
    waiting_for_places: Arc<Waiters>,
    /// Told that many sessions have ended, and whether that was said since it last asked.
    tidier: OnceLock<Tidier>,
    tidier_told: AtomicBool,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("most_sessions", &self.most_sessions).finish_non_exhaustive()
    }
}

impl Room {
    /// At most `most_sessions` at once, admitted and ended by so many threads.
    pub fn new(most_sessions: usize, threads: usize) -> Room {
        let bells = Arc::new(Bells::default());
        Room {
            most_sessions: AtomicU64::new(most_sessions as u64),
            sources_want: AtomicBool::new(false),
            left_for_sources: AtomicBool::new(false),
            counts: (0..threads).map(|_| Counts::default()).collect(),
            waiting: Waiters::new(threads, bells.clone()),
            waiting_for_places: Arc::new(Waiters::new(threads, bells.clone())),
            bells,
            tidier: OnceLock::new(),
            tidier_told: AtomicBool::new(false),
        }
    }

    /// Changes the limit; sessions that are open stay so.
    pub fn set_most_sessions(&self, most_sessions: usize) {
        self.most_sessions.store(most_sessions as u64, Ordering::Relaxed);
    }

    /// Says how to wake each thread. Until then none is woken when a session ends.
    pub fn hang_bells(&self, bells: Vec<Bell>) {
        // They are hung once, when the threads have been made.
        self.bells.hang(bells);
    }

    /// Says who is to be told that many sessions have ended, once until [`Room::ends_again`].
    pub fn tell_of_ends(&self, tidier: Tidier) {
        let _ = self.tidier.set(tidier);
    }

    /// Has the tidier told again.
    pub fn ends_again(&self) {
        self.tidier_told.store(false, Ordering::Relaxed);
    }

    #[cold]
    fn many_have_ended(&self) {
        if self.tidier_told.load(Ordering::Relaxed) || self.tidier_told.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.tidier.get().is_some_and(|tidier| !tidier()) {
            self.ends_again();
        }
    }

    fn has_room(&self) -> bool {
        self.has_room_beside(self.left_for_sources.load(Ordering::Relaxed).into())
    }

    fn has_room_beside(&self, others: u64) -> bool {
        // In this order a count that moves meanwhile makes the result too large rather than too small.
        let ended: u64 = self.counts.iter().map(|counts| counts.ended.get()).sum();
        let admitted: u64 = self.counts.iter().map(|counts| counts.admitted.get()).sum();
        admitted - ended + others < self.most_sessions.load(Ordering::Relaxed)
    }
}

/// The view that one thread has of the room. Threads that admit at the same time may let in one too many each.
#[derive(Debug, Clone)]
pub struct Admission {
    room: Arc<Room>,
    thread: usize,
}

impl Admission {
    /// That of the thread with this number. There must be one for each thread only, as its counts have one writer.
    pub fn new(room: &Arc<Room>, thread: usize) -> Admission {
        Admission { room: room.clone(), thread }
    }

    /// Whether one more session may be opened.
    pub fn has_room(&self) -> bool {
        self.room.has_room()
    }

    /// Counts a client that was admitted.
    pub fn admit(&self) {
        self.room.counts[self.thread].admitted.add_one();
    }

    /// Whether one more session may be opened for a source. If not, those who accept learn that it is wanted.
    pub fn has_room_for_source(&self) -> bool {
        let has_room = self.room.has_room_beside(0);
        if !has_room && !self.room.sources_want.load(Ordering::Relaxed) {
            self.room.sources_want.store(true, Ordering::Relaxed);
        }
        has_room
    }

    /// Counts a source that was admitted; what was left for it is taken.
    pub fn admit_source(&self) {
        self.admit();
        if self.room.left_for_sources.load(Ordering::Relaxed) {
            self.leave_for_sources(false);
        }
    }

    /// Whether a source has wanted room in vain since some was last left for one.
    pub fn sources_want(&self) -> bool {
        self.room.sources_want.load(Ordering::Relaxed)
    }

    /// Leaves room for one source, or does so no longer.
    pub fn leave_for_sources(&self, leave: bool) {
        if leave {
            self.room.sources_want.store(false, Ordering::Relaxed);
        }
        self.room.left_for_sources.store(leave, Ordering::Relaxed);
    }

    /// Counts a session that has ended for another, which is admitted next.
    pub fn session_replaced(&self) {
        self.count_end();
    }

    fn count_end(&self) {
        if self.room.counts[self.thread].ended.add_one() % MANY_ENDS == 0 {
            self.room.many_have_ended();
        }
    }

    /// A session that goes on has freed much memory: it is to be given back as after many ends.
    pub fn memory_was_freed(&self) {
        self.room.many_have_ended();
    }

    /// Counts a session that has ended, and wakes the threads whose clients wait for that.
    pub fn session_ended(&self) {
        self.count_end();
        self.room.waiting.wake();
    }

    /// Has this thread be woken when a session ends. `false`: there is room already.
    pub fn wait_for_room(&self) -> bool {
        self.room.waiting.add(self.thread);
        if self.room.has_room() {
            self.stop_waiting();
            return false;
        }
        true
    }

    /// Whether this thread waits, and no session has ended since it began to.
    pub fn is_waiting(&self) -> bool {
        self.room.waiting.is_waiting(self.thread)
    }

    /// Has this thread not be woken any more.
    pub fn stop_waiting(&self) {
        self.room.waiting.remove(self.thread);
    }

    /// Has this thread be woken when a service or a remote may have one more session, as before; `false`: it was woken since, and is to
    /// look after all that it waits for.
    pub fn wait_for_places(&self) -> bool {
        !self.room.waiting_for_places.add(self.thread)
    }

    /// Until when a service or its remotes may have no more sessions, if nobody tells before: see
    /// [`Pool::full_until`](super::pool::Pool::full_until). This thread must wait for places.
    pub fn full_until(&self, service: &Service, now: u64) -> Option<u64> {
        let waiters = &self.room.waiting_for_places;
        match &service.limits {
            Some(limits) if limits.is_full_for(waiters) => Some(u64::MAX),
            _ => service.pool.full_until(waiters, now),
        }
    }

    /// Whether this thread waits for places, and nobody has told it since it began to that there is one.
    pub fn is_waiting_for_places(&self) -> bool {
        self.room.waiting_for_places.is_waiting(self.thread)
    }

    /// Has this thread not be woken any more when there are places.
    pub fn stop_waiting_for_places(&self) {
        self.room.waiting_for_places.remove(self.thread);
    }

    /// The limit.
    pub fn most_sessions(&self) -> u64 {
        self.room.most_sessions.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_session_that_ends_makes_room_for_another() {
        let room = Arc::new(Room::new(2, 3));
        let [acceptor, io_thread, other] = [0, 1, 2].map(|thread| Admission::new(&room, thread));
        assert!(acceptor.has_room());
        acceptor.admit();
        assert!(io_thread.has_room());
        io_thread.admit();
        assert!(!acceptor.has_room() && !io_thread.has_room());
        other.session_ended();
        assert!(acceptor.has_room() && io_thread.has_room());
        acceptor.admit();
        assert!(!acceptor.has_room() && !io_thread.has_room());
        room.set_most_sessions(3);
        assert!(acceptor.has_room());
    }

    #[test]
    fn what_is_left_for_a_source_is_for_nobody_else_until_one_has_come() {
        let room = Arc::new(Room::new(2, 2));
        let [acceptor, io_thread] = [0, 1].map(|thread| Admission::new(&room, thread));
        assert!(io_thread.has_room_for_source() && !acceptor.sources_want());
        (0..2).for_each(|_| acceptor.admit());
        assert!(!io_thread.has_room_for_source() && acceptor.sources_want());
        acceptor.leave_for_sources(true);
        io_thread.session_ended();
        assert!(!acceptor.has_room() && !acceptor.sources_want() && io_thread.has_room_for_source());
        acceptor.leave_for_sources(false);
        assert!(acceptor.has_room());
        acceptor.leave_for_sources(true);
        io_thread.admit_source();
        io_thread.session_ended();
        assert!(acceptor.has_room());
    }

    #[test]
    fn a_source_that_replaces_another_wakes_nobody() {
        let room = Arc::new(Room::new(1, 2));
        let (acceptor, io_thread) = (Admission::new(&room, 0), Admission::new(&room, 1));
        io_thread.admit_source();
        assert!(acceptor.wait_for_room());
        io_thread.session_replaced();
        io_thread.admit_source();
        assert!(acceptor.is_waiting() && !acceptor.has_room());
    }

    #[test]
    fn a_thread_that_waits_is_woken_once_by_an_end() {
        let room = Arc::new(Room::new(1, 2));
        let rung = Arc::new([const { AtomicU32::new(0) }; 2]);
        room.hang_bells(
            (0..2)
                .map(|thread| {
                    let rung = rung.clone();
                    let ring = move || {
                        rung[thread].fetch_add(1, Ordering::Relaxed);
                    };
                    Box::new(ring) as Bell
                })
                .collect(),
        );
        let (acceptor, io_thread) = (Admission::new(&room, 0), Admission::new(&room, 1));
        assert!(!acceptor.wait_for_room() && !acceptor.is_waiting());
        acceptor.admit();
        assert!(acceptor.wait_for_room() && acceptor.wait_for_room() && acceptor.is_waiting());
        io_thread.session_ended();
        assert!(!acceptor.is_waiting());
        acceptor.admit();
        io_thread.session_ended();
        assert_eq!(rung.each_ref().map(|count| count.load(Ordering::Relaxed)), [1, 0]);
    }

    #[test]
    fn a_tidier_that_has_not_heard_is_told_again_and_one_that_has_is_not() {
        let room = Arc::new(Room::new(1, 1));
        let told = Arc::new(AtomicU32::new(0));
        let tells = told.clone();
        // It hears the second time.
        room.tell_of_ends(Box::new(move || tells.fetch_add(1, Ordering::Relaxed) == 1));
        let thread = Admission::new(&room, 0);
        for expected in [1, 2, 2, 2] {
            (0..MANY_ENDS).for_each(|_| thread.session_ended());
            assert_eq!(told.load(Ordering::Relaxed), expected);
        }
    }
}
