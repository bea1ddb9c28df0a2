//! A flow of datagrams, or of a stream's bytes to or from datagrams.
//!
//! What one call of the source brings goes straight to the sink. What the sink does not take is kept, and until it is
//! gone nothing more is read: the kernel of the sender sees that.

use std::io;

use super::inspected_datagrams::Inspected;
use super::{Broken, Side, Stopped, retry};
use crate::base::error::error_number;
use crate::buffers::batch::{Batch, Counts, Encoding, MAX_DATAGRAM, Undelivered};
use crate::buffers::kept::{Kept, KeptMemory};
use crate::buffers::pipe_pool::Pipe;
use crate::buffers::pools::Pools;
use crate::config::caps::CapName;
use crate::endpoint::{Carries, Endpoint, Received, send_encoded};
use crate::inspect::Inspection;
use crate::proxy_header::{Parsed, parse};

/// A run that moved so much carries bulk.
const BULK_RUN: usize = 64 << 10;

/// Bytes kept for a sink that does not take them, of datagrams that come unasked.
pub const MOST_KEPT: usize = 256 << 10;

/// Bytes of a stream that become one datagram at most, and that are read at once for smaller ones.
const STREAM_CHUNK: usize = 16 << 10;

/// A flow of datagrams.
#[derive(Debug, Default)]
pub struct DatagramFlow {
    /// What the sink has not taken yet; never empty.
    kept: Option<Box<Kept>>,
    state: State,
    /// The last run moved much.
    bulk: bool,
    /// Each datagram begins with a header of the PROXY protocol, of which nothing goes on.
    headers: bool,
    counts: Counts,
    /// What a cap allows; `None`: there is none.
    allowed: Option<Allowed>,
    /// What looks at the datagrams.
    inspected: Option<Box<Inspected>>,
}

/// What a cap allows.
#[derive(Debug, Clone, Copy)]
struct Allowed {
    /// Bytes that may be sent.
    bytes: u64,
    /// The cap that allows no more.
    cap: CapName,
}

/// Where a flow stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// More may come from the source.
    #[default]
    Open,
    /// The source has ended.
    Ended,
    /// The sink has been told.
    Shut,
    /// The source broke. The sink must not be told that this is the end.
    Cut,
}

impl DatagramFlow {
    /// Bytes of payload that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.counts.moved
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether something is kept.
    pub fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether the sink has been told that no more will come.
    pub fn has_finished(&self) -> bool {
        self.state == State::Shut
    }

    /// Whether the last run moved much.
    pub fn is_bulk(&self) -> bool {
        self.bulk
    }

    /// See [`super::Flow::take_headers`].
    pub fn take_headers(&mut self) {
        self.headers = true;
    }

    /// See [`super::Flow::hold`].
    pub fn hold(&mut self, batch: &mut Batch, memory: &mut KeptMemory) {
        self.cut_headers(batch);
        self.keep(batch, memory);
    }

    /// See [`super::Flow::inspect`].
    pub fn inspect(&mut self, inspection: Inspection, now: u64) {
        self.inspected = Some(Box::new(Inspected::new(inspection, now)));
    }

    /// Has those look at what was kept before they were there.
    fn look_at_kept(&mut self, memory: &mut KeptMemory) {
        let Some(inspected) = &mut self.inspected else { return };
        if !inspected.begins() {
            return;
        }
        let Some(kept) = self.kept.take() else { return };
        match inspected.look(&kept.batch) {
            None => self.kept = Some(kept),
            Some(made) => {
                self.counts.add(made.take_counts());
                if !made.is_empty() {
                    self.kept.get_or_insert_default().append(made, memory);
                }
                kept.give_back(memory);
            }
        }
    }

    /// See [`super::Flow::note_time`].
    pub fn note_time(&mut self, now: u64) {
        if let Some(inspected) = &mut self.inspected {
            inspected.note_time(now);
        }
    }

    /// Has it send no more bytes than these, and keep the rest, until it is told otherwise. One datagram may be larger.
    pub fn allow(&mut self, bytes: u64, cap: CapName) {
        self.allowed = Some(Allowed { bytes, cap });
    }

    /// See [`super::Flow::pump`].
    pub fn pump<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        source: &mut Side<E>,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
        budget: usize,
    ) -> Result<Stopped, Broken> {
        let mut left = budget;
        self.look_at_kept(&mut pools.kept);
        let stopped = loop {
            self.check_rejected()?;
            if !self.send_kept(sink, pools)? {
                let spent = self.allowed.is_some_and(|allowed| allowed.bytes == 0);
                break if spent && sink.ready.writable { Stopped::Spent } else { Stopped::Blocked };
            }
            if self.state != State::Open {
                break Stopped::Drained;
            }
            if !source.ready.readable {
                break Stopped::Blocked;
            }
            if left == 0 {
                break Stopped::Spent;
            }
            let batch = &mut pools.batch;
            batch.clear();
            self.receive(source, batch, sink.endpoint.carries()).map_err(Broken::Source)?;
            left = left.saturating_sub(batch.cost().max(1));
            let mut inspected = self.inspected.take();
            let batch = inspected.as_mut().and_then(|inspected| inspected.look(batch)).unwrap_or(batch);
            let sent = self.send(batch, Some(sink), &mut pools.encoded);
            if sent.is_ok() && !source.endpoint.takes_an_end() {
                // It has no connection, so its sender does not rely on delivery.
                batch.drop_beyond(pools.kept.share(), Undelivered::NoMemory);
            }
            if sent.is_ok() {
                self.keep(batch, &mut pools.kept);
            }
            self.inspected = inspected;
            sent?;
        };
        self.bulk = budget - left >= BULK_RUN;
        Ok(stopped)
    }

    /// See [`super::Flow::offer`].
    pub fn offer<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        batch: &mut Batch,
        sink: Option<&mut Side<E>>,
        pools: &mut Pools<P>,
    ) -> Result<(), Broken> {
        self.cut_headers(batch);
        self.look_at_kept(&mut pools.kept);
        let mut inspected = self.inspected.take();
        let batch = inspected.as_mut().and_then(|inspected| inspected.look(batch)).unwrap_or(batch);
        let offered = self.offer_looked_at(batch, sink, pools);
        self.inspected = inspected;
        offered?;
        self.check_rejected()
    }

    /// The same when everybody has seen them.
    fn offer_looked_at<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        batch: &mut Batch,
        sink: Option<&mut Side<E>>,
        pools: &mut Pools<P>,
    ) -> Result<(), Broken> {
        if self.kept.is_none() {
            self.send(batch, sink, &mut pools.encoded)?;
        }
        let kept = self.kept.as_ref().map_or(0, |kept| kept.batch.size());
        let (no_room, no_memory) = match self.allowed {
            // What is kept though something may be sent, a sink has not taken.
            Some(Allowed { bytes, cap }) if bytes == 0 || kept == 0 => {
                (Undelivered::HeldBack(cap), Undelivered::HeldBack(cap))
            }
            _ => (Undelivered::NoRoom, Undelivered::NoMemory),
        };
        batch.drop_beyond(MOST_KEPT.saturating_sub(kept), no_room);
        batch.drop_beyond(pools.kept.share().saturating_sub(kept), no_memory);
        self.keep(batch, &mut pools.kept);
        Ok(())
    }

    /// Tells the sink of a drained flow that no more will come; once.
    pub fn finish<E: Endpoint>(&mut self, sink: &mut Side<E>) -> io::Result<()> {
        match self.state {
            State::Ended => {
                self.state = State::Shut;
                sink.endpoint.finish()
            }
            State::Open | State::Shut | State::Cut => Ok(()),
        }
    }

    /// See [`super::Flow::end`].
    pub fn end(&mut self) {
        if self.state == State::Open {
            self.state = State::Ended;
        }
    }

    /// Forgets what is kept, and counts it.
    pub fn release(&mut self, memory: &mut KeptMemory) {
        if let Some(kept) = self.kept.take() {
            self.counts.dropped += kept.batch.datagrams().count() as u64;
            kept.give_back(memory);
        }
    }

    /// Whether a filter ends the session.
    fn check_rejected(&mut self) -> Result<(), Broken> {
        match self.inspected.as_mut().and_then(|inspected| inspected.take_rejection()) {
            None => Ok(()),
            Some(reason) => {
                self.state = State::Cut;
                Err(Broken::Rejected(reason))
            }
        }
    }

    fn receive<E: Endpoint>(&mut self, source: &mut Side<E>, batch: &mut Batch, sink: Carries) -> io::Result<()> {
        let result = match source.endpoint.carries() {
            Carries::Datagrams { .. } => retry(|| source.endpoint.receive_datagrams(batch)),
            Carries::Bytes => {
                let chunk = match sink {
                    Carries::Datagrams { chunk } => chunk.min(STREAM_CHUNK),
                    Carries::Bytes => STREAM_CHUNK,
                };
                receive_bytes(&mut source.endpoint, batch, chunk)
            }
        };
        self.cut_headers(batch);
        self.count(batch);
        self.counts.work += u64::from(matches!(result, Ok(Received::More | Received::Last)));
        match result {
            Ok(Received::More) => {}
            // With an end of stream behind it, or where the system does not say so, "nothing more" has to be tried.
            Ok(Received::Last) if E::SHORT_MEANS_BLOCKED && !source.ready.read_closed && !source.ready.urgent => {
                source.ready.readable = false;
            }
            Ok(Received::Last) => {}
            Ok(Received::End) => {
                self.state = State::Ended;
                if let Some(inspected) = &mut self.inspected {
                    inspected.end();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (source.ready.readable, source.ready.urgent) = (false, false);
            }
            Err(error) => {
                self.state = State::Cut;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes the headers off, where there are any; a datagram without one is dropped.
    #[inline(always)]
    fn cut_headers(&self, batch: &mut Batch) {
        if self.headers {
            cut_headers(batch);
        }
    }

    /// Whether nothing is kept any more.
    fn send_kept<E: Endpoint<Pipe = P>, P: Pipe>(
        &mut self,
        sink: &mut Side<E>,
        pools: &mut Pools<P>,
    ) -> Result<bool, Broken> {
        let Some(mut kept) = self.kept.take() else { return Ok(true) };
        let sent = self.send(&mut kept.batch, Some(sink), &mut pools.encoded);
        if kept.batch.is_empty() {
            kept.give_back(&mut pools.kept);
        } else {
            self.kept = Some(kept);
        }
        sent.map(|()| self.kept.is_none())
    }

    /// Sends what the sink takes.
    fn send<E: Endpoint>(
        &mut self,
        batch: &mut Batch,
        sink: Option<&mut Side<E>>,
        encoded: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let Some(sink) = sink else { return Ok(()) };
        match self.allowed {
            None => self.send_all(batch, sink, encoded),
            Some(allowed) => self.send_allowed(allowed, batch, sink, encoded),
        }
    }

    #[inline(never)]
    fn send_allowed<E: Endpoint>(
        &mut self,
        allowed: Allowed,
        batch: &mut Batch,
        sink: &mut Side<E>,
        encoded: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let before = self.counts.moved;
        let apart = batch.set_apart_beyond(allowed.bytes);
        let sent = self.send_all(batch, sink, encoded);
        batch.bring_back(apart);
        let bytes = allowed.bytes.saturating_sub(self.counts.moved - before);
        self.allowed = Some(Allowed { bytes, ..allowed });
        if let Err(Broken::Sink(error)) = &sent {
            batch.drop_all(Undelivered::Error(error_number(error)));
            self.count(batch);
        }
        sent
    }

    // It must not be one of the calls that a message costs.
    #[inline(always)]
    fn send_all<E: Endpoint>(
        &mut self,
        batch: &mut Batch,
        sink: &mut Side<E>,
        encoded: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        while !batch.is_empty() && sink.ready.writable {
            let result = match sink.endpoint.carries() {
                Carries::Datagrams { .. } => retry(|| sink.endpoint.send_datagrams(batch, encoded)),
                Carries::Bytes => retry(|| send_encoded(&mut sink.endpoint, batch, Encoding::Bytes, encoded)),
            };
            match result {
                Ok(()) => self.counts.work += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.ready.writable = false,
                Err(error) => {
                    batch.drop_all(Undelivered::Error(error_number(&error)));
                    self.count(batch);
                    return Err(Broken::Sink(error));
                }
            }
        }
        self.count(batch);
        Ok(())
    }

    /// Keeps what the sink did not take.
    fn keep(&mut self, batch: &mut Batch, memory: &mut KeptMemory) {
        if !batch.is_empty() {
            self.kept.get_or_insert_default().append(batch, memory);
        }
        self.count(batch);
    }

    fn count(&mut self, batch: &mut Batch) {
        self.counts.add(batch.take_counts());
    }
}

#[inline(never)]
fn cut_headers(batch: &mut Batch) {
    batch.cut(|datagram| match parse(datagram) {
        Ok(Parsed::Complete { length, .. }) => Ok(length),
        Ok(Parsed::Incomplete { .. }) | Err(_) => Err(Undelivered::BadHeader),
    });
}

/// Reads a stream once: what came is one datagram, or more where it is longer than `chunk` bytes.
fn receive_bytes<E: Endpoint>(source: &mut E, batch: &mut Batch, chunk: usize) -> io::Result<Received> {
    let space = batch.space(MAX_DATAGRAM);
    let asked = space.len();
    let length = retry(|| source.receive(&mut *space))?;
    batch.add_chunks(0, length, chunk);
    Ok(match length {
        0 => Received::End,
        length if length < asked && source.short_read_means_empty() => Received::Last,
        _ => Received::More,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::pipe_pool::PipeBudget;
    use crate::buffers::splice::KernelPipe;
    use crate::config::settings::BufferSize;
    use crate::endpoint::Socket;
    use std::sync::Arc;

    fn pools() -> Pools<KernelPipe> {
        Pools::new(BufferSize::Fixed(1), Arc::new(PipeBudget::new(0, 1)))
    }

    fn offer(flow: &mut DatagramFlow, count: usize, pools: &mut Pools<KernelPipe>) {
        let mut batch = Batch::default();
        batch.space(1000 * count);
        batch.add_chunks(0, 1000 * count, 1000);
        flow.offer::<Socket, _>(&mut batch, None, pools).unwrap();
    }

    #[test]
    fn one_flow_may_keep_so_much() {
        let (mut flow, mut pools) = (DatagramFlow::default(), pools());
        (0..10).for_each(|_| offer(&mut flow, 100, &mut pools));
        let kept = flow.kept.as_ref().map_or(0, |kept| kept.batch.datagrams().count());
        assert_eq!(kept, MOST_KEPT / 1016);
        assert_eq!((flow.counts.dropped, flow.counts.why), (1000 - kept as u64, Some(Undelivered::NoRoom)));
        flow.release(&mut pools.kept);
        assert_eq!((flow.counts.dropped, pools.kept.used()), (1000, 0));
    }

    #[test]
    fn all_flows_of_a_thread_together_have_a_bound_too() {
        let mut pools = pools();
        let mut flows: Vec<DatagramFlow> = (0..2000).map(|_| DatagramFlow::default()).collect();
        flows.iter_mut().for_each(|flow| offer(flow, 100, &mut pools));
        assert!(pools.kept.used() <= 64 << 20, "{}", pools.kept.used());
        let dropped: Vec<u64> = flows.iter().map(|flow| flow.counts.dropped).collect();
        assert_eq!(dropped[0], 0);
        assert!(dropped[..900].iter().all(|&dropped| dropped < 100), "{dropped:?}");
        assert!(dropped[1999] > 0);
        assert_eq!(flows[1999].counts.why, Some(Undelivered::NoMemory));
        flows.iter_mut().for_each(|flow| flow.release(&mut pools.kept));
        assert_eq!(pools.kept.used(), 0);
        offer(&mut flows[1999], 100, &mut pools);
        assert_eq!(flows[1999].kept.as_ref().map_or(0, |kept| kept.batch.datagrams().count()), 100);
    }
}
