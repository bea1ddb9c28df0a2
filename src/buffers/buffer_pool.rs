//! The per-thread pool of equally sized buffers that flows hold data in.

/// A buffer that a flow borrows while it holds data.
pub type Buffer = Box<[u8]>;

/// Free buffers kept for reuse take at most this many bytes; what comes back beyond that is freed.
const MOST_KEPT_BYTES: usize = 1 << 20;

/// Hands out buffers of one size and takes them back. Not shared between threads.
#[derive(Debug)]
pub struct BufferPool {
    buffer_size: usize,
    most_kept: usize,
    free: Vec<Buffer>,
    in_use: usize,
}

impl BufferPool {
    /// A pool of buffers of `buffer_size` bytes; none is allocated yet.
    pub fn new(buffer_size: usize) -> BufferPool {
        let most_kept = (MOST_KEPT_BYTES / buffer_size).max(2);
        BufferPool { buffer_size, most_kept, free: Vec::new(), in_use: 0 }
    }

    /// A buffer whose contents are whatever its last user left in it.
    pub fn take(&mut self) -> Buffer {
        self.in_use += 1;
        self.free.pop().unwrap_or_else(|| vec![0; self.buffer_size].into_boxed_slice())
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, buffer: Buffer) {
        debug_assert_eq!(buffer.len(), self.buffer_size);
        self.in_use -= 1;
        if self.free.len() < self.most_kept {
            self.free.push(buffer);
        }
    }

    /// Bytes of each buffer.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size
    }

    /// How many buffers there are, those that are out among them.
    pub fn count(&self) -> usize {
        self.in_use + self.free.len()
    }

    /// How many buffers are out.
    pub fn in_use(&self) -> usize {
        self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_handed_out_again() {
        let mut pool = BufferPool::new(16);
        let buffer = pool.take();
        let address = buffer.as_ptr();
        assert_eq!((buffer.len(), pool.in_use()), (16, 1));
        pool.give_back(buffer);
        assert_eq!(pool.in_use(), 0);
        let again = pool.take();
        assert_eq!(again.as_ptr(), address);
    }

    #[test]
    fn a_burst_of_returned_buffers_is_freed() {
        let mut pool = BufferPool::new(MOST_KEPT_BYTES / 4);
        let buffers: Vec<_> = (0..100).map(|_| pool.take()).collect();
        buffers.into_iter().for_each(|buffer| pool.give_back(buffer));
        assert_eq!((pool.in_use(), pool.free.len()), (0, 4));
    }
}
