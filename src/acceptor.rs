//! The acceptor: accepts clients on all listeners and deals them to the I/O threads, round robin.

use log::{error, info, warn};
use mio::{Events, Poll, Token};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::endpoint::{Endpoint, Listener, Socket};
use crate::io_thread::Message;
use crate::log::{error_number, error_text, flush};
use crate::mailbox::{Inbox, Mailbox, mailbox};

/// Clients accepted from one listener before the others are looked at.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when descriptors have run out, before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a stopping acceptor goes on taking the clients that wait in the listeners' queues.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

const INBOX: Token = Token(usize::MAX);

/// Tells the acceptor to take what is in the listeners' queues, close them, and end.
#[derive(Debug)]
pub struct Stop;

/// Whether clients are being accepted.
#[derive(Debug, Clone, Copy)]
enum State {
    Accepting,
    /// There is no room for more sessions until, perhaps, this time.
    Paused(Instant),
    /// What waits in the queues is still taken, until this time.
    Stopping(Instant),
}

/// How a turn with one listener ended.
enum Accepted {
    /// Nobody waits in its queue.
    All,
    /// Somebody may still wait.
    Some,
    /// There are no descriptors for another session.
    NoRoom,
    /// Accepting fails for a reason of the listener's own.
    Failed(io::Error),
}

/// The acceptor's state.
pub struct Acceptor {
    poll: Poll,
    inbox: Inbox<Stop>,
    listeners: Vec<Listener>,
    /// Whether somebody may wait in the listener's queue.
    ready: Vec<bool>,
    io_threads: Vec<Mailbox<Message>>,
    next_thread: usize,
    admission: Admission,
    state: State,
}

impl Acceptor {
    /// Makes the acceptor, and the mailbox to stop it by. [`Acceptor::run`] is to be called on its thread.
    pub fn new(
        mut listeners: Vec<Listener>,
        io_threads: Vec<Mailbox<Message>>,
        admission: Admission,
    ) -> io::Result<(Acceptor, Mailbox<Stop>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(poll.registry(), Token(index))?;
        }
        let ready = vec![true; listeners.len()];
        let state = State::Accepting;
        Ok((Acceptor { poll, inbox, listeners, ready, io_threads, next_thread: 0, admission, state }, mailbox))
    }

    /// Accepts until it is told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let sleeps = (!self.can_accept() || self.none_ready()) && self.inbox.sleep();
            let timeout = if sleeps { self.wait() } else { Some(Duration::ZERO) };
            let result = self.poll.poll(&mut events, timeout);
            if sleeps {
                self.inbox.wake_up();
            }
            match result {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    error!("poll error: {}", error_text(&error))
                }
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != INBOX) {
                self.ready[event.token().0] = true;
            }
            if let Some(Stop) = self.inbox.next() {
                self.ready.fill(true);
                self.state = State::Stopping(Instant::now() + STOP_TIMEOUT);
            }
            self.accept();
            flush();
            match self.state {
                State::Stopping(until) if self.none_ready() || until <= Instant::now() => return,
                _ => {}
            }
        }
    }

    fn can_accept(&self) -> bool {
        match self.state {
            State::Accepting | State::Stopping(_) => true,
            State::Paused(until) => until <= Instant::now(),
        }
    }

    fn none_ready(&self) -> bool {
        !self.ready.contains(&true)
    }

    fn wait(&self) -> Option<Duration> {
        match self.state {
            State::Paused(until) => Some(until.saturating_duration_since(Instant::now())),
            State::Accepting | State::Stopping(_) => None,
        }
    }

    fn accept(&mut self) {
        if !self.can_accept() {
            return;
        }
        for index in 0..self.listeners.len() {
            if !self.ready[index] {
                continue;
            }
            match self.accept_from(index) {
                Accepted::All => self.ready[index] = false,
                Accepted::Some => {}
                Accepted::NoRoom => {
                    let most = self.admission.most_sessions();
                    return self.pause(format_args!("out of descriptors: at most {most} sessions fit"));
                }
                Accepted::Failed(error) => {
                    let (number, text) = (error_number(&error), error_text(&error));
                    return self.pause(format_args!("accept error errno {number}: {text}"));
                }
            }
        }
        if let State::Paused(_) = self.state {
            info!("accepting again");
            self.state = State::Accepting;
        }
    }

    fn accept_from(&mut self, index: usize) -> Accepted {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.admission.has_room() {
                return Accepted::NoRoom;
            }
            match self.listeners[index].accept() {
                Ok(client) => self.deal(client),
                Err(error) => match error.raw_os_error() {
                    _ if error.kind() == io::ErrorKind::WouldBlock => return Accepted::All,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => return Accepted::NoRoom,
                    Some(number) if concerns_one_client(number) => {
                        info!("accept error errno {number}: {}", error_text(&error));
                    }
                    _ => return Accepted::Failed(error),
                },
            }
        }
        Accepted::Some
    }

    fn deal(&mut self, client: Socket) {
        info!("accepted fd {}", client.descriptor());
        self.admission.admit();
        let thread = &self.io_threads[self.next_thread];
        self.next_thread = (self.next_thread + 1) % self.io_threads.len();
        if thread.send(Message::Client(client)).is_err() {
            error!("an I/O thread has ended: its client is closed");
        }
    }

    fn pause(&mut self, reason: fmt::Arguments<'_>) {
        match self.state {
            // What still waits in the queues is reset when the listeners are closed.
            State::Stopping(_) => return self.ready.fill(false),
            State::Accepting => warn!("{reason}; accepting pauses"),
            State::Paused(_) => {}
        }
        self.state = State::Paused(Instant::now() + PAUSE);
    }
}

/// Whether accept(2) failed for the one client only, who has gone again or cannot be reached ("Error handling" there).
fn concerns_one_client(number: i32) -> bool {
    matches!(
        number,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EPERM
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
    )
}
