//! Turns hosts and ports into addresses: numbers at once, names by the system's resolver, each once.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;

use crate::base::error::error_text;

/// What a name is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// For TCP.
    Tcp,
    /// For UDP.
    Udp,
}

/// Why there is no address; each is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is none for this name now.
    Name(String),
    /// There will never be one for these arguments.
    Argument(String),
}

/// A host, and its service where that is a name.
type Name = (String, Option<String>, Transport);

/// What names were looked up and what came of it: within one of these, no name is looked up twice.
#[derive(Debug, Default)]
pub struct Lookups {
    done: HashMap<Name, Result<Vec<SocketAddr>, Failure>>,
}

impl Lookups {
    /// The addresses of a host and a service, or port, which have no NUL in them. A numeric address takes no call of the
    /// resolver, which would open and read files for each.
    ///
    /// # Errors
    ///
    /// Why there are none.
    pub fn resolve(&mut self, host: &str, service: &str, transport: Transport) -> Result<Vec<SocketAddr>, Failure> {
        let port = service.bytes().all(|b| b.is_ascii_digit()).then(|| service.parse::<u16>().ok()).flatten();
        if let (Ok(host), Some(port)) = (host.parse::<IpAddr>(), port) {
            return Ok(vec![SocketAddr::new(host, port)]);
        }
        // The addresses of a host are the same for every port.
        let name = (host.to_string(), port.is_none().then(|| service.to_string()), transport);
        let found = self.done.entry(name).or_insert_with(|| {
            let (Ok(host), Ok(service)) = (CString::new(host), CString::new(service)) else {
                return Err(Failure::Argument("a name with a NUL character".to_string()));
            };
            resolve(&host, &service, transport)
        });
        let mut addresses = found.clone()?;
        if let Some(port) = port {
            addresses.iter_mut().for_each(|address| address.set_port(port));
        }
        Ok(addresses)
    }
}

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

/// Asks the system's resolver for the addresses of a host and a service, in its order.
///
/// It is asked directly because std takes neither service names nor `AI_ADDRCONFIG`, and words its errors otherwise.
fn resolve(host: &CStr, service: &CStr, transport: Transport) -> Result<Vec<SocketAddr>, Failure> {
    let (socket_type, protocol) = match transport {
        Transport::Tcp => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
        Transport::Udp => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
    };
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
        let reason = resolver_error(code, &errno);
        return Err(if code == libc::EAI_SERVICE { Failure::Argument(reason) } else { Failure::Name(reason) });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_not_looked_up_and_names_once() {
        let mut lookups = Lookups::default();
        for (host, port) in [("127.0.0.1", "80"), ("::1", "0"), ("0.0.0.0", "0080"), ("::ffff:10.0.0.1", "65535")] {
            let address = SocketAddr::new(host.parse().unwrap(), port.parse().unwrap());
            assert_eq!(lookups.resolve(host, port, Transport::Tcp), Ok(vec![address]));
        }
        assert!(lookups.done.is_empty());
        let first = lookups.resolve("localhost", "5000", Transport::Tcp).unwrap();
        let second = lookups.resolve("localhost", "5001", Transport::Tcp).unwrap();
        assert_eq!(lookups.done.len(), 1);
        assert!(first.iter().all(|address| address.port() == 5000), "{first:?}");
        assert!(second.iter().all(|address| address.port() == 5001), "{second:?}");
        assert_eq!(
            first.iter().map(SocketAddr::ip).collect::<Vec<_>>(),
            second.iter().map(SocketAddr::ip).collect::<Vec<_>>()
        );
        // What was found is what is used again, and a failure is not tried again either.
        let known = ("known.invalid".to_string(), None, Transport::Udp);
        lookups.done.insert(known, Ok(vec![SocketAddr::from(([192, 0, 2, 1], 1))]));
        let expected = Ok(vec![SocketAddr::from(([192, 0, 2, 1], 53))]);
        assert_eq!(lookups.resolve("known.invalid", "53", Transport::Udp), expected);
        let failed = ("localhost".to_string(), Some("no-such-service".to_string()), Transport::Tcp);
        let error = Err(Failure::Name("as before".to_string()));
        lookups.done.insert(failed, error.clone());
        assert_eq!(lookups.resolve("localhost", "no-such-service", Transport::Tcp), error);
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn errors_are_the_systems() {
        let no_error = io::Error::from_raw_os_error(0);
        assert_eq!(resolver_error(libc::EAI_NONAME, &no_error), "Name or service not known");
        let refused = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(resolver_error(libc::EAI_SYSTEM, &refused), "No such file or directory");
        assert_eq!(resolver_error(12345, &no_error), "Unknown error");
    }
}
