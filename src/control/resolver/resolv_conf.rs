//! What the system says of its DNS servers: resolv.conf(5).

use std::ffi::CString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

/// Which servers are asked, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers, in the order in which they are asked; at least one.
    pub servers: Vec<SocketAddr>,
    /// What is put behind names that may be short for others.
    pub search: Vec<String>,
    /// A name with so many dots is first asked for as it is.
    pub ndots: usize,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// How often each server is asked.
    pub attempts: u32,
    /// Whether another server is the first to be asked each time.
    pub rotate: bool,
    /// Whether TCP is used at once.
    pub over_tcp: bool,
}

/// The file.
pub const PATH: &str = "/etc/resolv.conf";

/// The port of servers.
const PORT: u16 = 53;

/// Bounds of the system's own resolver, which takes what is beyond them for the bound.
const MOST_SERVERS: usize = 3;
const MOST_DOTS: usize = 15;
const LONGEST_TIMEOUT: u64 = 30;
const MOST_ATTEMPTS: u32 = 5;

impl Default for ResolvConf {
    /// What holds where nothing is said.
    fn default() -> ResolvConf {
        ResolvConf {
            servers: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            over_tcp: false,
        }
    }
}

impl ResolvConf {
    /// What a file says; one that cannot be read says nothing.
    pub fn read(path: &Path) -> ResolvConf {
        fs::read(path).map_or_else(|_| ResolvConf::default(), |text| ResolvConf::parse(&String::from_utf8_lossy(&text)))
    }

    /// What a text says. Lines that are not understood are passed over, as everywhere else.
    pub fn parse(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        let mut servers = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(server)),
                Some("domain" | "search") => conf.search = words.filter_map(search_domain).collect(),
                Some("options") => words.for_each(|option| conf.set(option)),
                _ => {}
            }
        }
        servers.truncate(MOST_SERVERS);
        if !servers.is_empty() {
            conf.servers = servers;
        }
        conf
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u64>();
        match (name, number) {
            ("ndots", Ok(number)) => self.ndots = number.min(MOST_DOTS as u64) as usize,
            ("timeout", Ok(number)) => self.timeout = Duration::from_secs(number.clamp(1, LONGEST_TIMEOUT)),
            ("attempts", Ok(number)) => self.attempts = number.clamp(1, u64::from(MOST_ATTEMPTS)) as u32,
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.over_tcp = true,
            _ => {}
        }
    }

    /// The names that one may stand for, in the order in which they are asked for. A name that ends in a dot stands for
    /// itself only.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_string()];
        }
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        let place = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(place, name.to_string());
        names
    }
}

/// A domain without the dots around it; nothing is left of the root, which every name has behind it anyway.
fn search_domain(word: &str) -> Option<String> {
    Some(word.trim_matches('.')).filter(|domain| !domain.is_empty()).map(str::to_string)
}

/// A server's address; one of a link has its interface behind it, as a name or a number.
fn server(word: &str) -> Option<SocketAddr> {
    let Some((ip, interface)) = word.split_once('%') else {
        return word.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    };
    let ip: Ipv6Addr = ip.parse().ok()?;
    let number = interface.parse().ok().or_else(|| interface_number(interface))?;
    Some(SocketAddrV6::new(ip, PORT, 0, number).into())
}

fn interface_number(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends in NUL and outlives the call, which keeps nothing of it.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_systems_resolver_reads_it() {
        let conf = ResolvConf::parse(
            "# a comment\n; another\nnameserver 192.0.2.1 # the first\nnameserver\t2001:db8::1\nnameserver nonsense\n\
             nameserver fe80::1%7\nnameserver 192.0.2.4\ndomain old.example\nsearch a.example. . b.example ; c.example\n\
             options ndots:3 timeout:1 attempts:4\noptions rotate no-such-option timeout:x use-vc\nsortlist 1.2.3.4\n",
        );
        let link = SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7);
        assert_eq!(
            conf,
            ResolvConf {
                servers: vec!["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap(), link.into()],
                search: vec!["a.example".into(), "b.example".into()],
                ndots: 3,
                timeout: Duration::from_secs(1),
                attempts: 4,
                rotate: true,
                over_tcp: true,
            }
        );
    }

    #[test]
    fn what_is_missing_or_beyond_bounds_is_as_the_system_has_it() {
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
        assert_eq!(ResolvConf::read(Path::new("/no/such/file")), ResolvConf::default());
        assert_eq!(ResolvConf::default().servers, ["127.0.0.1:53".parse().unwrap()]);
        let conf = ResolvConf::parse("options ndots:99 timeout:0 attempts:0");
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (15, Duration::from_secs(1), 1));
        let conf = ResolvConf::parse("options timeout:9999999999 attempts:9999999999 ndots:-1");
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (1, Duration::from_secs(30), 5));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_has_a_name_or_a_number() {
        let link = server("fe80::1%lo").unwrap();
        assert!(matches!(link, SocketAddr::V6(link) if link.scope_id() != 0), "{link}");
        assert_eq!(server("fe80::1%no-such"), None);
        assert_eq!(server("192.0.2.1%1"), None);
    }

    #[test]
    fn short_names_are_looked_for_in_the_domains() {
        let conf = ResolvConf::parse("search a.example b.example\noptions ndots:2");
        assert_eq!(conf.candidates("web"), ["web.a.example", "web.b.example", "web"]);
        assert_eq!(conf.candidates("_x._tcp.web"), ["_x._tcp.web", "_x._tcp.web.a.example", "_x._tcp.web.b.example"]);
        assert_eq!(conf.candidates("web."), ["web."]);
        assert_eq!(ResolvConf::default().candidates("web"), ["web"]);
    }
}
