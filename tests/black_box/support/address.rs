//! Kinds of addresses, and places for sockets in the file system.

use socket2::SockAddr;
use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The kinds of addresses that a listener and a remote can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    V4,
    V6,
    UnixPath,
    UnixAbstract,
}

impl Kind {
    /// The kinds that this machine has.
    pub fn all() -> Vec<Kind> {
        let mut kinds = Kind::tcp();
        kinds.push(Kind::UnixPath);
        if cfg!(any(target_os = "linux", target_os = "android")) {
            kinds.push(Kind::UnixAbstract);
        }
        kinds
    }

    /// Those of them that are TCP.
    pub fn tcp() -> Vec<Kind> {
        if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            vec![Kind::V4, Kind::V6]
        } else {
            super::skip("this machine has no ::1");
            vec![Kind::V4]
        }
    }

    pub fn is_tcp(self) -> bool {
        matches!(self, Kind::V4 | Kind::V6)
    }

    /// A fresh address of this kind; a port is left to the kernel.
    pub fn fresh(self, directory: &TempDir) -> Address {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        match self {
            Kind::V4 => Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()),
            Kind::V6 => Address::Tcp((Ipv6Addr::LOCALHOST, 0).into()),
            Kind::UnixPath => Address::Path(directory.path().join(format!("socket-{number}"))),
            Kind::UnixAbstract => Address::Abstract(format!("cproxy-test-{}-{number}", std::process::id())),
        }
    }
}

/// An address that something listens on, or is to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Path(PathBuf),
    Abstract(String),
}

impl Address {
    /// As the log writes it: `127.0.0.1:5000`, `::1:5000`, `unix:/path`, `unix:@name`.
    pub fn parse(text: &str) -> Address {
        match (text.strip_prefix("unix:@"), text.strip_prefix("unix:")) {
            (Some(name), _) => Address::Abstract(name.into()),
            (_, Some(path)) => Address::Path(path.into()),
            _ => {
                let (host, port) = text.rsplit_once(':').expect(text);
                Address::Tcp(SocketAddr::new(host.parse().expect(text), port.parse().expect(text)))
            }
        }
    }

    /// As the socket calls want it.
    pub fn socket_address(&self) -> SockAddr {
        match self {
            Address::Tcp(address) => SockAddr::from(*address),
            Address::Path(path) => SockAddr::unix(path).expect("a path"),
            Address::Abstract(name) => SockAddr::unix(format!("\0{name}")).expect("a name"),
        }
    }

    pub fn path(&self) -> &Path {
        match self {
            Address::Path(path) => path,
            other => panic!("{other} is no path"),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Address::Tcp(address) => address.port(),
            other => panic!("{other} has no port"),
        }
    }
}

/// As the log writes it, which the command line takes, too.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{}:{}", address.ip(), address.port()),
            Address::Path(path) => write!(f, "unix:{}", path.display()),
            Address::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cproxy-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it with this content.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
