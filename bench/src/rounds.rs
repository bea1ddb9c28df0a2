//! Rounds of loads that have figures.

use crate::failure::Failure;
use crate::figure::Found;
use crate::progress::Progress;

/// Runs all loads in all rounds, one by one: each round takes every load once, so that a drift of the machine hits all.
/// `run` runs the load of an index in a round; its numbers are those of the figures that were found.
///
/// # Errors
///
/// The run was interrupted; what was found until then is there.
pub fn run_all(
    rounds: usize,
    found: &mut [Found],
    mut run: impl FnMut(usize, usize) -> Result<Vec<f64>, Failure>,
) -> Result<(), Failure> {
    let mut progress = Progress::new(found.len() * rounds);
    for round in 0..rounds {
        for (index, found) in found.iter_mut().enumerate() {
            progress.begin(&format!("{}  round {}/{rounds}", found.name, round + 1));
            match run(index, round) {
                Ok(numbers) => found.rounds.push(Ok(numbers)),
                Err(Failure::Interrupted) => {
                    progress.say("interrupted; this is what was measured until then");
                    return Err(Failure::Interrupted);
                }
                Err(Failure::Broken(reason)) => {
                    progress.say(&format!("{}: {reason}", found.name));
                    found.rounds.push(Err(reason));
                }
            }
            progress.end();
        }
    }
    progress.clear();
    Ok(())
}
