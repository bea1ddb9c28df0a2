//! Ends of sessions whose sides carry datagrams.

use socket2::{SockAddr, Socket};
use std::io;
use std::mem::MaybeUninit;

use super::address::Scheme;
use super::{Address, Remote, Stream};

/// More than any datagram has.
const ROOM: usize = 1 << 17;

/// A datagram as framed streams carry it.
pub fn frame(datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(datagram.len()).expect("a datagram that fits");
    [&length.to_be_bytes(), datagram].concat()
}

/// Gives a socket buffers that hold more than is ever under way in a test.
pub fn make_room(socket: &Socket) {
    socket.set_recv_buffer_size(4 << 20).expect("a socket");
    socket.set_send_buffer_size(4 << 20).expect("a socket");
}

/// One end of one session: a connected socket that sends and receives whole datagrams.
#[derive(Debug)]
pub struct Peer {
    pub stream: Stream,
    framed: bool,
}

impl Peer {
    /// A client of a listener.
    pub fn connect(address: &Address) -> io::Result<Peer> {
        let socket = address.socket()?;
        if address.scheme() == Some(Scheme::UnixDatagram) {
            socket.bind(&address.beside().socket_address())?;
        }
        socket.connect(&address.socket_address())?;
        Peer::new(socket, address)
    }

    /// A connected socket of this address's kind.
    pub fn new(socket: Socket, address: &Address) -> io::Result<Peer> {
        let framed = address.scheme() == Some(Scheme::Framed);
        if !framed {
            make_room(&socket);
        }
        Ok(Peer { stream: Stream::new(socket)?, framed })
    }

    pub fn send(&mut self, datagram: impl AsRef<[u8]>) {
        let datagram = datagram.as_ref();
        if self.framed {
            self.stream.send(frame(datagram));
        } else {
            let sent = self.stream.socket.send(datagram).expect("a peer that takes datagrams");
            assert_eq!(sent, datagram.len());
        }
    }

    /// The next datagram, whole. (The end of a Unix socket of packets looks like an empty one.)
    pub fn receive(&mut self) -> Vec<u8> {
        if self.framed {
            let length = self.stream.receive(2).try_into().map(u16::from_be_bytes).expect("two bytes");
            self.stream.receive(length.into())
        } else {
            receive_from(&self.stream.socket).0
        }
    }

    /// Receives exactly this datagram.
    pub fn expect(&mut self, datagram: impl AsRef<[u8]>) {
        let (received, datagram) = (self.receive(), datagram.as_ref());
        // Long ones would fill the screen.
        assert_eq!(
            received.len(),
            datagram.len(),
            "{:?}",
            String::from_utf8_lossy(&received[..received.len().min(50)])
        );
        assert!(received == datagram, "{} other bytes", received.len());
    }

    /// Sends it, and receives it at the other end.
    pub fn reaches(&mut self, other: &mut Peer, datagram: impl AsRef<[u8]>) {
        self.send(&datagram);
        other.expect(&datagram);
    }
}

/// The next datagram at a socket, whole, and who sent it.
fn receive_from(socket: &Socket) -> (Vec<u8>, SockAddr) {
    let mut buffer = Vec::<u8>::with_capacity(ROOM);
    let (length, from) = socket.recv_from(buffer.spare_capacity_mut()).expect("a datagram in time");
    assert!(length < ROOM);
    // SAFETY: the system has written this many.
    unsafe { buffer.set_len(length) };
    (buffer, from)
}

impl Remote {
    /// The end of the next session; where there are no connections, of the one whose datagram is next, which is left
    /// to be received. There can be one such at a time.
    pub fn peer(&self) -> Peer {
        let socket = if self.address.is_connectionless() {
            let (_, from) = self.socket.peek_from(&mut [MaybeUninit::uninit()]).expect("a datagram in time");
            let socket = self.socket.try_clone().expect("a clone");
            socket.connect(&from).expect("an address that can be answered");
            socket
        } else {
            self.accept().socket
        };
        Peer::new(socket, &self.address).expect("a socket")
    }

    /// The next datagram to a remote without connections, and who sent it.
    pub fn receive_from(&self) -> (Vec<u8>, SockAddr) {
        receive_from(&self.socket)
    }

    /// Answers who sent a datagram.
    pub fn send_to(&self, datagram: &[u8], to: &SockAddr) {
        assert_eq!(self.socket.send_to(datagram, to).expect("somebody there"), datagram.len());
    }
}
