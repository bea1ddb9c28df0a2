//! The `rules` subcommand: what it costs to say who may come in, how much they get, and who the remote thinks they are, and
//! to write a line for each of them, against what is to be reached.
//!
//! [`cases`] has the loads and their goals; each of [`refused`], [`rate`], [`networks`] and [`capped`] runs some of them.
//! [`flood`] is who offers more connections than anybody wants.

pub mod capped;
pub mod cases;
pub mod flood;
pub mod networks;
pub mod options;
pub mod rate;
pub mod refused;

use std::process::ExitCode;

use self::cases::{Case, Kind};
use crate::compare::cproxy_program;
use crate::failure::Failure;
use crate::figure::Found;
use crate::kit::Kit;
use crate::rounds::run_all;
use crate::scratch::Scratch;
use crate::subcommand::Common;
use crate::{interrupt, limits, process, report, subcommand};

/// Runs the subcommand.
pub fn main(arguments: &[String]) -> ExitCode {
    subcommand::run(options::parse(arguments), "rules --help", options::usage, rules)
}

/// Fails, as a command does, if a goal is missed.
fn rules(common: Common) -> Result<ExitCode, Failure> {
    interrupt::catch();
    process::adopt_orphans();
    let descriptors = limits::raise_descriptors();
    let scratch = Scratch::new()?;
    let cproxy = cproxy_program(common.cproxy.as_deref())?;
    let kit = Kit::new(&common, cproxy, scratch.path(), descriptors);
    let mut cases: Vec<Case> = cases::all();
    cases.retain(|case| common.wants(|word| case.is_meant_by(word)));
    let lacking = cases.iter().map(|case| kit.lacks(case.kind.needs())).collect::<Result<Vec<_>, _>>()?;
    for (case, option) in cases.iter().zip(&lacking) {
        if let Some(option) = option {
            eprintln!("{} is left out: the program has no {option}", case.name);
        }
    }
    let mut lacking = lacking.into_iter();
    cases.retain(|_| lacking.next() == Some(None));
    let mut found: Vec<Found> = cases.iter().map(|case| Found::new(&case.name, case.figures(&kit.peers))).collect();
    let end = run_all(common.rounds, &mut found, |index, round| run(cases[index].kind, &kit, round));
    Ok(report::goals::print(&found, common.rounds, end))
}

/// Runs a load once. The numbers are those of [`Case::figures`].
fn run(kind: Kind, kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    match kind {
        Kind::Refused(by) => refused::run(kit, by, round),
        Kind::AllRules => rate::all_rules(kit, round),
        Kind::SendProxy => rate::send_proxy(kit, round),
        Kind::SendProxyPing => rate::send_proxy_ping(kit, round),
        Kind::AccessLog => rate::access_log(kit, round),
        Kind::Networks(family) => networks::run(kit, family),
        Kind::CappedMany => capped::many(kit),
        Kind::CappedOne { rate } => capped::one(kit, rate, round),
    }
}
