//! A flow of bytes that taps see and filters may change. It is read into a buffer, and sent from there, or from what the
//! filters have made of it. Nothing more is read before all of that is sent.

use std::io;

use super::bytes::CALL_COST;
use super::{Broken, Pace, Side, Stopped, retry};
use crate::buffers::buffer_pool::Buffer;
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::pools::Pools;
use crate::endpoint::Endpoint;
use crate::inspect::{Filter, Inspection, Tap, Then, Verdict};

/// Filters are shown at most so many bytes of a read at once, and fewer where they make much more of them: so what they
/// make has a bound.
const MOST_SHOWN: usize = 16 << 10;

/// The least that they are shown at once.
const LEAST_SHOWN: usize = 64;

/// When filters have made so many bytes, these are sent before they are shown more.
const MOST_MADE: usize = 64 << 10;

/// Where a flow stands.
#[derive(Debug)]
enum State {
    /// More may come from the source.
    Open,
    /// The source has ended, and the filters have been told.
    Ended,
    /// The source broke, which is to be said when all that came has gone out.
    Breaks(io::Error),
    /// A filter ends the session, for this reason.
    Rejected(String),
    /// All has gone out; the sink has not been told that no more will come.
    Drained,
    /// The sink has been told.
    Shut,
    /// It is over, and the sink must not be told that this is the end.
    Cut,
}

/// What was read, and has not been shown to the filters or, where there are none, has not been sent.
#[derive(Debug)]
struct Read {
    buffer: Buffer,
    start: usize,
    end: usize,
}

/// A filter, and what it has left.
#[derive(Debug)]
struct Stage {
    filter: Box<dyn Filter>,
    left: Vec<u8>,
    /// When something was last added to that, in milliseconds.
    since: u64,
}

/// A flow of bytes that is looked at.
#[derive(Debug)]
pub struct InspectedFlow {
    state: State,
    pace: Pace,
    moved: u64,
    received: u64,
    taps: Vec<Box<dyn Tap>>,
    stages: Vec<Stage>,
    read: Option<Read>,
    /// What the filters have made, of which so much is sent.
    made: Vec<u8>,
    sent: usize,
    /// How much of a read the filters are shown at once.
    shown: usize,
    /// The time of this run, in microseconds.
    now: u64,
}

impl InspectedFlow {
    /// A flow that has moved nothing yet and is looked at so.
    pub fn new(inspection: Inspection, pace: Pace, now: u64) -> InspectedFlow {
        let stage = |filter| Stage { filter, left: Vec::new(), since: 0 };
        InspectedFlow {
            state: State::Open,
            pace,
            moved: 0,
            received: 0,
            taps: inspection.taps,
            stages: inspection.filters.into_iter().map(stage).collect(),
            read: None,
            made: Vec::new(),
            sent: 0,
            shown: MOST_SHOWN,
            now,
        }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Bytes that were read.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the flow carries bulk, as far as is known.
    pub fn is_bulk(&self) -> bool {
        self.pace.is_bulk()
    }

    /// Whether it has something that the sink has not taken yet.
    pub fn keeps(&self) -> bool {
        self.waits_for_sink() || self.stages.iter().any(|stage| !stage.left.is_empty())
    }

    /// Whether it reads nothing more before the sink has taken something.
    pub fn waits_for_sink(&self) -> bool {
        self.read.is_some() || self.sent < self.made.len()
    }

    /// Whether the sink has been told that no more will come.
    pub fn has_finished(&self) -> bool {
        matches!(self.state, State::Shut)
    }

    /// Notes the time of the run that follows, in microseconds.
    pub fn note_time(&mut self, now: u64) {
        self.now = now;
    }

    /// When a filter is to decide about what it has left, in milliseconds.
    pub fn deadline(&self) -> Option<u64> {
        match self.state {
            State::Open if !self.waits_for_sink() => self.stages.iter().filter_map(Stage::deadline).min(),
            _ => None,
        }
    }

    /// Moves bytes until neither end can, or `budget` bytes have been read.
    ///
    /// # Errors
    ///
    /// As of [`super::Flow::pump`].
    pub fn pump<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        mut budget: usize,
    ) -> Result<Stopped, Broken> {
        loop {
            let is_sent = self.send(sink, pools).map_err(Broken::Sink)?;
            if let State::Rejected(reason) = &mut self.state {
                let reason = std::mem::take(reason);
                self.state = State::Cut;
                self.release(pools);
                return Err(Broken::Rejected(reason));
            }
            if !is_sent {
                return Ok(Stopped::Blocked);
            }
            if self.read.is_some() {
                self.show_read(pools);
                continue;
            }
            match std::mem::replace(&mut self.state, State::Cut) {
                State::Open => {
                    self.state = State::Open;
                    let stopped = match source.ready.readable {
                        false => Some(Stopped::Blocked),
                        // A cap may hold it back for longer than a filter has patience.
                        true if budget == 0 => Some(Stopped::Spent),
                        true => None,
                    };
                    if let Some(stopped) = stopped {
                        if !self.decide_what_is_due() {
                            return Ok(stopped);
                        }
                    } else {
                        budget = budget.saturating_sub(self.receive(source, pools, budget) + CALL_COST);
                    }
                }
                State::Ended | State::Drained => {
                    self.state = State::Drained;
                    return Ok(Stopped::Drained);
                }
                State::Breaks(error) => return Err(Broken::Source(error)),
                over @ (State::Shut | State::Cut | State::Rejected(_)) => {
                    self.state = over;
                    return Ok(Stopped::Drained);
                }
            }
        }
    }

    /// Tells the sink of a drained flow that no more bytes will come; once.
    pub fn finish<E: Endpoint>(&mut self, sink: &mut Side<E>) -> io::Result<()> {
        match self.state {
            State::Drained => {
                self.state = State::Shut;
                sink.endpoint.finish()
            }
            _ => Ok(()),
        }
    }

    /// Gives back what the flow holds bytes in, with whatever is still in it.
    pub fn release<P: Pipe>(&mut self, pools: &mut Pools<P>) {
        if let Some(read) = self.read.take() {
            pools.give_back(read.buffer);
        }
        (self.made, self.sent) = (Vec::new(), 0);
        self.stages.iter_mut().for_each(|stage| stage.left = Vec::new());
    }

    /// Reads once, at most `limit` bytes, and says how many came.
    fn receive<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        source: &mut Side<E>,
        pools: &mut Pools<P>,
        limit: usize,
    ) -> usize {
        let mut buffer = if self.pace.is_bulk() { pools.take_bulk_buffer() } else { pools.take_buffer() };
        let asked = buffer.len().min(limit);
        match retry(|| source.endpoint.receive(&mut buffer[..asked])) {
            Ok(came) if came > 0 => {
                self.pace.learn_of(source, came, asked);
                self.received += came as u64;
                self.taps.iter_mut().for_each(|tap| tap.bytes(&buffer[..came], self.now));
                self.read = Some(Read { buffer, start: 0, end: came });
                return came;
            }
            Ok(_) => {
                self.taps.iter_mut().for_each(|tap| tap.end(self.now));
                self.state = State::Ended;
                self.run_filters(0, &[], Then::End, Then::End);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (source.ready.readable, source.ready.urgent) = (false, false);
            }
            Err(error) => {
                self.state = State::Breaks(error);
                // What came is all that there will be, and it is no end.
                self.run_filters(0, &[], Then::Pause, Then::Pause);
            }
        }
        pools.give_back(buffer);
        0
    }

    /// Shows the filters the next piece of what was read.
    fn show_read<P: Pipe>(&mut self, pools: &mut Pools<P>) {
        let Some(mut read) = self.read.take() else { return };
        let end = read.end.min(read.start + self.shown);
        if self.made.capacity() == 0 {
            self.made = pools.take_spare();
        }
        let before = self.made.len();
        self.run_filters(0, &read.buffer[read.start..end], Then::More, Then::More);
        let (shown, made) = (end - read.start, self.made.len() - before);
        self.shown =
            if made > 4 * shown { (self.shown / 4).max(LEAST_SHOWN) } else { (2 * self.shown).min(MOST_SHOWN) };
        read.start = end;
        if read.start == read.end {
            pools.give_back(read.buffer);
        } else {
            self.read = Some(read);
        }
    }

    /// Has filters decide about what they have held long enough. Returns whether there was any.
    fn decide_what_is_due(&mut self) -> bool {
        let now = self.now / 1000;
        let is_due = |stage: &Stage| stage.deadline().is_some_and(|at| at <= now);
        match self.stages.iter().position(is_due) {
            Some(number) => {
                self.run_filters(number, &[], Then::Pause, Then::More);
                true
            }
            None => false,
        }
    }

    /// Has the filters from this one on look at these bytes, behind which there is `then`, as far as the first knows, and
    /// `later` for those behind it.
    fn run_filters(&mut self, first: usize, bytes: &[u8], then: Then, later: Then) {
        let mut input = Vec::new();
        for number in first..self.stages.len() {
            let is_last = number + 1 == self.stages.len();
            let mut output = if is_last { std::mem::take(&mut self.made) } else { Vec::new() };
            let stage = &mut self.stages[number];
            let result = match number == first {
                true => stage.look(bytes, then, self.now / 1000, &mut output),
                false => stage.look(&input, later, self.now / 1000, &mut output),
            };
            if is_last {
                self.made = output;
            } else {
                input = output;
            }
            if let Err(reason) = result {
                self.state = State::Rejected(reason);
                return;
            }
        }
    }

    /// Sends what is to be sent and says whether nothing of it is left.
    fn send<E: Endpoint<Pipe = P>, P: Pipe>(&mut self, sink: &mut Side<E>, pools: &mut Pools<P>) -> io::Result<bool> {
        // What was read and not shown yet goes on behind what was made, as long as that is little.
        let waits = self.read.is_some() && !self.stages.is_empty() && self.made.len() - self.sent < MOST_MADE;
        if waits && matches!(self.state, State::Open) {
            return Ok(true);
        }
        loop {
            let bytes = match &self.read {
                Some(read) if self.stages.is_empty() => &read.buffer[read.start..read.end],
                _ => &self.made[self.sent..],
            };
            if bytes.is_empty() {
                break;
            }
            if !sink.ready.writable {
                return Ok(false);
            }
            let asked = bytes.len();
            match retry(|| sink.endpoint.send(bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.moved += count as u64;
                    sink.ready.writable = !(E::SHORT_MEANS_BLOCKED && count < asked);
                    match &mut self.read {
                        Some(read) if self.stages.is_empty() => read.start += count,
                        _ => self.sent += count,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.ready.writable = false,
                Err(error) => return Err(error),
            }
        }
        if self.stages.is_empty() {
            if let Some(read) = self.read.take() {
                pools.give_back(read.buffer);
            }
        }
        pools.give_back_spare(std::mem::take(&mut self.made));
        self.sent = 0;
        Ok(true)
    }
}

impl Stage {
    /// Has the filter look at what it had left and these bytes behind it.
    ///
    /// # Errors
    ///
    /// Why it ends the session.
    fn look(&mut self, bytes: &[u8], then: Then, now: u64, output: &mut Vec<u8>) -> Result<(), String> {
        if bytes.is_empty() && (then == Then::More || (then == Then::Pause && self.left.is_empty())) {
            return Ok(());
        }
        if !bytes.is_empty() {
            self.since = now;
        }
        if self.left.is_empty() {
            let taken = self.ask(bytes, then, output)?;
            self.left.extend_from_slice(&bytes[taken..]);
        } else {
            self.left.extend_from_slice(bytes);
            self.ask_about_left(then, output)?;
        }
        if self.left.len() > self.filter.window() {
            self.ask_about_left(Then::Pause, output)?;
        }
        Ok(())
    }

    fn ask_about_left(&mut self, then: Then, output: &mut Vec<u8>) -> Result<(), String> {
        let left = std::mem::take(&mut self.left);
        let taken = self.ask(&left, then, output)?;
        self.left = left;
        self.left.drain(..taken);
        if self.left.is_empty() {
            // Only who holds something has memory for it.
            self.left = Vec::new();
        }
        Ok(())
    }

    /// Asks the filter, and says how much of these bytes is decided.
    fn ask(&mut self, bytes: &[u8], then: Then, output: &mut Vec<u8>) -> Result<usize, String> {
        match self.filter.bytes(bytes, then, output) {
            Verdict::End => Err(self.filter.reason()),
            Verdict::Taken(taken) if then == Then::More => Ok(taken.min(bytes.len())),
            Verdict::Taken(taken) => {
                output.extend_from_slice(&bytes[taken.min(bytes.len())..]);
                Ok(bytes.len())
            }
        }
    }

    /// When it is to decide about what it has left, in milliseconds.
    fn deadline(&self) -> Option<u64> {
        let patience = self.filter.patience().filter(|_| !self.left.is_empty())?;
        // One more, as times are rounded down: it is never early.
        let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Some(self.since.saturating_add(milliseconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::pipe_pool::PipeBudget;
    use crate::buffers::splice::KernelPipe;
    use crate::config::settings::BufferSize;
    use crate::endpoint::SideName;
    use crate::flow::Readiness;
    use crate::inspect::PATIENCE;
    use std::fmt;
    use std::os::fd::RawFd;
    use std::sync::Arc;

    /// Says this over and over, and hears everything.
    #[derive(Debug)]
    struct Peer {
        says: &'static [u8],
        heard: Vec<u8>,
    }

    impl Endpoint for Peer {
        const SHORT_MEANS_BLOCKED: bool = false;

        type Pipe = KernelPipe;

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.says.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.says[..length]);
            Ok(length)
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend(bytes);
            Ok(bytes.len())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn descriptor(&self) -> RawFd {
            0
        }

        fn write_route(&self, _side: SideName, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
    }

    /// Holds everything.
    #[derive(Debug)]
    struct Holder;

    impl Filter for Holder {
        fn bytes(&mut self, _input: &[u8], _then: Then, _output: &mut Vec<u8>) -> Verdict {
            Verdict::Taken(0)
        }

        fn datagram(&mut self, _datagram: &[u8], _output: &mut Vec<u8>) -> Verdict {
            Verdict::Taken(0)
        }
    }

    #[test]
    fn a_filter_decides_in_time_though_a_cap_lets_nothing_more_be_read() {
        let side = |says| Side {
            endpoint: Peer { says, heard: Vec::new() },
            ready: Readiness { readable: true, writable: true, ..Readiness::default() },
        };
        let (mut source, mut sink) = (side(b"hello"), side(b""));
        let mut pools = Pools::new(BufferSize::Fixed(64), Arc::new(PipeBudget::new(0, 1)));
        let inspection = Inspection { taps: Vec::new(), filters: vec![Box::new(Holder)] };
        let mut flow = InspectedFlow::new(inspection, Pace::START, 0);
        assert!(matches!(flow.pump(&mut source, &mut sink, &mut pools, 1), Ok(Stopped::Spent)));
        let deadline = flow.deadline().unwrap();
        assert!(deadline >= PATIENCE.as_millis() as u64 && sink.endpoint.heard.is_empty());
        flow.note_time(deadline * 1000);
        assert!(matches!(flow.pump(&mut source, &mut sink, &mut pools, 0), Ok(Stopped::Spent)));
        // Otherwise the session would be run again and again until the cap allows something.
        assert_eq!((flow.deadline(), &sink.endpoint.heard[..]), (None, &b"h"[..]));
    }
}
