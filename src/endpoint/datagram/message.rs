//! The system calls for several messages at once, and what does their work where there are none.

use std::io;
use std::os::fd::RawFd;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::ptr;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use libc::mmsghdr as Message;

/// As Linux has it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) struct Message {
    pub msg_hdr: libc::msghdr,
    pub msg_len: libc::c_uint,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn receive_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    // SAFETY: the headers point to live, writable memory of the lengths they say (or name none).
    let result =
        unsafe { libc::recvmmsg(socket, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn send_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the headers point to live memory of the lengths they say, which the kernel only reads.
    let result = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), count, flags as _) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn receive_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    for (index, message) in messages.iter_mut().enumerate() {
        // SAFETY: the header points to live, writable memory of the lengths it says (or names none).
        let result = unsafe { libc::recvmsg(socket, &mut message.msg_hdr, libc::MSG_DONTWAIT) };
        match usize::try_from(result) {
            Ok(length) => message.msg_len = length as libc::c_uint,
            Err(_) if index > 0 => return Ok(index),
            Err(_) => return Err(io::Error::last_os_error()),
        }
    }
    Ok(messages.len())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn send_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    for (index, message) in messages.iter_mut().enumerate() {
        // SAFETY: the header points to live memory of the lengths it says, which the kernel only reads.
        let result = unsafe { libc::sendmsg(socket, &message.msg_hdr, libc::MSG_DONTWAIT) };
        if result < 0 {
            return if index > 0 { Ok(index) } else { Err(io::Error::last_os_error()) };
        }
    }
    Ok(messages.len())
}
