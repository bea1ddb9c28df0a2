//! Tells the service manager, if one started the program, how far it is: the protocol of sd_notify(3).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The environment variable with the address of the manager's socket.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// How long a manager that does not read may keep the program waiting.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What threads need to end after the last session was reset.
const MARGIN: Duration = Duration::from_secs(5);

/// Every listener is bound: clients may come. The status is one line for people to read.
///
/// # Errors
///
/// The system's, where there is a manager and it cannot be reached.
pub fn ready(status: &str) -> io::Result<()> {
    tell(&format!("READY=1\nSTATUS={}", status.replace('\n', " ")))
}

/// The configuration is being read again; [`ready`] follows, whatever comes of it.
///
/// # Errors
///
/// As [`ready`].
pub fn reloading() -> io::Result<()> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000))
}

/// No more clients are taken, and sessions have this long to end. The manager is asked for as much patience.
///
/// # Errors
///
/// As [`ready`].
pub fn stopping(drain_timeout: Duration) -> io::Result<()> {
    tell(&stopping_state(drain_timeout))
}

fn stopping_state(drain_timeout: Duration) -> String {
    // One less than the largest number, which means "never" to the manager.
    let patience = drain_timeout.saturating_add(MARGIN).as_micros().min(u128::from(u64::MAX - 1));
    format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={patience}")
}

fn tell(state: &str) -> io::Result<()> {
    match env::var_os(VARIABLE) {
        Some(manager) if !manager.is_empty() => send(&manager, state),
        _ => Ok(()),
    }
}

fn send(manager: &OsStr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    socket.connect_addr(&address(manager)?)?;
    socket.send(state.as_bytes()).map(drop)
}

/// An absolute path, or `@` and a name in the abstract namespace.
fn address(manager: &OsStr) -> io::Result<SocketAddr> {
    match manager.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(manager),
        #[cfg(any(target_os = "linux", target_os = "android"))]
        [b'@', name @ ..] => {
            #[cfg(target_os = "android")]
            use std::os::android::net::SocketAddrExt;
            #[cfg(target_os = "linux")]
            use std::os::linux::net::SocketAddrExt;
            SocketAddr::from_abstract_name(name)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::{fs, process};

    /// A path that no other test has, removed at the end.
    struct Path(PathBuf);

    impl Path {
        fn new(name: &str) -> Path {
            Path(env::temp_dir().join(format!("cproxy-notify-{name}-{}", process::id())))
        }
    }

    impl Drop for Path {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_at_a_path_is_told() {
        let path = Path::new("path");
        let manager = UnixDatagram::bind(&path.0).unwrap();
        send(path.0.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("@cproxy-notify-{}", process::id());
        let manager = UnixDatagram::bind_addr(&address(OsStr::new(&name)).unwrap()).unwrap();
        send(OsStr::new(&name), "READY=1").unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn a_manager_that_is_not_there_is_an_error() {
        let path = Path::new("nobody");
        assert_eq!(send(path.0.as_os_str(), "READY=1").unwrap_err().kind(), io::ErrorKind::NotFound);
        for other in ["vsock:2:1234", "relative", "@", "/"] {
            assert!(send(OsStr::new(other), "READY=1").is_err(), "{other}");
        }
    }

    #[test]
    fn the_manager_waits_longer_than_sessions_may_take() {
        assert_eq!(stopping_state(Duration::ZERO), "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000");
        assert_eq!(stopping_state(Duration::from_secs(30)), "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000");
        assert_eq!(stopping_state(Duration::MAX), "STOPPING=1\nEXTEND_TIMEOUT_USEC=18446744073709551614");
    }
}
