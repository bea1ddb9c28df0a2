//! What the scheduler of a schedule sees of its thread: dialling, and somebody who checks what it does.

use cproxy::config::balancing::OnDown;
use cproxy::endpoint::Endpoint;
use cproxy::service::{RemoteAddress, Service, ServiceId, Timeouts};
use cproxy::session::{Caller, Dial, End, Outcome, Session};
use cproxy::thread::sessions::Host;
use std::cell::Cell;
use std::io;

use super::super::dialer::{Dialling, Hold};
use super::super::kernel::{SharedKernel, SimSocket};
use super::super::plan::{Plan, ServicePlan, SessionPlan};
use super::super::promise::Promise;
use super::super::sight::Sight;
use super::super::traffic::Means;
use super::Report;

/// What is known of a session.
#[derive(Debug)]
pub struct Entry {
    /// Its place in the plan.
    pub number: usize,
    pub client: usize,
    pub service: ServiceId,
    /// How long a cap may hold its upstream and its downstream flow back at the most, where there is one.
    pub held_for: [Option<u64>; 2],
    /// In so many runs in a row nothing moved, and it wanted to run again.
    pub spent_in_vain: Cell<usize>,
    pub timeouts: Timeouts,
    /// When its client came.
    pub came: u64,
    pub dialling: Dialling,
    /// Its client's socket could not be used.
    pub refused: bool,
    /// When bytes could first move.
    pub opened: Option<u64>,
    /// When a byte last moved to a sink.
    pub moved: u64,
    /// When the session learnt that a side has broken, or closed wholly.
    pub broke: Option<u64>,
    pub sent: u64,
}

/// Whose sessions are to end, whatever they are doing.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// Those of one service, or of all.
    pub service: Option<ServiceId>,
    /// Only those that nothing else ends.
    pub endless: bool,
}

/// The thread, as its sessions see it.
pub struct SimHost {
    pub kernel: SharedKernel,
    pub promise: Promise,
    pub report: Report,
    /// The slot of each session of the plan while it lives.
    pub keys: Vec<Option<usize>>,
    /// Sessions are being ended.
    pub ending: Option<Ending>,
    /// Sessions are being told that a remote of this service is down.
    pub down: Option<(ServiceId, usize, OnDown)>,
    refused_once_in: Option<u64>,
    /// By key.
    entries: Vec<Option<Entry>>,
    /// The session that starts next.
    coming: Option<Entry>,
    /// The session that has run last and is over.
    over: Option<(usize, End)>,
}

impl SimHost {
    pub fn new(kernel: SharedKernel, plan: &Plan, sessions: usize) -> SimHost {
        SimHost {
            kernel,
            promise: Promise::new(plan.budgets),
            report: Report::default(),
            keys: vec![None; sessions],
            ending: None,
            down: None,
            refused_once_in: plan.refused_once_in,
            entries: Vec::new(),
            coming: None,
            over: None,
        }
    }

    /// A client has come, whose session is about to start. Returns its socket.
    pub fn expect(&mut self, number: usize, plan: SessionPlan, service: &Service, of: &ServicePlan) -> usize {
        let client = self.kernel.borrow_mut().accept(number, &plan.client, plan.header.as_ref());
        let now = self.kernel.borrow().now;
        let header = of.proxy.map(|proxy| proxy.onward(client, plan.header.as_ref())).unwrap_or_default();
        self.coming = Some(Entry {
            number,
            client,
            service: service.id,
            held_for: of.held_for(self.keys.len() as u64),
            spent_in_vain: Cell::new(0),
            timeouts: service.timeouts,
            came: now,
            dialling: Dialling::new(client, plan.remotes, service, header),
            refused: false,
            opened: None,
            moved: 0,
            broke: None,
            sent: 0,
        });
        client
    }

    /// An event of a session is noted.
    pub fn notes(&mut self, key: usize) {
        let bulk = self.is_bulk(self.entry(key));
        self.promise.wake(key, bulk);
    }

    /// The sessions that live, and their keys.
    pub fn living(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().filter_map(|(key, entry)| Some((key, entry.as_ref()?)))
    }

    pub fn entry(&self, key: usize) -> &Entry {
        self.entries.get(key).and_then(Option::as_ref).expect("a session that is not known")
    }

    /// Whether a session is to end now, though it could go on.
    pub fn is_to_end(&self, entry: &Entry) -> bool {
        let Some(Ending { service, endless }) = self.ending else { return false };
        service.is_none_or(|id| id == entry.service) && (!endless || self.is_endless(entry))
    }

    fn is_endless(&self, entry: &Entry) -> bool {
        let kernel = self.kernel.borrow();
        entry.sockets().into_iter().any(|id| kernel.socket(id).endless)
    }

    pub fn is_bulk(&self, entry: &Entry) -> bool {
        let kernel = self.kernel.borrow();
        entry.sockets().into_iter().any(|id| kernel.socket(id).witness.traffic.is_bulk())
    }

    pub fn see(&self, sight: Sight) {
        self.kernel.borrow_mut().sights.note(sight);
    }

    /// A session may have looked for a remote, and goes on.
    pub fn looked(&mut self, key: usize) {
        let entry = self.entries[key].as_mut().expect("it has run");
        let is_known = self.kernel.borrow().socket(entry.client).header_in.is_taken();
        if !entry.refused && is_known {
            entry.dialling.looked(&self.kernel);
        }
    }

    /// Sessions are about to be told that a remote is down. Returns those that are to go to another, or to end, for that.
    pub fn begin_down(&mut self, service: ServiceId, remote: usize, on_down: OnDown) -> Vec<usize> {
        self.down = Some((service, remote, on_down));
        self.kernel.borrow_mut().begin_run();
        let of_remote: Vec<(usize, bool)> = self
            .living()
            .filter(|(_, entry)| entry.service == service && entry.dialling.remote_number() == Some(remote))
            .filter(|(_, entry)| entry.dialling.remote().is_some())
            .map(|(key, entry)| (key, on_down == OnDown::Reset && self.hold(key, entry) == Hold::Surely))
            .collect();
        let mut concerned = Vec::new();
        for (key, is_held) in of_remote {
            let entry = self.entries[key].as_mut().expect("it lives");
            if if entry.opened.is_some() { is_held } else { entry.dialling.leave() } {
                concerned.push(key);
            }
        }
        concerned
    }

    /// They have been told.
    pub fn end_down(&mut self, concerned: &[usize]) {
        for &key in concerned {
            let Some(entry) = &self.entries[key] else { continue };
            assert!(entry.opened.is_none(), "session {} stays on a remote that is down", entry.number);
            self.looked(key);
            let left = !self.entry(key).dialling.is_leaving();
            assert!(left, "session {} waits for a remote that is down", self.entry(key).number);
            self.see(Sight::LeftForAnother);
        }
        self.down = None;
    }

    /// What is known of a session's hold on its remote.
    pub fn hold(&self, key: usize, entry: &Entry) -> Hold {
        if entry.dialling.remote_number().is_none() {
            return Hold::No;
        }
        let kernel = self.kernel.borrow();
        let Some(remote) = entry.dialling.remote().map(|id| kernel.socket(id)) else { return Hold::Surely };
        let witness = &remote.witness;
        let client = kernel.socket(entry.client);
        let client_is_gone = client.known_broken() || client.witness.told_write_closed;
        match witness.told_read_closed || witness.read_finish || remote.known_broken() || remote.left {
            false => Hold::Surely,
            true if witness.told_read_closed
                && entry.opened.is_some()
                && !self.promise.waits(key)
                && !client_is_gone =>
            {
                Hold::No
            }
            true => Hold::Perhaps,
        }
    }

    /// Notes when the session opened, when bytes last moved, and what it comes by. Returns how many have moved.
    fn observe(&mut self, key: usize, outcome: Outcome) -> u64 {
        let kernel = self.kernel.borrow();
        let entry = self.entries[key].as_mut().expect("it has run");
        let Some(remote) = entry.dialling.remote().map(|id| kernel.socket(id)) else { return 0 };
        let sent = remote.sent + kernel.socket(entry.client).sent;
        // One that breaks before it has its header may have said something, unless another is tried.
        let has_header = remote.header_out.is_given() || remote.known_broken();
        let goes_on = has_header && !matches!(outcome, Outcome::Ended(End::ConnectFailed | End::ConnectTimeout));
        if entry.opened.is_none() && remote.told_connected() && !remote.witness.closed && goes_on {
            (entry.opened, entry.moved) = (Some(kernel.now), kernel.now);
        }
        let moved = sent - entry.sent;
        if moved > 0 {
            (entry.sent, entry.moved) = (sent, kernel.now);
        }
        if entry.broke.is_none() {
            let sockets = [kernel.socket(entry.client), remote];
            let broke = sockets.iter().any(|socket| socket.known_broken() || socket.known_left());
            entry.broke = broke.then_some(kernel.now);
        }
        moved
    }

    /// What a session comes by that ends.
    fn see_end(&self, entry: &Entry, end: End) {
        if self.held(entry).contains(&Means::Pipe) {
            match end {
                End::Reset(_) => self.see(Sight::ResetWithPipe),
                End::Error(_) => self.see(Sight::ErrorWithPipe),
                End::IdleTimeout => self.see(Sight::IdleTimeoutWithPipe),
                End::Drain => self.see(Sight::DrainWithPipe),
                End::RemoteDown => {}
                _ => panic!("a session ends with {end:?} though bytes are in a pipe"),
            }
        }
        if end == End::RemoteDown {
            self.see(Sight::RemoteReset);
        }
        match self.ending {
            Some(Ending { service: None, endless: true }) => self.see(Sight::EndlessDrained),
            Some(Ending { service: Some(_), endless: true }) => self.see(Sight::EndlessRetired),
            Some(Ending { service: Some(_), endless: false }) => self.see(Sight::RetiredInTheEnd),
            _ => {}
        }
        let others = |(_, other): (usize, &Entry)| !self.is_to_end(other);
        if self.ending.is_some_and(|ending| ending.service.is_some()) && self.living().any(others) {
            self.see(Sight::OthersNotRetired);
        }
    }
}

impl<const SHORT: bool> Host<SimSocket<SHORT>> for SimHost {
    fn admit(&mut self, key: usize, client: &mut SimSocket<SHORT>, service: &Service) -> io::Result<()> {
        let mut entry = self.coming.take().expect("a client that has come");
        assert_eq!(client.descriptor(), entry.client as i32, "it is another client");
        assert_eq!(service.id, entry.service, "it is another service");
        self.kernel.borrow_mut().begin_run();
        self.kernel.borrow().trace(format_args!("session {} starts as {key}", entry.number));
        self.promise.begin(key);
        if key < self.entries.len() {
            self.see(Sight::SlotTakenOver);
        } else {
            self.entries.resize_with(key + 1, || None);
        }
        let refused = self.refused_once_in.is_some_and(|times| self.kernel.borrow_mut().random.once_in(times));
        entry.refused = refused;
        self.keys[entry.number] = Some(key);
        assert!(self.entries[key].replace(entry).is_none(), "two sessions have the same key");
        if refused {
            self.see(Sight::ClientRefused);
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    fn dial(
        &mut self,
        key: usize,
        service: &Service,
        address: &RemoteAddress,
        _: &Caller<'_, SimSocket<SHORT>>,
    ) -> Dial<SimSocket<SHORT>> {
        let entry = self.entries[key].as_mut().expect("a session that lives");
        assert_eq!(service.id, entry.service, "a session dials for another service");
        assert!(!entry.refused, "a session dials without a client");
        entry.dialling.answer(address, &self.kernel)
    }

    fn has_room(&mut self) -> bool {
        unreachable!("every client has a connection")
    }

    fn count_source(&mut self) {
        unreachable!("every client has a connection")
    }

    fn runs(&mut self, key: usize, budget: usize) {
        assert_eq!(self.over, None, "a session is over and has not been closed");
        let number = self.entry(key).number;
        self.promise.runs(key, budget);
        self.kernel.borrow_mut().begin_run();
        self.kernel.borrow().trace(format_args!("run session {number} budget {budget}"));
    }

    fn ran(&mut self, key: usize, session: &Session<SimSocket<SHORT>>, outcome: Outcome) {
        self.kernel.borrow().trace(format_args!("session {} {outcome:?}", self.entry(key).number));
        if !matches!(outcome, Outcome::Ended(_)) {
            self.looked(key);
        }
        let moved = self.observe(key, outcome);
        self.check_run(key, session, outcome);
        self.promise.ran(key, moved, outcome);
        self.check_pipes();
        if let Outcome::Ended(end) = outcome {
            self.over = Some((key, end));
        }
    }

    fn ended(&mut self, key: usize, end: End) {
        let entry = self.entries.get_mut(key).and_then(Option::take).expect("a session ends that does not live");
        self.keys[entry.number] = None;
        if self.ending.is_some() && self.promise.waits(key) {
            self.see(Sight::RetiredWhileWaiting);
        }
        match self.over.take() {
            Some(over) => assert_eq!((key, end), over, "another session ends, or for another reason"),
            None => self.check_end_without_run(&entry, end),
        }
        self.check_end(key, &entry, end);
        self.promise.end(key);
        self.see_end(&entry, end);
        for id in entry.sockets() {
            self.check_closed(self.kernel.borrow().socket(id), end);
        }
        self.check_pipes();
        self.report.ends.push(end);
        self.report.bytes += entry.sent;
    }
}

impl SimHost {
    /// A session ends that has not run: it did not even start, or it is to end whatever it is doing.
    fn check_end_without_run(&self, entry: &Entry, end: End) {
        match end {
            End::Drain => assert!(self.is_to_end(entry), "session {} is ended without a reason", entry.number),
            End::ConnectFailed => assert!(entry.opened.is_none() && self.ending.is_none()),
            End::RemoteDown => assert!(self.down.is_some(), "session {} is ended without a reason", entry.number),
            End::ConnectTimeout => assert!(self.down.is_some() && entry.opened.is_none()),
            End::Error(_) => assert!(entry.refused, "session {} fails and has not run", entry.number),
            end => panic!("session {} has not run and ends with {end:?}", entry.number),
        }
    }

    /// Checks, when a run is over, that the session was closed if it ended.
    pub fn check_over(&self) {
        assert_eq!(self.over, None, "a session has ended, and the thread has not been told");
        assert!(self.coming.is_none(), "a client has come, and its session has not started");
    }
}

impl Entry {
    /// The sockets the session has had last, one a side.
    pub fn sockets(&self) -> Vec<usize> {
        [Some(self.client), self.dialling.remote()].into_iter().flatten().collect()
    }

    /// Source and sink of each flow.
    pub fn flows(&self) -> Vec<(usize, usize)> {
        self.dialling.remote().map_or(Vec::new(), |remote| vec![(self.client, remote), (remote, self.client)])
    }
}
