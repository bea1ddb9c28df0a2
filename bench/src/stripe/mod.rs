//! The `stripe` subcommand: sessions over several connections, through a [`crate::relay`] that caps, delays, freezes and
//! resets them, against what is to be reached.
//!
//! The client and the server are threads of this process, and so is the relay; the proxies are processes. Every byte of
//! every transfer is compared with the one that was sent. [`cases`] has the loads and their goals, [`run`] how each is
//! run, [`chain`] the proxies.

pub mod cases;
pub mod chain;
pub mod options;
pub mod pattern;
pub mod run;
pub mod transfer;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;

use self::cases::Case;
use self::chain::Kit;
use self::options::Settings;
use crate::compare::cproxy_program;
use crate::failure::Failure;
use crate::figure::Found;
use crate::progress::Progress;
use crate::report;
use crate::scratch::Scratch;
use crate::{interrupt, limits, process, subcommand};

/// Runs the subcommand.
pub fn main(arguments: &[String]) -> ExitCode {
    subcommand::run(options::parse(arguments), "stripe --help", options::usage, stripe)
}

/// Fails, as a command does, if a goal is missed.
fn stripe(settings: Settings) -> Result<ExitCode, Failure> {
    interrupt::catch();
    process::adopt_orphans();
    limits::raise_descriptors();
    let scratch = Scratch::new()?;
    let cproxy = cproxy_program(settings.cproxy.as_deref())?;
    if let Some(logs) = &settings.logs {
        std::fs::create_dir_all(logs).map_err(|error| Failure::of(logs.display(), error))?;
    }
    let is_wanted = |case: &Case| settings.only.is_empty() || settings.only.iter().any(|word| case.is_meant_by(word));
    let cases: Vec<Case> = cases::all().into_iter().filter(is_wanted).collect();
    let kit = Kit::new(settings, cproxy, scratch.path());
    let found = run_all(&kit, cases);
    Ok(report::goals::print(&found, kit.settings.rounds, interrupt::check()))
}

/// Runs all loads in all rounds: those that leave the machine idle several at a time, then the others one by one.
fn run_all(kit: &Kit, cases: Vec<Case>) -> Vec<Found> {
    let progress = Mutex::new(Progress::new(cases.len() * kit.settings.rounds));
    let found = Mutex::new(cases.iter().map(|case| Found::new(&case.name, case.figures())).collect::<Vec<_>>());
    let (light, heavy): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(|&index| cases[index].is_light());
    for (indices, at_once) in [(light, kit.settings.at_once), (heavy, 1)] {
        let rounds = 0..kit.settings.rounds;
        let jobs = rounds.flat_map(|round| indices.iter().map(move |&index| (index, round)));
        let jobs: Mutex<VecDeque<(usize, usize)>> = Mutex::new(jobs.collect());
        // Not within the loop's condition, where the lock would be held as long as the job takes.
        let next = || lock(&jobs).pop_front();
        let work = || {
            while let Some((index, round)) = next() {
                let case = &cases[index];
                lock(&progress).begin(&format!("{}  round {}/{}", case.name, round + 1, kit.settings.rounds));
                match run::run(case, kit, round) {
                    Ok(numbers) => lock(&found)[index].rounds.push(Ok(numbers)),
                    Err(Failure::Interrupted) => return,
                    Err(Failure::Broken(reason)) => {
                        lock(&progress).say(&format!("{}: {reason}", case.name));
                        lock(&found)[index].rounds.push(Err(reason));
                    }
                }
                lock(&progress).end();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(work);
            }
        });
    }
    lock(&progress).clear();
    found.into_inner().expect(UNPOISONED)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect(UNPOISONED)
}

/// Why a lock can be taken.
const UNPOISONED: &str = "nothing panics while it is locked";
