//! What a child inherits. In a program of its own: a fork duplicates the descriptors of all tests that run beside it.

use cproxy::control::signals::Signals;
use std::mem::MaybeUninit;
use std::ptr;

/// Whether SIGHUP is blocked in the calling thread.
fn hangup_is_blocked() -> bool {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: with a null new set the call only fills the one it is given.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), set.as_mut_ptr());
        libc::sigismember(set.as_ptr(), libc::SIGHUP) == 1
    }
}

#[test]
fn a_child_does_not_inherit_what_is_blocked() {
    let _signals = Signals::block(true).unwrap();
    assert!(hangup_is_blocked());
    // SAFETY: the child makes system calls only, and exits without running anything of the parent's.
    let child = unsafe {
        match libc::fork() {
            0 => libc::_exit(i32::from(hangup_is_blocked())),
            child => child,
        }
    };
    let mut status = -1;
    // SAFETY: the pointer is to a live number.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}
