//! Start-up: what is found out and bound before there is any thread, and then the threads.

use crossbeam_channel::{Receiver, Sender};
use log::{info, warn};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::access_log;
use super::captures;
use super::health::Health;
use super::limits::Descriptors;
use super::listening::{Listening, Plan};
use super::reload::Reloading;
use super::signals::Signals;
use super::status::{Place, Status};
use super::tidy::Tidy;
use super::{Control, Notice, Running, wanted};
use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::base::text::Escaped;
use crate::buffers::pipe_pool::PipeBudget;
use crate::buffers::splice::pipes_allowed;
use crate::capture;
use crate::config::loops::loops;
use crate::config::settings::{ProcessSettings, RemoteSettings, ServiceSettings, Settings, ZeroCopy};
use crate::endpoint::local::judge as judge_source;
use crate::log::{allow, flush};
use crate::service::Service;
use crate::service::admission::{Admission, Bell, Room};
use crate::thread::acceptor::{Acceptor, Command};
use crate::thread::look::LastLooks;
use crate::thread::mailbox::Mailbox;
use crate::thread::{IoThread, Message, Share, lobby};

/// Starts everything but the thread that takes signals.
pub(super) fn start(
    settings: Settings,
    notices: Receiver<Notice>,
    sender: &Sender<Notice>,
) -> Result<Control, Vec<String>> {
    log_settings(&settings);
    judge(&settings)?;
    let one = |error: String| vec![error];
    let pipes = if settings.process.zero_copy == ZeroCopy::Never { 0 } else { pipes_allowed() };
    let descriptors = Descriptors::of_process(settings.process.io_threads, pipes).map_err(named("descriptor limit"));
    let descriptors = descriptors.map_err(one)?;
    let clock = Clock::start();
    let services = settings
        .services
        .iter()
        .map(|service| running(service, None, clock))
        .collect::<Result<Vec<_>, _>>()
        .map_err(one)?;
    let mut listening = Listening::new(settings.process.io_threads, settings.process.reuse_port);
    // Before there is a thread: a failure leaves nothing behind.
    let plan = listening.prepare(&wanted(&services))?;
    judge_picked(&services, &plan)?;
    let status = settings.process.status.as_ref();
    let page = status.map(Place::bind).transpose().map_err(|error| one(format!("status page: {error}")))?.flatten();
    let most_sessions = descriptors.sessions(plan.descriptors(), &settings);
    info!("descriptor limit = {} ({most_sessions} sessions, {} pipes)", descriptors.limit(), descriptors.pipes());
    let changes = listening.commit(plan);
    capture::begin();
    // Before there is a thread whose lines could overtake these.
    flush();
    let room = Arc::new(Room::new(most_sessions, settings.process.io_threads + 1));
    let last_looks = Arc::new(LastLooks::new(settings.process.io_threads));
    let io_threads =
        start_io_threads(&settings.process, clock, descriptors.pipes(), &room, &last_looks, sender).map_err(one)?;
    let acceptor = start_acceptor(&io_threads, &room, clock, sender).map_err(one)?;
    hang_bells(&room, &io_threads, &acceptor, sender);
    let most_sources = most_sources(most_sessions, &settings);
    let mut health = Health::new(clock, &io_threads);
    let most_checks = descriptors.checks(&settings);
    health.follow(&services, listening.addresses(), most_checks).map_err(named("starting a thread")).map_err(one)?;
    let status = match (page, status) {
        (Some(page), Some(address)) => {
            Status::start(page, address, &io_threads, &last_looks, clock).map_err(named("status page")).map_err(one)?
        }
        _ => Status::default(),
    };
    status.follow(&services, &listening);
    let control = Control {
        clock,
        settings,
        services,
        listening,
        descriptors,
        room,
        health,
        status,
        acceptor,
        io_threads,
        notices,
        tidy: Tidy::default(),
        reloading: Reloading::new(sender),
    };
    control.tell(changes, most_sources);
    Ok(control)
}

/// Looks for what each service alone does not show.
fn judge(settings: &Settings) -> Result<(), Vec<String>> {
    refuse_loops(&settings.services)
}

/// Looks for remotes at ports that the system has picked for listeners.
pub(super) fn judge_picked(services: &[Running], plan: &Plan) -> Result<(), Vec<String>> {
    if plan.picked.is_empty() {
        return Ok(());
    }
    let mut services: Vec<ServiceSettings> = services.iter().map(|running| running.settings.clone()).collect();
    for picked in &plan.picked {
        // As in `ServiceSettings::listening`: of several addresses it is the first.
        if let Some(address) = services[picked.service].listeners[picked.address].addresses.first_mut() {
            *address = address.clone().with_port(picked.port);
        }
    }
    refuse_loops(&services)
}

fn refuse_loops(services: &[ServiceSettings]) -> Result<(), Vec<String>> {
    match loops(services) {
        found if found.is_empty() => Ok(()),
        found => Err(found.into_iter().map(|(_, line)| line).collect()),
    }
}

/// Makes a service ready for use; what is known of the remotes of the former one of its name is kept.
pub(super) fn running(settings: &ServiceSettings, former: Option<&Service>, clock: Clock) -> Result<Running, String> {
    let of = if settings.name.is_empty() { String::new() } else { format!("service {}: ", settings.name) };
    for warning in judge_source(&settings.connect_from).map_err(|error| format!("{of}{error}"))? {
        warn!("{of}{warning}");
    }
    let mut service = Service::new(settings, former, clock.now())
        .map_err(|(remote, error)| format!("remote {remote}: {}", error_text(&error)))?;
    if let Some(level) = service.log_level {
        allow(level);
    }
    service.access_log = access_log::open(&settings.access_log).map_err(|error| format!("{of}{error}"))?;
    let inspectors = captures::inspectors(&settings.capture, clock).map_err(|error| format!("{of}{error}"))?;
    if !inspectors.is_empty() {
        service.inspectors.get_or_insert_default().extend(&inspectors);
    }
    Ok(Running { settings: settings.clone(), service: Arc::new(service) })
}

/// How many clients without a connection each I/O thread may serve: they must not take all the room, as they make it only
/// for each other.
pub(super) fn most_sources(most_sessions: usize, settings: &Settings) -> usize {
    let mut addresses = settings.services.iter().flat_map(ServiceSettings::listening);
    let all = if addresses.any(|address| !address.is_connectionless()) {
        most_sessions - most_sessions / 4
    } else {
        most_sessions
    };
    (all / settings.process.io_threads).max(1)
}

/// Which system call tells the threads what is ready, chosen as mio does.
fn polling_backend() -> &'static str {
    if cfg!(mio_unsupported_force_poll_poll) {
        "poll"
    } else if cfg!(any(target_os = "linux", target_os = "android", target_os = "illumos")) {
        "epoll"
    } else {
        "kqueue"
    }
}

fn log_settings(settings: &Settings) {
    for service in &settings.services {
        let of = if service.name.is_empty() { String::new() } else { format!("service {}: ", service.name) };
        for RemoteSettings { endpoints, .. } in &service.remotes {
            for address in &endpoints.addresses {
                info!("{of}remote address = {address}");
            }
            if endpoints.addresses.is_empty() {
                info!("{of}remote address = {}", Escaped(endpoints.argument.as_bytes()));
            }
        }
    }
    info!("buffer size = {}", settings.process.buffer_size.bytes());
    if let [service] = settings.services.as_slice() {
        info!("no delay = {}", u8::from(service.no_delay));
    }
    info!("num io threads = {}", settings.process.io_threads);
    info!("using {}", polling_backend());
}

fn start_io_threads(
    settings: &ProcessSettings,
    clock: Clock,
    pipes: usize,
    room: &Arc<Room>,
    last_looks: &Arc<LastLooks>,
    notices: &Sender<Notice>,
) -> Result<Vec<Mailbox<Message>>, String> {
    let pipes = Arc::new(PipeBudget::new(pipes, settings.io_threads));
    let lanes = lobby::Shared::default();
    let mut mailboxes = Vec::new();
    for number in 0..settings.io_threads {
        let admission = Admission::new(room, number);
        let (pipes, lanes, last_looks) = (pipes.clone(), lanes.clone(), last_looks.clone());
        let share = Share { clock, admission, pipes, lanes, last_looks };
        let (io_thread, mailbox) = IoThread::new(settings, number, share).map_err(named("I/O thread"))?;
        start_thread(format!("io-{number}"), Notice::IoThreadEnded, notices, move || io_thread.run())?;
        mailboxes.push(mailbox);
    }
    // This is the only time that it is set.
    let _ = lanes.threads.set(mailboxes.clone());
    Ok(mailboxes)
}

fn start_acceptor(
    io_threads: &[Mailbox<Message>],
    room: &Arc<Room>,
    clock: Clock,
    notices: &Sender<Notice>,
) -> Result<Mailbox<Command>, String> {
    let admission = Admission::new(room, io_threads.len());
    let (acceptor, mailbox) = Acceptor::new(io_threads.to_vec(), admission, clock).map_err(named("acceptor"))?;
    start_thread("acceptor".into(), Notice::AcceptorEnded, notices, move || acceptor.run())?;
    Ok(mailbox)
}

/// Sees to it that a session's end wakes the threads whose clients wait for room, and that of many ends the main thread
/// is told.
fn hang_bells(room: &Room, io_threads: &[Mailbox<Message>], acceptor: &Mailbox<Command>, notices: &Sender<Notice>) {
    let bells = io_threads.iter().map(Mailbox::bell).chain([acceptor.bell()]);
    room.hang_bells(
        bells
            .map(|bell| {
                let bell = bell.clone();
                Box::new(move || bell.ring()) as Bell
            })
            .collect(),
    );
    let notices = notices.clone();
    // Where there is no room for one more notice, it is told when as many have ended again.
    room.tell_of_ends(Box::new(move || notices.try_send(Notice::ManyEnds).is_ok()));
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
        flush();
        // Nobody listens any more only when the process ends.
        let _ = notices.send(ended);
    };
    thread::Builder::new().name(name).spawn(body).map(drop).map_err(named("starting a thread"))
}

/// Starts the thread that waits for signals and passes them on.
pub(super) fn start_signal_thread(signals: Signals, notices: Sender<Notice>) -> Result<(), String> {
    let body = move || {
        while let Ok(signal) = signals.wait() {
            if notices.send(Notice::Signal(signal, Instant::now())).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(body).map(drop).map_err(named("starting a thread"))
}

fn named<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {}", error_text(&error.into()))
}
