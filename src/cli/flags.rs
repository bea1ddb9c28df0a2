//! The one table of flags: the parser, usage, `--help`, the man page and the completions are made from it.

use getopts::{HasArg, Occur, Options};

/// Which flag it is; the parser has one arm for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// `-l`
    Listen,
    /// `-r`
    Remote,
    /// `-b`
    BufferSize,
    /// `-n`
    NoDelay,
    /// `-t`
    IoThreads,
    /// `--zero-copy`
    ZeroCopy,
    /// `--reuse-port`
    ReusePort,
    /// `--keepalive`
    Keepalive,
    /// `--backlog`
    Backlog,
    /// `--connect-timeout`
    ConnectTimeout,
    /// `--idle-timeout`
    IdleTimeout,
    /// `--drain-timeout`
    DrainTimeout,
    /// `--log-level`
    LogLevel,
    /// `-q`
    Quiet,
    /// `-v`
    Verbose,
    /// `-h`
    Help,
    /// `-V`
    Version,
    /// `--man`
    Man,
    /// `--completions`
    Completions,
}

/// What a flag is for: the heading it stands under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The flags of the original.
    Original,
    /// How bytes and connections are handled fastest.
    Performance,
    /// Options of sockets.
    Sockets,
    /// Limits in time.
    Timeouts,
    /// What is logged.
    Logging,
    /// What prints something and exits; such a flag wins over all others.
    Information,
}

impl Group {
    /// All groups, in the order in which they are shown.
    pub const ALL: [Group; 6] =
        [Group::Original, Group::Performance, Group::Sockets, Group::Timeouts, Group::Logging, Group::Information];

    /// The heading in the usage.
    pub fn heading(self) -> &'static str {
        match self {
            Group::Original => "Arguments",
            Group::Performance => "Performance",
            Group::Sockets => "Sockets",
            Group::Timeouts => "Timeouts",
            Group::Logging => "Logging",
            Group::Information => "Information",
        }
    }
}

/// What a flag's value is, as far as a completion can help with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address; see [`ADDRESSES`].
    Address,
    /// The path of a file.
    File,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Anything else.
    Other,
}

/// A flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// How help names it, with each part that stands for something else in angle brackets.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// One flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Which one it is.
    pub id: Id,
    /// The letter after one hyphen.
    pub short: Option<char>,
    /// The name after two.
    pub long: &'static str,
    /// The value it takes.
    pub value: Option<Value>,
    /// What it is for.
    pub group: Group,
    /// Whether the proxy cannot run without it.
    pub required: bool,
    /// Whether giving it again adds something.
    pub repeatable: bool,
    /// What holds without it.
    pub default: Option<&'static str>,
    /// One line for usage and completions.
    pub help: &'static str,
    /// The man page's text, a paragraph each; backquotes enclose what is typed as it stands.
    pub details: &'static [&'static str],
}

const DURATION: Option<Value> = Some(Value { name: "<duration>", kind: Kind::Other });
const ADDRESS: Option<Value> = Some(Value { name: "<addr>:<port>", kind: Kind::Address });

/// The words that `--zero-copy` takes.
pub const ZERO_COPY: &[&str] = &["auto", "always", "never"];

/// The words that `--log-level` takes.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug", "trace", "off"];

/// The shells that `--completions` takes.
pub const SHELLS: &[&str] = &["bash", "zsh", "fish"];

/// Every flag, in the order in which they are shown.
pub const FLAGS: &[Flag] = &[
    Flag {
        id: Id::Listen,
        short: Some('l'),
        long: "listen",
        value: ADDRESS,
        group: Group::Original,
        required: true,
        repeatable: true,
        default: None,
        help: "accept clients at this address; may be given again",
        details: &[
            "Accept clients at this address. Give the option again for each further address; it must be given at least once.",
        ],
    },
    Flag {
        id: Id::Remote,
        short: Some('r'),
        long: "remote",
        value: ADDRESS,
        group: Group::Original,
        required: true,
        repeatable: false,
        default: None,
        help: "connect each client to this address",
        details: &["Connect each client to this address. The option must be given exactly once. \
             If the host is a name with several addresses, they are tried in the order in which the resolver \
             returned them, until one can be connected to."],
    },
    Flag {
        id: Id::BufferSize,
        short: Some('b'),
        long: "buffer-size",
        value: Some(Value { name: "<bytes>", kind: Kind::Other }),
        group: Group::Original,
        required: false,
        repeatable: false,
        default: Some("16384"),
        help: "size of the buffer for each direction of a session",
        details: &[
            "The size of the buffer that holds what one direction of a session has read and not yet written, \
             from 1 byte to `1g`. The letters `k`, `m` and `g` multiply by powers of 1024. \
             Without this option, a direction that carries bulk may have a larger buffer; with it, every buffer has that size.",
            "A direction has a buffer only while there is something in it, so an idle session has none.",
        ],
    },
    Flag {
        id: Id::NoDelay,
        short: Some('n'),
        long: "no-delay",
        value: None,
        group: Group::Original,
        required: false,
        repeatable: false,
        default: None,
        help: "send small writes at once: set TCP_NODELAY on both sides",
        details: &["Set `TCP_NODELAY` on both sides of each session, so that the system sends small writes at once \
             instead of collecting them."],
    },
    Flag {
        id: Id::IoThreads,
        short: Some('t'),
        long: "io-threads",
        value: Some(Value { name: "<threads>", kind: Kind::Other }),
        group: Group::Original,
        required: false,
        repeatable: false,
        default: Some("1"),
        help: "number of I/O threads, which move the bytes of sessions",
        details: &["The number of I/O threads, from 1 to 1024. These threads move the bytes of the sessions. \
             New sessions are given to them in turn, and a session stays with its thread until it ends."],
    },
    Flag {
        id: Id::ZeroCopy,
        short: None,
        long: "zero-copy",
        value: Some(Value { name: "<when>", kind: Kind::Words(ZERO_COPY) }),
        group: Group::Performance,
        required: false,
        repeatable: false,
        default: Some("auto"),
        help: "when to move bytes through kernel pipes: auto, always, never",
        details: &[
            "When bytes go from one side to the other through a kernel pipe, with splice(2), so that the program does \
             not copy them. With `auto`, a direction starts by copying, which is best for messages, and uses a pipe \
             while it carries bulk. With `always` it uses a pipe from the start; with `never` it only copies. \
             The number of pipes is limited by the number of descriptors and by `fs.pipe-user-pages-soft`; \
             a direction that gets no pipe copies. \
             Pipes are used on Linux only: on other systems `auto` copies and `always` is an error.",
        ],
    },
    Flag {
        id: Id::ReusePort,
        short: None,
        long: "reuse-port",
        value: None,
        group: Group::Performance,
        required: false,
        repeatable: false,
        default: None,
        help: "let each I/O thread accept TCP clients by itself",
        details: &["Give each I/O thread a listening socket of its own for each TCP address, with SO_REUSEPORT. \
             The kernel then chooses the thread of each connection (on Linux and FreeBSD by a hash of its addresses, \
             which spreads them evenly). This costs less for each connection than an acceptor thread that gives \
             them to the I/O threads in turn. The acceptor thread still accepts the clients of Unix sockets. \
             Another process of the same user can then listen at the same address, so it is no error to start \
             the program twice."],
    },
    Flag {
        id: Id::Keepalive,
        short: None,
        long: "keepalive",
        value: DURATION,
        group: Group::Sockets,
        required: false,
        repeatable: false,
        default: Some("off"),
        help: "send TCP keepalive probes when a peer is silent for this long",
        details: &[
            "Send TCP keepalive probes on both sides of a session when a connection has been idle for this long. \
             While no probe is answered, they are repeated after the same time, or every 75 seconds if that is \
             shorter. The time is in whole seconds, up to `32767s`; `0` turns probes off.",
        ],
    },
    Flag {
        id: Id::Backlog,
        short: None,
        long: "backlog",
        value: Some(Value { name: "<n>", kind: Kind::Other }),
        group: Group::Sockets,
        required: false,
        repeatable: false,
        default: Some("the system's maximum"),
        help: "how many connections may wait to be accepted",
        details: &["How many connections may wait to be accepted at each listen address. \
             The system reduces a number that is above its own maximum."],
    },
    Flag {
        id: Id::ConnectTimeout,
        short: None,
        long: "connect-timeout",
        value: DURATION,
        group: Group::Timeouts,
        required: false,
        repeatable: false,
        default: Some("10s"),
        help: "give up an attempt to connect to the remote after this time",
        details: &["How long one attempt to connect to an address of the remote may take. \
             Then the next address is tried; if there is none, the client is reset."],
    },
    Flag {
        id: Id::IdleTimeout,
        short: None,
        long: "idle-timeout",
        value: DURATION,
        group: Group::Timeouts,
        required: false,
        repeatable: false,
        default: Some("none, or 60s for clients without a connection"),
        help: "end a session in which nothing has moved for this long",
        details: &[
            "End a session when no byte and no datagram has moved in either direction for this long. \
             `0` means that there is no limit.",
            "A `udp:` or `unixgram:` client has no connection that could end, so its session ends by this timeout \
             only. That is why such a session ends after 60 seconds without this option.",
        ],
    },
    Flag {
        id: Id::DrainTimeout,
        short: None,
        long: "drain-timeout",
        value: DURATION,
        group: Group::Timeouts,
        required: false,
        repeatable: false,
        default: Some("30s"),
        help: "how long sessions may go on after SIGTERM or SIGINT",
        details: &[
            "How long sessions may go on after SIGTERM or SIGINT before they are reset. `0` resets them at once.",
        ],
    },
    Flag {
        id: Id::LogLevel,
        short: None,
        long: "log-level",
        value: Some(Value { name: "<level>", kind: Kind::Words(LEVELS) }),
        group: Group::Logging,
        required: false,
        repeatable: false,
        default: Some("info"),
        help: "log up to this level: error, warn, info, debug, trace, or off",
        details: &[
            "The least severe level that is logged: `error`, `warn`, `info`, `debug`, `trace`, or `off` for no log. \
             This option takes precedence over `-q` and `-v`, and all three over the variable `RUST_LOG`.",
        ],
    },
    Flag {
        id: Id::Quiet,
        short: Some('q'),
        long: "quiet",
        value: None,
        group: Group::Logging,
        required: false,
        repeatable: false,
        default: None,
        help: "log warnings and errors only",
        details: &["Log warnings and errors only. Together with one `-v` it has no effect."],
    },
    Flag {
        id: Id::Verbose,
        short: Some('v'),
        long: "verbose",
        value: None,
        group: Group::Logging,
        required: false,
        repeatable: true,
        default: None,
        help: "log more: up to debug, or up to trace when given twice",
        details: &["Log up to the level `debug`, or up to `trace` when the option is given twice."],
    },
    Flag {
        id: Id::Help,
        short: Some('h'),
        long: "help",
        value: None,
        group: Group::Information,
        required: false,
        repeatable: false,
        default: None,
        help: "print this help and exit",
        details: &["Print help on standard output and exit."],
    },
    Flag {
        id: Id::Version,
        short: Some('V'),
        long: "version",
        value: None,
        group: Group::Information,
        required: false,
        repeatable: false,
        default: None,
        help: "print the version and exit",
        details: &["Print the version on standard output and exit."],
    },
    Flag {
        id: Id::Man,
        short: None,
        long: "man",
        value: None,
        group: Group::Information,
        required: false,
        repeatable: false,
        default: None,
        help: "print the manual page, as roff, and exit",
        details: &["Print this manual page, as roff, on standard output and exit."],
    },
    Flag {
        id: Id::Completions,
        short: None,
        long: "completions",
        value: Some(Value { name: "<shell>", kind: Kind::Words(SHELLS) }),
        group: Group::Information,
        required: false,
        repeatable: false,
        default: None,
        help: "print a completion script for bash, zsh or fish and exit",
        details: &[
            "Print a script that completes command lines in `bash`, `zsh` or `fish` on standard output and exit.",
        ],
    },
];

/// The forms of an address and what each is.
pub const ADDRESSES: &[(&str, &str)] = &[
    (
        "<host>:<port>",
        "TCP. The last colon separates the two: a name, an IPv4 or an IPv6 address, and a number or a service name",
    ),
    ("[<v6>]:<port>", "TCP, with an IPv6 address in brackets"),
    ("tcp:<host>:<port>", "TCP, the same with its kind written out"),
    (
        "udp:<host>:<port>",
        "UDP. With -l each address that datagrams come from has a session; with -r each session has a socket",
    ),
    ("unix:<path>", "a Unix stream socket"),
    ("unix:@<name>", "a Unix stream socket with an abstract name (Linux); other Unix sockets can have one too"),
    ("unixpacket:<path>", "a Unix socket of packets (SEQPACKET)"),
    ("unixgram:<path>", "a Unix datagram socket. With -l each sender that is bound to an address has a session"),
    ("framed:<host>:<port>", "datagrams over TCP: the length of each one is sent before it, in two bytes"),
    ("framed:unix:<path>", "datagrams over a Unix stream socket, in the same way"),
    ("tun:<name>", "a network device (Linux); each IP packet is a datagram"),
    ("tap:<name>", "a network device (Linux); each Ethernet frame is a datagram"),
    ("echo:", "a service in cproxy itself that answers with what it gets; only for -r"),
];

impl Flag {
    /// `-b, --buffer-size <bytes>`, with the long names of all flags below one another.
    pub fn spelling(&self) -> String {
        let short = self.short.map_or("    ".to_string(), |short| format!("-{short}, "));
        let value = self.value.map_or(String::new(), |value| format!(" {}", value.name));
        format!("{short}--{}{value}", self.long)
    }

    /// The one line of help, and the default.
    pub fn help_and_default(&self) -> String {
        match self.default {
            Some(default) => format!("{} (default: {default})", self.help),
            None => self.help.to_string(),
        }
    }
}

/// The flags of a group, in their order.
pub fn in_group(group: Group) -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(move |flag| flag.group == group)
}

/// The parser. It lets every flag be given any number of times, as getopt(3) does.
pub fn options() -> Options {
    let mut options = Options::new();
    for flag in FLAGS {
        let short = flag.short.map(String::from).unwrap_or_default();
        let (hint, argument) = flag.value.map_or(("", HasArg::No), |value| (value.name, HasArg::Yes));
        options.opt(&short, flag.long, flag.help, hint, argument, Occur::Multi);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{complete, help, man};
    use std::collections::HashSet;

    #[test]
    fn no_name_occurs_twice() {
        let mut names = HashSet::new();
        for (i, flag) in FLAGS.iter().enumerate() {
            assert!(names.insert(flag.long.to_string()), "{}", flag.long);
            if let Some(short) = flag.short {
                assert!(names.insert(short.to_string()), "{short}");
            }
            assert!(FLAGS[i + 1..].iter().all(|other| other.id != flag.id), "{}", flag.long);
        }
    }

    #[test]
    fn every_flag_is_described() {
        for flag in FLAGS {
            assert!(flag.long.len() > 1 && flag.long.is_ascii(), "{}", flag.long);
            assert!(!flag.help.is_empty() && !flag.help.ends_with('.'), "{}", flag.long);
            assert!(!flag.help.contains(['\n', '`']), "{}", flag.long);
            assert!(!flag.details.is_empty(), "{}", flag.long);
            for text in flag.details {
                assert!(text.ends_with('.') && text.matches('`').count() % 2 == 0, "{}", flag.long);
                assert!(text.is_ascii() && !text.contains("  ") && !text.contains('\n'), "{}", flag.long);
            }
            if let Some(value) = flag.value {
                assert_eq!(value.name.matches('<').count(), value.name.matches('>').count());
                if let Kind::Words(words) = value.kind {
                    for word in words {
                        assert!(flag.help.contains(word) && flag.details[0].contains(&format!("`{word}`")), "{word}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_originals_flags_come_first() {
        let shorts: Vec<_> = FLAGS.iter().take(5).map(|flag| flag.short).collect();
        assert_eq!(shorts, [Some('l'), Some('r'), Some('b'), Some('n'), Some('t')]);
        assert_eq!(in_group(Group::Original).count(), 5);
        let order: Vec<_> = Group::ALL.into_iter().flat_map(in_group).map(|flag| flag.long).collect();
        assert_eq!(order, FLAGS.iter().map(|flag| flag.long).collect::<Vec<_>>());
    }

    #[test]
    fn the_parser_knows_every_flag() {
        let options = options();
        for flag in FLAGS {
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
            for flag in FLAGS {
                let spelling = flag.spelling();
                let found = text.lines().filter(|line| line.trim_start().starts_with(spelling.trim_start())).count();
                assert_eq!(found, 1, "{spelling}");
                assert!(text.contains(&flag.help[..10]), "{spelling}");
            }
        }
    }

    #[test]
    fn the_man_page_shows_every_flag() {
        let page = man::page();
        let options = page.split(".SH OPTIONS").nth(1).and_then(|rest| rest.split(".SH ").next()).expect("a section");
        for flag in FLAGS {
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
            for flag in FLAGS {
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
}
