//! The proxies that are compared, and how each is started.
//!
//! Every proxy runs one worker or thread, and otherwise its own defaults: only what a load cannot do without (enough
//! connections, no short timeouts) is set.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::clock::Moment;
use crate::datagram;
use crate::failure::Failure;
use crate::framing;
use crate::interrupt;
use crate::load::{Group as LoadGroup, Load};
use crate::process::Group;
use crate::session::{Role, WELCOME};
use crate::template::Template;
use crate::transport::{Sides, Transport};
use crate::usage::Usage;

/// One contestant.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// What it is called in the report.
    pub name: String,
    /// How it is started.
    pub recipe: Recipe,
}

/// How a proxy is started.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// No proxy: the client connects to the server.
    Direct,
    /// `cproxy`, or something with its command line, with more arguments.
    Cproxy { program: PathBuf, extra: Vec<String> },
    /// HAProxy, in TCP mode.
    Haproxy { program: PathBuf },
    /// nginx, its stream module, for TCP or UDP.
    Nginx { program: PathBuf },
    /// realm.
    Realm { program: PathBuf },
    /// socat, a process for each connection or each source of datagrams.
    Socat { program: PathBuf },
    /// Anything else.
    Peer(Commands),
}

/// How any other proxy is started; it carries what it has a command for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    /// For TCP, or for anything, if the command can be told what.
    pub tcp: Option<Template>,
    /// For UDP.
    pub udp: Option<Template>,
}

impl Commands {
    /// The command for these sides.
    fn find(&self, sides: Sides) -> Option<&Template> {
        let own = match sides {
            Sides::TCP => self.tcp.as_ref(),
            Sides::UDP => self.udp.as_ref(),
            _ => None,
        };
        own.or_else(|| [&self.tcp, &self.udp].into_iter().flatten().find(|template| template.takes_any_sides()))
    }
}

/// Both commands, if there are two.
impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<String> = [&self.tcp, &self.udp].into_iter().flatten().map(Template::to_string).collect();
        f.write_str(&commands.join("; "))
    }
}

/// A program's name, and the recipe that it makes.
type Known = (&'static str, fn(PathBuf) -> Recipe);

/// The program and its arguments, as far as the user chose them.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("none"),
            Self::Cproxy { program, extra } => {
                write!(f, "{}", program.display())?;
                extra.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::Haproxy { program } | Self::Nginx { program } | Self::Realm { program } | Self::Socat { program } => {
                write!(f, "{}", program.display())
            }
            Self::Peer(commands) => write!(f, "{commands}"),
        }
    }
}

/// What a proxy has to itself on this machine.
pub struct Room<'a> {
    /// A directory for its configuration and its error output.
    pub scratch: &'a Path,
    /// How many descriptors each of its processes may have.
    pub descriptors: u64,
}

/// Where distributions put nginx's stream module, if it is not built in.
const NGINX_STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// How long a proxy has to carry its first byte.
const START: Duration = Duration::from_secs(10);

impl Proxy {
    /// The well-known proxies that are installed.
    pub fn installed() -> Vec<Self> {
        let known: [Known; 4] = [
            ("haproxy", |program| Recipe::Haproxy { program }),
            ("nginx", |program| Recipe::Nginx { program }),
            ("realm", |program| Recipe::Realm { program }),
            ("socat", |program| Recipe::Socat { program }),
        ];
        let find = |(name, recipe): Known| Some(Self { name: name.to_owned(), recipe: recipe(on_path(name)?) });
        known.into_iter().filter_map(find).collect()
    }

    /// Why this proxy is not asked to carry `load`, if it is not.
    pub fn refusal(&self, load: Load) -> Option<&'static str> {
        let sides = load.sides();
        match (&self.recipe, load.group()) {
            (Recipe::Cproxy { .. }, _) => None,
            (Recipe::Peer(commands), _) => commands.find(sides).is_none().then_some("not told how"),
            (Recipe::Haproxy { .. }, _) if sides == Sides::UDP => Some("no UDP"),
            (Recipe::Direct, _) if !sides.are_alike() => Some("two transports"),
            (_, LoadGroup::Framed) => Some("no framed streams"),
            (Recipe::Socat { .. }, LoadGroup::Many | LoadGroup::Idle) => Some("a process for each connection"),
            (Recipe::Direct, LoadGroup::Idle) => Some("no proxy, no memory"),
            _ => None,
        }
    }

    /// Starts it between a free port and `target`, and waits until it carries bytes. Nothing is started for "direct".
    pub fn start(&self, sides: Sides, target: SocketAddr, room: &Room) -> Result<Option<Running>, Failure> {
        let entry = free_address(sides.client)?;
        let Some(command) = self.command(sides, entry, target, room)? else { return Ok(None) };
        Running::start(command, sides.client, entry, &room.scratch.join("stderr")).map(Some)
    }

    /// The command that runs it in the foreground, listening at `listen` and connecting to `target`. What it cannot
    /// carry it is not asked to (see [`Self::refusal`]).
    fn command(
        &self,
        sides: Sides,
        listen: SocketAddr,
        target: SocketAddr,
        room: &Room,
    ) -> Result<Option<Command>, Failure> {
        let command = match &self.recipe {
            Recipe::Direct => return Ok(None),
            Recipe::Cproxy { program, extra } => {
                let mut command = Command::new(program);
                command.args(["-l", &sides.client.written(listen), "-r", &sides.remote.written(target)]).args(extra);
                command
            }
            Recipe::Haproxy { program } => {
                let file = room.scratch.join("haproxy.cfg");
                fs::write(&file, haproxy_configuration(listen, &[target], "", room.descriptors))?;
                let mut command = Command::new(program);
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Recipe::Nginx { program } => {
                let file = room.scratch.join("nginx.conf");
                fs::write(&file, nginx_configuration(sides, listen, &[target], "", room))?;
                let mut command = Command::new(program);
                command.args(["-e", "stderr", "-p"]).arg(room.scratch).arg("-c").arg(file);
                command
            }
            Recipe::Realm { program } => {
                let mut command = Command::new(program);
                // Its runtime's own setting; without it there is a worker for each CPU.
                command.env("TOKIO_WORKER_THREADS", "1");
                command.args(["-l", &listen.to_string(), "-r", &target.to_string()]);
                if sides == Sides::UDP {
                    // UDP on, and TCP off.
                    command.args(["-u", "-t"]);
                }
                command
            }
            Recipe::Socat { program } => {
                let (port, ip) = (listen.port(), listen.ip());
                let (from, to) = match sides {
                    Sides::UDP => (format!("UDP4-LISTEN:{port},bind={ip},fork,reuseaddr"), format!("UDP4:{target}")),
                    // Its own backlog of 5 would measure how long a lost SYN takes to come again.
                    _ => (format!("TCP-LISTEN:{port},bind={ip},fork,reuseaddr,backlog=128"), format!("TCP:{target}")),
                };
                let mut command = Command::new(program);
                command.arg(from).arg(to);
                command
            }
            Recipe::Peer(commands) => {
                let template = commands.find(sides);
                let mut words = template.map_or(vec![], |template| template.expand(sides, listen, target)).into_iter();
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words);
                command
            }
        };
        Ok(Some(command))
    }
}

/// A proxy that runs; dropped, it is ended.
pub struct Running {
    group: Group,
    /// Where it accepts clients.
    pub entry: SocketAddr,
}

impl Running {
    /// Starts a proxy that is to take clients at `entry`, and waits until it carries bytes. What it says on standard error
    /// goes to the file `errors`.
    pub fn start(
        mut command: Command,
        transport: Transport,
        entry: SocketAddr,
        errors: &Path,
    ) -> Result<Self, Failure> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(errors)?);
        // SIGTERM, not SIGKILL: a master process passes it on to its workers.
        let group = Group::start(&mut command, libc::SIGTERM).map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            Failure::of(program, error)
        })?;
        let mut running = Self { group, entry };
        match running.wait_until_it_carries(transport) {
            Err(Failure::Broken(reason)) => {
                let said = fs::read_to_string(errors).unwrap_or_default();
                Err(Failure::Broken(format!("{reason} {}", said.trim()).trim().to_owned()))
            }
            other => other.map(|()| running),
        }
    }

    /// What it has used so far.
    pub fn usage(&self) -> Usage {
        Usage::of(self.group.leader())
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        match self.group.ended()? {
            Some(status) => Err(Failure::Broken(format!("the proxy ended ({status})"))),
            None => Ok(()),
        }
    }

    /// Waits until something comes back through it.
    fn wait_until_it_carries(&mut self, transport: Transport) -> Result<(), Failure> {
        let deadline = Moment::now().after(START);
        while !carries(self.entry, transport) {
            interrupt::check()?;
            self.check()?;
            if deadline.from_now().is_zero() {
                return Err(Failure::Broken(format!("the proxy carried nothing in {START:?}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Whether a session through `entry` reaches the server and back.
fn carries(entry: SocketAddr, transport: Transport) -> bool {
    let carried = match transport {
        Transport::Tcp => answer(entry, &[Role::Visit.byte()], 1).map(|answer| answer == [WELCOME]),
        Transport::Udp => datagram::socket().and_then(|socket| datagram::answers(&socket, entry)),
        Transport::Framed => {
            let mut knock = Vec::new();
            framing::append(&mut knock, &datagram::knock());
            answer(entry, &knock, knock.len()).map(|answer| answer == knock)
        }
    };
    carried.unwrap_or(false)
}

/// What comes back, up to a length, on a connection to `entry` on which `sent` is sent.
fn answer(entry: SocketAddr, sent: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&entry, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(sent)?;
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// An address that the kernel has just found free.
pub fn free_address(transport: Transport) -> io::Result<SocketAddr> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    match transport {
        Transport::Tcp | Transport::Framed => TcpListener::bind(any)?.local_addr(),
        Transport::Udp => UdpSocket::bind(any)?.local_addr(),
    }
}

/// Where on the PATH an executable file of this name is.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// A configuration for HAProxy that deals clients to `targets`, by these more lines of its `listen` section.
pub fn haproxy_configuration(listen: SocketAddr, targets: &[SocketAddr], more: &str, descriptors: u64) -> String {
    // Two descriptors a session, and some for itself; with several targets, each may be checked.
    let spare = 200 + targets.len().saturating_sub(1) as u64;
    let sessions = (descriptors.saturating_sub(spare) / 2).min(9_900);
    let server = |(index, target)| format!("\x20   server target{index} {target}\n");
    let servers: String = targets.iter().enumerate().map(server).collect();
    format!(
        "global\n\
         \x20   nbthread 1\n\
         \x20   maxconn {sessions}\n\
         defaults\n\
         \x20   mode tcp\n\
         \x20   timeout connect 10s\n\
         \x20   timeout client 1h\n\
         \x20   timeout server 1h\n\
         listen bench\n\
         \x20   bind {listen}\n\
         {more}\
         {servers}"
    )
}

/// What nginx calls the format of its access log.
pub const NGINX_FORMAT_NAME: &str = "visits";

/// A line of its access log, for who asks for one: what is known of a session, as JSON.
const NGINX_FORMAT: &str = "{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr:$remote_port\",\
    \"listener\":\"$server_addr:$server_port\",\"remote\":\"$upstream_addr\",\
    \"connect_time\":\"$upstream_connect_time\",\"duration\":$session_time,\
    \"upstream_bytes\":$bytes_received,\"downstream_bytes\":$bytes_sent,\"status\":$status}";

/// A configuration for nginx that deals clients to `targets`, by these more lines of its `upstream` section; with one
/// target, which needs none, they are of its `server` section.
pub fn nginx_configuration(
    sides: Sides,
    listen: SocketAddr,
    targets: &[SocketAddr],
    more: &str,
    room: &Room,
) -> String {
    let udp = if sides == Sides::UDP { " udp" } else { "" };
    let module = match Path::new(NGINX_STREAM_MODULE).exists() {
        true => format!("load_module {NGINX_STREAM_MODULE};\n"),
        false => String::new(),
    };
    let (scratch, descriptors) = (room.scratch.display(), room.descriptors);
    let servers: String = targets.iter().map(|target| format!("server {target}; ")).collect();
    let (upstream, to, more) = match targets {
        [target] => (String::new(), target.to_string(), more),
        _ => (format!("upstream targets {{ {more}{servers}}}\n"), "targets".to_owned(), ""),
    };
    format!(
        "{module}\
         worker_processes 1;\n\
         worker_rlimit_nofile {descriptors};\n\
         daemon off;\n\
         pid {scratch}/nginx.pid;\n\
         error_log stderr crit;\n\
         events {{ worker_connections 20000; }}\n\
         stream {{ log_format {NGINX_FORMAT_NAME} escape=json '{NGINX_FORMAT}';\n\
         {upstream}server {{ listen {listen}{udp}; {more}proxy_pass {to}; proxy_timeout 1h; }} }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Side;

    #[test]
    fn haproxy_is_not_told_to_take_more_sessions_than_descriptors_allow() {
        let (listen, target) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        assert!(haproxy_configuration(listen, &[target], "", 1024).contains("maxconn 412\n"));
        assert!(haproxy_configuration(listen, &[target], "", 1 << 20).contains("maxconn 9900\n"));
    }

    #[test]
    fn socat_is_spared_what_would_fork_thousands() {
        let socat = Proxy { name: "socat".to_owned(), recipe: Recipe::Socat { program: PathBuf::new() } };
        assert!(socat.refusal(Load::Idle { sessions: 2000 }).is_some());
        assert!(socat.refusal(Load::PING_64).is_none());
    }

    #[test]
    fn a_peer_is_asked_for_what_it_has_a_command_for() {
        let template = |line| Some(Template::parse(line).unwrap());
        let refused = |tcp, udp| {
            let peer = Proxy { name: "p".to_owned(), recipe: Recipe::Peer(Commands { tcp, udp }) };
            let loads = [Load::PING_64, Load::Flood { size: 64 }, Load::Framed { stream: Side::Client }];
            loads.map(|load| peer.refusal(load).is_some())
        };
        let plain = || template("p {listen} {target}");
        assert_eq!(refused(plain(), None), [false, true, true]);
        assert_eq!(refused(None, plain()), [true, false, true]);
        assert_eq!(refused(plain(), plain()), [false, false, true]);
        assert_eq!(refused(template("p {from} {to}"), None), [false, false, false]);
    }
}
