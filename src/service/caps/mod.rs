//! How fast bytes may move: what a service asks for, and what counts them.
//!
//! Nothing in this folder knows a clock or a socket: times are arguments, in milliseconds.

mod bucket;
mod shared;

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::config::caps::CapSettings;

pub use bucket::Bucket;
pub use shared::{Reservation, SharedCap};

/// What may have been saved up, in milliseconds of the rate: so much can move at once after a pause.
pub const BURST: u64 = 100;

/// The caps of a service, each for both directions: upstream, then downstream.
#[derive(Debug)]
pub struct Caps {
    /// Of each session alone, in bytes a second.
    pub own: [Option<NonZeroU64>; 2],
    /// Of all sessions together, in the service's former versions, too.
    pub total: [Option<Arc<SharedCap>>; 2],
    /// The rates of these when this version of the service is the one in use, in bytes a second.
    rates: [Option<NonZeroU64>; 2],
}

impl Caps {
    /// Those that a service asks for, whose former version had these; `None`: it asks for none.
    pub fn new(settings: &CapSettings, former: Option<&Caps>) -> Option<Caps> {
        let CapSettings { upload, download, total_upload, total_download } = *settings;
        if *settings == CapSettings::default() {
            return None;
        }
        let rates = [total_upload, total_download];
        let total = [0, 1].map(|flow| {
            let rate = rates[flow]?;
            let former = former.and_then(|former| former.total[flow].clone());
            Some(former.unwrap_or_else(|| Arc::new(SharedCap::new(rate))))
        });
        Some(Caps { own: [upload, download], total, rates })
    }

    /// Has what all sessions share go by the rates of this version.
    pub fn take_effect(&self) {
        for (total, rate) in self.total.iter().zip(self.rates) {
            if let (Some(total), Some(rate)) = (total, rate) {
                total.set_rate(rate);
            }
        }
    }
}
