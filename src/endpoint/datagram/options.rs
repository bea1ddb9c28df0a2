//! Options of datagram sockets.

use socket2::{Domain, Socket};
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::AsRawFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
use super::MOST_DATAGRAMS;

/// Has the kernel hand over trains whole. Returns whether it knows trains.
pub(super) fn enable_trains(socket: &Socket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if MOST_DATAGRAMS > 1 && set_option(socket, libc::SOL_UDP, libc::UDP_GRO).is_ok() {
        return true;
    }
    let _ = socket;
    false
}

/// Has the kernel say of each datagram when it came, which it cannot say of an end of stream: both have 0 bytes.
pub(super) fn mark_datagrams(socket: &Socket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMP);
    let _ = socket;
}

/// Has a wildcard socket say to which address a datagram was sent.
pub fn report_local_address(socket: &Socket, domain: Domain) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if domain == Domain::IPV6 {
        // Of IPv4 clients, too: what they sent to is a mapped address there. It may be a broadcast, so the address of
        // ours that belongs to it is asked for as well; a socket for IPv6 alone has no use for that.
        let _ = set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO);
        return set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO);
    } else if domain == Domain::IPV4 {
        return set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO);
    }
    let _ = (socket, domain);
    Ok(())
}

/// Switches a socket option on.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_option(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is a live int, as all options set here take, and its length is given.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
