//! Puts the parts together: start-up, the threads, signals and shutdown.

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{info, warn};
use std::fmt::Display;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::acceptor::{Acceptor, Stop};
use crate::admission::{Admission, EndedCount};
use crate::endpoint::Listener;
use crate::io_thread::{IoThread, Message};
use crate::limits::{raise_descriptor_limit, sessions_allowed};
use crate::log::error_text;
use crate::mailbox::Mailbox;
use crate::settings::Settings;
use crate::signals::StopSignals;

/// How long the threads may take to reset their sessions once they were told to.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// What the main thread waits for.
#[derive(Debug, PartialEq, Eq)]
enum Notice {
    Signal(i32),
    AcceptorEnded,
    IoThreadEnded,
}

/// Runs the proxy until a signal stops it.
///
/// # Errors
///
/// A start-up failure: one line that names what was wrong.
pub fn run(settings: &Settings, signals: StopSignals) -> Result<(), String> {
    log_settings(settings);
    let descriptors = raise_descriptor_limit().map_err(named("descriptor limit"))?;
    let most_sessions = sessions_allowed(descriptors, settings.listeners.len(), settings.io_threads);
    info!("descriptor limit = {descriptors} ({most_sessions} sessions)");

    let listeners = bind_all(settings)?;
    let (notices, notice) = bounded(16);
    let (io_threads, counts) = start_io_threads(settings, &notices)?;
    let admission = Admission::new(most_sessions, counts);
    let acceptor = start_acceptor(listeners, io_threads.clone(), admission, &notices)?;
    start_signal_thread(signals, notices)?;
    crate::log::flush();
    wait_and_drain(settings, &notice, &acceptor, &io_threads);
    Ok(())
}

/// Which system call tells the threads what is ready, chosen as mio does.
pub fn polling_backend() -> &'static str {
    if cfg!(mio_unsupported_force_poll_poll) {
        "poll"
    } else if cfg!(any(target_os = "linux", target_os = "android", target_os = "illumos")) {
        "epoll"
    } else {
        "kqueue"
    }
}

fn log_settings(settings: &Settings) {
    for address in &settings.remote.addresses {
        info!("remote address = {address}");
    }
    info!("buffer size = {}", settings.buffer_size);
    info!("no delay = {}", u8::from(settings.no_delay));
    info!("num io threads = {}", settings.io_threads);
    info!("using {}", polling_backend());
}

fn bind_all(settings: &Settings) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for endpoints in &settings.listeners {
        // As the original: a name that has several addresses is listened on at its first.
        for address in endpoints.addresses.iter().take(1) {
            let listener = Listener::bind(address, settings.backlog).map_err(|error| error.to_string())?;
            info!("listening on {listener}");
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

type IoThreads = (Vec<Mailbox<Message>>, Vec<Arc<EndedCount>>);

fn start_io_threads(settings: &Settings, notices: &Sender<Notice>) -> Result<IoThreads, String> {
    let mut mailboxes = Vec::new();
    let mut counts = Vec::new();
    for number in 0..settings.io_threads {
        let ended = Arc::new(EndedCount::default());
        let (io_thread, mailbox) = IoThread::new(settings, ended.clone()).map_err(named("I/O thread"))?;
        start_thread(format!("io-{number}"), Notice::IoThreadEnded, notices, move || io_thread.run())?;
        mailboxes.push(mailbox);
        counts.push(ended);
    }
    Ok((mailboxes, counts))
}

fn start_acceptor(
    listeners: Vec<Listener>,
    io_threads: Vec<Mailbox<Message>>,
    admission: Admission,
    notices: &Sender<Notice>,
) -> Result<Mailbox<Stop>, String> {
    let (acceptor, mailbox) = Acceptor::new(listeners, io_threads, admission).map_err(named("acceptor"))?;
    start_thread("acceptor".into(), Notice::AcceptorEnded, notices, move || acceptor.run())?;
    Ok(mailbox)
}

/// Starts a thread whose end is noticed, after its last log lines were flushed.
fn start_thread(
    name: String,
    ended: Notice,
    notices: &Sender<Notice>,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), String> {
    let notices = notices.clone();
    let body = move || {
        run();
        crate::log::flush();
        // Nobody listens any more only when the process ends.
        let _ = notices.send(ended);
    };
    thread::Builder::new().name(name).spawn(body).map(drop).map_err(named("starting a thread"))
}

fn start_signal_thread(signals: StopSignals, notices: Sender<Notice>) -> Result<(), String> {
    let body = move || {
        while let Ok(signal) = signals.wait() {
            if notices.send(Notice::Signal(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(body).map(drop).map_err(named("starting a thread"))
}

/// Waits for a signal, then stops the threads: the acceptor at once, sessions within the drain timeout.
fn wait_and_drain(
    settings: &Settings,
    notice: &Receiver<Notice>,
    acceptor: &Mailbox<Stop>,
    io_threads: &[Mailbox<Message>],
) {
    let mut signalled = 0;
    let mut running = io_threads.len();
    let mut reset_by: Option<Instant> = None;
    while running > 0 {
        let received = match reset_by {
            Some(deadline) => notice.recv_deadline(deadline).ok(),
            None => notice.recv().ok(),
        };
        match received {
            Some(Notice::Signal(signal)) => {
                signalled += 1;
                if signalled == 1 {
                    info!("signal {signal}: no new clients, sessions may go on for {:?}", settings.drain_timeout);
                    // It reports back when the last client has been dealt, so that no client comes after `Drain`.
                    let _ = acceptor.send(Stop);
                } else {
                    info!("signal {signal}: sessions are reset");
                    drain(io_threads, Instant::now());
                    reset_by = Some(Instant::now() + RESET_TIMEOUT);
                }
            }
            Some(Notice::AcceptorEnded) => {
                let timeout = if signalled > 1 { Duration::ZERO } else { settings.drain_timeout };
                drain(io_threads, Instant::now().checked_add(timeout).unwrap_or_else(far_future));
            }
            Some(Notice::IoThreadEnded) => running -= 1,
            None => {
                warn!("a thread did not end in time");
                break;
            }
        }
        crate::log::flush();
    }
}

fn drain(io_threads: &[Mailbox<Message>], deadline: Instant) {
    for io_thread in io_threads {
        // One that has ended needs no telling.
        let _ = io_thread.send(Message::Drain(deadline));
    }
}

/// A time that no session will see.
fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(100 * 365 * 24 * 3600)
}

fn named<E: Into<std::io::Error>>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {}", error_text(&error.into()))
}
