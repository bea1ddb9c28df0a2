//! How a session reaches its remotes' addresses in a schedule, and the check that it tries them as it should: no remote
//! twice in a round unless it was only busy, its addresses in their order, and all of them before it gives up.

use cproxy::service::pool::{Member, Pool, State};
use cproxy::service::{RemoteAddress, Service};
use cproxy::session::{Dial, End};
use std::io;
use std::sync::Arc;

use super::kernel::{SharedKernel, SimSocket};
use super::plan::{Address, Answer, place};
use super::sight::Sight;

/// How long a session that waits may leave its remotes alone before it looks again, in milliseconds.
const PAUSE: u64 = 50;

/// The dialling of one session.
#[derive(Debug)]
pub struct Dialling {
    client: usize,
    remotes: Vec<Vec<Address>>,
    pool: Arc<Pool>,
    connect_timeout: u64,
    /// The header that the remote gets.
    header: Vec<u8>,
    /// How long all attempts may take, and when they must be over, once the first has begun.
    retry_timeout: Option<u64>,
    deadline: Option<u64>,
    /// The attempt that was made last.
    attempt: Option<Attempt>,
    /// Which remotes have been tried in this round, and which of them were busy.
    tried: Vec<bool>,
    busy: Vec<bool>,
    /// Why the session waits with no attempt under way, and when it looked last.
    waiting: Option<(Why, u64)>,
    /// Until when it waits for busy remotes, or for there to be one; not while all have as many sessions as they may have.
    patience: Option<u64>,
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
    /// A socket is connecting, or has connected.
    Started(usize),
    /// The remote was found down while its socket was connecting.
    Left,
}

/// Why a session waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There is no remote yet.
    NoneYet,
    /// Those that it might try have as many sessions as they may have.
    Full,
    /// Some were busy, and are to be tried again.
    Busy,
}

/// What is known of a session's hold on a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    Surely,
    /// It may have been given back.
    Perhaps,
    No,
}

impl Dialling {
    pub fn new(client: usize, remotes: Vec<Vec<Address>>, service: &Service, header: Vec<u8>) -> Dialling {
        let count = remotes.len();
        Dialling {
            client,
            remotes,
            pool: service.pool.clone(),
            connect_timeout: service.timeouts.connect,
            header,
            retry_timeout: service.pool.policy().retry_timeout,
            deadline: None,
            attempt: None,
            tried: vec![false; count],
            busy: vec![false; count],
            waiting: None,
            patience: None,
        }
    }

    /// The socket of the remote side, if there is one: it is connecting, or has connected.
    pub fn remote(&self) -> Option<usize> {
        match self.attempt?.result {
            Result::Started(id) if self.waiting.is_none() => Some(id),
            _ => None,
        }
    }

    /// The remote that has this session, unless it has given it back.
    pub fn remote_number(&self) -> Option<usize> {
        let held = self.waiting.is_none() || self.is_alone();
        self.attempt.filter(|_| held).map(|attempt| attempt.remote)
    }

    /// When the session is to do something about its remote at the latest.
    pub fn deadline(&self) -> Option<u64> {
        let deadline = match (self.waiting, self.attempt) {
            (Some((_, looked)), _) => (looked + PAUSE).min(self.patience.unwrap_or(u64::MAX)),
            (None, Some(attempt)) => attempt.began + self.connect_timeout,
            (None, None) => return None,
        };
        Some(deadline.min(self.deadline.unwrap_or(u64::MAX)))
    }

    fn is_alone(&self) -> bool {
        self.remotes.len() == 1
    }

    /// The numbers of the remotes that have not been tried in this round and might be.
    fn untried(&self) -> Vec<usize> {
        let tried = self.tried.iter().filter(|tried| **tried).count();
        if self.pool.policy().retries.is_some_and(|retries| tried > retries as usize) {
            return Vec::new();
        }
        (0..self.remotes.len()).filter(|&remote| !self.tried[remote]).collect()
    }

    /// A remote is found down that the session is being connected to. Whether it is to go to another.
    pub fn leave(&mut self) -> bool {
        let others = (0..self.remotes.len()).any(|remote| !self.tried[remote]);
        let tried = self.tried.iter().filter(|tried| **tried).count();
        let leaves = others && self.pool.policy().retries.is_none_or(|retries| tried <= retries as usize);
        if let Some(attempt) = self.attempt.as_mut().filter(|_| leaves) {
            attempt.result = Result::Left;
        }
        leaves
    }

    /// Whether it still has to go to another remote, as the one it was being connected to was found down.
    pub fn is_leaving(&self) -> bool {
        self.waiting.is_none() && self.attempt.is_some_and(|attempt| attempt.result == Result::Left)
    }

    /// The session looks for a remote, perhaps for the first time.
    fn look(&mut self, now: u64) -> u64 {
        *self.deadline.get_or_insert(self.retry_timeout.map_or(u64::MAX, |timeout| now + timeout))
    }

    /// The session has looked for a remote, and goes on.
    pub fn looked(&mut self, kernel: &SharedKernel) {
        let now = kernel.borrow().now;
        self.look(now);
        if let Some(Attempt { result: Result::Started(id), .. }) = self.attempt {
            if self.waiting.is_none() && !kernel.borrow().socket(id).witness.closed {
                return;
            }
        }
        if let Some((_, looked)) = self.waiting {
            if looked + PAUSE > now {
                // An event has woken it, which need not make it look.
                return;
            }
        }
        let why = self.why(now);
        kernel.borrow_mut().sights.note(match why {
            Why::NoneYet => Sight::NoRemoteYet,
            Why::Full => Sight::RemotesFull,
            Why::Busy => Sight::RemotesBusy,
        });
        kernel.borrow().trace(format_args!("{} waits: {why:?}", self.client));
        self.waiting = Some((why, now));
        self.patience = match why {
            Why::Full => None,
            Why::NoneYet | Why::Busy => Some(self.patience.unwrap_or_else(|| match self.attempt {
                // The only remote is dialled, address by address, until each is given up.
                Some(attempt) if self.is_alone() => attempt.began + self.connect_timeout,
                _ => now + self.connect_timeout,
            })),
        };
        if self.is_alone() {
            return;
        }
        // A new round begins.
        for (tried, busy) in self.tried.iter_mut().zip(&mut self.busy) {
            *tried &= !std::mem::take(busy);
        }
    }

    /// Why it waits, which is not for nothing.
    fn why(&self, now: u64) -> Why {
        assert!(
            self.deadline.is_none_or(|deadline| now < deadline),
            "a session goes on though its time is over: {self:?}"
        );
        if self.is_alone() && self.attempt.is_some_and(|attempt| attempt.result == Result::Busy) {
            return Why::Busy;
        }
        let set = self.pool.set();
        let members = set.members();
        if members.is_empty() {
            return Why::NoneYet;
        }
        let untried: Vec<&Member> = self.untried().into_iter().map(|remote| &members[remote]).collect();
        if untried.is_empty() {
            assert!(self.busy.contains(&true), "a session waits though it has tried everything: {self:?}");
            assert!(self.patience.is_none_or(|patience| now < patience), "a session waits too long: {self:?}");
            return Why::Busy;
        }
        // It would rather wait for one that is in.
        let is_in = |member: &&Member| member.remote.state() == State::Up;
        let wanted: Vec<&Member> = match untried.iter().copied().filter(is_in).collect::<Vec<_>>() {
            none if none.is_empty() => untried,
            some => some,
        };
        assert!(wanted.iter().all(|member| member.is_full()), "a session waits though there is room: {self:?}");
        Why::Full
    }

    /// Checks that a session which could not connect says so rightly.
    pub fn check_end(&self, end: End, kernel: &SharedKernel) {
        let now = kernel.borrow().now;
        kernel.borrow_mut().sights.note(if self.is_over(now) { Sight::RetryTimeout } else { Sight::AllTried });
        assert_eq!(end, self.expected_end(now, kernel), "another end is the right one: {self:?}");
    }

    fn is_over(&self, now: u64) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    fn expected_end(&self, now: u64, kernel: &SharedKernel) -> End {
        let is_over = self.is_over(now);
        if self.waiting.is_some() {
            let patience = self.patience.unwrap_or(u64::MAX);
            assert!(is_over || now >= patience, "it waits no longer, though it might: {self:?}");
            return End::ConnectTimeout;
        }
        let attempt = self.attempt.expect("a session that does not wait has dialled");
        let failed = match attempt.result {
            Result::Failed => true,
            Result::Busy => false,
            Result::Started(_) => self.has_failed(attempt, kernel),
            Result::Left => true,
        };
        if !is_over {
            assert!(self.untried().is_empty(), "remotes are left to try: {self:?}");
            let is_last = attempt.address == self.remotes[attempt.remote].len() - 1;
            assert!(is_last || attempt.result == Result::Left, "addresses are left to try: {self:?}");
        }
        if self.busy.contains(&true) {
            let is_over = is_over || self.patience.is_some_and(|patience| now >= patience);
            assert!(is_over, "a busy one might be tried: {self:?}");
            return End::ConnectTimeout;
        }
        if attempt.result == Result::Left {
            return End::RemoteDown;
        }
        let late = now >= (attempt.began + self.connect_timeout).min(self.deadline.unwrap_or(u64::MAX));
        assert!(failed || late, "it may still answer: {self:?}");
        if failed { End::ConnectFailed } else { End::ConnectTimeout }
    }

    /// Checks that it was time to dial this address, and begins the attempt.
    fn begin(&mut self, (remote, address): (usize, usize), kernel: &SharedKernel) -> Attempt {
        let now = kernel.borrow().now;
        let deadline = self.look(now);
        assert!(now < deadline, "dials though all attempts were to be over by {deadline}");
        let fresh = Attempt { remote, address, began: now, dialled: now, result: Result::Failed };
        let waited = self.waiting.take();
        if let Some((why, looked)) = waited {
            assert!(now > looked, "looks again at once");
            kernel.borrow_mut().sights.note(match why {
                Why::NoneYet => Sight::RemoteAfterNone,
                Why::Full => Sight::RoomAfterFull,
                Why::Busy => Sight::BusyAgain,
            });
            if why == Why::NoneYet {
                self.patience = None;
            }
        }
        if let Some(last) = self.attempt {
            if self.is_alone() && address == last.address {
                assert_eq!(last.result, Result::Busy, "dials an address again that was not busy");
                assert!(now > last.dialled, "dials a busy remote again at once");
                return Attempt { dialled: now, ..last };
            }
            let late = now >= last.began + self.connect_timeout;
            let busy = last.result == Result::Busy && !self.is_alone();
            // What it waited for came after its last attempt.
            let over = waited.is_some() && !self.is_alone();
            let over = over || late || busy || self.has_failed(last, kernel);
            assert!(over, "gives an address up that might still answer: {last:?}");
            if (waited.is_none() || self.is_alone()) && remote == last.remote && address == last.address + 1 {
                self.patience = self.patience.filter(|_| !self.is_alone());
                return fresh;
            }
            // It has gone through all of the last one's addresses, and comes to another remote.
            let all = last.address == self.remotes[last.remote].len() - 1;
            assert!(all || last.result == Result::Left, "an address of the last remote is not tried");
            if waited.is_none() {
                kernel.borrow_mut().sights.note(Sight::NextRemote);
            }
        }
        assert_eq!(address, 0, "the first address is to be dialled first");
        assert!(self.untried().contains(&remote), "a remote is tried twice, or one too many: {self:?}");
        self.tried[remote] = true;
        fresh
    }

    fn has_failed(&self, attempt: Attempt, kernel: &SharedKernel) -> bool {
        match attempt.result {
            Result::Failed | Result::Left => true,
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
        let read = kernel.borrow().socket(self.client).received;
        assert_eq!(read, 0, "a remote is tried when the client was read already");
        let target = &mut self.remotes[remote][address];
        let (dial, result) = if target.busy > 0 {
            target.busy -= 1;
            self.busy[remote] = true;
            (Dial::Busy, Result::Busy)
        } else if target.answer == Answer::FailAtOnce {
            (Dial::Failed(io::ErrorKind::ConnectionRefused.into()), Result::Failed)
        } else {
            let id = kernel.borrow_mut().connect(self.client, target.answer, &target.server, &self.header);
            (Dial::Started(SimSocket::new(kernel, id)), Result::Started(id))
        };
        if self.is_alone() {
            self.busy[remote] = result == Result::Busy;
        }
        kernel.borrow().trace(format_args!("{} dials remote {remote}, address {address}: {result:?}", self.client));
        self.attempt = Some(Attempt { result, ..attempt });
        dial
    }
}
