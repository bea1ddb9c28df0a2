//! What everything else may use: text, errors, and the allocator's memory.

pub mod error;
pub mod memory;
pub mod text;
