//! Command lines, and what they come to.

use super::*;
use crate::address::{EndpointAddress, UnixAddress};
use crate::config::balancing::{Balance, CheckSettings, OnDown, PoolSettings};
use crate::config::keys::Kind;
use crate::config::settings::{BufferSize, IdleTimeout};
use crate::log::LogSettings;
use ::log::LevelFilter;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

const BOTH: [&str; 4] = ["-l", "127.0.0.1:5000", "-r", "127.0.0.1:22"];

fn command(arguments: &[&str]) -> Command {
    parse(arguments.iter().map(OsString::from))
}

/// The settings and warnings of a good command line.
fn run(arguments: &[&str]) -> (Settings, Vec<String>) {
    match command(arguments) {
        Command::Run(settings, warnings, None) => (*settings, warnings),
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// The settings of a good command line with these arguments after `-l` and `-r`.
fn with(arguments: &[&str]) -> Settings {
    let (settings, warnings) = run(&[&BOTH, arguments].concat());
    assert!(warnings.is_empty(), "{arguments:?}: {warnings:?}");
    settings
}

fn complaint(arguments: &[&str]) -> String {
    match command(arguments) {
        Command::Usage { complaint: Some(complaint), usage } => {
            assert_eq!(usage, help::usage());
            assert!(!complaint.contains('\n'));
            complaint
        }
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn invalid(arguments: &[&str]) -> String {
    match command(arguments) {
        Command::Invalid(line) => {
            assert!(!line.contains('\n'));
            line
        }
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn printed(arguments: &[&str]) -> String {
    match command(arguments) {
        Command::Print(text) => text,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

fn tcp(text: &str) -> Vec<EndpointAddress> {
    vec![EndpointAddress::Tcp(text.parse().expect(text))]
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn defaults() {
    let settings = with(&[]);
    assert_eq!(settings.services[0].listeners.len(), 1);
    assert_eq!(settings.services[0].listeners[0].argument, "127.0.0.1:5000");
    assert_eq!(settings.services[0].listeners[0].addresses, tcp("127.0.0.1:5000"));
    assert_eq!(settings.services[0].remotes[0].endpoints.addresses, tcp("127.0.0.1:22"));
    assert_eq!(settings.process.buffer_size, BufferSize::Growing(16384));
    assert!(!settings.services[0].no_delay);
    assert_eq!(settings.process.io_threads, 1);
    assert_eq!(settings.services[0].connect_timeout, secs(10));
    assert_eq!(settings.services[0].idle_timeout, IdleTimeout::ByClient);
    assert_eq!(settings.process.drain_timeout, secs(30));
    assert_eq!(settings.services[0].keepalive, None);
    assert_eq!(settings.services[0].backlog, i32::MAX);
    assert_eq!(settings.process.log, LogSettings::Environment);
}

/// What the table says holds without a flag is what holds.
#[test]
fn defaults_are_the_tables() {
    for flag in keys::flags() {
        let Some(default) = flag.default else { continue };
        let is_word_or_file = flag.value.is_some_and(|value| matches!(value.kind, Kind::Words(_) | Kind::File));
        let value = match default {
            // They cannot be asked for.
            "none" if is_word_or_file => continue,
            "all sessions" | "all" | "no limit" => continue,
            "none" | "off" => "0",
            "the system's maximum" => "2147483647",
            "info" => continue, // RUST_LOG stands before it.
            // They cannot be asked for.
            "no access log" | "no such line" | "no page" => continue,
            "the system's choice" | "no key" | "always" | "no header" | "everybody" | "any number" => continue,
            "nothing" => "",
            // A given size is kept to, the default one may grow; and the default depends on the client, or on the interval.
            "16384" | "none, or 60s for clients without a connection" => continue,
            "2s, or three quarters of the check interval if they are less" => continue,
            default => default,
        };
        let given = with(&[&format!("--{}={value}", flag.long)]);
        assert_eq!(format!("{given:?}"), format!("{:?}", with(&[])), "{}", flag.long);
    }
}

#[test]
fn every_option() {
    let long = [
        "--listen=127.0.0.1:5000",
        "--listen",
        "[::1]:5001",
        "--remote=unix:/tmp/s",
        "--buffer-size=64k",
        "--no-delay",
        "--io-threads",
        "4",
        "--connect-timeout=500ms",
        "--idle-timeout=5m",
        "--drain-timeout=1h",
        "--keepalive=2m",
        "--backlog=5",
        "--log-level=warn",
    ];
    let (settings, warnings) = run(&long);
    assert!(warnings.is_empty());
    assert_eq!(settings.services[0].listeners[0].addresses, tcp("127.0.0.1:5000"));
    assert_eq!(settings.services[0].listeners[1].addresses, tcp("[::1]:5001"));
    assert_eq!(
        settings.services[0].remotes[0].endpoints.addresses,
        [EndpointAddress::Unix(UnixAddress::Path("/tmp/s".into()))]
    );
    assert_eq!(settings.process.buffer_size, BufferSize::Fixed(65536));
    assert!(settings.services[0].no_delay);
    assert_eq!(settings.process.io_threads, 4);
    assert_eq!(settings.services[0].connect_timeout, Duration::from_millis(500));
    assert_eq!(settings.services[0].idle_timeout, IdleTimeout::After(secs(300)));
    assert_eq!(settings.process.drain_timeout, secs(3600));
    assert_eq!(settings.services[0].keepalive, Some(secs(120)));
    assert_eq!(settings.services[0].backlog, 5);
    assert_eq!(settings.process.log, LogSettings::Level(LevelFilter::Warn));
}

#[test]
fn clusters_and_attached_values() {
    let (settings, _) = run(&["-l127.0.0.1:5000", "-nt2", "-b8192", "-r127.0.0.1:22"]);
    assert!(settings.services[0].no_delay);
    assert_eq!((settings.process.io_threads, settings.process.buffer_size), (2, BufferSize::Fixed(8192)));
    assert_eq!(with(&["-nt", "3"]).process.io_threads, 3);
    assert_eq!(with(&["-nnqt", "3"]).process.io_threads, 3);
    let (settings, _) = run(&["-nl", "127.0.0.1:5000", "-nr", "127.0.0.1:22"]);
    assert!(settings.services[0].no_delay);
}

#[test]
fn the_last_value_holds() {
    let settings = with(&["-b", "1", "-t2", "-n", "-b", "2", "-n", "--io-threads=3", "--buffer-size", "4k"]);
    assert_eq!(
        (settings.process.buffer_size, settings.process.io_threads, settings.services[0].no_delay),
        (BufferSize::Fixed(4096), 3, true)
    );
    assert_eq!(with(&["--buffer-size=9", "-b7"]).process.buffer_size, BufferSize::Fixed(7));
    assert_eq!(with(&["--idle-timeout=5", "--idle-timeout=0"]).services[0].idle_timeout, IdleTimeout::Never);
    assert_eq!(with(&["--keepalive=5", "--keepalive=0"]).services[0].keepalive, None);
    // But every value must be good, as in the original.
    assert_eq!(invalid(&["-b", "abc", "-b", "5"]), "invalid buffer size abc");
}

#[test]
fn listeners_keep_their_order() {
    let (settings, _) = run(&["-l", "127.0.0.1:1", "-r", "127.0.0.1:22", "--listen=127.0.0.1:2", "-nl127.0.0.1:3"]);
    let arguments: Vec<_> =
        settings.services[0].listeners.iter().map(|endpoints| endpoints.argument.as_str()).collect();
    assert_eq!(arguments, ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
}

/// The address, weight, backup and max of each remote.
fn remotes(settings: &Settings) -> Vec<(&str, u16, bool, Option<u32>)> {
    let remotes = settings.services[0].remotes.iter();
    remotes.map(|r| (r.endpoints.argument.as_str(), r.weight, r.is_backup, r.max_sessions)).collect()
}

#[test]
fn remotes_keep_their_order_and_have_options() {
    let settings = with(&[
        "-r",
        "127.0.0.1:23,weight=256",
        "-r[::1]:22,backup,max=7",
        "--remote=unix:/tmp/a,b,max=4294967295,weight=+2",
        "-r",
        "srv:_http._tcp.web.internal,weight=3",
    ]);
    assert_eq!(
        remotes(&settings),
        [
            ("127.0.0.1:22", 1, false, None),
            ("127.0.0.1:23", 256, false, None),
            ("[::1]:22", 1, true, Some(7)),
            ("unix:/tmp/a,b", 2, false, Some(u32::MAX)),
            ("srv:_http._tcp.web.internal", 3, false, None),
        ]
    );
    assert_eq!(settings.services[0].remotes[1].endpoints.addresses, tcp("127.0.0.1:23"));
    let path = EndpointAddress::Unix(UnixAddress::Path("/tmp/a,b".into()));
    assert_eq!(settings.services[0].remotes[3].endpoints.addresses, [path]);
    assert_eq!(settings.services[0].remotes[4].endpoints.addresses, []);
}

#[test]
fn bad_options_of_remotes() {
    let of = |options: &str| invalid(&["-r", &format!("127.0.0.1:23{options}")]);
    let option = |option: &str, all: &str, reason: &str| {
        format!("invalid option '{option}' of remote 127.0.0.1:23{all}: {reason}")
    };
    let expected = "expected weight=<n>, backup or max=<n>";
    for (options, name, reason) in [
        (",weigth=3", "weigth=3", expected),
        (",", "", expected),
        (",backup,", "", expected),
        (",backup,x,weight=0", "x", expected),
        (",weight", "weight", "it needs a value"),
        (",backup=true", "backup=true", "it takes no value"),
        (",max=1,max=1", "max=1", "it is given twice"),
    ] {
        assert_eq!(of(options), option(name, options, reason));
    }
    let weight = "expected a whole number from 1 to 256";
    for (options, reason) in [
        (",weight=0", format!("invalid weight 0: {weight}")),
        (",weight=257", format!("invalid weight 257: {weight}")),
        (",weight=", format!("invalid weight : {weight}")),
        (",weight=1k", format!("invalid weight 1k: {weight}")),
        (",max=0", "invalid max 0: expected a whole number above 0".to_string()),
        (",max=4294967296", "invalid max 4294967296: more than 4294967295".to_string()),
    ] {
        assert_eq!(of(options), format!("remote 127.0.0.1:23{options}: {reason}"));
    }
    assert!(invalid(&["-r", "unix:/tmp/s,weight=0"]).starts_with("remote unix:/tmp/s,weight=0: invalid weight 0: "));
    assert_eq!(invalid(&["-l", "127.0.0.1:1,backup"]).split(':').next(), Some("error resolving address 127.0.0.1"));
    assert_eq!(invalid(&["-l", "srv:_a._tcp.b"]), "invalid listen address srv:_a._tcp.b: it can only be a remote (-r)");
    let twice = [&BOTH[..], &["-r", "127.0.0.1:23", "-r", "127.0.0.1:22,weight=2"]].concat();
    assert_eq!(invalid(&twice), "duplicate remote 127.0.0.1:22");
}

#[test]
fn options_of_several_remotes() {
    let settings = with(&[
        "--balance=source",
        "--retries=0",
        "--retry-timeout=5s",
        "--max-fails=0",
        "--fail-timeout=1m",
        "--check-interval=500ms",
        "--check-timeout=1s",
        "--rise=65535",
        "--fall=1",
        r"--check-send=PING\r\n\x00",
        "--check-expect=+PONG",
        "--slow-start=30s",
        "--on-down=reset",
        "--resolve=5s",
    ]);
    let expected = PoolSettings {
        balance: Balance::Source,
        retries: Some(0),
        retry_timeout: Some(secs(5)),
        max_fails: 0,
        fail_timeout: secs(60),
        check: CheckSettings {
            interval: Some(Duration::from_millis(500)),
            timeout: Some(secs(1)),
            rise: 65535,
            fall: 1,
            send: b"PING\r\n\0".to_vec(),
            expect: b"+PONG".to_vec(),
        },
        slow_start: Some(secs(30)),
        on_down: OnDown::Reset,
        resolve: Some(secs(5)),
    };
    assert_eq!(settings.services[0].pool, expected);
    assert_eq!(with(&[]).services[0].pool, PoolSettings::default());
    let off = ["--retry-timeout=0", "--check-interval=0", "--slow-start=0", "--resolve=0", "--retries=all"];
    assert_eq!(with(&off).services[0].pool, PoolSettings::default());
    for (word, balance) in
        [("round-robin", Balance::RoundRobin), ("least-sessions", Balance::LeastSessions), ("random", Balance::Random)]
    {
        assert_eq!(with(&["--balance", word]).services[0].pool.balance, balance);
    }
}

#[test]
fn an_option_that_can_have_no_effect_is_an_error() {
    let of = |arguments: &[&str]| invalid(&[&BOTH, arguments].concat());
    let unchecked = "nothing is checked without a check-interval";
    assert_eq!(of(&["--check-send=x"]), format!("invalid check send: {unchecked}"));
    assert_eq!(of(&["--check-expect=x", "--check-interval=0"]), format!("invalid check expect: {unchecked}"));
    assert!(of(&["--on-down=reset"]).starts_with("invalid on down reset: "));
    assert!(of(&["--slow-start=5s", "--max-fails=0"]).starts_with("invalid slow start: "));
    with(&["--slow-start=5s"]);
    with(&["--slow-start=5s", "--max-fails=0", "--resolve=5s"]);
    with(&["--check-send=x", "--check-interval=1s"]);
}

/// Whether the option comes before or after the name.
#[test]
fn a_name_without_an_address_is_an_error_unless_it_is_looked_up_again() {
    const NAME: &str = "no.such.host.invalid:5,weight=2";
    for arguments in [&["-r", NAME, "--resolve", "5s"][..], &["--resolve=0", "--resolve=5s", "-r", NAME]] {
        let (settings, warnings) = run(&[&BOTH, arguments].concat());
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.starts_with("error resolving address no.such.host.invalid:5 "), "{warning}");
        assert!(warning.ends_with("; it is looked up again every 5s"), "{warning}");
        assert_eq!(remotes(&settings)[1], ("no.such.host.invalid:5", 2, false, None));
        assert_eq!(settings.services[0].remotes[1].endpoints.addresses, []);
    }
    for arguments in [&["-r", NAME][..], &["--resolve=5s", "-r", NAME, "--resolve=0"], &["-r", NAME, "-b", "abc"]] {
        let error = invalid(&[&BOTH, arguments].concat());
        assert!(error.starts_with("error resolving address no.such.host.invalid:5 "), "{error}");
    }
    // It is wrong in any case.
    for bad in ["no.such.host.invalid:70000", "127.0.0.1:no-such-service-here", "no.such.host.invalid"] {
        invalid(&[&BOTH[..], &["--resolve=5s", "-r", bad]].concat());
    }
    assert!(matches!(command(&["-l", "no.such.host.invalid:5", "-r", "echo:", "--resolve=5s"]), Command::Invalid(_)));
}

#[test]
fn only_backups_are_warned_of() {
    let (_, warnings) = run(&["-l127.0.0.1:1", "-r127.0.0.1:2,backup", "-r127.0.0.1:3,backup"]);
    assert_eq!(warnings, ["all remotes are backups, so they are used as if none of them was"]);
}

#[test]
fn the_originals_texts() {
    assert_eq!(invalid(&["-b", "abc"]), "invalid buffer size abc");
    assert_eq!(invalid(&["-b", "0"]), "invalid buffer size 0");
    assert_eq!(invalid(&["-b", ""]), "invalid buffer size ");
    assert_eq!(invalid(&["-t", "0"]), "invalid num io threads 0");
    assert_eq!(invalid(&["-t", "two"]), "invalid num io threads two");
    assert_eq!(invalid(&["-l", "nocolon"]), "invalid address:port argument: 'nocolon'");
    assert_eq!(invalid(&["-r", ":5"]), "invalid address:port argument: ':5'");
    let text = invalid(&["-l", "127.0.0.1:no-such-service"]);
    assert!(text.starts_with("error resolving address 127.0.0.1:no-such-service "), "{text}");
}

#[test]
fn values_that_start_with_a_hyphen() {
    assert_eq!(invalid(&["-b", "-5"]), "invalid buffer size -5");
    assert_eq!(invalid(&["-b-5"]), "invalid buffer size -5");
    assert_eq!(invalid(&["--buffer-size", "-5"]), "invalid buffer size -5");
    assert_eq!(invalid(&["-b", "-n"]), "invalid buffer size -n");
    assert_eq!(invalid(&["-t", "--"]), "invalid num io threads --");
    assert_eq!(invalid(&["-b=5"]), "invalid buffer size =5");
    assert_eq!(invalid(&["-l", "--help"]), "invalid address:port argument: '--help'");
    assert_eq!(invalid(&["--idle-timeout", "-1"]).split(':').next(), Some("invalid idle timeout -1"));
}

#[test]
fn bad_values_of_new_options() {
    for address in ["udp:127.0.0.1:80", "echo:", "framed:127.0.0.1:80", "srv:_http._tcp.example.com"] {
        assert_eq!(
            invalid(&["--status", address]),
            format!("invalid status address {address}: expected a TCP address or a Unix socket (unix:)")
        );
    }
    assert_eq!(invalid(&["--status", "on"]), "status: invalid address:port argument: 'on'");
    let not_to_output = "invalid capture -: a capture is written to a file, not to standard output";
    assert_eq!(invalid(&["--capture", "-"]), not_to_output);
    let no_replace = "invalid match window: nothing is held back without a replace";
    for rules in [&[][..], &["--reject", "x"]] {
        assert_eq!(invalid(&[&BOTH, &["--match-window", "1k"][..], rules].concat()), no_replace);
    }
    let no_rule = "invalid match wait: nothing is held back without a reject or a replace";
    assert_eq!(invalid(&[&BOTH[..], &["--match-wait", "1s"]].concat()), no_rule);
    let form = "expected a number with ms, s, m or h, such as 500ms, 30s, 5m or 1h";
    assert_eq!(invalid(&["--connect-timeout", "5x"]), format!("invalid connect timeout 5x: {form}"));
    assert_eq!(invalid(&["--connect-timeout=0"]), "invalid connect timeout 0: expected more than 0");
    assert_eq!(invalid(&["--idle-timeout="]), format!("invalid idle timeout : {form}"));
    assert_eq!(invalid(&["--drain-timeout=99999999h"]), "invalid drain timeout 99999999h: more than 1000000h");
    assert_eq!(invalid(&["--keepalive=off"]), format!("invalid keepalive off: {form}"));
    assert_eq!(invalid(&["--keepalive=500ms"]), "invalid keepalive 500ms: expected whole seconds");
    assert_eq!(invalid(&["--keepalive=1.5"]), "invalid keepalive 1.5: expected whole seconds");
    assert_eq!(invalid(&["--keepalive=10h"]), "invalid keepalive 10h: more than 32767s");
    assert_eq!(invalid(&["--backlog=0"]), "invalid backlog 0: expected a whole number above 0");
    assert_eq!(invalid(&["--backlog=2147483648"]), "invalid backlog 2147483648: more than 2147483647");
    assert_eq!(
        invalid(&["--log-level=loud"]),
        "invalid log level loud: expected error, warn, info, debug, trace or off"
    );
    let source = "expected an IPv4 or IPv6 address, such an address and ports as in 192.0.2.1:1024-65535, or client";
    assert_eq!(invalid(&["--source=localhost"]), format!("invalid source localhost: {source}"));
    assert_eq!(invalid(&["--source=::1", "--source=::1"]), "invalid source ::1: it is given twice");
    let beside = "client cannot be given beside an address";
    assert_eq!(invalid(&["--source=client", "--source=::1"]), format!("invalid source ::1: {beside}"));
    let many: Vec<String> = (1..=257).map(|port| format!("--source=::1:{port}-{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(invalid(&many), "invalid source ::1:257-257: more than 256 of them");
    assert_eq!(invalid(&["--lanes=0"]), "invalid lanes 0: expected a whole number from 1 to 32");
    assert_eq!(invalid(&["--lanes=4k"]), "invalid lanes 4k: expected a whole number from 1 to 32");
    assert_eq!(invalid(&["--lanes=33"]), "invalid lanes 33: more than 32");
    assert_eq!(
        invalid(&["--lane-source=localhost"]),
        "invalid lane source localhost: expected an IPv4 or IPv6 address"
    );
    assert_eq!(invalid(&["--lane-source=::1"; 33]), "invalid lane source ::1: more than 32 of them");
    assert_eq!(invalid(&["--lane-timeout=0"]), "invalid lane timeout 0: expected more than 0");
    assert_eq!(invalid(&["--lane-timeout=5x"]), format!("invalid lane timeout 5x: {form}"));
    let window = "expected a number of bytes from 64k to 1g";
    assert_eq!(invalid(&["--stripe-window=0"]), format!("invalid stripe window 0: {window}"));
    assert_eq!(invalid(&["--stripe-window=1.5m"]), format!("invalid stripe window 1.5m: {window}"));
    assert_eq!(invalid(&["--stripe-window=65535"]), "invalid stripe window 65535: less than 65536");
    assert_eq!(invalid(&["--stripe-window=2g"]), "invalid stripe window 2g: more than 1073741824");
    assert_eq!(
        invalid(&["--stripe-mode=fast"]),
        "invalid stripe mode fast: expected until-congested, round-robin or redundant"
    );
    assert_eq!(invalid(&["--stripe-key="]), "invalid stripe key : the path is empty");
    assert_eq!(invalid(&["--stripe-key=/absent/key"]), "invalid stripe key /absent/key: No such file or directory");
    assert_eq!(invalid(&["--stripe-key=/dev/null"]), "invalid stripe key /dev/null: not a regular file");
    let methods = "expected round-robin, least-sessions, random or source";
    assert_eq!(invalid(&["--balance=fast"]), format!("invalid balance fast: {methods}"));
    assert_eq!(invalid(&["--retries=-1"]), "invalid retries -1: expected a whole number from 0 to 65535");
    assert_eq!(invalid(&["--max-fails=65536"]), "invalid max fails 65536: more than 65535");
    assert_eq!(invalid(&["--fail-timeout=0"]), "invalid fail timeout 0: expected more than 0");
    assert_eq!(invalid(&["--check-interval=9ms"]), "invalid check interval 9ms: less than 10ms");
    assert_eq!(invalid(&["--check-timeout=0s"]), "invalid check timeout 0s: expected more than 0");
    assert_eq!(invalid(&["--rise=0"]), "invalid rise 0: expected a whole number from 1 to 65535");
    assert_eq!(invalid(&["--fall=x"]), "invalid fall x: expected a whole number from 1 to 65535");
    let escapes = r"expected \r, \n, \t, \0, \\ or \xHH behind a backslash";
    assert_eq!(invalid(&[r"--check-send=a\q"]), format!(r"invalid check send a\q: {escapes}"));
    let digits = r"expected two hexadecimal digits after \x";
    assert_eq!(invalid(&[r"--check-expect=\x1"]), format!(r"invalid check expect \x1: {digits}"));
    let long = format!("--check-send={}", "x".repeat(16385));
    assert_eq!(invalid(&[&long]), "invalid check send: longer than 16384 bytes");
    assert_eq!(invalid(&["--slow-start=5x"]), format!("invalid slow start 5x: {form}"));
    assert_eq!(invalid(&["--on-down=drain"]), "invalid on down drain: expected keep or reset");
    assert_eq!(invalid(&["--resolve=99ms"]), "invalid resolve 99ms: less than 100ms");
    assert_eq!(invalid(&["-b", "2g"]), "invalid buffer size 2g: more than 1073741824");
    assert_eq!(invalid(&["-t", "1025"]), "invalid num io threads 1025: more than 1024");
    assert_eq!(invalid(&["--completions=tcsh"]), "invalid completions tcsh: expected bash, zsh or fish");
}

#[test]
fn limits() {
    assert_eq!(with(&["-b1"]).process.buffer_size, BufferSize::Fixed(1));
    assert_eq!(with(&["-b", "1g"]).process.buffer_size, BufferSize::Fixed(1 << 30));
    assert_eq!(with(&["-t1024"]).process.io_threads, 1024);
    let auto = with(&["-tauto"]).process;
    assert!(auto.io_threads_by_cores && (1..=1024).contains(&auto.io_threads), "{auto:?}");
    assert!(!with(&["-t", "auto", "-t2"]).process.io_threads_by_cores);
    assert_eq!(with(&["--backlog=2147483647"]).services[0].backlog, i32::MAX);
    assert_eq!(with(&["--drain-timeout=0"]).process.drain_timeout, Duration::ZERO);
    assert_eq!(with(&["--keepalive=32767"]).services[0].keepalive, Some(secs(32767)));
    assert_eq!(with(&["--keepalive=1000ms"]).services[0].keepalive, Some(secs(1)));
    assert_eq!(with(&["--connect-timeout=1ms"]).services[0].connect_timeout, Duration::from_millis(1));
}

#[test]
fn log_levels() {
    use LevelFilter::*;
    for (arguments, level) in [
        (&["-q"][..], Warn),
        (&["-q", "-q"], Warn),
        (&["-v"], Debug),
        (&["-vv"], Trace),
        (&["-v", "--verbose"], Trace),
        (&["-vvvv"], Trace),
        (&["-qv"], Info),
        (&["-vq"], Info),
        (&["-qvv"], Debug),
        (&["-qvvv"], Trace),
        (&["--log-level=error"], Error),
        (&["--log-level", "off"], Off),
        (&["--log-level=INFO"], Info),
        (&["--log-level=warn", "-vv"], Warn),
        (&["-q", "--log-level=warn", "--log-level=trace"], Trace),
    ] {
        assert_eq!(with(arguments).process.log, LogSettings::Level(level), "{arguments:?}");
    }
}

#[test]
fn stray_operands_are_warned_about() {
    let (settings, warnings) =
        run(&["one", "-l", "127.0.0.1:5000", "two", "-nr", "127.0.0.1:22", "", "-", "--", "-n", "-z"]);
    assert!(settings.services[0].no_delay);
    assert_eq!(warnings, ["ignoring what is no option: 'one' 'two' '' '-' '-n' '-z'"]);
    let (_, warnings) = run(&[&BOTH[..], &["--"]].concat());
    assert!(warnings.is_empty());
    let (_, warnings) = run(&[&BOTH[..], &["a\nb"]].concat());
    assert_eq!(warnings, ["ignoring what is no option: 'a\\nb'"]);
}

#[test]
fn options_after_two_hyphens_are_operands() {
    assert_eq!(
        complaint(&["-l", "127.0.0.1:5000", "--", "-r", "127.0.0.1:22"]),
        "cproxy: a remote address (-r) is required"
    );
    let (_, warnings) = run(&[&BOTH[..], &["--", "--help"]].concat());
    assert_eq!(warnings, ["ignoring what is no option: '--help'"]);
    assert_eq!(complaint(&["-z", "--", "--help"]), "cproxy: invalid option -- 'z'");
}

#[test]
fn usage_errors() {
    assert!(matches!(command(&[]), Command::Usage { complaint: None, usage } if usage == help::usage()));
    assert_eq!(complaint(&["-r", "127.0.0.1:22"]), "cproxy: a listen address (-l) is required");
    assert_eq!(complaint(&["-l", "127.0.0.1:22"]), "cproxy: a remote address (-r) is required");
    assert_eq!(complaint(&["operand"]), "cproxy: a listen address (-l) is required");
    assert_eq!(complaint(&["-z"]), "cproxy: invalid option -- 'z'");
    assert_eq!(complaint(&["-nz"]), "cproxy: invalid option -- 'z'");
    assert_eq!(complaint(&["-n=1"]), "cproxy: invalid option -- '='");
    assert_eq!(complaint(&["-é"]), "cproxy: invalid option -- 'é'");
    assert_eq!(complaint(&["-n-"]), "cproxy: invalid option -- '-'");
    assert_eq!(complaint(&["--zoo"]), "cproxy: unrecognised option '--zoo'");
    assert_eq!(complaint(&["--zoo=1"]), "cproxy: unrecognised option '--zoo'");
    assert_eq!(complaint(&["--="]), "cproxy: unrecognised option '--'");
    assert_eq!(complaint(&["---"]), "cproxy: invalid option -- '-'");
    assert_eq!(complaint(&["--z\no"]), "cproxy: unrecognised option '--z\\no'");
    assert_eq!(complaint(&["--lis=127.0.0.1:5000"]), "cproxy: unrecognised option '--lis'");
    assert_eq!(complaint(&["-b"]), "cproxy: option requires an argument -- 'b'");
    assert_eq!(complaint(&["-nb"]), "cproxy: option requires an argument -- 'b'");
    assert_eq!(complaint(&["--buffer-size"]), "cproxy: option '--buffer-size' requires an argument");
    assert_eq!(complaint(&["--no-delay=1"]), "cproxy: option '--no-delay' does not take an argument");
}

/// A quirk of getopts that is harmless: two hyphens before a letter are as good as one.
#[test]
fn letters_after_two_hyphens() {
    assert_eq!(with(&["--t=3", "--b", "5", "--n"]).process.io_threads, 3);
}

#[test]
fn the_first_error_is_reported() {
    assert_eq!(invalid(&["-b", "abc", "-l", "nocolon"]), "invalid buffer size abc");
    assert_eq!(invalid(&["-l", "nocolon", "-b", "abc"]), "invalid address:port argument: 'nocolon'");
    assert_eq!(invalid(&["-t0", "-nb0"]), "invalid num io threads 0");
    // Values come before what is missing.
    assert_eq!(invalid(&["-t", "0"]), "invalid num io threads 0");
    // And before options that come later and do not exist, or lack an argument.
    assert_eq!(invalid(&["-n", "-b", "abc", "x", "-z", "-t0"]), "invalid buffer size abc");
    assert_eq!(invalid(&["-b", "abc", "--zoo", "-t"]), "invalid buffer size abc");
    assert_eq!(invalid(&["-b", "abc", "-t"]), "invalid buffer size abc");
    assert_eq!(complaint(&["-z", "-b", "abc"]), "cproxy: invalid option -- 'z'");
    assert_eq!(complaint(&["-b", "5", "-z", "-b", "abc"]), "cproxy: invalid option -- 'z'");
    for before in 0..20 {
        let arguments = [&["-n"].repeat(before)[..], &["-b", "abc", "-z"], &["-n"].repeat(20 - before)[..]].concat();
        assert_eq!(invalid(&arguments), "invalid buffer size abc");
    }
}

#[test]
fn information() {
    assert_eq!(printed(&["--version"]), format!("cproxy {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(printed(&["-V"]), help::version());
    assert_eq!(printed(&["-h"]), help::help());
    assert_eq!(printed(&["--help"]), help::help());
    assert_eq!(printed(&["--man"]), man::page());
    assert_eq!(printed(&["--man-config"]), man_config::page());
    for shell in keys::SHELLS {
        assert_eq!(Some(printed(&["--completions", shell])), complete::script(shell));
        assert_eq!(Some(printed(&[&format!("--completions={shell}")])), complete::script(shell));
    }
}

#[test]
fn information_wins() {
    assert_eq!(printed(&[&BOTH[..], &["-h"]].concat()), help::help());
    assert_eq!(printed(&["-b", "abc", "-nh"]), help::help());
    assert_eq!(printed(&["-l", "nocolon", "--version"]), help::version());
    assert_eq!(printed(&["-z", "--version"]), help::version());
    assert_eq!(printed(&["--version", "--zoo"]), help::version());
    assert_eq!(printed(&["-z", "--man", "-b"]), man::page());
    assert_eq!(Some(printed(&["-z", "--completions", "bash"])), complete::script("bash"));
    assert_eq!(Some(printed(&["-z", "--completions=bash"])), complete::script("bash"));
    assert_eq!(printed(&["--help", "--completions"]), help::help());
    assert_eq!(complaint(&["-z", "--completions"]), "cproxy: invalid option -- 'z'");
    // The first of several.
    assert_eq!(printed(&["--version", "--help"]), help::version());
    assert_eq!(printed(&["--help", "--version"]), help::help());
}

#[test]
fn values_that_are_not_utf8() {
    let broken = |before: &[u8]| OsString::from_vec([before, b"\xff\n"].concat());
    let both = || BOTH.map(OsString::from).into_iter();

    let command = parse([OsString::from("-l"), broken(b"unix:/tmp/")]);
    assert!(
        matches!(command, Command::Invalid(e) if e == "the value of --listen is not valid UTF-8: 'unix:/tmp/\u{fffd}\\n'")
    );
    let command = parse(both().chain([broken(b"-b")]));
    assert!(matches!(command, Command::Invalid(e) if e.starts_with("the value of --buffer-size is not valid UTF-8")));
    let command = parse(both().chain([broken(b"-")]));
    assert!(
        matches!(command, Command::Usage { complaint: Some(e), .. } if e == "cproxy: invalid option -- '\u{fffd}'")
    );
    let command = parse(both().chain([broken(b"--")]));
    assert!(matches!(command, Command::Usage { .. }));
    let command = parse(both().chain([broken(b"operand")]));
    assert!(
        matches!(command, Command::Run(_, warnings, None) if warnings == ["ignoring what is no option: 'operand\u{fffd}\\n'"])
    );
    let command = parse([broken(b"-"), OsString::from("--help")]);
    assert!(matches!(command, Command::Print(_)));
}

/// Whatever the arguments are, there is an answer.
#[test]
fn no_arguments_panic() {
    let words = [
        "-l",
        "-r",
        "-b",
        "-n",
        "-t",
        "-z",
        "--",
        "-",
        "",
        "--help=1",
        "-nt2",
        "-t0",
        "127.0.0.1:5",
        "unix:",
        "abc",
        "--backlog",
        "--keepalive=5",
        "--completions",
        "-é",
        "---",
        "--=",
        "-=",
        "5k",
        "[",
        "[]:5",
        "é:",
        ":",
    ];
    let mut seed = 1_u64;
    for _ in 0..3_000 {
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        let count = next(7);
        let arguments: Vec<_> = (0..count).map(|_| words[next(words.len())]).collect();
        command(&arguments);
    }
}
