//! `cproxy --reload PID`: asks a running proxy to reload, and waits until it says what came of it.
//!
//! Who asks listens at an abstract Unix socket that is named after the proxy's process. The proxy connects to it when a
//! reload begins, which fails at once where nobody asked, and says in one line what it did when that is done. So who asks
//! is never told of a reload that had begun before.

use std::io;

/// What a reload came to: what has changed, or why nothing has.
pub type Outcome = Result<String, String>;

#[cfg(target_os = "linux")]
pub use linux::{Asker, ask};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Asker, ask};

#[cfg(target_os = "linux")]
mod linux {
    use super::{Outcome, io};
    use std::fs;
    use std::io::{Read, Write};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use crate::base::error::error_text;

    /// How long a reload may take: names may have to be looked up.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// How often it is looked whether the proxy is still there.
    const LOOK: Duration = Duration::from_millis(20);

    /// The longest answer.
    const MOST: u64 = 1 << 20;

    fn name(pid: u32) -> String {
        format!("cproxy-reload-{pid}")
    }

    /// Has the proxy of this process reload, and returns what came of it.
    pub fn ask(pid: u32) -> Outcome {
        let failed = |what: &str, error: &io::Error| format!("reload of process {pid}: {what}: {}", error_text(error));
        if !takes_the_signal(pid).map_err(|error| failed("no such process", &error))? {
            return Err(format!("reload of process {pid}: it runs no cproxy that was started with --config"));
        }
        let listener = SocketAddr::from_abstract_name(name(pid)).and_then(|address| UnixListener::bind_addr(&address));
        let listener = listener.map_err(|error| failed("somebody waits for one already", &error))?;
        listener.set_nonblocking(true).map_err(|error| failed("socket", &error))?;
        signal(pid, libc::SIGHUP).map_err(|error| failed("signal", &error))?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match listener.accept() {
                // Anybody can connect, but only the proxy knows.
                Ok((stream, _)) if peer(&stream).is_some_and(|peer| u32::try_from(peer.pid) == Ok(pid)) => {
                    match read(stream) {
                        Ok(outcome) => return outcome,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(failed("answer", &error)),
                    }
                }
                Ok(_) => {}
                Err(_) if signal(pid, 0).is_err() => return Err(format!("reload of process {pid}: it has ended")),
                Err(_) => std::thread::sleep(LOOK),
            }
        }
        Err(format!("reload of process {pid}: no answer within {PATIENCE:?}"))
    }

    /// Who asked for a reload, and waits to be told what it comes to.
    pub struct Asker(UnixStream);

    impl Asker {
        /// Whoever waits now. This waits for nobody: anybody can listen at the name, and never accept.
        pub fn waiting() -> Option<Asker> {
            let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).ok()?;
            socket.set_nonblocking(true).ok()?;
            let address = socket2::SockAddr::unix(format!("\0{}", name(std::process::id()))).ok()?;
            socket.connect(&address).ok()?;
            let stream: UnixStream = OwnedFd::from(socket).into();
            // SAFETY: the call takes nothing.
            let own = unsafe { libc::geteuid() };
            // What is said may have lines of the file in it, which are nobody else's business.
            peer(&stream).filter(|peer| peer.uid == 0 || peer.uid == own).map(|_| Asker(stream))
        }

        /// Tells them.
        pub fn tell(mut self, outcome: &Outcome) {
            let (sign, line) = match outcome {
                Ok(line) => ('+', line),
                Err(line) => ('-', line),
            };
            // Who asked and does not read has only itself to blame: the line fits into the socket, or is cut off.
            let _ = self.0.write_all(format!("{sign}{line}").as_bytes());
        }
    }

    fn read(stream: UnixStream) -> io::Result<Outcome> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = String::new();
        stream.take(MOST).read_to_string(&mut text)?;
        match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(line), _) => Ok(Ok(line.to_string())),
            (_, Some(line)) => Ok(Err(line.to_string())),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Whether the signal that asks for a reload would not end the process: it has blocked it, as a proxy does that waits
    /// for it (proc(5), `SigBlk`).
    fn takes_the_signal(pid: u32) -> io::Result<bool> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let blocked = field("SigBlk:").and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
        Ok(blocked & (1 << (libc::SIGHUP - 1)) != 0)
    }

    fn signal(pid: u32, signal: i32) -> io::Result<()> {
        let pid = i32::try_from(pid).map_err(|_| io::Error::from_raw_os_error(libc::ESRCH))?;
        // SAFETY: the call takes numbers only.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The process at the other end (unix(7), `SO_PEERCRED`).
    fn peer(stream: &UnixStream) -> Option<libc::ucred> {
        let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        let place = (&raw mut credentials).cast();
        // SAFETY: the pointers are to live values, and the length is that of what is written to.
        let result =
            unsafe { libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &mut length) };
        (result == 0).then_some(credentials)
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::Outcome;

    /// This system has no abstract Unix sockets to be told by.
    pub fn ask(pid: u32) -> Outcome {
        Err(format!("reload of process {pid}: only Linux has what this needs; kill -HUP {pid} reloads, too"))
    }

    /// Nobody can have asked.
    pub enum Asker {}

    impl Asker {
        /// Nobody.
        pub fn waiting() -> Option<Asker> {
            None
        }

        /// Never called.
        pub fn tell(self, _outcome: &Outcome) {}
    }
}
