//! Everything that a seed decides before a schedule starts.

use cproxy::address::EndpointAddress;
use cproxy::config::balancing::{Balance, OnDown, PoolSettings};
use cproxy::config::caps::CapSettings;
use cproxy::config::settings::{BufferSize, OnReload};
use cproxy::flow::Pace;
use cproxy::service::caps::Caps;
use cproxy::service::pool::{Member, Pool, Remote};
use cproxy::service::proxy::ProxyOptions;
use cproxy::service::{Exchange, RemoteAddress, Service, ServiceId, SocketOptions, Timeouts};
use cproxy::thread::sessions::Budgets;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use super::header::{ClientHeader, ProxyPlan};
use super::peer::Script;
use super::pipe::PipePlan;
use super::random::Random;
use super::watch::Watch;

/// The kernel's way of telling what happened to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Linux: an edge makes all that is true of the socket be told.
    Epoll,
    /// BSD: reading and writing are told apart.
    Kqueue,
    /// mio's poll(2): what was told is not told again until an operation would block; the end of a socket only once.
    Poll,
}

/// How much the peers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// So few bytes that flows become bulk only by the command line, through buffers of a few bytes.
    Few,
    /// So many that flows become bulk by themselves.
    Many,
}

/// What an address of the remote answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    FailAtOnce,
    Accept { after: u64 },
    Refuse { after: u64, error: i32 },
    Nothing,
}

/// One address of a remote of a session.
#[derive(Debug, Clone)]
pub struct Address {
    /// How many times the remote is busy before it answers.
    pub busy: u64,
    pub answer: Answer,
    pub server: Connection,
}

/// A peer, and how much the kernel queues on the way from and to it.
#[derive(Debug, Clone)]
pub struct Connection {
    pub script: Script,
    pub receive_room: u64,
    pub send_room: u64,
    /// Nothing but the proxy is said to end it.
    pub endless: bool,
}

/// One session: when its client comes, and what awaits it.
#[derive(Debug, Clone)]
pub struct SessionPlan {
    pub arrival: u64,
    /// The number of its service.
    pub service: usize,
    pub client: Connection,
    /// What the client begins with, as its service wants it to.
    pub header: Option<ClientHeader>,
    /// The addresses of each remote.
    pub remotes: Vec<Vec<Address>>,
}

/// What the sessions of a service have in common.
#[derive(Debug)]
pub struct ServicePlan {
    pub timeouts: Timeouts,
    pub proxy: Option<ProxyPlan>,
    pub caps: CapSettings,
    pub retries: Option<u32>,
    pub retry_timeout: Option<u64>,
    /// How many sessions each remote may have.
    pub most: Option<u32>,
    pub balance: Balance,
    /// After so many failures a remote is out, and for how long.
    pub max_fails: u32,
    pub fail_timeout: u64,
    /// There are no remotes before this time.
    pub empty_until: Option<u64>,
    /// How many addresses each remote has.
    pub remotes: Vec<usize>,
}

/// A service that is replaced: when its sessions are told, and when what is left of them is reset.
#[derive(Debug, Clone, Copy)]
pub struct Retirement {
    pub service: usize,
    pub told: u64,
    pub over: u64,
}

/// A remote is found down: when, which, and what becomes of its sessions.
#[derive(Debug, Clone, Copy)]
pub struct Down {
    pub told: u64,
    pub service: usize,
    pub remote: usize,
    pub on_down: OnDown,
}

/// A whole schedule.
#[derive(Debug)]
pub struct Plan {
    pub style: Style,
    /// The error of a broken socket is kept for the reader when a writer is told (BSD), or told but once (Linux).
    pub error_kept: bool,
    /// poll(2) tells that the peer has finished.
    pub poll_tells_finish: bool,
    pub buffer_size: BufferSize,
    pub pace: Pace,
    pub pipes: PipePlan,
    /// What looks at the sessions, if anything does.
    pub watch: Option<Watch>,
    pub budgets: Budgets,
    pub services: Vec<ServicePlan>,
    pub retirement: Option<Retirement>,
    pub down: Option<Down>,
    /// Clients are accepted by the thread itself, and not given to it.
    pub accepts: bool,
    /// Once in so many times a client's socket cannot be used.
    pub refused_once_in: Option<u64>,
    /// When the thread is told to drain.
    pub drain_told: Option<u64>,
    /// When the time to drain is over, in milliseconds.
    pub drain: Option<u64>,
    /// The same as a number of turns, so that it strikes at any point of a busy schedule too.
    pub drain_turn: Option<u64>,
    pub sessions: Vec<SessionPlan>,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Plan {
        let style = random.pick(&[Style::Epoll, Style::Kqueue, Style::Poll]);
        let scale = if random.once_in(3) { Scale::Many } else { Scale::Few };
        let count = if random.once_in(3) { random.within(2..=5) } else { 1 };
        let services = if random.once_in(3) { random.within(2..=3) } else { 1 };
        let remotes: Vec<_> = (0..services).map(|_| draw_remotes(random)).collect();
        let proxies: Vec<_> = (0..services).map(|_| random.once_in(3).then(|| ProxyPlan::draw(random))).collect();
        let sessions: Vec<_> = (0..count).map(|_| SessionPlan::draw(random, scale, &remotes, &proxies)).collect();
        let (idle, drain) = draw_ends(random, sessions.iter().all(SessionPlan::ends));
        let services: Vec<_> = remotes
            .into_iter()
            .zip(proxies)
            .map(|(remotes, proxy)| ServicePlan::draw(random, idle, remotes, proxy))
            .collect();
        Plan {
            style,
            error_kept: style == Style::Kqueue || (style == Style::Poll && random.once_in(2)),
            poll_tells_finish: random.once_in(2),
            buffer_size: draw_buffer_size(random, scale),
            pace: draw_pace(random, scale),
            pipes: draw_pipes(random),
            watch: random.once_in(5).then(|| random.pick(&[Watch::Tap, Watch::Filter, Watch::Filters])),
            budgets: Budgets {
                large: draw_size(random, scale, 1024) as usize,
                small: draw_size(random, scale, 256) as usize,
                message: draw_size(random, scale, 64),
            },
            retirement: random.once_in(4).then(|| Retirement::draw(random, services.len())),
            down: random.once_in(4).then(|| Down::draw(random, &services)),
            services,
            accepts: random.once_in(2),
            refused_once_in: random.once_in(8).then(|| random.size(8)),
            drain_told: drain.map(|drain| drain.saturating_sub(random.pick(&[0, 1, 100, 1000]))),
            drain,
            drain_turn: random.once_in(8).then(|| random.size(128)),
            sessions,
        }
    }
}

/// A service whose sessions have these timeouts, and whose only remote has so many addresses: whoever simulates it knows
/// what is there.
pub fn service(timeouts: Timeouts, addresses: usize) -> Arc<Service> {
    service_of(timeouts, &CapSettings::default(), &PoolSettings::default(), members(&[addresses], None), None, None)
}

/// Remotes that have so many addresses, and may have so many sessions.
fn members(remotes: &[usize], most: Option<u32>) -> Vec<Member> {
    let member = |(remote, &addresses): (usize, &usize)| {
        let at = (0..addresses).map(|address| ADDRESSES * remote + address);
        let at = at.map(|number| EndpointAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], number as u16)))).collect();
        let remote = Remote::new("simulated".to_string(), at).expect("the system can have such addresses");
        Member { max_sessions: most, ..Member::new(Arc::new(remote)) }
    };
    remotes.iter().enumerate().map(member).collect()
}

fn service_of(
    timeouts: Timeouts,
    caps: &CapSettings,
    pool: &PoolSettings,
    members: Vec<Member>,
    proxy: Option<ProxyPlan>,
    watch: Option<Watch>,
) -> Arc<Service> {
    Arc::new(Service {
        id: ServiceId::next(),
        number: 0,
        name: String::new(),
        access: None,
        proxy: proxy.and_then(|proxy| ProxyOptions::new(&proxy.settings())),
        hours: None,
        limits: None,
        refusals: Arc::default(),
        caps: Caps::new(caps, None).map(Box::new),
        inspectors: watch.map(|watch| Box::new(watch.inspectors())),
        access_log: None,
        log_level: None,
        pool: Arc::new(Pool::new(pool, members, 0, 0)),
        local: Default::default(),
        options: SocketOptions { no_delay: false, keepalive: None },
        stripe: Arc::default(),
        exchange: Exchange::default(),
        timeouts,
        on_reload: OnReload::Keep,
    })
}

/// More than any remote has.
const ADDRESSES: usize = 100;

/// Which of the addresses of its remote this is.
pub fn number(address: &RemoteAddress) -> usize {
    place(address).1
}

/// Of which remote this is an address, and which of them it is.
pub fn place(address: &RemoteAddress) -> (usize, usize) {
    let RemoteAddress::Tcp(address) = address else { panic!("{address:?} is dialled, which no service has") };
    let port = usize::from(address.port());
    (port / ADDRESSES, port % ADDRESSES)
}

/// A size of up to about `limit`, which is for few bytes.
fn draw_size(random: &mut Random, scale: Scale, limit: u64) -> u64 {
    match scale {
        Scale::Few => random.size(limit),
        Scale::Many => random.size(limit) << 10,
    }
}

fn draw_room(random: &mut Random, scale: Scale) -> u64 {
    match scale {
        Scale::Few => random.size(512).max(3),
        Scale::Many => random.size(64) << 13,
    }
}

fn draw_buffer_size(random: &mut Random, scale: Scale) -> BufferSize {
    match (scale, random.once_in(2)) {
        (Scale::Many, false) => BufferSize::Growing(draw_size(random, scale, 32) as usize),
        (Scale::Many, true) => BufferSize::Fixed(draw_size(random, scale, 64) as usize),
        // A buffer that has grown is large.
        (Scale::Few, false) if random.once_in(4) => BufferSize::Growing(random.size(128) as usize),
        (Scale::Few, _) => BufferSize::Fixed(random.size(128) as usize),
    }
}

fn draw_pace(random: &mut Random, scale: Scale) -> Pace {
    let always = match scale {
        Scale::Few => random.below(3) > 0,
        Scale::Many => random.once_in(5),
    };
    if always { Pace::AlwaysBulk } else { Pace::START }
}

fn draw_pipes(random: &mut Random) -> PipePlan {
    PipePlan {
        most: random.pick(&[0, 1, 2, 3, 100, 100, 100]),
        refused_once_in: random.pick(&[None, None, None, Some(1), Some(2), Some(5)]),
        slots: random.pick(&[1, 2, 16, 256]),
    }
}

/// The idle timeout and the drain, at least one of which there is when the peers do not end by themselves.
fn draw_ends(random: &mut Random, peers_end: bool) -> (Option<u64>, Option<u64>) {
    let mut idle = random.once_in(4).then(|| random.within(1..=1500));
    let mut drain = random.once_in(10).then(|| random.below(3000));
    if !peers_end && idle.is_none() && drain.is_none() {
        match random.once_in(2) {
            true => idle = Some(random.within(1..=1500)),
            false => drain = Some(random.below(6000)),
        }
    }
    (idle, drain)
}

/// The timeouts of a service, which has an idle timeout if the first one has.
fn draw_timeouts(random: &mut Random, idle: Option<u64>) -> Timeouts {
    let idle = idle.map(|idle| if random.once_in(2) { idle } else { random.within(1..=1500) });
    Timeouts { connect: random.within(1..=1500), idle, connectionless: None, session: None, half_close: None }
}

/// Caps that hold back some of what sessions here have to say, though not for long.
fn draw_caps(random: &mut Random) -> CapSettings {
    let mut rate = || random.once_in(2).then(|| NonZeroU64::new(random.within(1..=64) << 13)).flatten();
    CapSettings { upload: rate(), download: rate(), total_upload: rate(), total_download: rate() }
}

/// How many addresses each remote of a service has.
fn draw_remotes(random: &mut Random) -> Vec<usize> {
    let remotes = if random.once_in(3) { random.within(2..=4) } else { 1 };
    (0..remotes).map(|_| if random.once_in(5) { random.within(2..=3) as usize } else { 1 }).collect()
}

impl ServicePlan {
    fn draw(random: &mut Random, idle: Option<u64>, remotes: Vec<usize>, proxy: Option<ProxyPlan>) -> ServicePlan {
        let caps = if random.once_in(5) { draw_caps(random) } else { CapSettings::default() };
        ServicePlan {
            caps,
            timeouts: draw_timeouts(random, idle),
            proxy,
            retries: random.once_in(4).then(|| random.below(4) as u32),
            retry_timeout: random.once_in(6).then(|| random.within(1..=2500)),
            most: random.once_in(4).then(|| random.within(1..=2) as u32),
            balance: random.pick(&[Balance::RoundRobin, Balance::LeastSessions, Balance::Random, Balance::Source]),
            max_fails: random.pick(&[0, 1, 2, 3]),
            fail_timeout: random.pick(&[20, 200, 10_000]),
            empty_until: random.once_in(8).then(|| random.pick(&[20, 100, 700, 2000])),
            remotes,
        }
    }

    /// How long caps may hold back a flow in each direction, in milliseconds, of so many sessions at the most.
    pub fn held_for(&self, sessions: u64) -> [Option<u64>; 2] {
        // A session's own cap lets it go on when a portion of 95 ms has come in.
        let own = |_: NonZeroU64| 95;
        // All have one reservation at the most, of 60 ms or 2 KiB.
        let total = |rate: NonZeroU64| sessions * (2048_u64 * 1000).div_ceil(rate.get()).max(60);
        let CapSettings { upload, download, total_upload, total_download } = self.caps;
        [(upload, total_upload), (download, total_download)].map(|(of_session, of_all)| {
            let (own, total) = (of_session.map(own), of_all.map(total));
            (own.is_some() || total.is_some()).then(|| own.unwrap_or(0) + total.unwrap_or(0))
        })
    }

    /// The service's remotes.
    pub fn members(&self) -> Vec<Member> {
        members(&self.remotes, self.most)
    }

    /// The service, as sessions know it, with these remotes if it has any at the start.
    pub fn service(&self, members: &[Member], watch: Option<Watch>) -> Arc<Service> {
        let settings = PoolSettings {
            balance: self.balance,
            retries: self.retries,
            retry_timeout: self.retry_timeout.map(Duration::from_millis),
            max_fails: self.max_fails,
            fail_timeout: Duration::from_millis(self.fail_timeout),
            ..PoolSettings::default()
        };
        let members = if self.empty_until.is_some() { Vec::new() } else { members.to_vec() };
        service_of(self.timeouts, &self.caps, &settings, members, self.proxy, watch)
    }
}

impl Retirement {
    fn draw(random: &mut Random, services: usize) -> Retirement {
        let told = random.pick(&[0, 1, 20, 300, 1000]);
        let over = told + random.pick(&[0, 1, 100, 1000]);
        Retirement { service: random.below(services as u64) as usize, told, over }
    }
}

impl Down {
    fn draw(random: &mut Random, services: &[ServicePlan]) -> Down {
        let service = random.below(services.len() as u64) as usize;
        Down {
            told: random.pick(&[0, 1, 20, 60, 300, 1000]),
            service,
            remote: random.below(services[service].remotes.len() as u64) as usize,
            on_down: random.pick(&[OnDown::Keep, OnDown::Reset]),
        }
    }
}

impl SessionPlan {
    fn draw(random: &mut Random, scale: Scale, services: &[Vec<usize>], proxies: &[Option<ProxyPlan>]) -> SessionPlan {
        let service = random.below(services.len() as u64) as usize;
        let header = proxies[service].filter(|proxy| proxy.accept).map(|_| ClientHeader::draw(random));
        let mut client = Connection::draw(random, scale);
        if header.as_ref().is_some_and(|header| header.header.is_none()) {
            // Nothing follows that anybody should read.
            (client.script.length, client.script.echo) = (0, false);
        }
        SessionPlan {
            arrival: random.pick(&[0, 0, 1, 30, 500]),
            service,
            client,
            header,
            remotes: services[service]
                .iter()
                .map(|&addresses| (0..addresses).map(|_| Address::draw(random, scale)).collect())
                .collect(),
        }
    }

    /// Whether the session ends without a timeout or a drain, once it is connected.
    fn ends(&self) -> bool {
        let client = &self.client.script;
        let server_ends = |server: &Script| server.ends() && !(client.waits() && server.waits());
        client.ends() && self.remotes.iter().flatten().all(|address| server_ends(&address.server.script))
    }
}

impl Address {
    fn draw(random: &mut Random, scale: Scale) -> Address {
        let after = random.pick(&[0, 0, 0, 0, 0, 1, 40, 800]);
        let error = random.pick(&[libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT]);
        let answer = match random.below(20) {
            0..=15 => Answer::Accept { after },
            16..=17 => Answer::Refuse { after, error },
            18 => Answer::FailAtOnce,
            _ => Answer::Nothing,
        };
        let busy = match random.below(20) {
            0 => random.within(1..=4),
            1 => u64::MAX,
            _ => 0,
        };
        Address { busy, answer, server: Connection::draw(random, scale) }
    }
}

impl Connection {
    fn draw(random: &mut Random, scale: Scale) -> Connection {
        Connection {
            script: Script::draw(random, scale),
            receive_room: draw_room(random, scale),
            send_room: draw_room(random, scale),
            endless: random.once_in(12),
        }
    }
}
