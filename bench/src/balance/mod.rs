//! The `balance` subcommand: a proxy with several remotes, against what is to be reached.
//!
//! [`cases`] has the loads and their goals; each of [`rate`], [`spread`] and [`faults`] runs some of them. [`kit`] starts
//! proxies and servers, [`asking`] and [`crowd`] are the clients that are told which remote they got, and [`remote`] is a
//! remote that vanishes as one does whose network is cut.

pub mod asking;
pub mod cases;
pub mod crowd;
pub mod faults;
pub mod kit;
pub mod options;
pub mod rate;
pub mod remote;
pub mod spread;

use std::process::ExitCode;

use self::cases::{Case, Kind};
use self::kit::Kit;
use self::options::Settings;
use crate::compare::{INTERRUPTED, cproxy_program};
use crate::failure::Failure;
use crate::figure::Found;
use crate::progress::Progress;
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
    let cproxy = cproxy_program(settings.cproxy.as_deref())?;
    let is_wanted = |case: &Case| match case.kind {
        Kind::OneRemote if settings.earlier.is_none() => false,
        _ => settings.only.is_empty() || settings.only.iter().any(|word| case.is_meant_by(word)),
    };
    let cases: Vec<Case> = cases::all().into_iter().filter(is_wanted).collect();
    let rounds = settings.rounds;
    let kit = Kit::new(settings, cproxy, scratch.path(), descriptors);
    let mut found: Vec<Found> = cases.iter().map(|case| Found::new(&case.name, case.figures(&kit.peers))).collect();
    let end = run_all(&kit, &cases, rounds, &mut found);
    print!("{}", report::goals::render(&found));
    if end.is_err() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    println!("\nmedian of {rounds} rounds");
    Ok(if found.iter().all(Found::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all loads in all rounds, one by one: each round takes every load once, so that a drift of the machine hits all.
fn run_all(kit: &Kit, cases: &[Case], rounds: usize, found: &mut [Found]) -> Result<(), Failure> {
    let mut progress = Progress::new(cases.len() * rounds);
    for round in 0..rounds {
        for (case, found) in cases.iter().zip(&mut *found) {
            progress.begin(&format!("{}  round {}/{rounds}", case.name, round + 1));
            match run(case, kit, round) {
                Ok(numbers) => found.rounds.push(Ok(numbers)),
                Err(Failure::Interrupted) => {
                    progress.say("interrupted; this is what was measured until then");
                    return Err(Failure::Interrupted);
                }
                Err(Failure::Broken(reason)) => {
                    progress.say(&format!("{}: {reason}", case.name));
                    found.rounds.push(Err(reason));
                }
            }
            progress.end();
        }
    }
    progress.clear();
    Ok(())
}

/// Runs a load once. The numbers are those of [`Case::figures`].
fn run(case: &Case, kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    match case.kind {
        Kind::OneRemote => rate::one_remote(kit, round),
        Kind::Rate(method) => rate::several_remotes(kit, method, round),
        Kind::Spread(method, stay) => spread::by_weight(kit, method, stay),
        Kind::Source => spread::by_source(kit),
        Kind::Killed => faults::killed(kit),
        Kind::Blackholed => faults::blackholed(kit),
        Kind::Checks => faults::checks(kit),
    }
}
