//! Everything that a seed decides about sources before their schedule starts.

use cproxy::service::Timeouts;
use cproxy::thread::sessions::Budgets;

use super::super::random::Random;

/// What an address of a session's remote does when it is dialled.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Fail,
    /// It is busy so many times, and connected after that.
    Busy(u64),
    AtOnce,
    Connect {
        after: u64,
    },
    Refuse {
        after: u64,
    },
    Never,
}

/// What awaits a session.
#[derive(Debug, Clone)]
pub struct Fate {
    /// Its client cannot be admitted.
    pub refused: bool,
    pub addresses: Vec<Way>,
    /// Its remote breaks so long after it was connected.
    pub breaks_after: Option<u64>,
}

/// A whole schedule.
#[derive(Debug)]
pub struct Plan {
    /// How many sources each socket has.
    pub doors: Vec<usize>,
    pub budgets: Budgets,
    pub most_sources: usize,
    /// How many sessions the process may have, with those of other threads.
    pub most: usize,
    /// Most datagrams in a batch, and their most bytes.
    pub burst: u64,
    pub longest: u64,
    /// Once in so many sessions things go wrong as they begin.
    pub trouble: u64,
    /// Once in so many turns there is news: a service is replaced, a socket closed, others come or go.
    pub news: u64,
    /// Datagrams come until then; and from then on the thread drains.
    pub told: u64,
    pub over: u64,
}

impl Plan {
    pub fn draw(random: &mut Random) -> Plan {
        let doors = (0..random.within(1..=3)).map(|_| random.size(12) as usize).collect();
        let told = random.size(4000) + 20;
        Plan {
            doors,
            budgets: Budgets {
                large: (random.size(64) << 10) as usize,
                small: (random.size(16) << 10) as usize,
                message: random.size(4096),
            },
            most_sources: random.pick(&[1, 2, 3, 5, 8, usize::MAX]),
            most: random.pick(&[1, 3, 6, 10, 100, 100]),
            burst: random.size(32).min(32),
            longest: random.pick(&[30, 30, 30, 300, 30_000]),
            trouble: random.pick(&[2, 5, 20, 1000]),
            news: random.pick(&[5, 20, 100]),
            told,
            over: told + random.pick(&[0, 100, 1000, 2500]),
        }
    }
}

/// How many addresses a service's remote has.
pub fn draw_addresses(random: &mut Random) -> usize {
    if random.once_in(5) { 2 } else { 1 }
}

pub fn draw_timeouts(random: &mut Random) -> Timeouts {
    let connectionless = (!random.once_in(3)).then(|| random.within(1..=3000));
    Timeouts { connect: random.within(1..=600), idle: Some(1), connectionless, session: None, half_close: None }
}

impl Fate {
    pub fn draw(random: &mut Random, trouble: u64, addresses: usize) -> Fate {
        let addresses = (0..addresses).map(|_| Way::draw(random, trouble)).collect();
        let breaks_after = random.once_in(5).then(|| random.size(1000));
        Fate { refused: random.once_in(5 * trouble), addresses, breaks_after }
    }

    /// Whether a session ends as it starts.
    pub fn fails_at_once(&self) -> bool {
        self.refused || self.addresses.iter().all(|way| matches!(way, Way::Fail))
    }
}

impl Way {
    fn draw(random: &mut Random, trouble: u64) -> Way {
        let after = random.pick(&[0, 1, 20, 300]);
        if !random.once_in(trouble) {
            return if random.once_in(3) { Way::Connect { after } } else { Way::AtOnce };
        }
        match random.below(5) {
            0 | 1 => Way::Fail,
            2 => Way::Busy(random.size(4)),
            3 => Way::Refuse { after },
            _ => Way::Never,
        }
    }
}
