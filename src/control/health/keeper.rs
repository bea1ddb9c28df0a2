//! The keeper's loop: a turn polls, takes messages, goes on with checks, and makes sets anew where something has changed.

use log::error;
use mio::{Events, Poll};
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
use crate::config::balancing::OnDown;
use crate::control::resolver::{Answer, Name, Resolver};
use crate::log::flush;
use crate::service::pool::{Checked, Event, Remote, RemoteId};
use crate::thread::Message;
use crate::thread::mailbox::{Inbox, Mailbox};
use crate::thread::tokens::INBOX;

/// Events taken from one poll.
const EVENTS_PER_POLL: usize = 1024;

/// While checks are under way, events are waited for so long before they are looked at: one wake-up does for many.
const PAUSE: Duration = Duration::from_millis(5);

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
            for service in &mut self.services {
                service.replace_if_stale(now);
            }
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
                self.changed(&remote, |sessions| warn_line(&remote, "is out", &reason, sessions));
            }
            Order::Seen(Event::In(remote)) => {
                let reason = "a session could be connected";
                self.changed(&remote, |sessions| info_line(&remote, "is in again", reason, sessions));
            }
            Order::Answer(Answer { service, remote, found }) => {
                let Keeper { services, listening, .. } = self;
                let of = services.iter_mut().find(|followed| followed.wanted.id == service);
                if of.is_some_and(|followed| followed.answer(remote, found, listening)) {
                    self.check(now);
                }
            }
            Order::Stop => {}
        }
    }

    fn follow(&mut self, follow: Follow, now: u64) {
        self.listening = follow.listening;
        self.checks.set_most(follow.most_checks);
        let mut former = std::mem::take(&mut self.services);
        for wanted in follow.services {
            let same = former.iter().position(|followed| followed.is_of_same_name(&wanted));
            let same = same.map(|place| former.swap_remove(place));
            self.services.push(match same {
                // It is the same service, with all that it knows.
                Some(same) if same.wanted.id == wanted.id => same,
                former => Followed::new(wanted, former, now),
            });
        }
        self.check(now);
        self.look_up();
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
        let Some(service) = self.services.iter_mut().find(|service| service.has(remote.id)) else { return };
        let pool = service.wanted.pool.clone();
        match finding {
            Finding::Up if remote.set_checked(Checked::Up, &reason, now) => {
                self.changed(&remote, |sessions| info_line(&remote, "is up", &reason, sessions));
            }
            Finding::Down if remote.set_checked(Checked::Down, &reason, now) => {
                self.changed(&remote, |sessions| warn_line(&remote, "is down", &reason, sessions));
                if pool.policy().on_down == OnDown::Reset {
                    self.reset(remote.id);
                }
            }
            _ => {}
        }
    }

    /// Has the sets made anew that have this remote, and logs why.
    fn changed(&mut self, remote: &Remote, line: impl Fn(u32) -> (log::Level, String)) {
        for service in self.services.iter_mut().filter(|service| service.has(remote.id)) {
            service.is_stale = true;
            let (level, line) = line(remote.sessions());
            log::log!(level, "{}", service.named(line));
        }
    }

    fn reset(&self, remote: RemoteId) {
        let _ = (remote, &self.io_threads);
    }
}

fn warn_line(remote: &Remote, what: &str, reason: &str, sessions: u32) -> (log::Level, String) {
    (log::Level::Warn, state_line(remote, what, reason, sessions))
}

fn info_line(remote: &Remote, what: &str, reason: &str, sessions: u32) -> (log::Level, String) {
    (log::Level::Info, state_line(remote, what, reason, sessions))
}

/// How the log tells that a remote has changed its state.
fn state_line(remote: &Remote, what: &str, reason: &str, sessions: u32) -> String {
    format!("remote {} {what}: {reason}; {}", remote.name, sessions_text(sessions.into()))
}
