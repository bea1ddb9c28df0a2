//! How each load is run once.

use std::thread;
use std::time::{Duration, Instant};

use super::cases::{Base, Case, Kind, LANES, LINK, RELAY_DELAY, RESET_LINK};
use super::chain::{Chain, Joint, Key, Kit};
use super::transfer::{self, Amount, Record, Way};
use crate::failure::Failure;
use crate::relay::{Relay, Rule, Traffic};

/// How long a transfer over capped links takes at their sum.
const TRANSFER: Duration = Duration::from_secs(8);

/// What is sent while lanes are reset.
const RESET_AMOUNT: u64 = 1 << 30;

/// How often a lane is reset.
const RESET_INTERVAL: Duration = Duration::from_millis(200);

/// What is sent without a cap.
const UNCAPPED_AMOUNT: u64 = 2 << 30;

/// Bytes in a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// How long pings are sent.
const PING: Duration = Duration::from_secs(2);

/// How many idle sessions there are.
const IDLE_SESSIONS: usize = 500;

/// How long the proxies have to free what idle sessions do not need.
const SETTLE: Duration = Duration::from_secs(3);

/// Runs a load once. The numbers are those of [`Case::figures`]. `round` is a number from 0.
pub fn run(case: &Case, kit: &Kit, round: usize) -> Result<Vec<f64>, Failure> {
    match &case.kind {
        Kind::RelayCap => {
            let rules = [Rule::link(LINK, Duration::ZERO)];
            let record = carry(kit, Joint::Direct, &rules, Way::Up, over(TRANSFER, &rules))?;
            Ok(vec![record.rate() / sum(&rules)])
        }
        Kind::RelayDelay => {
            let rules = [Rule { rate: None, delay: RELAY_DELAY }];
            let mut chain = Chain::start(kit, Joint::Direct, &rules)?;
            Ok(vec![median(transfer::ping(&mut chain, PING)?)])
        }
        Kind::Links { way, rules, base } => links(kit, *way, rules, *base),
        Kind::Freeze { way } => freeze(kit, *way, round),
        Kind::Resets { way } => resets(kit, *way, round),
        Kind::Uncapped { way, key } => uncapped(kit, *way, *key, round),
        Kind::Ping { key } => ping(kit, *key, round),
        Kind::Idle { key } => idle(kit, *key),
    }
}

fn striped(lanes: usize, key: Key) -> Joint {
    Joint::Striped { lanes, key }
}

/// What all these links carry together, in bytes a second.
fn sum(rules: &[Rule]) -> f64 {
    rules.iter().filter_map(|rule| rule.rate).sum()
}

/// What all these links carry in a time.
fn over(time: Duration, rules: &[Rule]) -> Amount {
    Amount::Bytes((sum(rules) * time.as_secs_f64()) as u64)
}

/// A transfer through a chain of its own.
fn carry(kit: &Kit, joint: Joint, rules: &[Rule], way: Way, amount: Amount) -> Result<Record, Failure> {
    let mut chain = Chain::start(kit, joint, rules)?;
    Ok(transfer::transfer(&mut chain, way, amount, |_, _, _| ())?.0)
}

fn links(kit: &Kit, way: Way, rules: &[Rule], base: Base) -> Result<Vec<f64>, Failure> {
    let rate = carry(kit, striped(rules.len(), Key::None), rules, way, over(TRANSFER, rules))?.rate();
    let base = match base {
        Base::Sum => sum(rules),
        Base::FirstAlone => {
            let first = &rules[..1];
            carry(kit, striped(1, Key::None), first, way, over(TRANSFER, first))?.rate()
        }
    };
    Ok(vec![rate / base, rate])
}

/// When a lane is frozen, and for how long; and how long the transfer goes on after its thaw.
const FREEZE_AT: Duration = Duration::from_secs(2);
const FROZEN: Duration = Duration::from_secs(5);
const AFTER_THAW: Duration = Duration::from_secs(4);

fn freeze(kit: &Kit, way: Way, round: usize) -> Result<Vec<f64>, Failure> {
    let rules = [Rule::link(LINK, Duration::from_millis(5)); LANES];
    let mut chain = Chain::start(kit, striped(LANES, Key::None), &rules)?;
    let thaw_at = FREEZE_AT + FROZEN;
    let amount = Amount::For(thaw_at + AFTER_THAW);
    let (record, used_again) = transfer::transfer(&mut chain, way, amount, |relay, start, over| {
        let relay = relay?;
        sleep_until(start + FREEZE_AT, over);
        let others_and_it = relay.traffic().len();
        let number = round % others_and_it.max(1);
        relay.freeze(number);
        sleep_until(start + thaw_at, over);
        relay.thaw(number);
        // One that was dialled in its place counts as well.
        let is_other = |lane: usize| lane < others_and_it && lane != number;
        used_again(relay, way, is_other, sum(&rules[..1]), over)
    })?;
    let while_frozen = record.between(FREEZE_AT, thaw_at) as f64 / FROZEN.as_secs_f64();
    let others = sum(&rules[1..]);
    Ok(vec![while_frozen / others, used_again.map_or(f64::INFINITY, |after| after.as_secs_f64())])
}

/// How long a lane has to carry at half its rate or more to count as used. What a thawed lane still holds of the time
/// before is less than that.
const USED: Duration = Duration::from_millis(250);

/// How long it is from now until lanes that are not `is_other` are used, if they are before the transfer is over.
fn used_again(
    relay: &Relay,
    way: Way,
    is_other: impl Fn(usize) -> bool,
    rate: f64,
    over: &dyn Fn() -> bool,
) -> Option<Duration> {
    let carried = |traffic: Vec<Traffic>| -> u64 {
        let lanes = traffic.iter().enumerate().filter(|(lane, _)| !is_other(*lane));
        lanes.map(|(_, lane)| lane.carried[way.index()]).sum()
    };
    let thawed = Instant::now();
    let mut samples = vec![(Duration::ZERO, carried(relay.traffic()))];
    while !over() {
        thread::sleep(Duration::from_millis(10));
        let now = (thawed.elapsed(), carried(relay.traffic()));
        samples.push(now);
        let before = samples.partition_point(|&(at, _)| at + USED <= now.0);
        if before > 0 {
            let from = samples[before - 1];
            if (now.1 - from.1) as f64 >= rate / 2.0 * (now.0 - from.0).as_secs_f64() {
                return Some(from.0);
            }
        }
    }
    None
}

/// Sleeps until a moment, or until the transfer is over.
fn sleep_until(moment: Instant, over: &dyn Fn() -> bool) {
    while Instant::now() < moment && !over() {
        thread::sleep(moment.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
    }
}

fn resets(kit: &Kit, way: Way, round: usize) -> Result<Vec<f64>, Failure> {
    let rules = [Rule::link(RESET_LINK, Duration::ZERO); LANES];
    let amount = Amount::Bytes(RESET_AMOUNT);
    let joint = striped(LANES, Key::None);
    let undisturbed = carry(kit, joint, &rules, way, amount)?;
    let mut chain = Chain::start(kit, joint, &rules)?;
    let (disturbed, resets) = transfer::transfer(&mut chain, way, amount, |relay, _, over| {
        relay.map_or(0, |relay| relay.reset_at_random(RESET_INTERVAL, round as u64, over))
    })?;
    Ok(vec![disturbed.rate() / undisturbed.rate(), disturbed.rate(), resets as f64])
}

/// How often a plain chain and a striped one are used in turn, so that a drift of the machine hits both alike.
const TURNS: usize = 6;
const PING_TURNS: usize = 20;

/// Starts a plain chain and a striped one, and uses one after the other, again and again.
fn in_turn(
    kit: &Kit,
    key: Key,
    (turns, round): (usize, usize),
    mut turn: impl FnMut(&mut Chain, usize) -> Result<(), Failure>,
) -> Result<[Chain; 2], Failure> {
    let mut chains = [Chain::start(kit, Joint::Plain, &[])?, Chain::start(kit, striped(LANES, key), &[])?];
    for number in 0..2 * turns {
        let which = (number + round) % 2;
        turn(&mut chains[which], which)?;
    }
    Ok(chains)
}

fn uncapped(kit: &Kit, way: Way, key: Key, round: usize) -> Result<Vec<f64>, Failure> {
    let mut time = [Duration::ZERO; 2];
    let amount = UNCAPPED_AMOUNT / TURNS as u64;
    let chains = in_turn(kit, key, (TURNS, round), |chain, which| {
        let (record, ()) = transfer::transfer(chain, way, Amount::Bytes(amount), |_, _, _| ())?;
        time[which] += record.elapsed;
        Ok(())
    })?;
    let bytes = (amount * TURNS as u64) as f64;
    let [plain, striped] = time.map(|time| bytes / time.as_secs_f64());
    let [plain_cpu, striped_cpu] = chains.map(|chain| chain.cpu().as_secs_f64() / (bytes / GIB));
    Ok(vec![striped / plain, striped_cpu / plain_cpu, striped, striped_cpu])
}

fn ping(kit: &Kit, key: Key, round: usize) -> Result<Vec<f64>, Failure> {
    let mut times = [Vec::new(), Vec::new()];
    in_turn(kit, key, (PING_TURNS, round), |chain, which| {
        times[which].extend(transfer::ping(chain, PING / PING_TURNS as u32)?);
        Ok(())
    })?;
    let [plain, striped] = times.map(median);
    Ok(vec![striped / plain, striped])
}

/// What half of the times stay within, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

fn idle(kit: &Kit, key: Key) -> Result<Vec<f64>, Failure> {
    let mut chain = Chain::start(kit, striped(LANES, key), &[])?;
    // What the first session makes the proxies set up once is not counted.
    let _first = transfer::open_idle(&mut chain, 1)?;
    thread::sleep(SETTLE);
    let before = chain.usage();
    let _sessions = transfer::open_idle(&mut chain, IDLE_SESSIONS)?;
    thread::sleep(SETTLE);
    let grown = chain
        .usage()
        .into_iter()
        .zip(before)
        .map(|(after, before)| (after.resident as f64 - before.resident as f64) / IDLE_SESSIONS as f64);
    Ok(grown.collect())
}
