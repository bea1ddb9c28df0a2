//! The acceptor: accepts clients on its listeners and deals them to the I/O threads, round robin.

use log::error;
use mio::{Events, Poll, Token};
use std::io;
use std::thread;
use std::time::Duration;

use crate::endpoint::{Endpoint, Listener};
use crate::log::flush;
use crate::service::admission::Admission;
use crate::thread::Message;
use crate::thread::accepting::{Accepting, STOP_TIMEOUT};
use crate::thread::mailbox::{Inbox, Mailbox, mailbox};

const INBOX: Token = Token(usize::MAX);

/// Tells the acceptor to close its listeners and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// When it has taken what is in the listeners' queues.
    Soon,
    /// At once.
    Now,
}

/// The acceptor's state.
pub struct Acceptor {
    poll: Poll,
    inbox: Inbox<Stop>,
    accepting: Accepting,
    io_threads: Vec<Mailbox<Message>>,
    next_thread: usize,
}

impl Acceptor {
    /// Makes the acceptor, and the mailbox to stop it by. [`Acceptor::run`] is to be called on its thread.
    pub fn new(
        listeners: Vec<Listener>,
        io_threads: Vec<Mailbox<Message>>,
        admission: Admission,
    ) -> io::Result<(Acceptor, Mailbox<Stop>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        let accepting = Accepting::new(listeners, admission, poll.registry(), 0)?;
        Ok((Acceptor { poll, inbox, accepting, io_threads, next_thread: 0 }, mailbox))
    }

    /// Accepts until it is told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while !self.accepting.has_stopped() {
            self.inbox.poll(&mut self.poll, &mut events, self.accepting.wait());
            for event in events.iter().filter(|event| event.token() != INBOX) {
                self.accepting.note(event.token().0);
            }
            while let Some(stop) = self.inbox.next() {
                self.accepting.stop(if stop == Stop::Now { Duration::ZERO } else { STOP_TIMEOUT });
            }
            let (io_threads, next) = (&self.io_threads, &mut self.next_thread);
            let mut dealt = false;
            self.accepting.accept(|client| {
                dealt = true;
                if let Err(Message::Client(mut client)) = io_threads[*next].send(Message::Client(client)) {
                    error!("an I/O thread has ended: its client is reset");
                    client.abort();
                }
                *next = (*next + 1) % io_threads.len();
            });
            flush();
            if dealt {
                // On a busy machine others run first, and more clients wait when this thread goes on: it sleeps and is
                // woken less often, and takes no core from an I/O thread for one client at a time.
                thread::yield_now();
            }
        }
    }
}
