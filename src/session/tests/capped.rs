//! Datagrams in sessions with caps, in a time of the tests' own.

use std::num::NonZeroU64;

use super::*;
use crate::buffers::batch::Undelivered;
use crate::config::caps::{CapName, CapSettings};
use crate::service::caps::{BURST, Caps};

/// Numbers of a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % below
    }
}

/// A session of datagrams that has these caps.
fn begin(settings: &CapSettings) -> Scene {
    let mut scene = Scene::unconnected(true, None);
    let service = Arc::get_mut(&mut scene.session.service).unwrap();
    service.caps = Caps::new(settings, None).map(Box::new);
    scene.session.terms = Terms::new(&scene.session.service, None, 0);
    scene.session.has_more = scene.session.terms.is_some();
    let mut scene = scene.connected(true);
    for side in [SideName::Client, SideName::Remote] {
        scene.session.ready(side, Readiness { writable: true, ..Readiness::default() });
    }
    scene
}

/// Runs it until it waits.
fn run(scene: &mut Scene) {
    for _ in 0..1000 {
        let mut turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 64 << 10 };
        match scene.session.run(&mut turn, &mut None) {
            Outcome::Waiting => return,
            Outcome::Spent => {}
            Outcome::Ended(end) => panic!("{end:?}"),
        }
    }
    panic!("it runs on and on");
}

fn offer(scene: &mut Scene, datagrams: &[Vec<u8>]) {
    let mut batch = Batch::default();
    batch.space(datagrams.iter().map(Vec::len).sum());
    let mut start = 0;
    for datagram in datagrams {
        batch.space(start + datagram.len())[start..].copy_from_slice(datagram);
        batch.add(start, datagram.len());
        start += datagram.len();
    }
    let mut turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 0 };
    if scene.session.offer(&mut batch, &mut turn) == Outcome::Spent {
        run(scene);
    }
}

/// A datagram that tells its number.
fn numbered(number: usize, length: usize) -> Vec<u8> {
    let mut datagram = vec![number as u8; 8 + length];
    datagram[..8].copy_from_slice(&number.to_be_bytes());
    datagram
}

fn bytes(datagrams: &[Vec<u8>]) -> u64 {
    datagrams.iter().map(Vec::len).sum::<usize>() as u64
}

/// Each arrives once, in order, when its time has come; and one that waits for its time has a timer.
#[test]
fn datagrams_arrive_whole_and_no_faster_than_the_cap() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let rate = [5_000, 50_000, 500_000][numbers.below(3) as usize];
        let cap = NonZeroU64::new(rate);
        let (own, total) = [(cap, None), (None, cap), (cap, cap)][numbers.below(3) as usize];
        let settings = CapSettings { upload: own, download: own, total_upload: total, total_download: total };
        let mut scene = begin(&settings);
        let mut said = [Vec::new(), Vec::new()];
        let largest = 1 + numbers.below(3000);
        // As much as is sent in a second, or less than may be kept.
        let most = (rate as usize).min(100_000);
        while said.iter().any(|said| bytes(said) < most as u64) {
            let direction = numbers.below(2) as usize;
            let count = numbers.below(5);
            let new: Vec<_> = (0..count)
                .map(|number| numbered(said[direction].len() + number as usize, numbers.below(largest) as usize))
                .collect();
            if bytes(&said[direction]) < most as u64 {
                said[direction].extend_from_slice(&new);
                if direction == 0 {
                    offer(&mut scene, &new);
                } else {
                    scene.remote.says.borrow_mut().extend(new);
                    scene.session.ready(SideName::Remote, Readiness { readable: true, ..Readiness::default() });
                    run(&mut scene);
                }
            }
            let until = scene.now + numbers.below(30);
            go_on(&mut scene, until, rate, largest);
        }
        // Twice as long as it takes, and it has to be there.
        let until = scene.now + 2 * (most as u64 + largest) * 1000 / rate + BURST;
        go_on(&mut scene, until, rate, largest);
        assert!(*scene.remote.heard.borrow() == said[0], "seed {seed}");
        assert!(*scene.client.heard.borrow() == said[1], "seed {seed}");
        assert_eq!(scene.session.progress().dropped, 0, "seed {seed}");
        assert_eq!((scene.session.deadline(), scene.pools.kept.used()), (None, 0), "seed {seed}");
    }
}

/// Lets time pass until then, with a run whenever the session wants one, and looks at what has arrived.
fn go_on(scene: &mut Scene, until: u64, rate: u64, largest: u64) {
    loop {
        for side in [&scene.remote, &scene.client] {
            let (arrived, most) = (bytes(&side.heard.borrow()), rate * (scene.now + BURST) / 1000 + 8 + largest);
            assert!(arrived <= most, "{arrived} bytes arrived in {} ms, at {rate} a second", scene.now);
        }
        let Some(deadline) = scene.session.deadline().filter(|&at| at <= until) else { break };
        assert!(deadline > scene.now, "a timer that is over");
        scene.now = deadline;
        run(scene);
    }
    scene.now = until;
}

#[test]
fn what_the_cap_leaves_no_room_for_is_dropped_and_counted() {
    const COUNT: usize = 400;
    let settings = CapSettings { upload: NonZeroU64::new(1000), ..CapSettings::default() };
    let mut scene = begin(&settings);
    let said: Vec<_> = (0..COUNT).map(|number| numbered(number, 992)).collect();
    said.chunks(10).for_each(|some| offer(&mut scene, some));
    // The first one is larger than what may be sent at once, which is made up for later.
    assert_eq!(*scene.remote.heard.borrow(), said[..1]);
    let dropped = scene.session.progress().dropped;
    let kept = (256 << 10) / 1016;
    assert_eq!(dropped, (COUNT - 1 - kept) as u64);
    assert_eq!(scene.session.upstream.counts().why, Some(Undelivered::HeldBack(CapName::Upload)));
    let until = 1000 * (kept + 2) as u64;
    go_on(&mut scene, until, 1000, 1000);
    assert!(*scene.remote.heard.borrow() == said[..=kept]);
    assert_eq!(scene.session.progress().dropped, dropped);
}
