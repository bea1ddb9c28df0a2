//! Many sessions with caps, in schedules drawn from seeds: what they get, how evenly, and in which bursts.

use super::*;
use crate::config::caps::CapSettings;
use crate::service::caps::BURST;

/// Numbers of a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// What a sender has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// More than anybody takes.
    Greedy,
    /// So many bytes at a time, so many milliseconds apart.
    Messages { bytes: u64, every: u64 },
}

/// A session whose upstream flow moves what its client sends.
struct Sender {
    caps: SessionCaps,
    demand: Demand,
    /// Bytes that wait to be read.
    queued: u64,
    moved: u64,
    /// When it runs next.
    wakes: Option<u64>,
    /// Since when something waits, and the longest that it did.
    waits_since: Option<u64>,
    longest_wait: u64,
}

impl Sender {
    fn new(caps: &Caps, demand: Demand, now: u64) -> Sender {
        let caps = SessionCaps::new(caps, now);
        Sender { caps, demand, queued: 0, moved: 0, wakes: None, waits_since: None, longest_wait: 0 }
    }

    /// What the client sends in this millisecond.
    fn send(&mut self, now: u64, random: &mut Random) {
        let sent = match self.demand {
            Demand::Greedy if self.queued < 1 << 20 => 1 << 20,
            Demand::Messages { bytes, every } if random.below(every) == 0 => bytes,
            Demand::Greedy | Demand::Messages { .. } => 0,
        };
        if sent > 0 {
            self.queued += sent;
            self.waits_since.get_or_insert(now);
            // Not every event is about new bytes, and not every one makes a session run that waits.
            if self.wakes.is_none() || random.below(10) == 0 {
                self.wakes = Some(now);
            }
        }
    }

    /// Runs as a session does, with this budget for the turn, and says how much moved.
    fn run(&mut self, budget: usize, now: u64) -> u64 {
        self.wakes = None;
        self.caps.begin_run([self.queued > 0, false], now);
        let [may, _] = self.caps.budgets(budget, now);
        let bytes = self.queued.min(may as u64);
        self.queued -= bytes;
        self.moved += bytes;
        self.caps.count([self.moved, 0]);
        if self.queued > 0 {
            self.caps.note_spent([true, false]);
        }
        let all_held = self.caps.end_run(now);
        if bytes > 0 {
            let since = self.waits_since.take().unwrap_or(now);
            self.longest_wait = self.longest_wait.max(now - since);
            self.waits_since = Some(now).filter(|_| self.queued > 0);
        }
        self.wakes = match (self.queued > 0, self.caps.held_until()) {
            (true, _) if !all_held => Some(now),
            (true, until) => Some(until.expect("it is held back, and has no timer")),
            (false, until) => {
                assert_eq!(until, None, "a timer for nothing");
                None
            }
        };
        bytes
    }
}

/// A service whose sessions send for some time.
struct Scene {
    senders: Vec<Sender>,
    random: Random,
    /// How late a thread runs what is due, in milliseconds, at the most.
    lateness: u64,
    /// What moved in each millisecond.
    moved: Vec<u64>,
    runs: u64,
}

impl Scene {
    fn new(settings: CapSettings, demands: &[Demand], lateness: u64, seed: u64) -> Scene {
        let caps = Caps::new(&settings, None).unwrap();
        let senders = demands.iter().map(|&demand| Sender::new(&caps, demand, 0)).collect();
        Scene { senders, random: Random(seed), lateness, moved: Vec::new(), runs: 0 }
    }

    /// The thread does nothing for 50 ms, every 150 ms.
    fn run_with_stalls_for(&mut self, time: u64) {
        for _ in 0..time / 150 {
            self.run_for(100);
            self.moved.extend([0; 50]);
        }
    }

    fn run_for(&mut self, time: u64) {
        let begin = self.moved.len() as u64;
        for now in begin..begin + time {
            let mut moved = 0;
            for sender in &mut self.senders {
                sender.send(now, &mut self.random);
                // Several turns of a thread may begin in one millisecond.
                for _ in 0..4 {
                    let due = sender.wakes.is_some_and(|at| at <= now);
                    if due && self.random.below(self.lateness + 1) == 0 {
                        moved += sender.run(self.random.of(&[1 << 20, 256 << 10]), now);
                        self.runs += 1;
                    }
                }
            }
            self.moved.push(moved);
        }
    }

    /// The most that moved in this many milliseconds together.
    fn most_in(&self, window: usize) -> u64 {
        let mut sum: u64 = self.moved[..window].iter().sum();
        let mut most = sum;
        for end in window..self.moved.len() {
            sum = sum + self.moved[end] - self.moved[end - window];
            most = most.max(sum);
        }
        most
    }

    fn total(&self) -> u64 {
        self.moved.iter().sum()
    }
}

fn rate(bytes: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(bytes)
}

/// Whether `bytes` are within 2 % of a rate for so many milliseconds, with what was saved up at first.
fn assert_exact(bytes: u64, rate: u64, time: u64, what: &str) {
    let (least, most) = (rate * time / 1000 * 98 / 100, rate * (time + BURST) / 1000 + 1);
    assert!((least..=most).contains(&bytes), "{what}: {bytes} are not between {least} and {most}");
}

const RATES: [u64; 6] = [1000, 20_000, 125_000, 1_000_000, 100_000_000, 5_000_000_000];

#[test]
fn a_session_gets_its_own_rate_and_never_more_at_once_than_a_tenth_of_a_second_allows() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let (bytes, lateness) = (random.of(&RATES), random.below(8));
        let settings = CapSettings { upload: rate(bytes), ..CapSettings::default() };
        let mut scene = Scene::new(settings, &[Demand::Greedy], lateness, seed);
        scene.run_for(10_000);
        // Where a turn's budget is less than the rate, the budget decides.
        let turns = (1000 / (lateness + 1)) * (256 << 10);
        if bytes <= turns {
            assert_exact(scene.total(), bytes, 10_000, &format!("seed {seed}, rate {bytes}"));
        }
        for window in [1, 10, 100, 1000] {
            // A thread that was late makes up for it, a quarter faster than the rate.
            let most = bytes * (window as u64 * 5 / 4 + BURST) / 1000 + 1;
            assert!(scene.most_in(window) <= most, "seed {seed}: {} in {window} ms", scene.most_in(window));
        }
        if bytes <= 125_000 {
            // Each run costs about the same, whatever it moves.
            let most = if lateness == 0 { 10 * 11 } else { 10 * 15 };
            assert!(scene.runs <= most, "seed {seed}: {} runs, late by {lateness}", scene.runs);
        }
    }
}

#[test]
fn a_thread_that_is_often_late_takes_nothing_from_a_session() {
    for bytes in RATES[..5].iter().copied() {
        let settings = CapSettings { upload: rate(bytes), ..CapSettings::default() };
        let mut scene = Scene::new(settings, &[Demand::Greedy], 0, bytes);
        scene.run_with_stalls_for(30_000);
        assert_exact(scene.total(), bytes, 30_000, &format!("rate {bytes}"));
        let most = bytes * (1000 * 5 / 4 + BURST) / 1000 + 1;
        assert!(scene.most_in(1000) <= most, "{} of {most}", scene.most_in(1000));
    }
}

#[test]
fn what_a_total_holds_back_is_no_debt_of_the_own_rate() {
    let settings = CapSettings { upload: rate(1_000_000), total_upload: rate(1_500_000), ..CapSettings::default() };
    let mut scene = Scene::new(settings, &[Demand::Greedy; 3], 0, 0);
    scene.run_for(10_000);
    scene.senders.truncate(1);
    let before = scene.senders[0].moved;
    scene.run_for(10_000);
    assert_exact(scene.senders[0].moved - before, 1_000_000, 10_000, "its own rate");
}

#[test]
fn what_says_less_than_its_rate_is_not_made_to_wait() {
    let settings = CapSettings { upload: rate(100_000), total_upload: rate(1_000_000), ..CapSettings::default() };
    for seed in 0..50 {
        let demands = [Demand::Messages { bytes: 200, every: 10 }; 10];
        let mut scene = Scene::new(settings, &demands, 0, seed);
        scene.run_for(10_000);
        let longest = scene.senders.iter().map(|sender| sender.longest_wait).max();
        assert_eq!(longest, Some(0), "seed {seed}");
    }
}

#[test]
fn all_sessions_together_have_the_total_and_those_who_want_more_have_equal_shares() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let bytes = random.of(&[200_000, 1_000_000, 20_000_000]);
        let greedy = 1 + random.below(30) as usize;
        let chatty = random.below(10) as usize;
        let message = random.of(&[50, 1000]);
        let every = 10 * (1 + random.below(50));
        let demands: Vec<_> = (0..greedy + chatty)
            .map(|number| if number < greedy { Demand::Greedy } else { Demand::Messages { bytes: message, every } })
            .collect();
        let settings = CapSettings { total_upload: rate(bytes), ..CapSettings::default() };
        let lateness = random.below(6);
        let mut scene = Scene::new(settings, &demands, lateness, seed);
        let what = format!("seed {seed}: {greedy} greedy ones of {}, rate {bytes}, {lateness} ms late", demands.len());
        scene.run_for(2_000);
        let before: Vec<u64> = scene.senders.iter().map(|sender| sender.moved).collect();
        scene.run_for(10_000);
        assert_exact(scene.total(), bytes, 12_000, &what);
        for window in [100, 1000] {
            // Those who are late may have what they reserved beside those who come after them.
            let most = bytes * (window as u64 + BURST) / 1000 + (2 << 10) * demands.len() as u64;
            assert!(scene.most_in(window) <= most, "{what}: {} in {window} ms", scene.most_in(window));
        }
        let got: Vec<u64> =
            scene.senders.iter().zip(before).take(greedy).map(|(sender, before)| sender.moved - before).collect();
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        let chunk = 2 * (2 << 10);
        assert!(*most <= least + least / 20 + chunk, "{what}: between {least} and {most}");
        // Who says little comes to its turn with the others.
        for sender in &scene.senders[greedy..] {
            let moved_all = sender.queued <= message * 20;
            let share = bytes * 12 / demands.len() as u64;
            assert!(moved_all || sender.moved * 10 >= share * 8, "{what}: {} of {share}", sender.moved);
        }
    }
}

#[test]
fn what_a_session_reserved_others_have_when_it_ends() {
    let settings = CapSettings { total_upload: rate(1_000_000), ..CapSettings::default() };
    for seed in 0..50 {
        let mut scene = Scene::new(settings, &[Demand::Greedy; 20], 1, seed);
        scene.run_for(1000);
        scene.senders.drain(1..);
        let before = scene.senders[0].moved;
        scene.run_for(10_000);
        assert_exact(scene.senders[0].moved - before, 1_000_000, 10_000, &format!("seed {seed}"));
    }
}

#[test]
fn a_session_has_the_lesser_of_its_own_rate_and_its_share() {
    for (own, greedy, expected) in [(50_000, 10, 50_000), (500_000, 10, 100_000)] {
        let settings = CapSettings { upload: rate(own), total_upload: rate(1_000_000), ..CapSettings::default() };
        let mut scene = Scene::new(settings, &vec![Demand::Greedy; greedy], 2, 1);
        scene.run_for(10_000);
        for sender in &scene.senders {
            let (least, most) = (expected * 10 * 97 / 100, expected * 10 * 104 / 100);
            assert!((least..=most).contains(&sender.moved), "{} of {}", sender.moved, expected * 10);
        }
    }
}

#[test]
fn another_rate_of_the_total_holds_at_once() {
    let settings = CapSettings { total_upload: rate(1_000_000), ..CapSettings::default() };
    let former = Caps::new(&settings, None).unwrap();
    let now = Caps::new(&CapSettings { total_upload: rate(100_000), ..CapSettings::default() }, Some(&former)).unwrap();
    let mut scene = Scene { senders: vec![], random: Random(1), lateness: 0, moved: Vec::new(), runs: 0 };
    scene.senders.push(Sender::new(&former, Demand::Greedy, 0));
    scene.run_for(10_000);
    assert_exact(scene.total(), 1_000_000, 10_000, "before");
    let before = scene.total();
    scene.senders.push(Sender::new(&now, Demand::Greedy, 0));
    now.take_effect();
    scene.run_for(10_000);
    let after = scene.total() - before;
    assert!((970_000..=1_150_000).contains(&after), "{after}");
    assert!(scene.senders[1].moved * 10 >= after * 4, "{} of {after}", scene.senders[1].moved);
}

/// Each time a session is due, its thread is late by up to 50 ms: it has its rate all the same.
#[test]
fn a_thread_that_is_late_each_time_takes_nothing_from_its_sessions() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let bytes = random.of(&[20_000, 125_000, 1_000_000]);
        let own = CapSettings { upload: rate(bytes), ..CapSettings::default() };
        let all = CapSettings { total_upload: rate(bytes), ..CapSettings::default() };
        for (settings, sessions) in [(own, 1), (all, 1), (all, 10)] {
            let caps = Caps::new(&settings, None).unwrap();
            let mut senders: Vec<_> = (0..sessions).map(|_| Sender::new(&caps, Demand::Greedy, 0)).collect();
            let mut wakes = vec![0; sessions];
            for now in 0..10_000 {
                for (sender, wakes) in senders.iter_mut().zip(&mut wakes) {
                    if *wakes == now {
                        sender.queued = 1 << 30;
                        // Runs that only ask follow at once.
                        while sender.wakes.is_none_or(|at| at <= now) {
                            sender.run(256 << 10, now);
                        }
                        *wakes = sender.wakes.expect("it has more to move") + random.below(51);
                    }
                }
            }
            let moved = senders.iter().map(|sender| sender.moved).sum();
            assert_exact(moved, bytes, 10_000, &format!("seed {seed}, {sessions} sessions, {settings:?}"));
        }
    }
}
