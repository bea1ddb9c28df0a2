//! `--man-config`: the manual page of the configuration file, as roff.

use super::man::DATE;
use super::roff::{literal, paragraphs, roff, section, tagged, text};
use crate::config::keys::{self, Key, remote};
use std::fmt::Write;

/// The manual page, cproxy.toml(5).
pub fn page() -> String {
    let mut page = String::new();
    let _ = writeln!(page, ".TH CPROXY.TOML 5 {DATE} \"cproxy {}\" \"File Formats\"", env!("CARGO_PKG_VERSION"));

    section(&mut page, "NAME");
    page.push_str("cproxy.toml \\- the configuration file of cproxy\n");

    section(&mut page, "SYNOPSIS");
    page.push_str("\\fBcproxy \\-\\-config\\fR \\fIfile\\fR\n");

    section(&mut page, "DESCRIPTION");
    paragraphs(
        &mut page,
        &[
            "The file says what one `cproxy` process does: options of the process, and any number of services. \
             A service has a name, the addresses where it accepts clients, the remotes to one of which it connects \
             each of them, and options for its sessions. All services share the process's threads, descriptors and log.",
            "The file is written in TOML (https://toml.io). Its keys are the long options of cproxy(1), and their \
             values mean the same. Options of the process stand at the top, before the first table. Each service is a \
             table `[service.`<name>`]`; the name is made of letters, digits, `-`, `_` and `.`, and one with a dot is \
             written in quotes.",
            "A duration is a string such as `\"500ms\"`, `\"30s\"`, `\"5m\"` or `\"1h\"`, or a whole number of seconds. A size \
             is a number of bytes, or a string such as `\"64k\"`. An option without a value on the command line is \
             `true` or `false`. The forms of an address are those of cproxy(1).",
            "Beside the file, options of the process can be given on the command line, and win over the file. Options \
             of a service cannot.",
        ],
    );

    section(&mut page, "OPTIONS OF THE PROCESS");
    for key in keys::at_top() {
        option(&mut page, key);
    }
    section(&mut page, "OPTIONS OF A SERVICE");
    for key in keys::of_service() {
        option(&mut page, key);
    }

    section(&mut page, "OPTIONS OF A REMOTE");
    paragraphs(
        &mut page,
        &["A remote is a string, with its options behind the address and commas before them: \
             `remote = \"192.0.2.1:80,weight=3\"`. It can also be a table with the keys below: \
             `remote = { address = \"192.0.2.1:80\", weight = 3 }`. Several remotes are an array of these, or a table \
             `[[service.`<name>`.remote]]` each."],
    );
    for key in [&remote::ADDRESS].into_iter().chain(remote::KEYS) {
        option(&mut page, key);
    }

    section(&mut page, "ERRORS");
    paragraphs(
        &mut page,
        &[
            "All errors of the file and of the files that it includes are printed at once on standard error, each with \
             its place and its line, and `cproxy` exits with status 1. Keys that nobody knows, services of the same \
             name, listeners of the same address, and values of a wrong type or out of range are errors.",
            "`cproxy --config` <file> `--check` judges a file without using it. `cproxy --config` <file> `--print-config` \
             prints all that it comes to, with what it includes, as one file. `--print-config` also turns any other \
             command line into a file.",
        ],
    );

    section(&mut page, "FILES");
    tagged(
        &mut page,
        "`/etc/cproxy/cproxy.toml`",
        "The file of the packages: an example in which all lines are comments.",
    );

    section(&mut page, "EXAMPLES");
    page.push_str(".nf\n");
    for line in EXAMPLE.lines() {
        let _ = writeln!(page, "{}", if line.is_empty() { ".sp".to_string() } else { literal(line) });
    }
    page.push_str(".fi\n");

    section(&mut page, "SEE ALSO");
    page.push_str(".BR cproxy (1)\n");
    page
}

/// Services, as in the documentation.
pub const EXAMPLE: &str = r#"io-threads = "auto"

[service.ssh]
listen = ["0.0.0.0:5000", "[::]:5000"]
remote = "127.0.0.1:22"
idle-timeout = "1h"

[service.dns]
listen = "udp:127.0.0.1:5300"
remote = "udp:192.0.2.53:53"

[service.db]
listen = "127.0.0.1:5432"
check-interval = "2s"
[[service.db.remote]]
address = "192.0.2.1:5432"
weight = 3
[[service.db.remote]]
address = "192.0.2.2:5432"
[[service.db.remote]]
address = "192.0.2.3:5432"
backup = true
"#;

/// One option's entry.
fn option(page: &mut String, key: &Key) {
    let expected = roff(&key.expected());
    let _ = writeln!(page, ".TP\n{} = {expected}", literal(key.long));
    for (i, details) in key.details.iter().enumerate() {
        if i > 0 {
            page.push_str(".IP\n");
        }
        text(page, details);
    }
    match key.default {
        Some(default) => text(page, &format!("Default: {default}.")),
        None if key.required => text(page, "Required."),
        None => text(page, "Default: false."),
    }
}
