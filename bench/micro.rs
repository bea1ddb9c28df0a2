//! Micro-benchmarks of the parts that every event or connection goes through: `cargo bench`. They find regressions;
//! how fast the proxy is, `cproxy-bench` tells.

use cproxy::address::{Block, EndpointAddress, Endpoints, Network, Networks, OriginalForm};
use cproxy::buffers::batch::Batch;
use cproxy::buffers::buffer_pool::BufferPool;
use cproxy::config::access::{AccessRule, Clients, Decision, NetworkFile};
use cproxy::config::balancing::{Balance, PoolSettings};
use cproxy::service::access::{Access, ClientAddress};
use cproxy::service::pool::{Choice, ClientKey, Member, Pool, Remote};
use cproxy::stripe::SessionId;
use cproxy::stripe::channel::Channel;
use cproxy::stripe::engine::{Burst, Config, Direct, Engine, Mode};
use cproxy::stripe::frame::{Frame, Header};
use cproxy::stripe::key::StripeKey;
use cproxy::stripe::opening::{Arriving, Dialing};
use cproxy::thread::run_queue::RunQueue;
use cproxy::thread::timers::Timers;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use std::fmt::Write;
use std::sync::Arc;

fn main() {
    divan::main();
}

/// Sessions that the structures are filled with.
const SESSIONS: usize = 10_000;

#[divan::bench]
fn buffer_pool_take_and_give_back(bencher: Bencher) {
    let mut pool = BufferPool::new(16384);
    bencher.bench_local(|| {
        let buffer = black_box(pool.take());
        pool.give_back(buffer);
    });
}

#[divan::bench]
fn run_queue_sparse(bencher: Bencher) {
    let mut queue = RunQueue::default();
    queue.wake(SESSIONS, false);
    queue.next_sparse();
    let mut key = 0;
    bencher.bench_local(|| {
        key = (key + 7919) % SESSIONS;
        queue.wake(key, false);
        black_box(queue.next_sparse())
    });
}

#[divan::bench]
fn run_queue_bulk(bencher: Bencher) {
    let mut queue = RunQueue::default();
    (0..64).for_each(|key| queue.wake(key, true));
    bencher.bench_local(|| {
        if let Some(key) = queue.next_bulk() {
            queue.spent(black_box(key));
        }
    });
}

/// A connection that is made and ends before its timer is due: armed and cancelled among many.
#[divan::bench]
fn timers_arm_and_cancel(bencher: Bencher) {
    let mut timers = <Timers>::default();
    (0..SESSIONS).for_each(|key| timers.arm(key, 60_000 + key as u64));
    bencher.bench_local(|| {
        timers.arm(SESSIONS, black_box(10_000));
        timers.cancel(SESSIONS);
    });
}

/// One loop turn's look at the timers when none is due.
#[divan::bench]
fn timers_nothing_due(bencher: Bencher) {
    let mut timers = <Timers>::default();
    (0..SESSIONS).for_each(|key| timers.arm(key, u64::MAX / 2 + key as u64));
    let (mut now, mut due) = (0, Vec::new());
    bencher.bench_local(|| {
        now += 1;
        timers.expire(black_box(now), &mut due);
        timers.wait(now)
    });
}

#[divan::bench(args = ["127.0.0.1:5000", "[2001:db8::1]:5000", "unix:/run/cproxy.sock"])]
fn address_parse(argument: &str) -> Endpoints {
    Endpoints::parse(black_box(argument)).expect("the argument is numeric or a path")
}

#[divan::bench(args = ["127.0.0.1:5000", "[2001:db8::1]:5000"])]
fn address_display(bencher: Bencher, argument: &str) {
    let address = OriginalForm(argument.parse().expect("the argument is a socket address"));
    let mut text = String::with_capacity(64);
    bencher.bench_local(|| {
        text.clear();
        write!(text, "{}", black_box(address)).expect("writing to a String cannot fail");
    });
}

/// What one call brought from 32 sources: trains of so many datagrams each, and where they are to go.
#[divan::bench(args = [1, 4, 64])]
fn batch_for_each_key(bencher: Bencher, in_train: usize) {
    let mut batch = Batch::default();
    batch.space(32 * in_train);
    let keys: Vec<usize> = (0..32 * in_train).map(|number| number / in_train * 17).collect();
    bencher.bench_local(|| {
        (0..keys.len()).for_each(|number| batch.add(number, 1));
        batch.for_each_key(black_box(&keys), |key, batch| {
            black_box((key, batch.size()));
        });
    });
}

/// The same, with the datagrams of all sources mixed.
#[divan::bench(args = [1, 4, 64])]
fn batch_for_each_key_mixed(bencher: Bencher, of_each: usize) {
    let mut batch = Batch::default();
    batch.space(32 * of_each);
    let keys: Vec<usize> = (0..32 * of_each).map(|number| number % 32 * 17).collect();
    bencher.bench_local(|| {
        (0..keys.len()).for_each(|number| batch.add(number, 1));
        batch.for_each_key(black_box(&keys), |key, batch| {
            black_box((key, batch.size()));
        });
    });
}

/// Both ends of a lane with a key.
fn lane() -> (Channel, Channel) {
    let key = StripeKey::new([7; 32]);
    let (mut near, mut far) = (Vec::new(), Vec::new());
    let mut dialing = Dialing::new(Some(&key), &mut near).expect("random numbers");
    let mut arriving = Arriving::new([1; 16]);
    let keys = [key];
    arriving.receive(&near, &keys, &mut far).expect("an opening");
    near.clear();
    let (_, channel) = dialing.receive(&far, SessionId([2; 16]), 0, true, &mut near).expect("an answer");
    let (_, arrived) = arriving.receive(&near, &keys, &mut far).expect("a JOIN");
    (channel.expect("a channel"), arrived.expect("a lane").channel)
}

/// A lane with a key begins: both ends.
#[divan::bench]
fn lane_with_a_key(bencher: Bencher) {
    bencher.bench_local(lane);
}

/// What an acceptor does for a stranger with another key.
#[divan::bench]
fn lane_with_a_wrong_key(bencher: Bencher) {
    let mut opening = Vec::new();
    Dialing::new(Some(&StripeKey::new([8; 32])), &mut opening).expect("random numbers");
    let keys = [StripeKey::new([7; 32])];
    bencher.bench_local(|| assert!(Arriving::new([1; 16]).receive(&opening, &keys, &mut Vec::new()).is_err()));
}

#[divan::bench(args = [128, 32 << 10])]
fn record_seal_and_open(bencher: Bencher, length: usize) {
    let (mut near, mut far) = lane();
    let payload = vec![7; length];
    let mut record = Vec::with_capacity(64 << 10);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        record.clear();
        near.seal([(Header::of_data(0, length), &payload[..])], &mut record);
        black_box(far.open(&mut record).expect("a record").len())
    });
}

/// Bytes that go from one engine of a stripe to another, over four lanes that hold nothing up, and are acknowledged.
#[divan::bench(args = [128, 32 << 10, 1 << 20])]
fn stripe_write_to_read(bencher: Bencher, length: usize) {
    let config =
        Config { mode: Mode::UntilCongested, window: 16 << 20, lane_timeout: 30_000_000, ping_after: u64::MAX };
    let mut ends = [0; 2].map(|_| Engine::new(config, 0));
    for lane in 0..4 {
        ends.iter_mut().for_each(|end| end.lane_up(lane, Some(100), 0));
    }
    let (bytes, mut buffer) = (vec![7; length], vec![0; length]);
    let (mut burst, mut now) = (Burst::default(), 0);
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        let [near, far] = &mut ends;
        let (mut written, mut direct) = (0, Direct { buffer: &mut buffer, filled: 0 });
        // An answer acknowledges a message; of many bytes, the engine acknowledges by itself.
        while direct.filled < length {
            now += 100;
            written += near.write(&bytes[written..]);
            while let Some(lane) = near.next_burst(&mut burst, now) {
                for frame in &burst.frames {
                    let frame = match near.payload(frame.payload.clone()) {
                        [] => {
                            Frame::decode(frame.header.bytes()).expect("it is a frame").expect("all of it is there").0
                        }
                        payload => Frame::Data { offset: frame.payload.start, payload },
                    };
                    black_box(far.received(lane, frame, Some(&mut direct), now)).expect("it breaks no rule");
                }
            }
            let later = if length < 1024 { 20_000 } else { 0 };
            while let Some(lane) = far.next_burst(&mut burst, now + later) {
                for frame in &burst.frames {
                    let frame =
                        Frame::decode(frame.header.bytes()).expect("it is a frame").expect("all of it is there").0;
                    near.received(lane, frame, None, now + later).expect("it breaks no rule");
                }
            }
            now += later;
        }
    });
}

/// A pool of so many remotes, the weights of which repeat every so many.
fn pool(balance: Balance, remotes: u16, weights: u16) -> Pool {
    let member = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let address = format!("10.9.{high}.{low}:8080").parse().expect("it is a socket address");
        let address = EndpointAddress::Tcp(address);
        let remote = Remote::new(address.to_string(), vec![address]).expect("the system knows such addresses");
        Member { weight: 1 + number % weights, ..Member::new(Arc::new(remote)) }
    };
    let settings = PoolSettings { balance, ..PoolSettings::default() };
    Pool::new(&settings, (0..remotes).map(member).collect(), 1, 0)
}

/// What a new session does more because there may be several remotes: each method, and how many remotes there are. Each
/// time it is another client.
#[divan::bench(args = [1, 4, 100, 1000], consts = [0, 1, 2, 3])]
fn choose<const METHOD: usize>(bencher: Bencher, remotes: u16) {
    choose_of(bencher, &pool(METHODS[METHOD], remotes, 1));
}

/// The same with ten weights.
#[divan::bench(args = [4, 100, 1000], consts = [0, 1, 2, 3])]
fn choose_by_weight<const METHOD: usize>(bencher: Bencher, remotes: u16) {
    choose_of(bencher, &pool(METHODS[METHOD], remotes, 10));
}

/// 100,000 clients that have come before, with a table above 256 remotes.
#[divan::bench(args = [100, 256, 257, 1000])]
fn choose_by_source_again(bencher: Bencher, remotes: u16) {
    let (pool, mut client) = (pool(Balance::Source, remotes, 1), 0_u32);
    let mut next = || {
        client = (client + 7919) % 100_000;
        pool.choose(|| Some(ClientKey::of_bytes(&client.to_be_bytes())), &[], black_box(1))
    };
    (0..100_000).for_each(|_| drop(next()));
    bencher.bench_local(next);
}

/// What the numbers of the above mean.
const METHODS: [Balance; 4] = [Balance::RoundRobin, Balance::LeastSessions, Balance::Random, Balance::Source];

fn choose_of(bencher: Bencher, pool: &Pool) {
    let mut client = 0_u32;
    bencher.bench_local(|| {
        client = client.wrapping_add(1);
        let key = || Some(ClientKey::of_bytes(&client.to_be_bytes()));
        match pool.choose(key, &[], black_box(1)) {
            Choice::Remote(lease) => lease,
            other => unreachable!("{other:?}"),
        }
    });
}

/// Networks of IPv4 (/24 to /32) and of IPv6 (/48 to /64), spread over their addresses.
fn networks(count: u32, is_v6: bool) -> impl Iterator<Item = Network> {
    (0..count).map(move |number| {
        let spread = number.wrapping_mul(0x9e37_79b1);
        if is_v6 {
            let host = u128::MAX >> (48 + number % 17);
            let first = ((0x2 << 124) | u128::from(spread) << 92 | u128::from(spread) << 62) & !host;
            Network::V6(Block { first, last: first | host })
        } else {
            let host = u32::MAX.checked_shr(24 + number % 9).unwrap_or(0);
            Network::V4(Block { first: spread & !host, last: spread | host })
        }
    })
}

/// Whether a client is let in by rules of so many networks, most of which are in a file.
#[divan::bench(args = [10, 1_000, 1_000_000], sample_size = 10_000, consts = [false, true])]
fn access_decide<const IS_V6: bool>(bencher: Bencher, count: u32) {
    let listed = NetworkFile { path: "/networks".into(), networks: networks(count, IS_V6).collect() };
    let own = networks(1, IS_V6).map(|network| Clients::In(network, String::new()));
    let rules = own.chain([Clients::Listed(Arc::new(listed)), Clients::All]);
    let rules: Vec<_> = rules.map(|clients| AccessRule { decision: Decision::Deny, clients }).collect();
    let access = Access::new(&rules).expect("rules");
    // The address that comes next is far from the one before it, so that little of what is looked at is in a cache.
    let mut client = 1_u32;
    bencher.bench_local(|| {
        client = client.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        let address = if IS_V6 {
            std::net::IpAddr::V6(((0x2 << 124) | u128::from(client) << 92 | u128::from(client)).into())
        } else {
            std::net::IpAddr::V4(client.into())
        };
        access.decide(black_box(ClientAddress::Ip(address)))
    });
}

/// What a million networks take to be made into a set, once they are read.
#[divan::bench(sample_count = 5, sample_size = 1, consts = [false, true])]
fn access_million<const IS_V6: bool>() -> Networks {
    networks(black_box(1_000_000), IS_V6).collect()
}

/// What the keeper does whenever something has changed.
#[divan::bench(args = [(4, 1), (4, 10), (1000, 1), (1000, 10), (1000, 256)])]
fn replace_round_robin(bencher: Bencher, (remotes, weights): (u16, u16)) {
    let pool = pool(Balance::RoundRobin, remotes, weights);
    bencher.bench_local(|| pool.replace(pool.set().members().to_vec(), 1));
}

#[divan::bench(args = [(4, 10), (1000, 10)])]
fn replace_source(bencher: Bencher, (remotes, weights): (u16, u16)) {
    let pool = pool(Balance::Source, remotes, weights);
    bencher.bench_local(|| pool.replace(pool.set().members().to_vec(), 1));
}
