//! A remote that answers until its packets are dropped.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::clock::Moment;
use crate::failure::Failure;
use crate::session::WELCOME;

/// It answers each client as the server does that is asked which remote it is, and closes.
pub struct Remote {
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Socket>>,
}

/// One that drops what is sent to it, until it is dropped itself.
pub struct Blackhole {
    /// From when on it has dropped all new connections.
    pub since: Moment,
    /// Nobody accepts from it.
    _listener: Socket,
    /// What its queue is full of.
    _queue: Vec<Socket>,
}

/// How long the thread sleeps when nobody comes.
const NAP: Duration = Duration::from_millis(1);

/// How long a client has to ask, also on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection on loopback is waited for before it counts as dropped: less than the second after which Linux
/// tries again, and otherwise long, as a busy machine may take its time.
const DROPPED: Duration = Duration::from_millis(700);

impl Remote {
    pub fn start() -> io::Result<Self> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        listener.listen(1024)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    // One that only looks whether somebody is here breaks, which is nobody's fault.
                    Ok((client, _)) => drop(answer(&client, address.port())),
                    Err(_) => thread::sleep(NAP),
                }
            }
            listener
        };
        Ok(Self { address, stop, thread: Some(thread::Builder::new().name("remote".to_owned()).spawn(serve)?) })
    }

    /// Makes it drop all new connections from here on, silently, as a network does that is cut.
    ///
    /// No right is needed for that: where the queue of a listener is full, Linux drops each SYN that comes. The queue is
    /// made as short as can be, filled, and never accepted from.
    pub fn vanish(mut self) -> Result<Blackhole, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| Failure::Broken("the remote has vanished already".to_owned()))?;
        let listener = thread.join().map_err(|_| Failure::Broken("the remote panicked".to_owned()))?;
        listener.listen(0)?;
        let mut queue = Vec::new();
        loop {
            let since = Moment::now();
            let filler = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
            let _ = filler.connect(&self.address.into());
            let is_in = is_connected(&filler);
            queue.push(filler);
            if !is_in {
                return Ok(Blackhole { since, _listener: listener, _queue: queue });
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Answers a client that asks which remote this is.
fn answer(mut client: &Socket, port: u16) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.read_exact(&mut [0])?;
    let [high, low] = port.to_be_bytes();
    // A client that only knocks takes the first of these for its answer.
    client.write_all(&[WELCOME, high, low])
}

/// Whether a connection is made in time.
fn is_connected(socket: &Socket) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd, and a count of one.
    unsafe { libc::poll(&mut poll, 1, DROPPED.as_millis() as libc::c_int) > 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn it_answers_until_it_vanishes() {
        let remote = Remote::start().unwrap();
        let address = remote.address;
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"w").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [&[WELCOME][..], &address.port().to_be_bytes()].concat());
        let _blackhole = remote.vanish().unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
