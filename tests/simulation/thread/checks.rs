//! What is checked of the sessions of a thread: around each run, at each end, and after each turn.

use cproxy::config::balancing::OnDown;
use cproxy::endpoint::SideName;
use cproxy::proxy_header::parse;
use cproxy::service::Service;
use cproxy::service::pool::Member;
use cproxy::session::{End, Outcome, Session};
use cproxy::thread::sessions::Sessions;
use cproxy::thread::timers::{FINE_TICK, TICK};

use super::super::dialer::Hold;
use super::super::kernel::SimSocket;
use super::super::pipe;
use super::super::sight::Sight;
use super::super::socket::Socket;
use super::super::traffic::Means;
use super::host::{Entry, SimHost};
use std::sync::Arc;

/// How long a session that is ending waits for the peer to take what was sent last, in milliseconds.
const LAST_BYTES: u64 = 60_000;

/// How late a thread may look at a timer, in milliseconds.
const LATE: u64 = 120 + TICK;

impl SimHost {
    /// Checks what a session did in one run.
    pub fn check_run<const SHORT: bool>(&self, key: usize, session: &Session<SimSocket<SHORT>>, outcome: Outcome) {
        let kernel = self.kernel.borrow();
        let (entry, budget) = (self.entry(key), self.promise.budget());
        let number = entry.number;
        assert_eq!(session.moved(), entry.sent, "session {number} counts wrongly what it delivered");
        assert_eq!(session.is_bulk(), self.is_bulk(entry), "session {number} is wrong about whether it carries bulk");
        // One that has caps may have to ask for its part, for each flow once, and run again.
        let in_vain = outcome == Outcome::Spent && kernel.moved_in_run() == 0;
        let asks = entry.held_for.iter().flatten().count();
        assert!(!in_vain || entry.spent_in_vain.get() < asks, "session {number} moved nothing and wants to run again");
        entry.spent_in_vain.set(if in_vain { entry.spent_in_vain.get() + 1 } else { 0 });
        if outcome == Outcome::Waiting {
            let client = kernel.socket(entry.client);
            let header = &client.header_in;
            let over =
                client.known_broken() || client.witness.read_finish || parse(&header.bytes[..header.taken]).is_err();
            assert!(header.is_taken() || !over, "session {number} waits for a header that will not come");
            let corked = |socket: &Socket| socket.witness.corked && !socket.failed();
            let corked = entry.sockets().into_iter().any(|id| corked(kernel.socket(id)));
            assert!(!corked, "session {number} has a header wait for bytes that do not come");
        }
        if outcome == Outcome::Waiting {
            for (flow, (source, sink)) in entry.flows().into_iter().enumerate() {
                // What a cap holds back is found to be over when its time comes.
                if self.may_be_held(entry, flow, session.deadline(), kernel.now) {
                    continue;
                }
                let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                let over = source.known_broken() && (sink.known_broken() || !source.is_owed(sink));
                assert!(!over, "session {number} goes on though a socket failed");
                let over = source.known_left() && !source.is_owed(sink);
                assert!(!over, "session {number} goes on though its {} has left", source.side);
            }
        }
        for socket in entry.sockets().into_iter().map(|id| kernel.socket(id)).filter(|socket| !socket.witness.closed) {
            // When a socket has broken, what it said before is read for another budget in the same run.
            let budgets = if socket.known_broken() { 2 } else { 1 };
            let within = socket.witness.received_in_run <= budgets * budget as u64;
            assert!(within, "session {number} reads more than its budget");
        }
    }

    /// The pipes that hold bytes are those that flows have; buffers are counted when all have run.
    pub fn check_pipes(&self) {
        let is_pipe = |held: &Means| *held == Means::Pipe;
        let pipes = self.living().flat_map(|(_, entry)| self.held(entry)).filter(is_pipe).count();
        assert_eq!(pipe::standing().filled, pipes, "bytes were left in a pipe that no flow has");
    }

    /// Checks that the scheduler has the sessions that there are, and what they hold.
    pub fn check_agreement<const SHORT: bool>(&self, sessions: &Sessions<SimSocket<SHORT>>) {
        self.check_over();
        assert!(sessions.iter().map(|(key, _)| key).eq(self.living().map(|(key, _)| key)), "other sessions live");
        let (mut buffers, mut pipes) = (0, 0);
        for (key, entry) in self.living() {
            let session = sessions.get(key).expect("it lives");
            assert_eq!(session.service().id, entry.service, "session {} has another service", entry.number);
            for held in self.held(entry) {
                match held {
                    Means::Buffer => buffers += 1,
                    Means::Pipe => pipes += 1,
                }
            }
        }
        assert_eq!(sessions.pools.pipes.in_use(), pipes, "a pipe is out that holds nothing, or one is shared");
        assert_eq!(sessions.pools.in_use(), buffers + pipes, "a buffer is out that holds nothing, or one is shared");
    }

    /// Checks that all sessions have ended that were to, once they have been.
    pub fn check_ending(&mut self) {
        for (_, entry) in self.living() {
            assert!(!self.is_to_end(entry), "session {} is to end and lives on", entry.number);
        }
        self.ending = None;
    }

    /// What the flows of a session hold bytes in.
    pub fn held(&self, entry: &Entry) -> Vec<Means> {
        let kernel = self.kernel.borrow();
        let holds = |(source, sink): (usize, usize)| {
            let source = kernel.socket(source);
            source.witness.read_into.filter(|_| source.received > kernel.socket(sink).sent)
        };
        entry.flows().into_iter().filter_map(holds).collect()
    }

    /// Checks what a turn left behind.
    pub fn check_turn<const SHORT: bool>(&self, sessions: &Sessions<SimSocket<SHORT>>) {
        let now = self.kernel.borrow().now;
        for (key, entry) in self.living() {
            let number = entry.number;
            if self.promise.waits(key) {
                continue;
            }
            let said = sessions.get(key).and_then(Session::deadline);
            let expected = self.expected_deadline(entry);
            for deadline in [said, expected].into_iter().flatten() {
                assert!(deadline + TICK > now, "session {number} missed its deadline {deadline}");
            }
            assert!(sessions.timer(key).is_some() || expected.is_none(), "no timer is armed for session {number}");
        }
    }

    /// Checks that each remote has as many sessions as are joined to it, or about to be, and no more than it may have.
    pub fn check_leases(&self, services: &[Arc<Service>], members: &[Vec<Member>]) {
        for (service, members) in services.iter().zip(members) {
            for (number, Member { remote, max_sessions, .. }) in members.iter().enumerate() {
                let of_remote = |(_, entry): &(usize, &Entry)| {
                    entry.service == service.id && entry.dialling.remote_number() == Some(number)
                };
                let holds: Vec<Hold> =
                    self.living().filter(of_remote).map(|(key, entry)| self.hold(key, entry)).collect();
                let count = |wanted: Hold| holds.iter().filter(|&&hold| hold == wanted).count() as u32;
                let (surely, perhaps) = (count(Hold::Surely), count(Hold::Perhaps));
                let sessions = remote.sessions();
                assert!((surely..=surely + perhaps).contains(&sessions), "a remote has {sessions} sessions: {holds:?}");
                assert!(
                    max_sessions.is_none_or(|most| sessions <= most),
                    "a remote has more sessions than it may have"
                );
            }
        }
    }

    /// When a session has to be run at the latest, as the kernel saw it.
    fn expected_deadline(&self, entry: &Entry) -> Option<u64> {
        match entry.opened {
            Some(_) => {
                // What a cap holds back is not idle, and only the session knows how long it does.
                let idle = entry.timeouts.idle.filter(|_| entry.held_for == [None; 2])?;
                // It is found only in the next idle timeout that a peer takes no more of what was sent to it before.
                let progress = self.last_progress(entry);
                // One that is ending looks at it more often, and may have seen some that was taken since.
                let may_have_seen = entry.broke.is_some() && self.last_taken(entry) >= entry.moved;
                Some(if progress == entry.moved && !self.has_unsent(entry) && !may_have_seen {
                    progress + idle
                } else {
                    progress + 2 * idle + LATE
                })
            }
            None if !self.kernel.borrow().socket(entry.client).header_in.is_taken() => {
                Some(entry.came + entry.timeouts.connect)
            }
            None => entry.dialling.deadline(),
        }
    }

    /// Whether a cap may hold this flow back, as the session has a timer that is not later than the cap can be.
    fn may_be_held(&self, entry: &Entry, flow: usize, timer: Option<u64>, now: u64) -> bool {
        entry.held_for[flow].zip(timer).is_some_and(|(most, timer)| timer <= now + most + FINE_TICK)
    }

    /// When a byte last moved, or was taken by a peer, or a side was last found to have broken.
    fn last_progress(&self, entry: &Entry) -> u64 {
        entry.moved.max(self.last_taken(entry)).max(entry.broke.unwrap_or(0))
    }

    /// When a peer last took something.
    fn last_taken(&self, entry: &Entry) -> u64 {
        let kernel = self.kernel.borrow();
        entry.sockets().into_iter().map(|id| kernel.socket(id).fetched_at).max().unwrap_or(0)
    }

    /// Whether something that was sent is not taken, or was not when the peer closed.
    fn has_unsent(&self, entry: &Entry) -> bool {
        let kernel = self.kernel.borrow();
        entry.sockets().into_iter().any(|id| kernel.socket(id).unsent() > 0 || kernel.socket(id).left)
    }

    /// Whether nothing more has moved, nor been taken, for as long as a session waits that is ending.
    fn has_waited(&self, entry: &Entry) -> bool {
        let patience = entry.timeouts.idle.map_or(LAST_BYTES, |idle| idle.min(LAST_BYTES));
        self.kernel.borrow().now >= self.last_progress(entry) + patience
    }

    /// Checks, when no event is left to tell, that no session overlooks what it could do.
    pub fn check_stuck<const SHORT: bool>(&self, sessions: &Sessions<SimSocket<SHORT>>) {
        let kernel = self.kernel.borrow();
        for (key, entry) in self.living() {
            for id in entry.sockets() {
                let socket = kernel.socket(id);
                let flow = if socket.side == SideName::Client { 0 } else { 1 };
                // What it had said is read first, when the time of a cap comes.
                let is_held = self.may_be_held(entry, flow, sessions.timer(key), kernel.now);
                let unknown = socket.witness.closed || socket.unregistered() || is_held;
                assert!(
                    !socket.broken || unknown || socket.known_broken(),
                    "session {} overlooks that socket {id} broke",
                    entry.number
                );
            }
            let client = kernel.socket(entry.client);
            let known = client.header_in.is_taken();
            assert!(known || !client.readable(), "session {} leaves a header unread", entry.number);
            let Some(remote) = entry.dialling.remote() else { continue };
            let remote = kernel.socket(remote);
            if remote.told_connected() && !remote.header_out.is_given() {
                let left = remote.writable() && !remote.known_broken();
                assert!(!left, "session {} leaves a header unsent", entry.number);
            } else if remote.told_connected() {
                for (flow, (source, sink)) in entry.flows().into_iter().enumerate() {
                    let is_held = self.may_be_held(entry, flow, sessions.timer(key), kernel.now);
                    check_flow_stuck(entry.number, kernel.socket(source), kernel.socket(sink), is_held);
                }
            }
        }
    }

    /// Checks that a session ends for a good reason, and names it rightly.
    pub fn check_end(&self, key: usize, entry: &Entry, end: End) {
        let kernel = self.kernel.borrow();
        // That the connection timed out is an error; all else that breaks one is a reset.
        let told = |side: SideName, timed_out: bool| {
            let id = if side == SideName::Client { Some(entry.client) } else { entry.dialling.remote() };
            let errors = id.map_or(&[][..], |id| &kernel.socket(id).witness.told);
            assert!(errors.iter().any(|&error| (error == libc::ETIMEDOUT) == timed_out), "{end:?} after {errors:?}");
        };
        match end {
            End::EndOfStream => {
                for (source, sink) in entry.flows() {
                    let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                    if !sink.known_left() {
                        check_whole(entry.number, source, sink);
                    }
                    // Where both have ended, closing delivers the rest, as nobody will answer it.
                    let may_end = sink.read_to_the_end() || !source.is_owed(sink) || self.has_waited(entry);
                    let what = source.side;
                    assert!(
                        !source.known_left() || may_end,
                        "session {} ends before its {what} is heard",
                        entry.number
                    );
                }
            }
            End::Reset(side) => told(side, false),
            End::Error(SideName::Client) if entry.refused => {}
            End::Error(side) => told(side, true),
            End::RemoteDown if entry.opened.is_some() => {
                let (service, remote, on_down) = self.down.expect("a remote is down");
                let on_it = service == entry.service && entry.dialling.remote_number() == Some(remote);
                assert!(on_it && self.hold(key, entry) != Hold::No, "a session ends for another one's remote");
                assert_eq!(on_down, OnDown::Reset, "a session ends that might go on");
            }
            End::ConnectFailed | End::ConnectTimeout | End::RemoteDown => {
                drop(kernel);
                return entry.dialling.check_end(end, &self.kernel);
            }
            End::IdleTimeout => {
                let idle = entry.timeouts.idle.expect("there is an idle timeout");
                assert!(entry.opened.is_some() && kernel.now >= entry.moved + idle, "the idle timeout fires early");
                let left = entry.sockets().into_iter().any(|id| kernel.socket(id).left);
                let taking = !left && self.has_unsent(entry) && kernel.now < self.last_progress(entry) + idle;
                assert!(!taking, "the idle timeout fires though a peer takes what was sent to it");
            }
            End::SessionTimeout | End::HalfCloseTimeout => unreachable!("no session has these timeouts"),
            End::ExchangeComplete => unreachable!("nobody knows how many answers there are"),
            End::Drain => {}
            End::OutsideTime => unreachable!("there are no hours"),
            End::Rejected => unreachable!("no filter rejects anything"),
            End::MadeRoom | End::Refused => unreachable!("every client and every remote has a connection"),
            End::BadHeader => {
                drop(kernel);
                return self.check_bad_header(entry);
            }
            End::NotLetIn => unreachable!("everybody is let in"),
        }
        if matches!(end, End::Reset(_) | End::Error(_)) {
            for (source, sink) in entry.flows() {
                let (source, sink) = (kernel.socket(source), kernel.socket(sink));
                // A client that broke before the remote was connected has nobody to whom it could have said something.
                let early = source.side == SideName::Client && entry.opened.is_none_or(|at| entry.broke == Some(at));
                let may_end = sink.broken || sink.left || !source.is_owed(sink) || self.has_waited(entry);
                let may_end = may_end || early || !source.known_broken();
                assert!(may_end, "session {} does not pass on what its {} had said", entry.number, source.side);
            }
        }
    }

    /// Checks that a client was not known when its session ended for that.
    fn check_bad_header(&self, entry: &Entry) {
        let kernel = self.kernel.borrow();
        let client = kernel.socket(entry.client);
        let header = &client.header_in;
        assert!(!header.is_taken(), "session {} ends though its client has said who it is", entry.number);
        let bad = parse(&header.bytes[..header.taken]).is_err();
        let late = kernel.now >= entry.came + entry.timeouts.connect;
        assert!(bad || client.witness.read_finish || client.known_broken() || late, "it may still be a header");
        let sight = match () {
            () if bad => Sight::HeaderBad,
            () if client.known_broken() => Sight::HeaderBroken,
            () if client.witness.read_finish => Sight::HeaderCut,
            () => Sight::HeaderLate,
        };
        drop(kernel);
        self.see(sight);
    }

    /// Checks what the peer of a socket saw when the session was over.
    pub fn check_closed(&self, socket: &Socket, end: End) {
        assert!(socket.witness.closed, "a socket outlives its session");
        if end == End::EndOfStream {
            assert!(!socket.witness.aborted, "a whole stream is made to look cut off");
        } else {
            assert!(
                socket.witness.aborted || socket.broken || socket.left,
                "a stream that was cut off ({end:?}) looks whole"
            );
        }
    }
}

/// A flow that no event will move must be one that cannot move.
fn check_flow_stuck(number: usize, source: &Socket, sink: &Socket, is_held: bool) {
    if sink.known_broken() || sink.known_left() {
        // Nothing more goes there.
    } else if source.received > sink.sent {
        assert!(!sink.writable(), "session {number} holds bytes that its sink would take");
    } else if is_held && !source.read_to_the_end() {
        // It is read when the time of its cap comes, of which the session has a timer.
    } else if source.known_broken() {
        assert_eq!(source.received, source.arrived, "session {number} leaves unread what its source had said");
    } else if source.read_to_the_end() {
        assert!(sink.finished, "session {number} does not pass on that its source finished");
    } else {
        assert!(!source.readable(), "session {number} leaves unread what its source has to say");
    }
}

/// A flow that ended well has passed on everything, and its end.
fn check_whole(number: usize, source: &Socket, sink: &Socket) {
    assert!(source.read_to_the_end(), "session {number} ends well before its source has");
    assert_eq!(source.received, sink.sent, "session {number} ends well though bytes are missing");
}
