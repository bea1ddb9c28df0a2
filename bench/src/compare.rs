//! The `compare` subcommand: every load, every proxy, in rounds.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::failure::Failure;
use crate::load::Load;
use crate::measure::measure;
use crate::options::{self, Settings};
use crate::progress::Progress;
use crate::proxy::{Proxy, Recipe, Room};
use crate::report;
use crate::results::{LoadResults, Outcome, Results};
use crate::scratch::Scratch;
use crate::{interrupt, limits, process, subcommand};

/// Runs the subcommand.
pub fn main(arguments: &[String]) -> ExitCode {
    subcommand::run(options::parse(arguments), "--help", options::usage, |settings| compare(&settings))
}

/// The exit status after SIGINT, as a shell gives it.
pub const INTERRUPTED: u8 = 130;

fn compare(settings: &Settings) -> Result<ExitCode, Failure> {
    interrupt::catch();
    process::adopt_orphans();
    let descriptors = limits::raise_descriptors();
    let proxies = contestants(settings)?;
    let base = base(settings, &proxies)?;
    let scratch = Scratch::new()?;
    let room = Room { scratch: scratch.path(), descriptors };

    let mut results = Results { proxies, base, loads: Vec::new() };
    let end = run(settings, &room, &mut results);
    print!("{}", report::table::render(&results));
    if let Some(file) = &settings.json {
        report::json::write(file, settings, &results).map_err(|error| Failure::of(file.display(), error))?;
    }
    if let Some(directory) = &settings.svg {
        report::svg::write(directory, &results).map_err(|error| Failure::of(directory.display(), error))?;
    }
    match end {
        Err(Failure::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Err(failure) => Err(failure),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Runs all loads. For each, rounds alternate between the proxies, and each round begins with another one, so that a
/// drift of the machine hits all alike. What has been found is in `results` even if the run is interrupted.
fn run(settings: &Settings, room: &Room, results: &mut Results) -> Result<(), Failure> {
    let proxies = results.proxies.clone();
    let loads: Vec<Load> = settings.loads.iter().copied().filter(|&load| fits(load, room)).collect();
    let takers = |load: Load| proxies.iter().filter(move |proxy| proxy.refusal(load).is_none()).count();
    let mut progress = Progress::new(loads.iter().map(|&load| takers(load) * settings.rounds).sum());
    for load in loads {
        results.loads.push(LoadResults { load, outcomes: proxies.iter().map(|proxy| blank(proxy, load)).collect() });
        let found = results.loads.last_mut().expect("it was just pushed");
        for round in 0..settings.rounds {
            for turn in 0..proxies.len() {
                let index = (turn + round) % proxies.len();
                let Outcome::Measured(rounds) = &mut found.outcomes[index] else { continue };
                let name = &proxies[index].name;
                progress.begin(&format!("{load}  round {}/{}  {name}", round + 1, settings.rounds));
                match measure(&proxies[index], load, settings.length, room) {
                    Ok(numbers) => rounds.push(Ok(numbers)),
                    Err(Failure::Interrupted) => {
                        progress.say("interrupted; this is what was measured until then");
                        return Err(Failure::Interrupted);
                    }
                    Err(Failure::Broken(reason)) => {
                        progress.say(&format!("{load}, {name}: {reason}"));
                        rounds.push(Err(reason));
                    }
                }
                progress.end();
            }
        }
    }
    progress.clear();
    Ok(())
}

/// How a proxy has done before it is measured.
fn blank(proxy: &Proxy, load: Load) -> Outcome {
    match proxy.refusal(load) {
        Some(reason) => Outcome::Skipped(reason),
        None => Outcome::Measured(Vec::new()),
    }
}

/// Descriptors that a proxy needs besides two a session.
const SPARE_DESCRIPTORS: u64 = 100;

/// Whether the limit on descriptors leaves a proxy room for this load; says so if not.
fn fits(load: Load, room: &Room) -> bool {
    let needed = 2 * load.sessions() as u64 + SPARE_DESCRIPTORS;
    let fits = needed <= room.descriptors;
    if !fits {
        eprintln!(
            "{load} is left out: it needs {needed} descriptors a process, the hard limit is {}",
            room.descriptors
        );
    }
    fits
}

/// The proxies to compare, in the order they are reported.
fn contestants(settings: &Settings) -> Result<Vec<Proxy>, Failure> {
    let wanted = |name: &str| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    let mut proxies = vec![Proxy { name: "direct".to_owned(), recipe: Recipe::Direct }];

    let plain = ("cproxy".to_owned(), Vec::new());
    let ours: Vec<_> = [plain].into_iter().chain(settings.variants.clone()).filter(|(name, _)| wanted(name)).collect();
    if !ours.is_empty() {
        let program = cproxy_program(settings.cproxy.as_deref())?;
        let recipe = |extra| Recipe::Cproxy { program: program.clone(), extra };
        proxies.extend(ours.into_iter().map(|(name, extra)| Proxy { name, recipe: recipe(extra) }));
    }

    let peer = |(name, commands): (String, _)| Proxy { name, recipe: Recipe::Peer(commands) };
    proxies.extend(settings.peers.iter().cloned().map(peer));
    proxies.extend(Proxy::installed());
    proxies.retain(|proxy| wanted(&proxy.name));

    let count = |name: &str| proxies.iter().filter(|proxy| proxy.name == name).count();
    if let Some(twice) = proxies.iter().find(|proxy| count(&proxy.name) > 1) {
        return Err(Failure::Broken(format!("two proxies are named {}", twice.name)));
    }
    if let Some(unknown) = settings.only.iter().find(|name| count(name) == 0) {
        return Err(Failure::Broken(format!("no proxy is named {unknown}, or it is not installed")));
    }
    Ok(proxies)
}

/// The proxy that ratios are to: the one asked for, else `cproxy`, else the first that is a proxy.
fn base(settings: &Settings, proxies: &[Proxy]) -> Result<usize, Failure> {
    let named = |name: &str| proxies.iter().position(|proxy| proxy.name == name);
    match &settings.base {
        Some(name) => named(name).ok_or_else(|| Failure::Broken(format!("--base: no proxy is named {name}"))),
        None => {
            let first = proxies.iter().position(|proxy| !matches!(proxy.recipe, Recipe::Direct));
            Ok(named("cproxy").or(first).unwrap_or(0))
        }
    }
}

/// The `cproxy` program: the one given, else the one built from this workspace, else the one beside this program.
pub fn cproxy_program(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("cproxy");
    match std::env::var_os("CARGO") {
        // `cargo run` started us, so the sources are there.
        Some(cargo) => {
            build_cproxy(Path::new(&cargo))?;
            let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
            Ok(target.join("release").join("cproxy"))
        }
        None if beside.is_file() => Ok(beside),
        None => Err(Failure::Broken(format!("there is no {}; name one with --cproxy", beside.display()))),
    }
}

fn build_cproxy(cargo: &Path) -> Result<(), Failure> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "cproxy"])
        .current_dir(workspace)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Failure::of(cargo.display(), error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Broken("cproxy could not be built; name a program with --cproxy".to_owned())),
    }
}
