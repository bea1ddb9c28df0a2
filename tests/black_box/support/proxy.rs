//! The proxy as a process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

use super::{Address, Ended, Kind, Line, Log, Peer, Remote, Stream, TempDir, until};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cproxy"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    // A shell that runs the tests in the background has them ignore SIGINT, and nohup(1) SIGHUP, which would be respected.
    let heed_signals = || {
        // SAFETY: no handler is involved.
        unsafe {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            libc::signal(libc::SIGTERM, libc::SIG_DFL);
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
        }
        Ok(())
    };
    // SAFETY: signal(2) may be called after fork(2).
    unsafe { command.pre_exec(heed_signals) };
    command
}

/// What a command line that does not run the proxy printed.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program with arguments that make it end by itself.
pub fn run<A: AsRef<OsStr>>(arguments: &[A]) -> Finished {
    let mut command = command();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard(command.spawn().expect("the program"));
    let stdout = read_all(child.0.stdout.take());
    let stderr = read_all(child.0.stderr.take());
    let status = child.wait();
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader");
    Finished { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn read_all(source: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        source.expect("a pipe").read_to_string(&mut text).expect("text");
        text
    })
}

/// Kills the process if it is still there.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn wait(&mut self) -> ExitStatus {
        until("the end of the process", || self.0.try_wait().expect("a child"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What becomes of the proxy's standard output.
#[derive(Debug, Default)]
pub enum Output {
    /// It is read all the time.
    #[default]
    Read,
    /// It is a pipe, read when the test says so.
    Unread,
    /// It is closed.
    Closed,
    /// It is this file.
    File(File),
}

/// A proxy that is to be started.
#[derive(Debug)]
pub struct Setup {
    command: Command,
    listeners: Vec<Address>,
    output: Output,
    directory: TempDir,
    show: Vec<String>,
}

impl Setup {
    /// More arguments.
    pub fn args(mut self, arguments: &[&str]) -> Setup {
        self.show.extend(arguments.iter().map(|a| a.to_string()));
        self.command.args(arguments);
        self
    }

    /// One more listener.
    pub fn listen_on(mut self, address: Address) -> Setup {
        self = self.args(&["-l", &address.to_string()]);
        self.listeners.push(address);
        self
    }

    /// With this remote.
    pub fn to(self, remote: &Address) -> Setup {
        self.args(&["-r", &remote.to_string()])
    }

    pub fn env(mut self, name: &str, value: &str) -> Setup {
        self.command.env(name, value);
        self
    }

    pub fn output(mut self, output: Output) -> Setup {
        self.output = output;
        self
    }

    /// Runs this in the child before the program; it must keep to calls that are allowed after fork(2).
    pub fn before(mut self, prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Setup {
        // SAFETY: the tests' closures make system calls only, on values made before the fork.
        unsafe { self.command.pre_exec(prepare) };
        self
    }

    /// Sets both limits on the child's descriptors.
    pub fn descriptors(self, soft: u64, hard: u64) -> Setup {
        self.before(move || {
            let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
            // SAFETY: the pointer is to a live rlimit.
            match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        })
    }

    /// Starts it, and waits until it listens everywhere.
    pub fn start(self) -> Proxy {
        self.try_start().expect("the program")
    }

    /// The same where [`Setup::before`] may fail.
    pub fn try_start(mut self) -> io::Result<Proxy> {
        // The same tests hold with other flags, such as `--zero-copy never`.
        let flags = std::env::var("CPROXY_TEST_FLAGS").unwrap_or_default();
        self.command.args(flags.split_whitespace());
        let is_read = matches!(self.output, Output::Read);
        match self.output {
            Output::Read | Output::Unread => self.command.stdout(Stdio::piped()),
            Output::File(file) => self.command.stdout(file),
            Output::Closed => {
                // SAFETY: closing is all that is done.
                unsafe {
                    self.command.pre_exec(|| {
                        libc::close(1);
                        Ok(())
                    })
                }
            }
        };
        let mut child = Guard(self.command.spawn()?);
        let stdout = child.0.stdout.take();
        let mut proxy = Proxy {
            child,
            stdout,
            log: Log::default(),
            listeners: self.listeners,
            show: self.show,
            _directory: self.directory,
        };
        if is_read {
            proxy.read_output();
            proxy.listeners = proxy.log.wait("all listeners", |lines| {
                let mut listeners: Vec<Address> = Vec::new();
                for line in lines.iter().filter(|line| line.message.starts_with("listening on ")) {
                    let address = line.listener();
                    // Each I/O thread may have one of its own at the same address.
                    if !listeners.contains(&address) {
                        listeners.push(address);
                    }
                }
                (listeners.len() >= proxy.listeners.len()).then_some(listeners)
            });
        }
        Ok(proxy)
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Guard,
    stdout: Option<ChildStdout>,
    pub log: Log,
    pub listeners: Vec<Address>,
    show: Vec<String>,
    _directory: TempDir,
}

impl Proxy {
    /// A proxy that listens on fresh addresses of these kinds.
    pub fn on(kinds: &[Kind]) -> Setup {
        let directory = TempDir::new();
        let addresses: Vec<Address> = kinds.iter().map(|kind| kind.fresh(&directory)).collect();
        let setup =
            Setup { command: command(), listeners: Vec::new(), output: Output::Read, directory, show: Vec::new() };
        addresses.into_iter().fold(setup, Setup::listen_on)
    }

    /// A proxy between a listener of this kind and `remote`.
    pub fn between(kind: Kind, remote: &Remote) -> Setup {
        Proxy::on(&[kind]).to(&remote.address)
    }

    /// A client of the first listener.
    pub fn connect(&self) -> Stream {
        self.connect_to(0)
    }

    /// A client of this listener.
    pub fn connect_to(&self, listener: usize) -> Stream {
        Stream::connect(&self.listeners[listener]).expect("a proxy that listens")
    }

    /// A client of the first listener, whose address is known, as soon as the proxy listens.
    pub fn connect_when_up(&self) -> Stream {
        until("a proxy that listens", || Stream::connect(&self.listeners[0]).ok())
    }

    /// A session: its client, and its remote's end.
    pub fn session(&self, remote: &Remote) -> (Stream, Stream) {
        let client = self.connect();
        (client, remote.accept())
    }

    /// A client of the first listener, which carries datagrams.
    pub fn peer(&self) -> Peer {
        Peer::connect(&self.listeners[0]).expect("a proxy that listens")
    }

    /// A session of datagrams, of which this is the first: its client, and its remote's end.
    pub fn datagram_session(&self, remote: &Remote, first: &str) -> (Peer, Peer) {
        let mut client = self.peer();
        client.send(first);
        let mut server = remote.peer();
        server.expect(first);
        (client, server)
    }

    /// How the first `count` sessions ended, in the order in which they did.
    pub fn ended(&self, count: usize) -> Vec<Ended> {
        self.log.lines("disconnect client to proxy ", count).iter().map(Ended::parse).collect()
    }

    /// How the only session ended.
    pub fn end(&self) -> Ended {
        self.ended(1).remove(0)
    }

    /// Reads standard output from now on.
    pub fn read_output(&mut self) {
        let output = self.take_output();
        self.log.read(output);
    }

    /// The reading end of the pipe that is standard output, for the caller to read or to close.
    pub fn take_output(&mut self) -> ChildStdout {
        self.stdout.take().expect("a pipe")
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child was not waited for, so the number is still its own.
        let result = unsafe { libc::kill(self.pid() as i32, signal) };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    pub fn kill(&mut self) {
        let _ = self.child.0.kill();
        self.child.wait();
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.0.try_wait().expect("a child").is_none()
    }

    /// Waits for its end, however that comes.
    pub fn ends(mut self) -> ExitStatus {
        self.child.wait()
    }

    /// Waits for its end, which must be a clean one.
    pub fn exits(&mut self) {
        let status = self.child.wait();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Waits for its clean end and returns all that it logged.
    pub fn finish(mut self) -> Vec<Line> {
        self.exits();
        self.log.complete()
    }

    /// Ends it by SIGTERM, cleanly, and returns all that it logged.
    pub fn stop(self) -> Vec<Line> {
        self.signal(libc::SIGTERM);
        self.finish()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("cproxy {} logged:\n{}", self.show.join(" "), self.log.text());
        }
    }
}
