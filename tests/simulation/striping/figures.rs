//! How much goes through lanes of given rates and delays.

use cproxy::stripe::engine::Mode;

use super::network::{Network, SECOND, Shape, lane};

/// Bytes a second that arrive in `seconds`, when there is always more to send. The first second does not count.
fn goodput(shapes: &[Shape], seconds: u64) -> f64 {
    let mut network = Network::new(shapes, Mode::UntilCongested);
    network.run(SECOND, |_| false);
    let before = network.read;
    network.run((1 + seconds) * SECOND, |_| false);
    println!("{} {} {}", network.read, before, network.report());
    (network.read - before) as f64 / seconds as f64
}

/// Microseconds until so many bytes have arrived, on lanes that were not used before.
fn time_for(shapes: &[Shape], total: u64) -> f64 {
    let mut network = Network::new(shapes, Mode::UntilCongested);
    network.total = total;
    network.run(1000 * SECOND, |network| network.read == total);
    println!("{} us {}", network.now, network.report());
    network.now as f64
}

/// The pairs of lanes that Linux has in its own test of MPTCP: Mbit/s and milliseconds one way.
const PAIRS: [[Shape; 2]; 10] = [
    [mbit(10, 1), mbit(10, 1)],
    [mbit(10, 1), mbit(10, 25)],
    [mbit(10, 25), mbit(10, 1)],
    [mbit(15, 1), mbit(5, 1)],
    [mbit(15, 1), mbit(5, 25)],
    [mbit(15, 25), mbit(5, 1)],
    [mbit(30, 1), mbit(10, 1)],
    [mbit(30, 1), mbit(10, 25)],
    [mbit(30, 25), mbit(10, 1)],
    [mbit(10, 1), mbit(3, 1)],
];

const fn mbit(rate: u64, delay: u64) -> Shape {
    Shape { rate: rate * 125_000, delay: delay * 1000, frozen: (0, 0) }
}

fn pairs() -> Vec<[Shape; 2]> {
    let mut pairs = PAIRS.to_vec();
    pairs.extend([[mbit(10, 1), mbit(3, 25)], [mbit(10, 25), mbit(3, 1)]]);
    pairs
}

#[test]
fn eight_equal_lanes_carry_what_eight_carry() {
    let one = goodput(&[lane(50, 5)], 3);
    let eight = goodput(&[lane(50, 5); 8], 3);
    assert!(eight >= 7.6 * one, "{eight} is {} times {one}", eight / one);
}

#[test]
fn unequal_lanes_carry_nearly_their_sum() {
    let mut bad = Vec::new();
    for pair in pairs() {
        let sum: u64 = pair.iter().map(|shape| shape.rate).sum();
        let share = goodput(&pair, 10) / sum as f64;
        println!("{share}");
        if share < 0.92 {
            bad.push((pair, share));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_transfer_of_some_megabytes_takes_little_longer_than_the_sum_would() {
    let mut bad = Vec::new();
    for pair in pairs() {
        let sum: u64 = pair.iter().map(|shape| shape.rate).sum();
        let total = 4_000_000;
        let share = total as f64 * SECOND as f64 / sum as f64 / time_for(&pair, total);
        println!("{share}");
        if share < 0.9 {
            bad.push((pair, share));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_slow_or_a_far_lane_does_no_harm() {
    for (fast, seconds) in [(lane(50, 5), 3), (lane(200, 1), 1), (lane(1000, 1), 1)] {
        let alone = goodput(&[fast], seconds);
        for other in [Shape { rate: fast.rate / 10, ..fast }, Shape { delay: 100_000, ..fast }] {
            let both = goodput(&[fast, other], seconds);
            assert!(both >= 0.97 * alone, "{both} of {alone} with {other:?} beside {fast:?}");
        }
    }
}

#[test]
fn a_frozen_lane_holds_the_others_up_only_shortly() {
    let well = lane(50, 5);
    let frozen = Shape { frozen: (2 * SECOND, 7 * SECOND), ..well };
    let three = goodput(&[well; 3], 3);
    let mut network = Network::new(&[well, frozen, well, well], Mode::UntilCongested);
    network.run(2 * SECOND, |_| false);
    let before = network.read;
    network.run(7 * SECOND, |_| false);
    let in_freeze = (network.read - before) as f64 / 5.0;
    println!("{} {}", network.read, network.report());
    assert!(in_freeze >= 0.9 * three, "{in_freeze} of {three}");
    let sent = network.sent_on(1);
    network.run(8 * SECOND, |_| false);
    println!("{}", network.report());
    assert!(network.sent_on(1) > sent + well.rate / 2, "the lane is not used again: {}", network.sent_on(1) - sent);
}

#[test]
fn small_messages_take_the_near_lane() {
    for shapes in [[lane(100, 1), lane(100, 25)], [lane(100, 25), lane(100, 1)], [lane(10, 1), lane(1000, 25)]] {
        let mut network = Network::new(&shapes, Mode::UntilCongested);
        network.allowed = 0;
        for message in 1..=200 {
            network.allowed = message * 128;
            let start = network.now;
            network.run(start + SECOND, |network| network.read == message * 128);
            let time = network.now - start;
            assert!(time < 5000, "message {message} took {time} us {}", network.report());
            let pause = network.now + 20_000 * (message % 3);
            network.run(pause, |_| false);
        }
    }
}

#[test]
fn large_messages_take_no_longer_than_on_the_fast_lane_alone() {
    let time = |shapes: &[Shape]| {
        let mut network = Network::new(shapes, Mode::UntilCongested);
        network.allowed = 0;
        for message in 1..=50 {
            network.allowed = message * 65_536;
            network.run(1000 * SECOND, |network| network.read == message * 65_536);
        }
        println!("{}", network.report());
        network.now as f64
    };
    for delays in [(1, 1), (1, 25), (25, 1)] {
        let alone = time(&[lane(10, delays.0)]);
        let both = time(&[lane(10, delays.0), lane(3, delays.1)]);
        assert!(both <= 1.05 * alone, "{both} instead of {alone}: {delays:?}");
    }
}

#[test]
fn lanes_that_are_reset_all_the_time_cost_little() {
    let time = |resets: bool| {
        let mut network = Network::new(&[lane(50, 5); 4], Mode::UntilCongested);
        network.total = 60_000_000;
        for round in 1.. {
            network.run(round * SECOND / 5, |network| network.read == network.total);
            if network.read == network.total {
                break;
            }
            if resets {
                network.reset((round * 7 % 4) as usize);
            }
        }
        network.now as f64
    };
    let (well, reset) = (time(false), time(true));
    assert!(reset <= 1.1 * well, "{reset} us instead of {well}");
}
