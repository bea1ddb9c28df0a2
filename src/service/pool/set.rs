//! The remotes as they are at one time: never changed, only replaced.

use std::sync::Arc;

use super::{Policy, Remote};

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
}

/// What sessions choose from.
#[derive(Debug)]
pub struct Set {
    members: Vec<Member>,
}

impl Set {
    /// The set of these remotes, by what is known of them at this time.
    pub fn new(members: Vec<Member>, policy: &Policy, now: u64) -> Set {
        let _ = (policy, now);
        members.iter().filter(|member| member.max_sessions.is_some()).for_each(|member| member.remote.freed.limit());
        Set { members }
    }

    /// All remotes, usable or not, in the order given.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many more sessions there may be; `None`: any number.
    pub fn room(&self) -> Option<u64> {
        let room = |member: &Member| Some(u64::from(member.max_sessions?.saturating_sub(member.remote.sessions())));
        if self.members.is_empty() { None } else { self.members.iter().map(room).sum() }
    }
}
