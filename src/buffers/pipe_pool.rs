//! The per-thread pool of kernel pipes through which bulk flows move bytes without copying them.

use std::io;

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

/// Hands out empty pipes and takes them back. Not shared between threads.
#[derive(Debug)]
pub struct PipePool<P> {
    most: usize,
    open: usize,
    free: Vec<P>,
    pause: u32,
}

impl<P: Pipe> PipePool<P> {
    /// At most `most` pipes at once; none is opened yet.
    pub fn new(most: usize) -> PipePool<P> {
        PipePool { most, open: 0, free: Vec::new(), pause: 0 }
    }

    /// An empty pipe; `None` when none can be had, and the flow must copy.
    pub fn take(&mut self) -> Option<P> {
        if let Some(pipe) = self.free.pop() {
            return Some(pipe);
        }
        if self.open >= self.most {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        match P::open() {
            Ok(pipe) => {
                self.open += 1;
                Some(pipe)
            }
            Err(error) => {
                log::debug!("no pipe: {}", crate::base::error::error_text(&error));
                self.pause = PAUSE;
                None
            }
        }
    }

    /// Takes back a pipe that is empty.
    pub fn give_back(&mut self, pipe: P) {
        if self.free.len() < MOST_KEPT {
            self.free.push(pipe);
        } else {
            self.discard(pipe);
        }
    }

    /// Closes a pipe, with whatever it still holds.
    pub fn discard(&mut self, pipe: P) {
        drop(pipe);
        self.open -= 1;
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
        let mut pool = PipePool::<Always>::new(2);
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
        let mut pool = PipePool::<Never>::new(2);
        for _ in 0..3 {
            assert!(pool.take().is_none());
        }
        assert_eq!((pool.pause, pool.in_use()), (PAUSE - 2, 0));
    }
}
