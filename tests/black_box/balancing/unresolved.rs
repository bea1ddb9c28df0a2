//! A name that has no address when the program starts, with `--resolve`.

use std::time::{Duration, Instant};

use super::servers::{Server, clients, shares};
use crate::support::system::replacing;
use crate::support::{End, Kind, Proxy, Setup, TempDir, ended, not_before, skip};

/// A proxy to which no name is known.
fn start(setup: Setup) -> Option<(Proxy, TempDir)> {
    let directory = TempDir::new();
    let hosts = directory.file("hosts", "");
    let nsswitch = directory.file("nsswitch.conf", "hosts: files\n");
    let replace = replacing(&[("/etc/hosts", &hosts), ("/etc/nsswitch.conf", &nsswitch)]);
    let Ok(proxy) = setup.before(replace).try_start() else {
        skip("no mount namespaces");
        return None;
    };
    Some((proxy, directory))
}

#[test]
fn its_clients_wait_as_long_as_a_connect_may_take() {
    const TIME: Duration = Duration::from_millis(300);
    let flags = ["-r", "web:80", "--resolve", "1h", "--connect-timeout", "300ms"];
    let Some((proxy, _directory)) = start(Proxy::on(&[Kind::V4]).args(&flags)) else { return };
    assert!(
        proxy.log.so_far().iter().any(|line| line.message.contains("web:80") && line.thread == "main"),
        "a warning"
    );
    let start = Instant::now();
    let mut client = proxy.connect();
    client.send_unless_cut_off("hello");
    assert_eq!(client.end(), End::Reset);
    not_before(start, TIME);
    assert_eq!(proxy.end(), ended("connect timeout", 0, 0));
}

#[test]
fn nobody_waits_for_it_where_there_is_another_remote() {
    let works = Server::new(Kind::V4, 1);
    let setup = Proxy::on(&[Kind::V4]).args(&["-r", "web:80", "--resolve", "1h", "--connect-timeout", "1h"]);
    let Some((proxy, _directory)) = start(setup.to(&works.address)) else { return };
    assert_eq!(shares(&clients(&proxy, 12).1), [0, 12]);
}
