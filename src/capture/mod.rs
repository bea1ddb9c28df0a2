//! Captures: the bytes of sessions in a file that Wireshark reads.
//!
//! What moves bytes only copies them into a queue, which is bounded; a thread of its own makes packets of them and writes the
//! file. What finds no room in the queue is lost to the capture, counted, and said in the file. Sessions never wait for it.

mod addresses;
mod dump;
mod file;
mod packets;
mod pcapng;
mod queue;
mod recorder;
mod stream;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::base::clock::Clock;
use crate::config::capture::Rotation;
use queue::{Queue, Record};
use writer::Writer;

pub use dump::Dump;
pub use recorder::Recorder;

/// How long the end of the program, or a file that is opened again, waits for what is still to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// What was lost in all captures of this process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The files that are written.
static OPEN: Mutex<Vec<OpenFile>> = Mutex::new(Vec::new());

/// A file that is written, or was not long ago.
#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    capture: Weak<Capture>,
    /// Disconnected when its thread has ended.
    ended: Receiver<()>,
}

/// A capture file. It is written until nobody holds this any more.
#[derive(Debug)]
pub struct Capture {
    queue: Queue,
    /// What becomes of the file from when it is begun.
    rotation: Mutex<Option<Rotation>>,
}

impl Capture {
    /// Opens a file, which [`begin`] begins, or shares it with those who have it open already, from then on with this rotation.
    ///
    /// # Errors
    ///
    /// The system's, or that there is something else than a capture.
    pub fn open(path: &Path, rotation: Option<Rotation>, clock: Clock) -> io::Result<Arc<Capture>> {
        let mut open = open_files();
        open.retain(|file| file.path == path || file.ended.try_recv() != Err(TryRecvError::Disconnected));
        if let Some(at) = open.iter().position(|file| file.path == path) {
            if let Some(capture) = open[at].capture.upgrade() {
                *lock(&capture.rotation) = rotation;
                return Ok(capture);
            }
            // What it has still to write would come behind what is written next.
            let _ = open.swap_remove(at).ended.recv_timeout(FINISH_TIMEOUT);
        }
        let (queue, ends) = queue::queue();
        let (ending, ended) = bounded(0);
        let writer = Writer::new(path, clock, ends)?;
        let body = move || {
            writer.run();
            drop(ending);
        };
        thread::Builder::new().name("capture".into()).spawn(body)?;
        let capture = Arc::new(Capture { queue, rotation: Mutex::new(rotation) });
        open.push(OpenFile { path: path.to_path_buf(), capture: Arc::downgrade(&capture), ended });
        Ok(capture)
    }
}

/// How much was lost in all captures, each of which is a read or a datagram.
pub fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// Begins the files that are open and have not been begun: what was there before is replaced only now, as nothing can fail any
/// more.
pub fn begin() {
    for capture in open_files().iter().filter_map(|file| file.capture.upgrade()) {
        let rotation = *lock(&capture.rotation);
        capture.queue.send_always(Record::Begin { rotation });
    }
}

/// Has everything written that was captured, for at most a second. To be called when no session is left.
pub fn finish() {
    let deadline = Instant::now() + FINISH_TIMEOUT;
    for file in open_files().drain(..) {
        if let Some(capture) = file.capture.upgrade() {
            capture.queue.send_always(Record::Finish);
        }
        let _ = file.ended.recv_deadline(deadline);
    }
}

fn open_files() -> MutexGuard<'static, Vec<OpenFile>> {
    lock(&OPEN)
}

/// What is locked here is whole at every point.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
