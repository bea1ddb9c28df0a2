//! Measures proxies of TCP and UDP beside each other on loopback.
//!
//! One process, the controller, runs everything (`compare`). For each measurement it starts a server, a proxy and a
//! client, each a process of its own, reads the proxy's CPU and memory from outside, and ends all three again. Server
//! and client are this same program, started with a hidden subcommand.
//!
//! `stripe` measures sessions over several connections instead, through a [`relay`] that is as bad a network as it is
//! told to be.
//!
//! `balance` measures a proxy with several remotes, and what clients notice when one of them fails.
//!
//! `rules` measures what it costs to say who may come in, how much they get, and who the remote thinks they are.
//!
//! `look` measures what it costs that somebody looks at what the proxy does.
//!
//! A newcomer finds "what is measured" in [`load`], "how one measurement goes" in [`measure`], and "which proxies" in
//! [`proxy`].
#![cfg(target_os = "linux")]

pub mod balance;
pub mod client;
pub mod clock;
pub mod compare;
pub mod contest;
pub mod datagram;
pub mod datagram_server;
pub mod failure;
pub mod figure;
pub mod flow;
pub mod framing;
pub mod interrupt;
pub mod introduction;
pub mod kit;
pub mod limits;
pub mod load;
pub mod look;
pub mod measure;
pub mod metric;
pub mod options;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod relay;
pub mod report;
pub mod results;
pub mod rounds;
pub mod rules;
pub mod scratch;
pub mod server;
pub mod session;
pub mod sink;
pub mod stats;
pub mod stripe;
pub mod subcommand;
pub mod template;
pub mod transport;
pub mod usage;
pub mod wire;

use std::process::ExitCode;

/// Runs the subcommand that the command line names.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("compare") => compare::main(&arguments.collect::<Vec<_>>()),
        Some("balance") => balance::main(&arguments.collect::<Vec<_>>()),
        Some("look") => look::main(&arguments.collect::<Vec<_>>()),
        Some("rules") => rules::main(&arguments.collect::<Vec<_>>()),
        Some("stripe") => stripe::main(&arguments.collect::<Vec<_>>()),
        Some(process::SERVER_COMMAND) => server::main(&arguments.collect::<Vec<_>>()),
        Some(process::CLIENT_COMMAND) => client::main(),
        Some("-h" | "--help") => {
            print_usage();
            ExitCode::SUCCESS
        }
        _ => {
            print_usage();
            ExitCode::FAILURE
        }
    }
}

fn print_usage() {
    let usages = [
        options::usage(),
        stripe::options::usage(),
        balance::options::usage(),
        rules::options::usage(),
        look::options::usage(),
    ];
    println!("{}", usages.join("\n"));
}
