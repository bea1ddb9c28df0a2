//! `--on-down`: what becomes of the sessions of a remote that checks find down.

use super::servers::{Server, before, clients, goes_on, shares};
use crate::support::{End, Kind, Stream};

#[test]
fn only_the_sessions_of_the_one_that_is_down_are_reset() {
    for kind in [Kind::V4, Kind::UnixPath] {
        for on_down in ["keep", "reset"] {
            let mut servers = Server::some(kind, 3);
            let checks = ["--check-interval", "50ms", "--check-timeout", "30s", "--fall", "1"];
            let setup = before(Kind::V4, &servers).args(&["-t", "2", "--on-down", on_down]).args(&checks);
            let proxy = setup.start();
            let (held, numbers) = clients(&proxy, 12);
            assert_eq!(shares(&numbers), [4, 4, 4]);
            servers[1].close();
            let down = proxy.log.line(&format!("remote {} is down: ", servers[1].address));
            assert!(down.message.ends_with("; 4 sessions"), "{down:?}");
            let is_reset = |number: u8| number == 1 && on_down == "reset";
            let (reset, keep): (Vec<_>, Vec<_>) =
                held.into_iter().zip(numbers).partition(|(_, number)| is_reset(*number));
            let mut kept: Vec<Stream> = keep.into_iter().map(|(client, _)| client).collect();
            for (mut client, _) in reset {
                assert_eq!(client.end(), End::Reset, "{kind:?}");
            }
            let count = 12 - kept.len();
            assert!(proxy.ended(count).iter().all(|ended| ended.how == "remote down"), "{kind:?}");
            kept.iter_mut().for_each(goes_on);
            let lines = proxy.log.so_far();
            let ends = lines.iter().filter(|line| line.message.starts_with("disconnect client to proxy ")).count();
            assert_eq!(ends, count, "{kind:?} {on_down}");
        }
    }
}
