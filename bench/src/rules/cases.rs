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
    /// One source is refused as often as it can come, while others ping.
    Refused(By),
    /// Connections as fast as can be, with rules and limits that all clients keep to.
    AllRules,
    /// The same to remotes that are told who each client is.
    SendProxy,
    /// Pings over sessions that began with such a header.
    SendProxyPing,
    /// Connections as fast as can be, each of which has a line in a file.
    AccessLog,
    /// A start with a million networks in a file.
    Networks(Family),
    /// [`CAPPED_SESSIONS`] sessions, each of them capped at [`CAP`].
    CappedMany,
    /// One session, capped at so many bytes a second.
    CappedOne { rate: u32 },
}

/// What refuses a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A rule.
    Rule,
    /// The rate at which a source may begin sessions.
    Rate,
}

/// What kind of networks a file lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// How many sessions are capped at a time.
pub const CAPPED_SESSIONS: usize = 1000;

/// The cap of each of them, in bytes a second: 1 Mbit/s.
pub const CAP: u32 = 125_000;

/// All loads, in the order they are reported.
pub fn all() -> Vec<Case> {
    let case = |name: &str, kind| Case { name: name.to_owned(), kind };
    vec![
        case("refused-rule", Kind::Refused(By::Rule)),
        case("refused-rate", Kind::Refused(By::Rate)),
        case("all-rules", Kind::AllRules),
        case("send-proxy", Kind::SendProxy),
        case("send-proxy-ping", Kind::SendProxyPing),
        case("access-log", Kind::AccessLog),
        case("networks-v4", Kind::Networks(Family::V4)),
        case("networks-v6", Kind::Networks(Family::V6)),
        case("capped-many", Kind::CappedMany),
        case("capped-one-100mbit", Kind::CappedOne { rate: 12_500_000 }),
        case("capped-one-1gbit", Kind::CappedOne { rate: 125_000_000 }),
    ]
}

impl Kind {
    /// The options that it cannot do without.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Refused(By::Rule) | Self::Networks(_) => &["--deny"],
            Self::Refused(By::Rate) => &["--session-rate-per-source"],
            Self::AllRules => &["--allow", "--max-sessions-per-source", "--session-rate", "--session-rate-per-source"],
            Self::SendProxy | Self::SendProxyPing => &["--send-proxy"],
            Self::AccessLog => &["--access-log"],
            Self::CappedMany | Self::CappedOne { .. } => &["--download-rate"],
        }
    }
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
        let of_haproxy = |figures: Vec<Figure>| if has_haproxy { figures } else { Vec::new() };
        match self.kind {
            Kind::Refused(by) => {
                let mut figures = vec![
                    figure("pings, to those while a bare listener refuses", Unit::Ratio, Goal::AtLeast(0.9)),
                    known("pings, to those while nobody listens there", Unit::Ratio),
                    known("pings, to those without a flood", Unit::Ratio),
                    known("pings without a flood", Unit::PerSecond),
                    known("pings", Unit::PerSecond),
                    known("pings while a bare listener refuses", Unit::PerSecond),
                    known("offered", Unit::PerSecond),
                    known("refused", Unit::PerSecond),
                    known("offered to the bare listener", Unit::PerSecond),
                    known("refused by it", Unit::PerSecond),
                    known("refused without pings", Unit::PerSecond),
                    known("CPU per refusal without pings", Unit::Seconds),
                    known("CPU per refusal of the bare listener", Unit::Seconds),
                ];
                if by == By::Rule {
                    figures.extend(of_haproxy(vec![
                        known("pings of HAProxy, to those without a flood", Unit::Ratio),
                        known("refused by HAProxy", Unit::PerSecond),
                    ]));
                }
                figures
            }
            Kind::AllRules => vec![
                figure("rate to that without rules", Unit::Ratio, Goal::AtLeast(0.97)),
                known("CPU per connection, to the same", Unit::Ratio),
                figure("rate with a million networks, to that without rules", Unit::Ratio, Goal::AtLeast(0.97)),
                known("CPU per connection, to the same", Unit::Ratio),
                known("rate without rules", Unit::PerSecond),
                known("rate", Unit::PerSecond),
                known("rate with a million networks", Unit::PerSecond),
            ],
            Kind::SendProxy => {
                let mut figures = of_haproxy(vec![
                    figure("rate to that of HAProxy", Unit::Ratio, Goal::AtLeast(1.0)),
                    figure("rate with --reuse-port, to that of HAProxy", Unit::Ratio, Goal::AtLeast(1.0)),
                    known("rate of HAProxy without the header, to ours without", Unit::Ratio),
                ]);
                figures.extend([
                    known("rate to that without the header", Unit::Ratio),
                    known("CPU per connection, to the same", Unit::Ratio),
                    known("p50 of connections, to the same", Unit::Ratio),
                    known("rate without the header", Unit::PerSecond),
                    known("rate", Unit::PerSecond),
                    known("rate with --reuse-port", Unit::PerSecond),
                    known("p50 of connections", Unit::Seconds),
                ]);
                figures.extend(of_haproxy(vec![
                    known("rate of HAProxy", Unit::PerSecond),
                    known("p50 of connections of HAProxy", Unit::Seconds),
                ]));
                figures
            }
            Kind::SendProxyPing => vec![
                figure("rate to that without the header", Unit::Ratio, Goal::AtLeast(0.97)),
                known("CPU per round trip, to the same", Unit::Ratio),
                known("p50, to the same", Unit::Ratio),
                known("p50", Unit::Seconds),
            ],
            Kind::AccessLog => {
                let mut figures = vec![
                    figure("rate to that without it", Unit::Ratio, Goal::AtLeast(0.95)),
                    known("CPU per connection, to the same", Unit::Ratio),
                    known("rate without it", Unit::PerSecond),
                    known("rate", Unit::PerSecond),
                ];
                if peers.iter().any(|peer| peer.kind == PeerKind::Nginx) {
                    figures.extend([
                        figure("rate to that of nginx with its access log", Unit::Ratio, Goal::AtLeast(1.0)),
                        known("rate of nginx with its access log", Unit::PerSecond),
                    ]);
                }
                figures
            }
            Kind::Networks(_) => vec![
                figure("from the start until a byte is carried", Unit::Seconds, Goal::AtMost(1.0)),
                known("the same without networks", Unit::Seconds),
                figure("resident memory", Unit::Bytes, Goal::AtMost(64.0 * 1024.0 * 1024.0)),
                figure("the most that it was", Unit::Bytes, Goal::AtMost(64.0 * 1024.0 * 1024.0)),
                known("resident memory without networks", Unit::Bytes),
            ],
            Kind::CappedMany => {
                let mut figures = vec![
                    figure("rate of all to their caps", Unit::Ratio, Goal::Between(0.98, 1.02)),
                    figure("rate of the slowest to its cap", Unit::Ratio, Goal::AtLeast(0.98)),
                    figure("rate of the fastest to its cap", Unit::Ratio, Goal::AtMost(1.02)),
                    figure("share of a core", Unit::Share, Goal::AtMost(0.1)),
                    known("CPU per GiB", Unit::Seconds),
                ];
                if peers.iter().any(|peer| peer.kind == PeerKind::Nginx) {
                    figures.extend([
                        known("rate of nginx's slowest to its cap", Unit::Ratio),
                        known("rate of nginx's fastest to its cap", Unit::Ratio),
                        known("share of a core of nginx", Unit::Share),
                    ]);
                }
                figures
            }
            Kind::CappedOne { .. } => vec![
                figure("CPU per GiB, to that with a slow reader", Unit::Ratio, Goal::AtMost(1.3)),
                known("CPU per GiB of all three, to the same", Unit::Ratio),
                figure("rate to the cap", Unit::Ratio, Goal::Between(0.98, 1.02)),
                known("rate of the slow reader to the cap", Unit::Ratio),
                known("CPU per GiB", Unit::Seconds),
                known("CPU per GiB with a slow reader", Unit::Seconds),
            ],
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
            assert!(!case.figures(&[]).is_empty() && !case.kind.needs().is_empty());
        }
        let chosen = |word: &str| cases.iter().filter(|case| case.is_meant_by(word)).count();
        assert_eq!((chosen("refused"), chosen("capped-one"), chosen("send-proxy"), chosen("re")), (2, 2, 2, 0));
    }
}
