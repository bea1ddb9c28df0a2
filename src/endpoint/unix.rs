//! Unix stream endpoints and listeners, in the file system and in Linux's abstract namespace.

use mio::event;
use mio::net::UnixStream;
use socket2::{Domain, SockAddr, SockRef, Type};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::stream::{Names, Stream, StreamEndpoint};
use super::{ListenError, SideName};
use crate::address::{EndpointAddress, UnixAddress};
use crate::proxy_header::{Addresses, Transport};
use crate::service::access::ClientAddress;

/// A Unix stream connection, accepted or begun by us.
pub type UnixEndpoint = StreamEndpoint<UnixSocket, UnixName>;

/// A connected Unix stream socket.
#[derive(Debug)]
pub struct UnixSocket {
    stream: UnixStream,
    /// The last read ended at a message with descriptors, and not because there was nothing more.
    at_descriptors: bool,
}

impl UnixSocket {
    pub(super) fn new(stream: UnixStream) -> UnixSocket {
        UnixSocket { stream, at_descriptors: false }
    }

    /// Whatever socket it is: one that is connected.
    pub(super) fn from_socket(socket: socket2::Socket) -> UnixSocket {
        UnixSocket::new(UnixStream::from_std(OwnedFd::from(socket).into()))
    }
}

/// The address of the listening end: ours for a client, the peer's for a remote. The other end has none.
#[derive(Debug)]
pub struct UnixName(Arc<str>);

impl UnixName {
    pub(super) fn new(name: &str) -> UnixName {
        UnixName(name.into())
    }
}

impl UnixEndpoint {
    /// Starts connecting; done at once or, with `WouldBlock`, not at all because the peer's backlog is full.
    pub fn connect(address: &SockAddr, name: &Arc<str>) -> io::Result<UnixEndpoint> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(StreamEndpoint { stream: UnixSocket::from_socket(socket), names: UnixName(name.clone()) })
    }
}

impl AsRawFd for UnixSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl Stream for UnixSocket {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, at_descriptors) =
            self.stream.try_io(|| receive_without_descriptors(self.stream.as_raw_fd(), buffer))?;
        self.at_descriptors = at_descriptors;
        Ok(length)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    /// Linux ends a read at a message with descriptors; what was sent after it is still to be read.
    fn short_read_means_empty(&self) -> bool {
        !self.at_descriptors
    }

    fn source(&mut self) -> &mut dyn event::Source {
        &mut self.stream
    }

    fn try_io<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.stream.try_io(call)
    }

    fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.stream.take_error()
    }

    fn finish(&self) -> io::Result<()> {
        match self.stream.shutdown(Shutdown::Write) {
            // Some systems say so of a peer that has closed, which for a Unix socket is an ordinary end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Unix sockets have no reset: the peer sees one only if it sent bytes that nobody read.
    fn abort(&self) {}
}

/// Reads as recv(2) does, which has the system close descriptors that come along, and says whether there were any.
fn receive_without_descriptors(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a header of zeros is valid, without a name and without room for control data; the one piece is the buffer,
    // which nobody else has while the call writes to it.
    let (length, flags) = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        (libc::recvmsg(socket, &raw mut header, 0), header.msg_flags)
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    Ok((length, flags & libc::MSG_CTRUNC != 0))
}

impl Names for UnixName {
    fn client_address(&self) -> ClientAddress {
        ClientAddress::Unix
    }

    fn addresses(&self, socket: SockRef<'_>) -> Addresses {
        addresses(socket, Transport::Stream)
    }

    fn write_route(&self, _side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix: -> {}", self.0)
    }
}

/// Between whom the connection of a Unix socket is that was accepted.
pub(super) fn addresses(socket: SockRef<'_>, transport: Transport) -> Addresses {
    Addresses::Unix { source: name_of(socket.peer_addr()), destination: name_of(socket.local_addr()), transport }
}

/// The name of a Unix socket, as a header has it: an abstract one starts with a NUL, and one without a name is empty.
pub(super) fn name_of(address: io::Result<SockAddr>) -> Box<[u8]> {
    let Ok(address) = address else { return Box::default() };
    if let Some(path) = address.as_pathname() {
        return path.as_os_str().as_bytes().into();
    }
    address.as_abstract_namespace().map_or_else(Box::default, |name| [b"\0", name].concat().into())
}

/// A listening Unix socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct UnixListener {
    listener: mio::net::UnixListener,
    name: Arc<str>,
    _file: Option<SocketFile>,
}

impl UnixListener {
    /// Binds and listens. A stale socket file is replaced; one that somebody listens on, or another file, is an error.
    pub fn bind(address: &UnixAddress, backlog: i32) -> Result<UnixListener, ListenError> {
        let name = EndpointAddress::Unix(address.clone()).to_string();
        let (socket, file) = bind(address, Type::STREAM, Some(backlog), &name)?;
        let listener = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
        Ok(UnixListener { listener, name: name.into(), _file: file })
    }

    /// Accepts one client.
    pub fn accept(&self) -> io::Result<UnixEndpoint> {
        let (stream, _) = self.listener.accept()?;
        Ok(StreamEndpoint { stream: UnixSocket::new(stream), names: UnixName(self.name.clone()) })
    }

    pub(super) fn source(&mut self) -> &mut mio::net::UnixListener {
        &mut self.listener
    }
}

impl AsRawFd for UnixListener {
    fn as_raw_fd(&self) -> RawFd {
        self.listener.as_raw_fd()
    }
}

impl fmt::Display for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fd={})", self.name, self.listener.as_raw_fd())
    }
}

/// A non-blocking socket that is bound to a Unix address and, with a backlog, listens; and its file, if it has one. A
/// stale socket file is replaced; one that somebody has open, or another file, is an error. `name` is the address as the
/// error has it.
pub(super) fn bind(
    address: &UnixAddress,
    socket_type: Type,
    backlog: Option<i32>,
    name: &str,
) -> Result<(socket2::Socket, Option<SocketFile>), ListenError> {
    let failed = |step| move |error| ListenError::new(step, name, error);
    let mut _lock = None;
    if let UnixAddress::Path(path) = address {
        // Or another proxy that starts now would take a file for stale that is not listened on yet.
        _lock = FolderLock::of(path);
        remove_stale(path, socket_type).map_err(failed("bind error on"))?;
    }
    let socket = socket2::Socket::new(Domain::UNIX, socket_type, None).map_err(failed("error creating"))?;
    socket.set_nonblocking(true).map_err(failed("error setting non-blocking on"))?;
    let socket_address = address.socket_address().map_err(failed("bind error on"))?;
    socket.bind(&socket_address).map_err(failed("bind error on"))?;
    let file = match address {
        UnixAddress::Path(path) => SocketFile::new(path),
        UnixAddress::Abstract(_) => None,
    };
    if let Some(backlog) = backlog {
        socket.listen(backlog).map_err(failed("listen error on"))?;
    }
    Ok((socket, file))
}

/// How long another proxy is waited for that binds a socket in the same folder.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether one was waited for in vain: then none is waited for any more.
static GAVE_UP: AtomicBool = AtomicBool::new(false);

/// Keeps other proxies from binding sockets in the same folder meanwhile; where it cannot be locked, nothing does.
struct FolderLock {
    _folder: File,
}

impl FolderLock {
    fn of(path: &Path) -> Option<FolderLock> {
        let path = std::path::absolute(path).ok()?;
        let folder = File::open(path.parent()?).ok()?;
        let start = Instant::now();
        let patience = if GAVE_UP.load(Relaxed) { Duration::ZERO } else { LOCK_TIMEOUT };
        // SAFETY: the call takes numbers only (flock(2)); closing the descriptor ends the lock.
        while unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            // Anybody who can read the folder can lock it, too, for as long as they like.
            if start.elapsed() > patience {
                GAVE_UP.store(true, Relaxed);
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(FolderLock { _folder: folder })
    }
}

/// Removes a socket file that nobody listens on.
///
/// # Errors
///
/// `AddrInUse` when somebody does, or when the file is not a socket.
fn remove_stale(path: &Path, socket_type: Type) -> io::Result<()> {
    let in_use = || io::Error::from_raw_os_error(libc::EADDRINUSE);
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "the file exists and is not a socket"));
    }
    let socket = socket2::Socket::new(Domain::UNIX, socket_type, None)?;
    // Not blocking: a live listener's queue may be full.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => Err(in_use()),
    }
}

/// A socket file that this process made.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> Option<SocketFile> {
        let path = std::path::absolute(path).ok()?;
        let identity = identity(&path)?;
        Some(SocketFile { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have put its own there since.
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
