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

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Duration;

    /// Longer than anything takes but a wake-up that was lost.
    const LOST: Duration = Duration::from_secs(60);

    /// Waiters of so many threads, and where each one's bell is heard.
    pub fn with_bells(threads: usize) -> (Waiters, Vec<Receiver<()>>) {
        let bells = Arc::new(Bells::default());
        let waiters = Waiters::new(threads, bells.clone());
        let (bell, heard): (Vec<Bell>, Vec<_>) = (0..threads)
            .map(|_| {
                let (ring, heard) = channel();
                (Box::new(move || _ = ring.send(())) as Bell, heard)
            })
            .unzip();
        bells.hang(bell);
        (waiters, heard)
    }

    #[test]
    fn each_that_waits_is_woken_once_and_no_other() {
        let (waiters, heard) = with_bells(3);
        let count = |heard: &Receiver<()>| heard.try_iter().count();
        waiters.wake();
        assert!(waiters.add(0) && !waiters.add(0) && waiters.add(2) && waiters.is_waiting(2));
        waiters.remove(2);
        waiters.remove(2);
        assert!(waiters.add(1));
        waiters.wake();
        waiters.wake();
        assert_eq!(heard.iter().map(count).collect::<Vec<_>>(), [1, 1, 0]);
        assert!((0..3).all(|thread| !waiters.is_waiting(thread)));
        assert!(waiters.add(1), "it waits anew");
        waiters.wake();
        assert_eq!(heard.iter().map(count).collect::<Vec<_>>(), [0, 1, 0]);
    }

    #[test]
    fn before_there_are_bells_nobody_is_woken_and_nothing_fails() {
        let waiters = Waiters::new(1, Arc::default());
        assert!(waiters.add(0));
        waiters.wake();
        assert!(!waiters.is_waiting(0));
    }

    #[test]
    fn no_wake_up_is_lost() {
        const THREADS: usize = 3;
        const PIECES: u32 = 20_000;
        let (waiters, heard) = with_bells(THREADS);
        let (made, taken, begin) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(THREADS + 1));
        let take = || made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        thread::scope(|scope| {
            for (thread, heard) in heard.into_iter().enumerate() {
                let (waiters, made, taken, take, begin) = (&waiters, &made, &taken, &take, &begin);
                scope.spawn(move || {
                    begin.wait();
                    while taken.load(Ordering::SeqCst) < PIECES {
                        if take() {
                            taken.fetch_add(1, Ordering::SeqCst);
                            // The last one has everybody look and go.
                            waiters.wake();
                            continue;
                        }
                        waiters.add(thread);
                        if made.load(Ordering::Relaxed) == 0 && taken.load(Ordering::SeqCst) < PIECES {
                            heard.recv_timeout(LOST).expect("a wake-up was lost");
                        }
                        waiters.remove(thread);
                    }
                });
            }
            begin.wait();
            for _ in 0..PIECES {
                // Each is to be found by somebody who waits: whoever is too late is woken for it.
                while made.load(Ordering::Relaxed) > 0 {
                    thread::yield_now();
                }
                made.fetch_add(1, Ordering::Relaxed);
                waiters.wake();
            }
        });
        assert_eq!(taken.load(Ordering::SeqCst), PIECES);
    }
}
