//! The `balance` subcommand: a proxy with several remotes, against what is to be reached.
//!
//! [`cases`] has the loads and their goals; each of [`rate`], [`spread`] and [`faults`] runs some of them. [`asking`] and [`crowd`] are the clients that are told which remote they got, and [`remote`] is a
//! remote that vanishes as one does whose network is cut.

pub mod asking;
pub mod cases;
pub mod crowd;
pub mod faults;
pub mod options;
pub mod rate;
pub mod remote;
pub mod spread;

use std::path::Path;
use std::process::ExitCode;

use self::cases::{Case, Kind};
use self::options::Settings;
use crate::compare::cproxy_program;
use crate::failure::Failure;
use crate::figure::Found;
use crate::kit::Kit;
use crate::rounds::run_all;
use crate::scratch::Scratch;
use crate::{interrupt, limits, process, report, subcommand};

/// Runs the subcommand.
pub fn main(arguments: &[String]) -> ExitCode {
    subcommand::run(options::parse(arguments), "balance --help", options::usage, balance)
}

/// Fails, as a command does, if a goal is missed.
fn balance(settings: Settings) -> Result<ExitCode, Failure> {
    interrupt::catch();
    process::adopt_orphans();
    let descriptors = limits::raise_descriptors();
    let scratch = Scratch::new()?;
    let Settings { common, earlier } = settings;
    let cproxy = cproxy_program(common.cproxy.as_deref())?;
    let is_wanted = |case: &Case| match case.kind {
        Kind::OneRemote if earlier.is_none() => false,
        _ => common.wants(|word| case.is_meant_by(word)),
    };
    let cases: Vec<Case> = cases::all().into_iter().filter(is_wanted).collect();
    let kit = Kit::new(&common, cproxy, scratch.path(), descriptors);
    let mut found: Vec<Found> = cases.iter().map(|case| Found::new(&case.name, case.figures(&kit.peers))).collect();
    let end = run_all(common.rounds, &mut found, |index, round| run(&cases[index], &kit, earlier.as_deref(), round));
    Ok(report::goals::print(&found, common.rounds, end))
}

/// Runs a load once. The numbers are those of [`Case::figures`].
fn run(case: &Case, kit: &Kit, earlier: Option<&Path>, round: usize) -> Result<Vec<f64>, Failure> {
    match case.kind {
        Kind::OneRemote => rate::one_remote(kit, earlier, round),
        Kind::Rate(method) => rate::several_remotes(kit, method, round),
        Kind::Spread(method, stay) => spread::by_weight(kit, method, stay),
        Kind::Source => spread::by_source(kit),
        Kind::Killed => faults::killed(kit),
        Kind::Blackholed => faults::blackholed(kit),
        Kind::Checks => faults::checks(kit),
    }
}
