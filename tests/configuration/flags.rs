//! Every key of a file means what its flag means.

use crate::support::{Folder, command, load, run};
use cproxy::cli::Command;
use cproxy::config::keys::{self, Key, Kind, Scope};
use cproxy::config::settings::{OnReload, Settings};

const LISTEN: &str = "127.0.0.1:5000";
const REMOTE: &str = "127.0.0.1:22";

/// Values to try for a key, good and bad ones, as the command line has them.
fn values(key: &Key) -> Vec<String> {
    let texts: &[&str] = match key.value.map(|value| value.kind) {
        None => &["true"],
        Some(Kind::Address) => &[
            "127.0.0.1:80",
            "[::1]:80",
            "unix:/tmp/a \"quoted\" \\ path",
            "udp:127.0.0.1:53",
            "echo:",
            "nocolon",
            "127.0.0.1:70000",
            "unix:",
            "localhost:80",
            "tcp:127.0.0.1:0",
            "framed:unix:/tmp/é",
            "stripe:127.0.0.1:80",
            "stripe:127.0.0.1:80+[::1]:81",
            "framed:stripe:127.0.0.1:80",
            "stripe:unix:/tmp/s",
            "127.0.0.1:80,weight=3,max=5",
            "127.0.0.1:80,weight=0",
            "127.0.0.1:80,nothing",
            "unix:/tmp/a,b,max=1",
            "srv:_http._tcp.web.internal,max=2",
            "srv:web.internal",
        ],
        // A path that is relative is so to the folder of a file.
        Some(Kind::File) => &["", "/absent/a file", "/absent/é"],
        Some(_) => &[
            "0",
            "1",
            "2",
            "1024",
            "1025",
            "4096",
            "32768",
            "64k",
            "2g",
            "500ms",
            "1.5s",
            "30s",
            "5m",
            "1h",
            "127.0.0.1",
            "::1",
            "[::1]",
            "-1",
            "+3",
            "abc",
            "",
            "auto",
            " 5",
            "99999999999999999999999999999999999999999999",
            "1000001h",
            "all",
            "65536",
            r"PING\r\n",
            r"\x0",
        ],
    };
    let words = match key.value.map(|value| value.kind) {
        Some(Kind::Words(words)) => words,
        _ => &[],
    };
    texts.iter().chain(words).map(|text| text.to_string()).collect()
}

/// What a key with a value comes to as a flag: settings, or what is said.
fn as_flag(key: &Key, value: &str) -> Result<Settings, String> {
    let mut arguments = Vec::new();
    for (long, default) in [("listen", LISTEN), ("remote", REMOTE)] {
        if key.long != long {
            arguments.push(format!("--{long}={default}"));
        }
    }
    arguments.push(if key.value.is_some() { format!("--{}={value}", key.long) } else { format!("--{}", key.long) });
    match command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Command::Run(settings, warnings, None) if warnings.is_empty() => Ok(*settings),
        Command::Invalid(message) => Err(message),
        other => panic!("{arguments:?}: {other:?}"),
    }
}

/// The same in a file, with the value written like this.
fn in_file(key: &Key, value: &str) -> Result<Settings, String> {
    let line = format!("{} = {value}\n", key.long);
    let of_service = matches!(key.scope, Scope::Service { .. });
    let mut text = if of_service { "[service.it]\n".to_string() } else { format!("{line}[service.it]\n") };
    for (long, default) in [("listen", LISTEN), ("remote", REMOTE)] {
        if key.long != long {
            text += &format!("{long} = \"{default}\"\n");
        }
    }
    if of_service {
        text += &line;
    }
    match Folder::new().load(&text) {
        Ok(mut settings) => {
            assert_eq!(settings.services[0].name, "it");
            settings.services[0].name.clear();
            Ok(settings)
        }
        Err(errors) => {
            assert_eq!(errors.len(), 1, "{text}: {errors:?}");
            assert!(
                errors[0].position.is_some_and(|position| text.lines().nth(position.line - 1) == Some(line.trim_end()))
            );
            Err(errors[0].message.clone())
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[test]
fn every_key_of_a_file_equals_its_flag() {
    let mut good = 0;
    let mut bad = 0;
    for key in keys::at_top().chain(keys::of_service()).filter(|key| key.is_flag()) {
        for value in values(key) {
            let flag = as_flag(key, &value);
            let mut forms = vec![if key.value.is_some() { quoted(&value) } else { value.clone() }];
            // Where digits are no string, they are a number.
            let is_number = value.parse::<i64>().is_ok_and(|number| number.to_string() == value);
            if is_number && key.value.is_some_and(|value| value.kind == Kind::Number) {
                forms.push(value.clone());
            }
            if key.repeatable {
                forms.push(format!("[{}]", quoted(&value)));
            }
            for form in forms {
                match (&flag, in_file(key, &form)) {
                    (Ok(expected), Ok(settings)) => {
                        assert_eq!(*expected, settings, "{} = {form}", key.long);
                        good += 1;
                    }
                    (Err(expected), Err(message)) => {
                        // The file may add what was expected.
                        assert!(message.starts_with(expected.as_str()), "{} = {form}: {message}", key.long);
                        bad += 1;
                    }
                    (flag, file) => panic!("{} = {form}: {flag:?} as a flag, {file:?} in a file", key.long),
                }
            }
        }
    }
    assert!(good > 50 && bad > 50, "{good} {bad}");
}

#[test]
fn what_is_false_is_the_default() {
    let plain = load("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n");
    let said =
        load("reuse-port = false\n[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\nno-delay = false\n");
    assert_eq!(plain, said);
}

#[test]
fn what_only_a_file_has() {
    for (value, expected) in [("keep", OnReload::Keep), ("drain", OnReload::Drain), ("reset", OnReload::Reset)] {
        let text = format!("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\non-reload = \"{value}\"\n");
        assert_eq!(load(&text).services[0].on_reload, expected);
    }
    for argument in ["--on-reload=keep", "--include=x"] {
        let name = argument.split('=').next().expect("a name");
        match command(&["-l", LISTEN, "-r", REMOTE, argument]) {
            Command::Usage { complaint: Some(complaint), .. } => {
                assert_eq!(complaint, format!("cproxy: unrecognised option '{name}'"));
            }
            other => panic!("{argument}: {other:?}"),
        }
    }
}

#[test]
fn services_keep_their_order_and_names() {
    let text = "[service.zulu]\nlisten = [\"127.0.0.1:1\", \"unix:/tmp/s\"]\nremote = \"echo:\"\n\
                [service.\"a.b\"]\nlisten = \"127.0.0.1:2\"\nremote = \"echo:\"\n\
                [service.M-1_x]\nlisten = [\"udp:127.0.0.1:2\"]\nremote = \"echo:\"\n";
    let names: Vec<_> =
        load(text).services.into_iter().map(|service| (service.name, service.listeners.len())).collect();
    assert_eq!(names, [("zulu".to_string(), 2), ("a.b".to_string(), 1), ("M-1_x".to_string(), 1)]);
}

#[test]
fn options_of_the_process_win_over_the_file() {
    let folder = Folder::new();
    let file = folder.write(
        "a.toml",
        "io-threads = 2\nbuffer-size = 100\nlog-level = \"warn\"\n[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n",
    );
    let file = file.to_str().expect("a path");
    let plain = run(&["-c", file]);
    let Command::Run(settings, _, Some(source)) = command(&["-t", "3", "--config", file, "-vv", "--drain-timeout=0"])
    else {
        panic!("a good command line");
    };
    let wanted = run(&["-l", "127.0.0.1:1", "-r", "echo:", "-t3", "-b100", "-vv", "--drain-timeout=0"]);
    assert_eq!(settings.process, wanted.process);
    assert_eq!(settings.services, plain.services);
    assert_ne!(plain.process, settings.process);
    // And again when the file is read again.
    assert_eq!(source.load().as_ref(), Ok(&*settings));
    folder.write("a.toml", "io-threads = 5\nno-delay = 3\n");
    assert!(source.load().is_err());
    folder.write("a.toml", "io-threads = 5\n[service.b]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n");
    let again = source.load().expect("a good file");
    assert_eq!((again.process.io_threads, again.services[0].name.as_str()), (3, "b"));
}

#[test]
fn options_of_a_service_are_refused_beside_a_file() {
    for (arguments, name) in [
        (["-c", "absent.toml", "-n"], "--no-delay (-n)"),
        (["-l127.0.0.1:1", "-c", "absent.toml"], "--listen (-l)"),
        (["--config=absent.toml", "--backlog", "5"], "--backlog"),
    ] {
        match command(&arguments) {
            Command::Usage { complaint: Some(complaint), .. } => assert_eq!(
                complaint,
                format!("cproxy: {name} is an option of a service: with --config (-c), it belongs in the file")
            ),
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
}

#[test]
fn a_check_says_what_is_good() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[service.a]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nremote = \"echo:\"\n");
    let file = file.to_str().expect("a path");
    for (arguments, expected) in [
        (&["--check", "-c", file][..], format!("{file} is good: 1 service, 2 listeners\n")),
        (&["-l", LISTEN, "-r", REMOTE, "--check"], "the command line is good: 1 service, 1 listener\n".to_string()),
        (
            &["-l", LISTEN, "x", "-r", REMOTE, "--check"],
            "ignoring what is no option: 'x'\nthe command line is good: 1 service, 1 listener\n".to_string(),
        ),
    ] {
        match command(arguments) {
            Command::Print(text) => assert_eq!(text, expected),
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
    assert!(matches!(command(&["--check", "-l", LISTEN, "-l", LISTEN, "-r", REMOTE]), Command::Invalid(message)
        if message == format!("duplicate listener {LISTEN}")));
    assert!(matches!(command(&["--check", "-l", "nocolon"]), Command::Invalid(_)));
    assert!(matches!(command(&["--check"]), Command::Usage { complaint: Some(_), .. }));
    assert!(matches!(command(&["--check", "-c", "/absent/file"]), Command::BadFile(errors)
        if errors.len() == 1 && errors[0].one_line() == "/absent/file: No such file or directory"));
}
