//! The rules of who may come in: where they are written, and what is wrong with them.

use crate::support::{Folder, command, run};
use cproxy::cli::Command;
use cproxy::config::access::Clients;
use cproxy::config::settings::ServiceSettings;

fn rules(service: &ServiceSettings) -> Vec<String> {
    service.access.iter().map(ToString::to_string).collect()
}

fn service(more: &str) -> String {
    format!("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n{more}\n")
}

const BOTH: [&str; 4] = ["-l", "127.0.0.1:1", "-r", "echo:"];

#[test]
fn flags_keep_their_common_order() {
    let options = ["--deny=10.1.0.0/16", "--allow", "10.0.0.0/8", "-n", "--allow=unix", "--deny=::1", "--allow=::/0"];
    let settings = run(&[&options[..3], &BOTH, &options[3..]].concat());
    let expected = ["deny 10.1.0.0/16", "allow 10.0.0.0/8", "allow unix", "deny ::1", "allow ::/0"];
    assert_eq!(rules(&settings.services[0]), expected);
    assert_eq!(rules(&run(&BOTH).services[0]), Vec::<String>::new());
}

#[test]
fn a_file_has_the_rules_of_a_service_in_one_array() {
    let folder = Folder::new();
    let text = service("access = [\"deny 10.1.0.0/16\", \" allow\\t 10.0.0.0/8\", \"deny all\"]");
    let settings = folder.load(&text).expect("a good file");
    assert_eq!(rules(&settings.services[0]), ["deny 10.1.0.0/16", "allow 10.0.0.0/8", "deny all"]);
    let one = folder.load(service("access = \"allow unix\"")).expect("a good file");
    assert_eq!(rules(&one.services[0]), ["allow unix"]);
    assert_eq!(folder.load(service("access = []")).expect("a good file").services[0].access, []);
}

#[test]
fn what_is_printed_of_flags_is_a_file() {
    let folder = Folder::new();
    let list = folder.write("my list", "10.0.0.0/8 # ours\n\n::1\n");
    let file = format!("--allow=@{}", list.display());
    let Command::Print(text) = command(&[&BOTH[..], &["--deny=10.1.0.0/16", &file, "--print-config"]].concat()) else {
        panic!("no text");
    };
    let expected = format!("access = [\"deny 10.1.0.0/16\", \"allow @{}\"]\n", list.display());
    assert!(text.ends_with(&expected), "{text}");
    let settings = folder.load(&text).expect("a good file");
    assert!(matches!(&settings.services[0].access[1].clients, Clients::Listed(file) if file.path == list));
}

#[test]
fn a_file_of_networks_is_beside_the_file_that_names_it() {
    let folder = Folder::new();
    let list = folder.write("conf.d/list", "10.0.0.0/8\n");
    folder.write("conf.d/a.toml", service("access = \"deny @list\""));
    let settings = folder.load("include = \"conf.d/a.toml\"\n").expect("a good file");
    assert_eq!(rules(&settings.services[0]), [format!("deny @{}", list.display())]);
    let before = settings.clone();
    // The same path, and something else in it.
    folder.write("conf.d/list", "10.0.0.0/9\n10.128.0.0/9 # the same networks\n");
    assert_eq!(folder.load("include = \"conf.d/a.toml\"\n").expect("a good file"), before);
    folder.write("conf.d/list", "10.0.0.0/9\n");
    assert_ne!(folder.load("include = \"conf.d/a.toml\"\n").expect("a good file"), before);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = Folder::new();
    let list = folder.write("list", "10.0.0.0/8\n# x\n10.0.0.300\n");
    let missing = folder.write("x", "").with_file_name("missing");
    for (rule, expected) in [
        ("permit all", "invalid access permit all: expected `allow` or `deny`, and a network".to_string()),
        ("allow", "invalid access allow: expected `allow` or `deny`, and a network".to_string()),
        (
            "allow everybody",
            "invalid allow everybody: expected an address, a network such as 10.0.0.0/8, all, unix, or @ and the path of a file".into(),
        ),
        ("deny 10.1.2.3/8", "invalid deny 10.1.2.3/8: the address has bits after the first 8; its network is 10.0.0.0/8".into()),
        ("deny @", "invalid deny @: the path is empty".to_string()),
        ("deny @missing", format!("invalid deny @missing: {}: No such file or directory", missing.display())),
        ("deny @.", format!("invalid deny @.: {}: not a regular file", list.parent().expect("a folder").display())),
        (
            "deny @list",
            format!(
                "invalid deny @list: {}: line 3: 10.0.0.300: expected an IPv4 or IPv6 address, perhaps with a / and the \
                 length of its network behind it",
                list.display()
            ),
        ),
    ] {
        let errors = folder.load(service(&format!("access = [\"allow ::1\", \"{rule}\"]"))).expect_err(rule);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].one_line().ends_with(&format!("cproxy.toml:4:24: {expected}")), "{}\n{expected}", errors[0]);
    }
    let errors = folder.load(service("allow = \"all\"")).expect_err("no key of a file");
    assert!(
        errors[0].message.contains(
            "`allow` is one of the rules of `access`, as their order counts: access = [\"allow 10.0.0.0/8\"]"
        ),
        "{}",
        errors[0]
    );
    let Command::Usage { complaint: Some(message), .. } = command(&["-c", "/none", "--deny=all"]) else {
        panic!("no usage")
    };
    assert!(
        message
            .contains("--deny is a rule of a service: with --config (-c), it belongs in the file, as one of `access`"),
        "{message}"
    );
}

#[test]
fn rules_that_do_nothing_are_told_of() {
    let Command::Print(text) = command(&[&BOTH[..], &["--allow=::1", "--deny=all", "--allow=::2", "--check"]].concat())
    else {
        panic!("no text");
    };
    let expected = "`deny all` matches every client, so the rules after it, from `allow ::2` on, do nothing\n";
    assert!(text.starts_with(expected), "{text}");
    if cfg!(target_os = "linux") {
        let text = "[service.a]\nlisten = \"tun:tun7\"\nremote = \"udp:127.0.0.1:1\"\naccess = \"deny all\"\n";
        let errors = Folder::new().load(text).expect_err("useless");
        assert!(errors[0].message.contains("invalid access: the service listens at devices only"), "{}", errors[0]);
    }
}

#[test]
fn times_are_read_shown_and_judged() {
    let folder = Folder::new();
    let flags = ["--allow-time=Mon-Fri 08:00-18:00", "--end-outside-time", "--allow-time", "Sat-Mon 22:00-06:00"];
    let Command::Print(text) = command(&[&BOTH[..], &flags, &["--print-config"]].concat()) else { panic!("no text") };
    assert!(text.contains("allow-time = [\"Mon-Fri 08:00-18:00\", \"Sat-Mon 22:00-06:00\"]\n"), "{text}");
    assert!(text.contains("end-outside-time = true\n"), "{text}");
    let wanted = run(&[&BOTH[..], &flags].concat()).services[0].hours.clone();
    assert_eq!(folder.load(&text).expect("a good file").services[0].hours, wanted);
    assert!(wanted.end_outside && wanted.rules.len() == 2);
    for (more, expected) in [
        (
            "allow-time = [\"Mon 08:00-09:00\", \"Mon-Fry 08:00-09:00\"]",
            "4:34: invalid allow time Mon-Fry 08:00-09:00: `Fry` is no day: expected Mon, Tue, Wed, Thu, Fri, Sat or Sun, or \
             daily alone",
        ),
        (
            "allow-time = \"8-18\"",
            "4:14: invalid allow time 8-18: `8` is no time: expected hours and minutes, such as 08:00",
        ),
        (
            "end-outside-time = true",
            "4:20: invalid end-outside-time: without an allow-time there is no time that is over",
        ),
    ] {
        let errors = folder.load(service(more)).expect_err(more);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].one_line().ends_with(expected), "{}\n{expected}", errors[0]);
    }
    if cfg!(target_os = "linux") {
        for (listen, more, what) in [
            ("\"tun:tun7\"", "allow-time = \"8:00-9:00\"", "invalid allow-time: the service listens at devices only"),
            (
                "[\"tun:tun7\", \"udp:127.0.0.1:2\"]",
                "allow-time = \"8:00-9:00\"\nend-outside-time = true",
                "invalid end-outside-time: the service listens at a device",
            ),
        ] {
            let text = format!("[service.a]\nlisten = {listen}\nremote = \"udp:127.0.0.1:1\"\n{more}\n");
            let errors = Folder::new().load(text).expect_err("useless");
            assert!(errors.len() == 1 && errors[0].message.contains(what), "{}", errors[0]);
        }
    }
}
