//! What everything else may use: text, errors, random numbers, and the allocator's memory.

pub mod clock;
pub mod error;
pub mod memory;
pub mod random;
pub mod similar;
pub mod text;
