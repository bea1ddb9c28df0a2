//! What bytes and datagrams are held in on their way: buffers, kernel pipes, and batches of datagrams.

pub mod batch;
pub mod buffer_pool;
mod counts;
pub mod kept;
pub mod pipe_pool;
pub mod pools;
pub mod splice;
