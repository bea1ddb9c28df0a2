//! Two proxies, one near the client and one near the server, and the relay between them if there is one.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::options::Settings;
use crate::clock::Moment;
use crate::failure::Failure;
use crate::interrupt;
use crate::process::Group;
use crate::proxy::free_address;
use crate::relay::{Relay, Rule};
use crate::transport::Transport;
use crate::usage::Usage;

/// What all chains have in common.
pub struct Kit {
    pub settings: Settings,
    pub cproxy: PathBuf,
    /// A directory for logs and keys.
    pub scratch: PathBuf,
    /// How many chains were started.
    chains: AtomicUsize,
}

/// How the two proxies are joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Joint {
    /// There are no proxies: what connects the client and the server is the relay.
    Direct,
    /// By a TCP connection for each session.
    Plain,
    /// By so many lanes for each session.
    Striped { lanes: usize, key: Key },
}

/// Whether lanes are encrypted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Key {
    None,
    Shared,
}

/// A chain that runs; dropped, it is ended.
pub struct Chain {
    /// The near one and the far one, if there are any.
    proxies: Vec<Proxy>,
    /// What is between them, unless they are connected directly.
    pub relay: Option<Relay>,
    /// Where clients connect to.
    pub entry: SocketAddr,
    /// Where the far proxy connects to.
    pub server: TcpListener,
}

/// One of the two.
struct Proxy {
    /// What it is called in messages.
    end: &'static str,
    group: Group,
    /// Where its standard error goes.
    errors: PathBuf,
}

/// How long a proxy has until it listens.
const START: Duration = Duration::from_secs(10);

impl Kit {
    pub fn new(settings: Settings, cproxy: PathBuf, scratch: &Path) -> Self {
        Self { settings, cproxy, scratch: scratch.to_owned(), chains: AtomicUsize::new(0) }
    }

    /// The words that start a proxy; `{listen}`, `{target}`, `{lanes}` and `{key}` are still in them.
    fn words(&self, joint: Joint, end: &str) -> Vec<String> {
        let program = self.cproxy.display().to_string();
        let line = match (joint, end) {
            (Joint::Plain, _) => "-l {listen} -r {target}",
            (_, "near") => "-l {listen} -r stripe:{target} --lanes {lanes} {key}",
            _ => "-l stripe:{listen} -r {target} {key}",
        };
        let given = if end == "near" { &self.settings.near } else { &self.settings.far };
        match (joint, given) {
            (Joint::Striped { .. }, Some(given)) => given.iter().chain(&self.settings.arguments).cloned().collect(),
            _ => {
                let more = if joint == Joint::Plain { &[] } else { &self.settings.arguments[..] };
                let words = line.split(' ').map(str::to_owned);
                [program].into_iter().chain(words).chain(more.iter().cloned()).collect()
            }
        }
    }

    /// A key file, made by the program itself when it is first asked for.
    fn key_file(&self) -> Result<PathBuf, Failure> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.scratch.join("key");
        if !file.exists() {
            let made = Command::new(&self.cproxy).arg("--make-key").stdin(Stdio::null()).output()?;
            if !made.status.success() {
                return Err(Failure::Broken(format!("--make-key: {}", String::from_utf8_lossy(&made.stderr).trim())));
            }
            fs::write(&file, made.stdout)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }

    /// Starts one proxy and waits until it listens.
    fn start_proxy(
        &self,
        joint: Joint,
        end: &'static str,
        number: usize,
        listen: SocketAddr,
        target: SocketAddr,
    ) -> Result<Proxy, Failure> {
        let (lanes, key) = match joint {
            Joint::Direct | Joint::Plain => (1, Key::None),
            Joint::Striped { lanes, key } => (lanes, key),
        };
        let key = match key {
            Key::None => vec![],
            Key::Shared => vec!["--stripe-key".to_owned(), self.key_file()?.display().to_string()],
        };
        let fill = |word: String| match word.as_str() {
            "{key}" => key.clone(),
            _ => vec![
                word.replace("{listen}", &listen.to_string())
                    .replace("{target}", &target.to_string())
                    .replace("{lanes}", &lanes.to_string()),
            ],
        };
        let mut words = self.words(joint, end).into_iter().flat_map(fill);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        let directory = self.settings.logs.as_deref().unwrap_or(&self.scratch);
        let errors = directory.join(format!("{number:03}-{end}.errors"));
        command.stderr(File::create(&errors)?);
        match self.settings.logs {
            Some(_) => command.stdout(File::create(directory.join(format!("{number:03}-{end}.log")))?),
            // As in the other loads; what a log costs is not what is measured.
            None => command.stdout(Stdio::null()),
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let mut group = Group::start(&mut command, libc::SIGTERM).map_err(|error| Failure::of(program, error))?;
        let deadline = Moment::now().after(START);
        while !listens(listen) {
            interrupt::check()?;
            if let Some(status) = group.ended()? {
                let said = fs::read_to_string(&errors).unwrap_or_default();
                let said = if said.is_empty() { "--logs keeps what it says" } else { said.trim() };
                return Err(Failure::Broken(format!("the {end} proxy ended ({status}): {said}")));
            }
            if deadline.from_now().is_zero() {
                return Err(Failure::Broken(format!("the {end} proxy did not listen in {START:?}")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Proxy { end, group, errors })
    }
}

impl Chain {
    /// Starts a chain. With rules, there is a relay between the proxies that treats connections by them.
    pub fn start(kit: &Kit, joint: Joint, rules: &[Rule]) -> Result<Self, Failure> {
        let joint = match joint {
            Joint::Striped { .. } if kit.settings.plain => Joint::Plain,
            other => other,
        };
        let number = kit.chains.fetch_add(1, Ordering::Relaxed);
        let server = TcpListener::bind(("127.0.0.1", 0))?;
        let relay = |target| match rules {
            [] => Ok(None),
            rules => Relay::start(target, rules.to_vec()).map(Some),
        };
        if joint == Joint::Direct {
            let target = server.local_addr()?;
            let relay = relay(target)?;
            let entry = relay.as_ref().map_or(target, |relay| relay.address);
            return Ok(Self { proxies: Vec::new(), relay, entry, server });
        }
        let far_address = free_address(Transport::Tcp)?;
        let far = kit.start_proxy(joint, "far", number, far_address, server.local_addr()?)?;
        let relay = relay(far_address)?;
        let entry = free_address(Transport::Tcp)?;
        let next = relay.as_ref().map_or(far_address, |relay| relay.address);
        let near = kit.start_proxy(joint, "near", number, entry, next)?;
        Ok(Self { proxies: vec![near, far], relay, entry, server })
    }

    /// What the near proxy and the far one have used so far.
    pub fn usage(&self) -> Vec<Usage> {
        self.proxies.iter().map(|proxy| Usage::of(proxy.group.leader())).collect()
    }

    /// CPU time, user and system, that both proxies have used so far.
    pub fn cpu(&self) -> Duration {
        self.usage().iter().map(|usage| usage.cpu).sum()
    }

    /// A failure, with what the proxies have said about it or how they have ended.
    pub fn explain(&mut self, failure: Failure) -> Failure {
        let Failure::Broken(mut reason) = failure else { return failure };
        for Proxy { end, group, errors } in &mut self.proxies {
            if let Ok(Some(status)) = group.ended() {
                reason.push_str(&format!("; the {end} proxy ended ({status})"));
            }
            let said = fs::read_to_string(errors).unwrap_or_default();
            if let Some(last) = said.lines().last() {
                reason.push_str(&format!("; the {end} proxy said: {last}"));
            }
        }
        Failure::Broken(reason)
    }
}

/// Whether something listens at an address of IPv4. The kernel is asked, since a connection would be a session, and a
/// session takes connections of the relay.
fn listens(address: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    is_listed(&table, address)
}

/// Whether a listener at `address` is in the text of `/proc/net/tcp`.
fn is_listed(table: &str, address: SocketAddr) -> bool {
    let SocketAddr::V4(address) = address else { return false };
    // The address as the machine has it in memory.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port());
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).any(|fields| {
        const LISTEN: &str = "0A";
        fields.get(1) == Some(&local.as_str()) && fields.get(3) == Some(&LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_without_a_connection_to_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(listens(address));
        drop(listener);
        assert!(!listens(address));
    }
}
