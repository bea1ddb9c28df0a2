//! Simulated pipes: who may open them, what is in them, and how many hold bytes.

use std::cell::RefCell;
use std::io;
use std::ops::Range;

use cproxy::buffers::pipe_pool::Pipe;

use super::random::Random;

/// What a schedule decides about pipes.
#[derive(Debug, Clone, Copy, Default)]
pub struct PipePlan {
    /// Pipes that the thread may have at once.
    pub most: usize,
    /// Once in so many times a pipe cannot be opened; `None`: it always can.
    pub refused_once_in: Option<u64>,
    /// Pieces of a stream that a pipe has room for, however long they are.
    pub slots: usize,
}

/// A slot is for a page; the pieces that take one can be longer.
const PAGE: u64 = 4096;

impl PipePlan {
    /// Bytes that a pipe seems to have room for.
    pub fn nominal_size(&self) -> u64 {
        self.slots as u64 * PAGE
    }

    /// Whether a flow may have asked for a pipe in vain.
    pub fn may_be_missing(&self) -> bool {
        let Standing { open, filled, refused, .. } = standing();
        open == filled && (open == self.most || refused > 0)
    }
}

/// How the pipes of a schedule stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    /// Pipes that have been opened and not been closed, and those of them that hold bytes.
    pub open: usize,
    pub filled: usize,
    /// How often one was opened and how often that failed.
    pub opened: usize,
    pub refused: usize,
    pub opened_after_refusal: bool,
}

/// The pipes of one schedule.
#[derive(Debug)]
struct Pipes {
    plan: PipePlan,
    random: Random,
    standing: Standing,
}

thread_local! {
    /// The pipes of the schedule that this thread runs: a pipe is opened without being told where.
    static PIPES: RefCell<Option<Pipes>> = const { RefCell::new(None) };
}

/// A new schedule begins on this thread.
pub fn begin(plan: PipePlan, random: Random) {
    PIPES.set(Some(Pipes { plan, random, standing: Standing::default() }));
}

/// How the pipes stand.
pub fn standing() -> Standing {
    with(|pipes| pipes.standing)
}

fn with<T>(act: impl FnOnce(&mut Pipes) -> T) -> T {
    PIPES.with_borrow_mut(|pipes| act(pipes.as_mut().expect("a schedule runs")))
}

/// A pipe as a flow and a pool have it.
#[derive(Debug)]
pub struct SimPipe {
    pub id: usize,
    pub contents: Option<Contents>,
}

/// Bytes in a pipe: always one part of one stream, since only empty pipes are filled.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The socket they were read from.
    pub stream: usize,
    pub bytes: Range<u64>,
    /// Some have been taken out; and then no more could be.
    pub partly_emptied: bool,
    pub stalled: bool,
}

impl SimPipe {
    /// Puts bytes in, of which there are some, where there were none.
    pub fn fill(&mut self, stream: usize, bytes: Range<u64>) {
        assert!(self.contents.is_none(), "pipe {} is filled twice", self.id);
        self.contents = Some(Contents { stream, bytes, partly_emptied: false, stalled: false });
        with(|pipes| pipes.standing.filled += 1);
    }

    /// No bytes can be taken out now.
    pub fn stall(&mut self) {
        if let Some(contents) = &mut self.contents {
            contents.stalled = contents.partly_emptied;
        }
    }

    /// Takes out the first bytes.
    pub fn drain(&mut self, count: u64) {
        let contents = self.contents.as_mut().expect("there are bytes to take");
        contents.bytes.start += count;
        contents.partly_emptied = true;
        if contents.bytes.is_empty() {
            self.contents = None;
            with(|pipes| pipes.standing.filled -= 1);
        }
    }
}

impl Pipe for SimPipe {
    fn open() -> io::Result<SimPipe> {
        with(|pipes| {
            let Pipes { plan, random, standing } = pipes;
            assert!(standing.open < plan.most, "more pipes are opened than are allowed");
            if plan.refused_once_in.is_some_and(|times| random.once_in(times)) {
                standing.refused += 1;
                return Err(io::Error::from_raw_os_error(random.pick(&[libc::EMFILE, libc::ENFILE])));
            }
            standing.open += 1;
            standing.opened += 1;
            standing.opened_after_refusal |= standing.refused > 0;
            Ok(SimPipe { id: standing.opened, contents: None })
        })
    }
}

impl Drop for SimPipe {
    fn drop(&mut self) {
        with(|pipes| {
            pipes.standing.open -= 1;
            pipes.standing.filled -= usize::from(self.contents.is_some());
        });
    }
}
