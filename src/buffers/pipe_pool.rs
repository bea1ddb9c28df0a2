//! The per-thread pool of kernel pipes through which bulk flows move bytes without copying them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Free pipes kept for reuse, a thread.
const MOST_KEPT: usize = 16;

/// After a pipe could not be opened, so many flows copy before another is tried.
const PAUSE: u32 = 256;

/// Something that can be opened, filled by one endpoint and emptied by another.
pub trait Pipe: Sized {
    /// Opens one.
    ///
    /// # Errors
    ///
    /// The system's: out of descriptors or of memory for pipes, or no pipes here at all.
    fn open() -> io::Result<Self>;
}

/// How many pipes may still be opened, by all threads together.
#[derive(Debug)]
pub struct PipeBudget {
    left: AtomicUsize,
    /// How many free ones each thread may keep, so that some are left for the others.
    kept: usize,
}

impl PipeBudget {
    /// For so many pipes at once, and so many threads.
    pub fn new(most: usize, threads: usize) -> PipeBudget {
        PipeBudget { left: AtomicUsize::new(most), kept: MOST_KEPT.min(most / threads.max(1)) }
    }

    fn take(&self) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        self.left.fetch_add(1, Relaxed);
    }
}

/// Hands out empty pipes and takes them back. Not shared between threads.
#[derive(Debug)]
pub struct PipePool<P> {
    budget: Arc<PipeBudget>,
    open: usize,
    free: Vec<P>,
    pause: u32,
}

impl<P: Pipe> PipePool<P> {
    /// As many pipes at once as the budget has; none is opened yet.
    pub fn new(budget: Arc<PipeBudget>) -> PipePool<P> {
        PipePool { budget, open: 0, free: Vec::new(), pause: 0 }
    }

    /// An empty pipe; `None` when none can be had, and the flow must copy.
    pub fn take(&mut self) -> Option<P> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        if !self.budget.take() {
            return None;
        }
        match P::open() {
            Ok(pipe) => {
                self.open += 1;
                Some(pipe)
            }
            Err(error) => {
                log::debug!("no pipe: {}", crate::base::error::error_text(&error));
                self.budget.give_back();
                self.pause = PAUSE;
                None
            }
        }
    }

    /// Takes back a pipe that is empty.
    pub fn give_back(&mut self, pipe: P) {
        if self.free.len() < self.budget.kept {
            self.free.push(pipe);
        } else {
            self.discard(pipe);
        }
    }

    /// Closes a pipe, with whatever it still holds.
    pub fn discard(&mut self, pipe: P) {
        drop(pipe);
        self.budget.give_back();
        self.open -= 1;
    }

    /// How many pipes are open, those that are out among them.
    pub fn count(&self) -> usize {
        self.open
    }

    /// How many pipes are out.
    pub fn in_use(&self) -> usize {
        self.open - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always;

    impl Pipe for Always {
        fn open() -> io::Result<Always> {
            Ok(Always)
        }
    }

    struct Never;

    impl Pipe for Never {
        fn open() -> io::Result<Never> {
            Err(io::Error::from_raw_os_error(libc::EMFILE))
        }
    }

    #[test]
    fn no_more_than_allowed_are_out() {
        let mut pool = PipePool::<Always>::new(Arc::new(PipeBudget::new(2, 1)));
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        assert!(pool.take().is_none());
        pool.discard(first);
        assert!(pool.take().is_some());
        pool.give_back(second);
        assert!(pool.take().is_some());
        assert_eq!(pool.in_use(), 2);
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_is_not_tried_again_at_once() {
        let mut pool = PipePool::<Never>::new(Arc::new(PipeBudget::new(2, 1)));
        for _ in 0..3 {
            assert!(pool.take().is_none());
        }
        assert_eq!((pool.pause, pool.in_use()), (PAUSE - 2, 0));
    }

    #[test]
    fn more_threads_than_pipes_share_them() {
        let budget = Arc::new(PipeBudget::new(2, 3));
        let mut pools = [0; 3].map(|_| PipePool::<Always>::new(budget.clone()));
        let [first, second] = [0, 1].map(|thread| pools[thread].take().unwrap());
        assert!(pools[2].take().is_none());
        // None is kept where others have none.
        pools[0].give_back(first);
        assert!(pools[2].take().is_some());
        pools[1].give_back(second);
        assert!(pools[0].take().is_some() && pools[1].take().is_none());
    }
}
