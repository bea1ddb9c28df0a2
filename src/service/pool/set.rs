//! The remotes as they are at one time: never changed, only replaced.

use std::sync::Arc;
use std::sync::atomic::{Ordering::Acquire, fence};

use super::growth::Growth;
use super::tier::{Candidate, Tier, Turn};
use super::{Choice, Policy, Remote, RemoteId};

/// A set has no more remotes than this; what there is beyond is left out.
pub const MOST_MEMBERS: usize = u16::MAX as usize - 1;

/// A remote in a set.
#[derive(Debug, Clone)]
pub struct Member {
    /// The remote.
    pub remote: Arc<Remote>,
    /// How many sessions it gets beside those of others; at least 1.
    pub weight: u16,
    /// Whether it is used only when no other one is usable.
    pub is_backup: bool,
    /// How many sessions it may have at once.
    pub max_sessions: Option<u32>,
}

impl Member {
    /// One with the defaults.
    pub fn new(remote: Arc<Remote>) -> Member {
        Member { remote, weight: 1, is_backup: false, max_sessions: None }
    }

    /// Whether it has as many sessions as it may have.
    pub fn is_full(&self) -> bool {
        self.max_sessions.is_some_and(|most| self.remote.sessions() >= most)
    }
}

/// What sessions choose from.
#[derive(Debug)]
pub struct Set {
    members: Vec<Member>,
    tiers: Tiers,
    /// Which of the members is used because none is usable.
    stays_in: Option<usize>,
    /// Whether any may be full.
    has_limits: bool,
    next_step: Option<u64>,
}

/// By which order they are used.
#[derive(Debug)]
struct Tiers {
    usable: Tier,
    usable_backups: Tier,
    others: Tier,
    other_backups: Tier,
}

impl Set {
    /// The set of these remotes, by what is known of them at this time.
    pub fn new(mut members: Vec<Member>, policy: &Policy, now: u64) -> Set {
        members.truncate(MOST_MEMBERS);
        members.iter().filter(|member| member.max_sessions.is_some()).for_each(|member| member.remote.freed.limit());
        let stays_in = last_usable(&members);
        let growth = Growth::of(&members, policy, now);
        let mut tiers = [const { Vec::new() }; 4];
        for (number, member) in members.iter().enumerate() {
            let stays_in = stays_in == Some(number);
            let candidate = Candidate { member: member.clone(), weight: growth.weight(member), stays_in };
            let tier = usize::from(!candidate.is_in()) * 2 + usize::from(member.is_backup);
            tiers[tier].push(candidate);
        }
        let [usable, usable_backups, others, other_backups] = tiers;
        let tiers = Tiers {
            usable: Tier::new(usable, policy.balance, false),
            usable_backups: Tier::new(usable_backups, policy.balance, true),
            others: Tier::new(others, policy.balance, true),
            other_backups: Tier::new(other_backups, policy.balance, true),
        };
        let has_limits = members.iter().any(|member| member.max_sessions.is_some());
        Set { tiers, stays_in, has_limits, next_step: growth.next_step, members }
    }

    /// All remotes, usable or not, in the order given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The one that is used though it is out or down, because all are: it was the last one that was usable.
    pub fn stays_in(&self) -> Option<&Arc<Remote>> {
        self.stays_in.map(|number| &self.members[number].remote)
    }

    /// When the set is to be made anew because the share of a remote has grown.
    pub fn next_step(&self) -> Option<u64> {
        self.next_step
    }

    /// Whether any of its remotes may have only so many sessions.
    pub(super) fn has_limits(&self) -> bool {
        self.has_limits
    }

    /// How many more sessions there may be on those that are in use; `None`: any number.
    pub fn room(&self) -> Option<u64> {
        if !self.has_limits {
            return None;
        }
        let room = |member: &Member| Some(u64::from(member.max_sessions?.saturating_sub(member.remote.sessions())));
        if self.in_use().next().is_none() {
            return self.members.iter().map(room).sum();
        }
        self.in_use().map(|candidate| room(&candidate.member)).sum()
    }

    /// Those that are usable by now, backups among them.
    fn in_use(&self) -> impl Iterator<Item = &Candidate> {
        let tiers = [&self.tiers.usable, &self.tiers.usable_backups];
        tiers.into_iter().flat_map(Tier::candidates).filter(|candidate| candidate.is_in())
    }

    /// Whether any of these is in use.
    pub(super) fn uses_any(&self, remotes: &[RemoteId]) -> bool {
        !remotes.is_empty() && self.in_use().any(|candidate| remotes.contains(&candidate.member.remote.id))
    }

    /// Those that a session is to try when they have been out for long enough: backups only if there is need of them.
    pub(super) fn on_trial(&self) -> impl Iterator<Item = &Member> {
        let is_enough = |member: &Member| !member.is_backup && member.remote.is_in() && !member.is_full();
        let needs_backups = !self.members.iter().any(is_enough);
        self.members.iter().filter(move |member| needs_backups || !member.is_backup)
    }

    /// From when on a session may try one that is out and has room for it; `u64::MAX`: there is none.
    pub(super) fn next_trial(&self) -> u64 {
        let has_room = self.on_trial().filter(|member| !member.is_full());
        has_room.filter_map(|member| member.remote.retry_at()).min().unwrap_or(u64::MAX)
    }

    /// Chooses a remote, but none of those that were tried. All were full at one and the same time if it finds them so.
    pub(super) fn choose(&self, turn: Turn<'_>, tried: &[RemoteId]) -> Choice {
        match self.look(turn, tried) {
            Choice::Full => self.look_again(turn, tried),
            choice => choice,
        }
    }

    /// Looks again for room where none was found: the remotes are looked at one after the other, and meanwhile a session
    /// may have left one that had been looked at, and another come to one that had not, so that there was room all the time.
    #[cold]
    fn look_again(&self, turn: Turn<'_>, tried: &[RemoteId]) -> Choice {
        loop {
            let taken = self.leases_taken();
            // What made us see that one was taken is also seen by the look that follows.
            fence(Acquire);
            match self.look(turn, tried) {
                Choice::Full if self.leases_taken() != taken => {}
                choice => return choice,
            }
        }
    }

    /// A number that changes with each lease.
    fn leases_taken(&self) -> u32 {
        self.members.iter().fold(0, |sum, member| sum.wrapping_add(member.remote.sessions.taken()))
    }

    fn look(&self, turn: Turn<'_>, tried: &[RemoteId]) -> Choice {
        let Tiers { usable, usable_backups, others, other_backups } = &self.tiers;
        let untried = |candidate: &Candidate| !tried.contains(&candidate.member.remote.id);
        let usable_now = |candidate: &Candidate| candidate.is_in() && untried(candidate);
        for tier in [usable, usable_backups] {
            if let Some(lease) = tier.choose(turn, usable_now) {
                return Choice::Remote(lease);
            }
        }
        // Rather than try one that is out, the session waits until one that is not has room.
        if self.in_use().any(untried) {
            return Choice::Full;
        }
        // Those that were usable when the set was made may all be out by now; they worked until a moment ago.
        for tier in [usable, others, usable_backups, other_backups] {
            if let Some(lease) = tier.choose(turn, untried) {
                return Choice::Remote(lease);
            }
        }
        match self.members.iter().all(|member| tried.contains(&member.remote.id)) {
            true => Choice::Exhausted,
            false => Choice::Full,
        }
    }
}

/// If none is usable, the one that was so until last.
fn last_usable(members: &[Member]) -> Option<usize> {
    if members.iter().any(|member| member.remote.is_in()) {
        return None;
    }
    (0..members.len()).max_by_key(|&number| members[number].remote.in_until())
}

#[cfg(test)]
impl Set {
    /// Whether a remote was usable when the set was made.
    pub(super) fn is_usable(&self, remote: &Remote) -> bool {
        let tiers = [&self.tiers.usable, &self.tiers.usable_backups];
        tiers.into_iter().flat_map(Tier::candidates).any(|candidate| candidate.member.remote.id == remote.id)
    }
}
