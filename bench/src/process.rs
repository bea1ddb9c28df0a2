//! Child processes that never outlive their use.
//!
//! Each child leads a process group of its own. When its [`Group`] is dropped, on whatever path, the whole group is
//! killed and reaped. If the controller itself is killed, the kernel passes the news on (PR_SET_PDEATHSIG).

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::usage::Usage;
use crate::wire;

/// The hidden subcommand that makes this program the load's server.
pub const SERVER_COMMAND: &str = "server";
/// The hidden subcommand that makes this program the load's client.
pub const CLIENT_COMMAND: &str = "client";

/// Makes this process the parent of every descendant whose own parent ends, so that a [`Group`] can reap them all.
pub fn adopt_orphans() {
    // SAFETY: this option takes integers only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
}

/// A child process and all it starts.
pub struct Group {
    child: Child,
}

impl Group {
    /// Starts `command` as the leader of a new process group. If this thread ends first, the leader gets `last_signal`.
    pub fn start(command: &mut Command, last_signal: libc::c_int) -> io::Result<Self> {
        command.process_group(0);
        // SAFETY: between fork and exec, prctl with integers is a plain system call; it neither allocates nor locks.
        unsafe {
            command.pre_exec(move || match libc::prctl(libc::PR_SET_PDEATHSIG, last_signal) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            })
        };
        Ok(Self { child: command.spawn()? })
    }

    /// The leader's process id, which is the group's id too.
    pub fn leader(&self) -> libc::pid_t {
        self.child.id() as libc::pid_t
    }

    /// How the leader ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = -self.leader();
        // SAFETY: plain system calls; a null status pointer is allowed. The group is this child's own, so no process of
        // anybody else is hit or waited for.
        unsafe {
            libc::kill(group, libc::SIGKILL);
            while libc::waitpid(group, std::ptr::null_mut(), 0) > 0
                || io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
            {}
        }
    }
}

/// This program in one of its other parts, with a line to it and a line back.
pub struct Helper {
    /// Named so that an error says whose it is.
    part: &'static str,
    to: ChildStdin,
    from: ChildStdout,
    /// What has been read and is not yet a whole line.
    unread: Vec<u8>,
    group: Group,
}

impl Helper {
    /// Starts this program with the hidden subcommand `part`.
    pub fn start(part: &'static str, arguments: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(part).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut group = Group::start(&mut command, libc::SIGKILL)?;
        let (to, from) = (group.child.stdin.take(), group.child.stdout.take());
        let (Some(to), Some(from)) = (to, from) else {
            unreachable!("both were asked to be pipes");
        };
        Ok(Self { part, to, from, unread: Vec::new(), group })
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        Usage::of(self.group.leader())
    }

    /// Sends one message.
    pub fn send(&mut self, message: &impl Serialize) -> Result<(), Failure> {
        wire::send(&mut self.to, message).map_err(|error| Failure::of(self.part, error))
    }

    /// Receives one message, until `deadline` at the latest.
    pub fn receive<T: DeserializeOwned>(&mut self, deadline: Moment) -> Result<T, Failure> {
        let line = loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                break self.unread.drain(..=end).collect::<Vec<u8>>();
            }
            self.wait(deadline)?;
            let mut chunk = [0; 4096];
            match self.from.read(&mut chunk) {
                Ok(0) => return Err(Failure::of(self.part, "ended before it answered")),
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
                Err(error) => return Err(Failure::of(self.part, error)),
            }
        };
        serde_json::from_slice(&line).map_err(|error| Failure::of(self.part, error))
    }

    /// Waits until something can be read.
    fn wait(&self, deadline: Moment) -> Result<(), Failure> {
        loop {
            interrupt::check()?;
            let left = deadline.from_now();
            if left.is_zero() {
                return Err(Failure::of(self.part, "did not answer in time"));
            }
            let mut poll = libc::pollfd { fd: self.from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            let slice = left.min(interrupt::SLICE).as_millis() as libc::c_int + 1;
            // SAFETY: one valid pollfd, and a count of one.
            if unsafe { libc::poll(&mut poll, 1, slice) } > 0 {
                return Ok(());
            }
        }
    }
}
