//! The built-in echo service: whatever is sent to it can be received from it.
//!
//! It is a pair of Unix sockets, written at one end and read at the other, so the kernel holds what is under way, says
//! when there is something and when there is room, and passes an end of stream on.

use mio::{Interest, Registry, Token};
use socket2::{Domain, Socket, Type};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::datagram::{DatagramSocket, Family, TrainLimit};
use super::stream::StreamEndpoint;
use super::unix::{UnixName, UnixSocket};
use super::{Carries, Endpoint, HeaderPlace, Received, SideName};
use crate::buffers::batch::{Batch, MAX_DATAGRAM};
use crate::buffers::splice::KernelPipe;

/// Bytes that it may hold; less is granted where the system's maximum is lower.
const HELD: usize = 256 << 10;

/// One end of an echo of bytes.
type EchoStream = StreamEndpoint<UnixSocket, UnixName>;

/// One client's echo.
#[derive(Debug)]
pub enum EchoEndpoint {
    /// Of bytes.
    Bytes {
        /// What is written.
        input: EchoStream,
        /// What is read.
        output: EchoStream,
    },
    /// Of datagrams.
    Datagrams {
        /// What is written.
        input: DatagramSocket,
        /// What is read.
        output: DatagramSocket,
    },
}

impl EchoEndpoint {
    /// An echo for a client that carries this.
    pub fn new(client: Carries) -> io::Result<EchoEndpoint> {
        match client {
            Carries::Bytes => {
                let (input, output) = pair(Type::STREAM)?;
                let endpoint = |socket| StreamEndpoint::new(UnixSocket::from_socket(socket), UnixName::new("echo:"));
                Ok(EchoEndpoint::Bytes { input: endpoint(input), output: endpoint(output) })
            }
            Carries::Datagrams { .. } => {
                // A queue of datagrams without a connection holds only a few (`net.unix.max_dgram_qlen`).
                #[cfg(any(target_os = "linux", target_os = "android"))]
                let (kind, family) = (Type::SEQPACKET, Family::UnixPacket);
                #[cfg(not(any(target_os = "linux", target_os = "android")))]
                let (kind, family) = (Type::DGRAM, Family::Unix);
                let (input, output) = pair(kind)?;
                let socket = |socket| DatagramSocket::from_socket(socket, family);
                Ok(EchoEndpoint::Datagrams { input: socket(input), output: socket(output) })
            }
        }
    }

    /// Input and output of an echo of bytes.
    fn streams(&mut self) -> io::Result<(&mut EchoStream, &mut EchoStream)> {
        match self {
            EchoEndpoint::Bytes { input, output } => Ok((input, output)),
            EchoEndpoint::Datagrams { .. } => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Input and output of an echo of datagrams.
    fn sockets(&self) -> io::Result<(&DatagramSocket, &DatagramSocket)> {
        match self {
            EchoEndpoint::Bytes { .. } => Err(io::ErrorKind::Unsupported.into()),
            EchoEndpoint::Datagrams { input, output } => Ok((input, output)),
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let (input, output) = match self {
            EchoEndpoint::Bytes { input, output } => (input.source(), output.source()),
            EchoEndpoint::Datagrams { input, output } => (input.source(), output.source()),
        };
        registry.register(input, token, Interest::WRITABLE)?;
        registry.register(output, token, Interest::READABLE)
    }
}

fn pair(kind: Type) -> io::Result<(Socket, Socket)> {
    let (input, output) = Socket::pair(Domain::UNIX, kind, None)?;
    input.set_nonblocking(true)?;
    output.set_nonblocking(true)?;
    let _ = input.set_send_buffer_size(HELD);
    Ok((input, output))
}

impl Endpoint for EchoEndpoint {
    const SHORT_MEANS_BLOCKED: bool = super::Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        match self {
            EchoEndpoint::Bytes { .. } => Carries::Bytes,
            EchoEndpoint::Datagrams { .. } => Carries::Datagrams { chunk: MAX_DATAGRAM },
        }
    }

    /// It would come back to the client, who is known here as well.
    fn header_place(&self) -> HeaderPlace {
        HeaderPlace::Nowhere
    }

    fn connects_at_once(&self) -> bool {
        true
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.streams()?.1.receive(buffer)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.streams()?.0.send(bytes)
    }

    fn splice_to(&mut self, pipe: &mut KernelPipe, limit: usize) -> io::Result<usize> {
        self.streams()?.1.splice_to(pipe, limit)
    }

    fn splice_from(&mut self, pipe: &mut KernelPipe, bytes: usize) -> io::Result<usize> {
        self.streams()?.0.splice_from(pipe, bytes)
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        self.sockets()?.1.receive(batch, None)
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        self.sockets()?.0.send(batch, None, &mut TrainLimit::default())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            EchoEndpoint::Bytes { input, .. } => input.finish(),
            EchoEndpoint::Datagrams { input, .. } => input.finish(),
        }
    }

    fn descriptor(&self) -> RawFd {
        match self {
            EchoEndpoint::Bytes { input, .. } => input.descriptor(),
            EchoEndpoint::Datagrams { input, .. } => input.as_raw_fd(),
        }
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proxy -> echo:")
    }
}
