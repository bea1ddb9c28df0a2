//! Several remotes: how a file writes them, and what is said of bad ones.

use crate::support::{Folder, command, load};
use cproxy::cli::Command;
use cproxy::config::file::print;
use cproxy::config::settings::Settings;

/// A service with this in it, from line 3 on.
fn with(text: &str) -> String {
    format!("[service.a]\nlisten = \"127.0.0.1:1\"\n{text}\n")
}

/// The address, weight, backup and max of each remote.
fn remotes(settings: &Settings) -> Vec<(&str, u16, bool, Option<u32>)> {
    let remotes = settings.services[0].remotes.iter();
    remotes.map(|r| (r.endpoints.argument.as_str(), r.weight, r.is_backup, r.max_sessions)).collect()
}

#[test]
fn a_remote_may_be_a_table() {
    let plain = load(&with("remote = \"127.0.0.1:2\""));
    for remote in [
        "remote = { address = \"127.0.0.1:2\" }",
        "remote = [{ address = \"127.0.0.1:2\" }]",
        "remote = [\"127.0.0.1:2\"]",
        "remote.address = \"127.0.0.1:2\"",
        "[service.a.remote]\naddress = \"127.0.0.1:2\"",
        "[[service.a.remote]]\naddress = \"127.0.0.1:2\"\nweight = 1\nbackup = false",
    ] {
        assert_eq!(load(&with(remote)), plain, "{remote}");
    }
}

#[test]
fn several_remotes_are_strings_or_tables() {
    let expected = load(&with("remote = [\"127.0.0.1:2,weight=3\", \"127.0.0.1:3,backup,max=5\", \"echo:\"]"));
    assert_eq!(
        remotes(&expected),
        [("127.0.0.1:2", 3, false, None), ("127.0.0.1:3", 1, true, Some(5)), ("echo:", 1, false, None)]
    );
    for text in [
        "remote = [{ address = \"127.0.0.1:2\", weight = 3 }, \"127.0.0.1:3,backup,max=5\", { address = \"echo:\" }]",
        "remote = [\"127.0.0.1:2,weight=3\", { max = \"5\", backup = true, address = \"127.0.0.1:3\" }, \"echo:\"]",
        "[[service.a.remote]]\naddress = \"127.0.0.1:2\"\nweight = 3\n\
         [[service.a.remote]]\naddress = \"127.0.0.1:3\"\nbackup = true\nmax = 5\n\
         [[service.a.remote]]\naddress = \"echo:\"",
    ] {
        assert_eq!(load(&with(text)), expected, "{text}");
    }
}

#[test]
fn in_a_table_the_address_is_the_whole_string() {
    let text = with("remote = [{ address = \"unix:/a,backup\", weight = 2 }, \"unix:/a,backup\"]");
    let settings = load(&text);
    assert_eq!(remotes(&settings), [("unix:/a,backup", 2, false, None), ("unix:/a", 1, true, None)]);
    let printed = print(&settings);
    let line = "remote = [{ address = \"unix:/a,backup\", weight = 2 }, \"unix:/a,backup\"]\n";
    assert!(printed.contains(line), "{printed}");
    assert_eq!(load(&printed), settings);
    let folder = Folder::new();
    assert_eq!(
        folder.errors(with("remote.address = \"127.0.0.1:2,weight=2\"")),
        ["cproxy.toml:3:18: invalid address 127.0.0.1:2,weight=2: in a table, options are keys beside `address`"]
    );
}

#[test]
fn what_is_wrong_with_a_remote_has_its_place() {
    let folder = Folder::new();
    let weight = "expected a whole number from 1 to 256";
    for (text, expected) in [
        (
            "remote = []",
            vec!["3:10: `remote` is empty; expected a string with an address, or an array of such strings".to_string()],
        ),
        (
            "remote = 5",
            vec![
                "3:10: `remote` is a whole number; expected a string with an address, or an array of such strings"
                    .into(),
            ],
        ),
        (
            "remote = [\"echo:\", 5]",
            vec!["3:20: a whole number in the array of `remote`; expected a string with an address".into()],
        ),
        (
            "remote = [\"127.0.0.1:2\", \"127.0.0.1:3,wait=5\"]",
            vec![
                "3:26: invalid option 'wait=5' of remote 127.0.0.1:3,wait=5: expected weight=<n>, backup or max=<n>"
                    .into(),
            ],
        ),
        (
            "remote = { address = \"echo:\", weight = 0, max = -1, backup = 1 }",
            vec![
                format!("3:40: invalid weight 0: {weight}"),
                "3:49: invalid max -1: expected a whole number above 0".into(),
                "3:62: `backup` is a whole number; expected true or false".into(),
            ],
        ),
        (
            "[[service.a.remote]]\naddress = \"echo:\"\n[[service.a.remote]]\nwieght = 3\nadress = \"x\"",
            vec![
                "6:1: unknown key `wieght`; did you mean `weight`?".into(),
                "7:1: unknown key `adress`; did you mean `address`?".into(),
            ],
        ),
        (
            "[[service.a.remote]]\naddress = \"echo:\"\n[[service.a.remote]]\nweight = 3",
            vec!["5:1: the remote has no `address`".into()],
        ),
        (
            "remote = [\"127.0.0.1:2\", { address = \"tcp:127.0.0.1:2\", weight = 5 }]",
            vec!["3:38: duplicate remote tcp:127.0.0.1:2: the service has it already as 127.0.0.1:2".into()],
        ),
        (
            "remote = [\"echo:\", \"127.0.0.1:1\"]",
            vec![
                "3:20: remote 127.0.0.1:1 of service a: it is the proxy's own listener 127.0.0.1:1 of service a, \
             so that each client would be connected to the proxy again"
                    .into(),
            ],
        ),
        (
            "remote = \"echo:\"\ncheck-expect = \"x\"\non-down = \"reset\"",
            vec![
                "4:16: invalid check expect: nothing is checked without a check-interval".into(),
                "5:11: invalid on down reset: no remote is found down without a check-interval".into(),
            ],
        ),
        // That nothing is checked follows from what is wrong.
        (
            "remote = \"echo:\"\ncheck-expect = \"x\"\ncheck-interval = \"1x\"",
            vec![
                "5:18: invalid check interval 1x: expected a number with ms, s, m or h, such as 500ms, 30s, 5m or 1h"
                    .into(),
            ],
        ),
    ] {
        let expected: Vec<_> = expected.iter().map(|error| format!("cproxy.toml:{error}")).collect();
        assert_eq!(folder.errors(with(text)), expected, "{text}");
    }
}

/// Wherever the key that decides about it stands.
#[test]
fn a_name_without_an_address_is_an_error_at_its_place_or_a_warning() {
    let folder = Folder::new();
    let names = "remote = [\"echo:\", { address = \"no.such.host.invalid:5\" }]";
    for text in [names.to_string(), format!("{names}\nresolve = 0"), format!("resolve = \"0s\"\n{names}")] {
        let errors = folder.errors(with(&text));
        let line = if text.starts_with("resolve") { 4 } else { 3 };
        let expected = format!("cproxy.toml:{line}:32: error resolving address no.such.host.invalid:5 ");
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{errors:?}");
    }
    for text in [format!("{names}\nresolve = \"5s\""), format!("resolve = 5\n{names}")] {
        let file = folder.write("cproxy.toml", with(&text));
        let file = file.to_str().expect("a path");
        let Command::Run(settings, warnings, _) = command(&["-c", file]) else { panic!("{text}") };
        assert_eq!(settings.services[0].remotes[1].endpoints.addresses, []);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.starts_with("service a: error resolving address no.such.host.invalid:5 "), "{warning}");
        assert!(warning.ends_with("; it is looked up again every 5s"), "{warning}");
        // It is the same when it is read again.
        assert_eq!(folder.load(print(&settings)).as_ref(), Ok(&*settings));
    }
}

#[test]
fn text_of_checks_is_read_from_both_kinds_of_strings() {
    let load = |send: &str| load(&with(&format!("remote = \"echo:\"\ncheck-interval = 1\ncheck-send = {send}")));
    let expected = load(r"'PING\r\n'");
    assert_eq!(expected.services[0].pool.check.send, b"PING\r\n");
    for send in [r#""PING\r\n""#, r#""PING\\r\\n""#, r#"'PING\x0d\x0A'"#] {
        assert_eq!(load(send), expected, "{send}");
    }
    assert!(print(&expected).ends_with("check-send = 'PING\\r\\n'\n"));
    assert_eq!(load(r"'\xff'").services[0].pool.check.send, [0xff]);
}
