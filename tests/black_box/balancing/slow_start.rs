//! `--slow-start`: one that comes back has little to do at first, whichever the method.

use super::METHODS;
use super::servers::{Server, before, clients};
use crate::support::Kind;

#[test]
fn every_method_begins_slowly() {
    for method in METHODS {
        let mut servers = [Server::closed(Kind::V4, 0), Server::new(Kind::V4, 1)];
        let checks = ["--check-interval", "50ms", "--check-timeout", "30s", "--rise", "1", "--fall", "1"];
        let setup = before(Kind::V4, &servers).args(&["-t", "2", "--balance", method]).args(&checks);
        let proxy = setup.args(&["--slow-start", "1h"]).start();
        let address = servers[0].address.clone();
        proxy.log.line(&format!("remote {address} is down: "));
        servers[0].open();
        proxy.log.line(&format!("remote {address} is up: "));
        // One in seventeen is its share, and half of them would be its share later. With `source`, which clients these
        // are follows from the addresses of the remotes, which are others each time.
        let count = its_sessions(method, &proxy);
        assert!(count <= 20, "{method}: {count} of 68");
        let least = if method == "round-robin" || method == "least-sessions" { 1 } else { 0 };
        assert!(count >= least, "{method}: {count} of 68");
    }
}

fn its_sessions(method: &str, proxy: &crate::support::Proxy) -> usize {
    #[cfg(target_os = "linux")]
    if method == "source" {
        let from = |number| super::servers::client_from([127, 0, 8, number], &proxy.listeners[0]).1;
        return (0..68).filter(|&number| from(number) == 0).count();
    }
    let _ = method;
    let (_clients, numbers) = clients(proxy, 68);
    numbers.iter().filter(|&&number| number == 0).count()
}
