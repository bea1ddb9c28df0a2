//! SIGTERM, SIGINT, SIGHUP and SIGUSR1, waited for by a thread of their own instead of being handled.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Has a write beyond the limit on the size of files (`ulimit -f`) fail, as one to a full disk does, rather than kill the
/// process: standard output may be a file.
pub fn survive_large_files() {
    // SAFETY: no handler is involved.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// The signals that tell the proxy something, blocked in the calling thread and in all it starts later.
pub struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks those that stop the proxy, the one that has it open its access logs again (SIGUSR1), and, if it has anything
    /// to do at SIGHUP, that; to be called before the first thread is started. One that stops the proxy and is ignored, as
    /// nohup(1) and shells do for background jobs, stays ignored. Nobody sends the others by accident.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn block(hears_hangup: bool) -> io::Result<Signals> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set it is given; the other calls then work on an initialised set.
        let result = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT] {
                if !is_ignored(signal) {
                    libc::sigaddset(set.as_mut_ptr(), signal);
                }
            }
            libc::sigaddset(set.as_mut_ptr(), libc::SIGUSR1);
            if hears_hangup {
                libc::sigaddset(set.as_mut_ptr(), libc::SIGHUP);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut())
        };
        // SAFETY: the function may be called in a child between fork(2) and exec(2).
        unsafe { libc::pthread_atfork(None, None, Some(unblock_in_child)) };
        match result {
            // SAFETY: initialised above.
            0 => Ok(Signals(unsafe { set.assume_init() })),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// Waits for the next of them and returns its number.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn wait(&self) -> io::Result<i32> {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right types.
        match unsafe { libc::sigwait(&self.0, &mut signal) } {
            0 => Ok(signal),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// What a process executes does not wait for these signals, so that it must not inherit that they are blocked.
extern "C" fn unblock_in_child() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; the calls are async-signal-safe (signal-safety(7)).
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null new action the call only fills the one it is given, which is valid when all zero.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}
