//! Puts the parts together: start-up, the threads, signals and shutdown.

pub mod limits;
pub mod notify;
pub mod signals;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{info, warn};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::address::EndpointAddress;
use crate::base::error::error_text;
use crate::buffers::splice::pipes_allowed;
use crate::config::settings::{ServiceSettings, Settings, ZeroCopy};
use crate::control::limits::{open_descriptors, pipes_affordable, raise_descriptor_limit, sessions_allowed};
use crate::control::signals::StopSignals;
use crate::endpoint::Listener;
use crate::endpoint::source::SourceSocket;
use crate::endpoint::tcp::TcpListener;
use crate::service::Service;
use crate::service::admission::{Admission, Counts};
use crate::thread::acceptor::{Acceptor, Stop};
use crate::thread::mailbox::Mailbox;
use crate::thread::{IoThread, Message, Share};

/// How long the threads may take to reset their sessions once they were told to.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

/// The same signal within this time is the same wish: timeout(1), for one, signals its child and then the whole group.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

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
    let pipes = match settings.process.zero_copy {
        ZeroCopy::Never => 0,
        ZeroCopy::Auto | ZeroCopy::Always => pipes_affordable(descriptors, pipes_allowed()),
    };
    let (connectionless, connected): (Vec<_>, Vec<_>) =
        listening(settings).partition(|address| address.is_connectionless());
    let shared = settings.process.io_threads
        * (connectionless.len() + usize::from(settings.process.reuse_port) * connected.len());
    let sockets = shared + listening(settings).map(EndpointAddress::descriptors_of_listener).sum::<usize>();
    let most_sessions = sessions_allowed(
        descriptors,
        open_descriptors(),
        sockets,
        settings.process.io_threads,
        pipes,
        per_session(settings),
    );
    // Clients without a connection must not take all the room: they make it only for each other.
    let most_sources = if connected.is_empty() { most_sessions } else { most_sessions - most_sessions / 4 };
    info!("descriptor limit = {descriptors} ({most_sessions} sessions, {pipes} pipes)");

    let listeners = bind_all(settings)?;
    let (notices, notice) = bounded(16);
    // The last is the acceptor's.
    let counts: Vec<_> = (0..=settings.process.io_threads).map(|_| Arc::new(Counts::default())).collect();
    let admission = |number: usize| Admission::new(most_sessions, counts[number].clone(), counts.clone());
    let own = listeners.own.into_iter().zip(listeners.sources);
    let shares = own.enumerate().map(|(number, (listeners, sources))| Share {
        counts: counts[number].clone(),
        pipes: pipes / settings.process.io_threads,
        listeners,
        sources,
        most_sources: (most_sources / settings.process.io_threads).max(1),
        admission: admission(number),
    });
    // Before there is a thread whose lines could overtake these.
    crate::log::flush();
    let io_threads = start_io_threads(settings, shares, &notices)?;
    let admission = admission(settings.process.io_threads);
    let acceptor = start_acceptor(listeners.shared, io_threads.clone(), admission, &notices)?;
    start_signal_thread(signals, notices)?;
    told(notify::ready());
    crate::log::flush();
    wait_and_drain(settings, &notice, &acceptor, &io_threads);
    Ok(())
}

/// The addresses that are listened on.
fn listening(settings: &Settings) -> impl Iterator<Item = &EndpointAddress> {
    settings.services.iter().flat_map(ServiceSettings::listening)
}

/// How many descriptors a session takes, at most.
fn per_session(settings: &Settings) -> usize {
    let client = listening(settings).map(EndpointAddress::descriptors_of_client).max().unwrap_or(1);
    let remote =
        settings.services[0].remote.addresses.iter().map(EndpointAddress::descriptors_of_remote).max().unwrap_or(1);
    client + remote
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
    for address in &settings.services[0].remote.addresses {
        info!("remote address = {address}");
    }
    info!("buffer size = {}", settings.process.buffer_size.bytes());
    info!("no delay = {}", u8::from(settings.services[0].no_delay));
    info!("num io threads = {}", settings.process.io_threads);
    info!("using {}", polling_backend());
}

/// Bound listeners, by who accepts from them.
struct Listeners {
    /// Those of the acceptor.
    shared: Vec<Listener>,
    /// Those of each I/O thread.
    own: Vec<Vec<Listener>>,
    /// The sockets of clients without a connection, of each I/O thread.
    sources: Vec<Vec<SourceSocket>>,
}

fn bind_all(settings: &Settings) -> Result<Listeners, String> {
    let mut listeners = Listeners { shared: Vec::new(), own: Vec::new(), sources: Vec::new() };
    listeners.own.resize_with(settings.process.io_threads, Vec::new);
    listeners.sources.resize_with(settings.process.io_threads, Vec::new);
    for (number, address) in listening(settings).enumerate() {
        match address {
            EndpointAddress::Udp(address) => bind_udp(*address, &mut listeners.sources)?,
            EndpointAddress::UnixDatagram(address) => {
                let socket = SourceSocket::unix(address).map_err(|error| error.to_string())?;
                info!("listening on {socket}");
                listeners.sources[number % settings.process.io_threads].push(socket);
            }
            address => match shareable(address).filter(|_| settings.process.reuse_port) {
                Some((tcp, wrap)) => bind_for_each_thread(tcp, wrap, settings.services[0].backlog, &mut listeners.own)?,
                None => {
                    let listener =
                        Listener::bind(address, settings.services[0].backlog).map_err(|error| error.to_string())?;
                    info!("listening on {listener}");
                    listeners.shared.push(listener);
                }
            },
        }
    }
    Ok(listeners)
}

/// Makes the listener of an address from one of the stream that it is over.
type Wrap = fn(Listener) -> Listener;

/// The TCP address that several listeners can be bound to, and what is made of these.
fn shareable(address: &EndpointAddress) -> Option<(SocketAddr, Wrap)> {
    match address {
        EndpointAddress::Tcp(address) => Some((*address, |listener| listener)),
        EndpointAddress::Framed(stream) => match **stream {
            EndpointAddress::Tcp(address) => Some((address, Listener::framed)),
            _ => None,
        },
        _ => None,
    }
}

/// Binds one UDP socket for each I/O thread where the kernel deals senders to them, and one otherwise.
fn bind_udp(mut address: SocketAddr, sources: &mut [Vec<SourceSocket>]) -> Result<(), String> {
    let dealt = cfg!(any(target_os = "linux", target_os = "android", target_os = "freebsd"));
    let threads = if dealt { sources.len() } else { 1 };
    if threads > 1 {
        // Sockets that share an address do not notice that another program has it: one that does not share does.
        drop(SourceSocket::udp(address, false).map_err(|error| error.to_string())?);
    }
    for sources in &mut sources[..threads] {
        let socket = SourceSocket::udp(address, threads > 1).map_err(|error| error.to_string())?;
        address = socket.udp_address().unwrap_or(address);
        info!("listening on {socket}");
        sources.push(socket);
    }
    Ok(())
}

/// Binds one socket for each I/O thread; where the port is 0, all to the one that the system picks first.
fn bind_for_each_thread(
    mut address: SocketAddr,
    wrap: Wrap,
    backlog: i32,
    own: &mut [Vec<Listener>],
) -> Result<(), String> {
    for listeners in own {
        let listener = TcpListener::bind_shared(address, backlog).map_err(|error| error.to_string())?;
        address = listener.address();
        let listener = wrap(Listener::Tcp(listener));
        info!("listening on {listener}");
        listeners.push(listener);
    }
    Ok(())
}

fn start_io_threads(
    settings: &Settings,
    shares: impl Iterator<Item = Share>,
    notices: &Sender<Notice>,
) -> Result<Vec<Mailbox<Message>>, String> {
    let service = Arc::new(Service::new(&settings.services[0]).map_err(named("remote"))?);
    let mut mailboxes = Vec::new();
    for (number, share) in shares.enumerate() {
        let (io_thread, mailbox) =
            IoThread::new(&settings.process, service.clone(), share).map_err(named("I/O thread"))?;
        start_thread(format!("io-{number}"), Notice::IoThreadEnded, notices, move || io_thread.run())?;
        mailboxes.push(mailbox);
    }
    Ok(mailboxes)
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
    let mut last_signal: Option<(i32, Instant)> = None;
    // The acceptor, too: it removes the files of Unix listeners.
    let mut running = io_threads.len() + 1;
    let mut acceptor_ended = false;
    let mut reset_by: Option<Instant> = None;
    while running > 0 {
        let received = match reset_by {
            Some(deadline) => notice.recv_deadline(deadline).ok(),
            None => notice.recv().ok(),
        };
        match received {
            Some(Notice::Signal(signal)) => {
                if last_signal.is_some_and(|(last, at)| last == signal && at.elapsed() < SAME_SIGNAL) {
                    continue;
                }
                last_signal = Some((signal, Instant::now()));
                signalled += 1;
                if signalled == 1 {
                    info!(
                        "signal {signal}: no new clients, sessions may go on for {:?}",
                        settings.process.drain_timeout
                    );
                    // It reports back when the last client has been dealt, so that no client comes after `Drain`.
                    let _ = acceptor.send(Stop::Soon);
                    told(notify::stopping(settings.process.drain_timeout));
                } else {
                    info!("signal {signal}: sessions are reset");
                    if acceptor_ended {
                        drain(io_threads, Instant::now());
                    } else {
                        let _ = acceptor.send(Stop::Now);
                    }
                    reset_by = Some(Instant::now() + RESET_TIMEOUT);
                }
            }
            Some(Notice::AcceptorEnded) => {
                (running, acceptor_ended) = (running - 1, true);
                let timeout = if signalled > 1 { Duration::ZERO } else { settings.process.drain_timeout };
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

/// Notes that the service manager could not be told something, which is no reason to stop.
fn told(result: std::io::Result<()>) {
    if let Err(error) = result {
        warn!("service manager: {}", error_text(&error));
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
