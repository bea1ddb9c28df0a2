//! The command line of `rules`.

use super::cases;
use crate::subcommand::{Common, Request};

/// The text that `rules --help` prints.
pub fn usage() -> String {
    let names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let brief = format!(
        "Usage: cproxy-bench rules [OPTIONS]\n\n\
         Measures what rules, limits, caps, the PROXY protocol and the access log cost those who use them.\n\
         HAProxy and nginx are measured beside it where they are installed.\n\
         Loads: {}.",
        names.join(", ")
    );
    Common::options().usage(&brief)
}

/// Reads the arguments that follow `rules`.
pub fn parse(arguments: &[String]) -> Result<Request<Common>, String> {
    let matches = Common::options().parse(arguments).map_err(|error| error.to_string())?;
    if matches.opt_present("help") {
        return Ok(Request::Help);
    }
    Common::read(&matches, |word| cases::all().iter().any(|case| case.is_meant_by(word))).map(Request::Run)
}
