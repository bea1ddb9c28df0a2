//! The keeper's loop: a turn polls, takes messages, goes on with checks, and makes sets anew where something has changed.

use log::{Level, error, log};
use mio::{Events, Poll};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::checks::{Checks, Found};
use super::followed::{Followed, sessions_text};
use super::rise_fall::Finding;
use super::{Follow, Order};
use crate::address::EndpointAddress;
use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::base::random::random;
use crate::control::resolver::{Answer, Name, Resolver};
use crate::log::flush;
use crate::service::pool::{Checked, Event, Remote, State};
use crate::thread::Message;
use crate::thread::mailbox::{Inbox, Mailbox};
use crate::thread::tokens::INBOX;

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

/// While checks are under way, events are waited for so long before they are looked at: one wake-up does for many.
const PAUSE: Duration = Duration::from_millis(5);

/// What has become of a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// Nothing speaks against it any more.
    Up,
    /// Sessions could not connect to it.
    Out,
    /// Checks have found that it does not work.
    Down,
}

/// The keeper's state.
pub(super) struct Keeper {
    poll: Poll,
    inbox: Inbox<Order>,
    /// Its own, for what tells it of names.
    mailbox: Mailbox<Order>,
    clock: Clock,
    io_threads: Vec<Mailbox<Message>>,
    services: Vec<Followed>,
    listening: Vec<EndpointAddress>,
    checks: Checks,
    /// What has happened in this turn to which remote, and why.
    changes: Vec<(Arc<Remote>, Became, String)>,
    /// `None`: there is no name to look up.
    resolver: Option<Resolver>,
}

impl Keeper {
    pub(super) fn new(
        poll: Poll,
        inbox: Inbox<Order>,
        mailbox: Mailbox<Order>,
        clock: Clock,
        io_threads: Vec<Mailbox<Message>>,
    ) -> Keeper {
        // Where there is nothing to guess, the same for all is as good.
        let seed = random().map_or(0, u64::from_ne_bytes);
        Keeper {
            poll,
            inbox,
            mailbox,
            clock,
            io_threads,
            services: Vec::new(),
            listening: Vec::new(),
            checks: Checks::new(seed),
            changes: Vec::new(),
            resolver: None,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        let mut found = Vec::new();
        loop {
            let wait = self.wait(self.clock.now());
            self.inbox.poll(&mut self.poll, &mut events, wait, || true);
            for event in events.iter().filter(|event| event.token() != INBOX) {
                self.checks.note(event);
            }
            let now = self.clock.now();
            while let Some(order) = self.inbox.next() {
                if let Order::Stop = order {
                    return flush();
                }
                self.obey(order, now);
            }
            self.checks.run(now, self.poll.registry(), &mut found);
            for found in found.drain(..) {
                self.found(found, now);
            }
            self.make_sets(now);
            flush();
            if self.checks.are_under_way() {
                thread::sleep(PAUSE);
            }
        }
    }

    fn wait(&self, now: u64) -> Option<Duration> {
        let steps = self.services.iter().filter_map(|service| service.next_step);
        let step = steps.min().map(|step| Duration::from_millis(step.saturating_sub(now)));
        [self.checks.wait(now), step].into_iter().flatten().min()
    }

    fn obey(&mut self, order: Order, now: u64) {
        match order {
            Order::Follow(follow) => self.follow(*follow, now),
            Order::Seen(Event::Out(remote, reason)) => {
                self.checks.doubt(remote.id);
                self.changed(remote, Became::Out, reason);
            }
            Order::Seen(Event::In(remote)) => {
                self.changed(remote, Became::Up, "a session could connect".to_string());
            }
            Order::Answer(Answer { service, remote, found }) => {
                let Keeper { services, listening, .. } = self;
                let of = services.iter_mut().find(|followed| followed.wanted.id == service);
                if of.is_some_and(|followed| followed.answer(remote, found, listening, now)) {
                    self.check(now);
                    // One that comes back may have been down when it went.
                    self.forgive(now);
                }
            }
            Order::Stop => {}
        }
    }

    fn follow(&mut self, follow: Follow, now: u64) {
        self.listening = follow.listening;
        self.checks.set_most(follow.most_checks);
        let former = std::mem::take(&mut self.services).into_iter();
        let mut former: HashMap<String, Followed> =
            former.map(|followed| (followed.wanted.name.clone(), followed)).collect();
        for wanted in follow.services {
            self.services.push(match former.remove(&wanted.name) {
                // It is the same service, with all that it knows.
                Some(same) if same.wanted.id == wanted.id => same,
                former => Followed::new(wanted, former, now),
            });
        }
        for service in &mut self.services {
            service.judge_again(&self.listening, now);
        }
        self.check(now);
        self.forgive(now);
        self.look_up();
        // The clients of what is new come as soon as this is done.
        self.make_sets(now);
    }

    /// What checks have found is true no longer where nothing is checked any more.
    fn forgive(&mut self, now: u64) {
        let unchecked = self.services.iter().filter(|service| service.plan.is_none());
        let down = unchecked.flat_map(Followed::remotes).filter(|remote| remote.state() == State::Down);
        for remote in down.cloned().collect::<Vec<_>>() {
            let reason = "it is no longer checked";
            if remote.set_checked(Checked::Up, &reason, now) {
                self.changed(remote, Became::Up, reason.to_string());
            }
        }
    }

    /// Checks what there is to check now.
    fn check(&mut self, now: u64) {
        let checked = self.services.iter().filter_map(|service| service.plan.as_ref().map(|plan| (service, plan)));
        self.checks
            .follow(checked.flat_map(|(service, plan)| service.remotes().map(move |remote| (remote, plan))), now);
    }

    fn look_up(&mut self) {
        let names: Vec<Name> = self.services.iter().flat_map(Followed::names).collect();
        if self.resolver.is_none() && !names.is_empty() {
            let mailbox = self.mailbox.clone();
            // The mailbox is this thread's own; it is gone only when the program ends.
            match Resolver::start(move |answer| drop(mailbox.send(Order::Answer(answer)))) {
                Ok(resolver) => self.resolver = Some(resolver),
                Err(error) => error!("starting a thread: {}: names are not looked up again", error_text(&error)),
            }
        }
        if let Some(resolver) = &self.resolver {
            resolver.follow(names);
        }
    }

    /// Notes what checks have found of a remote.
    fn found(&mut self, Found { remote, finding, reason }: Found, now: u64) {
        let reason = reason.map_or_else(|| "checks pass".to_string(), |reason| format!("check failed: {reason}"));
        let (checked, became) = match finding {
            Finding::Up => (Checked::Up, Became::Up),
            Finding::Down => (Checked::Down, Became::Down),
        };
        if remote.set_checked(checked, &reason, now) {
            self.changed(remote, became, reason);
        }
    }

    /// Has the sets made anew that have this remote; what has become of it is logged then.
    fn changed(&mut self, remote: Arc<Remote>, became: Became, reason: String) {
        self.services.iter_mut().filter(|service| service.has(remote.id)).for_each(|service| service.is_stale = true);
        self.changes.push((remote, became, reason));
    }

    /// Makes the sets anew that have changed, and tells the log and the I/O threads.
    fn make_sets(&mut self, now: u64) {
        let mut changes = std::mem::take(&mut self.changes);
        for service in &mut self.services {
            if let Some(remote) = service.replace_if_stale(now) {
                // Sessions have another one now, so that it is left to what was found of it.
                let is_told = changes.iter().any(|(changed, ..)| changed.id == remote.id);
                let became = match remote.state() {
                    State::Up => None,
                    State::Out | State::Trying => Some(Became::Out),
                    State::Down => Some(Became::Down),
                };
                if let Some(became) = became.filter(|_| !is_told) {
                    let why = remote.why().map_or_else(String::new, |why| why.to_string());
                    changes.push((remote, became, why));
                }
            }
        }
        for (remote, became, reason) in changes.drain(..) {
            for service in self.services.iter().filter(|service| service.has(remote.id)) {
                tell(service, &remote, became, &reason, &self.io_threads);
            }
        }
        self.changes = changes;
    }
}

/// Logs what has become of a remote, and has its sessions leave it if it is down.
fn tell(service: &Followed, remote: &Arc<Remote>, became: Became, reason: &str, io_threads: &[Mailbox<Message>]) {
    let stays_in = service.stays_in(remote);
    let (level, what) = match became {
        Became::Up => (Level::Info, "is up"),
        Became::Out | Became::Down if stays_in => (Level::Warn, "stays in use, as no other one works"),
        Became::Out => (Level::Warn, "is out"),
        Became::Down => (Level::Warn, "is down"),
    };
    let sessions = sessions_text(remote.sessions().into());
    let _level = service.log_scope();
    log!(level, "{}", service.named(format_args!("remote {} {what}: {reason}; {sessions}", remote.name)));
    if became == Became::Down && !stays_in {
        let on_down = service.wanted.settings.on_down;
        for io_thread in io_threads {
            // A thread that has ended, ended the program.
            let _ = io_thread.send(Message::Down(remote.id, on_down));
        }
    }
}
