//! Remotes that say which one they are.

use socket2::Socket;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Address, Kind, Line, Peer, Proxy, Setup, Stream, TempDir};

/// How long a server that is to close may go on, in milliseconds.
const PAUSE: i32 = 10;

/// A remote that tells each client its number, and sends back what comes after that.
#[derive(Debug)]
pub struct Server {
    pub number: u8,
    pub address: Address,
    /// Keeps the port while nobody listens at it, where the system lets two sockets have it.
    _held: Option<Socket>,
    listening: Option<Listening>,
    _directory: TempDir,
}

#[derive(Debug)]
struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Server {
    pub fn new(kind: Kind, number: u8) -> Server {
        let mut server = Server::closed(kind, number);
        server.open();
        server
    }

    /// One that has not been opened yet.
    pub fn closed(kind: Kind, number: u8) -> Server {
        let directory = TempDir::new();
        let address = kind.fresh(&directory);
        let held = kind.is_tcp().then(|| bound(&address));
        let address = held.iter().fold(address, |address, socket| address.bound(socket));
        let held = held.filter(|_| cfg!(target_os = "linux"));
        Server { number, address, _held: held, listening: None, _directory: directory }
    }

    /// So many, with numbers from 0.
    pub fn some(kind: Kind, count: u8) -> Vec<Server> {
        (0..count).map(|number| Server::new(kind, number)).collect()
    }

    /// Listens.
    pub fn open(&mut self) {
        let socket = bound(&self.address);
        self.address = self.address.clone().bound(&socket);
        let connectionless = self.address.is_connectionless();
        if !connectionless {
            socket.listen(1024).expect("a bound socket");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (is_over, address, number) = (stop.clone(), self.address.clone(), self.number);
        let thread = thread::spawn(move || {
            loop {
                if !has_something(&socket) {
                    if is_over.load(Ordering::Relaxed) {
                        // A program that another test starts has this socket, too, until it runs.
                        let _ = socket.shutdown(Shutdown::Read);
                        return;
                    }
                } else if connectionless {
                    answer(&socket, number);
                } else if let Ok((socket, _)) = socket.accept() {
                    let address = address.clone();
                    thread::spawn(move || serve(socket, &address, number));
                }
            }
        });
        self.listening = Some(Listening { stop, thread });
    }

    /// Listens, unless it does.
    pub fn open_again(&mut self) {
        if self.listening.is_none() {
            self.open();
        }
    }

    /// Listens no more; the sessions that it has go on. Who has been connected is accepted before.
    pub fn close(&mut self) {
        if let Some(Listening { stop, thread }) = self.listening.take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().expect("a server");
            // Only one of these is there.
            let _ = self.address.socket_address().as_pathname().map(std::fs::remove_file);
        }
    }

    /// With these options behind its address, as it is written.
    pub fn with(&self, options: &str) -> String {
        format!("{}{options}", self.address)
    }

    /// How many sessions have tried it.
    pub fn attempts(&self, lines: &[Line]) -> usize {
        lines.iter().filter(|line| attempt(line) == Some(self.address.to_string().as_str())).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// The address that a session tries, where this line says so.
pub fn attempt(line: &Line) -> Option<&str> {
    let route = line.message.strip_prefix("connect starting proxy to remote ")?;
    route.split(" -> ").nth(1)?.split(" (fd=").next()
}

fn bound(address: &Address) -> Socket {
    let socket = address.socket().expect("a socket");
    // It is bound where another one holds the port, or where connections linger.
    socket.set_reuse_address(!address.is_connectionless()).expect("a socket");
    socket.bind(&address.socket_address()).expect("an address that is ours");
    socket
}

/// Waits a little for a connection or a datagram.
fn has_something(socket: &Socket) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live entry.
    unsafe { libc::poll(&mut poll, 1, PAUSE) > 0 }
}

fn answer(socket: &Socket, number: u8) {
    let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
    if let Ok((_, from)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&[number], &from);
    }
}

fn serve(socket: Socket, address: &Address, number: u8) {
    let _ = socket.set_nonblocking(false);
    let bytes = address.scheme().is_none();
    let Ok(mut peer) = Peer::new(socket, address) else { return };
    // It waits for its client as long as the test does.
    let _ = peer.stream.socket.set_read_timeout(None);
    if bytes {
        let _ = peer.stream.write_all(&[number]);
    } else {
        peer.send([number]);
    }
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = peer.stream.read(&mut buffer) {
        if bytes && peer.stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// A proxy in front of these, on an address of this kind.
pub fn before(kind: Kind, servers: &[Server]) -> Setup {
    servers.iter().fold(Proxy::on(&[kind]), |setup, server| setup.to(&server.address))
}

/// A new client, and the number of the server that it got.
pub fn client_of(listener: &Address) -> (Stream, u8) {
    let mut client = Stream::connect(listener).expect("a listener");
    let number = client.receive(1)[0];
    (client, number)
}

pub fn client(proxy: &Proxy) -> (Stream, u8) {
    client_of(&proxy.listeners[0])
}

/// What a client that comes again and again does in between, so that the log is read as fast as it is written.
pub fn pause() {
    thread::sleep(Duration::from_millis(2));
}

/// So many clients that are all there at the same time, and where they are.
pub fn clients(proxy: &Proxy, count: usize) -> (Vec<Stream>, Vec<u8>) {
    let mut clients: Vec<Stream> = (0..count).map(|_| proxy.connect()).collect();
    let numbers = clients.iter_mut().map(|client| client.receive(1)[0]).collect();
    (clients, numbers)
}

/// A client with this address of its own.
#[cfg(target_os = "linux")]
pub fn client_from(host: [u8; 4], listener: &Address) -> (Stream, u8) {
    let socket = listener.socket().expect("a socket");
    socket.bind(&SocketAddr::from((host, 0)).into()).expect("an address of this machine");
    socket.connect(&listener.socket_address()).expect("a listener");
    let mut client = Stream::new(socket).expect("a socket");
    let number = client.receive(1)[0];
    (client, number)
}

/// How many of them each of the first servers has.
pub fn shares<const N: usize>(numbers: &[u8]) -> [usize; N] {
    let mut shares = [0; N];
    numbers.iter().for_each(|&number| shares[usize::from(number)] += 1);
    shares
}

/// Whether a session goes on.
pub fn goes_on(client: &mut Stream) {
    client.send("there");
    client.expect("there");
}
