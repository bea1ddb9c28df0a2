//! Datagram sockets of any kind, several datagrams a system call.
//!
//! recvmmsg(2) and sendmmsg(2) where there are such (`message`), and on Linux UDP's segmentation offloads: a train of
//! datagrams of one size enters and leaves the kernel as one (udp(7), `UDP_SEGMENT` and `UDP_GRO`).

mod control;
mod header;
mod message;
mod options;
mod receive;
mod send;
mod train;

use mio::event;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::Received;
use crate::buffers::batch::{Batch, MOST_DATAGRAMS, Undelivered};
use crate::service::access::ClientAddress;
use options::{enable_trains, mark_datagrams};
use receive::receive;
use send::send;
use train::may_be_the_trains;

pub use header::HeaderBefore;
pub use options::report_local_address;
pub use train::TrainLimit;

/// Bytes of a stream that fill a UDP datagram which crosses an Ethernet unfragmented.
pub const UDP_CHUNK: usize = 1472;

/// The receive and send buffers asked for, in bytes; the system lowers this to its own maximum.
const SOCKET_BUFFER: usize = 4 << 20;

/// Datagrams asked for after a call that brought few, and at first.
const LEAST_ASKED: usize = if MOST_DATAGRAMS < 4 { MOST_DATAGRAMS } else { 4 };

/// Errors of earlier datagrams told one after the other, before there is something to read.
const MOST_ERRORS: usize = 64;

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

/// A non-blocking socket that carries datagrams.
#[derive(Debug)]
pub struct DatagramSocket {
    /// Any descriptor will do for its registration with a poll, so the type is not what it says.
    io: mio::net::UnixDatagram,
    family: Family,
    /// The system knows trains.
    trains: bool,
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

impl Origin {
    /// What rules know of the sender.
    pub fn client_address(&self) -> ClientAddress {
        self.peer.as_socket().map_or(ClientAddress::Unix, |peer| ClientAddress::Ip(peer.ip()))
    }
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
        let trains = family == Family::Udp && enable_trains(&socket);
        if family == Family::UnixPacket {
            mark_datagrams(&socket);
        }
        let descriptor: OwnedFd = socket.into();
        let io = mio::net::UnixDatagram::from_std(descriptor.into());
        DatagramSocket { io, family, trains, asked: LEAST_ASKED.into(), reset: false.into() }
    }

    /// What it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// What registers it.
    pub fn source(&mut self) -> &mut dyn event::Source {
        &mut self.io
    }

    /// The socket, to ask the system about.
    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.io)
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

    /// Sends datagrams, to `to` or to the peer that it is connected to; `limit` is that peer's.
    pub fn send(&self, batch: &mut Batch, to: Option<&Origin>, limit: &mut TrainLimit) -> io::Result<()> {
        let longest_in_train = if self.trains { limit.longest() } else { 0 };
        let first = batch.datagrams().next().map_or(0, <[u8]>::len);
        let mut first_train = 1;
        let mut result = self.io.try_io(|| send(&self.io, longest_in_train, batch, to, &mut first_train));
        match &result {
            Err(refusal) if first_train > 1 && may_be_the_trains(refusal) => {
                let one_by_one = self.io.try_io(|| send(&self.io, 0, batch, to, &mut first_train));
                if one_by_one.is_ok() {
                    limit.note_refused(first, refusal);
                }
                result = one_by_one;
            }
            _ => {}
        }
        match result {
            Ok(count) => {
                limit.note_sent(count, (first_train > 1).then_some(first));
                batch.take(count);
            }
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

#[cfg(all(test, any(target_os = "linux", target_os = "android"), not(cproxy_single_datagrams)))]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// The limit that the kernel puts on a socket's packets in place of the path's (ipv6(7), `IPV6_MTU`); 0: none.
    fn limit_packets(socket: &DatagramSocket, bytes: libc::c_int) {
        let length = size_of_val(&bytes) as libc::socklen_t;
        let value = (&raw const bytes).cast();
        // SAFETY: the value is a live int, and its length is given.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU, value, length) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// A receiver of trains, and how to send to it.
    fn receiver() -> (DatagramSocket, Origin) {
        let socket = UdpSocket::bind("[::1]:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let origin = Origin { peer: socket.local_addr().unwrap().into(), local: None };
        (DatagramSocket::from_socket(OwnedFd::from(socket).into(), Family::Udp), origin)
    }

    /// Sends so many datagrams to a receiver, and says how many trains and lone datagrams it got.
    fn send_and_count(
        from: &DatagramSocket,
        to: &(DatagramSocket, Origin),
        limit: &mut TrainLimit,
        count: usize,
    ) -> usize {
        let mut batch = Batch::default();
        batch.space(1300 * count).fill(7);
        batch.add_chunks(0, 1300 * count, 1300);
        while !batch.is_empty() {
            from.send(&mut batch, Some(&to.1), limit).unwrap();
        }
        assert_eq!(batch.take_counts().dropped, 0);
        let (mut messages, mut datagrams) = (0, 0);
        while datagrams < count {
            let mut batch = Batch::default();
            messages += receive(&to.0.io, MOST_DATAGRAMS, Family::Udp, &mut batch, None).unwrap().unwrap();
            datagrams += batch.count();
        }
        messages
    }

    #[test]
    fn a_path_of_small_packets_ends_trains_for_its_peer_only_and_not_for_ever() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else { return eprintln!("SKIPPED: no IPv6 here") };
        socket.set_nonblocking(true).unwrap();
        let socket = DatagramSocket::from_socket(OwnedFd::from(socket).into(), Family::Udp);
        let (near, far) = (receiver(), receiver());
        let (mut near_limit, mut far_limit) = (TrainLimit::default(), TrainLimit::default());
        assert_eq!(send_and_count(&socket, &far, &mut far_limit, 20), 1, "trains are to be had");
        limit_packets(&socket, 1280);
        assert_eq!(send_and_count(&socket, &far, &mut far_limit, 20), 20);
        limit_packets(&socket, 0);
        assert_eq!(send_and_count(&socket, &near, &mut near_limit, 20), 1);
        assert_eq!(send_and_count(&socket, &far, &mut far_limit, 20), 20, "the limit is that of this peer");
        for _ in 0..30 {
            send_and_count(&socket, &far, &mut far_limit, 20);
        }
        assert_eq!(send_and_count(&socket, &far, &mut far_limit, 20), 1, "it is tried again");
    }
}
