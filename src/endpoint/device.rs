//! Network devices: TUN (IP packets) and TAP (Ethernet frames), as one client or as a remote. Linux only.
//!
//! The contract is the kernel's Documentation/networking/tuntap.rst: a read is one packet, and so is a write.

use mio::net::{UnixDatagram, UnixStream};
use mio::{Interest, Registry, Token};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::datagram::UDP_CHUNK;
use super::{Carries, Endpoint, HeaderPlace, Lifetime, ListenError, Received, SideName};
use crate::address::{DeviceKind, EndpointAddress};
use crate::base::error::error_text;
use crate::buffers::batch::{Batch, Undelivered};
use crate::buffers::splice::KernelPipe;

/// How long a device is left alone after its first session; after each that ends soon, twice as long as before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause, and how long a session must have lasted for the next pause to be the first again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A device, as the side of a session.
#[derive(Debug)]
pub struct DeviceEndpoint {
    file: File,
    /// The same descriptor's registration with a poll. What is registered is not a socket, which matters to nobody.
    io: UnixDatagram,
    name: Arc<str>,
    /// Where it is registered: another descriptor of the device may stay open, and would keep the registration.
    registry: Option<Registry>,
    /// Told when the session ends.
    listener: Option<UnixStream>,
}

impl DeviceEndpoint {
    /// Opens the device, which must not be open elsewhere.
    pub fn open(kind: DeviceKind, name: &str) -> io::Result<DeviceEndpoint> {
        let file = open(kind, name)?;
        DeviceEndpoint::new(file, &EndpointAddress::Device(kind, name.into()).to_string().into())
    }

    fn new(file: File, name: &Arc<str>) -> io::Result<DeviceEndpoint> {
        let io = UnixDatagram::from_std(OwnedFd::from(file.try_clone()?).into());
        Ok(DeviceEndpoint { file, io, name: name.clone(), registry: None, listener: None })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let kept = registry.try_clone()?;
        registry.register(&mut self.io, token, Interest::READABLE | Interest::WRITABLE)?;
        self.registry = Some(kept);
        Ok(())
    }
}

impl Drop for DeviceEndpoint {
    fn drop(&mut self) {
        if let Some(registry) = &self.registry {
            let _ = registry.deregister(&mut self.io);
        }
        if let Some(listener) = &mut self.listener {
            // If it does not take this, it is gone.
            let _ = listener.write(&[0]);
        }
    }
}

impl Endpoint for DeviceEndpoint {
    const SHORT_MEANS_BLOCKED: bool = super::Socket::SHORT_MEANS_BLOCKED;

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        Carries::Datagrams { chunk: UDP_CHUNK }
    }

    /// It carries packets, of which a header would be none.
    fn header_place(&self) -> HeaderPlace {
        HeaderPlace::Nowhere
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::Endless
    }

    fn connects_at_once(&self) -> bool {
        true
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        let mut came = 0;
        let mut lengths = [(0, 0); crate::buffers::batch::MOST_DATAGRAMS];
        let mut file = &self.file;
        let result = self.io.try_io(|| {
            for (start, room) in batch.rooms() {
                match file.read(room) {
                    Ok(length) => lengths[came] = (start, length),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && came > 0 => return Ok(Received::Last),
                    Err(error) => return Err(error),
                }
                came += 1;
            }
            Ok(Received::More)
        });
        for &(start, length) in &lengths[..came] {
            batch.add(start, length);
        }
        match result {
            // What came is to go on; the next call finds the error again.
            Err(_) if came > 0 => Ok(Received::More),
            result => result,
        }
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        let Some(packet) = batch.datagrams().next() else { return Ok(()) };
        let mut file = &self.file;
        match self.io.try_io(|| file.write(packet)) {
            Ok(length) if length == packet.len() => batch.take(1),
            Ok(_) => batch.drop_first(Undelivered::TooLarge),
            Err(error) => match error.raw_os_error() {
                // Not a packet; larger than any; or the device is down.
                Some(number @ (libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::ENOBUFS)) => {
                    batch.drop_first(Undelivered::Error(number));
                }
                _ => return Err(error),
            },
        }
        Ok(())
    }

    fn takes_an_end(&self) -> bool {
        false
    }

    fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    fn write_route(&self, side: SideName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match side {
            SideName::Client => write!(f, "{} -> proxy", self.name),
            SideName::Remote => write!(f, "proxy -> {}", self.name),
        }
    }
}

/// A device whose one client is there at once, and again after each session.
#[derive(Debug)]
pub struct DeviceListener {
    kind: DeviceKind,
    device: String,
    name: Arc<str>,
    /// Open all the time, so that the device keeps its addresses between sessions.
    file: File,
    state: State,
    pause: Duration,
    /// Readable when a session has ended.
    ended: UnixStream,
    /// What sessions are given clones of.
    end: OwnedFd,
}

#[derive(Debug)]
enum State {
    /// A session has had the device since then.
    Taken(Instant),
    /// The next session can have it from then on.
    Free(Instant),
}

impl DeviceListener {
    /// Opens or creates the device.
    pub fn open(kind: DeviceKind, name: &str) -> Result<DeviceListener, ListenError> {
        let address = EndpointAddress::Device(kind, name.into());
        let failed = |step| {
            let address = address.to_string();
            move |error| ListenError::device(step, address, error)
        };
        let file = open(kind, name).map_err(failed("error opening"))?;
        let (ended, end) = UnixStream::pair().map_err(failed("error watching"))?;
        Ok(DeviceListener {
            kind,
            device: name.to_string(),
            name: address.to_string().into(),
            file,
            state: State::Free(Instant::now()),
            pause: FIRST_PAUSE,
            ended,
            end: std::os::unix::net::UnixStream::from(end).into(),
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.ended, token, Interest::READABLE)
    }

    /// When the device can be accepted though no event says so.
    pub fn retry_at(&self) -> Option<Instant> {
        match self.state {
            State::Taken(_) => None,
            State::Free(at) => Some(at),
        }
    }

    /// Gives the device to a session, if it is time.
    pub fn accept(&mut self) -> io::Result<DeviceEndpoint> {
        match self.state {
            State::Taken(since) => {
                let read = self.ended.read(&mut [0])?;
                debug_assert_eq!(read, 1);
                self.pause_after(since.elapsed());
                Err(io::ErrorKind::WouldBlock.into())
            }
            State::Free(at) if at > Instant::now() => Err(io::ErrorKind::WouldBlock.into()),
            State::Free(_) => match self.endpoint() {
                Ok(endpoint) => {
                    self.state = State::Taken(Instant::now());
                    Ok(endpoint)
                }
                Err(error) => {
                    log::warn!("{}: {}", self.name, error_text(&error));
                    self.pause_after(Duration::ZERO);
                    Err(io::ErrorKind::WouldBlock.into())
                }
            },
        }
    }

    fn pause_after(&mut self, lasted: Duration) {
        if lasted >= LONGEST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        self.state = State::Free(Instant::now() + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
    }

    fn endpoint(&mut self) -> io::Result<DeviceEndpoint> {
        if !is_attached(&self.file) {
            // Somebody deleted the device.
            self.file = open(self.kind, &self.device)?;
        }
        let mut endpoint = DeviceEndpoint::new(self.file.try_clone()?, &self.name)?;
        endpoint.listener = Some(UnixStream::from_std(self.end.try_clone()?.into()));
        Ok(endpoint)
    }
}

impl fmt::Display for DeviceListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (fd={})", self.name, self.file.as_raw_fd())
    }
}

/// Opens a device, without the header that says what a packet is; it is created if there is none of this name.
fn open(kind: DeviceKind, name: &str) -> io::Result<File> {
    let flags = match kind {
        DeviceKind::Tun => libc::IFF_TUN,
        DeviceKind::Tap => libc::IFF_TAP,
    };
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (flags | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is live and initialised; its name ends in NUL, being shorter than its field.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the descriptor still has a device.
fn is_attached(file: &File) -> bool {
    let mut request = request();
    // SAFETY: the request is live; the call writes the device's name and flags to it.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNGETIFF as _, &raw mut request) == 0 }
}

fn request() -> libc::ifreq {
    // SAFETY: an interface request is plain old data, for which all zeros is a valid value.
    unsafe { std::mem::zeroed() }
}
