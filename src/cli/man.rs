//! `--man`: the manual page, as roff.

use super::help::synopsis_parts;
use super::roff::{literal, paragraphs, roff, section, synopsis, tagged, text};
use crate::address::FORMS;
use crate::config::keys::{Group, Key, flags_in};
use std::fmt::Write;

/// The day on which the page's text last changed.
pub(super) const DATE: &str = "2026-11-21";

/// The manual page. Paragraphs have backquotes round what is typed as it stands and angle brackets round what is not.
pub fn page() -> String {
    let mut page = String::new();
    let _ = writeln!(page, ".TH CPROXY 1 {DATE} \"cproxy {}\" \"User Commands\"", env!("CARGO_PKG_VERSION"));

    section(&mut page, "NAME");
    page.push_str("cproxy \\- forward TCP and Unix stream connections and datagrams\n");

    section(&mut page, "SYNOPSIS");
    page.push_str(".nh\n.ad l\n\\fBcproxy\\fR\n");
    for part in synopsis_parts() {
        let _ = writeln!(page, "{}", synopsis(&part));
    }
    page.push_str("[\\fIoptions\\fR]\n.br\n\\fBcproxy\\fR\n\\fB\\-c\\fR \\fIfile\\fR\n[\\fIoptions\\fR]\n.br\n");
    page.push_str("\\fBcproxy top\\fR\n[\\fB\\-\\-once\\fR]\n\\fIaddress\\fR\n.br\n");
    let information: Vec<_> = flags_in(Group::Information).map(|flag| spelling(flag, false)).collect();
    let _ = writeln!(page, "\\fBcproxy\\fR\n{}\n.ad b\n.hy", information.join(" |\n"));

    section(&mut page, "DESCRIPTION");
    paragraphs(
        &mut page,
        &[
            "`cproxy` accepts clients at one or more addresses, and opens a connection to a remote for each of them. \
             What comes in on one side goes out on the other, in both directions at once, and cproxy does not look at it.",
            "When one side ends its stream, what it sent before is delivered, and then writing is shut down on the other \
             side. The other direction goes on until it ends too. A reset is passed on as a reset, and a client whose \
             remote cannot be reached is reset. A side that reads slowly makes the other side wait.",
            "One thread accepts clients and deals them to the I/O threads in turn.",
        ],
    );

    section(&mut page, "OPTIONS");
    paragraphs(
        &mut page,
        &[
            "Letters can be combined and values attached to them, as in `-nt2`. Where an option that takes one value is \
             given again, the last holds. Arguments that are no option are ignored with a warning.",
            "A duration is a number with `ms`, `s`, `m` or `h`, such as `500ms` or `1.5h`; a bare number is seconds. \
             A size is a number of bytes, or a number with `k`, `m` or `g`.",
        ],
    );
    for group in Group::ALL {
        let _ = writeln!(page, ".SS {}", group.heading());
        for flag in flags_in(group) {
            option(&mut page, flag);
        }
    }

    section(&mut page, "FORMS");
    for (form, meaning) in FORMS {
        let _ = writeln!(page, ".TP\n{}", synopsis(form));
        let mut meaning = meaning.to_string();
        meaning[..1].make_ascii_uppercase();
        text(&mut page, &format!("{meaning}."));
    }
    paragraphs(
        &mut page,
        &[
            "Names are looked up once, when the program starts; those of remotes again and again with `--resolve`. An IPv6 address can have a scope, as in \
             `fe80::1%eth0`. A host with the name of another kind, such as unix, can only be written as \
             `tcp:unix:`<port>. Any listener can be joined to any remote.",
            "A stream (`tcp:`, `unix:`, `stripe:`) has no boundaries; every other kind carries datagrams, and between two of these \
             each datagram stays one, in order, whatever `framed:` hops are on the way. From a stream to datagrams, what \
             one read brings is cut into datagrams of at most 16 KiB, or 1,472 bytes to UDP; the other way the \
             payloads are written in order. A datagram that is too large for the next endpoint is dropped, counted and \
             logged; it is never cut.",
            "Where datagrams are involved there is no half-close: when a stream side ends, what it sent is delivered, and \
             the session ends; at once beside a kind without a connection, otherwise when the other side has ended too or \
             nothing has moved for 2 seconds. A `framed:` stream that ends inside a datagram has failed: both sides are \
             reset. A session of a `udp:` or `unixgram:` client ends by the `--idle-timeout`; when there are as many as \
             the descriptors allow, the one that has been idle for longest makes room for another.",
            "`stripe:` is a stream over several TCP connections, its lanes, between two cproxy processes. The one near \
             the clients has it as its remote and opens `--lanes` lanes for each session; the other one listens at it \
             and connects each session, not each lane, to its own remote. The bytes arrive in order and complete, also \
             when lanes stall, break and come back, as long as there is one within the `--lane-timeout`. Where several \
             addresses are given, as in `stripe:a.example:7000+b.example:7000`, the lanes go to them in turn. \
             A listener has one address. Without a `--stripe-key`, anybody on the way can read and change what the lanes \
             carry, and add lanes of their own.",
            "`srv:`<name> stands for the servers that the SRV records of a name list. The name begins with a service and \
             `_tcp` or `_udp`, which says what carries it, as in `srv:_http._tcp.example.com`. The weights of the records \
             are weights here, the servers with the lowest number as their priority are remotes, and those with a higher \
             one are backups. The records are looked up again when their time to live is over.",
            "`framed:` is a stream of datagrams, each behind its length in two bytes, big-endian; its peers are other \
             `cproxy` processes and programs that use dgrelay. A `tun:` or `tap:` device is opened, or created where \
             there is none of its name, which needs the right to do so (`CAP_NET_ADMIN`); with `-l` it is the one \
             client, connected at once and, after a pause, again whenever its session has ended.",
            "When `cproxy` listens at a Unix socket, a stale socket file at its path is replaced, and one that another \
             program listens at is an error.",
        ],
    );

    section(&mut page, "TOP");
    paragraphs(
        &mut page,
        &[
            "`cproxy top` <address> shows in a terminal what another `cproxy` is doing, the one whose `--status` has this \
             address, and looks again each second: its services, with a graph of the last minutes; its remotes, with \
             their states and their shares of the sessions; and its sessions, with their rates. The address is \
             <host>`:`<port> or `unix:`<path>. With `--once`, or without a terminal, it prints one look and ends. `UP` is \
             what goes from clients to remotes, in bytes; `k`, `M` and `G` are powers of 1000.",
            "Sessions are sorted by how much they get from their remotes. The keys are:",
        ],
    );
    for (keys, meaning) in [
        ("`Tab`", "Go to the next table; with Shift to the one before."),
        ("`z`, `Enter`", "Show this table alone, or all of them again."),
        ("left, right", "Sort its rows by the column beside."),
        ("`r`", "Turn the order round."),
        ("up, down, `PgUp`, `PgDn`, `Home`, `End`", "Move the rows."),
        ("`p`", "Keep what is shown, or go on."),
        ("`?`", "Show the keys."),
        ("`q`, `Esc`, `Ctrl-C`", "End."),
    ] {
        tagged(&mut page, keys, meaning);
    }

    section(&mut page, "SIGNALS");
    tagged(
        &mut page,
        "`SIGTERM`, `SIGINT`",
        "Stop listening, let the sessions go on for up to the `--drain-timeout`, reset those that are left, and exit. \
         A second signal resets all sessions at once. The same signal within 100 ms after the first does not count as \
         a second one, because programs such as timeout(1) signal their child and then its whole group; \
         the other of the two signals does.",
    );
    tagged(
        &mut page,
        "`SIGHUP`",
        "With `--config`, read the configuration file again, and change what has changed. Sessions go on, and a listener \
         whose address stays keeps its clients. If anything is wrong, the log says so, and everything stays as it was. \
         Without `--config`, the signal ends the program at once.",
    );
    tagged(&mut page, "`SIGPIPE`", "Ignored.");

    section(&mut page, "EXIT STATUS");
    tagged(&mut page, "`0`", "The program was ended by a signal, or it printed what was asked for.");
    tagged(
        &mut page,
        "`1`",
        "An option is unknown or missing: the usage is on standard output, and what is wrong on standard error. Or the \
         configuration file is bad: its errors are on standard error. Or a value is bad, or the program could not start: \
         one log line says what is wrong.",
    );

    section(&mut page, "ENVIRONMENT");
    tagged(
        &mut page,
        "`RUST_LOG`",
        "What is logged when none of `--log-level`, `-q` and `-v` is given: a level as for `--log-level`, or a list of \
         them by module.",
    );
    tagged(&mut page, "`TZ`", "The time zone of log lines, and of `--allow-time`.");

    section(&mut page, "FILES");
    tagged(
        &mut page,
        "<path>",
        "The socket of a `-l` `unix:`<path>. It is created when the program starts and removed when it exits.",
    );
    tagged(
        &mut page,
        "`/etc/cproxy/cproxy.toml`",
        "The configuration file of the packages, an example in which all lines are comments.",
    );
    tagged(
        &mut page,
        "`/etc/hosts`, `/etc/services`",
        "Where the system's resolver looks names up, among other places.",
    );

    section(&mut page, "EXAMPLES");
    for (command, meaning) in [
        ("cproxy -l 127.0.0.1:5000 -r ssh.example.com:22", "Forward a local port to another host's ssh server."),
        (
            "cproxy -l 192.0.2.1:80 -l [2001:db8::1]:80 -r 127.0.0.1:8080 -nt4",
            "Accept clients at two addresses of this host, with four I/O threads.",
        ),
        (
            "cproxy -l 127.0.0.1:6379 -r unix:/run/redis.sock --idle-timeout 10m",
            "Offer a Unix socket's service on a TCP port.",
        ),
        (
            "cproxy -l 0.0.0.0:80 -r web1:80,weight=3 -r web2:80 -r web3:80,backup",
            "Spread clients over two servers, three to one, and use the third when neither works.",
        ),
        ("cproxy -l udp:127.0.0.1:5300 -r udp:192.0.2.53:53", "Forward DNS queries."),
        (
            "cproxy -l tun:vpn0 -r framed:vpn.example.com:5000",
            "Join a network device to the one of `cproxy -l framed:0.0.0.0:5000 -r tun:vpn0` on another host.",
        ),
        (
            "cproxy -l 127.0.0.1:5000 -r stripe:192.0.2.1:7000 --stripe-key key",
            "Spread each session over several connections to \
             `cproxy -l stripe:192.0.2.1:7000 -r 127.0.0.1:22 --stripe-key key` on another host, encrypted with the key \
             in the file `key` that both hosts have.",
        ),
        ("cproxy -l 127.0.0.1:8090 -r echo:", "Answer each client with what it sends."),
        ("cproxy --config /etc/cproxy/cproxy.toml", "Run the services that a file describes; cproxy.toml(5) says how."),
        (
            "cproxy -l 127.0.0.1:5000 -r 127.0.0.1:22 --print-config",
            "Print the file that does the same as a command line.",
        ),
        ("cproxy top 127.0.0.1:9000", "Show what the one with `--status 127.0.0.1:9000` is doing."),
        ("cproxy --completions bash >/etc/bash_completion.d/cproxy", "Install completions for bash."),
    ] {
        tagged(&mut page, &format!("`{command}`"), meaning);
    }

    section(&mut page, "SEE ALSO");
    page.push_str(
        ".BR cproxy.toml (5),\n.BR listen (2),\n.BR getaddrinfo (3),\n.BR tcp (7),\n.BR udp (7),\n.BR unix (7)\n",
    );
    page
}

/// One flag's entry.
fn option(page: &mut String, flag: &Key) {
    let _ = writeln!(page, ".TP\n{}", spelling(flag, true));
    for (i, details) in flag.details.iter().enumerate() {
        if i > 0 {
            page.push_str(".IP\n");
        }
        text(page, details);
    }
    if let Some(default) = flag.default {
        text(page, &format!("Default: {default}."));
    }
}

/// A flag's names and value; or with one name only, the short one if there is one.
fn spelling(flag: &Key, all: bool) -> String {
    let mut names: Vec<_> = flag.short.iter().map(|short| literal(&format!("-{short}"))).collect();
    if all || names.is_empty() {
        names.push(literal(&format!("--{}", flag.long)));
    }
    let value = flag.value.map_or(String::new(), |value| format!(" {}", roff(value.name)));
    format!("{}{value}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    #[test]
    fn the_sections_are_all_there() {
        let page = page();
        let sections: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(
            sections.join(" "),
            "NAME SYNOPSIS DESCRIPTION OPTIONS FORMS TOP SIGNALS \"EXIT STATUS\" ENVIRONMENT FILES EXAMPLES \"SEE ALSO\""
        );
    }

    #[test]
    fn the_roff_is_plain() {
        let page = page();
        assert!(page.is_ascii());
        for line in page.lines() {
            assert!(!line.is_empty() && line.len() <= 80, "{line}");
            assert_eq!(line.trim_end(), line);
            if line.starts_with('.') {
                let request = line.split(' ').next().unwrap_or_default();
                let known = [".TH", ".SH", ".SS", ".TP", ".PP", ".IP", ".BR", ".br", ".nh", ".hy", ".ad"];
                assert!(known.contains(&request), "{line}");
            }
            assert!(!line.contains('`') && !line.starts_with('\''), "{line}");
        }
        let bold_or_italic = page.matches("\\fB").count() + page.matches("\\fI").count();
        assert_eq!(bold_or_italic, page.matches("\\fR").count());
    }

    #[test]
    fn defaults_are_shown() {
        let words = page().split_whitespace().collect::<Vec<_>>().join(" ");
        for default in keys::flags().filter_map(|flag| flag.default) {
            assert!(words.contains(&format!("Default: {default}.")), "{default}");
        }
    }
}
