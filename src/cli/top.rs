//! The command line of `cproxy top`.

use super::{Command, describe, one_line};
use getopts::Options;

/// The word that the command line begins with.
pub const NAME: &str = "top";

/// How to call it, and what it does; printed for `--help`, and for a command line that is wrong.
pub const USAGE: &str = "\
Usage:
  cproxy top [--once] <host>:<port>
  cproxy top [--once] unix:<path>

Shows what the cproxy whose --status has this address is doing: its services,
remotes and sessions, each second. Without a terminal, or with --once, it prints
that once.

Keys:
  Tab, Shift-Tab             go to the next table, or to the one before
  z, Enter                   show this table alone, or all of them again
  left and right, < and >    sort its rows by the column beside
  r                          turn the order round
  arrows, PgUp, PgDn, Home, End
                             move the rows
  p                          keep what is shown, or go on
  ?                          show the keys
  q                          end
";

/// Reads what comes after the word.
pub(super) fn parse(arguments: &[String]) -> Command {
    let mut options = Options::new();
    options.optflagmulti("", "once", "");
    options.optflagmulti("h", "help", "");
    let refuse = |complaint: &str| Command::Usage {
        complaint: Some(format!("cproxy top: {}", one_line(complaint))),
        usage: USAGE.to_string(),
    };
    let matches = match options.parse(arguments) {
        Ok(matches) => matches,
        Err(fail) => return refuse(&describe(&fail)),
    };
    if matches.opt_present("help") {
        return Command::Print(USAGE.to_string());
    }
    match matches.free.as_slice() {
        [address] => Command::Top { address: address.clone(), is_once: matches.opt_present("once") },
        [] => refuse("the address is missing"),
        [_, more, ..] => refuse(&format!("one address is enough: '{more}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse as parse_all;
    use super::*;

    fn parsed(arguments: &[&str]) -> Command {
        parse_all(arguments.iter().map(Into::into))
    }

    #[test]
    fn it_takes_one_address() {
        for (arguments, once) in
            [(&["top", "a:1"][..], false), (&["top", "--once", "a:1"], true), (&["top", "a:1", "--once"], true)]
        {
            match parsed(arguments) {
                Command::Top { address, is_once } => assert_eq!((address.as_str(), is_once), ("a:1", once)),
                other => panic!("{other:?}"),
            }
        }
        for (arguments, complaint) in [
            (&["top"][..], "cproxy top: the address is missing"),
            (&["top", "a:1", "b\n"], "cproxy top: one address is enough: 'b\\n'"),
            (&["top", "--what"], "cproxy top: unrecognised option '--what'"),
        ] {
            match parsed(arguments) {
                Command::Usage { complaint: Some(found), usage } => {
                    assert_eq!((found.as_str(), usage.as_str()), (complaint, USAGE))
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(parsed(&["top", "--help"]), Command::Print(text) if text == USAGE));
    }

    /// Anywhere else, the word is an argument like any other.
    #[test]
    fn it_is_the_first_word() {
        let command = parsed(&["-l", "127.0.0.1:1", "-r", "127.0.0.1:2", "top"]);
        assert!(matches!(command, Command::Run(_, warnings, _) if warnings == ["ignoring what is no option: 'top'"]));
    }

    #[test]
    fn the_usage_fits() {
        assert!(USAGE.lines().all(|line| line.len() <= 80));
    }
}
