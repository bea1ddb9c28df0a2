//! What the kernel is told and tells beside a datagram: control data (cmsg(3)).

use std::mem;
use std::net::IpAddr;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Family;

/// Room for what the kernel says beside a datagram, aligned for `cmsghdr`: a length, and an address of each family; or
/// a time.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; 96]);

impl Family {
    /// Bytes of control data that are asked for. There must be no room for descriptors, which any sender to a Unix
    /// socket can pass (unix(7), `SCM_RIGHTS`), and which would stay open.
    pub(super) fn control_room(self) -> usize {
        match self {
            Family::Udp => size_of::<Control>(),
            Family::Unix => 0,
            // SAFETY: it only computes.
            Family::UnixPacket => unsafe { libc::CMSG_SPACE(size_of::<libc::timeval>() as u32) as usize },
        }
    }
}

/// What the kernel said beside a datagram.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// It is several of this size, the last of which may be shorter.
    pub segment: Option<usize>,
    /// The address of ours it was sent to; none where it was sent to many, and any of ours will do for an answer.
    pub local: Option<IpAddr>,
    /// It is one, and not the end of the stream.
    pub is_datagram: bool,
}

impl Told {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn new(header: &libc::msghdr) -> Told {
        let mut told = Told::default();
        let (mut v4, mut v6) = (None, None);
        // SAFETY: the kernel filled the header's control buffer, and the macros stay within what it says of that.
        let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !next.is_null() {
            // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR gave a whole header; what follows it has the type that level and
            // type say (udp(7), ip(7), ipv6(7)), at any alignment.
            unsafe {
                let data = libc::CMSG_DATA(next);
                match ((*next).cmsg_level, (*next).cmsg_type) {
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        told.segment = usize::try_from(data.cast::<libc::c_int>().read_unaligned()).ok();
                    }
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        // Not the address in the packet, which may be a broadcast.
                        v4 = Some(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr)));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        v6 = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMP) => told.is_datagram = true,
                    _ => {}
                }
                next = libc::CMSG_NXTHDR(header, next);
            }
        }
        told.local = local_address(v4, v6);
        told
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub fn new(_header: &libc::msghdr) -> Told {
        Told::default()
    }
}

/// The address that an answer is to come from: `v4`, which the kernel says of IPv4 datagrams, is an address of the machine
/// where there is one; `v6`, which it says at IPv6 sockets, is what is in the packet, in which there is no telling
/// whether an IPv4 one is a broadcast.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn local_address(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Option<IpAddr> {
    match (v4, v6) {
        (Some(v4), _) if v4.is_unspecified() => None,
        (Some(v4), None) => Some(v4.into()),
        (Some(v4), Some(_)) => Some(v4.to_ipv6_mapped().into()),
        (None, Some(v6)) if v6.is_multicast() => None,
        (None, v6) => v6.map(IpAddr::V6),
    }
}

/// Tells the kernel that a message is a train of datagrams of this size, and from which of our addresses it comes.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn tell(
    header: &mut libc::msghdr,
    control: &mut mem::MaybeUninit<Control>,
    segment: Option<usize>,
    local: Option<IpAddr>,
) {
    if segment.is_none() && local.is_none() {
        return;
    }
    // The macros look at what is behind a header.
    let control = control.write(Control([0; 96]));
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: the header's control buffer is aligned and large enough for a length and an address, so the macros give
    // pointers into it; what is written there has the type that level and type ask for (udp(7), ip(7), ipv6(7)).
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        let mut length = 0;
        let mut put = |level, kind, bytes: usize| {
            (*next).cmsg_level = level;
            (*next).cmsg_type = kind;
            (*next).cmsg_len = libc::CMSG_LEN(bytes as u32) as _;
            length += libc::CMSG_SPACE(bytes as u32);
            let data = libc::CMSG_DATA(next);
            next = libc::CMSG_NXTHDR(header, next);
            data
        };
        if let Some(segment) = segment {
            put(libc::SOL_UDP, libc::UDP_SEGMENT, size_of::<u16>()).cast::<u16>().write_unaligned(segment as u16);
        }
        match local {
            Some(IpAddr::V4(local)) => {
                let mut info: libc::in_pktinfo = mem::zeroed();
                info.ipi_spec_dst.s_addr = u32::from(local).to_be();
                put(libc::IPPROTO_IP, libc::IP_PKTINFO, size_of_val(&info))
                    .cast::<libc::in_pktinfo>()
                    .write_unaligned(info);
            }
            Some(IpAddr::V6(local)) => {
                let mut info: libc::in6_pktinfo = mem::zeroed();
                info.ipi6_addr.s6_addr = local.octets();
                put(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of_val(&info))
                    .cast::<libc::in6_pktinfo>()
                    .write_unaligned(info);
            }
            None => {}
        }
        header.msg_controllen = length as _;
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn tell(
    _: &mut libc::msghdr,
    _: &mut mem::MaybeUninit<Control>,
    _segment: Option<usize>,
    _local: Option<IpAddr>,
) {
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_from_an_address_of_the_machine() {
        let local = |v4: Option<&str>, v6: Option<&str>| {
            let local = local_address(v4.map(|v4| v4.parse().unwrap()), v6.map(|v6| v6.parse().unwrap()));
            local.map(|local| local.to_string())
        };
        assert_eq!(local(Some("192.0.2.1"), None).as_deref(), Some("192.0.2.1"));
        assert_eq!(local(Some("192.0.2.1"), Some("::ffff:192.0.2.255")).as_deref(), Some("::ffff:192.0.2.1"));
        assert_eq!(local(None, Some("2001:db8::1")).as_deref(), Some("2001:db8::1"));
        assert_eq!(local(None, Some("ff02::1")), None);
        assert_eq!(local(Some("0.0.0.0"), Some("::ffff:224.0.0.1")), None);
        assert_eq!(local(None, None), None);
    }

    #[test]
    fn there_is_room_for_all_that_is_asked_for() {
        // SAFETY: it only computes.
        let room = |bytes: usize| unsafe { libc::CMSG_SPACE(bytes as u32) as usize };
        let of_udp = [size_of::<libc::c_int>(), size_of::<libc::in_pktinfo>(), size_of::<libc::in6_pktinfo>()];
        assert!(of_udp.map(room).iter().sum::<usize>() <= Family::Udp.control_room());
    }
}
