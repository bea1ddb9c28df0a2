//! The acceptor: accepts clients on its listeners and deals them to the I/O threads, round robin.

use log::error;
use mio::{Events, Poll};
use std::io;
use std::thread;
use std::time::Duration;

use super::Message;
use super::accepting::{Accepting, Client, STOP_TIMEOUT};
use super::change::{Change, Done};
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::tokens::{INBOX, Place};
use crate::base::clock::Clock;
use crate::endpoint::{Endpoint, Listener};
use crate::log::flush;
use crate::service::admission::Admission;

/// What the acceptor is told.
#[derive(Debug)]
pub enum Command {
    /// What becomes of its listeners; dropping the second part says that it has been done.
    Listen(Change<Listener>, Done),
    /// Close the listeners and end, when it has taken what is in their queues.
    StopSoon,
    /// The same at once.
    StopNow,
}

/// The acceptor's state.
pub struct Acceptor {
    poll: Poll,
    inbox: Inbox<Command>,
    accepting: Accepting,
    dealer: Dealer,
}

/// Deals clients to the I/O threads in turn.
struct Dealer {
    io_threads: Vec<Mailbox<Message>>,
    next: usize,
    /// Whether a client was dealt in this turn.
    dealt: bool,
}

impl Dealer {
    fn deal(&mut self, client: Client) {
        self.dealt = true;
        if let Err(Message::Client(mut client)) = self.io_threads[self.next].send(Message::Client(client)) {
            error!("an I/O thread has ended: its client is reset");
            client.socket.abort();
        }
        self.next = (self.next + 1) % self.io_threads.len();
    }
}

impl Acceptor {
    /// Makes the acceptor, and the mailbox to reach it by. [`Acceptor::run`] is to be called on its thread.
    ///
    /// # Errors
    ///
    /// The system's, where it has no descriptor for the poll.
    pub fn new(
        io_threads: Vec<Mailbox<Message>>,
        admission: Admission,
        clock: Clock,
    ) -> io::Result<(Acceptor, Mailbox<Command>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
        let dealer = Dealer { io_threads, next: 0, dealt: false };
        Ok((Acceptor { poll, inbox, accepting: Accepting::new(admission, clock), dealer }, mailbox))
    }

    /// Accepts until it is told to stop.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while !self.accepting.has_stopped() {
            let accepting = &self.accepting;
            self.inbox.poll(&mut self.poll, &mut events, accepting.wait(), || accepting.may_sleep());
            for event in &events {
                if let Place::Listener(index) = Place::from(event.token()) {
                    self.accepting.note(index);
                }
            }
            while let Some(command) = self.inbox.next() {
                self.obey(command);
            }
            self.accepting.accept(|client| self.dealer.deal(client));
            flush();
            if std::mem::take(&mut self.dealer.dealt) {
                // On a busy machine others run first, and more clients wait when this thread goes on: it sleeps and is
                // woken less often, and takes no core from an I/O thread for one client at a time.
                thread::yield_now();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen(change, _done) => {
                self.accepting.change(change, self.poll.registry(), &mut |client| self.dealer.deal(client));
            }
            Command::StopSoon => self.accepting.stop(STOP_TIMEOUT),
            Command::StopNow => self.accepting.stop(Duration::ZERO),
        }
    }
}
