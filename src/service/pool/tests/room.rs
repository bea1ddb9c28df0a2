//! Room for clients, and who is told of it.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Barrier;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::*;
use crate::service::waiters::tests::with_bells;

/// Longer than anything takes but a wake-up that was lost.
const LOST: Duration = Duration::from_secs(60);

/// A pool whose remotes may have so many sessions each.
fn limited(most: &[u32]) -> Arc<Pool> {
    Arc::new(Pool::new(&settings(Balance::RoundRobin), members_of(most), 7, 0))
}

fn members_of(most: &[u32]) -> Vec<Member> {
    let member = |(number, &most): (usize, &u32)| Member { max_sessions: Some(most), ..Member::new(remote(number)) };
    most.iter().enumerate().map(member).collect()
}

fn waiters(threads: usize) -> (Arc<Waiters>, Vec<Receiver<()>>) {
    let (waiters, heard) = with_bells(threads);
    (Arc::new(waiters), heard)
}

#[test]
fn a_place_is_taken_by_whoever_is_on_the_way_and_then_by_the_session() {
    let pool = limited(&[1, 1]);
    let (one, other) = (pool.reserve(|| 0).unwrap(), pool.reserve(|| 0).unwrap());
    assert!(one.is_some() && other.is_some());
    assert_eq!(pool.reserve(|| 0).unwrap_err(), Full);
    let session = lease(&pool, 0, 0);
    drop(one);
    assert_eq!(pool.reserve(|| 0).unwrap_err(), Full, "the session has it");
    drop(other);
    assert!(pool.reserve(|| 0).is_ok(), "who was on the way has gone");
    drop(session);
    assert_eq!(pool.set().room(), Some(2));
}

#[test]
fn without_a_limit_nothing_is_counted() {
    let pool = Arc::new(pool(Balance::RoundRobin, &[1, 1]));
    assert!((0..10).all(|_| matches!(pool.reserve(|| 0), Ok(None))));
    let (waiters, _) = waiters(1);
    assert!(pool.full_until(&waiters, 0).is_none());
    let mixed = [Member { max_sessions: Some(1), ..weighted(0, 1) }, weighted(1, 1)];
    pool.replace(mixed.to_vec(), 0);
    assert!(matches!(pool.reserve(|| 0), Ok(None)), "one of them takes any number");
}

#[test]
fn whoever_waits_is_woken_by_a_lease_a_client_that_goes_and_another_set() {
    let pool = limited(&[1]);
    let (waiters, heard) = waiters(1);
    let rung = || heard[0].try_iter().count();
    let waits = || {
        waiters.add(0);
        pool.full_until(&waiters, 0).is_some()
    };
    let session = lease(&pool, 0, 0);
    assert!(waits());
    drop(session);
    assert_eq!((rung(), pool.full_until(&waiters, 0)), (1, None));

    let on_the_way = pool.reserve(|| 0).unwrap();
    assert!(waits());
    drop(on_the_way);
    assert_eq!(rung(), 1);

    let session = lease(&pool, 0, 0);
    assert!(waits());
    pool.replace(members_of(&[1, 1]), 0);
    assert_eq!(rung(), 1);
    drop(session);

    // Nor is one forgotten that has come with the new set.
    let sessions = [lease(&pool, 0, 0), lease(&pool, 1, 0)];
    assert!(waits());
    drop(sessions);
    assert_eq!(rung(), 1, "once, until it waits again");
}

#[test]
fn threads_that_wait_for_room_get_it_and_never_too_much() {
    const THREADS: usize = 4;
    const CLIENTS: u64 = 20_000;
    let pool = limited(&[1, 1]);
    let (waiters, heard) = waiters(THREADS);
    let (served, now, begin) = (AtomicU64::new(0), AtomicU32::new(0), Barrier::new(THREADS));
    thread::scope(|scope| {
        for (thread, heard) in heard.into_iter().enumerate() {
            let (pool, waiters, served, now, begin) = (&pool, &waiters, &served, &now, &begin);
            scope.spawn(move || {
                begin.wait();
                for client in 0..CLIENTS / THREADS as u64 {
                    let place = loop {
                        if let Ok(place) = pool.reserve(|| 0) {
                            break place;
                        }
                        waiters.add(thread);
                        if pool.full_until(waiters, 0).is_some() {
                            heard.recv_timeout(LOST).expect("a wake-up was lost");
                        }
                        waiters.remove(thread);
                    };
                    assert!(now.fetch_add(1, SeqCst) < 2, "more clients were let in than there are places");
                    // A client that has a place finds a remote.
                    let session = lease(pool, client as u32, 0);
                    drop(place);
                    served.fetch_add(1, SeqCst);
                    if client % 16 == 0 {
                        thread::yield_now();
                    }
                    now.fetch_sub(1, SeqCst);
                    drop(session);
                }
            });
        }
    });
    assert_eq!((served.load(SeqCst), pool.set().room()), (CLIENTS, Some(2)));
}

#[test]
fn a_session_finds_the_room_that_there_is_all_the_time_although_another_goes_to_and_fro() {
    const CLIENTS: u32 = 20_000;
    for balance in METHODS {
        let pool = Pool::new(&settings(balance), members_of(&[1; 32]), 7, 0);
        let mut held: Vec<_> = (0..32).map(|client| lease(&pool, client, 0)).collect();
        // Only the first and the last remote have room, and one of them is free at any time.
        let members = pool.set().members().to_vec();
        let ends = [&members[0], &members[31]];
        held.retain(|session| ends.iter().all(|end| end.remote.id != session.id));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(SeqCst) {
                    ends.into_iter().for_each(|end| drop(Lease::new(end)));
                }
            });
            let all = panic::catch_unwind(AssertUnwindSafe(|| (0..CLIENTS).for_each(|n| drop(lease(&pool, n, 0)))));
            is_over.store(true, SeqCst);
            assert!(all.is_ok(), "{balance:?}");
        });
        assert_eq!(pool.set().room(), Some(2), "{balance:?}");
    }
}
