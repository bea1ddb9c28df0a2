//! The `look` subcommand: what it costs to look at what the proxy does, against what is to be reached.
//!
//! [`cases`] has the loads and their goals; [`page`] runs them, with a [`viewer`] that looks at the page as a browser does.

pub mod cases;
pub mod options;
pub mod page;
pub mod viewer;

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
    subcommand::run(options::parse(arguments), "look --help", options::usage, look)
}

/// Fails, as a command does, if a goal is missed.
fn look(common: Common) -> Result<ExitCode, Failure> {
    interrupt::catch();
    process::adopt_orphans();
    let descriptors = limits::raise_descriptors();
    let scratch = Scratch::new()?;
    let cproxy = cproxy_program(common.cproxy.as_deref())?;
    let kit = Kit::new(&common, cproxy, scratch.path(), descriptors);
    let mut cases: Vec<Case> = cases::all();
    cases.retain(|case| common.wants(|word| case.is_meant_by(word)));
    if let Some(option) = kit.lacks(&["--status"])? {
        return Err(Failure::Broken(format!("the program has no {option}")));
    }
    let mut found: Vec<Found> = cases.iter().map(|case| Found::new(case.name, case.figures())).collect();
    let end = run_all(common.rounds, &mut found, |index, round| run(cases[index].kind, &kit, round));
    Ok(report::goals::print(&found, common.rounds, end))
}

/// Runs a load once. The numbers are those of [`Case::figures`].
fn run(kind: Kind, kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    match kind {
        Kind::Page(load) => page::seen(kit, load, round),
        Kind::Many { open } => page::many(kit, cases::allowed(open, kit.descriptors), round),
    }
}
