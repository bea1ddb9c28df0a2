//! Options of stripes: where their files are, what is wrong with them, and what is warned of.

use crate::support::{Folder, command, run};
use cproxy::address::EndpointAddress;
use cproxy::cli::Command;
use cproxy::config::file::{ConfigSource, Overrides};
use cproxy::config::settings::ServiceSettings;
use cproxy::config::striping::{StripeMode, StripeSettings};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
const ONES: &str = "//////////////////////////////////////////8=\n";

/// Writes a file of keys that only its owner can read.
fn write_key(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.write(name, text);
    set_permissions(&path, Permissions::from_mode(0o600)).expect("the mode");
    path
}

fn service(listen: &str, remote: &str, more: &str) -> String {
    format!("[service.a]\nlisten = \"{listen}\"\nremote = \"{remote}\"\n{more}")
}

fn key_path(service: &ServiceSettings) -> PathBuf {
    service.stripe.keys.as_ref().expect("keys").path.clone()
}

#[test]
fn every_option_has_its_value() {
    let both = ["-l", "127.0.0.1:1", "-r", "stripe:127.0.0.1:2"];
    assert_eq!(run(&both).services[0].stripe, StripeSettings::default());
    let default = StripeSettings::default();
    assert_eq!((default.lanes, default.window, default.mode), (4, 16 << 20, StripeMode::UntilCongested));
    assert_eq!((default.lane_timeout, default.lane_sources.len(), default.keys), (Duration::from_secs(30), 0, None));
    let options = [
        "--lanes=8",
        "--lane-source=192.0.2.1",
        "--lane-timeout=1m",
        "--lane-source=::1",
        "--stripe-window=64k",
        "--stripe-mode=redundant",
    ];
    let expected = StripeSettings {
        lanes: 8,
        lane_sources: vec!["192.0.2.1".parse().expect("an address"), "::1".parse().expect("an address")],
        lane_timeout: Duration::from_secs(60),
        window: 65536,
        mode: StripeMode::Redundant,
        keys: None,
    };
    assert_eq!(run(&[&both[..], &options].concat()).services[0].stripe, expected);
    // Where there is no stripe they have no effect, as `--keepalive` has none where there is no TCP.
    assert_eq!(run(&[&["-l", "127.0.0.1:1", "-r", "echo:"][..], &options].concat()).services[0].stripe, expected);
    let more = "lanes = 8\nlane-source = [\"192.0.2.1\", \"::1\"]\nlane-timeout = 60\nstripe-window = 65536\n\
                stripe-mode = \"redundant\"\n";
    let settings = Folder::new().load(service("127.0.0.1:1", "stripe:127.0.0.1:2", more)).expect("a good file");
    assert_eq!(settings.services[0].stripe, expected);
}

#[test]
fn an_argument_is_one_address_however_many_it_stands_for() {
    let settings = run(&["-l", "stripe:localhost:1", "-r", "stripe:localhost:2+localhost:3"]);
    let service = &settings.services[0];
    let remote = &service.remotes[0].endpoints;
    let [EndpointAddress::Stripe(remote)] = &remote.addresses[..] else { panic!("{remote:?}") };
    assert_eq!(remote.targets.len(), 2);
    // A listener is at the first only, so that it is the same one whatever comes after that in another answer.
    let [EndpointAddress::Stripe(listener)] = &service.listeners[0].addresses[..] else { panic!("{service:?}") };
    assert_eq!(listener.targets, [vec![std::net::SocketAddr::new(remote.first().ip(), 1)]]);
}

#[test]
fn what_is_wrong_with_a_key_is_said_at_its_place() {
    let folder = Folder::new();
    folder.write("empty.key", "# nothing\n");
    folder.write("bad.key", ZEROS.to_string() + "secret\n");
    folder.write("three.key", ZEROS.repeat(3));
    folder.write("good.key", ZEROS);
    folder.write("bytes.key", b"\xff\n");
    folder.write("large.key", "#".repeat((64 << 10) + 1));
    for (value, expected) in [
        ("\"absent.key\"", "14: invalid stripe key absent.key: No such file or directory"),
        ("\"empty.key\"", "14: invalid stripe key empty.key: no key is in the file"),
        ("\"bad.key\"", "14: invalid stripe key bad.key: line 2 is not a key: 32 bytes in base64"),
        ("\"three.key\"", "14: invalid stripe key three.key: more than 2 keys are in the file"),
        ("\"bytes.key\"", "14: invalid stripe key bytes.key: stream did not contain valid UTF-8"),
        ("\"large.key\"", "14: invalid stripe key large.key: the file is larger than 64 KiB"),
        ("\".\"", "14: invalid stripe key .: not a regular file"),
        ("\"\"", "14: invalid stripe key : the path is empty"),
        ("5", "14: `stripe-key` is a whole number; expected a string with the path of a file"),
        ("[\"good.key\"]", "14: `stripe-key` is an array; expected a string with the path of a file"),
    ] {
        let text = service("127.0.0.1:1", "stripe:127.0.0.1:2", &format!("stripe-key = {value}\n"));
        assert_eq!(folder.errors(text), [format!("cproxy.toml:4:{expected}")], "{value}");
    }
}

#[test]
fn errors_of_stripes_in_a_file_have_their_places() {
    let folder = Folder::new();
    let text = service(
        "stripe:127.0.0.1:1+127.0.0.1:2",
        "stripe:udp:127.0.0.1:2",
        "lanes = 33\nlane-source = [\"192.0.2.1\", \"localhost\", 5]\nlane-timeout = 0\nstripe-window = \"2g\"\n\
         stripe-mode = \"fast\"\n",
    );
    assert_eq!(
        folder.errors(text),
        [
            "cproxy.toml:2:10: invalid listen address stripe:127.0.0.1:1+127.0.0.1:2: several addresses with + between \
             them can only be a remote (-r); give each its own -l",
            "cproxy.toml:3:10: invalid address:port argument: 'stripe:udp:127.0.0.1:2': stripe: takes TCP addresses \
             only, and none of udp:",
            "cproxy.toml:4:9: invalid lanes 33: more than 32",
            "cproxy.toml:5:29: invalid lane source localhost: expected an IPv4 or IPv6 address",
            "cproxy.toml:5:42: a whole number in the array of `lane-source`; expected a string with an IPv4 or IPv6 address",
            "cproxy.toml:6:16: invalid lane timeout 0: expected more than 0",
            "cproxy.toml:7:17: invalid stripe window 2g: more than 1073741824",
            "cproxy.toml:8:15: invalid stripe mode fast: expected until-congested, round-robin or redundant",
        ]
    );
    // Its lanes would come in at the other listener's address, or go to it.
    let text =
        service("127.0.0.1:1", "echo:", "[service.b]\nlisten = \"framed:stripe:127.0.0.1:1\"\nremote = \"echo:\"\n");
    let expected = "duplicate listener framed:stripe:127.0.0.1:1; the other one is at cproxy.toml:2:10, in service `a`";
    assert_eq!(folder.errors(text), [format!("cproxy.toml:5:10: {expected}")]);
    let errors = folder.errors(service("127.0.0.1:1", "stripe:192.0.2.1:1+127.0.0.1:1", ""));
    let expected =
        "cproxy.toml:3:10: remote stripe:192.0.2.1:1+127.0.0.1:1 of service a: it is the proxy's own listener";
    assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}");
}

/// Somebody would believe that what is sent is encrypted.
#[test]
fn a_key_without_a_stripe_is_an_error() {
    let folder = Folder::new();
    let path = write_key(&folder, "a.key", ZEROS);
    let path = path.to_str().expect("a path");
    let expected =
        format!("invalid stripe key {path}: the service has no stripe: address, so nothing would be encrypted");
    for more in [&[][..], &["--check"], &["--print-config"]] {
        let arguments = ["-l", "127.0.0.1:1", "-r", "framed:127.0.0.1:2", "--stripe-key", path];
        match command(&[&arguments[..], more].concat()) {
            Command::Invalid(message) => assert_eq!(message, expected),
            other => panic!("{other:?}"),
        }
    }
    let text = service("127.0.0.1:1", "127.0.0.1:2", "stripe-key = \"a.key\"\n");
    let found = folder.load(text).expect_err("an error");
    let file = folder.path().join("cproxy.toml");
    assert_eq!(found[0].one_line(), format!("{}:4:14: {expected}", file.display()));
    assert_eq!(found.len(), 1);
    for (listen, remote) in [("framed:stripe:127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:1", "stripe:127.0.0.1:2")] {
        assert!(folder.load(service(listen, remote, "stripe-key = \"a.key\"\n")).is_ok(), "{listen} {remote}");
    }
}

#[test]
fn a_path_is_relative_to_the_folder_of_its_file_and_printed_whole() {
    let folder = Folder::new();
    let keys = [write_key(&folder, "main.key", ZEROS), write_key(&folder, "conf.d/more.key", ONES)];
    let included = service("127.0.0.1:1", "stripe:192.0.2.1:2", "stripe-key = \"more.key\"\n");
    folder.write("conf.d/b.toml", included.replace("service.a", "service.b"));
    let main = service("127.0.0.1:2", "stripe:192.0.2.1:2", "stripe-key = \"./main.key\"\n");
    let main = folder.write("cproxy.toml", format!("include = \"conf.d/*.toml\"\n{main}"));
    let main = main.to_str().expect("a path");
    let settings = run(&["-c", main]);
    for (service, key) in settings.services.iter().zip(&keys) {
        assert_eq!(key_path(service), *key);
    }
    assert_ne!(settings.services[0].stripe.keys, settings.services[1].stripe.keys);
    let Command::Print(text) = command(&["-c", main, "--print-config"]) else { panic!("a good file") };
    assert!(text.contains(&format!("stripe-key = \"{}\"\n", keys[1].display())), "{text}");
    // The path is all that is said of a key.
    for secret in [ZEROS.trim_end(), ONES.trim_end(), "0, 0, 0", "255"] {
        assert!(!text.contains(secret) && !format!("{settings:?}").contains(secret), "{text}\n{settings:?}");
    }
    // Wherever what was printed is put, it means the same.
    assert_eq!(Folder::new().load(&text).as_ref(), Ok(&settings));
}

#[test]
fn a_key_that_was_made_is_a_key() {
    let folder = Folder::new();
    let made = || match command(&["--make-key", "--lanes=bad"]) {
        Command::Print(text) => text,
        other => panic!("{other:?}"),
    };
    let (one, other) = (made(), made());
    assert!(one != other && one.len() == 45 && one.ends_with("=\n"), "{one:?} {other:?}");
    let key = write_key(&folder, "a.key", &(one + &other));
    let arguments = ["-l", "stripe:127.0.0.1:1", "-r", "echo:", "--stripe-key", key.to_str().expect("a path")];
    assert_eq!(run(&arguments).services[0].stripe.keys.as_ref().map(|file| file.keys.len()), Some(2));
}

#[test]
fn a_path_of_the_command_line_is_relative_to_the_current_folder_and_kept_whole() {
    let folder = Folder::new();
    let key = write_key(&folder, "a.key", ZEROS);
    let current = std::env::current_dir().expect("a folder");
    let up = "../".repeat(current.components().count() - 1);
    let relative = format!("{up}{}", key.strip_prefix("/").expect("a path").display());
    let settings = run(&["-l", "127.0.0.1:1", "-r", "stripe:127.0.0.1:2", "--stripe-key", &relative]);
    assert_eq!(key_path(&settings.services[0]), current.join(&relative));
    // A file elsewhere says the same.
    let printed = cproxy::config::file::print(&settings);
    assert_eq!(folder.load(&printed).expect("a good file").services[0].stripe, settings.services[0].stripe);
}

#[test]
fn a_file_that_is_read_again_has_the_keys_that_are_there_now() {
    let folder = Folder::new();
    write_key(&folder, "a.key", ZEROS);
    let text = service("127.0.0.1:1", "stripe:192.0.2.1:2", "stripe-key = \"a.key\"\n");
    let source = ConfigSource { path: folder.write("cproxy.toml", text), overrides: Overrides::default() };
    let load = || source.load().expect("a good file").services.remove(0);
    let first = load();
    assert!(first.is_same_for_sessions(&load()));
    write_key(&folder, "a.key", &(ONES.to_string() + ZEROS));
    let second = load();
    assert!(!first.is_same_for_sessions(&second) && first != second);
    assert_eq!(second.stripe.keys.as_ref().map(|file| file.keys.len()), Some(2));
    write_key(&folder, "a.key", ZEROS);
    assert_eq!(load(), first);
    write_key(&folder, "a.key", "");
    assert!(source.load().is_err());
}

#[test]
fn a_stripe_without_a_key_is_warned_of() {
    let folder = Folder::new();
    let key = write_key(&folder, "a.key", ZEROS);
    let key = key.to_str().expect("a path");
    let warning =
        "without a key (--stripe-key) anybody on the way can read and change what its lanes carry, and add lanes";
    let open = ["-l", "stripe:0.0.0.0:1", "-r", "127.0.0.1:2"];
    let good = "the command line is good: 1 service, 1 listener\n";
    for (arguments, expected) in [
        ([&open[..], &["--check"]].concat(), format!("listener stripe:0.0.0.0:1: {warning}\n{good}")),
        ([&open[..], &["--check", "--stripe-key", key]].concat(), good.to_string()),
        (vec!["-l", "stripe:127.0.0.1:1", "-r", "127.0.0.1:2", "--check"], good.to_string()),
    ] {
        match command(&arguments) {
            Command::Print(text) => assert_eq!(text, expected),
            other => panic!("{other:?}"),
        }
    }
    let Command::Print(text) = command(&[&open[..], &["--print-config"]].concat()) else { panic!("a good line") };
    assert!(text.starts_with(&format!("# listener stripe:0.0.0.0:1: {warning}\n[service.default]\n")), "{text}");
    match command(&open) {
        Command::Run(_, warnings, None) => assert_eq!(warnings, [format!("listener stripe:0.0.0.0:1: {warning}")]),
        other => panic!("{other:?}"),
    }
    // In a file, the service is named.
    let main = folder.write("cproxy.toml", service("127.0.0.1:1", "framed:stripe:192.0.2.1:2", ""));
    match command(&["-c", main.to_str().expect("a path"), "--check"]) {
        Command::Print(text) => {
            assert!(text.starts_with(&format!("service a: remote framed:stripe:192.0.2.1:2: {warning}\n")), "{text}");
        }
        other => panic!("{other:?}"),
    }
    set_permissions(key, Permissions::from_mode(0o644)).expect("the mode");
    match command(&[&open[..], &["--stripe-key", key]].concat()) {
        Command::Run(_, warnings, None) => assert_eq!(
            warnings,
            [format!("stripe key {key}: others than its owner can use the file; it should have the mode 0600")]
        ),
        other => panic!("{other:?}"),
    }
}
