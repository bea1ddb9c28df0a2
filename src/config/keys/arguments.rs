//! The options of the original.

use super::{Key, Kind, Scope, Shown, Value, one_or_several, remote};
use crate::address::{EndpointAddress, Endpoints};
use crate::config::draft::{Problem, ProcessDraft, ServiceDraft};
use crate::config::settings::{BufferSize, ProcessSettings};
use crate::config::units::{parse_count, parse_size};

const ADDRESS: Option<Value> =
    Some(Value { name: "<addr>:<port>", kind: Kind::Address, expected: "a string with an address" });

pub(super) const KEYS: &[Key] = &[
    Key {
        short: Some('l'),
        long: "listen",
        value: ADDRESS,
        scope: Scope::Service {
            set: |service, value| {
                let listener = listener(service, value)?;
                service.settings.listeners.push(listener);
                Ok(())
            },
            show: |service| {
                let listeners = service.listeners.iter();
                one_or_several(listeners.map(|listener| Shown::Text(listener.argument.clone())).collect())
            },
        },
        required: true,
        repeatable: true,
        help: "accept clients at this address; may be given again",
        details: &[
            "Accept clients at this address. Give the option again for each further address; it must be given at least once. \
             In a file, several addresses are an array.",
            "A listener at `[::]` takes the clients of IPv4 as well, unless there is also a listener at an IPv4 address \
             with the same port.",
        ],
        example: r#"["0.0.0.0:5000", "[::]:5000"]"#,
        ..Key::USUAL
    },
    Key {
        short: Some('r'),
        long: "remote",
        value: ADDRESS,
        scope: Scope::Service {
            set: |service, value| {
                let (address, options) = remote::split(value);
                let mut remote = service.remote(address)?;
                remote::apply(value, &options, &mut remote)?;
                service.settings.remotes.push(remote);
                Ok(())
            },
            show: |service| one_or_several(service.remotes.iter().map(remote::shown).collect()),
        },
        required: true,
        repeatable: true,
        help: "connect clients to this address; may be given again",
        details: &[
            "Connect clients to this address. The option must be given at least once. \
             If the host is a name with several addresses, they are tried in the order in which the resolver \
             returned them, until one can be connected to; with `--resolve`, each of them is a remote of its own.",
            "Give the option again for each further remote. `--balance` says which of them a session gets, and one that \
             cannot be connected to is passed over. After the address, separated by commas, there can be `weight=`<n> \
             from 1 to 256, so that a remote of weight 3 gets three times as many sessions as one of weight 1; \
             `backup` for one that is used only when no other is usable; and `max=`<n>, the most sessions that it may \
             have at once. \
             In a file, several remotes are an array of such strings, or a table each with the keys `address`, \
             `weight`, `backup` and `max`.",
        ],
        example: r#""127.0.0.1:22""#,
        ..Key::USUAL
    },
    Key {
        short: Some('b'),
        long: "buffer-size",
        value: Some(Value {
            name: "<bytes>",
            kind: Kind::Number,
            expected: "a number of bytes above 0, or a string such as \"64k\"",
        }),
        scope: Scope::Process {
            set: |process, value| {
                let size = parse_size(value, ProcessSettings::MAX_BUFFER_SIZE as u64)
                    .map_err(|reason| Problem::invalid("buffer size", value, &reason))?;
                process.settings.buffer_size = BufferSize::Fixed(size as usize);
                Ok(())
            },
            show: |process| match process.buffer_size {
                BufferSize::Fixed(size) => Some(Shown::Number(size as u64)),
                BufferSize::Growing(_) => None,
            },
        },
        default: Some("16384"),
        help: "size of the buffer for each direction of a session",
        details: &[
            "The size of the buffer that holds what one direction of a session has read and not yet written, \
             from 1 byte to `1g`. The letters `k`, `m` and `g` multiply by powers of 1024. \
             Without this option, a direction that carries bulk may have a larger buffer; with it, every buffer has that size.",
            "A direction has a buffer only while there is something in it, so an idle session has none.",
        ],
        example: "16384",
        ..Key::USUAL
    },
    Key {
        short: Some('n'),
        long: "no-delay",
        scope: Scope::Service {
            set: |service, value| {
                service.settings.no_delay = value == "true";
                Ok(())
            },
            show: |service| service.no_delay.then_some(Shown::On),
        },
        help: "send small writes at once: set TCP_NODELAY on both sides",
        details: &["Set `TCP_NODELAY` on both sides of each session, so that the system sends small writes at once \
             instead of collecting them."],
        ..Key::USUAL
    },
    Key {
        short: Some('t'),
        long: "io-threads",
        value: Some(Value {
            name: "<threads>",
            kind: Kind::Number,
            expected: "a whole number from 1 to 1024, or \"auto\"",
        }),
        scope: Scope::Process {
            set: io_threads,
            show: |process| match process.io_threads {
                _ if process.io_threads_by_cores => Some(Shown::Text("auto".to_string())),
                number if number == ProcessSettings::default().io_threads => None,
                number => Some(Shown::Number(number as u64)),
            },
        },
        default: Some("1"),
        help: "number of I/O threads, which move the bytes of sessions, or auto",
        details: &[
            "The number of I/O threads, from 1 to 1024. These threads move the bytes of the sessions. \
             New sessions are given to them in turn, and a session stays with its thread until it ends.",
            "With `auto` there are as many threads as the process may use cores: those that its affinity allows, and no \
             more than the quota of its control group is worth.",
        ],
        example: "\"auto\"",
        ..Key::USUAL
    },
];

/// Resolves an address that is to be listened at.
fn listener(service: &mut ServiceDraft<'_>, value: &str) -> Result<Endpoints, Problem> {
    let listener = Endpoints::parse_with(value, service.lookups);
    let mut listener = listener.map_err(|error| Problem::explained(error.to_string()))?;
    let refuse = |reason: &str| Err(Problem::explained(format!("invalid listen address {value}: {reason}")));
    if listener.service_records().is_some() || !listener.addresses.iter().all(EndpointAddress::can_listen) {
        return refuse("it can only be a remote (-r)");
    }
    let targets = listener.addresses.iter().filter_map(EndpointAddress::stripe).map(|stripe| stripe.targets.len());
    if targets.max() > Some(1) {
        return refuse("several addresses with + between them can only be a remote (-r); give each its own -l");
    }
    listener.addresses = listener.addresses.into_iter().map(EndpointAddress::at_first).collect();
    Ok(listener)
}

fn io_threads(process: &mut ProcessDraft, value: &str) -> Result<(), Problem> {
    let settings = &mut process.settings;
    settings.io_threads_by_cores = value == "auto";
    settings.io_threads = if settings.io_threads_by_cores {
        cores().clamp(1, ProcessSettings::MAX_IO_THREADS)
    } else {
        parse_count(value, ProcessSettings::MAX_IO_THREADS as u64)
            .map_err(|reason| Problem::invalid("num io threads", value, &reason))? as usize
    };
    Ok(())
}

/// How many cores the process may use: on Linux, std considers its affinity and the quotas of its control groups.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
