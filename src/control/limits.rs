//! The process's limit on open descriptors, and how many sessions fit into it.

use std::io;

use super::health::{changes, needs_keeper};
use super::resolver::Resolver;
use super::status::Status;
use crate::address::EndpointAddress;
use crate::config::settings::{RemoteSettings, ServiceSettings, Settings};

/// The descriptors that the process may have, and what of them is taken already.
#[derive(Debug)]
pub struct Descriptors {
    limit: u64,
    /// Open before the proxy opened any, inherited ones included.
    open: u64,
    io_threads: usize,
    pipes: usize,
}

impl Descriptors {
    /// Raises the limit as far as may be. Of the pipes that the system's other limits allow, as many are taken as are
    /// in proportion.
    ///
    /// # Errors
    ///
    /// The system's, from getrlimit(2).
    pub fn of_process(io_threads: usize, pipes_allowed: usize) -> io::Result<Descriptors> {
        let limit = raise_limit()?;
        let pipes = usize::try_from(limit / 64).unwrap_or(usize::MAX).min(pipes_allowed);
        Ok(Descriptors { limit, open: count_open(), io_threads, pipes })
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many pipes, of two descriptors each, there may be.
    pub fn pipes(&self) -> usize {
        self.pipes
    }

    /// How many sessions fit beside so many listeners.
    pub fn sessions(&self, listeners: usize, settings: &Settings) -> usize {
        let (listeners, io_threads, pipes) = (listeners as u64, self.io_threads as u64, self.pipes as u64);
        // A poll and its waker for each thread; one session too many for each thread that admits clients; and some to
        // spare for libraries.
        let own = listeners
            + 3 * (io_threads + 1)
            + 2 * pipes
            + 2 * io_threads
            + 7
            + self.health(settings)
            + status(settings);
        let free = self.limit.saturating_sub(self.open + own);
        usize::try_from(free / per_session(settings) as u64).unwrap_or(usize::MAX).max(1)
    }

    /// How many checks of remotes may be under way at once.
    pub fn checks(&self, settings: &Settings) -> usize {
        let checked = settings.services.iter().filter(|service| service.pool.check.interval.is_some());
        let most: usize = checked.map(most_remotes).sum();
        let share = usize::try_from(self.limit / CHECKS_SHARE).unwrap_or(usize::MAX);
        most.min(share.max(1))
    }

    /// What is found out about remotes, without a session, takes so many descriptors.
    fn health(&self, settings: &Settings) -> u64 {
        let keeper = if settings.services.iter().any(needs_keeper) { KEEPER } else { 0 };
        let follows = |service: &ServiceSettings| service.remotes.iter().any(|remote| changes(remote, &service.pool));
        let resolver = if settings.services.iter().any(follows) { Resolver::DESCRIPTORS } else { 0 };
        (keeper + resolver + self.checks(settings)) as u64
    }
}

/// What the status page takes: its listener, poll and waker, and its readers.
fn status(settings: &Settings) -> u64 {
    if settings.process.status.is_some() { Status::DESCRIPTORS } else { 0 }
}

/// At most one descriptor of so many is for checks.
const CHECKS_SHARE: u64 = 16;

/// What a name is taken to stand for at most, for the descriptors of checks: more wait for their turn.
const REMOTES_OF_NAME: usize = 16;

/// The poll of the keeper, and its waker.
const KEEPER: usize = 3;

/// How many remotes a service may come to have.
fn most_remotes(service: &ServiceSettings) -> usize {
    let of = |remote: &RemoteSettings| match changes(remote, &service.pool) {
        true => remote.endpoints.addresses.len().max(REMOTES_OF_NAME),
        false => 1,
    };
    service.remotes.iter().map(of).sum()
}

/// How many descriptors a session takes, at most.
fn per_session(settings: &Settings) -> usize {
    let of_service = |service: &ServiceSettings| {
        let client = service.listening().map(EndpointAddress::descriptors_of_client).max().unwrap_or(1);
        let of_remote = |remote: &RemoteSettings| remote.endpoints.descriptors_of_remote(service.stripe.lanes);
        let remote = service.remotes.iter().map(of_remote).max().unwrap_or(1);
        client + remote
    };
    settings.services.iter().map(of_service).max().unwrap_or(2)
}

/// Raises the soft limit on descriptors to the hard one and returns what it is then. A limit that cannot be raised stays
/// as it is.
fn raise_limit() -> io::Result<u64> {
    let mut limit = get()?;
    let before = limit.rlim_cur;
    // Some systems refuse more than a constant of their own although the hard limit is infinite.
    for wanted in [limit.rlim_max, (1 << 20).min(limit.rlim_max), 10240.min(limit.rlim_max)] {
        limit.rlim_cur = wanted;
        if wanted <= before || set(&limit) {
            break;
        }
    }
    #[allow(clippy::unnecessary_cast)] // rlim_t is signed on FreeBSD
    let raised = get()?.rlim_cur as u64;
    Ok(raised)
}

/// How many descriptors are open, inherited ones included.
fn count_open() -> u64 {
    // The one that reads the directory is in it, too; where there is no such directory, the standard streams are open.
    std::fs::read_dir("/dev/fd").map_or(3, |entries| (entries.count() as u64).saturating_sub(1)).max(3)
}

fn get() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit, which the call fills.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(limit: &libc::rlimit) -> bool {
    // SAFETY: the pointer is to a live rlimit, which the call only reads.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Endpoints;

    #[test]
    fn the_soft_limit_becomes_the_hard_one_or_as_near_as_the_system_lets_it() {
        let raised = raise_limit().unwrap();
        let limit = get().unwrap();
        assert_eq!(i128::from(raised), i128::from(limit.rlim_cur));
        assert!(limit.rlim_cur <= limit.rlim_max && limit.rlim_cur >= 10240.min(limit.rlim_max));
    }

    fn settings(listener: &str) -> Settings {
        let endpoints = |argument| Endpoints::parse(argument).unwrap();
        let service = ServiceSettings::new("", vec![endpoints(listener)], endpoints("127.0.0.1:1"));
        Settings { process: Default::default(), services: vec![service] }
    }

    #[test]
    fn a_session_takes_a_descriptor_for_each_side_that_has_its_own() {
        let descriptors = |limit, open, pipes| Descriptors { limit, open, io_threads: 1, pipes };
        let (stream, datagrams) = (settings("127.0.0.1:0"), settings("udp:127.0.0.1:0"));
        assert_eq!(descriptors(20_000, 4, 0).sessions(1, &stream), 9_990);
        assert_eq!(descriptors(20_000, 4, 100).sessions(1, &stream), 9_890);
        assert_eq!(descriptors(20_000, 4, 0).sessions(1, &datagrams), 19_980);
        assert_eq!(descriptors(3, 3, 0).sessions(1, &stream), 1);
    }

    #[test]
    fn checks_and_look_ups_have_descriptors_kept_back_for_them() {
        let descriptors = |limit| Descriptors { limit, open: 4, io_threads: 1, pipes: 0 };
        let mut settings = settings("127.0.0.1:0");
        let none = descriptors(20_000).sessions(1, &settings);
        let service = &mut settings.services[0];
        service.remotes = vec![service.remotes[0].clone(); 100];
        // The keeper's poll and waker.
        assert_eq!(descriptors(20_000).sessions(1, &settings), none - 2);
        assert_eq!(descriptors(20_000).checks(&settings), 0);
        settings.services[0].pool.check.interval = Some(std::time::Duration::from_secs(1));
        assert_eq!(descriptors(20_000).checks(&settings), 100);
        assert_eq!(descriptors(20_000).sessions(1, &settings), none - 52);
        // No more than a part of what there is.
        assert_eq!(descriptors(1024).checks(&settings), 64);
        assert_eq!(descriptors(3).checks(&settings), 1);
        // A name may come to stand for more, and looking it up takes some, too.
        let service = &mut settings.services[0];
        service.remotes = vec![RemoteSettings::new(Endpoints::parse("srv:_http._tcp.test").unwrap())];
        assert_eq!(descriptors(20_000).checks(&settings), 16);
        let kept = (3 + 16 + Resolver::DESCRIPTORS).div_ceil(2);
        assert_eq!(descriptors(20_000).sessions(1, &settings), none - kept);
    }

    #[test]
    fn the_status_page_has_descriptors_of_its_own() {
        let descriptors = Descriptors { limit: 20_000, open: 4, io_threads: 1, pipes: 0 };
        let mut settings = settings("udp:127.0.0.1:0");
        let none = descriptors.sessions(1, &settings);
        settings.process.status = Some(Endpoints::parse("127.0.0.1:0").unwrap());
        assert_eq!(descriptors.sessions(1, &settings), none - Status::DESCRIPTORS as usize);
    }

    #[test]
    fn a_session_with_a_stripe_as_its_remote_takes_a_descriptor_for_each_lane() {
        let mut settings = settings("127.0.0.1:0");
        let endpoints = |argument| Endpoints::parse(argument).unwrap();
        let service = &mut settings.services[0];
        service.stripe.lanes = 7;
        service.remotes.push(RemoteSettings::new(endpoints("framed:stripe:127.0.0.1:1+127.0.0.1:2")));
        assert_eq!(per_session(&settings), 8);
        // As many where a name has no address yet.
        settings.services[0].remotes[1].endpoints.addresses.clear();
        assert_eq!(per_session(&settings), 8);
        settings.services[0].listeners = vec![endpoints("stripe:127.0.0.1:0")];
        assert_eq!(per_session(&settings), 8);
        settings.services[0].remotes.truncate(1);
        assert_eq!(per_session(&settings), 2);
    }

    #[test]
    fn open_descriptors_are_counted() {
        let before = count_open();
        let _files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close some, too.
        assert!(count_open() > before.min(40), "{before}");
    }
}
