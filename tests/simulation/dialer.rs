//! How a session reaches its remotes' addresses in a schedule, and the check that it tries them as it should: no remote
//! twice, its addresses in their order, and all of them before it gives up.

use cproxy::service::{RemoteAddress, Service};
use cproxy::session::{Dial, End};
use std::io;

use super::kernel::{SharedKernel, SimSocket};
use super::plan::{Address, Answer, place};

/// The dialling of one session.
#[derive(Debug)]
pub struct Dialling {
    client: usize,
    remotes: Vec<Vec<Address>>,
    connect_timeout: u64,
    retries: Option<u32>,
    /// When all attempts must be over.
    deadline: u64,
    /// The attempt that was made last.
    attempt: Option<Attempt>,
    /// Which remotes have been tried to the end, and which were busy when they were tried last.
    done: Vec<bool>,
    busy: Vec<bool>,
}

/// The latest attempt to connect to an address.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    remote: usize,
    address: usize,
    /// When the address was first dialled, and last.
    began: u64,
    dialled: u64,
    result: Result,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Result {
    Busy,
    Failed,
    /// It did not answer in time, and the session waits for another.
    GivenUp,
    /// A socket is connecting, or has connected.
    Started(usize),
}

impl Dialling {
    pub fn new(client: usize, remotes: Vec<Vec<Address>>, service: &Service, now: u64) -> Dialling {
        let policy = service.pool.policy();
        let count = remotes.len();
        Dialling {
            client,
            remotes,
            connect_timeout: service.timeouts.connect,
            retries: policy.retries,
            deadline: policy.retry_timeout.map_or(u64::MAX, |timeout| now + timeout),
            attempt: None,
            done: vec![false; count],
            busy: vec![false; count],
        }
    }

    /// The socket of the remote side, if one was made for the address that was dialled last.
    pub fn remote(&self) -> Option<usize> {
        match self.attempt?.result {
            Result::Started(id) => Some(id),
            _ => None,
        }
    }

    /// The session has closed the remote side, and goes on.
    pub fn give_up(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.result = Result::GivenUp;
        }
    }

    /// When the session is to do something about its remote at the latest.
    pub fn deadline(&self) -> Option<u64> {
        let attempt = self.attempt?;
        match attempt.result {
            Result::Started(_) => Some(attempt.began + self.connect_timeout),
            Result::Busy if self.remotes.len() == 1 => Some(attempt.began + self.connect_timeout),
            // All others may have as many sessions as they may have.
            Result::Busy | Result::Failed | Result::GivenUp => None,
        }
        .map(|deadline| deadline.min(self.deadline))
    }

    /// Checks that a session which could not connect says so rightly.
    pub fn check_end(&self, end: End, kernel: &SharedKernel) {
        let is_over = kernel.borrow().now >= self.deadline;
        let Some(attempt) = self.attempt else {
            assert!(is_over && end == End::ConnectTimeout, "{end:?}, and nothing was dialled");
            return;
        };
        let tried = |remote: usize| self.done[remote] || remote == attempt.remote;
        let count = (0..self.remotes.len()).filter(|&remote| tried(remote) || self.busy[remote]).count();
        let may_try = self.retries.map_or(self.remotes.len(), |retries| (retries as usize + 1).min(self.remotes.len()));
        assert!(is_over || count >= may_try, "{end:?} with remotes left to try: {self:?}");
        let is_last = attempt.address == self.remotes[attempt.remote].len() - 1;
        assert!(is_over || is_last, "{end:?} with addresses left to try");
        if is_over {
            return;
        }
        // Where not all may be tried, those that were busy before need not be tried again.
        let failed = self.has_failed(attempt, kernel) && (self.retries.is_some() || !self.is_any_busy());
        let late = attempt.result == Result::GivenUp || self.is_any_busy();
        assert!(end == End::ConnectTimeout || failed, "{end:?}, and it may still answer: {attempt:?}");
        assert!(end == End::ConnectFailed || late || !failed, "{end:?} though it failed: {attempt:?}");
    }

    fn is_any_busy(&self) -> bool {
        (0..self.remotes.len()).any(|remote| self.busy[remote] && !self.done[remote])
    }

    /// Checks that it was time to dial this address, and begins the attempt.
    fn begin(&mut self, (remote, address): (usize, usize), kernel: &SharedKernel) -> Attempt {
        let now = kernel.borrow().now;
        assert!(now < self.deadline, "dials though all attempts were to be over by {}", self.deadline);
        let fresh = Attempt { remote, address, began: now, dialled: now, result: Result::Failed };
        let Some(last) = self.attempt else {
            assert_eq!(address, 0, "the first address is to be dialled first");
            return fresh;
        };
        let is_alone = self.remotes.len() == 1;
        if is_alone && address == last.address {
            assert_eq!(last.result, Result::Busy, "dials an address again that was not busy");
            assert!(now > last.dialled, "dials a busy remote again at once");
            return Attempt { dialled: now, ..last };
        }
        let late = now >= last.began + self.connect_timeout;
        let over = late || self.has_failed(last, kernel) || (last.result == Result::Busy && !is_alone);
        assert!(over, "gives an address up that might still answer: {last:?}");
        if remote == last.remote && address == last.address + 1 {
            return fresh;
        }
        // It has gone through all of the last one's addresses, and comes to another remote.
        assert_eq!(last.address, self.remotes[last.remote].len() - 1, "an address of the last remote is not tried");
        assert_eq!(address, 0, "the first address is to be dialled first");
        self.done[last.remote] = !self.busy[last.remote];
        assert!(!self.done[remote], "a remote is tried twice");
        assert!(remote != last.remote || now > last.dialled, "dials a busy remote again at once");
        self.busy[remote] = false;
        let tried = self.done.iter().filter(|done| **done).count();
        assert!(self.retries.is_none_or(|retries| tried <= retries as usize), "more remotes are tried than may be");
        fresh
    }

    fn has_failed(&self, attempt: Attempt, kernel: &SharedKernel) -> bool {
        match attempt.result {
            Result::Failed | Result::GivenUp => true,
            Result::Busy => false,
            Result::Started(id) => !kernel.borrow().socket(id).witness.told.is_empty(),
        }
    }

    /// Dials an address.
    pub fn answer<const SHORT: bool>(
        &mut self,
        address: &RemoteAddress,
        kernel: &SharedKernel,
    ) -> Dial<SimSocket<SHORT>> {
        let place = place(address);
        let attempt = self.begin(place, kernel);
        let (remote, address) = place;
        assert_eq!(
            kernel.borrow().socket(self.client).received,
            0,
            "a remote is tried when the client was read already"
        );
        let target = &mut self.remotes[remote][address];
        let (dial, result) = if target.busy > 0 {
            target.busy -= 1;
            // The only remote is dialled until it is given up.
            self.busy[remote] = self.remotes.len() > 1;
            (Dial::Busy, Result::Busy)
        } else if target.answer == Answer::FailAtOnce {
            (Dial::Failed(io::ErrorKind::ConnectionRefused.into()), Result::Failed)
        } else {
            let id = kernel.borrow_mut().connect(self.client, target.answer, &target.server);
            (Dial::Started(SimSocket::new(kernel, id)), Result::Started(id))
        };
        kernel.borrow().trace(format_args!("{} dials remote {remote}, address {address}: {result:?}", self.client));
        self.attempt = Some(Attempt { result, ..attempt });
        dial
    }
}
