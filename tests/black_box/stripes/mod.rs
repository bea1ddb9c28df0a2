//! Stripes: two proxies, with several connections between them for each session.

mod ends;
mod hand;
mod hostile;
mod joined;
mod keys;
mod lanes;
mod limits;
mod many;
mod readers;

use std::thread;

use crate::support::{Kind, Proxy, Relay, Remote, Stream, TempDir, drink, pour, run, until};

/// A client's proxy and a server's, with a relay between them.
struct Chain {
    near: Proxy,
    relay: Relay,
    far: Proxy,
    remote: Remote,
}

impl Chain {
    /// With these arguments for each proxy.
    fn new(near: &[&str], far: &[&str]) -> Chain {
        let remote = Remote::new(Kind::V4);
        let far = Proxy::between(Kind::Stripe, &remote).args(far).start();
        let relay = Relay::to(&far.listeners[0]);
        let near = near_to(&relay, near);
        Chain { near, relay, far, remote }
    }

    /// With these arguments for both.
    fn both(arguments: &[&str]) -> Chain {
        Chain::new(arguments, arguments)
    }

    /// With these for both, and a key in this directory if one is wanted.
    fn with_key(directory: Option<&TempDir>, arguments: &[&str]) -> Chain {
        let key = directory.map(|directory| make_key(directory, "key"));
        let of_key = key.iter().flat_map(|key| ["--stripe-key", key.as_str()]);
        Chain::both(&of_key.chain(arguments.iter().copied()).collect::<Vec<_>>())
    }

    /// A session, with its client and its remote's end.
    fn session(&self) -> (Stream, Stream) {
        self.near.session(&self.remote)
    }

    /// Waits until all sessions have ended at both ends, and no lane is left.
    fn is_empty(&self) {
        for proxy in [&self.near, &self.far] {
            let count = |start: &str| count(proxy, start);
            until("the end of all sessions", || {
                (count("connect client ") == count("disconnect client ")).then_some(())
            });
        }
        self.relay.wait_for(0);
    }
}

/// A proxy whose stripes go to a relay.
fn near_to(relay: &Relay, arguments: &[&str]) -> Proxy {
    Proxy::on(&[Kind::V4]).args(&["-r", &format!("stripe:{}", relay.address)]).args(arguments).start()
}

/// The path of a new file with a new key.
fn make_key(directory: &TempDir, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.file(name, &run(&["--make-key"]).stdout);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a file of ours");
    path.to_str().expect("UTF-8").to_string()
}

fn count(proxy: &Proxy, start: &str) -> usize {
    proxy.log.so_far().iter().filter(|line| line.message.starts_with(start)).count()
}

/// Whether what one sends comes to the other, both ways.
fn works((client, server): &mut (Stream, Stream)) {
    client.send("there");
    server.expect("there");
    server.send("back");
    client.expect("back");
}

/// Sends so many bytes both ways at once, all of which must come, while `meanwhile` goes on.
fn transfer((client, server): &mut (Stream, Stream), total: usize, meanwhile: impl FnOnce()) {
    let (mut to_client, mut to_server) = (server.another(), client.another());
    thread::scope(|scope| {
        scope.spawn(|| pour(&mut to_server, 1, total));
        scope.spawn(|| pour(&mut to_client, 2, total));
        scope.spawn(|| drink(client, 2, total));
        scope.spawn(|| drink(server, 1, total));
        meanwhile();
    });
}
