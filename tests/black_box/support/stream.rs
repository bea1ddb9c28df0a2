//! Sockets at the proxy's two ends: clients, and the remote.

use socket2::Socket;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::time::Duration;

use super::datagram::make_room;
use super::{Address, DEADLINE, Kind, TempDir};

/// How a stream ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In an orderly way.
    Eof,
    /// Cut off.
    Reset,
}

/// A connected socket. What blocks for too long fails the test.
#[derive(Debug)]
pub struct Stream {
    pub socket: Socket,
    /// It was reset before the system had told that it was connected, or before something was sent: reading and writing
    /// tell it then.
    was_reset: bool,
}

impl Stream {
    pub fn connect(address: &Address) -> io::Result<Stream> {
        Stream::connect_from(address.socket()?, address)
    }

    /// Connects a socket that may have an address already.
    pub fn connect_from(socket: Socket, address: &Address) -> io::Result<Stream> {
        let was_reset = match socket.connect(&address.socket_address()) {
            // On a busy machine a proxy may have refused the client before connect(2) returns.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
            result => result.map(|()| false)?,
        };
        Ok(Stream { was_reset, ..Stream::new(socket)? })
    }

    pub fn new(socket: Socket) -> io::Result<Stream> {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Stream { socket, was_reset: false })
    }

    /// A second handle of the same socket, for another thread.
    pub fn another(&self) -> Stream {
        Stream { socket: self.socket.try_clone().expect("a clone"), was_reset: self.was_reset }
    }

    /// Sends all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.write_all(bytes.as_ref()).expect("a peer that takes bytes");
    }

    /// Sends all of it, unless the stream has been cut off by then, which reading tells: a timeout may have been sooner.
    pub fn send_unless_cut_off(&mut self, bytes: impl AsRef<[u8]>) {
        match self.write_all(bytes.as_ref()) {
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                self.was_reset = true;
            }
            result => result.expect("a peer that takes bytes"),
        }
    }

    /// Sends until that fails because the stream was cut off, or panics after `most` bytes; how many it took.
    pub fn send_until_cut_off(&mut self, most: usize) -> usize {
        let bytes = vec![7; 1 << 16];
        let mut sent = 0;
        while sent < most {
            match self.write(&bytes) {
                Ok(n) => sent += n,
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
                    return sent;
                }
                Err(error) => panic!("not cut off after {sent} bytes: {error}"),
            }
        }
        panic!("it took {sent} bytes");
    }

    /// Waits until this many bytes have arrived, and leaves them there.
    pub fn wait_for_unread(&self, count: usize) {
        let mut buffer = vec![MaybeUninit::uninit(); count];
        super::until("unread bytes", || (self.socket.peek(&mut buffer).expect("a stream") == count).then_some(()));
    }

    /// Receives exactly this many bytes.
    pub fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.read_exact(&mut bytes).expect("a peer that sends bytes");
        bytes
    }

    /// Receives exactly these bytes.
    pub fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        assert_eq!(
            String::from_utf8_lossy(&self.receive(bytes.as_ref().len())),
            String::from_utf8_lossy(bytes.as_ref())
        );
    }

    /// Sends no more.
    pub fn finish(&self) {
        self.socket.shutdown(Shutdown::Write).expect("a connected socket");
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.socket.set_linger(Some(Duration::ZERO)).expect("a socket");
    }

    /// Receives until the end.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = match self.read_to_end(&mut bytes) {
            Ok(_) => End::Eof,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("neither an end nor a reset after {} bytes: {error}", bytes.len()),
        };
        (bytes, end)
    }

    /// Receives the end, and nothing before it.
    pub fn end(&mut self) -> End {
        let (bytes, end) = self.rest();
        assert!(bytes.is_empty(), "{} bytes before the end", bytes.len());
        end
    }

    /// Whether nothing, not even an end, can be received now.
    pub fn is_silent(&self) -> bool {
        is_silent(&self.socket)
    }

    /// Its own address, as the log writes it.
    pub fn local(&self) -> String {
        Address::Tcp(self.socket.local_addr().expect("an address").as_socket().expect("TCP")).to_string()
    }

    /// Its peer's address, as the log writes it.
    pub fn peer(&self) -> String {
        Address::Tcp(self.socket.peer_addr().expect("an address").as_socket().expect("TCP")).to_string()
    }
}

/// Whether nothing, not even an end, can be received now.
pub fn is_silent(socket: &Socket) -> bool {
    socket.set_nonblocking(true).expect("a socket");
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    socket.set_nonblocking(false).expect("a socket");
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.was_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        (&self.socket).read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.was_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        (&self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the proxy connects to: a listening socket of the test's own.
#[derive(Debug)]
pub struct Remote {
    pub address: Address,
    pub socket: Socket,
    _directory: Option<TempDir>,
}

impl Remote {
    pub fn new(kind: Kind) -> Remote {
        Remote::with_backlog(kind, 4096)
    }

    pub fn with_backlog(kind: Kind, backlog: i32) -> Remote {
        let directory = TempDir::new();
        let address = kind.fresh(&directory);
        Remote::at(address, backlog, (!kind.is_tcp()).then_some(directory))
    }

    /// One at this address of IPv4.
    pub fn at_v4(host: &str, port: u16) -> Remote {
        Remote::at(Address::parse(&format!("{host}:{port}")), 4096, None)
    }

    pub fn at(address: Address, backlog: i32, directory: Option<TempDir>) -> Remote {
        let socket = listen(&address, backlog);
        Remote { address: address.bound(&socket), socket, _directory: directory }
    }

    /// An address of this kind that nobody listens on, held so that nobody else can.
    pub fn refusing(kind: Kind) -> Remote {
        let directory = TempDir::new();
        let address = kind.fresh(&directory);
        let socket = address.socket().expect("a socket");
        socket.bind(&address.socket_address()).expect("a free address");
        Remote { address: address.bound(&socket), socket, _directory: Some(directory) }
    }

    /// One that nothing can connect to until it accepts: its queue is full, so that the system drops what comes.
    #[cfg(target_os = "linux")]
    pub fn deaf(kind: Kind) -> (Remote, Stream) {
        let remote = Remote::with_backlog(kind, 0);
        let waits = Stream::connect(&remote.address).expect("room for one");
        super::until("a full queue", || (super::system::accept_queue(&remote.socket).0 > 0).then_some(()));
        (remote, waits)
    }

    /// Whether no connection waits to be accepted.
    pub fn has_nobody(&self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let accepted = self.socket.accept();
        self.socket.set_nonblocking(false).expect("a socket");
        accepted.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The next connection.
    pub fn accept(&self) -> Stream {
        let (socket, _) = self.socket.accept().expect("a connection in time");
        Stream::new(socket).expect("a socket")
    }
}

fn listen(address: &Address, backlog: i32) -> Socket {
    let socket = address.socket().expect("a socket");
    socket.bind(&address.socket_address()).expect("a free address");
    if address.is_connectionless() {
        make_room(&socket);
    } else {
        socket.listen(backlog).expect("a bound socket");
    }
    // Linux has accept(2) obey it.
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
    socket
}
