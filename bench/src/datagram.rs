//! The load generator's datagrams: what is in them, and how many of them go with one system call.
//!
//! Each is a packet of its own for the kernel: no segmentation or receive offload (UDP_SEGMENT, UDP_GRO) is asked for,
//! so that a proxy sees the traffic of ordinary applications.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// What the server does with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It sends it back.
    Echo,
    /// It counts it.
    Count,
    /// It tells the sender how far the counted ones have come, now and from here on (see [`crate::sink`]).
    Watch,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Echo => b'e',
            Self::Count => b'c',
            Self::Watch => b'w',
        }
    }
}

/// The shortest datagram: the kind in its first byte, and the number in its last eight.
pub const SHORTEST: usize = 16;
/// Where the number is.
const NUMBER: std::ops::Range<usize> = 8..16;
/// What fills the rest.
const FILLING: u8 = 0x5a;

/// Writes a datagram of that kind and number into the whole of `bytes`.
pub fn compose(bytes: &mut [u8], kind: Kind, number: u64) {
    bytes.fill(FILLING);
    bytes[0] = kind.byte();
    renumber(bytes, number);
}

/// Gives a datagram another number.
pub fn renumber(bytes: &mut [u8], number: u64) {
    bytes[NUMBER].copy_from_slice(&number.to_be_bytes());
}

/// A datagram's kind and number, if it is one of ours.
pub fn parse(bytes: &[u8]) -> Option<(Kind, u64)> {
    let kind = [Kind::Echo, Kind::Count, Kind::Watch].into_iter().find(|kind| bytes.first() == Some(&kind.byte()))?;
    let number = bytes.get(NUMBER)?.try_into().ok()?;
    Some((kind, u64::from_be_bytes(number)))
}

/// The longest datagram that a [`Batch`] holds.
pub const LONGEST: usize = 2048;

/// Room for some datagrams, which are received and sent together.
pub struct Batch {
    /// [`LONGEST`] bytes for each datagram.
    bytes: Vec<u8>,
    lengths: Vec<usize>,
    /// Where each came from.
    senders: Vec<libc::sockaddr_in>,
    /// What the system calls take: made anew for each, kept for their memory.
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// Where datagrams are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To what the socket is connected to.
    Peer,
    /// Each to where it came from.
    Sender,
}

impl Batch {
    /// Room for `slots` datagrams.
    pub fn new(slots: usize) -> Self {
        // SAFETY: all zero is a valid address: of no family.
        let nobody: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        Self {
            bytes: vec![0; slots * LONGEST],
            lengths: vec![0; slots],
            senders: vec![nobody; slots],
            parts: Vec::with_capacity(slots),
            headers: Vec::with_capacity(slots),
        }
    }

    /// How many datagrams fit.
    pub fn slots(&self) -> usize {
        self.lengths.len()
    }

    /// The datagram in a slot.
    pub fn datagram(&self, slot: usize) -> &[u8] {
        &self.bytes[slot * LONGEST..][..self.lengths[slot]]
    }

    /// The same, to be changed.
    pub fn datagram_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * LONGEST..][..self.lengths[slot]]
    }

    /// Makes the datagram in a slot one of `length` bytes.
    pub fn compose(&mut self, slot: usize, length: usize, kind: Kind, number: u64) {
        self.lengths[slot] = length;
        compose(self.datagram_mut(slot), kind, number);
    }

    /// Where the datagram in a slot came from.
    pub fn sender(&self, slot: usize) -> SocketAddr {
        let sender = &self.senders[slot];
        let address = Ipv4Addr::from(u32::from_be(sender.sin_addr.s_addr));
        SocketAddrV4::new(address, u16::from_be(sender.sin_port)).into()
    }

    /// Receives into the slots from the first on: what is there, or else, if the socket may block, the first to come.
    /// Returns how many; fewer than there are slots mean that no more were there.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.lengths.fill(LONGEST);
        self.prepare(0..self.slots(), To::Sender);
        let (headers, count) = (self.headers.as_mut_ptr(), self.headers.len() as libc::c_uint);
        let received = retried(|| {
            // SAFETY: the descriptor is open; each header points to memory of this batch that nothing else uses now.
            // There is no timeout.
            unsafe {
                libc::recvmmsg(socket.as_raw_fd(), headers, count, libc::MSG_WAITFORONE as _, std::ptr::null_mut())
            }
        })?;
        for (length, header) in self.lengths.iter_mut().zip(&self.headers[..received]) {
            *length = header.msg_len as usize;
        }
        Ok(received)
    }

    /// Sends the datagrams in `slots`. Returns how many the kernel took; it takes no more when the socket has no room,
    /// or when it has been told that nobody is at the other end.
    pub fn send(&mut self, socket: &impl AsRawFd, slots: &[usize], to: To) -> io::Result<usize> {
        self.prepare(slots.iter().copied(), to);
        let mut sent = 0;
        while sent < slots.len() {
            let rest = &mut self.headers[sent..];
            let (headers, count) = (rest.as_mut_ptr(), rest.len() as libc::c_uint);
            // SAFETY: the descriptor is open; each header points to memory of this batch that nothing else uses now.
            match retried(|| unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, count, 0) }) {
                Ok(count) => sent += count,
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Makes the headers that stand for `slots`.
    fn prepare(&mut self, slots: impl Iterator<Item = usize>, to: To) {
        self.parts.clear();
        self.headers.clear();
        let (bytes, senders) = (self.bytes.as_mut_ptr(), self.senders.as_mut_ptr());
        for slot in slots {
            let length = self.lengths[slot];
            // SAFETY: the slot exists, as its length does.
            let (base, sender) = unsafe { (bytes.add(slot * LONGEST), senders.add(slot)) };
            self.parts.push(libc::iovec { iov_base: base.cast(), iov_len: length });
            // SAFETY: all zero is a valid header: of no message.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            if to == To::Sender {
                header.msg_hdr.msg_name = sender.cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        let parts = self.parts.as_mut_ptr();
        for (index, header) in self.headers.iter_mut().enumerate() {
            // SAFETY: there is a part for each header.
            header.msg_hdr.msg_iov = unsafe { parts.add(index) };
        }
    }
}

/// Makes a system call until no signal interrupts it. Returns the count that it gives.
fn retried(mut call: impl FnMut() -> libc::c_int) -> io::Result<usize> {
    loop {
        match call() {
            count @ 0.. => return Ok(count as usize),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

/// Whether a datagram socket is fit for use after this error: it would have to wait, or an earlier datagram reached
/// nobody.
pub fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused)
}

/// The bytes that a socket of the generator may hold each way, if the system lets it.
const SOCKET_BUFFER: libc::c_int = 8 << 20;

/// A socket at a loopback address of the kernel's choice, with buffers as large as may be, so that what is lost is lost
/// by the proxy.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let forced = [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE];
    let ordinary = [libc::SO_RCVBUF, libc::SO_SNDBUF];
    for (forced, ordinary) in forced.into_iter().zip(ordinary) {
        // Beyond the system's maximum for those who may; else up to it.
        if set_buffer(&socket, forced).is_err() {
            set_buffer(&socket, ordinary)?;
        }
    }
    Ok(socket)
}

fn set_buffer(socket: &UdpSocket, option: libc::c_int) -> io::Result<()> {
    let size = SOCKET_BUFFER;
    // SAFETY: the descriptor is open, and the option's value is the c_int that its length says.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of a datagram that only asks whether the way is open.
const KNOCK: u64 = u64::MAX;
/// How long an answer to it is waited for.
const KNOCK_PATIENCE: Duration = Duration::from_millis(200);

/// The datagram that asks whether the way is open: it is to come back.
pub fn knock() -> [u8; 64] {
    let mut bytes = [0; 64];
    compose(&mut bytes, Kind::Echo, KNOCK);
    bytes
}

/// Whether a datagram comes back from `target`, to which the socket is connected then.
pub fn answers(socket: &UdpSocket, target: SocketAddr) -> io::Result<bool> {
    socket.connect(target)?;
    socket.set_read_timeout(Some(KNOCK_PATIENCE))?;
    let sent = knock();
    let mut came = [0; LONGEST];
    match socket.send(&sent).and_then(|_| socket.recv(&mut came)) {
        Ok(length) => Ok(came[..length] == sent),
        Err(error) if is_passing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How often a source asks whether its way is open.
const KNOCKS: usize = 25;

/// A source: a socket of its own, connected to `target`, from which a datagram has gone there and come back.
pub fn open(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket()?;
    for _ in 0..KNOCKS {
        if answers(&socket, target)? {
            return Ok(socket);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("none of {KNOCKS} datagrams came back")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_number_are_read_as_they_were_written() {
        let mut bytes = [0; SHORTEST];
        for kind in [Kind::Echo, Kind::Count, Kind::Watch] {
            compose(&mut bytes, kind, 7 << 40);
            assert_eq!(parse(&bytes), Some((kind, 7 << 40)));
        }
        renumber(&mut bytes, 8);
        assert_eq!(parse(&bytes), Some((Kind::Watch, 8)));
        assert_eq!(parse(&bytes[..SHORTEST - 1]), None);
        assert_eq!(parse(&[0; SHORTEST]), None);
    }

    #[test]
    fn a_batch_is_received_and_some_of_it_is_sent_back() {
        let (server, client) = (socket().unwrap(), socket().unwrap());
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut batch = Batch::new(4);
        for (slot, length) in [64, 1400, 100].into_iter().enumerate() {
            batch.compose(slot, length, Kind::Echo, slot as u64);
        }
        assert_eq!(batch.send(&client, &[0, 1, 2], To::Peer).unwrap(), 3);

        let mut batch = Batch::new(4);
        assert_eq!(batch.receive(&server).unwrap(), 3);
        assert_eq!(batch.sender(1), client.local_addr().unwrap());
        assert_eq!(batch.datagram(2).len(), 100);
        assert_eq!(batch.send(&server, &[2, 1], To::Sender).unwrap(), 2);

        let mut batch = Batch::new(1);
        for (number, length) in [(2, 100), (1, 1400)] {
            assert_eq!(batch.receive(&client).unwrap(), 1);
            assert_eq!(batch.datagram(0).len(), length);
            assert_eq!(parse(batch.datagram(0)), Some((Kind::Echo, number)));
        }
        client.set_nonblocking(true).unwrap();
        assert_eq!(batch.receive(&client).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
