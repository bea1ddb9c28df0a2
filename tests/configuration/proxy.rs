//! The PROXY protocol: what its options come to, and what is wrong with them.

use crate::support::{Folder, command, load, run};
use cproxy::cli::Command;
use cproxy::config::proxy::{HeaderOf, ProxySettings};
use cproxy::proxy_header::Version;

const BOTH: [&str; 4] = ["-l", "127.0.0.1:1", "-r", "127.0.0.1:2"];

fn flags(more: &[&str]) -> ProxySettings {
    run(&[&BOTH, more].concat()).services.remove(0).proxy
}

fn service(more: &str) -> String {
    format!("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"127.0.0.1:2\"\n{more}\n")
}

fn printed(more: &[&str]) -> String {
    let Command::Print(text) = command(&[&BOTH, more, &["--print-config"]].concat()) else { panic!("no text") };
    text
}

#[test]
fn whoever_names_senders_takes_headers() {
    assert_eq!(flags(&[]), ProxySettings::default());
    assert_eq!(flags(&["--send-proxy=v1"]).send, Some(Version::V1));
    let proxy = flags(&["--accept-proxy-from", "10.0.0.0/8", "--accept-proxy-from=unix", "--send-proxy", "v2"]);
    let senders: Vec<_> = proxy.accept_from.iter().map(ToString::to_string).collect();
    assert_eq!(
        (proxy.accept, proxy.send, senders),
        (true, Some(Version::V2), vec!["10.0.0.0/8".into(), "unix".into()])
    );
    assert!(flags(&["--accept-proxy"]).accept);
    // In either order.
    for text in
        ["accept-proxy = false\naccept-proxy-from = \"unix\"", "accept-proxy-from = [\"unix\"]\naccept-proxy = false"]
    {
        assert!(load(&service(text)).services[0].proxy.accept);
    }
    assert!(!load(&service("accept-proxy = false")).services[0].proxy.accept);
    let first = load(
        "[service.a]\nlisten = \"udp:127.0.0.1:1\"\nremote = \"127.0.0.1:2\"\naccept-proxy = true\nproxy-datagrams = \"first\"\n",
    );
    assert_eq!(first.services[0].proxy.datagrams, HeaderOf::First);
}

#[test]
fn what_is_printed_is_what_was_written() {
    let text =
        printed(&["--accept-proxy-from=localhost", "--accept-proxy-from=::1", "--send-proxy=v1", "--accept-proxy"]);
    assert!(text.ends_with("send-proxy = \"v1\"\naccept-proxy-from = [\"localhost\", \"::1\"]\n"), "{text}");
    assert!(printed(&["--accept-proxy"]).ends_with("\naccept-proxy = true\n"));
    let folder = Folder::new();
    let list = folder.write("list", "10.0.0.0/8\n");
    let settings = folder.load(service("accept-proxy-from = \"@list\"")).expect("a good file");
    assert_eq!(settings.services[0].proxy.accept_from[0].to_string(), format!("@{}", list.display()));
}

/// Who writes that nobody is believed, or that nobody comes in at any time, would get the opposite.
#[test]
fn an_empty_array_that_would_open_a_door_is_refused() {
    let folder = Folder::new();
    for (key, column) in [("accept-proxy-from", 21), ("allow-time", 14)] {
        let errors = folder.errors(service(&format!("accept-proxy = true\n{key} = []")));
        let expected = format!("cproxy.toml:5:{column}: `{key}` is empty; expected ");
        assert!(errors.len() == 1 && errors[0].starts_with(&expected), "{errors:?}");
    }
    assert!(folder.load(service("lane-source = []\naccess = []")).is_ok());
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let folder = Folder::new();
    let remote = |remote: &str, more: &str| service(more).replace("\"127.0.0.1:2\"", remote);
    for (text, place, message) in [
        (service("send-proxy = \"v3\""), "4:14", "invalid send proxy v3: expected v1 or v2"),
        (service("proxy-datagrams = \"all\""), "4:19", "invalid proxy datagrams all: expected each or first"),
        (
            service("accept-proxy-from = [\"unix\", \"10.0.0.1/8\"]"),
            "4:30",
            "invalid accept proxy from 10.0.0.1/8: the address has bits after the first 8; its network is 10.0.0.0/8",
        ),
        (
            service("proxy-datagrams = \"first\"\nsend-proxy = \"v1\""),
            "4:19",
            "invalid proxy datagrams first: no datagrams of the service have headers",
        ),
        (
            remote("[\"127.0.0.1:2\", \"udp:127.0.0.1:53\"]", "send-proxy = \"v1\""),
            "4:14",
            "invalid send proxy v1: version 1 cannot speak of datagrams, which go to udp:127.0.0.1:53; v2 can",
        ),
        (
            remote("\"echo:\"", "send-proxy = \"v2\""),
            "4:14",
            "invalid send proxy v2: no header is sent to echo: or to a device, and the service has no other remote",
        ),
    ] {
        assert_eq!(folder.errors(&text), [format!("cproxy.toml:{place}: {message}")], "{text}");
    }
    let text = ["-l", "unix:/tmp/a", "-r", "127.0.0.1:1", "--send-proxy=v1", "--check"];
    let Command::Print(text) = command(&text) else { panic!("no text") };
    assert!(text.starts_with("the headers of send-proxy v1 only say UNKNOWN"), "{text}");
}
