//! The command line of `look`.

use super::cases;
use crate::subcommand::{Common, Request};

/// The text that `look --help` prints.
pub fn usage() -> String {
    let names: Vec<&str> = cases::all().into_iter().map(|case| case.name).collect();
    let brief = format!(
        "Usage: cproxy-bench look [OPTIONS]\n\n\
         Measures what it costs that somebody looks at the status page each second.\n\
         Loads: {}.",
        names.join(", ")
    );
    Common::options().usage(&brief)
}

/// Reads the arguments that follow `look`.
pub fn parse(arguments: &[String]) -> Result<Request<Common>, String> {
    let matches = Common::options().parse(arguments).map_err(|error| error.to_string())?;
    if matches.opt_present("help") {
        return Ok(Request::Help);
    }
    Common::read(&matches, |word| cases::all().iter().any(|case| case.is_meant_by(word))).map(Request::Run)
}
