//! How a session reaches the remote's addresses in a schedule, and the check that it tries them in their order.

use cproxy::session::{Dial, End};
use std::io;

use super::kernel::{SharedKernel, SimSocket};
use super::plan::{Address, Answer};

/// The dialling of one session.
#[derive(Debug)]
pub struct Dialling {
    client: usize,
    addresses: Vec<Address>,
    connect_timeout: u64,
    /// The attempt that was made last.
    attempt: Option<Attempt>,
}

/// The latest attempt to connect to an address.
#[derive(Debug, Clone, Copy)]
struct Attempt {
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
}

impl Dialling {
    pub fn new(client: usize, addresses: Vec<Address>, connect_timeout: u64) -> Dialling {
        Dialling { client, addresses, connect_timeout, attempt: None }
    }

    /// The socket of the remote side, if one was made for the address that was dialled last.
    pub fn remote(&self) -> Option<usize> {
        match self.attempt?.result {
            Result::Started(id) => Some(id),
            _ => None,
        }
    }

    /// When the session is to give up the address.
    pub fn deadline(&self) -> Option<u64> {
        self.attempt.map(|attempt| attempt.began + self.connect_timeout)
    }

    /// Checks that a session which could not connect says so rightly.
    pub fn check_end(&self, end: End, kernel: &SharedKernel) {
        let attempt = self.attempt.expect("an address was dialled");
        assert_eq!(attempt.address, self.addresses.len() - 1, "{end:?} with addresses left to try");
        let failed = self.has_failed(attempt, kernel);
        assert_eq!(end == End::ConnectFailed, failed, "{end:?} though failed is {failed} of {attempt:?}");
    }

    /// Checks that it was time to dial this address, and begins the attempt.
    fn begin(&mut self, address: usize, kernel: &SharedKernel) -> Attempt {
        let now = kernel.borrow().now;
        let fresh = Attempt { address, began: now, dialled: now, result: Result::Failed };
        let Some(last) = self.attempt else {
            assert_eq!(address, 0, "the first address is to be dialled first");
            return fresh;
        };
        let late = now >= last.began + self.connect_timeout;
        if address == last.address {
            assert_eq!(last.result, Result::Busy, "dials an address again that was not busy");
            assert!(now > last.dialled, "dials a busy remote again at once");
            return Attempt { dialled: now, ..last };
        }
        assert_eq!(address, last.address + 1, "addresses are to be tried in their order");
        assert!(late || self.has_failed(last, kernel), "gives an address up that might still answer: {last:?}");
        fresh
    }

    fn has_failed(&self, attempt: Attempt, kernel: &SharedKernel) -> bool {
        match attempt.result {
            Result::Failed => true,
            Result::Busy => false,
            Result::Started(id) => !kernel.borrow().socket(id).witness.told.is_empty(),
        }
    }

    /// Dials the address of this number.
    pub fn answer<const SHORT: bool>(&mut self, address: usize, kernel: &SharedKernel) -> Dial<SimSocket<SHORT>> {
        let attempt = self.begin(address, kernel);
        let target = &mut self.addresses[address];
        let (dial, result) = if target.busy > 0 {
            target.busy -= 1;
            (Dial::Busy, Result::Busy)
        } else if target.answer == Answer::FailAtOnce {
            (Dial::Failed(io::ErrorKind::ConnectionRefused.into()), Result::Failed)
        } else {
            let id = kernel.borrow_mut().connect(self.client, target.answer, &target.server);
            (Dial::Started(SimSocket::new(kernel, id)), Result::Started(id))
        };
        kernel.borrow().trace(format_args!("{} dials address {address}: {result:?}", self.client));
        self.attempt = Some(Attempt { result, ..attempt });
        dial
    }
}
