//! The process's limit on open descriptors, and how many sessions fit into it.

use std::io;

/// Raises the soft limit on descriptors to the hard one and returns what it is then.
///
/// # Errors
///
/// The system's, from getrlimit(2). A limit that cannot be raised stays as it is.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = get()?;
    let before = limit.rlim_cur;
    // Some systems refuse more than a constant of their own although the hard limit is infinite.
    for wanted in [limit.rlim_max, (1 << 20).min(limit.rlim_max), 10240.min(limit.rlim_max)] {
        limit.rlim_cur = wanted;
        if wanted <= before || set(&limit) {
            break;
        }
    }
    #[allow(clippy::unnecessary_cast)] // rlim_t is signed on FreeBSD
    let raised = get()?.rlim_cur as u64;
    Ok(raised)
}

/// How many descriptors are open, inherited ones included.
pub fn open_descriptors() -> u64 {
    // The one that reads the directory is in it, too; where there is no such directory, the standard streams are open.
    std::fs::read_dir("/dev/fd").map_or(3, |entries| (entries.count() as u64).saturating_sub(1)).max(3)
}

/// How many sessions, of `per_session` descriptors each, fit into `descriptors` beside the `open` ones and what else the
/// proxy itself needs.
pub fn sessions_allowed(
    descriptors: u64,
    open: u64,
    listeners: usize,
    io_threads: usize,
    pipes: usize,
    per_session: usize,
) -> usize {
    let (listeners, io_threads, pipes) = (listeners as u64, io_threads as u64, pipes as u64);
    // The log's copy of standard output; a poll and its waker for each thread; one session too many for each thread
    // that admits clients, and some to spare for libraries.
    let own = 1 + listeners + 3 * (io_threads + 1) + 2 * pipes + 2 * io_threads + 6;
    usize::try_from(descriptors.saturating_sub(open + own) / per_session as u64).unwrap_or(usize::MAX).max(1)
}

/// How many pipes, of two descriptors each, may be taken from `descriptors`, of `allowed` by the system's other limits.
pub fn pipes_affordable(descriptors: u64, allowed: usize) -> usize {
    usize::try_from(descriptors / 64).unwrap_or(usize::MAX).min(allowed)
}

fn get() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(limit: &libc::rlimit) -> bool {
    // SAFETY: the pointer is to a live rlimit, which the call only reads.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_or_as_near_as_the_system_lets_it() {
        let raised = raise_descriptor_limit().unwrap();
        let limit = get().unwrap();
        assert_eq!(i128::from(raised), i128::from(limit.rlim_cur));
        assert!(limit.rlim_cur <= limit.rlim_max && limit.rlim_cur >= 10240.min(limit.rlim_max));
    }

    #[test]
    fn a_session_takes_two_descriptors() {
        assert_eq!(sessions_allowed(20_000, 4, 1, 1, 0, 2), 9_990);
        assert_eq!(sessions_allowed(20_000, 4, 1, 1, 100, 2), 9_890);
        assert_eq!(sessions_allowed(3, 3, 1, 1, 0, 2), 1);
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = open_descriptors();
        let _files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some, too.
        assert!(open_descriptors() > before.min(40), "{before}");
    }
}
