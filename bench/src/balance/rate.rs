//! How many connections a second: over several remotes, over one, and by other proxies over the same number.

use std::path::Path;

use super::cases::{Method, RATE_REMOTES};
use crate::contest::{CONNECT, Contestant, in_turns};
use crate::failure::Failure;
use crate::kit::{Kit, Server, written};

/// Several remotes, against one and against other proxies. Each proxy has remotes of its own, so that none finds ports in
/// TIME_WAIT that another has left.
pub fn several_remotes(kit: &Kit, method: Method, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(1 + RATE_REMOTES * (1 + kit.peers.len()))?;
    let (one, several) = server.addresses.split_at(1);
    let (ours, theirs) = several.split_at(RATE_REMOTES);
    let mut proxies = vec![
        Contestant::new(kit.cproxy(&written(one), &[])?),
        Contestant::new(kit.cproxy(&written(ours), method.arguments())?),
    ];
    for (peer, targets) in kit.peers.iter().zip(theirs.chunks(RATE_REMOTES)) {
        proxies.push(Contestant::new(kit.peer(peer, targets, method.lines(peer.kind))?));
    }
    in_turns(&mut proxies, CONNECT, kit, &server, round)?;
    let (one, ours, peers) = (&proxies[0], &proxies[1], &proxies[2..]);
    let mut numbers = vec![ours.rate_to(one), ours.cost_to(one)];
    numbers.extend(peers.iter().map(|peer| ours.rate_to(peer)));
    numbers.extend(proxies.iter().map(Contestant::rate));
    Ok(numbers)
}

/// One remote, against an earlier program: what the choice costs those who have none.
pub fn one_remote(kit: &Kit, earlier: Option<&Path>, round: usize) -> Result<Vec<f64>, Failure> {
    let server = Server::start(2)?;
    let earlier = earlier.ok_or_else(|| Failure::of("--earlier", "not given"))?;
    let (first, second) = server.addresses.split_at(1);
    let mut proxies = [
        Contestant::new(kit.program(earlier, &written(first), &[])?),
        Contestant::new(kit.cproxy(&written(second), &[])?),
    ];
    in_turns(&mut proxies, CONNECT, kit, &server, round)?;
    let [earlier, ours] = &proxies;
    Ok(vec![ours.rate_to(earlier), ours.cost_to(earlier), earlier.rate(), ours.rate()])
}
