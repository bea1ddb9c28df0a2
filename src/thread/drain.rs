//! When sessions are to have ended: all of the thread's, or those of services that a reload has replaced.

use std::time::{Duration, Instant};

use crate::service::ServiceId;

/// The times by which sessions end, and are reset if they have not.
#[derive(Debug, Default)]
pub struct Drain {
    thread: Option<Instant>,
    services: Vec<(ServiceId, Instant)>,
}

impl Drain {
    /// All sessions are to have ended by then.
    pub fn thread_by(&mut self, deadline: Instant) {
        self.thread = Some(deadline);
    }

    /// The sessions of a service are to have ended by then.
    pub fn service_by(&mut self, service: ServiceId, deadline: Instant) {
        self.services.push((service, deadline));
    }

    /// Whether the thread is to end with its last session.
    #[inline]
    pub fn is_draining(&self) -> bool {
        self.thread.is_some()
    }

    /// How long nothing of this is due; `None`: nothing will be.
    #[inline]
    pub fn wait(&self) -> Option<Duration> {
        if self.thread.is_none() && self.services.is_empty() {
            return None;
        }
        let services = self.services.iter().map(|&(_, deadline)| deadline).min();
        let next = [self.thread, services].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Whose time is over: a service's, or, with `None`, everybody's.
    #[inline]
    pub fn due(&mut self) -> Option<Option<ServiceId>> {
        if self.thread.is_none() && self.services.is_empty() {
            return None;
        }
        let now = Instant::now();
        if self.thread.is_some_and(|deadline| deadline <= now) {
            return Some(None);
        }
        let due = self.services.iter().position(|&(_, deadline)| deadline <= now)?;
        Some(Some(self.services.swap_remove(due).0))
    }
}
