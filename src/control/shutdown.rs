//! The order of shutdown: the acceptor at once, sessions within the drain timeout, and then whatever is left.

use log::info;
use std::time::{Duration, Instant};

use super::{Control, notify, told};
use crate::thread::Message;
use crate::thread::acceptor::Command;

/// How long the threads may take to reset their sessions once they were told to.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// The same signal within this time is the same wish: timeout(1), for one, signals its child and then the whole group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// How far the shutdown is.
pub(super) struct Shutdown {
    /// How many signals have asked for it.
    signalled: usize,
    last_signal: Option<(i32, Instant)>,
    /// Threads that have not ended. The acceptor is one of them: it removes the files of Unix listeners.
    running: usize,
    acceptor_ended: bool,
    reset_by: Option<Instant>,
}

impl Shutdown {
    /// It has not begun; so many I/O threads run, and the acceptor.
    pub(super) fn new(io_threads: usize) -> Shutdown {
        Shutdown { signalled: 0, last_signal: None, running: io_threads + 1, acceptor_ended: false, reset_by: None }
    }

    /// Whether a signal has asked for it.
    pub(super) fn has_begun(&self) -> bool {
        self.signalled > 0
    }

    /// Whether all threads have ended.
    pub(super) fn is_over(&self) -> bool {
        self.running == 0
    }

    /// When the threads are to have reset their sessions, if they were told to.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.reset_by
    }

    /// A signal that came at this time asks for the end.
    pub(super) fn signal(&mut self, signal: i32, at: Instant, control: &Control) {
        let is_soon = |last: Instant| at.saturating_duration_since(last) < SAME_SIGNAL;
        if self.last_signal.is_some_and(|(same, last)| same == signal && is_soon(last)) {
            return;
        }
        self.last_signal = Some((signal, at));
        self.signalled += 1;
        if self.signalled == 1 {
            let timeout = control.settings.process.drain_timeout;
            info!("signal {signal}: no new clients, sessions may go on for {timeout:?}");
            control.health.stop();
            control.status.drain();
            // It reports back when the last client has been dealt, so that no client comes after `Drain`.
            let _ = control.acceptor.send(Command::StopSoon);
            told(notify::stopping(timeout));
        } else {
            info!("signal {signal}: sessions are reset");
            if self.acceptor_ended {
                drain(control, Instant::now());
            } else {
                let _ = control.acceptor.send(Command::StopNow);
            }
            self.reset_by = Some(Instant::now() + RESET_TIMEOUT);
        }
    }

    /// The acceptor has dealt its last client and ended.
    pub(super) fn acceptor_ended(&mut self, control: &Control) {
        (self.running, self.acceptor_ended) = (self.running - 1, true);
        let timeout = if self.signalled > 1 { Duration::ZERO } else { control.settings.process.drain_timeout };
        drain(control, after(timeout));
    }

    /// An I/O thread has ended.
    pub(super) fn io_thread_ended(&mut self) {
        self.running -= 1;
    }
}

fn drain(control: &Control, deadline: Instant) {
    for io_thread in &control.io_threads {
        // One that has ended needs no telling.
        let _ = io_thread.send(Message::Drain(deadline));
    }
}

/// The time after a timeout, or one that no session will see.
pub(super) fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3600))
}
