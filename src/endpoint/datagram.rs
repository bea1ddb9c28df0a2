//! Datagram sockets of any kind, several datagrams a system call.
//!
//! recvmmsg(2) and sendmmsg(2) where there are such, and on Linux UDP's segmentation offloads: a train of datagrams of
//! one size enters and leaves the kernel as one (udp(7), `UDP_SEGMENT` and `UDP_GRO`).

use mio::event;
use socket2::{Domain, SockAddr, SockAddrStorage, SockRef, Socket, Type};
use std::io;
use std::mem;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::Received;
use crate::buffers::batch::{Batch, MOST_DATAGRAMS, Undelivered};

/// Bytes of a stream that fill a UDP datagram which crosses an Ethernet unfragmented.
pub const UDP_CHUNK: usize = 1472;

/// The receive and send buffers asked for, in bytes; the system lowers this to its own maximum.
const SOCKET_BUFFER: usize = 4 << 20;

/// Datagrams of one train (`UDP_MAX_SEGMENTS`) and their bytes together, at most.
const MOST_IN_TRAIN: (usize, usize) = (64, 65_000);

/// Datagrams asked for after a call that brought few, and at first.
const LEAST_ASKED: usize = if MOST_DATAGRAMS < 4 { MOST_DATAGRAMS } else { 4 };

/// Errors of earlier datagrams told one after the other, before there is something to read.
const MOST_ERRORS: usize = 64;

/// Pieces of memory named in one system call.
const MOST_PIECES: usize = 128;

/// What a datagram socket is, as far as its errors and its end go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// UDP: errors that ICMP reported concern single datagrams.
    Udp,
    /// Unix datagrams.
    Unix,
    /// Unix packets over a connection, which ends.
    UnixPacket,
}

impl Family {
    /// Bytes of control data that are asked for. There must be no room for descriptors, which any sender to a Unix
    /// socket can pass (unix(7), `SCM_RIGHTS`), and which would stay open.
    fn control_room(self) -> usize {
        match self {
            Family::Udp => size_of::<Control>(),
            Family::Unix => 0,
            // SAFETY: it only computes.
            Family::UnixPacket => unsafe { libc::CMSG_SPACE(size_of::<libc::timeval>() as u32) as usize },
        }
    }
}

/// A non-blocking socket that carries datagrams.
#[derive(Debug)]
pub struct DatagramSocket {
    /// Any descriptor will do for its registration with a poll, so the type is not what it says.
    io: mio::net::UnixDatagram,
    family: Family,
    /// Datagrams of more bytes are not sent in trains: the network's packets are smaller, or it has no trains.
    longest_in_train: AtomicUsize,
    /// How many datagrams are asked for.
    asked: AtomicUsize,
    /// The peer of a connection has closed without reading everything, which is said before what it sent can be read.
    reset: AtomicBool,
}

/// Who sent a datagram, and to which of our addresses where that is not a matter of course.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The sender; a Unix socket may have no name.
    pub peer: SockAddr,
    /// Our address, at a wildcard socket.
    pub local: Option<IpAddr>,
}

impl DatagramSocket {
    /// A new socket, to be bound or connected.
    pub fn unbound(domain: Domain, family: Family) -> io::Result<Socket> {
        let socket = match family {
            Family::UnixPacket => Socket::new(domain, Type::SEQPACKET, None)?,
            Family::Udp | Family::Unix => Socket::new(domain, Type::DGRAM, None)?,
        };
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// A socket that is bound or connected.
    pub fn from_socket(socket: Socket, family: Family) -> DatagramSocket {
        // A burst must not be lost while the thread is at other work. The system may grant less.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        if family != Family::UnixPacket {
            let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        }
        let longest_in_train = if family == Family::Udp { enable_trains(&socket) } else { 0 };
        if family == Family::UnixPacket {
            mark_datagrams(&socket);
        }
        let descriptor: OwnedFd = socket.into();
        let io = mio::net::UnixDatagram::from_std(descriptor.into());
        DatagramSocket {
            io,
            family,
            longest_in_train: longest_in_train.into(),
            asked: LEAST_ASKED.into(),
            reset: false.into(),
        }
    }

    /// What it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What registers it.
    pub fn source(&mut self) -> &mut dyn event::Source {
        &mut self.io
    }

    /// The address that a UDP socket is bound to.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SockRef::from(&self.io).local_addr().ok()?.as_socket()
    }

    /// The error that is pending; asking clears it.
    pub fn take_error(&self) -> Option<io::Error> {
        match self.family {
            // The next call reports it: it concerns one datagram, or stands before what the peer had sent.
            Family::Udp | Family::UnixPacket => None,
            Family::Unix => self.io.take_error().unwrap_or_else(Some),
        }
    }

    /// Tells the peer of a connection that no more datagrams will come.
    pub fn finish(&self) -> io::Result<()> {
        match self.family {
            Family::UnixPacket => match self.io.shutdown(Shutdown::Write) {
                // A peer that has closed knows.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                result => result,
            },
            Family::Udp | Family::Unix => Ok(()),
        }
    }

    /// Reads datagrams, and says who sent them if `origins` is there.
    pub fn receive(&self, batch: &mut Batch, mut origins: Option<&mut Vec<Origin>>) -> io::Result<Received> {
        let asked = self.asked.load(Relaxed);
        let mut errors = 0;
        loop {
            let result = self.io.try_io(|| receive(&self.io, asked, self.family, batch, origins.as_deref_mut()));
            match result {
                Ok(Some(count)) if count < asked => {
                    self.asked.store((2 * count).clamp(LEAST_ASKED, MOST_DATAGRAMS), Relaxed);
                    return Ok(Received::Last);
                }
                Ok(Some(_)) => {
                    self.asked.store((2 * asked).min(MOST_DATAGRAMS), Relaxed);
                    return Ok(Received::More);
                }
                Ok(None) if self.reset.load(Relaxed) => return Err(io::ErrorKind::ConnectionReset.into()),
                Ok(None) => return Ok(Received::End),
                Err(error) if self.family == Family::UnixPacket && error.kind() == io::ErrorKind::ConnectionReset => {
                    self.reset.store(true, Relaxed);
                }
                Err(error) => match self.concerns_one(&error) {
                    // The system forgets an error when it has told it; this one it would not.
                    Some(why) if errors < MOST_ERRORS => batch.count_dropped(why),
                    _ => return Err(error),
                },
            }
            errors += 1;
        }
    }

    /// Sends datagrams, to `to` or to the peer that it is connected to.
    pub fn send(&self, batch: &mut Batch, to: Option<&Origin>) -> io::Result<()> {
        let longest_in_train = self.longest_in_train.load(Relaxed);
        let mut first_train = 1;
        let mut result = self.io.try_io(|| send(&self.io, longest_in_train, batch, to, &mut first_train));
        if first_train > 1 && matches!(&result, Err(error) if may_be_the_trains(error)) {
            result = self.io.try_io(|| send(&self.io, 0, batch, to, &mut first_train));
            let first = batch.datagrams().next().map_or(0, <[u8]>::len);
            if result.is_ok() && first > 0 {
                self.longest_in_train.fetch_min(first - 1, Relaxed);
            }
        }
        match result {
            Ok(count) => batch.take(count),
            Err(error) => match self.concerns_one(&error) {
                // An earlier datagram's; this one has not been sent.
                Some(why @ Undelivered::Error(libc::ECONNREFUSED)) => batch.count_dropped(why),
                Some(why) => batch.drop_first(why),
                None => return Err(error),
            },
        }
        Ok(())
    }

    /// Why a datagram was lost, if an error concerns one datagram and not the socket.
    fn concerns_one(&self, error: &io::Error) -> Option<Undelivered> {
        match error.raw_os_error()? {
            libc::EMSGSIZE => Some(Undelivered::TooLarge),
            number @ (libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EADDRNOTAVAIL
            | libc::EPERM
            | libc::EACCES
            | libc::EPROTO
            | libc::EINVAL
            | libc::EIO
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::ENOBUFS
            | libc::ENOMEM)
                if self.family == Family::Udp =>
            {
                Some(Undelivered::Error(number))
            }
            _ => None,
        }
    }
}

impl AsRawFd for DatagramSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

/// Whether sending may have failed because a train is longer than the network's packets, or trains are not to be had.
fn may_be_the_trains(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EMSGSIZE | libc::EIO))
}

/// Has the kernel hand over trains whole. Returns the longest datagram that can be sent in a train.
fn enable_trains(socket: &Socket) -> usize {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if MOST_DATAGRAMS > 1 && set_option(socket, libc::SOL_UDP, libc::UDP_GRO).is_ok() {
        return MOST_IN_TRAIN.1;
    }
    let _ = socket;
    0
}

/// Has the kernel say of each datagram when it came, which it cannot say of an end of stream: both have 0 bytes.
fn mark_datagrams(socket: &Socket) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMP);
    let _ = socket;
}

/// Has a wildcard socket say to which address a datagram was sent.
pub fn report_local_address(socket: &Socket, domain: Domain) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if domain == Domain::IPV6 {
        // Of IPv4 clients, too: their addresses are mapped ones.
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

#[cfg(any(target_os = "linux", target_os = "android"))]
use libc::mmsghdr as Message;

/// As Linux has it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
struct Message {
    msg_hdr: libc::msghdr,
    msg_len: libc::c_uint,
}

/// Room for what the kernel says beside a datagram, aligned for `cmsghdr`: addresses, a time, a length.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 96]);

/// Reads at most `asked` datagrams; `None` is the end of the stream.
fn receive(
    socket: &impl AsRawFd,
    asked: usize,
    family: Family,
    batch: &mut Batch,
    origins: Option<&mut Vec<Origin>>,
) -> io::Result<Option<usize>> {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MOST_DATAGRAMS];
    let mut starts = [0; MOST_DATAGRAMS];
    let mut names = origins.is_some().then(|| [(); MOST_DATAGRAMS].map(|()| SockAddrStorage::zeroed()));
    let mut controls = [const { mem::MaybeUninit::<Control>::uninit() }; MOST_DATAGRAMS];
    // SAFETY: a message header is plain old data, for which all zeros is a valid value.
    let mut messages: [Message; MOST_DATAGRAMS] = unsafe { mem::zeroed() };
    for (index, (start, room)) in batch.rooms().take(asked).enumerate() {
        starts[index] = start;
        pieces[index] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
        let header = &mut messages[index].msg_hdr;
        header.msg_iov = &raw mut pieces[index];
        header.msg_iovlen = 1;
        header.msg_control = controls[index].as_mut_ptr().cast();
        header.msg_controllen = family.control_room() as _;
        if let Some(names) = &mut names {
            header.msg_name = (&raw mut names[index]).cast();
            header.msg_namelen = names[index].size_of();
        }
    }
    let count = receive_messages(socket.as_raw_fd(), &mut messages[..asked])?;
    let mut origins = origins;
    for (index, message) in messages[..count].iter().enumerate() {
        let (length, header) = (message.msg_len as usize, &message.msg_hdr);
        let told = Told::new(header);
        if length == 0 && family == Family::UnixPacket && !told.is_datagram {
            // Nothing can be behind the end.
            return Ok(if index == 0 { None } else { Some(index) });
        }
        if header.msg_flags & libc::MSG_TRUNC != 0 {
            batch.count_dropped(Undelivered::TooLarge);
            continue;
        }
        let before = batch.count();
        match told.segment {
            Some(segment) => batch.add_chunks(starts[index], length, segment),
            None => batch.add(starts[index], length),
        }
        if let (Some(origins), Some(names)) = (&mut origins, &mut names) {
            let name = mem::replace(&mut names[index], SockAddrStorage::zeroed());
            // SAFETY: the kernel wrote the sender's name, of this length; it cannot be longer than what it was given.
            let peer = unsafe { SockAddr::new(name, header.msg_namelen) };
            let origin = Origin { peer, local: told.local };
            origins.extend(std::iter::repeat_n(origin, batch.count() - before));
        }
    }
    Ok(Some(count))
}

/// What the kernel said beside a datagram.
#[derive(Debug, Default)]
struct Told {
    /// It is several of this size, the last of which may be shorter.
    segment: Option<usize>,
    /// The address it was sent to.
    local: Option<IpAddr>,
    /// It is one, and not the end of the stream.
    is_datagram: bool,
}

impl Told {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn new(header: &libc::msghdr) -> Told {
        let mut told = Told::default();
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
                        told.local = Some(IpAddr::V4(u32::from_be(info.ipi_spec_dst.s_addr).into()));
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        told.local = Some(IpAddr::V6(info.ipi6_addr.s6_addr.into()));
                    }
                    (libc::SOL_SOCKET, libc::SCM_TIMESTAMP) => told.is_datagram = true,
                    _ => {}
                }
                next = libc::CMSG_NXTHDR(header, next);
            }
        }
        told
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn new(_header: &libc::msghdr) -> Told {
        Told::default()
    }
}

/// Sends the first datagrams left, as many as fit into one call. Returns how many went, and in `first_train` how many
/// were in the first train.
fn send(
    socket: &impl AsRawFd,
    longest_in_train: usize,
    batch: &Batch,
    to: Option<&Origin>,
    first_train: &mut usize,
) -> io::Result<usize> {
    let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; MOST_PIECES];
    let mut controls = [const { mem::MaybeUninit::<Control>::uninit() }; MOST_DATAGRAMS];
    // SAFETY: a message header is plain old data, for which all zeros is a valid value.
    let mut messages: [Message; MOST_DATAGRAMS] = unsafe { mem::zeroed() };
    let mut trains = [0; MOST_DATAGRAMS];
    let (mut count, mut used) = (0, 0);
    let mut datagrams = batch.datagrams().peekable();
    while count < MOST_DATAGRAMS && used < MOST_PIECES {
        let Some(first) = datagrams.next() else { break };
        let header = &mut messages[count].msg_hdr;
        pieces[used] = piece(first);
        let mut train = Train::new(first.len(), longest_in_train);
        while let Some(next) = datagrams.next_if(|next| used + train.length < MOST_PIECES && train.takes(next.len())) {
            pieces[used + train.length - 1] = piece(next);
        }
        header.msg_iovlen = train.length as _;
        if let Some(to) = to {
            header.msg_name = to.peer.as_ptr().cast_mut().cast();
            header.msg_namelen = to.peer.len();
        }
        let segment = if train.length > 1 { Some(first.len()) } else { None };
        tell(header, &mut controls[count], segment, to.and_then(|to| to.local));
        trains[count] = train.length;
        used += train.length;
        count += 1;
    }
    let mut next = pieces.as_mut_ptr();
    for (message, &length) in messages.iter_mut().zip(&trains[..count]) {
        message.msg_hdr.msg_iov = next;
        next = next.wrapping_add(length);
    }
    *first_train = trains[0];
    let sent = send_messages(socket.as_raw_fd(), &mut messages[..count])?;
    Ok(trains[..sent].iter().sum())
}

fn piece(datagram: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() }
}

/// Datagrams that go out as one: all of the same size but the last, which may be shorter.
struct Train {
    segment: usize,
    length: usize,
    bytes: usize,
    closed: bool,
}

impl Train {
    fn new(first: usize, longest_in_train: usize) -> Train {
        Train { segment: first, length: 1, bytes: first, closed: first == 0 || first > longest_in_train }
    }

    /// Whether the next datagram, of this length, goes with it; if so, it does.
    fn takes(&mut self, next: usize) -> bool {
        let (most, most_bytes) = MOST_IN_TRAIN;
        if self.closed || next == 0 || next > self.segment || self.length == most || self.bytes + next > most_bytes {
            return false;
        }
        self.closed = next < self.segment;
        self.length += 1;
        self.bytes += next;
        true
    }
}

/// Tells the kernel that a message is a train of datagrams of this size, and from which of our addresses it comes.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn tell(
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
fn tell(_: &mut libc::msghdr, _: &mut mem::MaybeUninit<Control>, _segment: Option<usize>, _local: Option<IpAddr>) {}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    // SAFETY: the headers point to live, writable memory of the lengths they say (or name none).
    let result =
        unsafe { libc::recvmmsg(socket, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn send_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    let count = messages.len() as libc::c_uint;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the headers point to live memory of the lengths they say, which the kernel only reads.
    let result = unsafe { libc::sendmmsg(socket, messages.as_mut_ptr(), count, flags as _) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
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
fn send_messages(socket: RawFd, messages: &mut [Message]) -> io::Result<usize> {
    for (index, message) in messages.iter_mut().enumerate() {
        // SAFETY: the header points to live memory of the lengths it says, which the kernel only reads.
        let result = unsafe { libc::sendmsg(socket, &message.msg_hdr, libc::MSG_DONTWAIT) };
        if result < 0 {
            return if index > 0 { Ok(index) } else { Err(io::Error::last_os_error()) };
        }
    }
    Ok(messages.len())
}
