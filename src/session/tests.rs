//! How long a session waits for what the system has still to send, in a time of the tests' own.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::buffers::batch::Batch;
use crate::buffers::pipe_pool::PipeBudget;
use crate::buffers::splice::KernelPipe;
use crate::config::settings::{BufferSize, OnReload};
use crate::endpoint::Received;
use crate::service::{ServiceId, SocketOptions, Timeouts};

/// What the tests decide of an endpoint.
#[derive(Debug, Default)]
struct State {
    unsent: Cell<u32>,
    unread: Cell<bool>,
    ended: Cell<bool>,
    reset: Cell<bool>,
    /// It has as many bytes as anybody wants to read.
    flood: Cell<bool>,
    reads: Cell<u32>,
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
        true
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.state.reads.set(self.state.reads.get() + 1);
        if self.state.flood.get() { Ok(buffer.len()) } else { self.read().map(|()| 0) }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn receive_datagrams(&mut self, _batch: &mut Batch) -> io::Result<Received> {
        self.read().map(|()| Received::End)
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
    fn dial(&mut self, _service: &Service, _address: usize, _client: Carries) -> Dial<Fake> {
        self.take().map_or(Dial::NoSuchAddress, Dial::Started)
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
        let mut scene = Scene::unconnected(datagrams, idle);
        let turn = Turn { pools: &mut scene.pools, now: 0, budget: 1024 };
        let remote = Fake { datagrams, state: scene.remote.clone() };
        assert_eq!(scene.session.start(&turn, &mut Some(remote)), Outcome::Waiting);
        assert_eq!(scene.run(), Outcome::Waiting);
        scene
    }

    fn unconnected(datagrams: bool, idle: Option<u64>) -> Scene {
        let (client, remote) = (Rc::new(State::default()), Rc::new(State::default()));
        let service = Service {
            id: ServiceId::next(),
            name: String::new(),
            remotes: Vec::new(),
            stripe: Arc::default(),
            options: SocketOptions { no_delay: false, keepalive: None },
            timeouts: Timeouts { connect: 1000, idle, connectionless: None },
            on_reload: OnReload::Keep,
        };
        let endpoint = Fake { datagrams, state: client.clone() };
        Scene {
            session: Session::new(endpoint, Arc::new(service), Pace::START),
            pools: Pools::new(BufferSize::Fixed(1024), Arc::new(PipeBudget::new(0, 1))),
            now: 0,
            client,
            remote,
        }
    }

    fn run(&mut self) -> Outcome {
        let mut turn = Turn { pools: &mut self.pools, now: self.now, budget: 1024 };
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
    let mut turn = Turn { pools: &mut scene.pools, now: 0, budget: 256 << 10 };
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
        assert_eq!(scene.session.start_later(scene.now), Outcome::Waiting);
        scene.session.ready(SideName::Client, ready);
        if ready.write_closed && !unread {
            assert_eq!(scene.run(), Outcome::Ended(End::EndOfStream));
            assert!(scene.session.was_left(End::EndOfStream));
            continue;
        }
        assert_eq!(scene.run(), Outcome::Waiting);
        scene.now = scene.session.deadline().expect("a time");
        let mut remote = Some(Fake { datagrams: false, state: scene.remote.clone() });
        let mut turn = Turn { pools: &mut scene.pools, now: scene.now, budget: 1024 };
        scene.session.run(&mut turn, &mut remote);
        assert!(remote.is_none(), "the remote was dialled");
    }
}
