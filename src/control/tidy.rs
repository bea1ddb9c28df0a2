//! Gives memory back to the system after a burst of sessions.

use std::time::{Duration, Instant};

use crate::base::memory;
use crate::service::admission::Room;

/// How long the main thread waits for further ends before it tidies up.
const SOON: Duration = Duration::from_millis(500);

/// When memory is given back next.
///
/// An allocator keeps what is freed. A session frees little at its end, so that nothing is done before many have ended;
/// and it is the main thread that does it, as it may take some milliseconds.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    due: Option<Instant>,
}

impl Tidy {
    /// Many sessions have ended.
    pub(super) fn soon(&mut self) {
        self.due = Some(Instant::now() + SOON);
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Gives memory back, if it is time.
    pub(super) fn tidy(&mut self, room: &Room) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            // Those that end from now on count for the next time.
            room.ends_again();
            memory::give_back();
        }
    }
}
