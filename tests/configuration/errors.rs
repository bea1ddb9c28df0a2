//! What is said of a bad file.

use crate::support::{Folder, command};
use cproxy::cli::Command;

#[test]
fn an_error_shows_its_place() {
    let folder = Folder::new();
    let errors = folder.load("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n\tidel-timeout = \"1h\"\n");
    let error = &errors.expect_err("an error")[0];
    let file = folder.path().join("cproxy.toml");
    let message = "unknown key `idel-timeout`; did you mean `idle-timeout`?";
    assert_eq!(error.one_line(), format!("{}:4:2: {message}", file.display()));
    assert_eq!(
        error.to_string(),
        format!("{}:4:2: {message}\n  4 | \tidel-timeout = \"1h\"\n    | \t^^^^^^^^^^^^", file.display())
    );
    assert_eq!((error.file.as_path(), error.message.as_str()), (file.as_path(), message));
}

#[test]
fn all_errors_are_told_at_once() {
    let folder = Folder::new();
    folder.write("more/1.toml", "io-threads = 2\n[service.c]\nremote = \"nocolon\"\n[service.a]\nlisten = \"127.0.0.1:6\"\nremote = \"echo:\"\n");
    folder.write(
        "more/2.toml",
        "include = \"x\"\nx = 1\n[service.d]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\nbacklog = \"\n",
    );
    let text = r#"include = ["more/*.toml", "absent.toml"]
io-threads = 0
buffer-size = 1.5
log-level = 5
quiet = true
no-delay = true
zork = 1

[service.a]
listen = ["127.0.0.1:1", 5, "nocolon"]
remote = ["127.0.0.1:2", 7, { weight = 0 }]
connect-timeout = 0
io-threads = 2
no-delay = 1
"é" = 猫

[service.b]
lisen = "127.0.0.1:3"
remote = { adress = "127.0.0.1:4" }
on-reload = "never"
keepalive = "40000s"

[service."a b"]
listen = "127.0.0.1:5"
remote = "echo:"
backlog = 0x1_0000_0000
zero-copy = "auto"

[services.x]
"#;
    let expected = [
        "cproxy.toml:1:27: absent.toml: No such file or directory",
        "cproxy.toml:2:14: invalid num io threads 0: expected a whole number from 1 to 1024, or \"auto\"",
        "cproxy.toml:3:15: `buffer-size` is a number with a fraction; expected a number of bytes above 0, or a string such as \"64k\"",
        "cproxy.toml:4:13: `log-level` is a whole number; expected \"error\", \"warn\", \"info\", \"debug\", \"trace\" or \"off\"",
        "cproxy.toml:5:1: `quiet` can only be given on the command line",
        "cproxy.toml:6:1: `no-delay` is an option of a service: put it into a table [service.NAME]",
        "cproxy.toml:7:1: unknown key `zork`",
        "cproxy.toml:10:26: a whole number in the array of `listen`; expected a string with an address",
        "cproxy.toml:10:29: invalid address:port argument: 'nocolon'",
        "cproxy.toml:11:26: a whole number in the array of `remote`; expected a string with an address",
        "cproxy.toml:11:40: invalid weight 0: expected a whole number from 1 to 256",
        "cproxy.toml:12:19: invalid connect timeout 0: expected more than 0",
        "cproxy.toml:13:1: `io-threads` is an option of the process: put it at the top of the file, before the first table",
        "cproxy.toml:14:12: `no-delay` is a whole number; expected true or false",
        "cproxy.toml:15:7: unknown value: a string must be in quotes",
        "cproxy.toml:18:1: unknown key `lisen`; did you mean `listen`?",
        "cproxy.toml:19:12: unknown key `adress`; did you mean `address`?",
        "cproxy.toml:20:13: invalid on reload never: expected keep, drain or reset",
        "cproxy.toml:21:13: invalid keepalive 40000s: more than 32767s",
        "cproxy.toml:23:10: invalid name `a b` of a service: expected letters, digits, `-`, `_` and `.`",
        "cproxy.toml:26:11: invalid backlog 4294967296: more than 2147483647",
        "cproxy.toml:27:1: `zero-copy` is an option of the process: put it at the top of the file, before the first table",
        "cproxy.toml:29:2: unknown key `services`; did you mean `service`?",
        "more/1.toml:1:1: `io-threads` is an option of the process: an included file has services only",
        "more/1.toml:2:10: service `c` has no `listen`",
        "more/1.toml:3:10: invalid address:port argument: 'nocolon'",
        "more/1.toml:4:10: duplicate service `a`; the other one is at cproxy.toml:9:10",
        "more/2.toml:1:1: an included file cannot include others",
        "more/2.toml:2:1: unknown key `x`",
        "more/2.toml:4:10: duplicate listener 127.0.0.1:1; the other one is at cproxy.toml:10:11, in service `a`",
        "more/2.toml:6:12: invalid basic string, expected `\"`",
    ];
    let mut found = folder.errors(text);
    let mut expected = expected.map(String::from).to_vec();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    // Those of one line may come in any order.
    found.sort();
    expected.sort();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.replace(&format!("{}/", folder.path().display()), ""), *expected);
    }
}

/// What follows from an error is not told as another.
#[test]
fn a_missing_bracket_or_quote_is_one_error() {
    let folder = Folder::new();
    let service = "\n[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\nidel-timeout = 5\n";
    for (line, expected) in [
        (
            "include = [\"x\"",
            vec![
                "cproxy.toml:1:12: x: No such file or directory",
                "cproxy.toml:2:1: expected `,` or `]`: is an array before this not closed?",
            ],
        ),
        (
            "include = [\"x\"\nzork = 5\n",
            vec![
                "cproxy.toml:1:12: x: No such file or directory",
                "cproxy.toml:2:6: unexpected `=` in an array: is a `]` missing before it?",
            ],
        ),
        (
            "io-threads = \"2",
            vec![
                "cproxy.toml:1:16: invalid basic string, expected `\"`",
                "cproxy.toml:5:1: unknown key `idel-timeout`; did you mean `idle-timeout`?",
            ],
        ),
        (
            "io-threads 2",
            vec![
                "cproxy.toml:1:12: key with no value, expected `=`",
                "cproxy.toml:5:1: unknown key `idel-timeout`; did you mean `idle-timeout`?",
            ],
        ),
        (
            "io-threads =",
            vec![
                "cproxy.toml:1:13: the value is missing",
                "cproxy.toml:5:1: unknown key `idel-timeout`; did you mean `idle-timeout`?",
            ],
        ),
        (
            "log-level = info",
            vec![
                "cproxy.toml:1:13: unknown value: a string must be in quotes",
                "cproxy.toml:5:1: unknown key `idel-timeout`; did you mean `idle-timeout`?",
            ],
        ),
    ] {
        assert_eq!(folder.errors(line.to_string() + service), expected, "{line}");
    }
}

#[test]
fn errors_follow_each_other_as_in_the_file() {
    let text = "zork = 1\n[service.b]\nx = 1\nlisten = 5\nremote = 5\n[service.a]\ny = 1\n";
    let places: Vec<_> = Folder::new().load(text).expect_err("errors").iter().map(|error| error.position).collect();
    let lines: Vec<_> = places.iter().map(|place| place.map_or(0, |place| place.line)).collect();
    assert_eq!(lines, [1, 3, 4, 5, 6, 6, 7]);
}

#[test]
fn what_is_missing_is_named() {
    let folder = Folder::new();
    assert_eq!(folder.errors(""), ["cproxy.toml: no service: add a table [service.NAME]"]);
    assert_eq!(folder.errors("io-threads = 2\n"), ["cproxy.toml: no service: add a table [service.NAME]"]);
    assert_eq!(
        folder.errors("[service.a]\n"),
        ["cproxy.toml:1:10: service `a` has no `listen`", "cproxy.toml:1:10: service `a` has no `remote`"]
    );
    assert_eq!(
        folder.errors("[service.a]\nlisten = []\nremote = {}\n"),
        [
            "cproxy.toml:2:10: `listen` is empty; expected a string with an address, or an array of such strings",
            "cproxy.toml:3:1: the remote has no `address`"
        ]
    );
    assert_eq!(
        folder.errors("service = 1\n"),
        ["cproxy.toml:1:1: `service` is a whole number; expected tables [service.NAME]"]
    );
    assert_eq!(
        folder.errors("service.a = 1\n"),
        ["cproxy.toml:1:9: `service.a` is a whole number; expected a table [service.a]"]
    );
    assert_eq!(
        folder.errors("[[service]]\n"),
        ["cproxy.toml:1:3: `service` is an array; expected tables [service.NAME]"]
    );
    assert_eq!(
        folder.errors("[service.a.b]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n")[2],
        "cproxy.toml:1:12: unknown key `b` of a service; a name with a dot in it is written in quotes: [service.\"a.b\"]"
    );
}

#[test]
fn duplicates_are_told_with_both_places() {
    let folder = Folder::new();
    let service = |name: &str, listen: &str| format!("[service.{name}]\nlisten = {listen}\nremote = \"echo:\"\n");
    for (first, second) in [
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:1", "tcp:::1:1"),
        ("127.0.0.1:1", "framed:127.0.0.1:1"),
        ("udp:127.0.0.1:1", "udp:127.0.0.1:1"),
        ("unix:/tmp/s", "unixgram:/tmp/s"),
    ] {
        let text = service("a", &format!("\"{first}\"")) + &service("b", &format!("\"{second}\""));
        let expected = format!(
            "cproxy.toml:5:10: duplicate listener {second}; the other one is at cproxy.toml:2:10, in service `a`"
        );
        assert_eq!(folder.errors(&text), [expected]);
        let text = service("a", &format!("[\"{first}\", \"{second}\"]"));
        assert_eq!(folder.errors(&text).len(), 1, "{text}");
    }
    for (first, second) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:1", "udp:127.0.0.1:1"),
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("0.0.0.0:1", "[::]:1"),
    ] {
        let text = service("a", &format!("[\"{first}\", \"{second}\"]"));
        assert!(folder.load(&text).is_ok(), "{text}");
    }
    assert_eq!(
        folder.errors(service("a", "\"127.0.0.1:1\"") + "\n" + &service("a", "\"127.0.0.1:2\"")),
        ["cproxy.toml:5:10: duplicate service `a`; the first one is in line 1"]
    );
    assert_eq!(folder.errors("io-threads = 1\nio-threads = 2\n"), ["cproxy.toml:2:1: duplicate key `io-threads`"]);
}

#[test]
fn what_is_no_file_is_an_error() {
    let folder = Folder::new();
    let error = |path: &str| match command(&["-c", path]) {
        Command::BadFile(errors) => errors.iter().map(|error| error.one_line()).collect::<Vec<_>>(),
        other => panic!("{path}: {other:?}"),
    };
    let path = folder.path().to_str().expect("a path");
    assert_eq!(error(path), [format!("{path}: Is a directory")]);
    assert_eq!(error("/absent"), ["/absent: No such file or directory"]);
    assert_eq!(error(""), ["'': No such file or directory"]);
    assert_eq!(folder.errors(vec![b'#'; (16 << 20) + 1]), ["cproxy.toml: the file is larger than 16 MiB"]);
    assert_eq!(folder.errors(b"a = 1\n\xc3\xa9 \xff = 2\n"), ["cproxy.toml:2:3: this is not valid UTF-8"]);
}

#[test]
fn what_is_long_or_deep_is_an_error() {
    let folder = Folder::new();
    for text in [
        "a = ".to_string() + &"[".repeat(200_000),
        "a = ".to_string() + &"{a=".repeat(200_000),
        format!("[{}a]\n", "a.".repeat(200_000)),
        format!("{}a = 1\n", "a.".repeat(200_000)),
        format!("service.{}a = 1\n", "a.".repeat(200_000)),
        "\"".repeat(300_000),
        "=\n".repeat(100_000),
        "a = 1\n".repeat(100_000),
        (0..20_000).map(|n| format!("key-{n} = 1\n")).collect(),
        format!("{} = 1\n", "k".repeat(1_000_000)),
        format!("io-threads = \"{}\"\n", "9".repeat(1_000_000)),
        "=\n".repeat(8 << 20),
    ] {
        let errors = folder.load(&text).expect_err("errors");
        assert!(errors.len() <= 101, "{}", errors.len());
        for error in errors {
            assert!(error.to_string().len() < 3_000 && !error.one_line().contains('\n'), "{error}");
        }
    }
    let last = folder.errors((0..200).map(|n| format!("key-{n} = 1\n")).collect::<String>()).pop();
    assert_eq!(last.as_deref(), Some("cproxy.toml: and 100 more errors"));
}
