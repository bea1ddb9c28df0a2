//! What the flows of one I/O thread hold data in: buffers, larger ones for bulk flows, and pipes.

use std::sync::Arc;

use crate::buffers::batch::Batch;
use crate::buffers::buffer_pool::{Buffer, BufferPool};
use crate::buffers::kept::KeptMemory;
use crate::buffers::pipe_pool::{Pipe, PipeBudget, PipePool};
use crate::config::settings::BufferSize;

/// Bytes of the buffers that bulk flows copy through where the command line set no size.
pub const LARGE_BUFFER: usize = 128 << 10;

/// Large buffers out at once, a thread.
const MOST_LARGE: usize = 64;

/// What filters make is kept for the next to make, if it is no larger than this, in bytes, and there are no more than so many.
const SPARE: usize = 256 << 10;
const MOST_SPARE: usize = 4;

/// The pools of one I/O thread.
#[derive(Debug)]
pub struct Pools<P> {
    /// Kernel pipes, for bulk flows.
    pub pipes: PipePool<P>,
    /// What a flow of datagrams reads into; empty between runs of sessions.
    pub batch: Batch,
    /// What it writes to a stream from.
    pub encoded: Vec<u8>,
    /// The memory of what flows of datagrams keep.
    pub kept: KeptMemory,
    /// When drops were last logged.
    pub drop_log: DropLog,
    buffers: BufferPool,
    large_buffers: Option<BufferPool>,
    /// What filters write to.
    spare: Vec<Vec<u8>>,
}

impl<P: Pipe> Pools<P> {
    /// Empty pools, with as many pipes as the budget has.
    pub fn new(size: BufferSize, pipes: Arc<PipeBudget>) -> Pools<P> {
        let (size, large_buffers) = match size {
            BufferSize::Fixed(size) => (size, None),
            BufferSize::Growing(size) => (size, Some(BufferPool::new(LARGE_BUFFER.max(2 * size)))),
        };
        Pools {
            pipes: PipePool::new(pipes),
            batch: Batch::default(),
            encoded: Vec::new(),
            kept: KeptMemory::default(),
            drop_log: DropLog::default(),
            buffers: BufferPool::new(size),
            large_buffers,
            spare: Vec::new(),
        }
    }

    /// A buffer for a flow of messages.
    pub fn take_buffer(&mut self) -> Buffer {
        self.buffers.take()
    }

    /// A buffer for a bulk flow: a large one if there may be another.
    pub fn take_bulk_buffer(&mut self) -> Buffer {
        match &mut self.large_buffers {
            Some(large) if large.in_use() < MOST_LARGE => large.take(),
            _ => self.buffers.take(),
        }
    }

    /// Takes a buffer of either kind back.
    pub fn give_back(&mut self, buffer: Buffer) {
        match &mut self.large_buffers {
            Some(large) if large.buffer_size() == buffer.len() => large.give_back(buffer),
            _ => self.buffers.give_back(buffer),
        }
    }

    /// An empty vector, with memory if there is some to spare.
    pub fn take_spare(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes one back, with its memory.
    pub fn give_back_spare(&mut self, mut spare: Vec<u8>) {
        if spare.capacity() > 0 && spare.capacity() <= SPARE && self.spare.len() < MOST_SPARE {
            spare.clear();
            self.spare.push(spare);
        }
    }

    /// How many buffers and pipes are out.
    pub fn in_use(&self) -> usize {
        self.buffers()[0] + self.pipes.in_use()
    }

    /// How many buffers of either kind are out, and how many there are.
    pub fn buffers(&self) -> [usize; 2] {
        let pools = || [Some(&self.buffers), self.large_buffers.as_ref()].into_iter().flatten();
        [pools().map(BufferPool::in_use).sum(), pools().map(BufferPool::count).sum()]
    }
}

/// Keeps the log from being flooded by what is dropped.
#[derive(Debug, Default)]
pub struct DropLog {
    /// Milliseconds since the thread's origin.
    next: u64,
}

impl DropLog {
    /// Whether something dropped now may be logged: once a second.
    pub fn may_log(&mut self, now: u64) -> bool {
        let may = now >= self.next;
        if may {
            self.next = now + 1000;
        }
        may
    }
}
