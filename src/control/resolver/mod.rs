//! Looks the names of remotes up again and again, on threads of its own: by the system's resolver, or, for `srv:`, by
//! SRV records.

#[cfg(test)]
mod fake;
mod lookup;
mod message;
mod query;
mod resolv_conf;
mod schedule;
mod shares;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::address::EndpointAddress;
use crate::service::ServiceId;
use lookup::look_up;
use resolv_conf::ResolvConf;
use schedule::{Job, Next, Schedule};

/// A remote whose name is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The service that it is a remote of.
    pub service: ServiceId,
    /// Which of the remotes in the service's settings it is.
    pub remote: usize,
    /// The remote as it was written, without its options.
    pub argument: String,
    /// How often it is looked up; `None`: as the time to live of its SRV records says.
    pub every: Option<Duration>,
}

/// An address that a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The address.
    pub address: EndpointAddress,
    /// Its weight beside the others of this name, from 1 to 256; `None`: nothing is said of it.
    pub weight: Option<u16>,
    /// Whether others come before it.
    pub is_backup: bool,
}

/// What a name stands for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As in [`Name`].
    pub service: ServiceId,
    /// As in [`Name`].
    pub remote: usize,
    /// Its addresses: at least one, each once, in an order that does not depend on that of the answer. Or why it has none.
    pub found: Result<Vec<Found>, String>,
}

/// The threads that look names up. Dropping it ends them, without waiting for a look-up that is under way.
///
/// Looking up waits, for as long as the system's resolver does, so each look-up has a thread for itself, and there are as
/// many as are needed at the same time, up to a bound. Names whose servers do not answer get half of that.
pub struct Resolver {
    shared: Arc<Shared>,
}

/// The most threads.
const MOST_THREADS: usize = 8;

/// How long a thread that has nothing to do stays, beside one other.
const LINGER: Duration = Duration::from_secs(30);

/// What the threads share.
struct Shared {
    state: Mutex<State>,
    /// Something has changed that a thread without a look-up waits for.
    changed: Condvar,
    tell: Box<dyn Fn(Answer) + Send + Sync>,
    conf: Box<dyn Fn() -> ResolvConf + Send + Sync>,
    /// The resolver is gone.
    is_over: AtomicBool,
}

struct State {
    schedule: Schedule,
    threads: usize,
    /// Those of them that have no look-up, or have only been started.
    idle: usize,
}

impl Resolver {
    /// How many descriptors it may have open at the same time: for each look-up some sockets, or the files that say where
    /// names are looked up.
    pub const DESCRIPTORS: usize = MOST_THREADS * 4;

    /// Starts without a name. `tell` must not wait, and not call the resolver. It is told of each name the first answer, and
    /// then each that differs from the one before: the same addresses in another order are not told, and of failures in a
    /// row only the first.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn start(tell: impl Fn(Answer) + Send + Sync + Clone + 'static) -> io::Result<Resolver> {
        // It is small, and read for each look-up of SRV records, as it may have changed.
        Resolver::start_with(|| ResolvConf::read(Path::new(resolv_conf::PATH)), tell)
    }

    /// The same, with servers that somebody else says.
    fn start_with(
        conf: impl Fn() -> ResolvConf + Send + Sync + 'static,
        tell: impl Fn(Answer) + Send + Sync + 'static,
    ) -> io::Result<Resolver> {
        let state = State { schedule: Schedule::new(MOST_THREADS / 2), threads: 1, idle: 1 };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            tell: Box::new(tell),
            conf: Box::new(conf),
            is_over: AtomicBool::new(false),
        });
        spawn(&shared)?;
        Ok(Resolver { shared })
    }

    /// Follows these names and no others. One that is new is looked up at once; one that was followed already, for whichever
    /// remote, goes on as it was, and a remote that is new to it is told the answer that is known.
    pub fn follow(&self, names: Vec<Name>) {
        let mut state = self.shared.lock();
        state.schedule.follow(names, Instant::now()).into_iter().for_each(&self.shared.tell);
        self.shared.changed.notify_all();
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // Whoever looks at that under the lock and waits then, is woken.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

fn spawn(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = shared.clone();
    thread::Builder::new().name("resolver".into()).spawn(move || shared.work()).map(drop)
}

impl Shared {
    /// What every thread does until there is nothing left to do for it.
    fn work(self: &Arc<Shared>) {
        let mut state = self.lock();
        state.idle -= 1;
        let mut idle_since = Instant::now();
        while !self.is_over() {
            let now = Instant::now();
            match state.schedule.next(now) {
                Next::LookUp(job) => {
                    self.leave_to_another(&mut state);
                    drop(state);
                    state = self.look_up(job);
                    idle_since = Instant::now();
                }
                Next::Wait(_) if state.idle > 0 && now.duration_since(idle_since) >= LINGER => break,
                Next::Wait(until) => {
                    let pause = until.map_or(LINGER, |until| until.saturating_duration_since(now).min(LINGER));
                    state.idle += 1;
                    state = self.changed.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
                    state.idle -= 1;
                }
            }
        }
        state.threads -= 1;
    }

    /// Has somebody else wait for what is due next.
    fn leave_to_another(self: &Arc<Shared>, state: &mut State) {
        if state.idle > 0 {
            self.changed.notify_one();
        } else if state.threads < MOST_THREADS && spawn(self).is_ok() {
            // If the system has no thread to give, the others do it, only later.
            state.threads += 1;
            state.idle += 1;
        }
    }

    fn look_up(&self, mut job: Job) -> MutexGuard<'_, State> {
        let outcome = look_up(&job.argument, &self.conf, &mut job.memory, &|| self.is_over());
        let mut state = self.lock();
        let answers = state.schedule.done(job, outcome, Instant::now());
        // With the lock, so that nobody is told an older answer after a newer one.
        if !self.is_over() {
            answers.into_iter().for_each(&self.tell);
        }
        state
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
