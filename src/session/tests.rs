//! How long a session waits for what the system has still to send, in a time of the tests' own.

mod account;
mod capped;
mod down;
mod header;
mod hours;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::address::EndpointAddress;
use crate::buffers::batch::Batch;
use crate::buffers::pipe_pool::PipeBudget;
use crate::buffers::splice::KernelPipe;
use crate::config::balancing::PoolSettings;
use crate::config::settings::{BufferSize, OnReload};
use crate::endpoint::{Lane, Received};
use crate::service::pool::{Member, Pool, Remote};
use crate::service::{Exchange, RemoteAddress, ServiceId, SocketOptions, Timeouts};

/// What the tests decide of an endpoint.
#[derive(Debug, Default)]
struct State {
    unsent: Cell<u32>,
    unread: Cell<bool>,
    itself: Cell<bool>,
    ended: Cell<bool>,
    reset: Cell<bool>,
    /// It has as many bytes as anybody wants to read.
    flood: Cell<bool>,
    reads: Cell<u32>,
    /// It takes its time to connect.
    slow: Cell<bool>,
    /// Datagrams that it has still to say, and those that were sent to it.
    says: RefCell<VecDeque<Vec<u8>>>,
    heard: RefCell<Vec<Vec<u8>>>,
    lanes: Lanes,
}

/// What they decide of one with lanes.
#[derive(Debug, Default)]
struct Lanes {
    there_are: Cell<bool>,
    /// What can be done with the endpoint, says whoever tends to it; each is counted.
    ready: Cell<Readiness>,
    tended: Cell<u32>,
    noted: Cell<u32>,
    settles: Cell<bool>,
    would_lose: Cell<bool>,
    deadline: Cell<Option<u64>>,
    told_of_end: Cell<bool>,
}

#[derive(Debug)]
struct Fake {
    datagrams: bool,
    state: Rc<State>,
}

impl Fake {
    fn read(&self) -> io::Result<()> {
        match (self.state.reset.get(), self.state.ended.get()) {
            (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
            (false, true) => Ok(()),
            (false, false) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Endpoint for Fake {
    const SHORT_MEANS_BLOCKED: bool = true;

    type Pipe = KernelPipe;

    fn carries(&self) -> Carries {
        if self.datagrams { Carries::Datagrams { chunk: 1 } } else { Carries::Bytes }
    }

    fn connects_at_once(&self) -> bool {
        !self.state.slow.get()
    }

    fn is_its_own_peer(&self) -> bool {
        self.state.itself.get()
    }

    fn has_lanes(&self) -> bool {
        self.state.lanes.there_are.get()
    }

    fn note_lane(&mut self, _lane: Lane, _event: Readiness) {
        self.state.lanes.noted.set(self.state.lanes.noted.get() + 1);
    }

    fn settle(&mut self) -> bool {
        self.state.lanes.settles.get()
    }

    fn deadline(&self) -> Option<u64> {
        self.state.lanes.deadline.get()
    }

    fn would_lose(&self) -> bool {
        self.state.lanes.would_lose.get()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.state.lanes.told_of_end.set(true);
        Ok(())
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.state.reset.get().then(|| io::ErrorKind::ConnectionReset.into())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.state.reads.set(self.state.reads.get() + 1);
        if self.state.flood.get() { Ok(buffer.len()) } else { self.read().map(|()| 0) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn receive_datagrams(&mut self, batch: &mut Batch) -> io::Result<Received> {
        match self.state.says.borrow_mut().pop_front() {
            None => self.read().map(|()| Received::End),
            Some(datagram) => {
                batch.space(datagram.len()).copy_from_slice(&datagram);
                batch.add(0, datagram.len());
                Ok(Received::More)
            }
        }
    }

    fn send_datagrams(&mut self, batch: &mut Batch, _encoded: &mut Vec<u8>) -> io::Result<()> {
        let sent: Vec<_> = batch.datagrams().map(<[u8]>::to_vec).collect();
        batch.take(sent.len());
        self.state.heard.borrow_mut().extend(sent);
        Ok(())
    }

    fn unsent(&self) -> u32 {
        self.state.unsent.get()
    }

    fn may_have_unread(&self) -> bool {
        self.state.unread.get()
    }

    fn descriptor(&self) -> RawFd {
        0
    }

    fn write_route(&self, _side: SideName, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl Dialer<Fake> for Option<Fake> {
    fn dial(&mut self, _service: &Service, _address: &RemoteAddress, _client: &Caller<'_, Fake>) -> Dial<Fake> {
        self.take().map_or(Dial::Failed(io::ErrorKind::ConnectionRefused.into()), Dial::Started)
    }

    fn tend(&mut self, _side: SideName, endpoint: &mut Fake, _now: u64) -> Readiness {
        let lanes = &endpoint.state.lanes;
        lanes.tended.set(lanes.tended.get() + 1);
        lanes.ready.get()
    }
}

/// A session with the endpoints' states, and its pools and time.
struct Scene {
    session: Session<Fake>,
    client: Rc<State>,
    remote: Rc<State>,
    pools: Pools<KernelPipe>,
    now: u64,
}

impl Scene {
    fn new(datagrams: bool, idle: Option<u64>) -> Scene {
        Scene::unconnected(datagrams, idle).connected(datagrams)
    }

    /// One whose remote has lanes.
    fn with_lanes(idle: Option<u64>) -> Scene {
        let scene = Scene::unconnected(false, idle);
        scene.remote.lanes.there_are.set(true);
        scene.remote.lanes.ready.set(Readiness { writable: true, ..Readiness::default() });
        scene.connected(false)
    }

    /// Its remote is connected to now.
    fn connected(mut self, datagrams: bool) -> Scene {
        let turn = Turn { pools: &mut self.pools, now: 0, now_us: 0, budget: 1024 };
        let remote = Fake { datagrams, state: self.remote.clone() };
        assert_eq!(self.session.start(&turn, &mut Some(remote)), Outcome::Waiting);
        assert_eq!(self.run(), Outcome::Waiting);
        self
    }

    fn unconnected(datagrams: bool, idle: Option<u64>) -> Scene {
        let echo = Remote::new("echo:".to_string(), vec![EndpointAddress::Echo]).unwrap();
        Scene::with_remotes(datagrams, idle, vec![Member::new(Arc::new(echo))])
    }

    fn with_remotes(datagrams: bool, idle: Option<u64>, remotes: Vec<Member>) -> Scene {
        Scene::of_settings(datagrams, idle, &PoolSettings::default(), remotes)
    }

    fn of_settings(datagrams: bool, idle: Option<u64>, settings: &PoolSettings, remotes: Vec<Member>) -> Scene {
        let (client, remote) = (Rc::new(State::default()), Rc::new(State::default()));
        let service = Service {
            id: ServiceId::next(),
            number: 0,
            name: String::new(),
            access: None,
            proxy: None,
            hours: None,
            limits: None,
            refusals: Arc::default(),
            pool: Arc::new(Pool::new(settings, remotes, 0, 0)),
            stripe: Arc::default(),
            local: Default::default(),
            caps: None,
            inspectors: None,
            options: SocketOptions { no_delay: false, keepalive: None },
            exchange: Exchange::default(),
            timeouts: Timeouts { connect: 1000, idle, connectionless: None, session: None, half_close: None },
            on_reload: OnReload::Keep,
            access_log: None,
            log_level: None,
        };
        let endpoint = Fake { datagrams, state: client.clone() };
        Scene {
            session: Session::new(endpoint, Arc::new(service), None, Pace::START),
            pools: Pools::new(BufferSize::Fixed(1024), Arc::new(PipeBudget::new(0, 1))),
            now: 0,
            client,
            remote,
        }
    }

    fn run(&mut self) -> Outcome {
        let mut turn = Turn { pools: &mut self.pools, now: self.now, now_us: self.now * 1000, budget: 1024 };
        self.session.run(&mut turn, &mut None)
    }

    fn tell(&mut self, side: SideName) -> Outcome {
        self.session.ready(side, Readiness { readable: true, ..Readiness::default() });
        self.run()
    }

    /// Lets this much time pass, with a run whenever the session wants one; it must not end before.
    fn pass(&mut self, time: u64) -> Outcome {
        let end = self.now + time;
        while let Some(deadline) = self.session.deadline().filter(|&deadline| deadline <= end) {
            assert!(deadline > self.now, "it wants to run again without a pause");
            self.now = deadline;
            if let Outcome::Ended(end) = self.run() {
                return Outcome::Ended(end);
            }
        }
        self.now = end;
        Outcome::Waiting
    }
}

#[test]
fn a_budget_counts_reads_beside_bytes() {
    let mut scene = Scene::new(false, None);
    scene.pools = Pools::new(BufferSize::Fixed(1), Arc::new(PipeBudget::new(0, 1)));
    scene.client.flood.set(true);
    scene.session.ready(SideName::Client, Readiness { readable: true, ..Readiness::default() });
    scene.session.ready(SideName::Remote, Readiness { writable: true, ..Readiness::default() });
    let mut turn = Turn { pools: &mut scene.pools, now: 0, now_us: 0, budget: 256 << 10 };
    assert_eq!(scene.session.run(&mut turn, &mut None), Outcome::Spent);
    let reads = scene.client.reads.get();
    assert!((64..=512).contains(&reads), "{reads} reads in one run");
}

#[test]
fn a_session_that_ends_waits_while_what_it_sent_last_gets_less() {
    let begin = || {
        let mut scene = Scene::new(true, None);
        scene.client.unsent.set(1_000_000);
        scene.remote.ended.set(true);
        assert_eq!(scene.tell(SideName::Remote), Outcome::Waiting);
        for _ in 0..100 {
            scene.client.unsent.set(scene.client.unsent.get() - 1000);
            assert_eq!(scene.pass(5000), Outcome::Waiting, "after {} ms", scene.now);
        }
        scene
    };
    let mut scene = begin();
    scene.client.unsent.set(0);
    assert_eq!(scene.pass(LAST_ANSWER), Outcome::Ended(End::EndOfStream));
    let mut scene = begin();
    assert_eq!(scene.pass(LAST_BYTES - 10_000), Outcome::Waiting);
    assert_eq!(scene.pass(20_000), Outcome::Ended(End::IdleTimeout));
}

#[test]
fn a_reset_is_passed_on_when_what_came_before_was_taken() {
    for datagrams in [true, false] {
        let begin = |idle| {
            let mut scene = Scene::new(datagrams, idle);
            scene.client.unsent.set(1_000_000);
            scene.remote.reset.set(true);
            assert_eq!(scene.tell(SideName::Remote), Outcome::Waiting);
            for _ in 0..100 {
                scene.client.unsent.set(scene.client.unsent.get() - 1000);
                assert_eq!(scene.pass(5000), Outcome::Waiting, "after {} ms", scene.now);
            }
            scene
        };
        let mut scene = begin(None);
        scene.client.unsent.set(0);
        assert_eq!(scene.pass(1000), Outcome::Ended(End::Reset(SideName::Remote)));
        for idle in [None, Some(10_000), Some(600_000)] {
            let mut scene = begin(idle);
            let patience = idle.unwrap_or(LAST_BYTES).min(LAST_BYTES);
            assert_eq!(scene.pass(patience - 6000), Outcome::Waiting);
            assert_eq!(scene.pass(7000), Outcome::Ended(End::Reset(SideName::Remote)));
        }
    }
}

#[test]
fn a_session_is_not_idle_while_a_peer_takes_what_was_sent_to_it() {
    let mut scene = Scene::new(false, Some(1000));
    scene.client.unsent.set(100_000);
    for _ in 0..50 {
        assert_eq!(scene.pass(900), Outcome::Waiting, "after {} ms", scene.now);
        scene.client.unsent.set(scene.client.unsent.get() - 100);
    }
    assert_eq!(scene.pass(900), Outcome::Waiting);
    assert_eq!(scene.pass(2000), Outcome::Ended(End::IdleTimeout));

    let mut idle = Scene::new(false, Some(1000));
    assert_eq!(idle.pass(999), Outcome::Waiting);
    assert_eq!(idle.pass(1), Outcome::Ended(End::IdleTimeout));
}

#[test]
fn a_session_that_dials_later_does_so_for_a_client_that_is_there_or_has_said_something() {
    let gone = Readiness { readable: true, read_closed: true, write_closed: true, ..Readiness::default() };
    for (ready, unread) in [(Readiness::default(), false), (gone, true), (gone, false)] {
        let mut scene = Scene::unconnected(false, None);
        scene.client.unread.set(unread);
        let turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 0 };
        assert_eq!(scene.session.start_later(&turn), Outcome::Waiting);
        scene.session.ready(SideName::Client, ready);
        if ready.write_closed && !unread {
            assert_eq!(scene.run(), Outcome::Ended(End::EndOfStream));
            assert!(scene.session.was_left(End::EndOfStream));
            continue;
        }
        assert_eq!(scene.run(), Outcome::Waiting);
        scene.now = scene.session.deadline().expect("a time");
        let mut remote = Some(Fake { datagrams: false, state: scene.remote.clone() });
        let mut turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 1024 };
        scene.session.run(&mut turn, &mut remote);
        assert!(remote.is_none(), "the remote was dialled");
    }
}

#[test]
fn a_remote_that_the_client_itself_would_be_is_none() {
    let mut scene = Scene::unconnected(false, None);
    scene.remote.itself.set(true);
    scene.remote.slow.set(true);
    let mut remote = Some(Fake { datagrams: false, state: scene.remote.clone() });
    let mut turn = Turn { pools: &mut scene.pools, now: 0, now_us: 0, budget: 1024 };
    assert_eq!(scene.session.start(&turn, &mut remote), Outcome::Waiting);
    scene.session.ready(SideName::Remote, Readiness { writable: true, ..Readiness::default() });
    assert_eq!(scene.session.run(&mut turn, &mut remote), Outcome::Ended(End::ConnectFailed));
    assert_eq!((scene.client.reads.get(), scene.remote.reads.get()), (0, 0));
}

/// A remote with addresses at these ports.
fn at_ports(ports: &[u16]) -> Member {
    let at = ports.iter().map(|&port| EndpointAddress::Tcp(([127, 0, 0, 1], port).into()));
    Member::new(Arc::new(Remote::new("some".to_string(), at.collect()).unwrap()))
}

/// Dials by the port: one that never answers, one that is always busy, one that refuses.
struct Unlucky(Rc<State>);

impl Dialer<Fake> for Unlucky {
    fn dial(&mut self, _service: &Service, address: &RemoteAddress, _client: &Caller<'_, Fake>) -> Dial<Fake> {
        let RemoteAddress::Tcp(address) = address else { panic!("{address:?}") };
        match address.port() {
            1 => Dial::Started(Fake { datagrams: false, state: self.0.clone() }),
            2 => Dial::Busy,
            _ => Dial::Failed(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

#[test]
fn a_client_does_not_wait_for_ever_for_a_remote_of_which_one_address_is_busy_and_another_silent() {
    let mut scene = Scene::with_remotes(false, None, vec![at_ports(&[1, 2]), at_ports(&[3])]);
    scene.remote.slow.set(true);
    let mut dialer = Unlucky(scene.remote.clone());
    let turn = Turn { pools: &mut scene.pools, now: 0, now_us: 0, budget: 1024 };
    let mut outcome = scene.session.start(&turn, &mut dialer);
    while outcome == Outcome::Waiting {
        scene.now = scene.session.deadline().expect("a time");
        assert!(scene.now < 10_000, "it goes on and on");
        let mut turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 1024 };
        outcome = scene.session.run(&mut turn, &mut dialer);
    }
    assert_eq!(outcome, Outcome::Ended(End::ConnectTimeout));
    let members = scene.session.service().pool.set();
    assert!(members.members().iter().all(|member| member.remote.sessions() == 0), "a lease was kept");
}

/// A session of bytes whose remote has lanes.
fn with_lanes() -> Scene {
    Scene::with_lanes(None)
}

#[test]
fn lanes_are_tended_to_before_each_run_and_say_what_can_be_done() {
    let mut scene = with_lanes();
    let lanes = &scene.remote.clone().lanes;
    let before = lanes.tended.get();
    scene.session.note_lane(SideName::Remote, Lane(3), Readiness { readable: true, ..Readiness::default() });
    assert_eq!((scene.run(), lanes.noted.get(), lanes.tended.get()), (Outcome::Waiting, 1, before + 1));
    // That a socket is readable is noted once and kept; of lanes it is asked each time.
    let reads = scene.remote.reads.get();
    assert_eq!((scene.run(), scene.remote.reads.get()), (Outcome::Waiting, reads));
    lanes.ready.set(Readiness { readable: true, writable: true, ..Readiness::default() });
    assert_eq!((scene.run(), scene.remote.reads.get()), (Outcome::Waiting, reads + 1));
    assert_eq!(scene.client.lanes.tended.get(), 0);
}

#[test]
fn lanes_that_have_more_are_run_again() {
    let mut scene = with_lanes();
    scene.remote.lanes.settles.set(true);
    assert_eq!(scene.run(), Outcome::Spent);
    scene.remote.lanes.settles.set(false);
    assert_eq!(scene.run(), Outcome::Waiting);
}

#[test]
fn the_time_of_lanes_is_the_time_of_their_session() {
    let scene = Scene::with_lanes(Some(1000));
    assert_eq!(scene.session.deadline(), Some(1000));
    scene.remote.lanes.deadline.set(Some(700));
    assert_eq!(scene.session.deadline(), Some(700));
    scene.remote.lanes.deadline.set(Some(1700));
    assert_eq!(scene.session.deadline(), Some(1000));
}

/// Both streams have ended, and what only the program holds is not lost.
fn that_would_lose() -> Scene {
    let mut scene = with_lanes();
    scene.remote.lanes.would_lose.set(true);
    scene.remote.unsent.set(1_000_000);
    scene.client.ended.set(true);
    scene.remote.ended.set(true);
    scene.remote.lanes.ready.set(Readiness { readable: true, writable: true, ..Readiness::default() });
    assert_eq!(scene.tell(SideName::Client), Outcome::Waiting);
    assert!(scene.remote.lanes.told_of_end.get());
    scene
}

#[test]
fn a_session_with_lanes_ends_when_its_peer_has_everything() {
    let mut scene = that_would_lose();
    for _ in 0..100 {
        scene.remote.unsent.set(scene.remote.unsent.get() - 1000);
        assert_eq!(scene.pass(5000), Outcome::Waiting, "after {} ms", scene.now);
    }
    scene.remote.unsent.set(0);
    scene.remote.lanes.would_lose.set(false);
    assert_eq!(scene.run(), Outcome::Ended(End::EndOfStream));
}

#[test]
fn a_session_with_lanes_does_not_wait_for_ever_for_its_peer() {
    let mut scene = that_would_lose();
    assert_eq!(scene.pass(LAST_BYTES - 10_000), Outcome::Waiting);
    assert_eq!(scene.pass(20_000), Outcome::Ended(End::IdleTimeout));
}

#[test]
fn lanes_that_break_at_the_end_end_their_session() {
    let mut scene = that_would_lose();
    scene.remote.reset.set(true);
    scene.remote.lanes.ready.set(Readiness { error: true, ..Readiness::default() });
    assert_eq!(scene.run(), Outcome::Ended(End::Reset(SideName::Remote)));
}

#[test]
fn what_a_client_said_last_goes_on_to_lanes_though_it_breaks() {
    let mut scene = that_would_lose();
    scene.client.reset.set(true);
    scene.session.ready(SideName::Client, Readiness { error: true, ..Readiness::default() });
    assert_eq!(scene.run(), Outcome::Waiting);
    for _ in 0..100 {
        scene.remote.unsent.set(scene.remote.unsent.get() - 1000);
        assert_eq!(scene.pass(5000), Outcome::Waiting, "after {} ms", scene.now);
    }
    scene.remote.unsent.set(0);
    assert_eq!(scene.pass(1000), Outcome::Ended(End::Reset(SideName::Client)));
}
