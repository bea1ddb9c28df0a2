//! The proxies and servers that loads with figures are made of.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::process::{Helper, SERVER_COMMAND};
use crate::proxy::{Room, Running, free_address, haproxy_configuration, nginx_configuration, on_path};
use crate::server::Manner;
use crate::subcommand::Common;
use crate::transport::{Sides, Transport};
use crate::usage::Usage;
use crate::wire::FromServer;

/// What all loads have in common.
pub struct Kit {
    /// How long each window is in which something is counted.
    pub length: Duration,
    /// The other proxies that are installed.
    pub peers: Vec<Peer>,
    cproxy: PathBuf,
    /// More arguments for `cproxy`.
    arguments: Vec<String>,
    /// A directory for configurations and error output.
    scratch: PathBuf,
    /// How many descriptors each process may have.
    pub descriptors: u64,
    /// How many proxies were started.
    started: AtomicUsize,
}

/// Another proxy.
#[derive(Clone, Debug)]
pub struct Peer {
    pub kind: PeerKind,
    program: PathBuf,
}

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    Haproxy,
    Nginx,
}

impl PeerKind {
    fn program(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// How its rate is called.
    pub fn rate_label(self) -> &'static str {
        match self {
            Self::Haproxy => "rate of HAProxy",
            Self::Nginx => "rate of nginx",
        }
    }

    /// How the number of its clients is called that failed for no fault of theirs.
    pub fn failed_label(self) -> &'static str {
        match self {
            Self::Haproxy => "failed without a session on it, HAProxy",
            Self::Nginx => "failed without a session on it, nginx",
        }
    }

    /// How the ratio of ours to its rate is called.
    pub fn ratio_label(self) -> &'static str {
        match self {
            Self::Haproxy => "rate to that of HAProxy",
            Self::Nginx => "rate to that of nginx",
        }
    }
}

impl Kit {
    /// A kit for what the command line says, with this `cproxy` program.
    pub fn new(common: &Common, cproxy: PathBuf, scratch: &Path, descriptors: u64) -> Self {
        let find = |kind: PeerKind| Some(Peer { kind, program: on_path(kind.program())? });
        Self {
            length: common.length,
            peers: [PeerKind::Haproxy, PeerKind::Nginx].into_iter().filter_map(find).collect(),
            cproxy,
            arguments: common.arguments.clone(),
            scratch: scratch.to_owned(),
            descriptors,
            started: AtomicUsize::new(0),
        }
    }

    /// HAProxy, if it is installed.
    pub fn haproxy(&self) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.kind == PeerKind::Haproxy)
    }

    /// nginx, if it is installed.
    pub fn nginx(&self) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.kind == PeerKind::Nginx)
    }

    /// A new name in the scratch directory, with this end.
    pub fn file(&self, end: &str) -> PathBuf {
        self.scratch.join(format!("{:04}-{end}", self.started.fetch_add(1, Ordering::Relaxed)))
    }

    /// Starts `cproxy` with these remotes, as it takes them, and more arguments.
    pub fn cproxy(&self, remotes: &[String], arguments: &[&str]) -> Result<Running, Failure> {
        self.program(&self.cproxy, remotes, arguments)
    }

    /// Starts another program that has the command line of `cproxy`.
    pub fn program(&self, program: &Path, remotes: &[String], arguments: &[&str]) -> Result<Running, Failure> {
        let entry = free_address(Transport::Tcp)?;
        let mut command = Command::new(program);
        command.arg("-l").arg(entry.to_string());
        for remote in remotes {
            command.arg("-r").arg(remote);
        }
        command.args(arguments).args(&self.arguments);
        Running::start(command, Transport::Tcp, entry, &self.file("cproxy.errors"))
    }

    /// The first of these options that `cproxy` does not have.
    pub fn lacks<'a>(&self, options: &[&'a str]) -> Result<Option<&'a str>, Failure> {
        let output = Command::new(&self.cproxy)
            .arg("--help")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::of(self.cproxy.display(), error))?;
        let help = String::from_utf8_lossy(&output.stdout);
        let has =
            |option: &str| help.split(|c: char| c.is_whitespace() || ",=[".contains(c)).any(|word| word == option);
        Ok(options.iter().copied().find(|option| !has(option)))
    }

    /// Starts another proxy with these remotes, and more lines in the section of its configuration that names them.
    pub fn peer(&self, peer: &Peer, targets: &[SocketAddr], more: &str) -> Result<Running, Failure> {
        let entry = free_address(Transport::Tcp)?;
        let file = self.file(peer.kind.program());
        let mut command = Command::new(&peer.program);
        match peer.kind {
            PeerKind::Haproxy => {
                fs::write(&file, haproxy_configuration(entry, targets, more, self.descriptors))?;
                command.arg("-db").arg("-f").arg(&file);
            }
            PeerKind::Nginx => {
                let room = Room { scratch: &self.scratch, descriptors: self.descriptors };
                fs::write(&file, nginx_configuration(Sides::TCP, entry, targets, more, &room))?;
                command.args(["-e", "stderr", "-p"]).arg(&self.scratch).arg("-c").arg(&file);
            }
        }
        Running::start(command, Transport::Tcp, entry, &file.with_extension("errors"))
    }
}

/// A server process that listens at several ports; dropped, it is killed.
pub struct Server {
    helper: Helper,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Where it takes datagrams.
    pub udp: SocketAddr,
}

/// How long a server has to answer.
const ANSWER: Duration = Duration::from_secs(20);

impl Server {
    /// One that plays the parts that it is asked for, at so many ports.
    pub fn start(ports: usize) -> Result<Self, Failure> {
        Self::start_as(Manner::Plain, ports)
    }

    /// One with other manners.
    pub fn start_as(manner: Manner, ports: usize) -> Result<Self, Failure> {
        let mut helper = Helper::start(SERVER_COMMAND, &[ports.to_string(), manner.word().to_owned()])?;
        match helper.receive(Moment::now().after(ANSWER))? {
            FromServer::Listening(places, addresses) => Ok(Self { helper, addresses, udp: places.udp }),
            FromServer::Received(_) => Err(Failure::of(SERVER_COMMAND, "did not say where it listens")),
        }
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        self.helper.usage()
    }
}

/// Addresses as `cproxy` takes remotes.
pub fn written(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}
