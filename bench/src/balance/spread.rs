//! To which remotes sessions are dealt.

use std::net::{Ipv4Addr, SocketAddr};

use super::asking::ask_all;
use super::cases::{Method, SPREAD_SESSIONS, Stay, WEIGHTS};
use crate::failure::Failure;
use crate::kit::{Kit, Server, written};
use crate::session::source;

/// Sessions dealt by weight, by two I/O threads.
pub fn by_weight(kit: &Kit, method: Method, stay: Stay) -> Result<Vec<f64>, Failure> {
    let server = Server::start(WEIGHTS.len())?;
    let remotes: Vec<String> = server
        .addresses
        .iter()
        .zip(WEIGHTS)
        .map(|(address, weight)| if weight == 1 { address.to_string() } else { format!("{address},weight={weight}") })
        .collect();
    let proxy = kit.cproxy(&remotes, &[method.arguments(), &["-t", "2"]].concat())?;
    let sources: Vec<Ipv4Addr> = (0..SPREAD_SESSIONS).map(source).collect();
    let ports = ask_all(proxy.entry, &sources, stay)?;
    let counts = counts(&server.addresses, &ports);
    let total: usize = WEIGHTS.iter().sum();
    let off = counts.iter().zip(WEIGHTS).map(|(count, weight)| {
        let share = (SPREAD_SESSIONS * weight) as f64 / total as f64;
        (count - share).abs() / share
    });
    Ok([off.fold(0.0, f64::max)].into_iter().chain(counts.iter().copied()).collect())
}

/// How many remotes clients are dealt to by their addresses, and which of them goes.
const SOURCE_REMOTES: usize = 10;
const GOES: usize = 3;

/// How many addresses there are. More would take long, and say no more: the engine's own test has many.
const SOURCE_ADDRESSES: usize = 2000;

/// Clients of many addresses, dealt by address: twice by one proxy, by one whose remotes have another order, and by one
/// that has a remote less.
pub fn by_source(kit: &Kit) -> Result<Vec<f64>, Failure> {
    let server = Server::start(SOURCE_REMOTES)?;
    let sources: Vec<Ipv4Addr> = (0..SOURCE_ADDRESSES)
        .map(|index| Ipv4Addr::new(127, 1, (index / 250) as u8, (1 + index % 250) as u8))
        .collect();
    let ask = |addresses: &[SocketAddr], times: usize| -> Result<Vec<Vec<u16>>, Failure> {
        let proxy = kit.cproxy(&written(addresses), Method::Source.arguments())?;
        (0..times).map(|_| ask_all(proxy.entry, &sources, Stay::Short)).collect()
    };
    let mut twice = ask(&server.addresses, 2)?;
    let (again, first) = (twice.pop().unwrap_or_default(), twice.pop().unwrap_or_default());
    let reversed: Vec<SocketAddr> = server.addresses.iter().rev().copied().collect();
    let other_order = ask(&reversed, 1)?.pop().unwrap_or_default();
    let mut fewer = server.addresses.clone();
    let gone = fewer.remove(GOES).port();
    let without = ask(&fewer, 1)?.pop().unwrap_or_default();

    let moved = |to: &[u16], was_gone: bool| {
        let pairs = first.iter().zip(to);
        pairs.filter(|(from, to)| from != to && (**from == gone) == was_gone).count() as f64
    };
    let mean = SOURCE_ADDRESSES as f64 / SOURCE_REMOTES as f64;
    let most = counts(&server.addresses, &first).into_iter().fold(0.0, f64::max);
    Ok(vec![
        moved(&again, false) + moved(&again, true),
        moved(&other_order, false) + moved(&other_order, true),
        moved(&without, false),
        moved(&without, true),
        most / mean,
    ])
}

/// How many of `ports` are those of each address.
fn counts(addresses: &[SocketAddr], ports: &[u16]) -> Vec<f64> {
    addresses.iter().map(|address| ports.iter().filter(|&&port| port == address.port()).count() as f64).collect()
}
