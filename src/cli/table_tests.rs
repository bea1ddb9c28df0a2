//! What is made from the table of options shows every one of them.

use super::{complete, help, man, man_config, options};
use crate::config::keys::{self, Kind, SHELLS, Value};

#[test]
fn the_parser_knows_every_flag() {
    let options = options();
    for flag in keys::flags() {
        let mut spellings = vec![format!("--{}", flag.long)];
        spellings.extend(flag.short.map(|short| format!("-{short}")));
        for spelling in spellings {
            let mut arguments = vec![spelling];
            arguments.extend(flag.value.map(|_| "value".to_string()));
            let matches = options.parse(&arguments).expect(flag.long);
            assert_eq!(matches.opt_count(flag.long), 1);
            assert!(matches.free.is_empty());
        }
    }
}

#[test]
fn usage_and_help_show_every_flag() {
    for text in [help::usage(), help::help()] {
        for flag in keys::flags() {
            let spelling = flag.spelling();
            let spelled = format!("{} ", spelling.trim_start());
            let found = text.lines().filter(|line| line.trim_start().starts_with(&spelled)).count();
            assert_eq!(found, 1, "{spelling}");
            assert!(text.contains(&flag.help[..10]), "{spelling}");
        }
    }
}

#[test]
fn the_man_page_shows_every_flag() {
    let page = man::page();
    let options = page.split(".SH OPTIONS").nth(1).and_then(|rest| rest.split(".SH ").next()).expect("a section");
    for flag in keys::flags() {
        let long = format!("\\fB\\-\\-{}\\fR", flag.long.replace('-', "\\-"));
        let is_heading = |line: &&str| {
            line.starts_with("\\fB\\-") && (line.ends_with(&long) || line.contains(&format!("{long} \\fI")))
        };
        let heading = options.lines().filter(is_heading).count();
        assert_eq!(heading, 1, "{long}");
        if let Some(short) = flag.short {
            assert!(page.contains(&format!("\\fB\\-{short}\\fR, {long}")), "-{short}");
        }
    }
}

#[test]
fn every_completion_shows_every_flag() {
    for shell in SHELLS {
        let script = complete::script(shell).expect(shell);
        for flag in keys::flags() {
            let long = match *shell {
                "fish" => format!("-l {} ", flag.long),
                _ => format!("--{}", flag.long),
            };
            assert!(script.contains(&long), "{shell}: {long}");
            if let Some(short) = flag.short {
                let short = match *shell {
                    "fish" => format!("-s {short} "),
                    _ => format!("-{short}"),
                };
                assert!(script.contains(&short), "{shell}: {short}");
            }
            if let Some(Value { kind: Kind::Words(words), .. }) = flag.value {
                assert!(script.contains(&words.join(" ")), "{shell}: {words:?}");
            }
        }
    }
    assert!(complete::script("tcsh").is_none());
}

#[test]
fn the_man_page_of_the_file_shows_every_key() {
    let page = man_config::page();
    for key in keys::at_top().chain(keys::of_service()) {
        let heading = format!(".TP\n\\fB{}\\fR = ", key.long.replace('-', "\\-"));
        // A service may have an option of the process, too.
        let all = keys::at_top().chain(keys::of_service()).filter(|other| other.long == key.long).count();
        assert_eq!(page.matches(&heading).count(), all, "{heading}");
        let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
        let default = key.default.unwrap_or(if key.required { "Required" } else { "false" });
        assert!(words.contains(&format!("{default}.")), "{default}");
    }
    for key in keys::remote::KEYS {
        assert_eq!(page.matches(&format!(".TP\n\\fB{}\\fR = ", key.long)).count(), 1, "{}", key.long);
    }
    for quiet in ["quiet", "verbose", "check", "help"] {
        assert!(!page.contains(&format!(".TP\n\\fB{quiet}\\fR")), "{quiet}");
    }
}
