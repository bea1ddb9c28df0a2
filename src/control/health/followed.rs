//! One service whose remotes are kept: what it asks for, what names stand for, and the remotes that come of both.

use log::{LevelFilter, info, warn};
use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use super::plan::Plan;
use crate::address::{EndpointAddress, Endpoints};
use crate::base::error::error_text;
use crate::base::text::Escaped;
use crate::config::balancing::PoolSettings;
use crate::config::loops::own_listener;
use crate::config::settings::RemoteSettings;
use crate::control::Running;
use crate::control::resolver::{Found, Name};
use crate::log::LevelScope;
use crate::proxy_header::Version;
use crate::service::local::LocalAddress;
use crate::service::pool::{Member, Pool, Remote, RemoteId};
use crate::service::{ServiceId, appeared, members};

/// How many addresses a line of the log names.
const MOST_NAMED: usize = 8;

/// A service as it was asked for.
#[derive(Debug)]
pub struct Wanted {
    pub id: ServiceId,
    pub name: String,
    pub pool: Arc<Pool>,
    remotes: Vec<RemoteSettings>,
    pub settings: PoolSettings,
    /// The version of the PROXY header that remotes get.
    header: Option<Version>,
    local: LocalAddress,
    log_level: Option<LevelFilter>,
}

impl Wanted {
    /// The remotes of this one.
    pub fn new(Running { settings, service }: &Running) -> Wanted {
        Wanted {
            id: service.id,
            name: settings.name.clone(),
            pool: service.pool.clone(),
            remotes: settings.remotes.clone(),
            settings: settings.pool.clone(),
            header: settings.proxy.send,
            local: service.local.clone(),
            log_level: service.log_level,
        }
    }
}

/// Whether what a remote stands for may change while the program runs.
pub fn changes(remote: &RemoteSettings, settings: &PoolSettings) -> bool {
    is_srv(remote) || settings.resolve.is_some() && has_name(&remote.endpoints)
}

/// Whether a remote was written as a name, of which other addresses may be known later.
fn has_name(Endpoints { argument, addresses }: &Endpoints) -> bool {
    let is_inet = |address: &EndpointAddress| {
        let stream = if let EndpointAddress::Framed(stream) = address { stream } else { address };
        matches!(stream, EndpointAddress::Tcp(_) | EndpointAddress::Udp(_) | EndpointAddress::Stripe(_))
    };
    let address = argument.strip_prefix("framed:").unwrap_or(argument);
    let address = ["stripe:", "udp:"].iter().find_map(|kind| address.strip_prefix(kind)).unwrap_or(address);
    let is_number = |part: &str| {
        let part = part.strip_prefix("tcp:").unwrap_or(part);
        let host = part.rsplit_once(':').map_or(part, |(host, _)| host);
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    };
    addresses.iter().all(is_inet) && !address.split('+').all(is_number)
}

fn is_srv(remote: &RemoteSettings) -> bool {
    remote.endpoints.service_records().is_some()
}

/// A service whose remotes are kept.
#[derive(Debug)]
pub struct Followed {
    pub wanted: Wanted,
    pub plan: Option<Arc<Plan>>,
    /// For each remote that was asked for, what is known of its name.
    names: Vec<Known>,
    members: Vec<Member>,
    /// Remotes that are no longer wanted, and have sessions: one that comes back goes on as it was.
    gone: Vec<Weak<Remote>>,
    /// The one that is used because none is usable.
    stays_in: Option<Arc<Remote>>,
    /// The set is to be made anew, as something has changed.
    pub is_stale: bool,
    /// When it is to be made anew though nothing has changed.
    pub next_step: Option<u64>,
}

/// What is known of a name.
#[derive(Debug, Default)]
struct Known {
    /// The last answer, with all that is in it; `None`: there has been none yet.
    told: Option<Vec<Found>>,
    /// What is used of it; `None`: what was known when the program started, or was told to reload.
    found: Option<Vec<Found>>,
    /// The last answer was none.
    fails: bool,
    /// Addresses that are ours, and have been told of.
    ours: HashSet<EndpointAddress>,
}

impl Followed {
    /// What the one of the same name knew, if there was one, is kept.
    pub fn new(wanted: Wanted, former: Option<Followed>, now: u64) -> Followed {
        let (mut names, known, gone) = former.map_or_else(Default::default, |former| {
            let arguments = former.wanted.remotes.into_iter().map(|remote| remote.endpoints.argument);
            (arguments.zip(former.names).collect::<Vec<_>>(), former.members, former.gone)
        });
        let mut of = |remote: &RemoteSettings| {
            let same = |(argument, _): &(String, Known)| *argument == remote.endpoints.argument;
            let place = names.iter().position(same).filter(|_| changes(remote, &wanted.settings));
            place.map_or_else(Known::default, |place| names.swap_remove(place).1)
        };
        let names: Vec<Known> = wanted.remotes.iter().map(&mut of).collect();
        let is_known = names.iter().any(|name| name.found.is_some());
        let mut followed = Followed {
            plan: Plan::new(&wanted.settings.check, wanted.header)
                .map(|plan| Arc::new(Plan { local: wanted.local.clone(), ..plan })),
            names,
            members: wanted.pool.set().members().to_vec(),
            gone,
            stays_in: None,
            // A remote may have come back after the service was made, which was told to the one before it.
            is_stale: true,
            next_step: None,
            wanted,
        };
        if is_known {
            followed.make_members(&known);
        }
        followed.read_set();
        followed.replace_if_stale(now);
        followed
    }

    /// What is logged as long as this lives is of this service.
    pub fn log_scope(&self) -> Option<LevelScope> {
        LevelScope::of(self.wanted.log_level)
    }

    /// A line of the log, with the service's name before it where it has one.
    pub fn named(&self, line: impl Display) -> String {
        let name = &self.wanted.name;
        if name.is_empty() { line.to_string() } else { format!("service {name}: {line}") }
    }

    /// What is to be looked up.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        let Wanted { id, settings, remotes, .. } = &self.wanted;
        let changing = remotes.iter().enumerate().filter(|(_, remote)| changes(remote, settings));
        changing.map(|(number, remote)| Name {
            service: *id,
            remote: number,
            argument: remote.endpoints.argument.clone(),
            every: settings.resolve,
        })
    }

    /// The remotes as they are now.
    pub fn remotes(&self) -> impl Iterator<Item = &Arc<Remote>> {
        self.members.iter().map(|member| &member.remote)
    }

    /// Whether it has this remote.
    pub fn has(&self, remote: RemoteId) -> bool {
        self.remotes().any(|other| other.id == remote)
    }

    /// A name stands for this now. Whether that changes anything.
    pub fn answer(
        &mut self,
        number: usize,
        found: Result<Vec<Found>, String>,
        listening: &[EndpointAddress],
        now: u64,
    ) -> bool {
        let Some(RemoteSettings { endpoints, .. }) = self.wanted.remotes.get(number) else { return false };
        let argument = shown(endpoints);
        let known = &mut self.names[number];
        let found = match found {
            Ok(found) => found,
            Err(reason) => {
                if !std::mem::replace(&mut known.fails, true) {
                    let _level = self.log_scope();
                    warn!("{}", self.named(format!("remote {argument} is left as it is: {reason}")));
                }
                return false;
            }
        };
        known.told = Some(found.clone());
        if std::mem::take(&mut known.fails) {
            let _level = self.log_scope();
            info!("{}", self.named(format!("remote {argument} can be looked up again")));
        }
        let found = self.without_ours(number, found, listening);
        // One without an answer changes nothing, so neither does one of which nothing is left.
        if found.is_empty() || self.names[number].found.as_ref() == Some(&found) {
            return false;
        }
        self.take(number, found, now);
        true
    }

    /// The program listens at these addresses now: what names stand for is judged again, as no answer may come that
    /// differs from the last one. Whether that changes anything.
    pub fn judge_again(&mut self, listening: &[EndpointAddress], now: u64) -> bool {
        let mut any = false;
        for number in 0..self.names.len() {
            let Wanted { remotes, settings, .. } = &self.wanted;
            let remote = &remotes[number];
            if !changes(remote, settings) {
                continue;
            }
            let is_ours = |found: &Found| own_listener(&found.address, listening).is_some();
            let Known { told, found, .. } = &self.names[number];
            let used = found.clone().unwrap_or_else(|| at_start(remote));
            let is_led_back = used.iter().any(is_ours);
            let told = told.clone().unwrap_or_else(|| used.clone());
            let mut left = self.without_ours(number, told, listening);
            if left.is_empty() {
                // What is there besides is used as before: but nothing at all is better than the program itself.
                left = used.iter().filter(|found| !is_ours(found)).cloned().collect();
            }
            if left != used && (is_led_back || !left.is_empty()) {
                self.take(number, left, now);
                any = true;
            }
        }
        any
    }

    /// Uses these as the remotes that a name stands for.
    fn take(&mut self, number: usize, found: Vec<Found>, now: u64) {
        self.names[number].found = Some(found);
        let before = self.members.clone();
        self.make_members(&[]);
        appeared(&self.members, &before, now);
        self.log_difference(&shown(&self.wanted.remotes[number].endpoints), &before);
    }

    /// Leaves out what would lead back to the program itself, and says so once.
    fn without_ours(&mut self, number: usize, mut found: Vec<Found>, listening: &[EndpointAddress]) -> Vec<Found> {
        let mut ours = HashSet::new();
        found.retain(|Found { address, .. }| {
            let listener = own_listener(address, listening);
            if let Some(listener) = listener {
                if !self.names[number].ours.contains(address) {
                    let argument = shown(&self.wanted.remotes[number].endpoints);
                    let line = format!(
                        "remote {argument}: {address} is left out, as it is the proxy's own listener {listener}"
                    );
                    let _level = self.log_scope();
                    warn!("{}", self.named(line));
                }
                ours.insert(address.clone());
            }
            listener.is_none()
        });
        self.names[number].ours = ours;
        found
    }

    /// Makes the remotes anew, of what is asked for and what names stand for; those that are known stay the same.
    fn make_members(&mut self, former: &[Member]) {
        let Wanted { remotes, settings, .. } = &self.wanted;
        let asked: Vec<RemoteSettings> =
            remotes.iter().zip(&self.names).flat_map(|(remote, name)| effective(remote, name)).collect();
        let current: Vec<Arc<Remote>> = self.remotes().cloned().collect();
        let gone: Vec<Arc<Remote>> = self.gone.iter().filter_map(Weak::upgrade).collect();
        // Of two at one address the former one is the one that sessions know.
        let former = former.iter().map(|member| &member.remote);
        match members(&asked, settings.resolve.is_some(), gone.iter().chain(&current).chain(former)) {
            Ok(members) => {
                let wanted: HashSet<RemoteId> = members.iter().map(|member| member.remote.id).collect();
                let unwanted = gone.iter().chain(&current).filter(|remote| !wanted.contains(&remote.id));
                self.gone = unwanted.map(Arc::downgrade).collect();
                (self.members, self.is_stale) = (members, true);
            }
            Err((remote, error)) => {
                let _level = self.log_scope();
                warn!("{}", self.named(format!("remote {remote} is left as it is: {}", error_text(&error))));
            }
        }
    }

    /// Makes the set anew that sessions choose from, if that is due. Returns the remote that was used only because no other
    /// one was usable, if it is used no longer.
    pub fn replace_if_stale(&mut self, now: u64) -> Option<Arc<Remote>> {
        if !self.is_stale && self.next_step.is_none_or(|step| step > now) {
            return None;
        }
        self.wanted.pool.replace(self.members.clone(), now);
        self.is_stale = false;
        self.read_set()
    }

    /// Notes what the set says of itself; returns as [`Followed::replace_if_stale`].
    fn read_set(&mut self) -> Option<Arc<Remote>> {
        let set = self.wanted.pool.set();
        self.next_step = set.next_step();
        let before = std::mem::replace(&mut self.stays_in, set.stays_in().cloned());
        before.filter(|before| !self.stays_in(before) && self.has(before.id))
    }

    /// Whether a remote is used, because none is usable.
    pub fn stays_in(&self, remote: &Remote) -> bool {
        self.stays_in.as_ref().is_some_and(|stays| stays.id == remote.id)
    }

    fn log_difference(&self, argument: &str, before: &[Member]) {
        let ids = |members: &[Member]| members.iter().map(|member| member.remote.id).collect::<HashSet<_>>();
        let (was, is) = (ids(before), ids(&self.members));
        let added: Vec<&Remote> =
            self.remotes().filter(|remote| !was.contains(&remote.id)).map(|remote| &**remote).collect();
        let removed = before.iter().map(|member| &*member.remote);
        let removed: Vec<&Remote> = removed.filter(|remote| !is.contains(&remote.id)).collect();
        let mut parts = Vec::new();
        if !added.is_empty() {
            parts.push(format!("{} added", list(&added)));
        }
        if !removed.is_empty() {
            let sessions: u64 = removed.iter().map(|remote| u64::from(remote.sessions())).sum();
            parts.push(format!("{} removed, with {}", list(&removed), sessions_text(sessions)));
        }
        if parts.is_empty() {
            // Another weight or order.
            return;
        }
        let _level = self.log_scope();
        info!("{}", self.named(format!("remote {argument}: {}", parts.join("; "))));
    }
}

/// A remote as it was written, fit for the log.
fn shown(endpoints: &Endpoints) -> String {
    Escaped(endpoints.argument.as_bytes()).to_string()
}

/// What a name stood for when the settings were made.
fn at_start(remote: &RemoteSettings) -> Vec<Found> {
    let found = |address: &EndpointAddress| Found { address: address.clone(), weight: None, is_backup: false };
    remote.endpoints.addresses.iter().map(found).collect()
}

/// What is asked for instead of a name: each of its addresses.
fn effective(remote: &RemoteSettings, name: &Known) -> Vec<RemoteSettings> {
    let Some(found) = &name.found else { return vec![remote.clone()] };
    let each = |Found { address, weight, is_backup }: &Found| RemoteSettings {
        endpoints: Endpoints { argument: remote.endpoints.argument.clone(), addresses: vec![address.clone()] },
        weight: weight.unwrap_or(remote.weight),
        is_backup: remote.is_backup || *is_backup,
        max_sessions: remote.max_sessions,
        unresolved: None,
    };
    found.iter().map(each).collect()
}

fn list(remotes: &[&Remote]) -> String {
    let mut text = String::new();
    for (number, remote) in remotes.iter().take(MOST_NAMED).enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        // A string takes whatever is written to it.
        let _ = write!(text, "{comma}{}", remote.name);
    }
    match remotes.len().saturating_sub(MOST_NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// How many sessions there are, in words.
pub fn sessions_text(count: u64) -> String {
    match count {
        0 => "no session".to_string(),
        1 => "1 session".to_string(),
        count => format!("{count} sessions"),
    }
}

#[cfg(test)]
mod tests;
