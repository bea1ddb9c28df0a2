//! Remotes among which one is as good as another, but for their weights: how one of them is chosen.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::client::ClientKey;
use super::cycle::Cycle;
use super::draw::Urn;
use super::least;
use super::source::Rendezvous;
use super::{Lease, Member};
use crate::config::balancing::Balance;

/// A remote in a tier.
#[derive(Debug)]
pub struct Candidate {
    pub member: Member,
    /// How many sessions it gets beside the others of its set, for the time being.
    pub weight: u32,
    /// Whether it is used though something speaks against it, because it is the last one.
    pub stays_in: bool,
}

impl Candidate {
    /// Whether nothing speaks against it by now.
    pub fn is_in(&self) -> bool {
        self.stays_in || self.member.remote.is_in()
    }
}

/// Some of the remotes of a set, and what is needed to choose one.
#[derive(Debug)]
pub struct Tier {
    candidates: Box<[Candidate]>,
    method: Method,
}

#[derive(Debug)]
enum Method {
    RoundRobin(Cycle),
    LeastSessions,
    Random(Urn),
    /// Clients without an address have their turns.
    Source(Rendezvous, Cycle),
}

/// What a choice depends on beside the remotes.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    /// What all threads that choose share.
    pub cursor: &'a AtomicU64,
    /// What is drawn follows from this.
    pub seed: u64,
    /// Who wants a remote, where that matters and is known.
    pub client: Option<ClientKey>,
}

impl Tier {
    /// A tier of these. One that `is_spare` is not used as long as there is another.
    pub fn new(candidates: Vec<Candidate>, balance: Balance, is_spare: bool) -> Tier {
        let cycle = || Cycle::new(&candidates.iter().map(|candidate| candidate.weight).collect::<Vec<_>>());
        let method = match balance {
            Balance::RoundRobin => Method::RoundRobin(cycle()),
            Balance::LeastSessions => Method::LeastSessions,
            Balance::Random => Method::Random(Urn::new(&candidates)),
            Balance::Source => Method::Source(Rendezvous::new(&candidates, !is_spare), cycle()),
        };
        Tier { candidates: candidates.into(), method }
    }

    /// Those that are in it.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Chooses one of those that may have a session, and counts the session.
    pub fn choose(&self, turn: Turn<'_>, may: impl Fn(&Candidate) -> bool) -> Option<Lease> {
        let may = |candidate: &Candidate| !candidate.member.is_full() && may(candidate);
        loop {
            let place = match &self.method {
                Method::LeastSessions => return least::choose(&self.candidates, turn.cursor, may),
                Method::RoundRobin(cycle) => self.in_turn(cycle, turn, may),
                Method::Random(urn) => {
                    let number = turn.seed.wrapping_add(turn.cursor.fetch_add(1, Relaxed));
                    urn.draw(&self.candidates, number, may)
                }
                Method::Source(rendezvous, cycle) => match turn.client {
                    Some(client) => rendezvous.choose(client, |place| may(&self.candidates[place])),
                    None => self.in_turn(cycle, turn, may),
                },
            }?;
            // Another thread may have taken its last place.
            if let Some(lease) = Lease::new(&self.candidates[place].member) {
                return Some(lease);
            }
        }
    }

    fn in_turn(&self, cycle: &Cycle, turn: Turn<'_>, may: impl Fn(&Candidate) -> bool) -> Option<usize> {
        // If nobody may, this is sooner found out than by going through the cycle.
        self.candidates.iter().any(&may).then(|| cycle.next(turn.cursor, |place| may(&self.candidates[place])))?
    }
}
