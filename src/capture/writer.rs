//! The thread that makes packets of what was captured and writes them.

use crossbeam_channel::RecvTimeoutError;
use log::warn;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::LOST;
use super::addresses::ends;
use super::file::CaptureFile;
use super::pcapng::{Batch, Statistics};
use super::queue::{MOST_BLOCK, Opening, QueueEnd, Record};
use super::stream::{Place, Stream};
use crate::base::clock::Clock;
use crate::base::error::error_text;
use crate::log::flush;

/// How long it rests after a small batch, so that many records are written at once.
const REST: Duration = Duration::from_millis(2);

/// After a batch that is smaller, it rests.
const SMALL_BATCH: u64 = 64 << 10;

/// The most records of a batch: parts of one write.
const MOST_RECORDS: usize = 512;

/// How often the file is told what was lost, if something was.
const TOLD_EACH: Duration = Duration::from_secs(1);

/// How often the log is.
const WARNED_EACH: Duration = Duration::from_secs(60);

/// Writes one capture file.
#[derive(Debug)]
pub struct Writer {
    file: CaptureFile,
    queue: QueueEnd,
    /// What is to be added to a time of the clock, in microseconds, for one since 1970.
    origin: u64,
    streams: HashMap<u64, Stream>,
    /// Sessions without addresses so far.
    others: u64,
    batch: Batch,
    headers: Vec<u8>,
    /// Packets in the file.
    written: u64,
    /// What was lost when the file began, and when it was told of that last.
    lost_before: u64,
    lost_told: u64,
    told: Instant,
    warned: Option<Instant>,
    /// The time of the last record.
    at: u64,
}

impl Writer {
    /// Begins the file.
    ///
    /// # Errors
    ///
    /// See [`CaptureFile::open`].
    pub fn new(path: &Path, clock: Clock, queue: QueueEnd) -> io::Result<Writer> {
        let file = CaptureFile::open(path)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = (now.as_micros() as u64).saturating_sub(clock.now_us());
        let lost = LOST.load(Relaxed);
        Ok(Writer {
            file,
            queue,
            origin,
            streams: HashMap::new(),
            others: 0,
            batch: Batch::default(),
            headers: Vec::new(),
            written: 0,
            lost_before: lost,
            lost_told: lost,
            told: Instant::now(),
            warned: None,
            at: now.as_micros() as u64,
        })
    }

    /// Writes what comes, until nobody is left who captures.
    pub fn run(mut self) {
        loop {
            match self.queue.records().recv_timeout(TOLD_EACH) {
                Ok(first) => {
                    if self.write_from(first) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.told.elapsed() >= TOLD_EACH {
                self.told = Instant::now();
                self.tell_lost();
            }
        }
        self.tell();
        flush();
    }

    /// Writes this record and those behind it. Says whether it was the last one.
    fn write_from(&mut self, first: Record) -> bool {
        if self.file.is_full(2 * MOST_BLOCK as u64) {
            self.tell();
            self.file.rotate();
            (self.written, self.lost_before) = (0, LOST.load(Relaxed));
        }
        let mut next = Some(first);
        let mut is_last = false;
        for _ in 0..MOST_RECORDS {
            let Some(record) = next else { break };
            is_last = matches!(record, Record::Finish);
            self.take(record);
            let is_enough = is_last || self.batch.bytes() >= self.file.batch_size();
            next = if is_enough { None } else { self.queue.records().try_recv().ok() };
        }
        // One more may have been taken out of the queue.
        if let Some(record) = next {
            is_last = matches!(record, Record::Finish);
            self.take(record);
        }
        let is_small = self.batch.bytes() < SMALL_BATCH;
        self.write();
        for session in self.queue.forgotten() {
            self.streams.remove(&session);
        }
        if is_small && !is_last {
            thread::sleep(REST);
        }
        is_last
    }

    /// Makes packets of a record.
    fn take(&mut self, record: Record) {
        let Writer { file, queue, origin, streams, others, batch, headers, .. } = self;
        let file = file.number();
        let mut at = |at: u64| {
            self.at = *origin + at;
            self.at
        };
        match record {
            Record::Open(opening) => {
                let mut stream = begin(&opening, others);
                stream.open(&mut Place { at: at(opening.at), file, batch, headers });
                streams.insert(opening.session, stream);
                queue.taken(&Record::Open(opening));
            }
            Record::Moved(moved) => {
                let length = moved.bytes.len();
                let Some(stream) = streams.get_mut(&moved.session) else {
                    LOST.fetch_add(1, Relaxed);
                    return queue.released(moved.bytes);
                };
                let block = batch.add_block(moved.bytes);
                let place = &mut Place { at: at(moved.at), file, batch, headers };
                if moved.is_datagram {
                    stream.datagram(place, moved.direction, block, length, moved.lost);
                } else {
                    stream.bytes(place, moved.direction, block, length, moved.lost);
                }
            }
            Record::End { session, at: time, direction, lost } => {
                queue.taken(&record);
                if let Some(stream) = streams.get_mut(&session) {
                    stream.end(&mut Place { at: at(time), file, batch, headers }, direction, lost);
                }
            }
            Record::Close { session, at: time, is_whole, by } => {
                queue.taken(&record);
                if let Some(mut stream) = streams.remove(&session) {
                    stream.close(&mut Place { at: at(time), file, batch, headers }, is_whole, by);
                }
            }
            Record::Begin { rotation } => {
                queue.taken(&record);
                self.file.set_rotation(rotation);
            }
            Record::Finish => queue.taken(&record),
        }
    }

    /// Writes the batch, or counts what is in it as lost.
    fn write(&mut self) {
        match self.file.write(&self.batch) {
            Ok(()) => self.written += self.batch.packets(),
            Err(error) => {
                LOST.fetch_add(self.batch.packets(), Relaxed);
                self.warn(&error);
            }
        }
        for block in self.batch.clear() {
            self.queue.released(block);
        }
    }

    /// Tells the file and the log what was lost, if more was than they know.
    fn tell_lost(&mut self) {
        let lost = LOST.load(Relaxed);
        if lost == self.lost_told {
            return;
        }
        self.tell();
        if self.may_warn() {
            let path = self.file.path().display();
            warn!(
                "capture {path}: {lost} reads or datagrams are lost so far, as they came faster than they could be written"
            );
            flush();
        }
    }

    /// Writes what was counted into the file, if it was begun.
    fn tell(&mut self) {
        if !self.file.is_begun() {
            return;
        }
        let lost = LOST.load(Relaxed);
        let statistics = Statistics { written: self.written, lost: lost - self.lost_before };
        self.batch.statistics(self.at, statistics);
        self.lost_told = lost;
        self.write();
    }

    fn warn(&mut self, error: &io::Error) {
        if self.may_warn() {
            let path = self.file.path().display();
            warn!("capture {path}: {}; what is captured is lost until it can be written", error_text(error));
            flush();
        }
    }

    /// Whether the log has heard nothing of this for a while.
    fn may_warn(&mut self) -> bool {
        let may = self.warned.is_none_or(|warned| warned.elapsed() >= WARNED_EACH);
        if may {
            self.warned = Some(Instant::now());
        }
        may
    }
}

/// A session's packets, from its beginning.
fn begin(opening: &Opening, others: &mut u64) -> Stream {
    let names = &opening.names;
    let of = if opening.service.is_empty() { String::new() } else { format!("service {}: ", opening.service) };
    let description = format!(
        "cproxy: {of}session {}, client {} to {}, from {} to remote {}",
        opening.session, names.client, names.listener, names.own, names.remote
    );
    Stream::new(opening.session, ends(names, others), opening.has_datagrams, description, opening.most)
}
