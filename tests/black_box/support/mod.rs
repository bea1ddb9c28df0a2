//! What the tests are made of: the proxy as a process, its log, and sockets at both of its ends.

mod address;
mod datagram;
mod log;
mod proxy;
mod random;
mod relay;
mod stream;
#[cfg(target_os = "linux")]
pub mod system;

pub use address::{Address, Kind, TempDir};
pub use datagram::{Peer, frame};
pub use log::{Ended, Line, Log, ended};
pub use proxy::{Output, Proxy, Setup, run};
pub use random::{Digest, Random};
pub use relay::{New, Relay, drink, pour};
pub use stream::{End, Remote, Stream, is_silent};

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take. Only a broken program fails it.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Panics if less than this has passed since `start`, but for the millisecond that the proxy's clock does not show.
pub fn not_before(start: Instant, timeout: Duration) {
    let elapsed = start.elapsed();
    assert!(elapsed + Duration::from_millis(1) >= timeout, "too early: after {elapsed:?}, not {timeout:?}");
}

/// Asks again and again until there is an answer, for what nothing can be waited on.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Does the same with each of these, with all at once, so that their waits overlap.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, act: impl Fn(T) + Sync) {
    let act = &act;
    std::thread::scope(|scope| cases.into_iter().for_each(|case| drop(scope.spawn(move || act(case)))));
}

/// Sets a flag when it is dropped, however that comes about.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says why a test, or a part of it, cannot run here.
pub fn skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Raises this process's own limit on descriptors and says how many there are.
pub fn descriptors() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a live rlimit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(1 << 20);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0, "{}", io::Error::last_os_error());
    }
    limit.rlim_cur
}
