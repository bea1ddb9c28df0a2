//! Clients that come at a steady rate, whatever becomes of those before them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::asking::Asking;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::session::{poll_once, source};

/// Which clients come.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where they connect to.
    pub target: SocketAddr,
    /// When the first one comes.
    pub start: Moment,
    /// How long after another the next one comes.
    pub every: Duration,
    /// How many come.
    pub clients: usize,
    /// Of so many clients one stays; the others go when they are answered.
    pub one_stays_of: usize,
    /// How long it stays.
    pub stay: Duration,
    /// How long after the last one came all are given up that are still there.
    pub patience: Duration,
}

/// What has become of a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// When it began to connect.
    pub begun: Moment,
    /// How long it waited for its answer; until it failed or was given up, if there was none.
    pub wait: Duration,
    /// The port of the remote that answered.
    pub remote: Option<u16>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

impl Client {
    /// Whether it neither was answered nor failed.
    pub fn is_unanswered(&self) -> bool {
        self.remote.is_none() && self.failed.is_none()
    }
}

/// Clients that are under way, and what became of all.
struct Crowd {
    plan: Plan,
    poll: Poll,
    /// Those that wait for an answer or stay, at the indices of `clients`, which are their tokens.
    there: HashMap<usize, Asking>,
    /// Those that stay, and until when; the first to go is in front.
    staying: VecDeque<(Moment, usize)>,
    clients: Vec<Client>,
}

/// Runs all clients and says what became of each, in the order they came.
pub fn run(plan: Plan) -> Result<Vec<Client>, Failure> {
    let poll = Poll::new()?;
    let mut crowd = Crowd { plan, poll, there: HashMap::new(), staying: VecDeque::new(), clients: Vec::new() };
    let mut events = Events::with_capacity(256);
    while crowd.clients.len() < plan.clients || !crowd.there.is_empty() {
        interrupt::check()?;
        let now = Moment::now();
        let end = crowd.end();
        if end.is_some_and(|end| now >= end) {
            break;
        }
        while crowd.clients.len() < plan.clients && crowd.comes(crowd.clients.len()) <= now {
            crowd.begin();
        }
        while crowd.staying.front().is_some_and(|&(until, _)| until <= now) {
            crowd.leave();
        }
        let next = crowd.next().or(end).map_or(interrupt::SLICE, |at| at.from_now().min(interrupt::SLICE));
        // mio rounds up to whole milliseconds, which is near enough.
        poll_once(&mut crowd.poll, &mut events, next)?;
        for Token(index) in events.iter().map(|event| event.token()) {
            crowd.attend(index);
        }
    }
    for (index, client) in crowd.there {
        if crowd.clients[index].remote.is_none() {
            crowd.clients[index].wait = Moment::now().since(client.begun);
        }
    }
    Ok(crowd.clients)
}

impl Crowd {
    /// When the client at this index comes.
    fn comes(&self, index: usize) -> Moment {
        self.plan.start.after(self.plan.every * index as u32)
    }

    /// When all are given up that are still there; `None` as long as some are to come, which a busy machine may make late.
    fn end(&self) -> Option<Moment> {
        let last = self.clients.last().filter(|_| self.clients.len() == self.plan.clients)?;
        Some(last.begun.after(self.plan.patience))
    }

    /// When something is to be done, whatever happens.
    fn next(&self) -> Option<Moment> {
        let comes = (self.clients.len() < self.plan.clients).then(|| self.comes(self.clients.len()));
        let goes = self.staying.front().map(|&(until, _)| until);
        comes.into_iter().chain(goes).min()
    }

    fn begin(&mut self) {
        let index = self.clients.len();
        self.clients.push(Client { begun: Moment::now(), wait: Duration::ZERO, remote: None, failed: None });
        let asking = Asking::begin(self.plan.target, source(index)).and_then(|mut asking| {
            asking.register(&self.poll, Token(index))?;
            Ok(asking)
        });
        match asking {
            Ok(asking) => drop(self.there.insert(index, asking)),
            Err(error) => self.fail(index, &error),
        }
    }

    fn fail(&mut self, index: usize, error: &io::Error) {
        self.there.remove(&index);
        self.clients[index].failed = Some(error.to_string());
    }

    /// Lets the one go that has stayed longest.
    fn leave(&mut self) {
        if let Some((_, index)) = self.staying.pop_front() {
            self.there.remove(&index);
        }
    }

    fn attend(&mut self, index: usize) {
        // An event may be left of a client that has gone.
        let Some(asking) = self.there.get_mut(&index) else { return };
        let client = &mut self.clients[index];
        if client.remote.is_some() {
            if !asking.is_open() {
                self.fail(index, &crate::session::closed());
            }
            return;
        }
        let result = asking.advance();
        client.wait = Moment::now().since(client.begun);
        match result {
            Ok(None) => {}
            Err(error) => self.fail(index, &error),
            Ok(Some(port)) => {
                client.remote = Some(port);
                if index % self.plan.one_stays_of != 0 {
                    self.there.remove(&index);
                } else if asking.is_open() {
                    self.staying.push_back((Moment::now().after(self.plan.stay), index));
                } else {
                    // The end came with the answer, so no event of its own will tell of it.
                    self.fail(index, &crate::session::closed());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::remote::Remote;
    use super::*;

    fn plan(target: SocketAddr) -> Plan {
        Plan {
            target,
            start: Moment::now(),
            every: Duration::from_millis(1),
            clients: 20,
            one_stays_of: usize::MAX,
            stay: Duration::from_secs(10),
            patience: Duration::from_secs(20),
        }
    }

    #[test]
    fn clients_are_told_who_answered() {
        let remote = Remote::start().unwrap();
        let clients = run(plan(remote.address)).unwrap();
        let port = Some(remote.address.port());
        assert_eq!(clients.len(), 20);
        // The one that stays sees that this remote closes.
        assert!(clients.iter().all(|client| client.remote == port && !client.wait.is_zero()), "{clients:?}");
        assert!(clients[0].failed.is_some() && clients[1..].iter().all(|client| client.failed.is_none()));
    }

    #[test]
    fn clients_that_nobody_answers_are_given_up() {
        let remote = Remote::start().unwrap();
        let address = remote.address;
        let _blackhole = remote.vanish().unwrap();
        let patience = Duration::from_millis(100);
        let clients = run(Plan { patience, ..plan(address) }).unwrap();
        assert!(clients.iter().all(|client| client.is_unanswered() && client.wait >= patience), "{clients:?}");
    }

    #[test]
    fn clients_that_are_refused_have_failed() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let clients = run(plan(address)).unwrap();
        assert!(clients.iter().all(|client| client.failed.is_some()), "{clients:?}");
    }
}
