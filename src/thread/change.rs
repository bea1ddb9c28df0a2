//! What a thread is told about its listeners, at the start and at each reload.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::service::Service;

/// Tells listeners apart, for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    /// One that no other call has returned.
    pub fn next() -> ListenerId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ListenerId(NEXT.fetch_add(1, Relaxed))
    }
}

/// A listener that was bound before, and what it is to be like from now on.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Which one it is.
    pub id: ListenerId,
    /// The service of clients that come from now on.
    pub service: Arc<Service>,
    /// How many of them may wait to be accepted.
    pub backlog: i32,
}

/// What becomes of a thread's listeners of one sort.
#[derive(Debug)]
pub struct Change<L> {
    /// New ones, bound already, with their services.
    pub added: Vec<(ListenerId, L, Arc<Service>)>,
    /// Those that stay, and may belong to another service now.
    pub kept: Vec<Kept>,
    /// Those that are to be closed, once the clients that wait in their queues have been taken.
    ///
    /// Where there is no room for them, clients that wait are reset.
    pub removed: Vec<ListenerId>,
}

impl<L> Default for Change<L> {
    fn default() -> Change<L> {
        Change { added: Vec::new(), kept: Vec::new(), removed: Vec::new() }
    }
}

/// Dropped when what it came with has been done; the receiving end is told when the last of its clones is.
#[derive(Debug, Clone)]
pub struct Done {
    _told: Sender<()>,
}

impl Done {
    /// One, and what disconnects when it and all its clones have been dropped.
    pub fn new() -> (Done, Receiver<()>) {
        let (sender, receiver) = bounded(0);
        (Done { _told: sender }, receiver)
    }
}
