//! The main thread: it owns all that lasts, starts the other threads, and tells them when something changes.
//!
//! In the order in which a process lives: `start`, `listening`, `reload`, `shutdown`.

mod access_log;
mod captures;
mod health;
pub mod limits;
pub mod listening;
pub mod notify;
pub mod reload;
pub mod reloader;
pub mod resolver;
mod shutdown;
pub mod signals;
mod start;
mod status;
mod tidy;

use crossbeam_channel::{Receiver, bounded};
use log::warn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::capture;
use crate::config::settings::{ServiceSettings, Settings};
use crate::log::flush;
use crate::service::Service;
use crate::service::admission::Room;
use crate::thread::Message;
use crate::thread::acceptor::Command;
use crate::thread::mailbox::Mailbox;
use health::Health;
use limits::Descriptors;
use listening::{Changes, Listening, Plan, Wanted};
use reload::{Load, Reloading};
use shutdown::Shutdown;
use signals::Signals;
use status::Status;
use tidy::Tidy;

/// How long the threads may take for what they are told about listeners, before nobody waits for them any longer.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the main thread waits for.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    /// A signal, and when it came: it may have had to wait until a reload was done.
    Signal(i32, Instant),
    AcceptorEnded,
    IoThreadEnded,
    /// Many sessions have ended.
    ManyEnds,
    /// The settings have been read again, or cannot be.
    Loaded(Box<Result<Settings, Vec<String>>>),
}

/// A service that clients are served for, and the settings that it was made from.
#[derive(Debug)]
struct Running {
    settings: ServiceSettings,
    service: Arc<Service>,
}

/// Everything that lasts as long as the process.
struct Control {
    clock: Clock,
    settings: Settings,
    services: Vec<Running>,
    listening: Listening,
    descriptors: Descriptors,
    room: Arc<Room>,
    health: Health,
    status: Status,
    acceptor: Mailbox<Command>,
    io_threads: Vec<Mailbox<Message>>,
    notices: Receiver<Notice>,
    tidy: Tidy,
    reloading: Reloading,
}

/// Runs the proxy until a signal stops it. `load` reads the settings again when SIGHUP asks for it.
///
/// # Errors
///
/// A start-up failure: one line for each thing that was wrong.
pub fn run(settings: Settings, load: Option<Load>, signals: Signals) -> Result<(), Vec<String>> {
    let (sender, notices) = bounded(16);
    let mut control = start::start(settings, notices, &sender)?;
    start::start_signal_thread(signals, sender).map_err(|error| vec![error])?;
    told(notify::ready(&format!("serving {}", control.services_text())));
    flush();
    control.serve(load);
    capture::finish();
    Ok(())
}

impl Control {
    /// Waits for what happens until all threads have ended.
    fn serve(&mut self, load: Option<Load>) {
        let mut shutdown = Shutdown::new(self.io_threads.len());
        while !shutdown.is_over() {
            match self.wait(&shutdown) {
                Some(Notice::ManyEnds) => self.tidy.soon(),
                Some(Notice::Signal(signal @ (libc::SIGUSR1 | libc::SIGHUP), _)) => {
                    access_log::open_again(signal);
                    if signal == libc::SIGHUP && !shutdown.has_begun() {
                        self.begin_reload(load.as_ref());
                    }
                }
                Some(Notice::Loaded(settings)) if !shutdown.has_begun() => self.reload(*settings, load.as_ref()),
                Some(Notice::Loaded(_)) => {}
                Some(Notice::Signal(signal, at)) => shutdown.signal(signal, at, self),
                Some(Notice::AcceptorEnded) => shutdown.acceptor_ended(self),
                Some(Notice::IoThreadEnded) => shutdown.io_thread_ended(),
                None => {
                    warn!("a thread did not end in time");
                    break;
                }
            }
            flush();
        }
        self.status.stop();
    }

    /// Waits for the next notice, and gives memory back meanwhile; `None`: the threads took too long to end.
    fn wait(&mut self, shutdown: &Shutdown) -> Option<Notice> {
        loop {
            let deadlines = [shutdown.deadline(), self.tidy.due()];
            let Some(deadline) = deadlines.into_iter().flatten().min() else { return self.notices.recv().ok() };
            if let Ok(notice) = self.notices.recv_deadline(deadline) {
                return Some(notice);
            }
            if shutdown.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
                return None;
            }
            self.tidy.tidy(&self.room);
        }
    }

    /// How many services there are, in words.
    fn services_text(&self) -> String {
        match self.services.len() {
            1 => "1 service".to_string(),
            count => format!("{count} services"),
        }
    }

    /// Tells the acceptor and the I/O threads what becomes of their listeners, and waits until they have done it.
    fn tell(&self, changes: Changes, most_sources: usize) {
        let (done, all_done) = crate::thread::change::Done::new();
        for (thread, (listeners, sockets)) in self.io_threads.iter().zip(changes.threads) {
            let own = crate::thread::Own { listeners, sockets, most_sources, done: done.clone() };
            // A thread that has ended, ended the program.
            let _ = thread.send(Message::Listen(Box::new(own)));
        }
        let _ = self.acceptor.send(Command::Listen(changes.acceptor, done));
        let _ = all_done.recv_timeout(CHANGE_TIMEOUT);
    }
}

/// The addresses that services are to listen on.
fn wanted(services: &[Running]) -> Vec<Wanted<'_>> {
    services.iter().map(Running::wanted).collect()
}

impl Running {
    fn wanted(&self) -> Wanted<'_> {
        let Running { settings, service } = self;
        Wanted { service, addresses: settings.listening().collect(), backlog: settings.backlog }
    }
}

/// Notes that the service manager could not be told something, which is no reason to stop.
fn told(result: std::io::Result<()>) {
    if let Err(error) = result {
        warn!("service manager: {}", error_text(&error));
    }
}
