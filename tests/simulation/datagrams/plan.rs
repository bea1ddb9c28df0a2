//! Everything that a seed decides about a session of datagrams before its schedule starts.

use cproxy::buffers::batch::MAX_DATAGRAM;
use cproxy::service::Timeouts;

use super::super::plan::{Answer, Style};
use super::super::random::Random;

/// What an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// A stream that carries datagrams.
    Framed,
    /// A datagram socket with one peer.
    Datagram,
    /// A client without a connection.
    Source,
}

impl Kind {
    /// Whether bytes go over its wire in order, without boundaries.
    pub fn is_stream(self) -> bool {
        matches!(self, Kind::Stream | Kind::Framed)
    }

    /// Whether it is connected as soon as it is there.
    pub fn connects_at_once(self) -> bool {
        !self.is_stream()
    }
}

/// How much the peers send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Datagrams of few bytes, through queues of few bytes.
    Few,
    /// Datagrams up to the largest.
    Many,
}

/// How a peer ends when it has sent all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Open,
    Finish,
    Break(i32),
}

/// A peer, and the kernel's queues on the way from and to it.
#[derive(Debug, Clone)]
pub struct PeerPlan {
    pub kind: Kind,
    /// What it sends: datagrams, or writes of a stream.
    pub sizes: Vec<usize>,
    /// A stream stops after so many bytes, be it in the middle of a frame.
    pub cut: Option<usize>,
    pub ending: Ending,
    pub end_delay: u64,
    /// Bytes, or datagrams, that it sends or reads at once.
    pub piece: u64,
    pub gulp: u64,
    /// The longest time between two acts.
    pub pause: u64,
    /// It reads no further; in bytes or datagrams.
    pub stops_reading_at: Option<u64>,
    /// Bytes, or datagrams, queued on the way from it and to it.
    pub receive_room: u64,
    pub send_room: u64,
    /// What does not fit into the queue on the way from it is lost.
    pub loses: bool,
    /// Bytes of a stream that become one datagram here, and the longest datagram that can be sent.
    pub chunk: usize,
    pub longest: usize,
    /// Once in so many calls a datagram has an error of its own.
    pub errors_once_in: Option<u64>,
    /// Nothing can be sent to it: it has no name.
    pub unnamed: bool,
    /// It can be told an end; it then answers with one of its own.
    pub takes_end: bool,
    pub answers: bool,
    /// It sends so many bytes, or datagrams, and the others once it is told an end.
    pub waits_at: Option<usize>,
    /// Datagrams are read into rooms of their own, not one behind the other.
    pub rooms: bool,
}

/// One address of the remote.
#[derive(Debug, Clone)]
pub struct Address {
    /// How many times the remote is busy before it answers.
    pub busy: u64,
    pub answer: Answer,
    pub peer: PeerPlan,
}

/// A whole schedule: one session.
#[derive(Debug)]
pub struct Plan {
    pub style: Style,
    pub poll_tells_finish: bool,
    pub client: PeerPlan,
    pub addresses: Vec<Address>,
    pub budget: usize,
    pub timeouts: Timeouts,
    /// When the time to drain is over.
    pub drain: u64,
    /// The same as a number of turns.
    pub drain_turn: Option<u64>,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Plan {
        let scale = if random.once_in(6) { Scale::Many } else { Scale::Few };
        let (client, remote) = draw_kinds(random);
        let addresses = if random.once_in(6) { 2 } else { 1 };
        Plan {
            style: random.pick(&[Style::Epoll, Style::Kqueue, Style::Poll]),
            poll_tells_finish: random.once_in(2),
            client: PeerPlan::draw(random, client, scale),
            addresses: (0..addresses).map(|_| Address::draw(random, remote, scale)).collect(),
            budget: match scale {
                Scale::Few if random.once_in(3) => random.size(1024) as usize,
                Scale::Few => (random.size(64) << 10) as usize,
                Scale::Many => (random.size(256) << 10) as usize,
            },
            timeouts: Timeouts {
                connect: random.within(1..=1500),
                idle: random.once_in(3).then(|| random.within(1..=1500)),
                connectionless: (!random.once_in(3)).then(|| random.within(1..=1500)),
                session: None,
                half_close: None,
            },
            drain: if random.once_in(6) { random.below(3000) } else { 8000 },
            drain_turn: random.once_in(10).then(|| random.size(64)),
        }
    }
}

/// All pairs but that of two streams, in which there are no datagrams.
fn draw_kinds(random: &mut Random) -> (Kind, Kind) {
    loop {
        let client = random.pick(&[Kind::Stream, Kind::Framed, Kind::Datagram, Kind::Source]);
        let remote = random.pick(&[Kind::Stream, Kind::Framed, Kind::Datagram]);
        if (client, remote) != (Kind::Stream, Kind::Stream) {
            return (client, remote);
        }
    }
}

impl Address {
    fn draw(random: &mut Random, kind: Kind, scale: Scale) -> Address {
        let after = random.pick(&[0, 0, 0, 1, 40, 800]);
        let error = random.pick(&[libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT]);
        let answer = match random.below(20) {
            0..=16 => Answer::Accept { after },
            17 if kind.is_stream() => Answer::Refuse { after, error },
            18 if kind.is_stream() => Answer::Nothing,
            _ => Answer::FailAtOnce,
        };
        let busy = if random.once_in(10) { random.pick(&[1, 2, 4, u64::MAX]) } else { 0 };
        Address { busy, answer, peer: PeerPlan::draw(random, kind, scale) }
    }
}

impl PeerPlan {
    fn draw(random: &mut Random, kind: Kind, scale: Scale) -> PeerPlan {
        let sizes = draw_sizes(random, scale);
        let total: usize = sizes.iter().map(|size| size + 2).sum();
        let room = |random: &mut Random| match (kind.is_stream(), scale) {
            (true, Scale::Few) => random.size(512).max(3),
            (true, Scale::Many) => random.size(64) << 12,
            (false, _) => random.size(40),
        };
        let step = |random: &mut Random| match (kind.is_stream(), scale) {
            (true, Scale::Few) => random.size(256),
            (true, Scale::Many) => random.size(32) << 13,
            (false, _) => random.size(40),
        };
        let chunk = match scale {
            Scale::Few => random.size(128) as usize,
            Scale::Many => random.pick(&[1472, 1472, 9000, MAX_DATAGRAM]),
        };
        let takes_end = match kind {
            Kind::Stream | Kind::Framed => true,
            Kind::Datagram => random.once_in(2),
            Kind::Source => false,
        };
        let most = if kind.is_stream() { total } else { sizes.len() };
        PeerPlan {
            kind,
            cut: random.once_in(3).then(|| draw_cut(random, &sizes)),
            ending: match (kind, random.below(8)) {
                (Kind::Source, _) | (_, 0..=2) => Ending::Open,
                (_, 3..=5) => Ending::Finish,
                (_, 6) => Ending::Break(libc::ECONNRESET),
                _ => Ending::Break(random.pick(&[libc::ECONNRESET, libc::ETIMEDOUT])),
            },
            end_delay: random.pick(&[0, 0, 0, 1, 100, 1000, 3000]),
            piece: step(random),
            gulp: step(random),
            pause: random.pick(&[0, 0, 0, 0, 1, 30, 400, 1500]),
            stops_reading_at: random.once_in(4).then(|| random.below(most as u64 + 1)),
            receive_room: room(random),
            send_room: room(random),
            loses: random.once_in(2),
            chunk,
            longest: if random.once_in(4) { chunk } else { MAX_DATAGRAM },
            errors_once_in: random.once_in(3).then(|| random.within(2..=20)),
            unnamed: kind == Kind::Source && random.once_in(10),
            takes_end,
            answers: takes_end && random.once_in(2),
            waits_at: (takes_end && random.once_in(4)).then(|| random.below(most as u64 + 1) as usize),
            rooms: random.once_in(4),
            sizes,
        }
    }
}

fn draw_sizes(random: &mut Random, scale: Scale) -> Vec<usize> {
    let count = if random.once_in(3) { random.size(100) } else { random.below(16) };
    let longest = match scale {
        Scale::Few => random.size(256),
        Scale::Many => random.pick(&[3000, 16_000, 60_000, 60_000]),
    };
    let same = random.once_in(4).then(|| random.size(longest) as usize);
    let size = |random: &mut Random| match (random.below(12), scale) {
        (0, _) => 0,
        (1, Scale::Many) => MAX_DATAGRAM,
        (2, Scale::Many) => MAX_DATAGRAM - random.below(4) as usize,
        _ => (random.size(longest) as usize).min(MAX_DATAGRAM),
    };
    (0..count).map(|_| same.unwrap_or_else(|| size(random)).min(MAX_DATAGRAM)).collect()
}

/// Where a stream of frames stops: in a length or in a datagram.
fn draw_cut(random: &mut Random, sizes: &[usize]) -> usize {
    let whole = random.below(sizes.len() as u64 + 1) as usize;
    let before: usize = sizes[..whole].iter().map(|size| size + 2).sum();
    let next = sizes.get(whole).copied().unwrap_or(0) as u64;
    let within = random.below(next + 1);
    before + random.pick(&[0, 1, 2, 2 + within, 2 + next.saturating_sub(1)]) as usize
}
