//! What a flow is to have learnt of its traffic, as the witness sees it.

use cproxy::flow::{BULK_BYTES, SMALL_READ, SMALL_READS};

/// What a flow reads into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    Buffer,
    Pipe,
}

/// The traffic of a flow as far as its reads have shown it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// The command line says that all traffic is bulk.
    always_bulk: bool,
    turned_bulk: bool,
    /// While it is not bulk: bytes since the last short read.
    unbroken: u64,
    /// While it is: small reads in a row.
    small: u64,
}

impl Traffic {
    pub fn new(always_bulk: bool) -> Traffic {
        Traffic { always_bulk, ..Traffic::default() }
    }

    pub fn is_bulk(&self) -> bool {
        self.always_bulk || self.turned_bulk
    }

    /// A read of `asked` bytes brought `count`.
    pub fn note(&mut self, count: u64, asked: u64) {
        let short = count < asked;
        if self.turned_bulk {
            self.small = if short && count < SMALL_READ as u64 { self.small + 1 } else { 0 };
            self.turned_bulk = self.small < u64::from(SMALL_READS);
            self.unbroken = 0;
        } else {
            self.unbroken = if short { 0 } else { self.unbroken + count };
            self.turned_bulk = self.unbroken >= BULK_BYTES as u64;
            self.small = 0;
        }
    }
}
