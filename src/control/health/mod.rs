//! The keeper: a thread that checks remotes, follows what names stand for, and replaces the sets that sessions choose from.
//!
//! It runs only if a service needs it. I/O threads never wait for it: they choose from the set that is there, and note what
//! they see in the remotes themselves.

mod checks;
mod followed;
mod keeper;
mod plan;
mod probe;
mod rise_fall;

use crossbeam_channel::Sender;
use log::error;
use mio::Poll;
use std::io;
use std::thread;

use crate::address::EndpointAddress;
use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::config::settings::ServiceSettings;
use crate::service::pool::Event;
use crate::thread::Message;
use crate::thread::mailbox::{Mailbox, mailbox};
use crate::thread::tokens::INBOX;

use super::Running;
use super::resolver::Answer;
use followed::Wanted;
pub(super) use followed::changes;
use keeper::Keeper;

/// What the keeper is told.
#[derive(Debug)]
enum Order {
    /// These are its services now, and no others.
    Follow(Box<Follow>),
    /// A session has found out something.
    Seen(Event),
    /// A name stands for this now.
    Answer(Answer),
    /// The program ends.
    Stop,
}

/// What the keeper is to do from now on.
#[derive(Debug)]
struct Follow {
    services: Vec<Wanted>,
    /// Where the program itself listens: nothing of this must become a remote.
    listening: Vec<EndpointAddress>,
    /// How many checks may be under way at once.
    most_checks: usize,
    /// Dropped when all this has been done.
    _done: Sender<()>,
}

/// The keeper, as the main thread sees it.
#[derive(Debug)]
pub(super) struct Health {
    clock: Clock,
    io_threads: Vec<Mailbox<Message>>,
    /// `None`: nothing has needed it so far.
    keeper: Option<Mailbox<Order>>,
}

impl Health {
    /// Nothing is kept yet. The I/O threads are those that are told of remotes that are down.
    pub(super) fn new(clock: Clock, io_threads: &[Mailbox<Message>]) -> Health {
        Health { clock, io_threads: io_threads.to_vec(), keeper: None }
    }

    /// Keeps the remotes of these services, as far as they need it, and of no others. To be called before a client can come
    /// to one of them that is new.
    ///
    /// # Errors
    ///
    /// The system's, where there is no thread to be had.
    pub(super) fn follow(
        &mut self,
        services: &[Running],
        listening: Vec<EndpointAddress>,
        most_checks: usize,
    ) -> io::Result<()> {
        let wanted: Vec<Wanted> =
            services.iter().filter(|running| needs_keeper(&running.settings)).map(Wanted::new).collect();
        let keeper = match &self.keeper {
            Some(keeper) => keeper,
            None if wanted.is_empty() => return Ok(()),
            None => self.keeper.insert(start(self.clock, self.io_threads.clone())?),
        };
        for Wanted { pool, .. } in &wanted {
            let keeper = keeper.clone();
            // Nobody listens any more only when the process ends.
            pool.set_keeper(Box::new(move |event| drop(keeper.send(Order::Seen(event)))));
        }
        let (done, all_done) = crossbeam_channel::bounded(0);
        let follow = Follow { services: wanted, listening, most_checks, _done: done };
        let _ = keeper.send(Order::Follow(Box::new(follow)));
        // So that a set which a reload needs is there before its clients come; the keeper is at other work for some
        // milliseconds at most.
        let _ = all_done.recv_timeout(super::CHANGE_TIMEOUT);
        Ok(())
    }

    /// The same where it must not fail: what cannot be kept is logged.
    pub(super) fn follow_if_possible(
        &mut self,
        services: &[Running],
        listening: Vec<EndpointAddress>,
        most_checks: usize,
    ) {
        if let Err(error) = self.follow(services, listening, most_checks) {
            error!("starting a thread: {}: remotes are not checked, and names not looked up again", error_text(&error));
        }
    }

    /// Ends the keeper's thread: what it could still find out is of use to nobody.
    pub(super) fn stop(&self) {
        if let Some(keeper) = &self.keeper {
            let _ = keeper.send(Order::Stop);
        }
    }
}

/// Whether there is something to find out about the remotes of a service: about one that is always the same, there is not.
pub(super) fn needs_keeper(settings: &ServiceSettings) -> bool {
    let ServiceSettings { remotes, pool, .. } = settings;
    remotes.len() > 1 || pool.check.interval.is_some() || remotes.iter().any(|remote| changes(remote, pool))
}

fn start(clock: Clock, io_threads: Vec<Mailbox<Message>>) -> io::Result<Mailbox<Order>> {
    let poll = Poll::new()?;
    let (mailbox, inbox) = mailbox(poll.registry(), INBOX)?;
    let keeper = Keeper::new(poll, inbox, mailbox.clone(), clock, io_threads);
    thread::Builder::new().name("health".into()).spawn(move || keeper.run())?;
    Ok(mailbox)
}
