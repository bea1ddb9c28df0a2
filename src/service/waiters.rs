//! Threads that wait until there is room, and how those who make some wake them.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// Wakes a thread that may be asleep.
pub type Bell = Box<dyn Fn() + Send + Sync>;

/// The bells of all threads, by their numbers; they are hung when the threads have been made.
#[derive(Default)]
pub struct Bells(OnceLock<Vec<Bell>>);

/// The threads that wait for one thing.
#[derive(Debug)]
pub struct Waiters {
    bells: Arc<Bells>,
    /// Which threads wait, and how many these are.
    waiting: Vec<AtomicBool>,
    count: AtomicUsize,
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bells({})", self.0.get().map_or(0, Vec::len))
    }
}

impl Bells {
    /// Says how to wake each thread, once. Until then none is woken.
    pub fn hang(&self, bells: Vec<Bell>) {
        let _ = self.0.set(bells);
    }

    fn ring(&self, thread: usize) {
        if let Some(bell) = self.0.get().and_then(|bells| bells.get(thread)) {
            bell();
        }
    }
}

impl Waiters {
    /// None of so many threads waits yet.
    pub fn new(threads: usize, bells: Arc<Bells>) -> Waiters {
        Waiters { bells, waiting: (0..threads).map(|_| AtomicBool::new(false)).collect(), count: AtomicUsize::new(0) }
    }

    /// Notes that a thread waits; `false`: it did already. It must look at what it waits for once more after this.
    pub fn add(&self, thread: usize) -> bool {
        let is_new = !self.waiting[thread].swap(true, Ordering::SeqCst);
        if is_new {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        // Pairs with the fence in `wake`: either they see that the thread waits, or it sees what they did before.
        fence(Ordering::SeqCst);
        is_new
    }

    /// Has a thread not be woken any more.
    pub fn remove(&self, thread: usize) {
        if self.waiting[thread].swap(false, Ordering::SeqCst) {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether a thread waits, and has not been woken since it began to.
    pub fn is_waiting(&self, thread: usize) -> bool {
        self.waiting[thread].load(Ordering::SeqCst)
    }

    /// Wakes all that wait, after what they wait for has come about.
    #[inline]
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.count.load(Ordering::Relaxed) > 0 {
            self.wake_waiting();
        }
    }

    #[cold]
    fn wake_waiting(&self) {
        for (thread, waiting) in self.waiting.iter().enumerate() {
            if waiting.swap(false, Ordering::SeqCst) {
                self.count.fetch_sub(1, Ordering::SeqCst);
                self.bells.ring(thread);
            }
        }
    }
}
