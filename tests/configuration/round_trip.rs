//! What `--print-config` prints is read as the same settings.

use crate::support::{Folder, Random, command, load, run};
use cproxy::address::{Endpoints, Network};
use cproxy::cli::Command;
use cproxy::config::access::{AccessRule, Clients, Decision};
use cproxy::config::balancing::{Balance, CheckSettings, OnDown, PoolSettings};
use cproxy::config::capture::{CaptureSettings, Form};
use cproxy::config::file::print;
use cproxy::config::origin::{ConnectFrom, useless};
use cproxy::config::settings::{
    BufferSize, IdleTimeout, OnReload, ProcessSettings, RemoteSettings, ServiceSettings, Settings, ZeroCopy,
};
use cproxy::config::striping::{StripeMode, StripeSettings};
use cproxy::log::LogSettings;
use log::LevelFilter;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

fn duration(random: &mut Random) -> Duration {
    let number = 1 + random.below(100_000);
    match random.below(4) {
        0 => Duration::from_secs(number * 60),
        1 => Duration::from_secs(number),
        2 => Duration::from_millis(number),
        _ => Duration::from_nanos(1_000_000 + number * 7_919),
    }
}

fn process(random: &mut Random) -> ProcessSettings {
    let defaults = ProcessSettings::default();
    ProcessSettings {
        io_threads: 1 + random.below(ProcessSettings::MAX_IO_THREADS as u64) as usize,
        buffer_size: if random.coin() {
            defaults.buffer_size
        } else {
            BufferSize::Fixed(1 + random.below(1 << 30) as usize)
        },
        zero_copy: random.one(&[ZeroCopy::Auto, ZeroCopy::Never]),
        reuse_port: random.coin(),
        status: random.coin().then(|| endpoints(random.one(&["127.0.0.1:8080", "[::]:80", "unix:/run/a b"]))),
        drain_timeout: if random.coin() { Duration::ZERO } else { duration(random) },
        log: random.one(&[
            LogSettings::Environment,
            LogSettings::Level(LevelFilter::Off),
            LogSettings::Level(LevelFilter::Warn),
            LogSettings::Level(LevelFilter::Trace),
        ]),
        ..defaults
    }
}

fn endpoints(argument: &str) -> Endpoints {
    Endpoints::parse(argument).unwrap_or_else(|error| panic!("{error}"))
}

fn stripe(random: &mut Random) -> StripeSettings {
    let sources: [IpAddr; 3] = ["192.0.2.1", "::1", "fe80::1"].map(|source| source.parse().expect(source));
    StripeSettings {
        lanes: 1 + random.below(32) as u8,
        lane_sources: sources[..random.below(4) as usize].to_vec(),
        lane_timeout: if random.coin() { StripeSettings::DEFAULT_LANE_TIMEOUT } else { duration(random) },
        window: random.one(&[
            StripeSettings::DEFAULT_WINDOW,
            StripeSettings::MIN_WINDOW,
            StripeSettings::MAX_WINDOW,
            123_457,
        ]),
        mode: random.one(&[StripeMode::UntilCongested, StripeMode::RoundRobin, StripeMode::Redundant]),
        keys: None,
    }
}

fn bytes(random: &mut Random) -> Vec<u8> {
    random
        .one(&[&b""[..], b"PING\r\n", b"\0\x7f\xff\\'\"", "a\u{e9}\u{732b}\u{202e}\u{1}".as_bytes(), b"'\\' # ,="])
        .to_vec()
}

fn pool(random: &mut Random) -> PoolSettings {
    let some = |random: &mut Random| random.coin().then(|| duration(random) + Duration::from_millis(100));
    let interval = some(random);
    let is_checked = interval.is_some();
    let only_if_checked = |bytes| if is_checked { bytes } else { Vec::new() };
    PoolSettings {
        balance: random.one(&[Balance::RoundRobin, Balance::LeastSessions, Balance::Random, Balance::Source]),
        retries: random.coin().then(|| random.below(65536) as u32),
        retry_timeout: some(random),
        max_fails: 1 + random.below(65535) as u32,
        fail_timeout: duration(random),
        check: CheckSettings {
            interval,
            timeout: some(random),
            rise: 1 + random.below(65535) as u32,
            fall: 1 + random.below(65535) as u32,
            send: only_if_checked(bytes(random)),
            expect: only_if_checked(bytes(random)),
        },
        slow_start: some(random),
        on_down: if is_checked && random.coin() { OnDown::Reset } else { OnDown::Keep },
        resolve: some(random),
    }
}

fn remotes(random: &mut Random, all: &[&str]) -> Vec<RemoteSettings> {
    let first = random.below(all.len() as u64) as usize;
    let some = all.iter().cycle().skip(first).take(1 + random.below(all.len() as u64) as usize);
    let remote = |address: &&str| RemoteSettings {
        weight: if random.coin() { 1 } else { 1 + random.below(256) as u16 },
        is_backup: random.coin(),
        max_sessions: random.coin().then(|| 1 + random.below(u32::MAX.into()) as u32),
        ..RemoteSettings::new(endpoints(address))
    };
    some.map(remote).collect()
}

fn capture(random: &mut Random) -> CaptureSettings {
    let dump = random.one(&[None, Some(Form::Text), Some(Form::Hex)]);
    if random.coin() {
        return CaptureSettings { dump, ..CaptureSettings::default() };
    }
    let networks = ["10.0.0.0/8", "::1", "192.0.2.7"];
    let network = |text: &&str| (Network::parse(text).expect(text), text.to_string());
    let size = random.coin().then(|| CaptureSettings::MIN_SIZE + random.below(1 << 40));
    CaptureSettings {
        file: Some("/var/log/a 'b' \"c\".pcapng".into()),
        only: networks[..random.below(4) as usize].iter().map(network).collect(),
        bytes: random.coin().then(|| 1 + random.below(1 << 40)),
        size,
        files: if size.is_some() { 1 + random.below(65535) as u32 } else { CaptureSettings::DEFAULT_FILES },
        dump,
    }
}

fn rule(text: &str) -> AccessRule {
    let (word, clients) = text.split_once(' ').expect("two words");
    let decision = if word == "allow" { Decision::Allow } else { Decision::Deny };
    AccessRule { decision, clients: Clients::parse(clients, Path::new("/")).expect(text) }
}

/// Where connections come from; a useless choice would be an error.
fn connect_from(random: &mut Random, service: &ServiceSettings) -> ConnectFrom {
    let ours =
        |sources: &[&str]| ConnectFrom::Ours(sources.iter().map(|source| source.parse().expect(source)).collect());
    let mut all = vec![
        ours(&["192.0.2.1"]),
        ours(&["192.0.2.1:1024-65535", "::1"]),
        ours(&["[2001:db8::1]:1-2", "0.0.0.0:5", "127.0.0.1"]),
    ];
    if cfg!(target_os = "linux") {
        all.push(ConnectFrom::Client);
    }
    let connect_from = random.one(&all);
    let with = ServiceSettings { connect_from: connect_from.clone(), ..service.clone() };
    if random.coin() && useless(&with).is_none() { connect_from } else { ConnectFrom::Any }
}

fn service(random: &mut Random, number: usize) -> ServiceSettings {
    let port = 1000 + number * 4;
    let all = [
        format!("127.0.0.1:{port}"),
        format!("[::1]:{}", port + 1),
        format!("udp:::1:{port}"),
        format!("unix:/tmp/a \"b\" \\c\t\u{1}é猫{port}"),
        "127.0.0.1:0".to_string(),
    ];
    let count = 1 + random.below(all.len() as u64) as usize;
    let remotes_of_all_kinds = [
        "127.0.0.1:22",
        "echo:",
        "unix:/tmp/\u{7f}\u{85}'\n\r",
        "framed:unix:x",
        "localhost:80",
        "stripe:192.0.2.1:7000+::1:7000+localhost:7001",
        "framed:stripe:[::1]:7000",
        "srv:_http._tcp.web.internal",
        // What is no option in a table, and would be one in a string.
        "unix:/tmp/a,b,backup",
        "unixgram:/tmp/'a',weight=3,max=x",
        "unixpacket:/tmp/a,weight=",
    ];
    let rules = ["deny 10.1.0.0/16", "allow 10.0.0.0/8", "allow ::1", "deny unix", "allow ::ffff:192.0.2.0/120"];
    let access = (0..random.below(5)).map(|_| rule(random.one(&rules))).collect();
    let name = random.one(&["a", "web-", "x.y.", "Z_"]);
    let service = ServiceSettings {
        no_delay: random.coin(),
        keepalive: random.coin().then(|| Duration::from_secs(1 + random.below(32767))),
        backlog: if random.coin() { i32::MAX } else { 1 + random.below(100_000) as i32 },
        connect_timeout: duration(random),
        idle_timeout: match random.below(3) {
            0 => IdleTimeout::ByClient,
            1 => IdleTimeout::Never,
            _ => IdleTimeout::After(duration(random)),
        },
        on_reload: random.one(&[OnReload::Keep, OnReload::Drain, OnReload::Reset]),
        stripe: stripe(random),
        pool: pool(random),
        capture: capture(random),
        access,
        remotes: remotes(random, &remotes_of_all_kinds),
        ..ServiceSettings::new(
            &format!("{name}{number}"),
            all.iter().take(count).map(|argument| endpoints(argument)).collect(),
            endpoints("echo:"),
        )
    };
    ServiceSettings { connect_from: connect_from(random, &service), ..service }
}

#[test]
fn settings_are_read_as_they_were_printed() {
    let folder = Folder::new();
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let process = process(&mut random);
        let services = (0..1 + random.below(4) as usize).map(|number| service(&mut random, number)).collect();
        let settings = Settings { process, services };
        let text = print(&settings);
        let again = folder.load(&text).unwrap_or_else(|errors| panic!("seed {seed}: {}\n{text}", errors[0]));
        assert_eq!(again, settings, "seed {seed}:\n{text}");
        assert_eq!(print(&again), text, "seed {seed}");
    }
}

/// Arguments of a command line that is good.
fn arguments(random: &mut Random) -> Vec<String> {
    let mut arguments = vec!["-l127.0.0.1:5000".to_string(), "-r".to_string(), "127.0.0.1:22".to_string()];
    for choices in [
        &["-b64k", "-b", "--buffer-size=1g"][..],
        &["-n", "--no-delay"],
        &["-tauto", "-t7", "-nt1"],
        &["--zero-copy=never", "--zero-copy=auto"],
        &["--reuse-port"],
        &["--keepalive=0", "--keepalive=2m"],
        &["--backlog=5", "--backlog=2147483647"],
        &["--connect-timeout=1.5ms", "--connect-timeout=10"],
        &["--idle-timeout=0", "--idle-timeout=60"],
        &["--drain-timeout=0", "--drain-timeout=1000000h"],
        &["--status=127.0.0.1:0", "--status=unix:/tmp/status"],
        &["-q", "-v", "-vv", "--log-level=off", "--log-level=INFO"],
        &["-l[::1]:5000", "--listen=unix:/tmp/a b"],
        &["-r127.0.0.1:23,weight=3", "-rlocalhost:23,max=1,backup", "-runix:/tmp/a,b,backup", "-rsrv:_a._tcp.b"],
        &["--allow=127.0.0.0/8 --deny=all", "--deny=::1 --allow=unix", "--deny=192.0.2.1"],
        &["--send-proxy=v1", "--send-proxy=v2"],
        &["--accept-proxy", "--accept-proxy-from=localhost --accept-proxy-from=unix", "--accept-proxy-from=10.0.0.0/8"],
        &["--proxy-datagrams=each"],
        &[
            "--allow-time=Mon-Fri 08:00-18:00",
            "--allow-time=22:00-06:00 --end-outside-time",
            "--allow-time=Sun 1:00-2:00",
        ],
        &["--balance=source", "--balance=random", "--balance=round-robin"],
        &["--retries=0", "--retries=all", "--retry-timeout=1.5s"],
        &["--max-fails=7", "--fail-timeout=1m"],
        &[r"--check-interval=1s --check-send=\0\xff\\", "--check-interval=10ms --on-down=reset", "--check-timeout=1ms"],
        &["--rise=1", "--fall=1", "--slow-start=1h"],
        &["--resolve=100ms", "--resolve=0"],
        &["--lanes=32", "--lanes=4"],
        &["--lane-source=127.0.0.1", "--lane-source=::1"],
        &["--lane-timeout=30", "--lane-timeout=1.5ms"],
        &["--stripe-window=64k", "--stripe-window=1g"],
        &["--dump=hex", "--capture=/tmp/x --capture-size=1m", "--capture=x --capture-bytes=5"],
        &["--stripe-mode=redundant", "--stripe-mode=round-robin", "--stripe-mode=until-congested"],
    ] {
        if random.coin() {
            let choice = random.one(choices);
            match choice.split_once(" --") {
                Some((first, second)) => arguments.extend([first.to_string(), format!("--{second}")]),
                None => arguments.push(choice.to_string()),
            }
            arguments.extend((choice == "-b").then(|| "1".to_string()));
        }
    }
    arguments
}

#[test]
fn a_command_line_becomes_a_file() {
    let folder = Folder::new();
    for seed in 0..1_000 {
        let arguments = arguments(&mut Random(seed));
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut settings = run(&arguments);
        arguments.push("--print-config");
        let Command::Print(text) = command(&arguments) else { panic!("{arguments:?}") };
        let again = folder.load(&text).unwrap_or_else(|errors| panic!("{arguments:?}: {}\n{text}", errors[0]));
        settings.services[0].name = "default".to_string();
        assert_eq!(again, settings, "{arguments:?}\n{text}");
    }
}

#[test]
fn what_is_printed_is_short() {
    let print_config = |arguments: &[&str]| match command(arguments) {
        Command::Print(text) => text,
        other => panic!("{arguments:?}: {other:?}"),
    };
    assert_eq!(
        print_config(&["--print-config", "-l", "127.0.0.1:1", "-l", "[::1]:1", "-r", "localhost:2", "-nt", "auto"]),
        "io-threads = \"auto\"\n\n[service.default]\nlisten = [\"127.0.0.1:1\", \"[::1]:1\"]\nremote = \"localhost:2\"\nno-delay = true\n"
    );
    assert_eq!(
        print_config(&["--print-config", "-l", "127.0.0.1:1", "a\nb", "-r", "echo:"]),
        "# ignoring what is no option: 'a\\nb'\n[service.default]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n"
    );
    assert_eq!(
        print_config(&[
            "--print-config",
            "-l127.0.0.1:1",
            "-r127.0.0.1:2,max=5,weight=3",
            "-runix:/a,b,backup",
            "-r127.0.0.1:3,weight=1",
            "--check-interval=2000ms",
            r"--check-send=PING\x0d\x0A",
            "--resolve=0",
            "--max-fails=3",
        ]),
        "[service.default]\nlisten = \"127.0.0.1:1\"\n\
         remote = [\"127.0.0.1:2,weight=3,max=5\", \"unix:/a,b,backup\", \"127.0.0.1:3\"]\n\
         check-interval = \"2s\"\ncheck-send = 'PING\\r\\n'\n"
    );
    // A file with what it includes, and what wins over it.
    let folder = Folder::new();
    folder.write("conf.d/b.toml", "[service.\"b.c\"]\nlisten = \"127.0.0.1:2\"\nremote.address = \"echo:\"\n");
    let main =
        "include = \"conf.d/*.toml\"\nio-threads = 4\n[service.a]\nlisten = [\"127.0.0.1:1\"]\nremote = \"echo:\"\n";
    let main = folder.write("a.toml", main);
    assert_eq!(
        print_config(&["-c", main.to_str().expect("a path"), "--print-config", "-b1k"]),
        "buffer-size = 1024\nio-threads = 4\n\n[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n\n\
         [service.\"b.c\"]\nlisten = \"127.0.0.1:2\"\nremote = \"echo:\"\n"
    );
}

#[test]
fn auto_is_as_many_threads_as_cores() {
    let cores = std::thread::available_parallelism().expect("a number of cores").get();
    let settings = load("io-threads = \"auto\"\n[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n");
    assert_eq!(settings.process.io_threads, cores);
    assert!(settings.process.io_threads_by_cores);
    assert_eq!(run(&["-l", "127.0.0.1:1", "-r", "echo:", "-t", "auto"]).process, settings.process);
}
