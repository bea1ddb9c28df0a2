//! The loads: what each does, which figures it gives, and what is to be reached.

use crate::figure::{Figure, Goal, Unit};
use crate::kit::{Peer, PeerKind};
use crate::subcommand::means;

/// One load.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub kind: Kind,
}

/// What a load does.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Connections as fast as can be over one remote, by this program and by an earlier one.
    OneRemote,
    /// Connections as fast as can be over [`RATE_REMOTES`] remotes, and over one.
    Rate(Method),
    /// Sessions dealt to remotes by their weights.
    Spread(Method, Stay),
    /// Clients of many addresses, dealt by address.
    Source,
    /// A remote's process is killed.
    Killed,
    /// A remote's packets are dropped.
    Blackholed,
    /// Many remotes are checked.
    Checks,
}

/// How remotes are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    RoundRobin,
    LeastSessions,
    Random,
    Source,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// Until all are open.
    Held,
    /// Until the server has answered.
    Short,
}

/// How many remotes there are where rates are measured.
pub const RATE_REMOTES: usize = 4;

/// The weights by which sessions are dealt.
pub const WEIGHTS: [usize; 3] = [5, 1, 1];

/// How many sessions are dealt by weight.
pub const SPREAD_SESSIONS: usize = 7000;

/// All loads, in the order they are reported.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: String, kind| cases.push(Case { name, kind });
    add("one-remote".to_owned(), Kind::OneRemote);
    for method in Method::ALL {
        add(format!("rate-{}", method.name()), Kind::Rate(method));
    }
    for method in [Method::RoundRobin, Method::Random] {
        for (stay, name) in [(Stay::Held, "held"), (Stay::Short, "short")] {
            add(format!("spread-{}-{name}", method.name()), Kind::Spread(method, stay));
        }
    }
    add("source".to_owned(), Kind::Source);
    add("killed".to_owned(), Kind::Killed);
    add("blackholed".to_owned(), Kind::Blackholed);
    add("checks".to_owned(), Kind::Checks);
    cases
}

impl Case {
    /// Whether a word of `--only` means it.
    pub fn is_meant_by(&self, word: &str) -> bool {
        means(word, &self.name)
    }

    /// The numbers that it gives, in this order, if these others are measured beside it.
    pub fn figures(&self, peers: &[Peer]) -> Vec<Figure> {
        let (figure, known) = (Figure::new, Figure::known);
        let has_haproxy = peers.iter().any(|peer| peer.kind == PeerKind::Haproxy);
        match self.kind {
            Kind::OneRemote => vec![
                figure("rate to that of the earlier program", Unit::Ratio, Goal::AtLeast(0.97)),
                known("CPU per connection, to the same", Unit::Ratio),
                known("rate of the earlier program", Unit::PerSecond),
                known("rate", Unit::PerSecond),
            ],
            Kind::Rate(_) => {
                let mut figures = vec![
                    figure("rate to that over one remote", Unit::Ratio, Goal::AtLeast(0.97)),
                    known("CPU per connection, to the same", Unit::Ratio),
                ];
                for peer in peers {
                    figures.push(figure(peer.kind.ratio_label(), Unit::Ratio, Goal::AtLeast(1.0)));
                }
                figures.push(known("rate over one remote", Unit::PerSecond));
                figures.push(known("rate", Unit::PerSecond));
                figures.extend(peers.iter().map(|peer| known(peer.kind.rate_label(), Unit::PerSecond)));
                figures
            }
            Kind::Spread(method, stay) => {
                // Two draws know nothing of sessions that have ended, so short ones are spread as chance has it.
                let goal = match (method, stay) {
                    (Method::RoundRobin, _) => Goal::Never,
                    (_, Stay::Held) => Goal::AtMost(0.03),
                    _ => Goal::None,
                };
                vec![
                    figure("most that a remote is off its share", Unit::Share, goal),
                    known("sessions on the first", Unit::Times),
                    known("sessions on the second", Unit::Times),
                    known("sessions on the third", Unit::Times),
                ]
            }
            Kind::Source => vec![
                figure("addresses with another choice the next time", Unit::Times, Goal::Never),
                figure("with another choice by another order of remotes", Unit::Times, Goal::Never),
                figure("moved when a remote that is not theirs goes", Unit::Times, Goal::Never),
                known("moved because theirs goes", Unit::Times),
                known("most loaded remote to the mean", Unit::Ratio),
            ],
            Kind::Killed => {
                let mut figures = vec![
                    figure("failed without a session on it", Unit::Times, Goal::Never),
                    known("failed with one", Unit::Times),
                    known("failed unanswered, begun before the kill", Unit::Times),
                    known("clients", Unit::Times),
                    known("longest wait of one begun after the kill", Unit::Seconds),
                ];
                figures.extend(peers.iter().map(|peer| known(peer.kind.failed_label(), Unit::Times)));
                figures
            }
            Kind::Blackholed => {
                let mut figures = vec![
                    // A client that is sent there waits for a second at least, until a SYN is sent again.
                    figure("longest wait of one begun 1.5 s after", Unit::Seconds, Goal::AtMost(0.5)),
                    known("clients begun then", Unit::Times),
                    // A tenth of a second is the machine's.
                    figure("all answered that waited for it, after", Unit::Seconds, Goal::AtMost(1.6)),
                    known("clients that waited for it", Unit::Times),
                    // Whoever connected before its queue was full.
                    known("clients never answered", Unit::Times),
                    known("clients that failed", Unit::Times),
                ];
                if has_haproxy {
                    figures.push(known("longest wait with HAProxy, begun 1.5 s after", Unit::Seconds));
                    figures.push(known("all answered with HAProxy, after", Unit::Seconds));
                }
                figures
            }
            Kind::Checks => {
                let mut figures = vec![
                    figure("share of a core", Unit::Share, Goal::AtMost(0.03)),
                    figure("checks", Unit::PerSecond, Goal::AtLeast(900.0)),
                ];
                if has_haproxy {
                    figures.push(known("share of a core of HAProxy", Unit::Share));
                    figures.push(known("checks of HAProxy", Unit::PerSecond));
                }
                figures
            }
        }
    }
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::LeastSessions, Self::Random, Self::Source];

    /// What `cproxy` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::LeastSessions => "least-sessions",
            Self::Random => "random",
            Self::Source => "source",
        }
    }

    /// What `cproxy` is told, for which the first is the default.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::RoundRobin => &[],
            Self::LeastSessions => &["--balance", "least-sessions"],
            Self::Random => &["--balance", "random"],
            Self::Source => &["--balance", "source"],
        }
    }

    /// What the configuration of another proxy says for it.
    pub fn lines(self, kind: PeerKind) -> &'static str {
        match kind {
            PeerKind::Haproxy => self.haproxy(),
            PeerKind::Nginx => self.nginx(),
        }
    }

    /// What a `listen` section of HAProxy says for it.
    fn haproxy(self) -> &'static str {
        match self {
            Self::RoundRobin => "    balance roundrobin\n",
            Self::LeastSessions => "    balance leastconn\n",
            Self::Random => "    balance random\n",
            Self::Source => "    balance source\n",
        }
    }

    /// What an `upstream` section of nginx says for it.
    fn nginx(self) -> &'static str {
        match self {
            Self::RoundRobin => "",
            Self::LeastSessions => "least_conn; ",
            Self::Random => "random two least_conn; ",
            Self::Source => "hash $remote_addr consistent; ",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_chosen_by_what_they_begin_with() {
        let cases = all();
        for case in &cases {
            assert_eq!(cases.iter().filter(|other| other.name == case.name).count(), 1, "{}", case.name);
            assert!(!case.figures(&[]).is_empty());
        }
        let chosen = |word: &str| cases.iter().filter(|case| case.is_meant_by(word)).count();
        assert_eq!((chosen("rate"), chosen("spread-random"), chosen("source"), chosen("ra")), (4, 2, 1, 0));
    }
}
