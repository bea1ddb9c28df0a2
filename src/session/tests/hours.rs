//! Sessions that end when the time of clients is over.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::config::hours::{HourSettings, TimeRule};
use crate::service::hours::{Hours, WallClock};
use crate::service::limits::Ticket;

/// A clock of Greenwich that is set by hand.
#[derive(Debug, Clone, Default)]
struct Set(Arc<AtomicI64>);

impl WallClock for Set {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    fn ahead(&self, _: i64) -> i64 {
        0
    }
}

const HOUR: i64 = 3_600_000;

/// A session that began at this time of the day, of a service that is open from one to three.
fn begin(time: i64, end_outside: bool) -> (Scene, Set) {
    let set = Set::default();
    set.0.store(time, Ordering::Relaxed);
    let settings = HourSettings { rules: vec![TimeRule::parse("01:00-03:00").unwrap()], end_outside };
    let mut scene = Scene::unconnected(false, None);
    let service = Arc::get_mut(&mut scene.session.service).unwrap();
    service.hours = Hours::by(&settings, Box::new(set.clone())).map(Box::new);
    scene.session.terms = Terms::new(&scene.session.service, None::<Ticket>, 0);
    scene.session.has_more = scene.session.terms.is_some();
    (scene.connected(false), set)
}

/// Lets both clocks go on.
fn pass(scene: &mut Scene, set: &Set, time: u64) -> Outcome {
    for _ in 0..time / 1000 {
        set.0.fetch_add(1000, Ordering::Relaxed);
        if let outcome @ Outcome::Ended(_) = scene.pass(1000) {
            return outcome;
        }
    }
    Outcome::Waiting
}

#[test]
fn a_session_ends_with_its_time() {
    let (mut scene, set) = begin(2 * HOUR, true);
    assert_eq!(pass(&mut scene, &set, 3_599_000), Outcome::Waiting);
    assert_eq!(pass(&mut scene, &set, 1000), Outcome::Ended(End::OutsideTime));

    let (mut scene, set) = begin(2 * HOUR, false);
    assert!(scene.session.terms.is_none() && scene.session.deadline().is_none());
    assert_eq!(pass(&mut scene, &set, 7_200_000), Outcome::Waiting);
}

#[test]
fn a_session_looks_at_the_clock_each_minute() {
    let (mut scene, set) = begin(HOUR + HOUR / 2, true);
    assert_eq!(pass(&mut scene, &set, 600_000), Outcome::Waiting);
    set.0.store(7 * HOUR, Ordering::Relaxed);
    let Outcome::Ended(end) = pass(&mut scene, &set, 61_000) else { panic!("it goes on") };
    assert_eq!(end, End::OutsideTime);
}
