//! Asks the system's resolver.

use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use crate::base::error::error_text;

/// The list that getaddrinfo(3) allocated, freed when this is dropped.
struct AddressList(*mut libc::addrinfo);

impl Drop for AddressList {
    fn drop(&mut self) {
        // POSIX does not say that a null list may be freed.
        if !self.0.is_null() {
            // SAFETY: the pointer came from a successful getaddrinfo, and nothing else frees it.
            unsafe { libc::freeaddrinfo(self.0) }
        }
    }
}

/// Asks the system's resolver for the addresses of a host and a service, for a socket type and protocol, in its order;
/// an error is one line.
///
/// It is asked directly because std takes neither service names nor `AI_ADDRCONFIG`, and words its errors otherwise.
pub(super) fn resolve(
    host: &CStr,
    service: &CStr,
    (socket_type, protocol): (i32, i32),
) -> Result<Vec<SocketAddr>, String> {
    // SAFETY: an addrinfo is plain old data, for which all zeros is a valid value.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_family = libc::AF_UNSPEC;
    hints.ai_socktype = socket_type;
    hints.ai_protocol = protocol;
    hints.ai_flags = libc::AI_ADDRCONFIG;
    let mut list = AddressList(ptr::null_mut());

    // SAFETY: both strings end in NUL and outlive the call, the hints are initialised, and the list is written to a
    // pointer that is ours; on failure it stays null.
    let code = unsafe { libc::getaddrinfo(host.as_ptr(), service.as_ptr(), &hints, &mut list.0) };
    if code != 0 {
        // What an error leaves in the pointer is unspecified: there is no list to free.
        let errno = io::Error::last_os_error();
        list.0 = ptr::null_mut();
        return Err(resolver_error(code, &errno));
    }

    let mut addresses = Vec::new();
    let mut next = list.0;
    while !next.is_null() {
        // SAFETY: a non-null element of the list, which is alive until `list` is dropped and which nobody changes.
        let entry = unsafe { &*next };
        let length = entry.ai_addrlen as usize;
        let family = if entry.ai_addr.is_null() { libc::AF_UNSPEC } else { entry.ai_family };
        if family == libc::AF_INET && length >= size_of::<libc::sockaddr_in>() {
            // SAFETY: family and length say that a sockaddr_in is there; unaligned, as nothing is said about alignment.
            let v4 = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in>()) };
            let ip = Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr));
            addresses.push(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into());
        } else if family == libc::AF_INET6 && length >= size_of::<libc::sockaddr_in6>() {
            // SAFETY: as above, for a sockaddr_in6.
            let v6 = unsafe { ptr::read_unaligned(entry.ai_addr.cast::<libc::sockaddr_in6>()) };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            addresses.push(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into());
        }
        next = entry.ai_next;
    }
    Ok(addresses)
}

/// The text of a getaddrinfo(3) error; the one that only points at errno is replaced by errno's.
fn resolver_error(code: libc::c_int, errno: &io::Error) -> String {
    if code == libc::EAI_SYSTEM {
        return error_text(errno);
    }
    // SAFETY: gai_strerror takes any code.
    let text = unsafe { libc::gai_strerror(code) };
    if text.is_null() {
        return format!("resolver error {code}");
    }
    // SAFETY: not null, so a string that ends in NUL; on every system it is static or this thread's until the next
    // call, and it is copied before that.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn errors_are_the_systems() {
        let no_error = io::Error::from_raw_os_error(0);
        assert_eq!(resolver_error(libc::EAI_NONAME, &no_error), "Name or service not known");
        let refused = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(resolver_error(libc::EAI_SYSTEM, &refused), "No such file or directory");
        assert_eq!(resolver_error(12345, &no_error), "Unknown error");
    }
}
