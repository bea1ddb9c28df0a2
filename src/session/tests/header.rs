//! Sessions whose clients begin with a header.

use super::*;
use crate::config::proxy::ProxySettings;
use crate::service::proxy::ProxyOptions;

#[test]
fn a_client_that_is_not_known_yet_has_a_place_among_the_sessions_of_remotes() {
    let echo = Remote::new("echo:".to_string(), vec![EndpointAddress::Echo]).unwrap();
    let only_one = Member { max_sessions: Some(1), ..Member::new(Arc::new(echo)) };
    let mut scene = Scene::with_remotes(false, None, vec![only_one]);
    let settings = ProxySettings { accept: true, ..ProxySettings::default() };
    Arc::get_mut(&mut scene.session.service).unwrap().proxy = ProxyOptions::new(&settings);
    let pool = scene.session.service.pool.clone();
    let reservation = pool.reserve(|| 0).unwrap().expect("a place");
    let turn = Turn { pools: &mut scene.pools, now: 0, now_us: 0, budget: 1024 };
    assert_eq!(scene.session.start(&turn, &mut None), Outcome::Waiting);
    scene.session.keep_reservation(reservation);
    assert!(pool.reserve(|| 0).is_err(), "another client would find no room");
    assert_eq!(scene.pass(1000), Outcome::Ended(End::BadHeader));
    scene.session.release(&mut scene.pools);
    scene.session.close(End::BadHeader);
    assert!(pool.reserve(|| 0).is_ok());
}

#[test]
fn what_came_with_a_header_is_delivered_though_the_client_has_gone() {
    let mut scene = Scene::unconnected(true, None);
    let mut batch = Batch::default();
    batch.append_behind(b"", [b"said".as_slice()].into_iter());
    scene.session.upstream.hold(&mut batch, &mut scene.pools);
    let turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 0 };
    assert_eq!(scene.session.start_later(&turn), Outcome::Waiting);
    let gone = Readiness { readable: true, read_closed: true, write_closed: true, ..Readiness::default() };
    scene.session.ready(SideName::Client, gone);
    assert_eq!(scene.run(), Outcome::Waiting);
    scene.now = scene.session.deadline().expect("a time");
    let mut remote = Some(Fake { datagrams: true, state: scene.remote.clone() });
    let mut turn = Turn { pools: &mut scene.pools, now: scene.now, now_us: scene.now * 1000, budget: 1024 };
    scene.session.run(&mut turn, &mut remote);
    assert!(remote.is_none(), "the remote was dialled");
}
